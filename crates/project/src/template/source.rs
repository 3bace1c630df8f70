//! A template that can be read twice: a file, or stdin. Stdin is kept in memory up to 8 MiB, and in
//! an unlinked temporary file beyond that.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use secrets_core::model::is_hostile;
use secrets_files::FileId;
use unicode_width::UnicodeWidthStr;

use super::TemplateError;

/// The maximum size in bytes of a template that is kept in memory.
const MAX_IN_MEMORY: u64 = 8 * 1024 * 1024;
/// The number of bytes that are checked for the encoding.
const ENCODING_SAMPLE: u64 = 512;
/// The number of bytes that an excerpt shows on each side of a position.
const EXCERPT_RADIUS: usize = 40;

/// A template with the name that messages use for it.
pub struct Template {
    name: String,
    content: Content,
    identity: Option<FileId>,
}

enum Content {
    Memory(Vec<u8>),
    File { file: File, stamp: FileStamp },
}

/// Reads a file from its start. The offset is its own, so readers of one file are independent.
struct FileReader<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// Metadata that shows whether a file was modified between two readings.
#[derive(PartialEq, Eq)]
struct FileStamp(u64, i64, i64, i64, i64);

impl FileStamp {
    fn of(file: &File) -> io::Result<Self> {
        let m = file.metadata()?;
        Ok(Self(m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
    }
}

impl Template {
    pub fn from_text(name: &str, text: Vec<u8>) -> Self {
        Self { name: name.into(), content: Content::Memory(text), identity: None }
    }

    /// Opens a file. A file that can be read only once (a FIFO, `/dev/fd/3`) is kept in memory or
    /// in a temporary file.
    pub fn from_file(path: &Path) -> Result<Self, TemplateError> {
        let name = path.display().to_string();
        let failed = |source| TemplateError::Io { action: "read", name: name.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;

        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }

        let mut template = if metadata.is_file() && metadata.len() > MAX_IN_MEMORY {
            let stamp = FileStamp::of(&file).map_err(failed)?;
            Self { name, content: Content::File { file, stamp }, identity: None }
        } else {
            Self::from_reader(&name, file)?
        };

        template.identity = metadata.is_file().then(|| FileId::of(&metadata));
        Ok(template)
    }

    /// Reads a stream to its end.
    pub fn from_reader(name: &str, mut reader: impl Read) -> Result<Self, TemplateError> {
        let failed = |source| TemplateError::Io { action: "read", name: name.to_owned(), source };
        let mut buffered = Vec::new();
        reader.by_ref().take(MAX_IN_MEMORY + 1).read_to_end(&mut buffered).map_err(failed)?;
        let content = if buffered.len() as u64 <= MAX_IN_MEMORY {
            Content::Memory(buffered)
        } else {
            let mut spool = || -> io::Result<Content> {
                let mut file = tempfile::tempfile()?;
                file.write_all(&buffered)?;
                io::copy(&mut reader, &mut file)?;
                let stamp = FileStamp::of(&file)?;

                Ok(Content::File { file, stamp })
            };

            let failed = |source| TemplateError::Io {
                action: "keep a temporary copy of",
                name: name.to_owned(),
                source,
            };

            spool().map_err(failed)?
        };

        Ok(Self { name: name.into(), content, identity: None })
    }

    /// Returns the name that messages use for the template.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the device and inode if the template is a regular file. Writing an output to the
    /// same file would destroy the template.
    pub fn identity(&self) -> Option<FileId> {
        self.identity
    }

    /// Sets the identity of the file that stdin is redirected from.
    #[must_use]
    pub fn with_identity(mut self, identity: Option<FileId>) -> Self {
        self.identity = identity;
        self
    }

    /// Rejects UTF-16 text with a byte order mark, because its placeholders would be copied
    /// unnoticed.
    pub(super) fn check_encoding(&self) -> Result<(), TemplateError> {
        let mut sample = Vec::new();
        let read = self.reader().take(ENCODING_SAMPLE).read_to_end(&mut sample);
        read.map_err(|source| failed(&self.name, source))?;

        // A binary file may start with these two bytes too. UTF-16 text also contains zero bytes.
        let is_marked = sample.starts_with(b"\xff\xfe") || sample.starts_with(b"\xfe\xff");
        if is_marked && sample.contains(&0) {
            Err(TemplateError::Utf16(self.name.clone()))
        } else {
            Ok(())
        }
    }

    /// Returns the whole text; `None` if it is longer than `max_length` bytes.
    pub fn text(&self, max_length: u64) -> Result<Option<Vec<u8>>, TemplateError> {
        let mut text = Vec::new();
        let read = self.reader().take(max_length + 1).read_to_end(&mut text);
        read.map_err(|source| failed(&self.name, source))?;
        Ok((text.len() as u64 <= max_length).then_some(text))
    }

    /// Returns a reader that starts at the beginning.
    pub(super) fn reader(&self) -> Box<dyn Read + '_> {
        match &self.content {
            Content::Memory(bytes) => Box::new(&bytes[..]),
            Content::File { file, .. } => Box::new(FileReader { file, offset: 0 }),
        }
    }

    /// Returns an error if the file was modified since it was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), TemplateError> {
        match &self.content {
            Content::File { file, stamp }
                if FileStamp::of(file).map_err(|e| failed(&self.name, e))? != *stamp =>
            {
                Err(TemplateError::Moved(self.name.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Returns the part of a line around a position with control characters replaced, and the
    /// number of terminal columns before the caret.
    pub(super) fn excerpt(&self, offset: u64, column: u64) -> Option<(String, usize)> {
        let bytes_before = usize::try_from(column - 1).unwrap_or(usize::MAX).min(EXCERPT_RADIUS);
        let mut bytes = vec![0; bytes_before + EXCERPT_RADIUS];
        let start = offset - bytes_before as u64;
        let length = match &self.content {
            Content::Memory(buffered) => {
                let rest = buffered.get(usize::try_from(start).ok()?..)?;
                let length = rest.len().min(bytes.len());
                bytes[..length].copy_from_slice(&rest[..length]);
                length
            }
            Content::File { file, .. } => file.read_at(&mut bytes, start).ok()?,
        };

        bytes.truncate(length);
        let end = bytes
            .iter()
            .skip(bytes_before)
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |at| bytes_before + at);

        let (left, right) = bytes[..end].split_at_checked(bytes_before)?;
        let text = |bytes: &[u8]| -> String {
            let visible = |c: char| if is_hostile(c) { '·' } else { c };
            String::from_utf8_lossy(bytes).chars().map(visible).collect()
        };

        let left_ellipsis = if u64::try_from(bytes_before) == Ok(column - 1) { "" } else { "…" };
        let right_ellipsis = if right.len() == EXCERPT_RADIUS { "…" } else { "" };
        let left = format!("{left_ellipsis}{}", text(left));
        Some((format!("{left}{}{right_ellipsis}", text(right).trim_end_matches('·')), left.width()))
    }
}

fn failed(name: &str, source: io::Error) -> TemplateError {
    TemplateError::Io { action: "read", name: name.to_owned(), source }
}
