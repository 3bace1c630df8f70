//! Values in private files, for as long as a program lives.
//!
//! They are removed when the program has ended. Where we are killed before that, a guard removes them: a process of its
//! own that does nothing but wait for our end. What both left behind, as when the machine lost power, the next one removes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, getpid, test_kill_process};

use crate::crypto::random;
use crate::model::{SecretValue, Tag};
use crate::process;
use crate::signals::DeferSignals;

const PREFIX: &str = "run-";

/// A directory of ours alone with a file for each value. Dropped, it is gone.
pub struct PrivateFiles {
    directory: PathBuf,
    /// The directory, locked as long as we live: a process id says nothing in another PID namespace
    _lock: File,
    _guard: Child,
}

impl PrivateFiles {
    /// Makes the directory in `parent`, which is ours alone.
    pub fn new(parent: &Path, executable: &Path) -> io::Result<Self> {
        sweep(parent);
        let drawn: [u8; 8] = random::array().map_err(|_| io::Error::other("no random bytes"))?;
        let name =
            format!("{PREFIX}{}-{:016x}", getpid().as_raw_nonzero(), u64::from_be_bytes(drawn));
        let directory = parent.join(name);

        DirBuilder::new().mode(0o700).create(&directory)?;
        let locked = || {
            let lock = File::open(&directory)?;
            lock.lock().map(|()| lock)
        };

        match locked().and_then(|lock| Ok((lock, start_guard(&directory, executable)?))) {
            Ok((lock, guard)) => Ok(Self { directory, _lock: lock, _guard: guard }),
            Err(error) => {
                let _ = fs::remove_dir(&directory);
                Err(error)
            }
        }
    }

    /// Writes a value into the file of its tag, mode 0600; returns the file's path.
    pub fn put(&self, tag: &Tag, value: &SecretValue) -> io::Result<PathBuf> {
        let path = self.directory.join(tag.key().as_str());
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => file.write_all(value.expose()).map(|()| path),
            // One value may go by several names.
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

/// Starts the guard and waits until no signal to our group can reach it.
fn start_guard(directory: &Path, executable: &Path) -> io::Result<Child> {
    let mut command = Command::new(executable);
    command
        .arg0("secrets")
        .arg("guard")
        .arg("--directory")
        .arg(directory)
        .env_clear()
        .current_dir("/");

    let mut guard =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut ready = guard.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    ready.read_exact(&mut [0])?;
    Ok(guard)
}

/// The guard's process: waits until `waiting` ends, which is when its other end is gone, and removes the directory.
pub fn guard(
    directory: &Path,
    ready: impl FnOnce() -> io::Result<()>,
    mut waiting: impl Read,
) -> io::Result<()> {
    process::detach(c"secrets-guard")?;

    let hold = DeferSignals::on_all()?;
    ready()?;
    let _ = io::copy(&mut waiting, &mut io::sink());
    let named =
        directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));

    let outcome = if named { fs::remove_dir_all(directory) } else { Ok(()) };
    hold.take();
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes directories whose process is gone.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());

        if let Some(pid) = pid.and_then(Pid::from_raw)
            && test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
            && File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
