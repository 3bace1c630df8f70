//! The safe file: private from its first byte, the old content or the new, nothing in between and nothing left over.
//!
//! It never follows a symbolic link, never writes through a second name and never widens an existing file's mode.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::TemplateError;
use super::plan::ExpandError;

/// A file to be written, checked.
pub struct Output {
    path: PathBuf,
    existing: Option<Metadata>,
    mode: Option<u32>,
}

/// What became of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It has new content
    Replaced,
    /// It had that content already
    Same,
    /// It had that content already; its mode was narrowed or set
    ModeChanged,
}

/// Permission bits of an output that nobody asked for other ones.
const PRIVATE: u32 = 0o600;

impl Output {
    /// Checks what stands at `path`. `mode` are the permission bits asked for, `template` the identity of the template,
    /// which is never written over.
    pub fn new(path: &Path, mode: Option<u32>, template: Option<(u64, u64)>) -> Result<Self, TemplateError> {
        let refuse = |why| Err(TemplateError::UnsafeOutput { path: path.to_owned(), why });
        let existing = match fs::symlink_metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed(path, source)),
        };
        if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return refuse("is not the path of a file");
        }
        if let Some(found) = &existing {
            let kind = found.file_type();
            if kind.is_symlink() {
                return refuse("is a symbolic link");
            } else if kind.is_dir() {
                return refuse("is a directory");
            } else if kind.is_fifo() || kind.is_socket() {
                return refuse("is a FIFO or a socket");
            } else if !kind.is_file() {
                return refuse("is a device");
            } else if template == Some((found.dev(), found.ino())) {
                return refuse("is the template itself");
            } else if found.nlink() > 1 {
                return refuse("has several names (hard links)");
            }
        }
        Ok(Self { path: path.to_owned(), existing, mode })
    }

    /// True where the file is there.
    pub fn exists(&self) -> bool {
        self.existing.is_some()
    }

    /// The bits that the file is to have: those asked for, else 0600 or what an existing file keeps of them.
    fn target_mode(&self) -> u32 {
        let kept = self.existing.as_ref().map_or(PRIVATE, |found| found.mode() & PRIVATE);
        self.mode.unwrap_or(kept)
    }

    /// Compares what `produce` writes with the file; false where it is missing. Nothing is written.
    pub fn is_current(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<bool, TemplateError> {
        if !self.exists() {
            return Ok(false);
        }
        let file = File::open(&self.path).map_err(|source| failed(&self.path, source))?;
        let mut comparison = Comparison { file, same: true, ended: false };
        match produce(&mut comparison) {
            Ok(()) => comparison.finish().map_err(|source| failed(&self.path, source)),
            Err(ExpandError::Output(_)) if !comparison.same => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Puts what `produce` writes in place, or leaves everything as it was.
    pub fn replace(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<Written, TemplateError> {
        let failed = |source: io::Error| failed(&self.path, source);
        if self.is_readable_and_current(produce)? {
            let mode = self.existing.as_ref().map(|found| found.mode() & 0o7777);
            if mode == Some(self.target_mode()) {
                return Ok(Written::Same);
            }
            let wanted = Permissions::from_mode(self.target_mode());
            fs::set_permissions(&self.path, wanted).map_err(failed)?;
            return Ok(Written::ModeChanged);
        }
        let mut temporary = Temporary::beside(&self.path).map_err(failed)?;
        self.keep_owner(&temporary.file)?;
        rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(self.target_mode())).map_err(|e| failed(e.into()))?;
        produce(&mut temporary.file).map_err(|error| self.error(error))?;
        temporary.file.sync_all().map_err(failed)?;
        temporary.publish(&self.path, self.exists()).map_err(failed)?;
        File::open(directory(&self.path)).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(Written::Replaced)
    }

    fn is_readable_and_current(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<bool, TemplateError> {
        match self.is_current(produce) {
            // Of mode 0200, say: it is replaced all the same.
            Err(TemplateError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            other => other,
        }
    }

    /// A file of another owner that we may replace (root, mostly) stays theirs.
    fn keep_owner(&self, file: &File) -> Result<(), TemplateError> {
        let Some(found) = &self.existing else { return Ok(()) };
        let new = file.metadata().map_err(|source| failed(&self.path, source))?;
        if (new.uid(), new.gid()) == (found.uid(), found.gid()) {
            return Ok(());
        }
        std::os::unix::fs::fchown(file, Some(found.uid()), Some(found.gid())).map_err(|_| TemplateError::UnsafeOutput {
            path: self.path.clone(),
            why: "belongs to another user or group",
        })
    }

    fn error(&self, error: ExpandError) -> TemplateError {
        match error {
            ExpandError::Template(error) => error,
            ExpandError::Output(source) => failed(&self.path, source),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> TemplateError {
    TemplateError::Io { action: "write", name: path.display().to_string(), source }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// Takes what is written and compares it with a file.
struct Comparison {
    file: File,
    same: bool,
    ended: bool,
}

impl Comparison {
    fn finish(mut self) -> io::Result<bool> {
        Ok(self.same && !self.ended && self.file.read(&mut [0])? == 0)
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = crate::model::SecretBytes::zeroed(bytes.len().min(64 * 1024));
        let mut at = 0;
        while at < bytes.len() {
            let most = there.len().min(bytes.len() - at);
            let length = self.file.read(&mut there.expose_mut()[..most])?;
            if length == 0 || there.expose()[..length] != bytes[at..at + length] {
                self.same = false;
                return Err(io::Error::other("different"));
            }
            at += length;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The new content, before it has the output's name.
///
/// Where the file system can, it has no name at all until it is whole, so that whatever kills us leaves nothing behind.
/// Elsewhere it is a file `.NAME.secrets-new`, which a signal's handler removes.
struct Temporary {
    file: File,
    /// The name it has while it is written, where it has one
    name: Option<PathBuf>,
}

/// The name beside the output under which new content waits for the rename. There is one for each output: a writer
/// that was killed between link and rename leaves it behind, and the next one clears it away.
fn waiting_name(path: &Path) -> PathBuf {
    const SUFFIX: &str = ".secrets-new";
    // A name has 255 bytes at most. Two outputs whose names begin alike may share one: its lock makes them take turns.
    let output = path.file_name().unwrap_or_default().as_bytes();
    let mut name = OsString::from(".");
    name.push(OsStr::from_bytes(&output[..output.len().min(254 - SUFFIX.len())]));
    name.push(SUFFIX);
    path.with_file_name(name)
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::open(directory(path), flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(file) => {
                    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                    return Ok(Self { file: file.into(), name: None });
                }
                // A file system without nameless files (NFS, some FUSE), or a kernel without them.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let name = waiting_name(path);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            match rustix::fs::open(&name, flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(file) => {
                    let file = File::from(file);
                    // Before it was locked, another writer may have taken it for a dead one's and cleared it away.
                    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                        Ok(()) if is_at(&file, &name)? => {}
                        Ok(()) | Err(Errno::WOULDBLOCK) => continue,
                        Err(error) => return Err(error.into()),
                    }
                    remove_on_signal(file.try_clone()?, name.clone())?;
                    return Ok(Self { file, name: Some(name) });
                }
                Err(Errno::EXIST) => clear_away(&name)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives the content the output's name.
    fn publish(mut self, path: &Path, replaces: bool) -> io::Result<()> {
        let rename = |name: &Path| {
            fs::rename(name, path).inspect_err(|_| {
                let _ = fs::remove_file(name);
            })
        };
        if let Some(name) = self.name.take() {
            return rename(&name);
        }
        // Not there yet: the name is taken in one step, without a temporary one in between.
        if !replaces {
            match self.link(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
        let name = waiting_name(path);
        let signals = Signals::new()?;
        loop {
            let done = signals.held(|| self.link(&name).and_then(|()| rename(&name)));
            match done {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => clear_away(&name)?,
                done => return done,
            }
        }
    }

    fn link(&self, name: &Path) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let by_descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, by_descriptor, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = fs::remove_file(name);
        }
    }
}

/// Removes a waiting file whose writer is gone; while it lives, waits for it.
fn clear_away(name: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let file = File::from(file);
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    // Still the file that we hold the lock of: its writer is gone.
    if is_at(&file, name)? { fs::remove_file(name) } else { Ok(()) }
}

/// True where `name` is this file's.
fn is_at(file: &File, name: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    Ok(fs::symlink_metadata(name).is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino())))
}

const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Removes `name`, while it is that of `file`, when the process is told to end, then ends it as it would have.
fn remove_on_signal(file: File, name: PathBuf) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(ENDING)?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Behind the rename it may be another writer's.
            if is_at(&file, &name).unwrap_or(false) {
                let _ = fs::remove_file(&name);
            }
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}

/// The signals that end a process, held back between link and rename: there is a second name that would be left.
struct Signals {
    deliver: Arc<AtomicBool>,
    seen: [Arc<AtomicBool>; 3],
}

impl Signals {
    fn new() -> io::Result<Self> {
        let signals = Self { deliver: Arc::new(AtomicBool::new(true)), seen: Default::default() };
        for (signal, seen) in ENDING.into_iter().zip(&signals.seen) {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&signals.deliver))?;
            signal_hook::flag::register(signal, Arc::clone(seen))?;
        }
        Ok(signals)
    }

    fn held<T>(&self, step: impl FnOnce() -> T) -> T {
        self.deliver.store(false, Ordering::SeqCst);
        let done = step();
        self.deliver.store(true, Ordering::SeqCst);
        for (signal, seen) in ENDING.into_iter().zip(&self.seen) {
            if seen.load(Ordering::SeqCst) {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
        done
    }
}
