//! The key file: 256 random bits in a file, which some vaults need as well as the passphrase (docs/format.md,
//! section 3).
//!
//! It is a second factor for the vault's file: with a copy of the vault and the passphrase alone, nothing
//! can be opened or guessed.

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use super::CryptoError;
use super::aead::Key;
use crate::model::{Invalid, SecretBytes};

/// The beginning of the line with the key.
const MARK: &str = "SECRETS-KEY-FILE-1 ";
/// The lines above it, for whoever finds the file.
const COMMENT: &str = "# The key file of a secrets vault. The vault opens with this file and its passphrase.\n\
                       # Keep it away from the vault and from the vault's backups.\n";

/// A key file's 32 bytes. They are wiped on drop.
pub struct KeyFile(Key);

impl KeyFile {
    /// The largest size of a key file in bytes.
    pub const MAX: usize = 4096;

    /// Draws a random key.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn random() -> Result<Self, CryptoError> {
        Key::random().map(Self)
    }

    /// Reads the text of a file. Other lines and blanks around the key are ignored.
    ///
    /// # Errors
    /// No line, or more than one, has a key of 32 bytes in base64url (RFC 4648, section 5, without padding).
    pub fn parse(text: &SecretBytes) -> Result<Self, Invalid> {
        let lines = text.expose().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut keys = lines.filter_map(|line| line.strip_prefix(MARK.as_bytes()));
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(Invalid("it has no key, or more than one".into()));
        };

        let mut bytes = Zeroizing::new([0_u8; 32]);
        match Base64UrlUnpadded::decode(key.trim_ascii(), &mut *bytes) {
            Ok(decoded) if decoded.len() == 32 => {}
            _ => return Err(Invalid("its key is damaged".into())),
        }

        Ok(Self(Key::copy_of(&bytes)))
    }

    /// Returns the text of the file.
    pub fn text(&self) -> SecretBytes {
        let mut digits = Zeroizing::new([0_u8; 43]);
        let mut text = SecretBytes::with_capacity(COMMENT.len() + MARK.len() + digits.len() + 1);
        text.extend(COMMENT.as_bytes());
        text.extend(MARK.as_bytes());
        if let Ok(encoded) = Base64UrlUnpadded::encode(self.0.expose(), &mut *digits) {
            text.extend(encoded.as_bytes());
        }

        text.push(b'\n');
        text
    }

    /// Returns the 32 bytes.
    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<KeyFile, Invalid> {
        KeyFile::parse(&SecretBytes::copy_of(text.as_bytes()))
    }

    #[test]
    fn a_key_file_is_read_back() {
        let key = KeyFile::random().unwrap();
        let text = String::from_utf8(key.text().expose().to_vec()).unwrap();
        assert_eq!(parsed(&text).unwrap().expose(), key.expose());
        assert_eq!(parsed(&text.replace('\n', "\r\n")).unwrap().expose(), key.expose());
        assert!(text.lines().all(|line| line.len() < 100) && text.len() < KeyFile::MAX);
    }

    #[test]
    fn anything_else_is_refused() {
        let line = format!("{MARK}{}", "A".repeat(43));
        assert!(parsed(&line).is_ok());
        for text in [
            "",
            "hello",
            &line[..line.len() - 1],
            &format!("{line}A"),
            &format!("{line}\n{line}"),
            &line.replace("AAA", "A!A"),
            &line.replace('1', "2"),
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
