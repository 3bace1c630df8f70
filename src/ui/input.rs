//! Reads bytes from a file or stdin directly into wiped memory, because std's buffered stdin would
//! keep a copy.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, access};
use secrets_age::is_age;
use secrets_core::model::SecretBytes;

use super::UiError;

/// Reads to the end, but at most `most` + 1 bytes. The extra byte shows the caller that the input
/// is too long.
fn read(descriptor: impl AsFd, most: usize) -> io::Result<SecretBytes> {
    let mut bytes = SecretBytes::with_capacity(most.min(64 * 1024));
    append(descriptor, &mut bytes, most)?;
    Ok(bytes)
}

/// Appends the rest of the input to `bytes`, with the same limit.
fn append(descriptor: impl AsFd, bytes: &mut SecretBytes, most: usize) -> io::Result<()> {
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

/// True once something has read stdin.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Claims stdin. Fails for the second caller, which would find nothing or only the rest of the
/// input.
pub(crate) fn take_stdin() -> Result<(), UiError> {
    if TAKEN.swap(true, Ordering::SeqCst) { Err(UiError::StdinTaken) } else { Ok(()) }
}

pub(crate) fn stdin(most: usize) -> Result<SecretBytes, UiError> {
    take_stdin()?;
    read(rustix::stdio::stdin(), most)
        .map_err(|source| UiError::Input { name: "stdin".into(), source })
}

/// Reads a file, a FIFO or `/dev/fd/N`. Also returns whether other users can read it.
pub(crate) fn file(path: &Path, most: usize) -> io::Result<(SecretBytes, bool)> {
    let (file, exposed) = open(path)?;
    Ok((read(&file, most)?, exposed))
}

/// Reads a regular file, without waiting for the other end of a FIFO or a terminal.
pub(crate) fn regular_file(path: &Path, most: usize) -> io::Result<SecretBytes> {
    read(&secrets_files::open::regular(path)?, most)
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

/// Fails if `path` is not a readable file. Does not open it, because the writer of a FIFO would
/// notice.
pub(crate) fn check(path: &Path) -> io::Result<Metadata> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }

    access(path, Access::READ_OK)?;
    Ok(metadata)
}

/// The maximum size of a file of values in bytes.
const MAX_SIZE: usize = 64 * 1024 * 1024;
/// The maximum size of an age file in bytes. An export of a vault can be that large.
pub(crate) const MAX_SEALED: usize = 1024 * 1024 * 1024;

/// Reads a file of values, or stdin for `-`: at most 64 MiB, or 1 GiB for an age file. Also returns
/// the name for messages.
pub(crate) fn named(path: &Path) -> Result<(SecretBytes, String), UiError> {
    let (name, bytes) = if path == Path::new("-") {
        take_stdin()?;
        ("stdin".to_owned(), values(rustix::stdio::stdin()))
    } else {
        (path.display().to_string(), open(path).and_then(|(file, _)| values(&file)))
    };

    match bytes {
        Ok(bytes) if bytes.len() > MAX_SEALED => Err(UiError::TooLarge(name, "1 GiB")),
        Ok(bytes) if bytes.len() > MAX_SIZE && !is_age(bytes.expose()) => {
            Err(UiError::TooLarge(name, "64 MiB"))
        }
        Ok(bytes) => Ok((bytes, name)),
        Err(source) => Err(UiError::Input { name, source }),
    }
}

fn values(descriptor: impl AsFd) -> io::Result<SecretBytes> {
    let mut bytes = read(&descriptor, MAX_SIZE)?;
    if bytes.len() > MAX_SIZE && is_age(bytes.expose()) {
        append(descriptor, &mut bytes, MAX_SEALED)?;
    }

    Ok(bytes)
}

pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Returns true if stdin is a pipe, socket or file with unread bytes. Never waits.
pub(crate) fn stdin_has_bytes() -> bool {
    !stdin_is_terminal()
        && rustix::io::ioctl_fionread(rustix::stdio::stdin()).is_ok_and(|waiting| waiting > 0)
}

/// Removes one newline, `\n` or `\r\n`, from the end.
pub(crate) fn drop_newline(bytes: &mut SecretBytes) {
    let end = bytes.expose();
    let cut = if end.ends_with(b"\r\n") { 2 } else { usize::from(end.ends_with(b"\n")) };
    bytes.truncate(bytes.len() - cut);
}
