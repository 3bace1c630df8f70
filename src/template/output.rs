//! Writes an output file safely. The file is private from its first byte, it has either the old or
//! the new content, and no temporary file is left over.
//!
//! It never follows a symbolic link, never writes to a file with several hard links, and never
//! widens an existing file's mode.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags, access};
use rustix::io::Errno;

use super::TemplateError;
use super::plan::ExpandError;
use crate::signals::DeferSignals;
use crate::store::{has_fixed_modes, looks_like_a_vault, rename_new};

/// An output file that was checked and can be written.
pub struct Output {
    path: PathBuf,
    existing: Option<ExistingOutput>,
    mode: Option<u32>,
}

/// The file that already exists at the output's path.
struct ExistingOutput {
    metadata: Metadata,
    /// The file, opened once. The same file is checked, compared and has its mode changed. `None`
    /// if it cannot be read.
    file: Option<File>,
}

/// The effect of writing an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputChange {
    /// The file has new content
    Replaced,
    /// The file already had this content
    Same,
    /// The file already had this content; its mode was narrowed or set
    ModeChanged,
}

/// The permission bits of an output if the user asked for no others.
const PRIVATE: u32 = 0o600;

/// Parses permission bits of three octal digits, optionally with a zero in front.
pub fn permission_bits(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|_| octal)
}

impl Output {
    /// Checks the file at `path`, if there is one. `mode` holds the requested permission bits.
    /// `protected` lists files that are never overwritten, such as the template or the passphrase
    /// file: their device and inode, and the reason for the error message. A vault is never
    /// overwritten either.
    pub fn new(
        path: &Path,
        mode: Option<u32>,
        protected: &[((u64, u64), &'static str)],
    ) -> Result<Self, TemplateError> {
        let refuse = |why| Err(TemplateError::UnsafeOutput { path: path.to_owned(), why });
        let found = match fs::symlink_metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed(path, source)),
        };

        let bytes = path.as_os_str().as_bytes();
        if path.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
            return refuse("is not the path of a file");
        }

        let Some(metadata) = found else {
            return Ok(Self { path: path.to_owned(), existing: None, mode });
        };

        let kind = metadata.file_type();
        if kind.is_symlink() {
            return refuse("is a symbolic link");
        } else if kind.is_dir() {
            return refuse("is a directory");
        } else if kind.is_fifo() || kind.is_socket() {
            return refuse("is a FIFO or a socket");
        } else if !kind.is_file() {
            return refuse("is a device");
        } else if let Some((_, why)) =
            protected.iter().find(|(id, _)| *id == (metadata.dev(), metadata.ino()))
        {
            return refuse(why);
        } else if metadata.nlink() > 1 {
            return refuse("has several names (hard links)");
        } else if metadata.uid() != rustix::process::geteuid().as_raw() {
            // This applies to root too, because the file's owner would receive the values.
            return refuse("belongs to another user");
        }

        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => Some(File::from(file)),
            Err(Errno::ACCESS) => None,
            Err(error) => return Err(failed(path, error.into())),
        };

        if let Some(file) = &file
            && !is_at(file, path).map_err(|source| failed(path, source))?
        {
            return refuse("was replaced while it was being checked");
        }

        if file.as_ref().is_some_and(looks_like_a_vault) {
            return refuse("is a vault");
        }

        Ok(Self { path: path.to_owned(), existing: Some(ExistingOutput { metadata, file }), mode })
    }

    /// Fails if the file is missing and cannot be created. An existing file always passes, because
    /// it may already be up to date.
    pub fn check_directory(&self) -> Result<(), TemplateError> {
        if self.exists() {
            return Ok(());
        }

        let directory = directory(&self.path);
        let checked = fs::metadata(directory).and_then(|found| {
            if !found.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }

            Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
        });

        checked.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => TemplateError::NoDirectory(directory.to_owned()),
            _ => failed(&self.path, source),
        })
    }

    /// Returns whether the file already exists.
    pub fn exists(&self) -> bool {
        self.existing.is_some()
    }

    /// Returns the existing file, positioned at its start, or `None` if it is missing or cannot be
    /// read.
    pub fn existing(&self) -> Result<Option<File>, TemplateError> {
        let Some(ExistingOutput { file: Some(file), .. }) = &self.existing else { return Ok(None) };
        let opened = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
        opened.map(Some).map_err(|source| failed(&self.path, source))
    }

    /// Returns the permission bits that the file should have: the requested ones, or else 0600. An
    /// existing file does not get bits back that it lacks.
    fn target_mode(&self) -> u32 {
        let kept = self.existing.as_ref().map_or(PRIVATE, |found| found.metadata.mode() & PRIVATE);
        self.mode.unwrap_or(kept)
    }

    /// Returns whether the file has exactly the content that `produce` writes. Returns false if the
    /// file is missing. Writes nothing.
    pub fn is_current(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<bool, TemplateError> {
        let Some(file) = self.existing()? else { return Ok(false) };
        let failed = |source| failed(&self.path, source);
        let mut comparison = Comparison { file, is_same: true };

        match produce(&mut comparison) {
            Ok(()) => comparison.finish().map_err(failed),
            Err(ExpandError::Output(_)) if !comparison.is_same => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Replaces the file with the content that `produce` writes. Changes nothing if that fails.
    pub fn replace(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<OutputChange, TemplateError> {
        self.prepare(produce)?.publish()
    }

    /// Writes the content that `produce` writes to a temporary file. With several outputs, every
    /// write can thus fail before the first output is published.
    pub fn prepare(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<PendingOutput<'_>, TemplateError> {
        if self.is_current(produce)? {
            return Ok(PendingOutput { output: self, content: None });
        }

        self.prepare_anew(produce)
    }

    /// Works like [`prepare`](Self::prepare), but does not compare the existing content. Use it for
    /// content that differs each time.
    pub fn prepare_anew(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<PendingOutput<'_>, TemplateError> {
        let failed = |source: io::Error| failed(&self.path, source);

        // The directory is opened before anything is published. A directory that we may not read
        // cannot be flushed, but that is not an error.
        let directory = match File::open(directory(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            opened => Some(opened.map_err(failed)?),
        };

        let mut temporary = Temporary::create_for(&self.path).map_err(failed)?;
        self.keep_group(&temporary.file)?;
        match rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(self.target_mode())) {
            // The file system has no permission bits (FAT, for example); see `is_exposed`.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {}
            set => set.map_err(|error| failed(error.into()))?,
        }

        produce(&mut temporary).map_err(|error| self.error(error))?;
        temporary.file.sync_all().map_err(failed)?;
        Ok(PendingOutput { output: self, content: Some((temporary, directory)) })
    }

    /// Returns the file's permission bits if they are wider than they should be and can be changed.
    pub fn excessive_mode(&self) -> Option<u32> {
        let mode = self.existing.as_ref()?.metadata.mode() & 0o7777;
        (mode & !self.target_mode() != 0 && !has_fixed_modes(directory(&self.path))).then_some(mode)
    }

    /// Returns true if the file has wider permission bits than it should have, because its file
    /// system does not store any. Other users may be able to read it.
    pub fn is_exposed(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        let is_wider = found.is_ok_and(|found| found.mode() & 0o777 & !self.target_mode() != 0);
        is_wider && has_fixed_modes(directory(&self.path))
    }

    /// Handles content that is already up to date: sets only the mode, if necessary.
    fn keep(&self) -> io::Result<OutputChange> {
        let Some(ExistingOutput { metadata, file: Some(file) }) = &self.existing else {
            return Ok(OutputChange::Same);
        };

        if metadata.mode() & 0o7777 == self.target_mode() || has_fixed_modes(directory(&self.path))
        {
            return Ok(OutputChange::Same);
        }

        file.set_permissions(Permissions::from_mode(self.target_mode()))?;
        Ok(OutputChange::ModeChanged)
    }

    /// Gives the new file the group of the existing one.
    fn keep_group(&self, file: &File) -> Result<(), TemplateError> {
        let Some(ExistingOutput { metadata, .. }) = &self.existing else { return Ok(()) };
        let new = file.metadata().map_err(|source| failed(&self.path, source))?;
        if new.gid() == metadata.gid() {
            return Ok(());
        }

        std::os::unix::fs::fchown(file, None, Some(metadata.gid())).map_err(|_| {
            TemplateError::UnsafeOutput { path: self.path.clone(), why: "belongs to another group" }
        })
    }

    fn error(&self, error: ExpandError) -> TemplateError {
        match error {
            ExpandError::Template(error) => error,
            ExpandError::Output(source) => failed(&self.path, source),
        }
    }
}

/// An output's new content, written and flushed but not yet published. Dropping it discards the
/// content.
pub struct PendingOutput<'o> {
    output: &'o Output,
    /// The temporary file and its directory; `None` if the output already has this content
    content: Option<(Temporary, Option<File>)>,
}

impl PendingOutput<'_> {
    /// Gives the content the output's name.
    pub fn publish(self) -> Result<OutputChange, TemplateError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, directory)) = self.content else {
            return self.output.keep().map_err(failed);
        };

        temporary.publish(&self.output.path, self.output.exists()).map_err(failed)?;
        Self::flush_directory(directory).map_err(failed)
    }

    /// Gives the content the output's name if no file has it, even if one was created after the
    /// check. Returns false if the name is taken.
    pub fn publish_new(self) -> Result<bool, TemplateError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, directory)) = self.content else { return Ok(false) };
        match temporary.publish_new(&self.output.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error)),
            Ok(()) => Self::flush_directory(directory).map(|_| true).map_err(failed),
        }
    }

    /// Opens the unpublished content for reading from its start.
    pub fn read_back(&self) -> Result<File, TemplateError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, _)) = &self.content else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };

        let mut file = temporary.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    fn flush_directory(directory: Option<File>) -> io::Result<OutputChange> {
        match directory.map(|directory| directory.sync_all()) {
            // Some file systems cannot flush directories.
            Some(Err(error)) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
            _ => Ok(OutputChange::Replaced),
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

/// A writer that compares the written bytes with a file.
struct Comparison {
    file: File,
    is_same: bool,
}

impl Comparison {
    fn finish(mut self) -> io::Result<bool> {
        Ok(self.is_same && self.file.read(&mut [0])? == 0)
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut existing = crate::model::SecretBytes::zeroed(bytes.len().min(64 * 1024));
        let mut at = 0;
        while at < bytes.len() {
            let most = existing.len().min(bytes.len() - at);
            let length = self.file.read(&mut existing.expose_mut()[..most])?;
            if length == 0 || existing.expose()[..length] != bytes[at..at + length] {
                self.is_same = false;
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

/// A temporary file with the new content.
///
/// If the file system supports it, the file has no name until it is complete, so nothing is left
/// behind even if the process is killed. Otherwise it is named `.NAME.secrets-new` and is removed
/// before a signal ends the process.
struct Temporary {
    file: File,
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
    fn create_for(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::open(directory(path), flags, Mode::from_raw_mode(PRIVATE)) {
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
    fn publish(mut self, path: &Path, replaces: bool) -> io::Result<()> {
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
    fn publish_new(mut self, path: &Path) -> io::Result<()> {
        let Some(name) = &self.name else { return self.link(path) };
        rename_new(name, path)?;
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

/// Returns whether `name` refers to this file.
fn is_at(file: &File, name: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    Ok(fs::symlink_metadata(name)
        .is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino())))
}
