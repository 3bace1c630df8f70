//! The new content of a file before it has the file's name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::DeferSignals;
use super::directory;
use super::identity::is_at;
use super::rename;

/// The mode of a file that only its owner can access.
pub(crate) const PRIVATE: u32 = 0o600;

/// A temporary file with the new content.
///
/// If the file system supports it, the file has no name until it is complete, so nothing is left
/// behind even if the process is killed. Otherwise it is named `.NAME.secrets-new` and is removed
/// before a signal ends the process.
pub(crate) struct Temporary {
    pub(crate) file: File,
    /// The temporary name, if the file has one
    name: Option<PathBuf>,
    /// Defers signals until the temporary name is removed
    deferred: Option<DeferSignals>,
}

/// Returns the temporary name next to the output, under which new content waits for the rename.
/// Each output has one such name. A writer that is killed between link and rename leaves the file
/// behind, and the next writer removes it.
fn temporary_name(path: &Path) -> PathBuf {
    const SUFFIX: &str = ".secrets-new";

    // File names have at most 255 bytes. Two outputs whose long names start alike may share a
    // temporary name. They take turns, because the file is locked.
    let output = path.file_name().unwrap_or_default().as_bytes();
    let mut name = OsString::from(".");
    name.push(OsStr::from_bytes(&output[..output.len().min(254 - SUFFIX.len())]));
    name.push(SUFFIX);

    path.with_file_name(name)
}

impl Temporary {
    pub(crate) fn create_for(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::open(directory::of(path), flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(file) => {
                    let unnamed = Self { file: file.into(), name: None, deferred: None };

                    // Without /proc, the file could not be linked to a name.
                    if lock(&unnamed.file)? && fs::metadata(unnamed.descriptor()).is_ok() {
                        return Ok(unnamed);
                    }
                }
                // The file system (NFS, some FUSE) or the kernel does not support unnamed files.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }

        let name = temporary_name(path);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let deferred = DeferSignals::new()?;

        loop {
            match rustix::fs::open(&name, flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(file) => {
                    let file = File::from(file);

                    // Before we locked the file, another writer may have removed it as a leftover.
                    if lock(&file)? && is_at(&file, &name)? {
                        return Ok(Self { file, name: Some(name), deferred: Some(deferred) });
                    }
                }
                Err(Errno::EXIST) => remove_stale(&name)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives the content the output's name.
    pub(crate) fn publish(mut self, path: &Path, replaces: bool) -> io::Result<()> {
        let rename = |name: &Path| {
            fs::rename(name, path).inspect_err(|_| {
                let _ = fs::remove_file(name);
            })
        };

        if let Some(name) = self.name.take() {
            return rename(&name);
        }

        // The output does not exist, so one link is enough and no temporary name is needed.
        if !replaces {
            match self.link(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }

        let name = temporary_name(path);
        loop {
            // Between link and rename the file has a second name. A signal would leave it behind.
            let deferred = DeferSignals::new()?;
            let done = self.link(&name).and_then(|()| rename(&name));
            drop(deferred);
            match done {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove_stale(&name)?,
                done => return done,
            }
        }
    }

    /// Gives the content a name that no other file has. Leaves nothing behind if the name is taken.
    pub(crate) fn publish_new(mut self, path: &Path) -> io::Result<()> {
        let Some(name) = &self.name else { return self.link(path) };
        rename::to_new_name(name, path)?;
        self.name = None;
        Ok(())
    }

    fn link(&self, name: &Path) -> io::Result<()> {
        Ok(rustix::fs::linkat(CWD, self.descriptor(), CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn descriptor(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.deferred.as_ref().is_some_and(DeferSignals::is_due) {
            return Err(io::Error::other("interrupted"));
        }

        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = fs::remove_file(name);
        }
    }
}

/// Removes a temporary file that a dead writer left behind. Waits for the writer if it is still
/// alive.
fn remove_stale(name: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };

    let file = File::from(file);
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;

    // If the name still belongs to the file that we locked, its writer is dead.
    if is_at(&file, name)? { fs::remove_file(name) } else { Ok(()) }
}

/// Takes the writer's lock. Returns false if another writer holds it. On a file system without
/// locks, the lock counts as taken.
fn lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
