//! Metadata and values: their encoding, their padding and their seals (docs/format.md, section 4).
//!
//! Decoding accepts exactly what encoding produces. A field out of order, a padding byte that is not
//! zero and a wrong length all count as damage.

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::{Key, MessageKey};
use super::fields::Fields;
use super::ids::{Hash, ProjectId, RecordId, VaultId};
use super::keyring::Keyring;
use super::padding::{pad, unpad, value_size};
use crate::codec::{Reader, prefixed};
use crate::model::{
    Class, Description, Destinations, Hint, Metadata, Name, SecretBytes, SecretValue, Source, Tag,
    Timestamp,
};

/// Metadata is padded to multiples of this many bytes.
const METADATA_STEP: usize = 256;
const METADATA: &str = "a secret's metadata";
const VALUE: &str = "a secret's value";

/// The label of sealed values.
pub const VALUE_LABEL: &str = "value";

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

    /// Seals encoded metadata under MK as version `ver` of this record.
    pub(super) fn seal_fields(
        self,
        key: &Key,
        ver: u64,
        fields: &SecretBytes,
    ) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(fields.expose(), metadata_size);
        key.seal("meta", self.vault_id, &self.encode(ver), padded.expose())
    }

    /// Opens encoded metadata with MK and passes it to `decode`. `what` names it in the error.
    pub(super) fn open_fields<T>(
        self,
        key: &Key,
        ver: u64,
        sealed: &[u8],
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<T, CryptoError>,
    ) -> Result<T, CryptoError> {
        let padded = key.open("meta", self.vault_id, &self.encode(ver), sealed, what)?;
        decode(unpad(padded.expose(), metadata_size, what)?)
    }

    /// Seals a padded value that was set by version `vver` of this record.
    pub(super) fn seal_bytes(
        self,
        key: MessageKey,
        vver: u64,
        binding: ValueBinding,
        plain: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(plain, value_size);
        let context = [&self.encode(vver)[..], &binding.encode()].concat();
        key.seal(VALUE_LABEL, self.vault_id, &context, padded.expose())
    }

    /// Opens the result of [`RecordContext::seal_bytes`].
    pub(super) fn open_bytes(
        self,
        key: &MessageKey,
        vver: u64,
        binding: ValueBinding,
        sealed: &[u8],
        what: &'static str,
    ) -> Result<SecretBytes, CryptoError> {
        let context = [&self.encode(vver)[..], &binding.encode()].concat();
        let padded = key.open(VALUE_LABEL, self.vault_id, &context, sealed, what)?;
        Ok(SecretBytes::copy_of(unpad(padded.expose(), value_size, what)?))
    }
}

/// The binding of a sealed value besides its record. Nobody who cannot open the value can give it to
/// another tag, class or destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueBinding {
    /// The generation of its key
    pub generation: u32,
    /// The class of the secret
    pub class: Class,
    /// SHA-256 of the tag's key, with its length in front, and of the destinations
    target: Hash,
}

impl ValueBinding {
    /// Returns the binding of a value to its metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            generation: metadata.generation,
            class: metadata.class,
            target: target(metadata.tag.key().as_str(), &encode_destinations(metadata)),
        }
    }

    /// Returns the binding of the value of a new secret, which may not be sent anywhere yet.
    pub fn of_tag(tag: &Tag, class: Class) -> Self {
        Self { generation: 0, class, target: target(tag.key().as_str(), &[]) }
    }

    /// Returns the binding of a key ring in the directory to the project's name.
    pub fn of_project(name: &str) -> Self {
        Self { generation: 0, class: Class::Team, target: target(name, &[]) }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.generation.to_be_bytes()[..], &[class_byte(self.class)], &self.target].concat()
    }
}

/// `destinations` is the content of the metadata's field, or nothing.
fn target(key: &str, destinations: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    prefixed(&mut |piece| hash.update(piece), &[key.as_bytes()]);
    hash.update(destinations);
    hash.finalize().into()
}

/// Returns a class as one byte.
pub fn class_byte(class: Class) -> u8 {
    match class {
        Class::Team => 0,
        Class::Restricted => 1,
    }
}

/// Returns the class of one byte.
pub fn class_of(byte: u8) -> Option<Class> {
    match byte {
        0 => Some(Class::Team),
        1 => Some(Class::Restricted),
        _ => None,
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
        let key = self.metadata_key(context.pid, context.rid);
        context.seal_fields(&key, ver, &encode_metadata(metadata))
    }

    /// Opens metadata.
    pub fn open_metadata(
        &self,
        context: RecordContext<'_>,
        ver: u64,
        sealed: &[u8],
    ) -> Result<Metadata, CryptoError> {
        let key = self.metadata_key(context.pid, context.rid);
        open_metadata(&key, context, ver, sealed)
    }
}

/// Opens metadata with MK.
pub fn open_metadata(
    key: &Key,
    context: RecordContext<'_>,
    ver: u64,
    sealed: &[u8],
) -> Result<Metadata, CryptoError> {
    context.open_fields(key, ver, sealed, METADATA, decode_metadata)
}

/// Seals a value that was set by version `vver` of its record. `key` is a [`MessageKey`] of the
/// record's value key for [`VALUE_LABEL`].
pub fn seal_value(
    key: MessageKey,
    context: RecordContext<'_>,
    vver: u64,
    binding: ValueBinding,
    value: &SecretValue,
) -> Result<Vec<u8>, CryptoError> {
    context.seal_bytes(key, vver, binding, value.expose())
}

/// Opens the result of [`seal_value`].
pub fn open_value(
    key: &MessageKey,
    context: RecordContext<'_>,
    vver: u64,
    binding: ValueBinding,
    sealed: &[u8],
) -> Result<SecretValue, CryptoError> {
    let bytes = context.open_bytes(key, vver, binding, sealed, VALUE)?;
    SecretValue::new(bytes, true).map_err(|_| CryptoError::Damaged(VALUE))
}

/// Returns the padded length of metadata, a multiple of 256 bytes.
pub(super) fn metadata_size(length: usize) -> usize {
    length.next_multiple_of(METADATA_STEP)
}

pub(super) const FIELD_TAG: u8 = 1;
const FIELD_NAME: u8 = 2;
const FIELD_DESCRIPTION: u8 = 3;
const FIELD_HINT: u8 = 4;
pub(super) const FIELD_CREATED: u8 = 5;
pub(super) const FIELD_UPDATED: u8 = 6;
const FIELD_CLASS: u8 = 7;
const FIELD_GENERATION: u8 = 8;
const FIELD_DESTINATIONS: u8 = 9;
// 10 is reserved for the shape of placeholders.
const FIELD_EXPIRES: u8 = 11;
const FIELD_SOURCE: u8 = 12;

fn encode_metadata(metadata: &Metadata) -> SecretBytes {
    let (created, updated) = (metadata.created.0.to_be_bytes(), metadata.updated.0.to_be_bytes());
    let generation = metadata.generation.to_be_bytes();
    let expires = metadata.expires.map(|time| time.0.to_be_bytes());
    let is_restricted = metadata.class == Class::Restricted;
    let destinations = encode_destinations(metadata);
    let optional = [
        (FIELD_TAG, Some(metadata.tag.as_str().as_bytes())),
        (FIELD_NAME, metadata.name.as_ref().map(|name| name.as_str().as_bytes())),
        (FIELD_DESCRIPTION, metadata.description.as_ref().map(|text| text.as_str().as_bytes())),
        (FIELD_HINT, Some(metadata.hint.as_str().as_bytes())),
        (FIELD_CREATED, Some(&created[..])),
        (FIELD_UPDATED, Some(&updated[..])),
        (FIELD_CLASS, is_restricted.then_some(&[1][..])),
        (FIELD_GENERATION, (metadata.generation > 0).then_some(&generation[..])),
        (FIELD_DESTINATIONS, (!destinations.is_empty()).then_some(&destinations[..])),
        (FIELD_EXPIRES, expires.as_ref().map(<[u8; 8]>::as_slice)),
        (FIELD_SOURCE, metadata.source.as_ref().map(|source| source.as_str().as_bytes())),
    ];

    let mut fields = Fields::with_capacity(METADATA_STEP);
    for (kind, bytes) in optional {
        if let Some(bytes) = bytes {
            fields.add(kind, bytes);
        }
    }

    fields.finish(&metadata.later)
}

/// Returns the text of each destination with its length in front, in ascending order.
fn encode_destinations(metadata: &Metadata) -> Vec<u8> {
    let mut bytes = Vec::new();
    for destination in &metadata.destinations {
        let text = destination.to_string();
        prefixed(&mut |piece| bytes.extend_from_slice(piece), &[text.as_bytes()]);
    }

    bytes
}

fn decode_destinations(bytes: &[u8]) -> Option<Destinations> {
    let mut reader = Reader::new(bytes);
    let mut texts = Vec::new();
    while !reader.rest().is_empty() {
        texts.push(std::str::from_utf8(reader.prefixed()?).ok()?);
    }

    Destinations::stored(texts)
}

fn decode_metadata(bytes: &[u8]) -> Result<Metadata, CryptoError> {
    let fields = Fields::decode::<13>(bytes, METADATA)?;
    if fields.bytes(10).is_some() {
        return Err(CryptoError::Newer(METADATA));
    }

    let time = |kind| fields.array(kind).map(|bytes| Timestamp(u64::from_be_bytes(*bytes)));
    let text = |kind| fields.text(kind).flatten();

    // An optional field must be valid if it is there.
    let decoded = || {
        Some(Metadata {
            tag: Tag::parse(text(FIELD_TAG)?).ok()?,
            name: fields.optional(FIELD_NAME, || Name::stored(text(FIELD_NAME)?))?,
            description: fields
                .optional(FIELD_DESCRIPTION, || Description::stored(text(FIELD_DESCRIPTION)?))?,
            hint: Hint::stored(text(FIELD_HINT)?).ok()?,
            created: time(FIELD_CREATED)?,
            updated: time(FIELD_UPDATED)?,
            class: fields
                .optional(FIELD_CLASS, || {
                    (fields.bytes(FIELD_CLASS)? == [1]).then_some(Class::Restricted)
                })?
                .unwrap_or_default(),
            generation: fields
                .optional(FIELD_GENERATION, || {
                    let generation = u32::from_be_bytes(*fields.array(FIELD_GENERATION)?);
                    (generation > 0).then_some(generation)
                })?
                .unwrap_or_default(),
            expires: fields.optional(FIELD_EXPIRES, || time(FIELD_EXPIRES))?,
            source: fields.optional(FIELD_SOURCE, || Source::stored(text(FIELD_SOURCE)?))?,
            destinations: fields
                .optional(FIELD_DESTINATIONS, || {
                    decode_destinations(fields.bytes(FIELD_DESTINATIONS)?)
                })?
                .unwrap_or_default(),
            later: fields.later().to_vec(),
        })
    };

    decoded().ok_or(CryptoError::Damaged(METADATA))
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
            class: Class::Restricted,
            generation: 3,
            expires: Some(Timestamp(1_800_000_000_000)),
            source: Source::parse("https://example.com/keys").unwrap(),
            destinations: Destinations::stored([
                "GET,POST https://api.example.com/v1/** header:authorization",
                "PUT https://*.example.com:8443 json:/a/b",
            ])
            .unwrap(),
            later: b"\x80\0\0\0\x01x".to_vec(),
        }
    }

    fn round_trip(metadata: &Metadata) {
        assert_eq!(decode_metadata(encode_metadata(metadata).expose()).as_ref(), Ok(metadata));
    }

    #[test]
    fn metadata_round_trips() {
        let full = sample();
        round_trip(&full);
        let value = SecretValue::new(SecretBytes::copy_of(b"x"), false).unwrap();
        round_trip(&Metadata::new(full.tag, &value, full.created));
    }

    #[test]
    fn metadata_is_decoded_strictly() {
        let sample = Metadata { later: Vec::new(), ..sample() };
        let whole = encode_metadata(&sample).expose().to_vec();
        for cut in 0..whole.len() {
            let is_right = decode_metadata(&whole[..cut]).is_ok_and(|cut| cut.source.is_none());
            assert!(is_right || decode_metadata(&whole[..cut]).is_err(), "cut at {cut}");
        }

        let with = |more: &[u8]| decode_metadata(&[&whole, more].concat()).err();
        let damaged = Some(CryptoError::Damaged(METADATA));
        assert_eq!(with(&[13, 0, 0, 0, 0]), Some(CryptoError::Newer(METADATA)));
        assert_eq!(with(&[12, 0, 0, 0, 1, b'x']), damaged, "a field twice");
        assert_eq!(with(&[0, 0, 0, 0, 0]), damaged, "type 0");
        assert_eq!(with(&[255, 255, 255, 255, 255]), damaged, "a length past the end");
    }

    #[test]
    fn defaults_are_not_written_out() {
        let least = |more: &[u8]| {
            let value = SecretValue::new(SecretBytes::copy_of(b"x"), false).unwrap();
            let least = Metadata::new(sample().tag, &value, Timestamp(1));
            decode_metadata(&[encode_metadata(&least).expose(), more].concat()).is_ok()
        };

        assert!(least(b"") && least(b"\x07\0\0\0\x01\x01") && least(b"\x08\0\0\0\x04\0\0\0\x01"));
        assert!(!least(b"\x07\0\0\0\x01\0") && !least(b"\x07\0\0\0\x01\x02"));
        assert!(!least(b"\x08\0\0\0\x04\0\0\0\0"));
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
