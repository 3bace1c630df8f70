//! Entries of the log of uses and refusals, a file outside of the vault (docs/design/audit.md).
//!
//! Each entry has a key of its own, and the next key is derived from it. Somebody who gets the present
//! key can neither read earlier entries nor write others in their place.

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::{Key, OVERHEAD};
use super::fields::Fields;
use super::ids::{Hash, OWNER, TokenId, VaultId};
use super::padding::{pad, unpad};
use super::record::metadata_size;
use crate::codec::{self, Reader, prefixed};

const USES: &str = "an entry of the log of uses";

/// The maximum number of tags that an entry names. A larger use gives their number.
pub const MAX_TAGS: usize = 32;
/// The maximum number of bytes of a name in an entry.
pub const MAX_NAME: usize = 512;
/// The maximum number of bytes of a sealed entry.
pub const MAX_SEALED: usize = 16 * 1024;

const MAGIC: &[u8; 16] = b"secrets/v3/uses\0";
const STATE: &[u8; 16] = b"secrets/v3/next\0";

const FIELD_TIME: u8 = 1;
const FIELD_ACTION: u8 = 2;
const FIELD_REFUSED: u8 = 3;
const FIELD_COUNT: u8 = 4;
const FIELD_PROJECT: u8 = 5;
const FIELD_TAGS: u8 = 6;
const FIELD_TOKEN: u8 = 7;
const FIELD_REQUEST: u8 = 8;
const FIELD_REQUEST_ID: u8 = 9;

/// The one who used something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The owner of the root key
    Owner,
    /// A token
    Token {
        /// Its id
        id: TokenId,
        /// Its name
        name: String,
    },
}

/// A request that a use is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedRequest {
    /// Its method
    pub method: String,
    /// Its origin, such as `https://api.example.com`
    pub origin: String,
    /// Its path, without values and without its query
    pub path: String,
    /// The reason if it was refused
    pub reason: Option<String>,
    /// The id that the response names, for a request to the API
    pub id: Option<String>,
}

/// A use or a refusal. It has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseEntry {
    /// The time, in milliseconds since 1970
    pub time: u64,
    /// The one who acted
    pub actor: Actor,
    /// The name of the command
    pub action: String,
    /// True if the command was refused
    pub refused: bool,
    /// The project, if one was chosen
    pub project: Option<String>,
    /// The number of secrets
    pub count: u64,
    /// The first [`MAX_TAGS`] of their tags
    pub tags: Vec<String>,
    /// The request, if the use is one
    pub request: Option<UsedRequest>,
}

impl UseEntry {
    fn encode(&self) -> Vec<u8> {
        let text = |text: &String| clipped(text).as_bytes().to_vec();
        let mut tags = codec::length(self.tags.len().min(MAX_TAGS)).to_vec();
        for tag in self.tags.iter().take(MAX_TAGS) {
            prefixed(&mut |piece| tags.extend(piece), &[&text(tag)]);
        }

        let mut fields = Fields::with_capacity(512);
        fields.add(FIELD_TIME, &self.time.to_be_bytes());
        fields.add(FIELD_ACTION, &text(&self.action));
        if self.refused {
            fields.add(FIELD_REFUSED, &[1]);
        }

        fields.add(FIELD_COUNT, &self.count.to_be_bytes());
        if let Some(project) = &self.project {
            fields.add(FIELD_PROJECT, &text(project));
        }

        if !self.tags.is_empty() {
            fields.add(FIELD_TAGS, &tags);
        }

        if let Actor::Token { id, name } = &self.actor {
            fields.add(FIELD_TOKEN, &[&id[..], &text(name)].concat());
        }

        if let Some(UsedRequest { method, origin, path, reason, id }) = &self.request {
            let mut request = Vec::new();
            for part in
                [Some(method), Some(origin), Some(path), reason.as_ref()].into_iter().flatten()
            {
                prefixed(&mut |piece| request.extend(piece), &[&text(part)]);
            }

            fields.add(FIELD_REQUEST, &request);
            if let Some(id) = id {
                fields.add(FIELD_REQUEST_ID, &text(id));
            }
        }

        fields.finish(&[]).expose().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let fields = Fields::decode::<10>(bytes, USES).ok()?;
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_NAME);
            text.map(str::to_owned)
        };

        let refused = fields.optional(FIELD_REFUSED, || match fields.bytes(FIELD_REFUSED)? {
            [1] => Some(true),
            _ => None,
        })?;
        let tags = fields.optional(FIELD_TAGS, || {
            let mut reader = Reader::new(fields.bytes(FIELD_TAGS)?);
            let count = usize::try_from(reader.u32()?).ok()?;
            if !(1..=MAX_TAGS).contains(&count) {
                return None;
            }

            let tags = (0..count).map(|_| text(reader.prefixed()?)).collect::<Option<_>>()?;
            reader.finish(tags)
        })?;
        let actor = fields.optional(FIELD_TOKEN, || {
            let (id, name) = fields.bytes(FIELD_TOKEN)?.split_first_chunk()?;
            Some(Actor::Token { id: *id, name: text(name)? }).filter(|_| *id != OWNER)
        })?;
        let project = || fields.bytes(FIELD_PROJECT).and_then(text);
        let id = || fields.bytes(FIELD_REQUEST_ID).and_then(text);
        let id = fields.optional(FIELD_REQUEST_ID, id)?;
        let request = fields.optional(FIELD_REQUEST, || {
            let mut reader = Reader::new(fields.bytes(FIELD_REQUEST)?);
            let mut next = || reader.prefixed().and_then(text);
            let (method, origin, path) = (next()?, next()?, next()?);
            let reason =
                if reader.rest().is_empty() { None } else { Some(text(reader.prefixed()?)?) };
            reader.finish(UsedRequest { method, origin, path, reason, id: None })
        })?;

        // An id belongs to a request.
        let request = match (request, id) {
            (None, Some(_)) => return None,
            (request, id) => request.map(|request| UsedRequest { id, ..request }),
        };

        Some(Self {
            time: u64::from_be_bytes(*fields.array(FIELD_TIME)?),
            actor: actor.unwrap_or(Actor::Owner),
            action: text(fields.bytes(FIELD_ACTION)?)?,
            refused: refused.unwrap_or(false),
            project: fields.optional(FIELD_PROJECT, project)?,
            count: u64::from_be_bytes(*fields.array(FIELD_COUNT)?),
            tags: tags.unwrap_or_default(),
            request,
        })
    }
}

/// Returns the longest beginning of a name that an entry can hold.
fn clipped(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }

    &text[..end]
}

/// Returns the key that seals the first key of a segment for the owner. `checkpoint_key` is CK.
pub fn sealing_key(checkpoint_key: &Key, vault_id: &VaultId) -> Key {
    checkpoint_key.expand("audit-uses", vault_id)
}

/// The place in the log at which the next entry is written, and its key.
pub struct Position {
    /// The number of the segment, from 1
    pub segment: u32,
    /// The number of the next entry, from 1
    pub seq: u64,
    /// The number of bytes of the segment
    pub offset: u64,
    /// The hash that the next entry names
    pub previous: Hash,
    /// The next entry's key
    pub key: Key,
}

impl Position {
    /// The number of bytes of an encoded position.
    pub const SIZE: usize = 16 + 4 + 8 + 8 + 32 + 32 + 32;

    /// Encodes the position for the file that replaces the one before. It contains the key in the
    /// clear.
    pub fn encode(&self) -> crate::model::SecretBytes {
        let mut bytes = crate::model::SecretBytes::with_capacity(Self::SIZE);
        bytes.extend(STATE);
        bytes.extend(&self.segment.to_be_bytes());
        bytes.extend(&self.seq.to_be_bytes());
        bytes.extend(&self.offset.to_be_bytes());
        bytes.extend(&self.previous);
        bytes.extend(self.key.expose());
        let sum = Sha256::digest(bytes.expose());
        bytes.extend(&sum);
        bytes
    }

    /// Decodes the bytes of [`Position::encode`]. Returns `None` if they were written in part.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (fields, sum) = bytes.split_last_chunk::<32>()?;
        let mut reader = Reader::new(fields);
        let is_whole = Sha256::digest(fields)[..] == sum[..] && reader.array()? == *STATE;
        let (segment, seq, offset) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let (previous, key) = (reader.array()?, Key::copy_of(&reader.array()?));
        let is_valid = is_whole && segment > 0 && seq > 0 && seq < u64::MAX;
        reader.finish(Self { segment, seq, offset, previous, key }).filter(|_| is_valid)
    }

    /// Returns a copy.
    #[must_use]
    pub fn copy(&self) -> Self {
        let Self { segment, seq, offset, previous, key } = self;
        let (previous, key) = (*previous, Key::copy_of(key.expose()));
        Self { segment: *segment, seq: *seq, offset: *offset, previous, key }
    }

    /// Returns true if two positions are the same, with the same key.
    pub fn is_same(&self, other: &Self) -> bool {
        self.encode().expose() == other.encode().expose()
    }

    /// Seals an entry. Returns its bytes in the file, and moves to the position after it. The key
    /// before is wiped.
    pub fn seal(&mut self, vault_id: &VaultId, entry: &UseEntry) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(&entry.encode(), metadata_size);
        let sealed = self.key.seal("use", vault_id, &self.context(), padded.expose())?;
        let mut bytes = codec::length(sealed.len()).to_vec();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(&sealed);
        bytes.extend(self.advance(&sealed));
        Ok(bytes)
    }

    /// Reads an entry from the beginning of `bytes`, and moves to the position after it.
    pub fn open(&mut self, vault_id: &VaultId, bytes: &[u8]) -> Option<UseEntry> {
        let mut reader = Reader::new(bytes);
        let length = usize::try_from(reader.u32()?).ok().filter(|length| *length <= MAX_SEALED)?;
        (reader.u64()? == self.seq && length >= OVERHEAD).then_some(())?;
        let (sealed, rest) = reader.rest().split_at_checked(length)?;
        let padded = self.key.open("use", vault_id, &self.context(), sealed, USES).ok()?;
        let entry = UseEntry::decode(unpad(padded.expose(), metadata_size, USES).ok()?)?;
        let mut after = self.copy();
        let hash = after.advance(sealed);
        (rest.first_chunk() == Some(&hash)).then_some(())?;
        *self = after;
        Some(entry)
    }

    fn context(&self) -> Vec<u8> {
        [&self.seq.to_be_bytes()[..], &self.previous].concat()
    }

    fn advance(&mut self, sealed: &[u8]) -> Hash {
        let hash = Sha256::new()
            .chain_update(b"secrets/v3/use\0")
            .chain_update(self.previous)
            .chain_update(self.seq.to_be_bytes())
            .chain_update(sealed);

        self.previous = hash.finalize().into();
        self.seq += 1;
        self.offset += (4 + 8 + 32 + sealed.len()) as u64;
        self.key = self.key.expand("next", &[]);
        self.previous
    }

    /// Begins the next segment, with `key` or the key that follows. Returns its header and moves to
    /// the position after it. With a sealing key, the owner can read the log from here on without
    /// the segments before.
    pub fn begin_segment(
        &mut self,
        vault_id: &VaultId,
        sealing: Option<&Key>,
    ) -> Result<Vec<u8>, CryptoError> {
        self.segment += 1;
        let place = self.header(vault_id);
        let sealed = match sealing {
            Some(sealing) => sealing.seal("uses-key", vault_id, &place, self.key.expose())?,
            None => Vec::new(),
        };

        let mut header = place;
        prefixed(&mut |piece| header.extend(piece), &[&sealed]);
        self.previous = Sha256::digest(&header).into();
        self.offset = header.len() as u64;
        Ok(header)
    }

    fn header(&self, vault_id: &VaultId) -> Vec<u8> {
        let (segment, seq) = (self.segment.to_be_bytes(), self.seq.to_be_bytes());
        [&MAGIC[..], vault_id, &segment, &seq, &self.previous].concat()
    }
}

/// The header of a segment.
pub struct SegmentHeader<'a> {
    /// The position after the header, with a key of zeros
    after: Position,
    /// The number of the first entry
    pub seq: u64,
    /// The hash of the entry before
    pub previous: Hash,
    place: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> SegmentHeader<'a> {
    /// Reads the header of segment `segment`.
    pub fn read(vault_id: &VaultId, segment: u32, bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        (reader.array()? == *MAGIC && reader.array()? == *vault_id).then_some(())?;
        (reader.u32()? == segment).then_some(())?;
        let (seq, previous) = (reader.u64()?, reader.array()?);
        let place = &bytes[..bytes.len() - reader.rest().len()];
        let sealed = reader.prefixed()?;
        (seq > 0 && seq < u64::MAX).then_some(())?;

        let header = &bytes[..bytes.len() - reader.rest().len()];
        let after = Position {
            segment,
            seq,
            offset: header.len() as u64,
            previous: Sha256::digest(header).into(),
            key: Key::copy_of(&[0; 32]),
        };

        Some(Self { after, seq, previous, place, sealed })
    }

    /// Opens the first key with one of the owner's keys.
    pub fn first_key(&self, vault_id: &VaultId, sealing: &[Key]) -> Option<Key> {
        let open = |key: &Key| {
            let opened = key.open("uses-key", vault_id, self.place, self.sealed, USES).ok()?;
            opened.expose().try_into().ok().map(Key::copy_of)
        };

        sealing.iter().find_map(open)
    }

    /// Returns the position after the header.
    pub fn position(&self, key: &Key) -> Position {
        Position { key: Key::copy_of(key.expose()), ..self.after.copy() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tags: usize) -> UseEntry {
        UseEntry {
            time: 5,
            actor: Actor::Token { id: [1; 16], name: "ci".into() },
            action: "render".into(),
            refused: true,
            project: Some("web".into()),
            count: tags as u64,
            tags: (0..tags.min(MAX_TAGS)).map(|number| format!("tag-{number}")).collect(),
            request: None,
        }
    }

    fn request(reason: Option<&str>) -> UsedRequest {
        UsedRequest {
            method: "POST".into(),
            origin: "https://api.example.com".into(),
            path: "/v1/charges".into(),
            reason: reason.map(str::to_owned),
            id: None,
        }
    }

    fn begin() -> (Position, Vec<u8>, Key) {
        let (key, sealing) = (Key::random().unwrap(), Key::random().unwrap());
        let mut at = Position { segment: 0, seq: 1, offset: 0, previous: [0; 32], key };
        let header = at.begin_segment(&[7; 16], Some(&sealing)).unwrap();
        (at, header, sealing)
    }

    #[test]
    fn entries_round_trip() {
        let least = UseEntry { actor: Actor::Owner, refused: false, project: None, ..entry(0) };
        let sent = UseEntry { refused: false, request: Some(request(None)), ..entry(1) };
        let refused =
            UseEntry { request: Some(request(Some("the address is private"))), ..entry(0) };
        let to_api = UsedRequest { id: Some("0123456789abcdef".into()), ..request(None) };
        let to_api = UseEntry { request: Some(to_api), ..entry(1) };
        for entry in [entry(3), entry(100), least, sent, refused, to_api] {
            assert_eq!(UseEntry::decode(&entry.encode()), Some(entry));
        }

        let long = UseEntry { action: "é".repeat(400), ..entry(0) };
        assert_eq!(UseEntry::decode(&long.encode()).unwrap().action, "é".repeat(256));

        // An entry that was cut between two fields is another entry, and the seal shows that.
        let bytes = entry(3).encode();
        assert!((0..bytes.len()).all(|cut| UseEntry::decode(&bytes[..cut]) != Some(entry(3))));
        for wrong in
            [&b"\x03\0\0\0\x01\0"[..], b"\x06\0\0\0\x04\0\0\0\0", b"\x09\0\0\0\0", b"\x0a\0\0\0\0"]
        {
            assert_eq!(UseEntry::decode(&[&bytes[..28], wrong].concat()), None);
        }
    }

    #[test]
    fn a_later_key_opens_and_forges_no_earlier_entry() {
        let (mut at, header, sealing) = begin();
        let bytes = at.seal(&[7; 16], &entry(1)).unwrap();
        let mut later = at.copy();
        at.seal(&[7; 16], &entry(2)).unwrap();

        let read = SegmentHeader::read(&[7; 16], 1, &header).unwrap();
        let key = read.first_key(&[7; 16], &[Key::random().unwrap(), sealing]).unwrap();
        let first = read.position(&key);
        assert_eq!(first.copy().open(&[7; 16], &bytes), Some(entry(1)));
        assert_eq!(first.copy().open(&[8; 16], &bytes), None);

        // The thief has the position after the first entry.
        let mut stolen = Position { seq: 1, previous: first.previous, ..later.copy() };
        assert_eq!(stolen.copy().open(&[7; 16], &bytes), None);
        let forged = stolen.seal(&[7; 16], &entry(9)).unwrap();
        assert_eq!(first.copy().open(&[7; 16], &forged), None);
        assert_eq!(later.open(&[7; 16], &bytes), None);
    }

    #[test]
    fn a_position_is_whole_or_refused() {
        let (at, header, _) = begin();
        let bytes = at.encode();
        assert_eq!(bytes.len(), Position::SIZE);
        assert!(Position::decode(bytes.expose()).unwrap().is_same(&at));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.expose().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Position::decode(&flipped).is_none());
        }

        assert!(
            (0..header.len())
                .all(|cut| { SegmentHeader::read(&[7; 16], 1, &header[..cut]).is_none() })
        );
        assert!(SegmentHeader::read(&[7; 16], 2, &header).is_none());
    }
}
