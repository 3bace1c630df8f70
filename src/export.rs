//! An export: every secret of one project or of all as one JSON document (docs/export.md) in an age file. It is written piece by
//! piece, and stands in the clear nowhere as a whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::crypto::age_file::{self, AgeError, AgeHeader, DecryptWith, Digest, HashingWriter, To};
use crate::model::{Metadata, ProjectName, SecretValue};
use crate::template::{ExpandError, TemplateError};
use crate::vault::{Exported, Vault, VaultError};

/// What tells the document from any other JSON.
pub const FORMAT: &str = "secrets-export";
/// Its version.
pub const VERSION: u64 = 1;

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The vault
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What it is written to
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// What an export holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Projects
    pub projects: usize,
    /// Secrets of all of them
    pub secrets: usize,
}

/// An export in the making, with what it takes to check it.
pub struct ExportWriter<'a> {
    vault: &'a Vault,
    project: Option<&'a ProjectName>,
    to: &'a To<'a>,
    armor: bool,
    counts: Counts,
    /// Of the document and of the file
    digests: Option<(Digest, Digest)>,
}

impl<'a> ExportWriter<'a> {
    /// One of `project`, or of all.
    pub fn new(
        vault: &'a Vault,
        project: Option<&'a ProjectName>,
        to: &'a To<'a>,
        armor: bool,
    ) -> Self {
        Self { vault, project, to, armor, counts: Counts::default(), digests: None }
    }

    /// Writes the file.
    pub fn write(
        &mut self,
        out: &mut dyn Write,
        on_progress: &dyn Fn(u64),
    ) -> Result<(), ExpandError> {
        let file = BufWriter::new(HashingWriter::new(out));
        let begun = age_file::AgeWriter::begin(self.to, self.armor, file);
        let sealing = begun.map_err(|error| match error {
            AgeError::Io(error) => ExpandError::Output(error),
            other => ExpandError::Output(io::Error::other(other.to_string())),
        })?;

        let mut document = HashingWriter::new(sealing);
        self.counts = write(self.vault, self.project, &mut document, on_progress).map_err(
            |error| match error {
                ExportError::Vault(error) => ExpandError::Template(TemplateError::Vault(error)),
                ExportError::Output(error) => ExpandError::Output(error),
            },
        )?;

        let (sealing, of_document) = document.finish();
        let file = sealing
            .finish()
            .and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error));

        self.digests = Some((of_document, file.map_err(ExpandError::Output)?.finish().1));
        Ok(())
    }

    /// What was written.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Reads the file again, which is at its beginning: its bytes are those that were written, its header is as it should be, and
    /// where the passphrase is known it opens and holds what was sealed. Returns its length.
    pub fn check(&self, mut file: File) -> Result<u64, AgeError> {
        let Some((of_document, of_file)) = &self.digests else { return Err(AgeError::Damaged) };
        let mut bytes = HashingWriter::new(io::sink());
        let length = io::copy(&mut file, &mut bytes)?;
        io::Seek::rewind(&mut file)?;

        let sealed = AgeHeader::read(file)?;
        let same = match self.to {
            To::Recipients(recipients) => {
                !sealed.needs_passphrase() && sealed.recipients() == recipients.len()
            }
            To::Passphrase(passphrase) => {
                let mut document = HashingWriter::new(io::sink());
                sealed
                    .open(&DecryptWith::Passphrase(passphrase))?
                    .each(|piece| document.take(piece))?;
                document.finish().1 == *of_document
            }
        };

        if same && bytes.finish().1 == *of_file { Ok(length) } else { Err(AgeError::Damaged) }
    }
}

/// Writes one project, or all of them, from one state of the vault. `reached` is told how many secrets were written.
pub fn write(
    vault: &Vault,
    project: Option<&ProjectName>,
    out: &mut dyn Write,
    on_progress: &dyn Fn(u64),
) -> Result<Counts, ExportError> {
    let mut counts = Counts::default();
    let mut first = true;
    write!(out, "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"projects\":[")?;
    vault.export(project, |met| {
        match met {
            Exported::Project(name) => {
                let before = if counts.projects == 0 { "\n" } else { "\n]},\n" };
                write!(out, "{before}{{\"name\":\"{name}\",\"secrets\":[")?;
                counts.projects += 1;
                first = true;
            }
            Exported::Secret(metadata, value) => {
                out.write_all(if std::mem::take(&mut first) { b"\n" } else { b",\n" })?;
                secret(metadata, value, out)?;
                counts.secrets += 1;
                on_progress(counts.secrets as u64);
            }
        }

        Ok::<(), ExportError>(())
    })?;

    out.write_all(if counts.projects == 0 { b"]}\n" } else { b"\n]}\n]}\n" })?;
    Ok(counts)
}

/// One secret, in one line.
fn secret(metadata: &Metadata, value: &SecretValue, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{{\"tag\":\"{}\"", metadata.tag)?;
    if let Some(name) = &metadata.name {
        text(",\"name\":", name.as_str(), out)?;
    }

    if let Some(description) = &metadata.description {
        text(",\"description\":", description.as_str(), out)?;
    }

    match std::str::from_utf8(value.expose()) {
        Ok(value) => text(",\"value\":", value, out)?,
        Err(_) => base64(value.expose(), out)?,
    }

    let (created, updated) = (metadata.created.rfc3339(), metadata.updated.rfc3339());
    write!(out, ",\"createdAt\":\"{created}\",\"updatedAt\":\"{updated}\"}}")
}

/// A string, with JSON's escapes where they have to be. It passes through no buffer.
fn text(key: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(key.as_bytes())?;
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn base64(value: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b",\"valueBase64\":\"")?;
    let mut encoded = Zeroizing::new([0; 4096]);

    // Three bytes are four characters: pieces of a multiple of three follow on each other without a seam.
    for piece in value.chunks(3072) {
        out.write_all(Base64::encode(piece, &mut *encoded).map_err(io::Error::other)?.as_bytes())?;
    }

    out.write_all(b"\"")
}
