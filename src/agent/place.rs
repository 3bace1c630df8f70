//! Where the agent listens: a directory of ours alone, and the socket in it.
//!
//! Nothing is trusted for its name: owner and mode are looked at each time, and links are not followed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Bytes that a socket's path may have on Linux, without its final zero.
const LONGEST: usize = 107;

/// Why there is no place for an agent.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The directory is not ours alone
    #[error("`{}` {why}", path.display())]
    Unsafe {
        /// The directory
        path: PathBuf,
        /// Half a sentence: "belongs to another user"
        why: &'static str,
    },
    /// A socket's path is limited by the system
    #[error("`{}` is too long for a socket", .0.display())]
    TooLong(PathBuf),
    /// The system failed
    #[error("cannot make `{}`: {source}", path.display())]
    Io {
        /// The directory
        path: PathBuf,
        /// The system's word
        source: io::Error,
    },
}

/// A directory that was verified.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// The place at `directory`, which is there; `None` where it is not.
    pub fn existing(directory: &Path) -> Result<Option<Self>, PlaceError> {
        let fault = |why| PlaceError::Unsafe { path: directory.to_owned(), why };
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
        let place = Self { directory: directory.to_owned() };
        if place.socket().as_os_str().len() > LONGEST {
            return Err(PlaceError::TooLong(place.socket()));
        }
        Ok(Some(place))
    }

    /// The place at `directory`, made 0700 where it is not there.
    pub fn made(directory: &Path) -> Result<Self, PlaceError> {
        if let Some(place) = Self::existing(directory)? {
            return Ok(place);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let made = made.map(|()| Self::existing(directory));
        let missing = || PlaceError::Io { path: directory.to_owned(), source: io::ErrorKind::NotFound.into() };
        made.map_err(|source| PlaceError::Io { path: directory.to_owned(), source })??.ok_or_else(missing)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("agent.sock")
    }

    /// Locked by the agent as long as it lives: of two that start, one serves.
    pub(super) fn lock(&self) -> PathBuf {
        self.directory.join("agent.lock")
    }
}
