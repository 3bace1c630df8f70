//! Finds out what an existing output holds that its template does not produce.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use secrets_core::model::SecretBytes;
use secrets_files::Output;

use super::additions::{AddedVariables, Contents};
use super::output_records::{Origin, OutputRecords};
use super::{SetupError, io_error};
use crate::template::output;
use crate::template::{ExpandError, Resolved};

/// An existing output that is not as we wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifiedOutput {
    /// Who wrote the content, as far as the records say
    pub origin: Origin,
    /// The variables of a dotenv file that the template does not produce and we did not write
    pub added: Vec<String>,
    /// The numbers of other lines of a dotenv file that may be meant as variables and that the
    /// template does not produce
    pub lines: Vec<u64>,
    /// Whether `adopt` can move the variables into the template
    pub adoptable: AdoptableOutput,
    /// A phrase that says why the variables of a dotenv file are unknown
    pub unread: Option<&'static str>,
}

/// Whether the variables of a dotenv file can be moved into its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptableOutput {
    /// They can be moved
    Yes,
    /// They can be moved once this line, counted from 1, is a valid variable or was removed
    AfterFixing(u64),
    /// They cannot be moved, because the template itself does not produce a valid dotenv file
    No,
}

impl ModifiedOutput {
    /// Creates the result for an output about which only the origin is known.
    pub(super) fn of(origin: Origin) -> Self {
        Self {
            origin,
            added: Vec::new(),
            lines: Vec::new(),
            adoptable: AdoptableOutput::Yes,
            unread: None,
        }
    }

    /// Searches an output for what its template does not produce. `given` is `None` if the
    /// template's text is too long.
    pub(super) fn inspect(
        memory: &OutputRecords,
        path: &Path,
        origin: Origin,
        file: Option<fs::File>,
        given: Option<&Contents>,
    ) -> Self {
        let mut foreign = Self::of(origin);
        if !is_dotenv(path) {
            return foreign;
        }

        let Some(file) = file else {
            return Self { unread: Some("cannot be read"), ..foreign };
        };

        let (Some(text), Some(given)) = (read_file(file), given) else {
            return Self { unread: Some("is too large to search"), ..foreign };
        };

        let found = Contents::of(text.expose());
        let remembered = memory.of(path).map(|found| found.names).unwrap_or_default();
        let AddedVariables { names, lines } = found.added_to(given, &remembered);
        (foreign.added, foreign.lines) = (names, lines);
        foreign.adoptable = match (found.broken(), given.broken()) {
            (None, _) => AdoptableOutput::Yes,
            (Some(line), None) => AdoptableOutput::AfterFixing(line),
            (Some(_), Some(_)) => AdoptableOutput::No,
        };

        foreign
    }

    /// Returns true if the file holds something that only the user has and that would be lost with
    /// the file.
    pub fn would_be_lost(&self) -> bool {
        !self.added.is_empty() || !self.lines.is_empty() || self.unread.is_some()
    }
}

/// Inspects one output. Returns `None` if the output does not exist, if its content would stay the
/// same, or if it is exactly what we wrote.
pub fn foreign(
    memory: &OutputRecords,
    path: &Path,
    output: &Output,
    resolved: &Resolved,
) -> Result<Option<ModifiedOutput>, SetupError> {
    let Some(mut file) = output.existing()? else {
        let found = || ModifiedOutput::inspect(memory, path, Origin::Unknown, None, None);
        return Ok(output.exists().then(found));
    };

    let origin = memory.origin(path, &mut file).map_err(|source| io_error("read", path, source))?;
    if origin == Origin::Ours || output::is_current(output, &mut |out| resolved.expand(out))? {
        return Ok(None);
    }

    let given = contents_given(path, resolved)?;
    Ok(Some(ModifiedOutput::inspect(memory, path, origin, output.existing()?, given.as_ref())))
}

/// Returns what a template produces in a dotenv output. Returns `None` if the output is not a
/// dotenv file, or if its content is too long.
pub(super) fn contents_given(
    path: &Path,
    resolved: &Resolved,
) -> Result<Option<Contents>, SetupError> {
    if !is_dotenv(path) {
        return Ok(None);
    }

    Ok(expanded(resolved)?.map(|text| Contents::of(text.expose())))
}

/// Reads a file into memory that is wiped. Returns `None` if the file cannot be read or is too long
/// for a dotenv file.
pub(super) fn read_file(mut file: fs::File) -> Option<SecretBytes> {
    let (mut text, mut piece) =
        (SecretBytes::with_capacity(64 * 1024), SecretBytes::zeroed(64 * 1024));
    loop {
        let length = file.read(piece.expose_mut()).ok()?;
        if length == 0 {
            return Some(text);
        }

        text.extend(&piece.expose()[..length]);
        if text.len() > RENDERED {
            return None;
        }
    }
}

/// The maximum sizes of a dotenv template that is searched, and of its rendered text, in bytes.
/// They bound memory, because a template could refer to any number of large values.
pub(super) const TEMPLATE: u64 = 1024 * 1024;
pub(super) const RENDERED: usize = 16 * 1024 * 1024;

/// Returns a template's text. Returns `None` if the template cannot be read or is too long for a
/// dotenv file.
pub(super) fn read_template(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(TEMPLATE + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= TEMPLATE).then_some(text)
}

/// Returns true if an output's name is that of a dotenv file.
pub fn is_dotenv(output: &Path) -> bool {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    name == ".env" || name.starts_with(".env.") || name.ends_with(".env")
}

/// Renders a template into memory. Returns `None` if the result is too long.
pub(super) fn expanded(resolved: &Resolved) -> Result<Option<SecretBytes>, SetupError> {
    let mut text = BoundedBuffer(SecretBytes::with_capacity(4096));
    match resolved.expand(&mut text) {
        Ok(()) => Ok(Some(text.0)),
        Err(ExpandError::Template(error)) => Err(error.into()),
        Err(ExpandError::Output(_)) => Ok(None),
    }
}

/// Collects bytes up to a limit.
pub(super) struct BoundedBuffer(pub(super) SecretBytes);

impl Write for BoundedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }

        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
