//! Metadata and values: their encoding, their padding and their seals (docs/format.md, section 4).
//!
//! Decoding accepts exactly what encoding produces. An unknown field, a field out of order, a
//! padding byte that is not zero and a wrong length all count as damage.

use super::CryptoError;
use super::ids::{ProjectId, RecordId, VaultId};
use super::keyring::Keyring;
use super::padding::{pad, unpad, value_size};
use crate::codec::{self, Reader};
use crate::model::{Description, Hint, Metadata, Name, SecretBytes, SecretValue, Tag, Timestamp};

const METADATA_STEP: usize = 256;
const METADATA: &str = "a secret's metadata";
const VALUE: &str = "a secret's value";

/// The identity of a record, which its seals are bound to.
#[derive(Clone, Copy)]
pub struct RecordContext<'a> {
    /// The vault
    pub vault_id: &'a VaultId,
    /// The project
    pub pid: &'a ProjectId,
    /// The record
    pub rid: &'a RecordId,
    /// The generation of the project's keys
    pub epoch: u32,
}

impl RecordContext<'_> {
    fn encode(&self, version: u64) -> Vec<u8> {
        [&self.pid[..], self.rid, &self.epoch.to_be_bytes(), &version.to_be_bytes()].concat()
    }
}

impl Keyring {
    /// Seals metadata as version `ver` of its record.
    pub fn seal_metadata(
        &self,
        context: RecordContext<'_>,
        ver: u64,
        metadata: &Metadata,
    ) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(encode_metadata(metadata).expose(), metadata_size);
        self.metadata.seal("meta", context.vault_id, &context.encode(ver), padded.expose())
    }

    /// Opens metadata.
    pub fn open_metadata(
        &self,
        context: RecordContext<'_>,
        ver: u64,
        sealed: &[u8],
    ) -> Result<Metadata, CryptoError> {
        let padded =
            self.metadata.open("meta", context.vault_id, &context.encode(ver), sealed, METADATA)?;
        decode_metadata(unpad(padded.expose(), metadata_size, METADATA)?)
            .ok_or(CryptoError::Damaged(METADATA))
    }

    /// Seals a value that was set by version `vver` of its record.
    pub fn seal_value(
        &self,
        context: RecordContext<'_>,
        vver: u64,
        value: &SecretValue,
    ) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(value.expose(), value_size);
        self.value.seal("value", context.vault_id, &context.encode(vver), padded.expose())
    }

    /// Opens a value.
    pub fn open_value(
        &self,
        context: RecordContext<'_>,
        vver: u64,
        sealed: &[u8],
    ) -> Result<SecretValue, CryptoError> {
        let padded =
            self.value.open("value", context.vault_id, &context.encode(vver), sealed, VALUE)?;

        let bytes = SecretBytes::copy_of(unpad(padded.expose(), value_size, VALUE)?);
        SecretValue::new(bytes, true).map_err(|_| CryptoError::Damaged(VALUE))
    }
}

/// Returns the padded length of metadata, a multiple of 256 bytes.
fn metadata_size(length: usize) -> usize {
    length.next_multiple_of(METADATA_STEP)
}

const FIELD_TAG: u8 = 1;
const FIELD_NAME: u8 = 2;
const FIELD_DESCRIPTION: u8 = 3;
const FIELD_HINT: u8 = 4;
const FIELD_CREATED: u8 = 5;
const FIELD_UPDATED: u8 = 6;

// Each field is `type(1) ‖ length(4) ‖ bytes`. Types ascend, and absent fields are left out.
fn encode_metadata(metadata: &Metadata) -> SecretBytes {
    let (created, updated) = (metadata.created.0.to_be_bytes(), metadata.updated.0.to_be_bytes());
    let fields = [
        (FIELD_TAG, Some(metadata.tag.as_str().as_bytes())),
        (FIELD_NAME, metadata.name.as_ref().map(|name| name.as_str().as_bytes())),
        (FIELD_DESCRIPTION, metadata.description.as_ref().map(|text| text.as_str().as_bytes())),
        (FIELD_HINT, Some(metadata.hint.as_str().as_bytes())),
        (FIELD_CREATED, Some(&created[..])),
        (FIELD_UPDATED, Some(&updated[..])),
    ];

    let mut out = SecretBytes::with_capacity(METADATA_STEP);
    for (kind, bytes) in fields {
        let Some(bytes) = bytes else { continue };
        out.push(kind);
        codec::prefixed(&mut |piece| out.extend(piece), &[bytes]);
    }

    out
}

fn decode_metadata(bytes: &[u8]) -> Option<Metadata> {
    let mut reader = Reader::new(bytes);
    let mut fields: [Option<&[u8]>; 7] = [None; 7];
    let mut last = 0;
    while let Some(kind) = reader.u8() {
        if kind <= last {
            return None;
        }

        *fields.get_mut(usize::from(kind))? = Some(reader.prefixed()?);
        last = kind;
    }

    let text = |kind: u8| fields[usize::from(kind)].map(|b| std::str::from_utf8(b).ok());
    let time = |kind: u8| {
        fields[usize::from(kind)]
            .and_then(|b| b.try_into().ok())
            .map(|b| Timestamp(u64::from_be_bytes(b)))
    };

    let name = match text(FIELD_NAME) {
        None => None,
        Some(text) => Some(Name::stored(text?)?),
    };

    let description = match text(FIELD_DESCRIPTION) {
        None => None,
        Some(text) => Some(Description::stored(text?)?),
    };

    Some(Metadata {
        tag: Tag::parse(text(FIELD_TAG)??).ok()?,
        name,
        description,
        hint: Hint::stored(text(FIELD_HINT)??).ok()?,
        created: time(FIELD_CREATED)?,
        updated: time(FIELD_UPDATED)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        Metadata {
            tag: Tag::parse("my-secret").unwrap(),
            name: Name::parse("My secret").unwrap(),
            description: Description::parse("two\nlines").unwrap(),
            hint: Hint::of(b"0123456789abcdef0123456789abcdef"),
            created: Timestamp(1_700_000_000_000),
            updated: Timestamp(1_700_000_000_001),
        }
    }

    #[test]
    fn metadata_round_trips() {
        let mut metadata = sample();
        assert_eq!(decode_metadata(encode_metadata(&metadata).expose()), Some(metadata.clone()));
        (metadata.name, metadata.description) = (None, None);
        assert_eq!(decode_metadata(encode_metadata(&metadata).expose()), Some(metadata));
    }

    #[test]
    fn metadata_is_decoded_strictly() {
        let whole = encode_metadata(&sample()).expose().to_vec();
        for cut in 0..whole.len() {
            assert_eq!(decode_metadata(&whole[..cut]), None, "cut at {cut}");
        }

        let with = |more: &[u8]| decode_metadata(&[&whole, more].concat());
        assert_eq!(with(&[7, 0, 0, 0, 0]), None, "an unknown field");
        assert_eq!(with(&[6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]), None, "a field twice");
        assert_eq!(with(&[0, 0, 0, 0, 0]), None, "type 0");
        assert_eq!(with(&[255, 255, 255, 255, 255]), None, "a length past the end");
    }

    #[test]
    fn padding_is_checked_to_the_last_byte() {
        for length in [0, 1, 251, 252, 253, 4092, 4093, 5000, 70_000] {
            let plain = vec![7; length];
            let padded = pad(&plain, value_size);
            assert_eq!(unpad(padded.expose(), value_size, "it").unwrap(), plain);

            for at in 4 + length..padded.len() {
                let mut wrong = padded.expose().to_vec();
                wrong[at] = 1;
                assert!(unpad(&wrong, value_size, "it").is_err());
            }

            assert!(unpad(&[padded.expose(), &[0]].concat(), value_size, "it").is_err());
        }

        for bad in [&[][..], &[0, 0, 0], &[0, 0, 0, 1], &[255; 256]] {
            assert!(unpad(bad, value_size, "it").is_err());
        }
    }

    #[test]
    fn value_sizes_follow_the_format() {
        let cases = [
            (4, 256),
            (256, 256),
            (257, 512),
            (4096, 4096),
            (4097, 4352),
            (9000, 9216),
            (1_048_580, 1_081_344),
        ];

        for (length, size) in cases {
            assert_eq!(value_size(length), size, "{length}");
        }

        for length in (4097..1_048_580).step_by(997) {
            let size = value_size(length);
            assert!(size >= length && (size - length) * 100 <= length * 12, "{length} {size}");
            assert_eq!(value_size(size), size);
        }
    }
}
