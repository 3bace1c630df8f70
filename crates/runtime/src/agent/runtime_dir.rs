//! The directory in which agents listen. Only its owner can access it, and it contains a socket for
//! each vault.
//!
//! A name alone is never trusted. Owner and mode are checked each time, and symbolic links are not
//! followed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use secrets_files::FileId;
use secrets_files::Records;
use sha2::{Digest, Sha256};

/// The maximum length of a socket's path on Linux in bytes, without the terminating zero.
pub const MAX_LENGTH: usize = 107;
/// The socket of version 0.1.0, whose single agent served all vaults.
const SHARED: &str = "agent.sock";
/// The longest wait for another process that renames or removes a socket. A process that holds the
/// lock longer does so on purpose.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(5);

/// The reason why there is no directory for an agent.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// The directory is not private to this user
    #[error("`{}` {why}", path.display())]
    Unsafe {
        path: PathBuf,
        /// The reason as a phrase, such as "belongs to another user"
        why: &'static str,
    },
    /// The path of a socket in the directory would exceed the system's limit
    #[error("the path `{}` is too long to contain a socket", .0.display())]
    TooLong(PathBuf),
    #[error("cannot create `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A verified runtime directory.
#[derive(Debug, Clone)]
pub struct RuntimeDir {
    directory: PathBuf,
}

impl RuntimeDir {
    /// Verifies an existing directory. Returns `None` if it does not exist.
    pub fn existing(directory: &Path) -> Result<Option<Self>, RuntimeDirError> {
        let unsafe_error = |why| RuntimeDirError::Unsafe { path: directory.to_owned(), why };
        let Ok(found) = fs::symlink_metadata(directory) else { return Ok(None) };
        if !found.is_dir() {
            return Err(unsafe_error("is not a directory"));
        }

        if found.uid() != geteuid().as_raw() {
            return Err(unsafe_error("belongs to another user"));
        }

        if found.mode() & 0o077 != 0 {
            return Err(unsafe_error("is accessible to other users"));
        }

        Ok(Some(Self { directory: directory.to_owned() }))
    }

    /// Verifies the directory, or creates it with mode 0700 if it does not exist.
    pub fn open_or_create(directory: &Path) -> Result<Self, RuntimeDirError> {
        if let Some(existing) = Self::existing(directory)? {
            return Ok(existing);
        }

        let created = secrets_files::directory::create_private(directory);
        let created = created.map(|()| Self::existing(directory));
        let missing = || RuntimeDirError::Io {
            path: directory.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        };

        created
            .map_err(|source| RuntimeDirError::Io { path: directory.to_owned(), source })??
            .ok_or_else(missing)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Checks that the path of a socket in the directory does not exceed the system's limit.
    pub fn with_room_for_sockets(self) -> Result<Self, RuntimeDirError> {
        let too_long = self.socket(&[]).as_os_str().len() > MAX_LENGTH;
        if too_long { Err(RuntimeDirError::TooLong(self.directory)) } else { Ok(self) }
    }

    /// Returns the socket of the agent for the vault at this absolute and canonical path.
    pub fn socket(&self, vault: &[u8]) -> PathBuf {
        let digest = Sha256::digest(vault);
        let (name, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        self.directory.join(format!("agent-{:016x}.sock", u64::from_be_bytes(*name)))
    }

    /// Returns the socket of the process that keeps the connection of the vault at this absolute and
    /// canonical path.
    pub fn link_socket(&self, vault: &[u8]) -> PathBuf {
        self.socket(vault).with_extension("link")
    }

    /// Returns the sockets of all processes that keep connections.
    pub fn link_sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "link")).collect()
    }

    /// Returns the sockets of all agents, including that of an agent of version 0.1.0.
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let is_socket = |name: &[u8]| {
            name == SHARED.as_bytes() || name.starts_with(b"agent-") && name.ends_with(b".sock")
        };

        entries
            .filter(|entry| is_socket(entry.file_name().as_bytes()))
            .map(|entry| entry.path())
            .collect()
    }

    /// Removes the socket of an agent of version 0.1.0, which then exits. This version does not use
    /// that socket.
    pub(super) fn end_shared_agent(&self) {
        let _ = fs::remove_file(self.directory.join(SHARED));
    }

    /// Opens the lock file. The lock is held while a socket is renamed or removed.
    pub(super) fn lock(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join("agent.lock"))
    }

    /// Removes a socket if it still has the expected identity. Its agent, if there is one, then
    /// exits.
    pub(super) fn remove(&self, socket: &Path, expected: Option<FileId>) {
        if let Ok(lock) = self.lock()
            && expected.is_some()
        {
            remove(&lock, socket, expected);
        }
    }

    /// Records this directory in `records`, so that `lock --all` finds its agents from a login with
    /// other directories.
    pub fn remember(&self, records: &Records) -> io::Result<()> {
        let directory = self.directory.as_os_str().as_bytes();
        let name = Records::name_of(&[directory]);
        if matches!(records.read(&name), Ok(Some(known)) if known == directory) {
            return Ok(());
        }

        records.write(&name, directory)
    }

    /// Returns the recorded directories. Those that no longer exist are removed from `records`.
    pub fn remembered(records: &Records) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        for name in records.names().unwrap_or_default() {
            let Ok(Some(bytes)) = records.read(&name) else { continue };
            let directory = PathBuf::from(OsString::from_vec(bytes));
            if directory.is_dir() {
                directories.push(directory);
            } else {
                let _ = records.remove(&name);
            }
        }

        directories
    }
}

/// Removes a socket under the lock if it still has the expected identity. Without the lock the
/// socket stays, which is harmless because nobody answers on it.
pub(super) fn remove(lock: &File, socket: &Path, expected: Option<FileId>) {
    with_lock(lock, |is_held| {
        if is_held && FileId::of_name(socket) == expected {
            let _ = fs::remove_file(socket);
        }
    });
}

/// Runs `action` while holding the lock against other processes, and passes it whether the lock was
/// taken in time.
pub(super) fn with_lock<T>(lock: &File, action: impl FnOnce(bool) -> T) -> T {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let is_held = loop {
        match lock.try_lock() {
            Ok(()) => break true,
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => sleep(PAUSE),
            // The file system has no locks, or another process does not release the lock.
            Err(_) => break false,
        }
    };

    let outcome = action(is_held);
    if is_held {
        let _ = lock.unlock();
    }

    outcome
}
