//! Records the digest of what is written to an output.

use std::io::{self, Write};
use std::path::Path;

use secrets_core::crypto::output_digest::OutputDigest;
use secrets_core::model::Tag;

use super::SetupError;
use super::modified::contents_given;
use super::output_records::OutputRecords;
use crate::template::Resolved;

/// Computes the digest of what is written to an output or compared with it.
pub struct DigestingWriter<'a> {
    memory: &'a OutputRecords,
    has_secrets: bool,
    digest: Option<OutputDigest>,
}

impl<'a> DigestingWriter<'a> {
    /// Starts an empty digest. `tags` are the secrets that the template refers to.
    pub fn new(memory: &'a OutputRecords, tags: &[Tag]) -> Self {
        let has_secrets = !tags.is_empty();
        Self { memory, has_secrets, digest: memory.digest(has_secrets) }
    }

    /// Returns a writer that also passes everything on to `out`. The digest starts again, because
    /// content is written once to compare it and once to keep it.
    pub fn tee<'w>(&'w mut self, out: &'w mut dyn Write) -> impl Write + 'w {
        self.digest = self.memory.digest(self.has_secrets);
        Tee { digest: self.digest.as_mut(), out }
    }
}

pub(super) struct Tee<'w> {
    pub(super) digest: Option<&'w mut OutputDigest>,
    pub(super) out: &'w mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(bytes)?;
        if let Some(digest) = &mut self.digest {
            digest.write_all(&bytes[..length])?;
        }

        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Records an output whose content was written through `content`.
pub fn note(
    memory: &OutputRecords,
    path: &Path,
    content: DigestingWriter<'_>,
    resolved: &Resolved,
    tags: &[Tag],
) -> Result<(), SetupError> {
    if let Some(digest) = content.digest {
        let given = contents_given(path, resolved)?;
        memory.note(path, digest, given.map(|given| given.names()).unwrap_or_default(), tags);
    }

    Ok(())
}
