//! Writes an export: the secrets of one project or of all projects as one JSON document
//! (docs/export.md), encrypted into an age file. The document is written in pieces, so its
//! plaintext never exists as a whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use base64ct::{Base64, Encoding};
use secrets_age::{AgeError, AgeHeader, AgeWriter, DecryptWith, Digest, HashingWriter, To};
use secrets_core::model::{Class, Metadata, ProjectName, SecretValue};
use secrets_core::vault::{Exported, Vault, VaultError};
use zeroize::Zeroizing;

/// The value of `format` that identifies the document.
pub const FORMAT: &str = "secrets-export";
/// The version of the document's format.
pub const VERSION: u64 = 1;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// The contents of an export as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub projects: usize,
    /// The number of secrets in all projects
    pub secrets: usize,
}

/// Writes an export and keeps the digests that are needed to check it.
pub struct ExportWriter<'a> {
    vault: &'a Vault,
    project: Option<&'a ProjectName>,
    to: &'a To<'a>,
    armor: bool,
    counts: Counts,
    /// The digests of the document and of the file
    digests: Option<(Digest, Digest)>,
}

impl<'a> ExportWriter<'a> {
    /// Creates a writer for the secrets of `project`, or of all projects.
    pub fn new(
        vault: &'a Vault,
        project: Option<&'a ProjectName>,
        to: &'a To<'a>,
        armor: bool,
    ) -> Self {
        Self { vault, project, to, armor, counts: Counts::default(), digests: None }
    }

    /// Writes the age file to `out`. Calls `on_progress` with the number of secrets written so far.
    pub fn write(
        &mut self,
        out: &mut dyn Write,
        on_progress: &dyn Fn(u64),
    ) -> Result<(), ExportError> {
        let file = BufWriter::new(HashingWriter::new(out));
        let started = AgeWriter::begin(self.to, self.armor, file);
        let encrypted = started.map_err(|error| match error {
            AgeError::Io(error) => ExportError::Output(error),
            other => ExportError::Output(io::Error::other(other.to_string())),
        })?;

        let mut document = HashingWriter::new(encrypted);
        self.counts = write(self.vault, self.project, &mut document, on_progress)?;

        let (encrypted, document_digest) = document.finish();
        let file = encrypted
            .finish()
            .and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error));

        self.digests = Some((document_digest, file.map_err(ExportError::Output)?.finish().1));
        Ok(())
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Checks the written file and returns its length in bytes. `file` must be positioned at its
    /// start. The check compares all bytes with those that were written, and the header with the
    /// recipients. If the file has a passphrase, it is also decrypted and compared with the
    /// document.
    pub fn check(&self, mut file: File) -> Result<u64, AgeError> {
        let Some((document_digest, file_digest)) = &self.digests else {
            return Err(AgeError::Damaged);
        };

        let mut bytes = HashingWriter::new(io::sink());
        let length = io::copy(&mut file, &mut bytes)?;
        io::Seek::rewind(&mut file)?;

        let sealed = AgeHeader::read(file)?;
        let is_same = match self.to {
            To::Recipients(recipients) => {
                !sealed.needs_passphrase() && sealed.recipients() == recipients.len()
            }
            To::Passphrase(passphrase) => {
                let mut document = HashingWriter::new(io::sink());
                sealed
                    .open(&DecryptWith::Passphrase(passphrase))?
                    .each(|piece| document.take(piece))?;
                document.finish().1 == *document_digest
            }
        };

        if is_same && bytes.finish().1 == *file_digest {
            Ok(length)
        } else {
            Err(AgeError::Damaged)
        }
    }
}

/// Writes the document with one project, or with all of them, from one snapshot of the vault. Calls
/// `on_progress` with the number of secrets written so far.
pub fn write(
    vault: &Vault,
    project: Option<&ProjectName>,
    out: &mut dyn Write,
    on_progress: &dyn Fn(u64),
) -> Result<Counts, ExportError> {
    let mut counts = Counts::default();
    let mut first = true;
    write!(out, "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"projects\":[")?;
    vault.export(project, |part| {
        match part {
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

/// Writes one secret on one line.
fn secret(metadata: &Metadata, value: &SecretValue, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{{\"tag\":\"{}\"", metadata.tag)?;
    if let Some(name) = &metadata.name {
        text(",\"name\":", name.as_str(), out)?;
    }

    if let Some(description) = &metadata.description {
        text(",\"description\":", description.as_str(), out)?;
    }

    if metadata.class == Class::Restricted {
        write!(out, ",\"access\":\"{}\"", metadata.class.as_str())?;
    }

    match std::str::from_utf8(value.expose()) {
        Ok(value) => text(",\"value\":", value, out)?,
        Err(_) => base64(value.expose(), out)?,
    }

    let (created, updated) = (metadata.created.rfc3339(), metadata.updated.rfc3339());
    write!(out, ",\"createdAt\":\"{created}\",\"updatedAt\":\"{updated}\"")?;
    if let Some(expires) = metadata.expires {
        write!(out, ",\"expiresAt\":\"{}\"", expires.rfc3339())?;
    }

    if let Some(source) = &metadata.source {
        text(",\"source\":", source.as_str(), out)?;
    }

    out.write_all(b"}")
}

/// Writes a JSON string, escaped if necessary. The text passes through no buffer.
fn text(key: &str, text: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(key.as_bytes())?;
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

fn base64(value: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b",\"valueBase64\":\"")?;
    let mut encoded = Zeroizing::new([0; 4096]);

    // Base64 turns three bytes into four characters. The encoded pieces therefore join without
    // padding if their lengths are multiples of three.
    for piece in value.chunks(3072) {
        out.write_all(Base64::encode(piece, &mut *encoded).map_err(io::Error::other)?.as_bytes())?;
    }

    out.write_all(b"\"")
}
