//! Where agents listen: a directory of ours alone, and a socket in it for each vault.
//!
//! Nothing is trusted for its name: owner and mode are looked at each time, and links are not followed.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::store::Records;

/// Bytes that a socket's path may have on Linux, without its final zero.
pub const LONGEST: usize = 107;
/// The socket on which one agent of version 0.1.0 served all vaults.
const SHARED: &str = "agent.sock";
/// The longest wait for another process that changes a name. Longer than that, somebody holds the lock on purpose.
const TURN: Duration = Duration::from_secs(1);
/// Between two tries to get the lock.
const PAUSE: Duration = Duration::from_millis(5);

/// Why there is no place for an agent.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    /// The directory is not ours alone
    #[error("`{}` {why}", path.display())]
    Unsafe {
        /// The directory
        path: PathBuf,
        /// Half a sentence: "belongs to another user"
        why: &'static str,
    },
    /// A socket's path is limited by the system
    #[error("the path `{}` is too long to contain a socket", .0.display())]
    TooLong(PathBuf),
    /// The system failed
    #[error("cannot create `{}`: {source}", path.display())]
    Io {
        /// The directory
        path: PathBuf,
        /// The system's word
        source: io::Error,
    },
}

/// A directory that was verified.
#[derive(Debug, Clone)]
pub struct RuntimeDir {
    directory: PathBuf,
}

impl RuntimeDir {
    /// The place at an existing `directory`; `None` if it does not exist.
    pub fn existing(directory: &Path) -> Result<Option<Self>, RuntimeDirError> {
        let fault = |why| RuntimeDirError::Unsafe { path: directory.to_owned(), why };
        let Ok(found) = fs::symlink_metadata(directory) else { return Ok(None) };
        if !found.is_dir() {
            return Err(fault("is no directory"));
        }

        if found.uid() != geteuid().as_raw() {
            return Err(fault("belongs to another user"));
        }

        if found.mode() & 0o077 != 0 {
            return Err(fault("is open to other users"));
        }

        Ok(Some(Self { directory: directory.to_owned() }))
    }

    /// The place at `directory`, which is created with mode 0700 if it does not exist.
    pub fn made(directory: &Path) -> Result<Self, RuntimeDirError> {
        if let Some(place) = Self::existing(directory)? {
            return Ok(place);
        }

        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let made = made.map(|()| Self::existing(directory));
        let missing = || RuntimeDirError::Io {
            path: directory.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        };

        made.map_err(|source| RuntimeDirError::Io { path: directory.to_owned(), source })??
            .ok_or_else(missing)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The same place, if the path of a socket in it is not longer than the system allows.
    pub fn with_room_for_sockets(self) -> Result<Self, RuntimeDirError> {
        let too_long = self.socket(&[]).as_os_str().len() > LONGEST;
        if too_long { Err(RuntimeDirError::TooLong(self.directory)) } else { Ok(self) }
    }

    /// The socket of the agent for the vault of this path, which is absolute and canonical.
    pub fn socket(&self, vault: &[u8]) -> PathBuf {
        let digest = Sha256::digest(vault);
        let (name, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        self.directory.join(format!("agent-{:016x}.sock", u64::from_be_bytes(*name)))
    }

    /// The sockets of all agents, and that of an agent of version 0.1.0.
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

    /// Removes the socket of an agent of version 0.1.0, which ends when its socket is gone. This version does not use it.
    pub(super) fn end_shared_agent(&self) {
        let _ = fs::remove_file(self.directory.join(SHARED));
    }

    /// Opens the file that is locked while a socket gets its name or loses it.
    pub(super) fn lock(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join("agent.lock"))
    }

    /// Removes a socket if it is still the one of this identity. Its agent, if it has one, then ends by itself.
    pub(super) fn remove(&self, socket: &Path, wanted: Option<(u64, u64)>) {
        if let Ok(lock) = self.lock()
            && wanted.is_some()
        {
            remove(&lock, socket, wanted);
        }
    }

    /// Writes down in `records` that agents may be here, so that `lock --all` finds them from a login with other
    /// directories.
    pub fn remember(&self, records: &Records) -> io::Result<()> {
        let directory = self.directory.as_os_str().as_bytes();
        let name = Records::name_of(&[directory]);
        if matches!(records.read(&name), Ok(Some(known)) if known == directory) {
            return Ok(());
        }

        records.write(&name, directory)
    }

    /// The directories that were written down in `records`. Those that no longer exist are forgotten.
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

/// By which a socket is told from another one of the same name.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Removes a socket under the lock, if it is still the one of this identity. Without the lock it stays: nobody answers on
/// it, which is as good.
pub(super) fn remove(lock: &File, socket: &Path, wanted: Option<(u64, u64)>) {
    in_turn(lock, |ours| {
        if ours && identity(socket) == wanted {
            let _ = fs::remove_file(socket);
        }
    });
}

/// Does something while no other process of ours changes names, and reports whether the lock was had in time.
pub(super) fn in_turn<T>(lock: &File, deed: impl FnOnce(bool) -> T) -> T {
    let give_up = Instant::now() + TURN;
    let ours = loop {
        match lock.try_lock() {
            Ok(()) => break true,
            Err(fs::TryLockError::WouldBlock) if Instant::now() < give_up => sleep(PAUSE),
            // A file system without locks, or somebody who keeps it.
            Err(_) => break false,
        }
    };

    let outcome = deed(ours);
    if ours {
        let _ = lock.unlock();
    }

    outcome
}
