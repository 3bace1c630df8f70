//! The ticket: 256 random bits that open a slot of their own on a server, together with the address of
//! that server, in one word (docs/format.md, section 9).
//!
//! The owner carries it to another machine. It opens the vault once, until a date.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::Key;
use super::ids::VaultId;
use super::kdf::SlotKeys;
use super::rows::Slot;
use super::slot::{Credential, TICKET_SLOT, keys_of_random};
use crate::codec::{Reader, length};
use crate::model::{Invalid, SecretBytes, Timestamp};

const PREFIX: &[u8] = b"srt_";
const VERSION: u8 = 1;
const CHECKSUM: usize = 4;
/// The maximum length of a ticket in bytes. Its address may have certificates.
const MAX_LENGTH: usize = 128 * 1024;

/// A ticket. It is wiped on drop. The command that creates it shows it once.
pub struct Ticket {
    vault_id: VaultId,
    until: Timestamp,
    code: Key,
    address: SecretBytes,
}

impl Ticket {
    /// Draws a ticket for a vault at an address, which has no password.
    pub fn random(
        vault_id: VaultId,
        until: Timestamp,
        address: SecretBytes,
    ) -> Result<Self, CryptoError> {
        Ok(Self { vault_id, until, code: Key::random()?, address })
    }

    /// Returns the vault that it opens.
    pub fn vault_id(&self) -> &VaultId {
        &self.vault_id
    }

    /// Returns the time of its end.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Returns the encoded address of the server.
    pub fn address(&self) -> &SecretBytes {
        &self.address
    }

    /// Returns the parameters of its slot: the time of its end.
    pub(super) fn params(&self) -> Vec<u8> {
        self.until.0.to_be_bytes().to_vec()
    }

    /// Returns the ticket as one word.
    pub fn text(&self) -> SecretBytes {
        let mut bytes = SecretBytes::with_capacity(64 + self.address.len() + CHECKSUM);
        bytes.push(VERSION);
        bytes.extend(&self.vault_id);
        bytes.extend(&self.until.0.to_be_bytes());
        bytes.extend(self.code.expose());
        bytes.extend(&length(self.address.len()));
        bytes.extend(self.address.expose());
        let sum = checksum(bytes.expose());
        bytes.extend(&sum);

        let mut text = SecretBytes::zeroed(PREFIX.len() + bytes.len().div_ceil(3) * 4);
        text.expose_mut()[..PREFIX.len()].copy_from_slice(PREFIX);
        let encoded =
            Base64UrlUnpadded::encode(bytes.expose(), &mut text.expose_mut()[PREFIX.len()..]);
        let used = encoded.map_or(0, str::len);
        text.truncate(PREFIX.len() + used);
        text
    }

    /// Parses a ticket. Ignores line ends and blanks, because a long word is often broken when it is
    /// sent.
    pub fn parse(text: &SecretBytes) -> Result<Self, Invalid> {
        let mut word = SecretBytes::with_capacity(text.len().min(MAX_LENGTH));
        for byte in text.expose().iter().filter(|byte| !byte.is_ascii_whitespace()) {
            if word.len() == MAX_LENGTH {
                return Err(Invalid("it is too long".into()));
            }

            word.push(*byte);
        }

        let Some(encoded) = word.expose().strip_prefix(PREFIX) else {
            return Err(Invalid("it does not begin with `srt_`".into()));
        };
        let incomplete = || Invalid("it is incomplete or mistyped".into());
        let mut bytes = SecretBytes::zeroed(encoded.len() / 4 * 3 + 3);
        let decoded = Base64UrlUnpadded::decode(encoded, bytes.expose_mut());
        let used = decoded.map_err(|_| incomplete())?.len();
        bytes.truncate(used);

        let at = used.checked_sub(CHECKSUM).ok_or_else(incomplete)?;
        let (content, sum) = bytes.expose().split_at(at);
        if checksum(content) != *sum {
            return Err(incomplete());
        }

        Self::decode(content)
            .ok_or_else(|| Invalid("it was made by another version of `secrets`".into()))
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(content);
        (reader.u8()? == VERSION).then_some(())?;
        let (vault_id, until) = (reader.array()?, Timestamp(reader.u64()?));
        let code = Key::copy_of(&zeroize::Zeroizing::new(reader.array::<32>()?));
        let address = SecretBytes::copy_of(reader.prefixed()?);
        reader.finish(Self { vault_id, until, code, address })
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let digest =
        Sha256::new().chain_update(b"secrets/v3/ticket\0").chain_update(content).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

impl Credential for Ticket {
    fn opens(&self, kind: u32) -> bool {
        kind == TICKET_SLOT
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError> {
        keys_of_random(self.code.expose(), slot, vault_id, &self.params())
    }

    fn wrong(&self) -> CryptoError {
        CryptoError::WrongTicket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let address = SecretBytes::copy_of(b"an address");
        Ticket::random([3; 16], Timestamp(7), address).unwrap()
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written_even_in_pieces() {
        let ticket = ticket();
        let text = ticket.text();
        let broken = text.expose().chunks(20).collect::<Vec<_>>().join(&b"\r\n "[..]);
        for text in [text.expose(), &broken] {
            let read = Ticket::parse(&SecretBytes::copy_of(text)).unwrap();
            assert_eq!((read.vault_id, read.until), ([3; 16], Timestamp(7)));
            assert_eq!(read.code.expose(), ticket.code.expose());
            assert_eq!(read.address.expose(), b"an address");
        }
    }

    #[test]
    fn every_wrong_character_is_detected() {
        let text = ticket().text().expose().to_vec();
        for at in 0..text.len() {
            let mut wrong = text.clone();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert!(Ticket::parse(&SecretBytes::copy_of(&wrong)).is_err(), "{at}");
            assert!(Ticket::parse(&SecretBytes::copy_of(&text[..at])).is_err(), "{at}");
        }
    }
}
