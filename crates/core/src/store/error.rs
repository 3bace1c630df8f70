//! The errors of a store.

use std::path::PathBuf;

use super::FORMAT;
use super::remote::ServerError;

/// The reason why a store could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The path does not exist
    #[error("no vault at `{}`", .0.display())]
    Missing(PathBuf),
    /// The directory for a new file does not exist
    #[error("the directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The path already exists
    #[error("`{}` already exists", .0.display())]
    Exists(PathBuf),
    /// The file is the near file of a vault on a server, which has no secrets
    #[error("`{}` is the near file of a vault on a server", .0.display())]
    IsNear(PathBuf),
    /// The path does not name a file
    #[error("`{}` is not the path of a file", .0.display())]
    BadPath(PathBuf),
    /// Somebody else could read or replace the file; `fix` is a command that helps, if one exists
    #[error("`{}` {why}", path.display())]
    Unsafe {
        /// The file or directory
        path: PathBuf,
        /// A predicate, for example "is a symbolic link"
        why: &'static str,
        /// A command line
        fix: Option<String>,
    },
    /// The journal was not written for this state of the vault
    #[error("`{}` was not written for the vault's current state; it would roll the vault back and was not used", .0.display())]
    ForeignJournal(PathBuf),
    /// The file is not a SQLite file of ours
    #[error("`{}` is not a vault", .0.display())]
    NotAVault(PathBuf),
    /// The vault has a format that this version does not know
    #[error("the vault has format {0}; this version of `secrets` reads format {FORMAT}")]
    Format(i32),
    /// The tables do not follow the format; the text names them
    #[error("the vault's {0} is damaged or was tampered with")]
    Damaged(&'static str),
    /// A checkpoint cannot be read
    #[error("cannot read the vault's checkpoint `{}`: {source}", path.display())]
    Checkpoint {
        /// The file
        path: PathBuf,
        /// The system's error
        source: std::io::Error,
    },
    /// A new random id belongs to an existing row
    #[error("a new random id is already in use in the vault; nothing was changed")]
    IdTaken,
    /// A commit failed, and what is stored now cannot be read
    #[error("it is not known whether the change was saved")]
    UnknownOutcome,
    /// Another writer has changed the vault since it was read; the change is tried again
    #[error("another writer has changed the vault at the same time")]
    Raced,
    /// The vault is on a server, and something about that does not work
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Another process has used the vault for 30 seconds
    #[error("the vault is busy: another process has been using it for 30 seconds")]
    Busy,
    /// The file system does not support locks, without which readers and writers destroy each
    /// other's work
    #[error("the vault's file system does not support file locks")]
    NoLocks,
    /// The file system is read-only, or we lack the permission to write
    #[error("the vault cannot be written: the file or its file system is read-only")]
    ReadOnly,
    /// The file system has no space left
    #[error("no space left on the vault's file system; nothing was changed")]
    Full,
    /// A system call failed; the SQLite code is for developers
    #[error("cannot read or write the vault (SQLite code {0})")]
    Sqlite(i32),
    /// A system call failed
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The verb that fits, for example "create" or "open"
        action: &'static str,
        /// The file or directory
        path: PathBuf,
        /// The system's error
        source: std::io::Error,
    },
}
