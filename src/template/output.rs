//! The safe file: private from its first byte, the old content or the new, nothing in between and nothing left over.
//!
//! It never follows a symbolic link, never writes through a second name and never widens an existing file's mode.

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

/// A file to be written, checked.
pub struct Output {
    path: PathBuf,
    existing: Option<ExistingOutput>,
    mode: Option<u32>,
}

/// What stands under the output's name.
struct ExistingOutput {
    metadata: Metadata,
    /// Opened once, so that what was checked is what is compared and whose mode is changed; `None` where it cannot be read
    file: Option<File>,
}

/// What became of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputChange {
    /// It has new content
    Replaced,
    /// It had that content already
    Same,
    /// It had that content already; its mode was narrowed or set
    ModeChanged,
}

/// Permission bits of an output that nobody asked for other ones.
const PRIVATE: u32 = 0o600;

/// Permission bits as people write them: three octal digits, perhaps with a zero before them.
pub fn permission_bits(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|_| octal)
}

impl Output {
    /// Checks what stands at `path`. `mode` are the permission bits asked for; `spared` are files that are never written
    /// over, by device and inode, with what is said of them: the template, the passphrase. No vault is, whichever.
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
            // Also for root: whoever owns the file would be handed its values.
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
            return refuse("was replaced just now");
        }

        if file.as_ref().is_some_and(looks_like_a_vault) {
            return refuse("is a vault");
        }

        Ok(Self { path: path.to_owned(), existing: Some(ExistingOutput { metadata, file }), mode })
    }

    /// Fails if the file is missing and cannot be made. An existing one may be up to date already, wherever it lies.
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

    /// True where the file is there.
    pub fn exists(&self) -> bool {
        self.existing.is_some()
    }

    /// Returns the existing file, to be read from its beginning; `None` if there is none or it cannot be read.
    pub fn existing(&self) -> Result<Option<File>, TemplateError> {
        let Some(ExistingOutput { file: Some(file), .. }) = &self.existing else { return Ok(None) };
        let opened = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
        opened.map(Some).map_err(|source| failed(&self.path, source))
    }

    /// The bits that the file is to have: those asked for, else 0600 or what an existing file keeps of them.
    fn target_mode(&self) -> u32 {
        let kept = self.existing.as_ref().map_or(PRIVATE, |found| found.metadata.mode() & PRIVATE);
        self.mode.unwrap_or(kept)
    }

    /// Compares what `produce` writes with the file; false where it is missing. Nothing is written.
    pub fn is_current(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<bool, TemplateError> {
        let Some(file) = self.existing()? else { return Ok(false) };
        let failed = |source| failed(&self.path, source);
        let mut comparison = Comparison { file, same: true };

        match produce(&mut comparison) {
            Ok(()) => comparison.finish().map_err(failed),
            Err(ExpandError::Output(_)) if !comparison.same => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Puts what `produce` writes in place, or leaves everything as it was.
    pub fn replace(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<OutputChange, TemplateError> {
        self.prepare(produce)?.publish()
    }

    /// Writes all of what `produce` writes, under no name yet: what can fail has failed before the first of several outputs
    /// is published.
    pub fn prepare(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<PendingOutput<'_>, TemplateError> {
        if self.is_current(produce)? {
            return Ok(PendingOutput { output: self, content: None });
        }

        self.prepare_anew(produce)
    }

    /// The same for what never comes out the same twice: what is there is not compared.
    pub fn prepare_anew(
        &self,
        produce: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>,
    ) -> Result<PendingOutput<'_>, TemplateError> {
        let failed = |source: io::Error| failed(&self.path, source);

        // Opened before anything is published: a directory that may not be read cannot be flushed, and is no failure.
        let directory = match File::open(directory(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            opened => Some(opened.map_err(failed)?),
        };

        let mut temporary = Temporary::beside(&self.path).map_err(failed)?;
        self.keep_group(&temporary.file)?;
        match rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(self.target_mode())) {
            // FAT and its like: see `is_exposed`.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {}
            set => set.map_err(|error| failed(error.into()))?,
        }

        produce(&mut temporary).map_err(|error| self.error(error))?;
        temporary.file.sync_all().map_err(failed)?;
        Ok(PendingOutput { output: self, content: Some((temporary, directory)) })
    }

    /// The file's permission bits where they are wider than they are to be, and can be set.
    pub fn excessive_mode(&self) -> Option<u32> {
        let mode = self.existing.as_ref()?.metadata.mode() & 0o7777;
        (mode & !self.target_mode() != 0 && !has_fixed_modes(directory(&self.path))).then_some(mode)
    }

    /// True if the file has wider permission bits than it is to have because its file system has none of its own: other users may
    /// be able to read it.
    pub fn is_exposed(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        let is_wider = found.is_ok_and(|found| found.mode() & 0o777 & !self.target_mode() != 0);
        is_wider && has_fixed_modes(directory(&self.path))
    }

    /// The content is right already; perhaps the mode is not.
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

    /// A file of another group of ours stays that group's.
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

/// An output's new content, written and flushed, that nothing names yet; dropped, it is gone.
pub struct PendingOutput<'o> {
    output: &'o Output,
    /// `None` where the file has that content already
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
        Self::flushed(directory).map_err(failed)
    }

    /// Gives the content the output's name where nothing has it, not even since it was looked at; false where something has.
    pub fn publish_new(self) -> Result<bool, TemplateError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, directory)) = self.content else { return Ok(false) };
        match temporary.publish_new(&self.output.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error)),
            Ok(()) => Self::flushed(directory).map(|_| true).map_err(failed),
        }
    }

    /// Reads the content from its beginning, before it has a name.
    pub fn read_back(&self) -> Result<File, TemplateError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, _)) = &self.content else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };

        let mut file = temporary.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    fn flushed(directory: Option<File>) -> io::Result<OutputChange> {
        match directory.map(|directory| directory.sync_all()) {
            // Some file systems flush no directories.
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

/// Takes what is written and compares it with a file.
struct Comparison {
    file: File,
    same: bool,
}

impl Comparison {
    fn finish(mut self) -> io::Result<bool> {
        Ok(self.same && self.file.read(&mut [0])? == 0)
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
/// Elsewhere it is a file `.NAME.secrets-new`, which is removed before a signal ends the process.
struct Temporary {
    file: File,
    /// The name it has while it is written, where it has one
    name: Option<PathBuf>,
    /// As long as it has one, signals wait until it has been removed
    hold: Option<DeferSignals>,
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
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::open(directory(path), flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(file) => {
                    let nameless = Self { file: file.into(), name: None, hold: None };

                    // Without /proc it could not be given a name.
                    if lock(&nameless.file)? && fs::metadata(nameless.descriptor()).is_ok() {
                        return Ok(nameless);
                    }
                }
                // A file system without nameless files (NFS, some FUSE), or a kernel without them.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }

        let name = waiting_name(path);
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let hold = DeferSignals::new()?;

        loop {
            match rustix::fs::open(&name, flags, Mode::from_raw_mode(PRIVATE)) {
                Ok(file) => {
                    let file = File::from(file);

                    // Before it was locked, another writer may have taken it for a dead one's and cleared it away.
                    if lock(&file)? && is_at(&file, &name)? {
                        return Ok(Self { file, name: Some(name), hold: Some(hold) });
                    }
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
        loop {
            // Between the two there is a second name, which a signal would leave behind.
            let hold = DeferSignals::new()?;
            let done = self.link(&name).and_then(|()| rename(&name));
            drop(hold);
            match done {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => clear_away(&name)?,
                done => return done,
            }
        }
    }

    /// Gives the content a name that nothing has; nothing is left over where it is taken.
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
        if self.hold.as_ref().is_some_and(DeferSignals::is_due) {
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

/// Takes the writer's lock; false where another has it. A file system without locks does without.
fn lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// True where `name` is this file's.
fn is_at(file: &File, name: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    Ok(fs::symlink_metadata(name)
        .is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino())))
}
