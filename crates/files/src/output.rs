//! Writes an output file safely. The file is private from its first byte, it has either the old or
//! the new content, and no temporary file is left over.
//!
//! It never follows a symbolic link, never writes to a file with several hard links, and never
//! widens an existing file's mode.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, access};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::temporary::{PRIVATE, Temporary};
use super::{FileId, directory, modes};

/// Why an output file cannot be written. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The existing file must not be replaced
    #[error("`{}` {why}", path.display())]
    Unsafe {
        path: PathBuf,
        /// The reason as a phrase, such as "is a symbolic link"
        why: &'static str,
    },
    #[error("the directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    #[error("cannot write `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Files that an output never replaces.
pub struct ProtectedFiles<'a> {
    /// Known files, such as the template or the passphrase file, and the reason for the message
    pub known: &'a [(FileId, &'static str)],
    /// Returns a reason if the content of a file forbids to replace it
    pub by_content: fn(&File) -> Option<&'static str>,
}

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

impl ExistingOutput {
    /// Checks the file at `path`.
    fn find(path: &Path, protected: &ProtectedFiles<'_>) -> Result<Found, OutputError> {
        let refuse = |why| Err(OutputError::Unsafe { path: path.to_owned(), why });
        let found = match fs::symlink_metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(failed(path, source)),
        };

        let bytes = path.as_os_str().as_bytes();
        if path.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
            return refuse("is not the path of a file");
        }

        let Some(metadata) = found else { return Ok(Found::Nothing) };
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
            protected.known.iter().find(|(id, _)| *id == FileId::of(&metadata))
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
            Err(Errno::NOENT | Errno::LOOP) => return Ok(Found::OtherFile),
            Err(error) => return Err(failed(path, error.into())),
        };

        if let Some(file) = &file {
            let opened = file.metadata().map_err(|source| failed(path, source))?;
            if FileId::of(&opened) != FileId::of(&metadata) {
                return Ok(Found::OtherFile);
            }

            if let Some(why) = (protected.by_content)(file) {
                return refuse(why);
            }
        }

        Ok(Found::File(Self { metadata, file }))
    }
}

/// The result of checking an output's path.
enum Found {
    Nothing,
    File(ExistingOutput),
    /// The file was replaced or removed during the check
    OtherFile,
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

/// Parses permission bits of three octal digits, optionally with a zero in front.
pub fn permission_bits(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    u32::from_str_radix(digits, 8).ok().filter(|_| octal)
}

impl Output {
    /// Checks the file at `path`, if there is one. `mode` holds the requested permission bits.
    pub fn new(
        path: &Path,
        mode: Option<u32>,
        protected: &ProtectedFiles<'_>,
    ) -> Result<Self, OutputError> {
        // Another program may replace the file during a check, and each time it does so it has
        // finished. The limit is for one that never stops.
        const MOST_CHECKS: usize = 100;

        for _ in 0..MOST_CHECKS {
            let existing = match ExistingOutput::find(path, protected)? {
                Found::File(existing) => Some(existing),
                Found::Nothing => None,
                Found::OtherFile => continue,
            };
            return Ok(Self { path: path.to_owned(), existing, mode });
        }

        let why = "was replaced again and again while it was being checked";
        Err(OutputError::Unsafe { path: path.to_owned(), why })
    }

    /// Fails if the file is missing and cannot be created. An existing file always passes, because
    /// it may already be up to date.
    pub fn check_directory(&self) -> Result<(), OutputError> {
        if self.exists() {
            return Ok(());
        }

        let directory = directory::of(&self.path);
        let checked = fs::metadata(directory).and_then(|found| {
            if !found.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }

            Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
        });

        checked.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OutputError::NoDirectory(directory.to_owned()),
            _ => failed(&self.path, source),
        })
    }

    pub fn exists(&self) -> bool {
        self.existing.is_some()
    }

    /// Returns the existing file, positioned at its start, or `None` if it is missing or cannot be
    /// read.
    pub fn existing(&self) -> Result<Option<File>, OutputError> {
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

    /// Returns a writer that compares what it gets with the file, or `None` if the file is missing
    /// or cannot be read.
    pub fn compare(&self) -> Result<Option<Comparison>, OutputError> {
        Ok(self.existing()?.map(|file| Comparison {
            file,
            is_same: true,
            buffer: Zeroizing::new(vec![0; 64 * 1024]),
        }))
    }

    /// Returns a writer for new content, which gets the file's name when it is published. With
    /// several outputs, every write can thus fail before the first output is published.
    pub fn stage(&self) -> Result<StagedOutput<'_>, OutputError> {
        let failed = |source: io::Error| failed(&self.path, source);

        // The directory is opened before anything is published. A directory that we may not read
        // cannot be flushed, but that is not an error.
        let directory = match File::open(directory::of(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            opened => Some(opened.map_err(failed)?),
        };

        let temporary = Temporary::create_for(&self.path).map_err(failed)?;
        self.keep_group(&temporary.file)?;
        match rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(self.target_mode())) {
            // The file system has no permission bits (FAT, for example); see `is_exposed`.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {}
            set => set.map_err(|error| failed(error.into()))?,
        }

        Ok(StagedOutput { output: self, temporary, directory })
    }

    /// Returns the output with the content that it already has. Publishing it changes at most the
    /// mode.
    pub fn unchanged(&self) -> PendingOutput<'_> {
        PendingOutput { output: self, content: None }
    }

    /// Returns the error for content that could not be written to this output.
    pub fn failed(&self, source: io::Error) -> OutputError {
        failed(&self.path, source)
    }

    /// Returns the file's permission bits if they are wider than they should be and can be changed.
    pub fn excessive_mode(&self) -> Option<u32> {
        let mode = self.existing.as_ref()?.metadata.mode() & 0o7777;
        (mode & !self.target_mode() != 0 && !modes::are_fixed(directory::of(&self.path)))
            .then_some(mode)
    }

    /// Returns true if the file has wider permission bits than it should have, because its file
    /// system does not store any. Other users may be able to read it.
    pub fn is_exposed(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        let is_wider = found.is_ok_and(|found| found.mode() & 0o777 & !self.target_mode() != 0);
        is_wider && modes::are_fixed(directory::of(&self.path))
    }

    /// Handles content that is already up to date: sets only the mode, if necessary.
    fn keep(&self) -> io::Result<OutputChange> {
        let Some(ExistingOutput { metadata, file: Some(file) }) = &self.existing else {
            return Ok(OutputChange::Same);
        };

        if metadata.mode() & 0o7777 == self.target_mode()
            || modes::are_fixed(directory::of(&self.path))
        {
            return Ok(OutputChange::Same);
        }

        file.set_permissions(Permissions::from_mode(self.target_mode()))?;
        Ok(OutputChange::ModeChanged)
    }

    /// Gives the new file the group of the existing one.
    fn keep_group(&self, file: &File) -> Result<(), OutputError> {
        let Some(ExistingOutput { metadata, .. }) = &self.existing else { return Ok(()) };
        let new = file.metadata().map_err(|source| failed(&self.path, source))?;
        if new.gid() == metadata.gid() {
            return Ok(());
        }

        std::os::unix::fs::fchown(file, None, Some(metadata.gid())).map_err(|_| {
            OutputError::Unsafe { path: self.path.clone(), why: "belongs to another group" }
        })
    }
}

/// A writer of an output's new content. Dropping it discards the content.
pub struct StagedOutput<'o> {
    output: &'o Output,
    temporary: Temporary,
    directory: Option<File>,
}

impl<'o> StagedOutput<'o> {
    /// Flushes the content to the disk.
    pub fn finish(self) -> Result<PendingOutput<'o>, OutputError> {
        let Self { output, temporary, directory } = self;
        temporary.file.sync_all().map_err(|source| output.failed(source))?;
        Ok(PendingOutput { output, content: Some((temporary, directory)) })
    }
}

impl Write for StagedOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
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
    pub fn publish(self) -> Result<OutputChange, OutputError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, directory)) = self.content else {
            return self.output.keep().map_err(failed);
        };

        temporary.publish(&self.output.path, self.output.exists()).map_err(failed)?;
        Self::flush_directory(directory).map_err(failed)
    }

    /// Gives the content the output's name if no file has it, even if one was created after the
    /// check. Returns false if the name is taken.
    pub fn publish_new(self) -> Result<bool, OutputError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, directory)) = self.content else { return Ok(false) };
        match temporary.publish_new(&self.output.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error)),
            Ok(()) => Self::flush_directory(directory).map(|_| true).map_err(failed),
        }
    }

    /// Opens the unpublished content for reading from its start.
    pub fn read_back(&self) -> Result<File, OutputError> {
        let failed = |source: io::Error| failed(&self.output.path, source);
        let Some((temporary, _)) = &self.content else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };

        let mut file = temporary.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    fn flush_directory(directory: Option<File>) -> io::Result<OutputChange> {
        directory.map_or(Ok(()), |directory| directory::flush_open(&directory))?;
        Ok(OutputChange::Replaced)
    }
}

fn failed(path: &Path, source: io::Error) -> OutputError {
    OutputError::Io { path: path.to_owned(), source }
}

/// A writer that compares the written bytes with a file. It fails at the first difference.
pub struct Comparison {
    file: File,
    is_same: bool,
    /// Content of the file, wiped once at the end
    buffer: Zeroizing<Vec<u8>>,
}

impl Comparison {
    /// Returns true if no difference was found so far.
    pub fn is_same(&self) -> bool {
        self.is_same
    }

    /// Returns true if the file has exactly the written bytes.
    pub fn finish(mut self) -> io::Result<bool> {
        Ok(self.is_same && self.file.read(&mut [0])? == 0)
    }
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { file, is_same, buffer: existing } = self;
        let mut at = 0;
        while at < bytes.len() {
            let most = existing.len().min(bytes.len() - at);
            let length = file.read(&mut existing[..most])?;
            if length == 0 || existing[..length] != bytes[at..at + length] {
                *is_same = false;
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

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ProtectedFiles<'_> = ProtectedFiles { known: &[], by_content: |_| None };

    fn staged<'o>(output: &'o Output, content: &[u8]) -> PendingOutput<'o> {
        let mut staged = output.stage().unwrap();
        staged.write_all(content).unwrap();
        staged.finish().unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_created_in_the_meantime_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        let output = Output::new(&path, None, &NONE).unwrap();
        let pending = staged(&output, b"ours");

        fs::write(&path, "theirs").unwrap();
        assert!(!pending.publish_new().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(home.path()), ["f"]);
    }

    #[test]
    fn a_file_that_others_replace_can_be_checked() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let home = tempfile::tempdir().unwrap();
        let (path, new) = (home.path().join("f"), home.path().join("new"));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::write(&new, "new").unwrap();
                    fs::rename(&new, &path).unwrap();
                }
            });
            let checked: Result<Vec<_>, _> =
                (0..5_000).map(|_| Output::new(&path, None, &NONE).map(drop)).collect();
            is_over.store(true, Ordering::Relaxed);
            checked.unwrap();
        });
    }

    #[test]
    fn content_that_is_not_published_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let output = Output::new(&home.path().join("f"), None, &NONE).unwrap();
        drop(staged(&output, b"ours"));
        assert_eq!(names(home.path()), [""; 0]);
    }

    #[test]
    fn the_same_content_is_recognised() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        fs::write(&path, "one").unwrap();
        let output = Output::new(&path, None, &NONE).unwrap();
        let is_same = |content: &[u8]| {
            let mut comparison = output.compare().unwrap().unwrap();
            comparison.write_all(content).is_ok() && comparison.finish().unwrap()
        };

        assert!(is_same(b"one"));
        assert!(!is_same(b"on"));
        assert!(!is_same(b"one more"));
        assert!(!is_same(b"two"));
    }

    #[test]
    fn protected_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        fs::write(&path, "one").unwrap();
        let why = |protected: &ProtectedFiles<'_>| match Output::new(&path, None, protected) {
            Err(OutputError::Unsafe { why, .. }) => why,
            _ => "",
        };

        let known = [(FileId::at(&path).unwrap(), "is the template")];
        assert_eq!(why(&NONE), "");
        assert_eq!(why(&ProtectedFiles { known: &known, ..NONE }), "is the template");
        assert_eq!(
            why(&ProtectedFiles { by_content: |_| Some("is a vault"), ..NONE }),
            "is a vault"
        );
    }
}
