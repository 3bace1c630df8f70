//! The vault's path: which files may be opened as a vault, and how new files get their names.
//!
//! An existing file is opened here only to find out whether it is a vault. Closing a second
//! descriptor of an open vault would drop SQLite's locks on it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use secrets_files::directory::with_suffix;
use secrets_files::{DeferSignals, directory, leftovers, modes, rename};

use super::neighbours;
use super::{APPLICATION_ID, StoreError};

/// Makes a path absolute and canonicalises its parent. The last component is kept. SQLite gets only
/// such paths: it would take `:memory:`, an empty name and `file:x?mode=memory` for databases that
/// vanish with the process.
pub fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let bad = || StoreError::BadPath(path.to_owned());
    let name = path.file_name().ok_or_else(bad)?;

    // For std, `dir/` and `dir/.` have a file name, but they are directories.
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        return Err(bad());
    }

    let whole = std::path::absolute(path).map_err(|_| bad())?;
    let parent = whole.parent().ok_or_else(bad)?;
    let parent = parent.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(path.to_owned()),
        _ => StoreError::Io { action: "open", path: path.to_owned(), source },
    })?;

    Ok(parent.join(name))
}

/// A vault's file that may be opened.
pub(super) struct ExistingVault {
    /// The absolute path
    pub(super) path: PathBuf,
    /// The file system has no Unix modes, so others may be able to read or replace the file
    pub(super) is_exposed: bool,
}

/// Returns the file to open, if nobody else can read, replace or redirect it, or put a journal next
/// to it.
pub(super) fn existing(path: &Path) -> Result<ExistingVault, StoreError> {
    let path = absolute(path)?;
    let mut is_exposed = false;
    let metadata = fs::symlink_metadata(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::Missing(path.clone()),
        _ => StoreError::Io { action: "open", path: path.clone(), source },
    })?;

    let kind = metadata.file_type();
    let (directory, quoted) = (path.parent().unwrap_or(&path), quoted(&path));
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();

    if kind.is_file() && is_ours && metadata.mode() & 0o077 != 0 {
        // The hint recommends `chmod` only for a vault, not for any file that somebody named by
        // mistake.
        if !File::open(&path).is_ok_and(|file| looks_like_a_vault(&file)) {
            return Err(StoreError::NotAVault(path));
        }

        is_exposed = modes::are_fixed(directory);
    }

    let (why, fix) = if kind.is_symlink() {
        ("is a symbolic link; use the path of the vault itself", None)
    } else if kind.is_dir() {
        ("is a directory, not a vault", None)
    } else if !kind.is_file() {
        let special = kind.is_fifo() || kind.is_socket();
        (
            if special { "is a FIFO or a socket, not a vault" } else { "is a device, not a vault" },
            None,
        )
    } else if !is_ours {
        ("belongs to another user", None)
    } else if metadata.mode() & 0o077 != 0 && !is_exposed {
        ("can be accessed by other users", Some(format!("chmod 600 {quoted}")))
    } else if metadata.nlink() > 1 {
        (
            "has several names (hard links)",
            Some(format!("cp {quoted} {quoted}.copy && mv {quoted}.copy {quoted}")),
        )
    } else if access(&path, Access::READ_OK).is_err() {
        ("cannot be read", Some(format!("chmod 600 {quoted}")))
    } else {
        is_exposed |= neighbours::check_directory(directory)?;
        return Ok(ExistingVault { path, is_exposed });
    };

    Err(StoreError::Unsafe { path, why, fix })
}

/// Looks for the application id in SQLite's header. Call it only for a file that is not open as a
/// vault, because closing it would drop SQLite's locks.
pub fn looks_like_a_vault(file: &File) -> bool {
    let mut header = [0; 72];
    let read = file.read_exact_at(&mut header, 0);
    read.is_ok()
        && header.starts_with(b"SQLite format 3\0")
        && header[68..] == APPLICATION_ID.to_be_bytes()
}

/// The action for an existing file at the path of a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// An existing file is an error
    Refused,
    /// The new file replaces the existing one
    Replaced,
    /// The caller moves the existing file away before the new one gets its name
    Moved,
}

/// Checks that a new file can be created at `target`, and returns its absolute path. Creates
/// nothing.
pub fn check_new(target: &Path, if_exists: IfExists) -> Result<PathBuf, StoreError> {
    let target = absolute(target).map_err(|error| match error {
        StoreError::Missing(path) => {
            StoreError::NoDirectory(path.parent().unwrap_or(&path).to_owned())
        }
        other => other,
    })?;

    if if_exists == IfExists::Refused && fs::symlink_metadata(&target).is_ok() {
        return Err(StoreError::Exists(target));
    }

    let directory = target.parent().unwrap_or(&target);
    neighbours::check_directory(directory)?;
    check_writable(directory).map_err(|source| StoreError::Io {
        action: "create",
        path: target.clone(),
        source,
    })?;

    if if_exists != IfExists::Moved {
        refuse_foreign_journal(&target)?;
    }

    Ok(target)
}

/// Checks that a vault can be created at `path`, together with its directory. Creates nothing.
pub fn check_new_vault(path: &Path) -> Result<(), StoreError> {
    match check_new(path, IfExists::Refused) {
        Err(StoreError::NoDirectory(_)) => check_directory_for(path),
        checked => checked.map(drop),
    }
}

/// Checks that [`create_directory_for`] can create the directory of `path`. Creates nothing.
pub fn check_directory_for(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { action: "create", path: path.to_owned(), source };
    let whole = std::path::absolute(path).map_err(failed)?;
    let above = whole.ancestors().skip(1).find(|above| above.exists());
    above.map_or(Ok(()), check_writable).map_err(failed)
}

/// Fails if no files can be created in a directory.
fn check_writable(directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }

    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// A file that is being written under a temporary name next to its target. It is removed on drop,
/// unless [`StagedFile::persist`] was called.
pub(super) struct StagedFile {
    path: PathBuf,
    target: PathBuf,
    if_exists: IfExists,
    persisted: bool,
    /// Signals are deferred until the file has its name or was removed
    _hold: DeferSignals,
}

impl StagedFile {
    /// Creates an empty file (0600). If the target exists, `if_exists` decides whether that is an
    /// error.
    pub(super) fn new(target: &Path, if_exists: IfExists) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { action: "create", path: target.to_owned(), source };
        let target = check_new(target, if_exists)?;
        leftovers::remove_for(&target, &["-journal"]);
        let mut name = OsString::from(leftovers::drawn_name().map_err(failed)?);
        name.push(target.file_name().unwrap_or_default());
        let path = target.with_file_name(name);
        let hold = DeferSignals::new().map_err(failed)?;

        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        Ok(Self { path, target, if_exists, persisted: false, _hold: hold })
    }

    /// Returns the temporary path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to its target, unless the target has come into existence in the meantime
    /// and must not be replaced.
    pub(super) fn persist(mut self) -> Result<PathBuf, StoreError> {
        refuse_foreign_journal(&self.target)?;
        let renamed = match self.if_exists {
            IfExists::Replaced => fs::rename(&self.path, &self.target),
            IfExists::Refused | IfExists::Moved => rename::to_new_name(&self.path, &self.target),
        };

        renamed.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists(self.target.clone()),
            _ => StoreError::Io { action: "create", path: self.target.clone(), source },
        })?;

        self.persisted = true;
        if let Some(parent) = self.target.parent() {
            let synced = directory::flush(parent);
            synced.map_err(|source| StoreError::Io {
                action: "create",
                path: self.target.clone(),
                source,
            })?;
        }

        Ok(self.target.clone())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.persisted {
            // SQLite leaves its journal if it could not roll back, for example on a full disk.
            let _ = fs::remove_file(with_suffix(&self.path, "-journal"));
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates the directory of a vault at `path` (0700), and its missing parents.
pub fn create_directory_for(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io { action: "create", path: path.to_owned(), source };
    let whole = std::path::absolute(path).map_err(failed)?;
    match whole.parent() {
        Some(parent) if path.file_name().is_some() => {
            directory::create_durable(parent).map_err(failed)
        }
        _ => Ok(()),
    }
}

/// The suffixes of the files that SQLite would take for those of a killed writer and replay.
pub const JOURNALS: [&str; 2] = ["-journal", "-wal"];

/// Returns the path of the copy of a vault from before an interrupted change was rolled back. The
/// copy of the journal gets a name that SQLite does not look for, so opening this copy shows the
/// file as it was.
pub fn before_recovery(vault: &Path) -> PathBuf {
    with_suffix(vault, ".before-recovery")
}

/// Fails if a journal of another file exists: SQLite would replay it into the new file.
fn refuse_foreign_journal(target: &Path) -> Result<(), StoreError> {
    let existing = JOURNALS
        .iter()
        .map(|end| with_suffix(target, end))
        .find(|path| fs::symlink_metadata(path).is_ok());

    existing.map_or(Ok(()), |path| Err(StoreError::Exists(path)))
}

/// Quotes a path as one word of a POSIX shell, for a command that is shown.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&b);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
