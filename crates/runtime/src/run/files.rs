//! Writes values to private files that exist while a program runs.
//!
//! The files are removed when the program has ended. If this process is killed first, a guard
//! removes them. The guard is a separate process that only waits for our end. If neither could
//! remove the files, for example after a power failure, the next run does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::getpid;
use secrets_core::model::{SecretValue, Tag};
use secrets_files::{DeferSignals, leftovers};

use crate::helper::Helper;
use crate::process;

const PREFIX: &str = "run-";

/// A private directory with a file for each value. Dropping it removes the directory.
pub struct PrivateFiles {
    directory: PathBuf,
    /// The directory, locked while this process lives. A process id alone is not enough, because
    /// the id may belong to another PID namespace.
    _lock: File,
    _guard: Option<Child>,
}

impl PrivateFiles {
    /// Creates the directory in `parent`, which must be private.
    pub fn new(parent: &Path, executable: &Path) -> io::Result<Self> {
        Self::create(parent, |directory| start_guard(directory, executable).map(Some))
    }

    /// Creates the directory without a guard, for files that are not secret. If this process is killed,
    /// the next run removes them.
    pub fn without_guard(parent: &Path) -> io::Result<Self> {
        Self::create(parent, |_| Ok(None))
    }

    fn create(
        parent: &Path,
        guard: impl FnOnce(&Path) -> io::Result<Option<Child>>,
    ) -> io::Result<Self> {
        remove_stale(parent);
        let (pid, nonce) = (getpid().as_raw_nonzero(), leftovers::random()?);
        let directory = parent.join(format!("{PREFIX}{pid}-{nonce:016x}"));

        DirBuilder::new().mode(0o700).create(&directory)?;
        let locked = || {
            let lock = File::open(&directory)?;
            lock.lock().map(|()| lock)
        };

        match locked().and_then(|lock| Ok((lock, guard(&directory)?))) {
            Ok((lock, guard)) => Ok(Self { directory, _lock: lock, _guard: guard }),
            Err(error) => {
                let _ = fs::remove_dir(&directory);
                Err(error)
            }
        }
    }

    /// Writes a value to the file for its tag with mode 0600. Returns the file's path.
    pub fn put(&self, tag: &Tag, value: &SecretValue) -> io::Result<PathBuf> {
        self.put_bytes(tag.key().as_str(), value.expose())
    }

    /// Writes bytes to a file of this name with mode 0600. Returns the file's path.
    pub fn put_bytes(&self, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => file.write_all(bytes).map(|()| path),
            // The same value may already have been written for another variable.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            Err(error) => Err(error),
        }
    }
}

impl Drop for PrivateFiles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts the guard and waits until signals to our process group can no longer reach it.
fn start_guard(directory: &Path, executable: &Path) -> io::Result<Child> {
    let mut guard = Helper::Guard { directory }
        .command(executable)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut ready = guard.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    ready.read_exact(&mut [0])?;
    Ok(guard)
}

/// Runs the guard: waits until the other end of `waiting` is closed, and then removes the
/// directory.
pub fn guard(
    directory: &Path,
    ready: impl FnOnce() -> io::Result<()>,
    mut waiting: impl Read,
) -> io::Result<()> {
    process::detach(c"secrets-guard")?;

    let deferred = DeferSignals::on_all()?;
    ready()?;
    let _ = io::copy(&mut waiting, &mut io::sink());
    let is_ours =
        directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));

    let outcome = if is_ours { fs::remove_dir_all(directory) } else { Ok(()) };
    deferred.take();
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the directories of processes that no longer exist.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());

        if pid.is_some_and(leftovers::is_dead)
            && File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
