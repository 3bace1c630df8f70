//! A template that can be read twice: a file, or stdin kept in memory up to 8 MiB and in an unlinked file beyond.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use unicode_width::UnicodeWidthStr;

use super::TemplateError;
use crate::model::is_hostile;

/// Templates up to this many bytes are read once and kept.
const KEPT: u64 = 8 * 1024 * 1024;
/// How many bytes show the encoding.
const BEGINNING: u64 = 512;
/// How much of a line an excerpt shows on each side.
const EXCERPT: usize = 40;

/// A template, named as messages name it.
pub struct Template {
    name: String,
    content: Content,
    identity: Option<(u64, u64)>,
}

enum Content {
    Memory(Vec<u8>),
    File { file: File, stamp: FileStamp },
}

/// What tells that a file was written to between two readings.
#[derive(PartialEq, Eq)]
struct FileStamp(u64, i64, i64, i64, i64);

impl FileStamp {
    fn of(file: &File) -> io::Result<Self> {
        let m = file.metadata()?;
        Ok(Self(m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
    }
}

impl Template {
    /// A template given as text.
    pub fn from_text(name: &str, text: Vec<u8>) -> Self {
        Self { name: name.into(), content: Content::Memory(text), identity: None }
    }

    /// Opens a file. One that can be read only once (a FIFO, `/dev/fd/3`) is kept or spooled.
    pub fn from_file(path: &Path) -> Result<Self, TemplateError> {
        let name = path.display().to_string();
        let failed = |source| TemplateError::Io { action: "read", name: name.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;

        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }

        let mut template = if metadata.is_file() && metadata.len() > KEPT {
            let stamp = FileStamp::of(&file).map_err(failed)?;
            Self { name, content: Content::File { file, stamp }, identity: None }
        } else {
            Self::from_reader(&name, file)?
        };

        template.identity = metadata.is_file().then(|| (metadata.dev(), metadata.ino()));
        Ok(template)
    }

    /// Reads a stream to its end.
    pub fn from_reader(name: &str, mut reader: impl Read) -> Result<Self, TemplateError> {
        let failed = |source| TemplateError::Io { action: "read", name: name.to_owned(), source };
        let mut kept = Vec::new();
        reader.by_ref().take(KEPT + 1).read_to_end(&mut kept).map_err(failed)?;
        let content = if kept.len() as u64 <= KEPT {
            Content::Memory(kept)
        } else {
            let mut spool = || -> io::Result<Content> {
                let mut file = tempfile::tempfile()?;
                file.write_all(&kept)?;
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

    /// As messages name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Device and inode, where it is a regular file: an output of the same would destroy it.
    pub fn identity(&self) -> Option<(u64, u64)> {
        self.identity
    }

    /// Notes what stdin is redirected from.
    #[must_use]
    pub fn with_identity(mut self, identity: Option<(u64, u64)>) -> Self {
        self.identity = identity;
        self
    }

    /// Refuses text that begins with the byte order mark of UTF-16: its placeholders would be copied unnoticed.
    pub(super) fn check_encoding(&mut self) -> Result<(), TemplateError> {
        let mut beginning = Vec::new();
        let read = self.reader()?.take(BEGINNING).read_to_end(&mut beginning);
        read.map_err(|source| failed(&self.name, source))?;

        // Text follows the mark: any other file may begin with these two bytes.
        let is_marked = beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff");
        if is_marked && beginning.contains(&0) {
            Err(TemplateError::Utf16(self.name.clone()))
        } else {
            Ok(())
        }
    }

    /// Returns the whole text; `None` if it is longer than `most` bytes.
    pub fn text(&mut self, most: u64) -> Result<Option<Vec<u8>>, TemplateError> {
        let mut text = Vec::new();
        let read = self.reader()?.take(most + 1).read_to_end(&mut text);
        read.map_err(|source| failed(&self.name, source))?;
        Ok((text.len() as u64 <= most).then_some(text))
    }

    /// Reads from the beginning.
    pub(super) fn reader(&mut self) -> Result<Box<dyn Read + '_>, TemplateError> {
        let Self { name, content, .. } = self;
        match content {
            Content::Memory(bytes) => Ok(Box::new(&bytes[..])),
            Content::File { file, .. } => {
                file.seek(SeekFrom::Start(0)).map_err(|source| failed(name, source))?;
                Ok(Box::new(&*file))
            }
        }
    }

    /// Refuses a file that was written to since it was opened.
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

    /// Returns the line around a position, control characters replaced, and how many terminal columns precede the caret.
    pub(super) fn excerpt(&mut self, offset: u64, column: u64) -> Option<(String, usize)> {
        let before = usize::try_from(column - 1).unwrap_or(usize::MAX).min(EXCERPT);
        let mut bytes = vec![0; before + EXCERPT];
        let start = offset - before as u64;
        let length = match &mut self.content {
            Content::Memory(kept) => {
                let rest = kept.get(usize::try_from(start).ok()?..)?;
                let length = rest.len().min(bytes.len());
                bytes[..length].copy_from_slice(&rest[..length]);
                length
            }
            Content::File { file, .. } => {
                file.seek(SeekFrom::Start(start)).ok()?;
                file.take(bytes.len() as u64).read(&mut bytes).ok()?
            }
        };

        bytes.truncate(length);
        let end = bytes
            .iter()
            .skip(before)
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |at| before + at);

        let (left, right) = bytes[..end].split_at_checked(before)?;
        let text = |bytes: &[u8]| -> String {
            let visible = |c: char| if is_hostile(c) { '·' } else { c };
            String::from_utf8_lossy(bytes).chars().map(visible).collect()
        };

        let before_it = if u64::try_from(before) == Ok(column - 1) { "" } else { "…" };
        let behind_it = if right.len() == EXCERPT { "…" } else { "" };
        let left = format!("{before_it}{}", text(left));
        Some((format!("{left}{}{behind_it}", text(right).trim_end_matches('·')), left.width()))
    }
}

fn failed(name: &str, source: io::Error) -> TemplateError {
    TemplateError::Io { action: "read", name: name.to_owned(), source }
}
