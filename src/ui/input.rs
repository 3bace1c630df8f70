//! Bytes from a file or from stdin, straight into wiped memory: std's buffered stdin would keep a copy.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, access};

use super::UiError;
use crate::crypto::age_file::is_age;
use crate::model::SecretBytes;

/// Reads to the end, at most `most` bytes and one more, by which the caller sees that there were too many.
fn read(descriptor: impl AsFd, most: usize) -> io::Result<SecretBytes> {
    let mut bytes = SecretBytes::with_capacity(most.min(64 * 1024));
    read_on(descriptor, &mut bytes, most)?;
    Ok(bytes)
}

/// Reads what follows on `bytes`, likewise.
fn read_on(descriptor: impl AsFd, bytes: &mut SecretBytes, most: usize) -> io::Result<()> {
    let mut piece = SecretBytes::zeroed(64 * 1024);
    while bytes.len() <= most {
        let room = piece.len().min(most + 1 - bytes.len());
        match rustix::io::read(&descriptor, &mut piece.expose_mut()[..room]) {
            Ok(0) => break,
            Ok(length) => bytes.extend(&piece.expose()[..length]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }

    Ok(())
}

/// True once something reads stdin.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes stdin, of which there is one. An error for whoever comes second: it would find nothing, or the rest.
pub(crate) fn take_stdin() -> Result<(), UiError> {
    if TAKEN.swap(true, Ordering::SeqCst) { Err(UiError::StdinTaken) } else { Ok(()) }
}

/// Reads stdin.
pub(crate) fn stdin(most: usize) -> Result<SecretBytes, UiError> {
    take_stdin()?;
    read(rustix::stdio::stdin(), most)
        .map_err(|source| UiError::Input { name: "stdin".into(), source })
}

/// Reads a file, a FIFO or `/dev/fd/N`; tells whether others can read it too.
pub(crate) fn file(path: &Path, most: usize) -> io::Result<(SecretBytes, bool)> {
    let (file, exposed) = open(path)?;
    Ok((read(&file, most)?, exposed))
}

fn open(path: &Path) -> io::Result<(File, bool)> {
    use std::os::unix::fs::MetadataExt;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }

    Ok((file, metadata.is_file() && metadata.mode() & 0o077 != 0))
}

/// Fails if `path` is no file that can be read. Nothing is opened, because the writer of a FIFO would notice.
pub(crate) fn check(path: &Path) -> io::Result<Metadata> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }

    access(path, Access::READ_OK)?;
    Ok(metadata)
}

/// Bytes of a file of values at most.
const MOST: usize = 64 * 1024 * 1024;
/// The same of an age file: an export of a vault may be that large.
pub(crate) const MOST_SEALED: usize = 1024 * 1024 * 1024;

/// Reads a file of values, or stdin for `-`, of at most 64 MiB, an age file of at most 1 GiB; returns what messages call it as
/// well.
pub(crate) fn named(path: &Path) -> Result<(SecretBytes, String), UiError> {
    let (name, bytes) = if path == Path::new("-") {
        take_stdin()?;
        ("stdin".to_owned(), values(rustix::stdio::stdin()))
    } else {
        (path.display().to_string(), open(path).and_then(|(file, _)| values(&file)))
    };

    match bytes {
        Ok(bytes) if bytes.len() > MOST_SEALED => Err(UiError::TooLarge(name, "1 GiB")),
        Ok(bytes) if bytes.len() > MOST && !is_age(bytes.expose()) => {
            Err(UiError::TooLarge(name, "64 MiB"))
        }
        Ok(bytes) => Ok((bytes, name)),
        Err(source) => Err(UiError::Input { name, source }),
    }
}

fn values(descriptor: impl AsFd) -> io::Result<SecretBytes> {
    let mut bytes = read(&descriptor, MOST)?;
    if bytes.len() > MOST && is_age(bytes.expose()) {
        read_on(descriptor, &mut bytes, MOST_SEALED)?;
    }

    Ok(bytes)
}

/// True where a person sits at stdin.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// True if a pipe, a socket or a file at stdin has bytes that nobody has read. Never waits.
pub(crate) fn stdin_has_bytes() -> bool {
    !stdin_is_terminal()
        && rustix::io::ioctl_fionread(rustix::stdio::stdin()).is_ok_and(|waiting| waiting > 0)
}

/// Drops one newline, `\n` or `\r\n`, from the end.
pub(crate) fn drop_newline(bytes: &mut SecretBytes) {
    let end = bytes.expose();
    let cut = if end.ends_with(b"\r\n") { 2 } else { usize::from(end.ends_with(b"\n")) };
    bytes.truncate(bytes.len() - cut);
}
