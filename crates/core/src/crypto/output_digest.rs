//! Keyed digests of rendered files: they recognize a file that we wrote without giving anything
//! away about its content.
//!
//! An unkeyed digest of a file with one short value could be guessed offline. The key comes from a
//! project's key ring, so only an unlocked vault can compute or compare such a digest. A new key
//! ring (`rekey`) makes all earlier digests unusable.

use std::io::{self, Write};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::aead::Key;
use super::ids::ProjectId;

/// The key for the digests of one project's outputs.
pub struct OutputKey {
    key: Key,
    pid: ProjectId,
}

impl OutputKey {
    /// Takes a key that was derived for this purpose, and the id of its project.
    pub fn new(key: Key, pid: ProjectId) -> Self {
        Self { key, pid }
    }

    /// Returns the project's id in hexadecimal. It stays the same if the project gets another name
    /// or other keys.
    pub fn project(&self) -> String {
        hex(&self.pid)
    }

    /// Returns 8 bytes in hexadecimal that identify this key without revealing anything about it.
    pub fn id(&self) -> String {
        let mut id = hex(&self.mac(b"secrets/v3/output-key\0").finalize().into_bytes());
        id.truncate(16);
        id
    }

    /// Starts the digest of a file.
    pub fn digest(&self) -> OutputDigest {
        OutputDigest::Keyed(Box::new(self.mac(b"secrets/v3/output\0")))
    }

    fn mac(&self, label: &[u8]) -> Hmac<Sha256> {
        // HMAC pads a key that is shorter than its block with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0_u8; 64]);
        block[..32].copy_from_slice(self.key.expose());

        let mut mac = Hmac::new((&*block).into());
        mac.update(label);
        mac
    }
}

/// The digest of a file, to which the content is written piece by piece. It is boxed because a hash
/// holds the last bytes of the content, and a move would leave a copy of them behind.
pub enum OutputDigest {
    /// HMAC-SHA256
    Keyed(Box<Hmac<Sha256>>),
    /// SHA-256, for a file without a secret, because its template is readable anyway
    Plain(Box<Sha256>),
}

impl OutputDigest {
    /// Starts the digest of a file without a secret.
    pub fn plain() -> Self {
        Self::Plain(Box::default())
    }

    /// Returns the digest in hexadecimal.
    pub fn finish(self) -> String {
        match self {
            Self::Keyed(mac) => hex(&(*mac).clone().finalize().into_bytes()),
            Self::Plain(digest) => hex(&(*digest).clone().finalize()),
        }
    }
}

impl Write for OutputDigest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Keyed(mac) => mac.update(bytes),
            Self::Plain(digest) => Digest::update(&mut **digest, bytes),
        }

        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(mut digest: OutputDigest, pieces: &[&[u8]]) -> String {
        for piece in pieces {
            digest.write_all(piece).unwrap();
        }

        digest.finish()
    }

    #[test]
    fn a_digest_depends_on_the_key_and_on_the_content_and_not_on_the_pieces() {
        let [one, other] = [1, 2].map(|n| OutputKey::new(Key::copy_of(&[n; 32]), [n; 16]));
        assert_eq!(digest(one.digest(), &[b"a", b"b"]), digest(one.digest(), &[b"ab"]));
        assert_ne!(digest(one.digest(), &[b"ab"]), digest(one.digest(), &[b"ac"]));
        assert_ne!(digest(one.digest(), &[b"ab"]), digest(other.digest(), &[b"ab"]));
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id().len(), 16);
        assert_eq!(one.project(), "01".repeat(16));

        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(OutputDigest::plain(), &[]), empty);
    }
}
