//! Grants: what a token may do, and the keys for it, sealed for the token. Escrows: what the owner
//! needs to issue a grant again, sealed for the owner (docs/format.md, section 8).
//!
//! Everybody who has a token can write its grant. So a grant is believed by its own token only, and a
//! new grant is never made from the one before.

use zeroize::Zeroizing;

use super::CryptoError;
use super::aead::{Key, OVERHEAD};
use super::fields::{Decoded, Fields};
use super::ids::{Hash, ProjectId, RecordId, TokenId, VaultId};
use super::keyring::Keyring;
use super::padding::{pad, unpad};
use super::project_entry::PolicyId;
use super::record::{class_byte, class_of, metadata_size};
use super::rows::GrantRow;
use super::signing::PublicKey;
use crate::codec::{self, Reader, prefixed};
use crate::model::{Class, Level, ProjectName, SecretBytes, Tag, Timestamp, TokenName};

const GRANT: &str = "a token's grant";
const ESCROW: &str = "a token's escrow";

/// The maximum length of a sealed grant in bytes.
pub const MAX_GRANT: usize = 256 * 1024;
/// The maximum length of a sealed escrow in bytes.
pub const MAX_ESCROW: usize = 64 * 1024;
/// The maximum number of tokens of a vault.
pub const MAX_TOKENS: usize = 1024;

/// The content that a token's holder gets.
pub struct Grant {
    /// The token's name
    pub name: TokenName,
    /// Its level
    pub level: Level,
    /// The time of its end; `None` for a token that does not expire
    pub expires: Option<Timestamp>,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: bool,
    /// The key that verifies what the owner signs
    pub owner: PublicKey,
    /// Its project
    pub project: GrantedProject,
    /// True for the old string of a rotated token, which works until it expires
    pub is_replaced: bool,
    /// Fields of later versions, as they are encoded
    pub later: SecretBytes,
}

/// A project in a grant.
pub struct GrantedProject {
    /// Its id
    pub pid: ProjectId,
    /// Its name when the grant was issued
    pub name: ProjectName,
    /// The generation of its keys
    pub epoch: u32,
    /// Its state when the grant was issued; no earlier one is accepted
    pub floor: Floor,
    /// Its keys
    pub keys: GrantedKeys,
}

/// The least state of a project that a token accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The number of the head
    pub seq: u64,
    /// The hash of the head
    pub head: Hash,
    /// The policy
    pub policy: PolicyId,
}

/// The keys of a project that a token has.
pub enum GrantedKeys {
    /// Keys for the whole project
    Project(Keyring),
    /// Keys for some of its secrets
    Set(SetKeys),
}

/// Keys for some secrets of a project. They open nothing else, not even the tags of others.
pub struct SetKeys {
    /// HK, which opens the project's heads
    pub head: Key,
    /// PK, which opens the project's policies
    pub policy: Key,
    /// The secrets, in ascending order of their ids
    pub records: Vec<SetRecord>,
}

/// The keys for one secret.
pub struct SetRecord {
    /// Its id
    pub rid: RecordId,
    /// Its tag when the grant was issued, which says only where to look first
    pub tag: Tag,
    /// Its class
    pub class: Class,
    /// The generation of its value's key
    pub generation: u32,
    /// MK
    pub metadata: Key,
    /// VK, with level `use`
    pub value: Option<Key>,
}

impl SetKeys {
    /// Returns the keys for a secret, if the set has it.
    pub fn record(&self, rid: &RecordId) -> Option<&SetRecord> {
        let at = self.records.binary_search_by(|record| record.rid.cmp(rid)).ok()?;
        self.records.get(at)
    }
}

impl GrantedKeys {
    /// Returns HK.
    pub fn head_key(&self, pid: &ProjectId) -> Key {
        match self {
            Self::Project(keys) => keys.head_key(pid),
            Self::Set(set) => Key::copy_of(set.head.expose()),
        }
    }

    /// Returns PK.
    pub fn policy_key(&self, pid: &ProjectId) -> Key {
        match self {
            Self::Project(keys) => keys.policy_key(pid),
            Self::Set(set) => Key::copy_of(set.policy.expose()),
        }
    }

    /// Returns MK of a record, if there is a key for it.
    pub fn metadata_key(&self, pid: &ProjectId, rid: &RecordId) -> Option<Key> {
        match self {
            Self::Project(keys) => Some(keys.metadata_key(pid, rid)),
            Self::Set(set) => set.record(rid).map(|record| Key::copy_of(record.metadata.expose())),
        }
    }

    /// Returns VK of a record, if there is a key for it.
    pub fn value_key(
        &self,
        pid: &ProjectId,
        rid: &RecordId,
        class: Class,
        generation: u32,
    ) -> Option<Key> {
        match self {
            Self::Project(keys) => keys.value_key(pid, rid, class, generation),
            Self::Set(set) => set
                .record(rid)
                .filter(|record| record.class == class && record.generation == generation)
                .and_then(|record| record.value.as_ref())
                .map(|key| Key::copy_of(key.expose())),
        }
    }

    /// Returns the keys of the whole project, if these are there.
    pub fn whole(&self) -> Option<&Keyring> {
        match self {
            Self::Project(keys) => Some(keys),
            Self::Set(_) => None,
        }
    }
}

const FIELD_NAME: u8 = 1;
const FIELD_LEVEL: u8 = 2;
const FIELD_EXPIRES: u8 = 3;
const FIELD_STRICT: u8 = 4;
const FIELD_OWNER: u8 = 5;
const FIELD_PROJECT: u8 = 6;
const FIELD_REPLACED: u8 = 7;

const PROJECT_ID: u8 = 1;
const PROJECT_NAME: u8 = 2;
const PROJECT_EPOCH: u8 = 3;
const PROJECT_FLOOR: u8 = 4;
const PROJECT_KEYS: u8 = 5;
const PROJECT_SET: u8 = 6;

impl Grant {
    /// Seals the grant for a token. `generation` is the number of times that it was issued. Fails
    /// if the result would have more than [`MAX_GRANT`] bytes.
    pub fn seal(
        &self,
        kek: &Key,
        vault_id: &VaultId,
        token_id: &TokenId,
        generation: u64,
    ) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(self.encode().expose(), metadata_size);
        if padded.expose().len() + OVERHEAD > MAX_GRANT {
            return Err(CryptoError::TooManySecrets);
        }

        kek.seal("grant", vault_id, &context(token_id, generation), padded.expose())
    }

    /// Opens the grant of a row with the token's key.
    pub fn open(kek: &Key, vault_id: &VaultId, row: &GrantRow) -> Result<Self, CryptoError> {
        if row.grant.len() > MAX_GRANT {
            return Err(CryptoError::Damaged(GRANT));
        }

        let context = context(&row.token_id, row.generation);
        let padded = kek.open("grant", vault_id, &context, &row.grant, GRANT)?;
        Self::decode(unpad(padded.expose(), metadata_size, GRANT)?)
    }

    /// Returns the plaintext that is sealed.
    pub fn encode(&self) -> SecretBytes {
        let mut fields = Fields::with_capacity(4096);
        fields.add(FIELD_NAME, self.name.as_str().as_bytes());
        fields.add(FIELD_LEVEL, &[level_byte(self.level)]);
        if let Some(expires) = self.expires {
            fields.add(FIELD_EXPIRES, &expires.0.to_be_bytes());
        }

        if self.is_strict {
            fields.add(FIELD_STRICT, &[1]);
        }

        fields.add(FIELD_OWNER, self.owner.bytes());
        fields.add(FIELD_PROJECT, self.project.encode().expose());
        if self.is_replaced {
            fields.add(FIELD_REPLACED, &[1]);
        }

        fields.finish(self.later.expose())
    }

    /// Decodes the bytes of [`Grant::encode`].
    pub fn decode(plain: &[u8]) -> Result<Self, CryptoError> {
        let fields = Fields::decode::<8>(plain, GRANT)?;
        let damaged = CryptoError::Damaged(GRANT);
        let project = fields.bytes(FIELD_PROJECT).ok_or(damaged.clone())?;
        let project = GrantedProject::decode(project)?;
        let decoded = || {
            Some(Self {
                name: name(&fields, FIELD_NAME)?,
                level: level(&fields, FIELD_LEVEL)?,
                expires: time(&fields, FIELD_EXPIRES)?,
                is_strict: flag(&fields, FIELD_STRICT)?,
                owner: PublicKey::new(*fields.array(FIELD_OWNER)?),
                project,
                is_replaced: flag(&fields, FIELD_REPLACED)?,
                later: SecretBytes::copy_of(fields.later()),
            })
        };

        decoded().ok_or(damaged)
    }
}

impl GrantedProject {
    fn encode(&self) -> SecretBytes {
        let Floor { seq, head, policy } = &self.floor;
        let floor = [&seq.to_be_bytes()[..], head, &policy.encode()].concat();
        let mut fields = Fields::with_capacity(4096);
        fields.add(PROJECT_ID, &self.pid);
        fields.add(PROJECT_NAME, self.name.as_str().as_bytes());
        fields.add(PROJECT_EPOCH, &self.epoch.to_be_bytes());
        fields.add(PROJECT_FLOOR, &floor);
        match &self.keys {
            GrantedKeys::Project(keys) => fields.add(PROJECT_KEYS, keys.encode().expose()),
            GrantedKeys::Set(set) => fields.add(PROJECT_SET, set.encode().expose()),
        }

        fields.finish(&[])
    }

    fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let damaged = CryptoError::Damaged(GRANT);
        let fields = Fields::decode::<7>(bytes, GRANT)?;
        let keys = match (fields.bytes(PROJECT_KEYS), fields.bytes(PROJECT_SET)) {
            (Some(keys), None) => GrantedKeys::Project(Keyring::decode(keys)?),
            (None, Some(set)) => {
                GrantedKeys::Set(SetKeys::decode(set).ok_or_else(|| damaged.clone())?)
            }
            _ => return Err(damaged),
        };

        let decoded = || {
            let mut floor = Reader::new(fields.array::<80>(PROJECT_FLOOR)?);
            Some(Self {
                pid: *fields.array(PROJECT_ID)?,
                name: ProjectName::parse(fields.text(PROJECT_NAME)??).ok()?,
                epoch: u32::from_be_bytes(*fields.array(PROJECT_EPOCH)?),
                floor: Floor {
                    seq: floor.u64()?,
                    head: floor.array()?,
                    policy: PolicyId::decode(&floor.array()?),
                },
                keys,
            })
        };

        // There is no field that this version keeps without knowing it.
        decoded().filter(|_| fields.later().is_empty()).ok_or(damaged)
    }
}

impl SetKeys {
    /// Returns `HK ‖ PK ‖ n(u32) ‖ n × (rid ‖ class ‖ g ‖ lp(tag) ‖ MK ‖ lp(VK, or nothing))`.
    fn encode(&self) -> SecretBytes {
        let mut bytes = SecretBytes::with_capacity(68 + 160 * self.records.len());
        bytes.extend(self.head.expose());
        bytes.extend(self.policy.expose());
        bytes.extend(&codec::length(self.records.len()));
        for record in &self.records {
            bytes.extend(&record.rid);
            bytes.push(class_byte(record.class));
            bytes.extend(&record.generation.to_be_bytes());
            let value: &[u8] = record.value.as_ref().map_or(&[], |key| key.expose());
            prefixed(&mut |piece| bytes.extend(piece), &[record.tag.as_str().as_bytes()]);
            bytes.extend(record.metadata.expose());
            prefixed(&mut |piece| bytes.extend(piece), &[value]);
        }

        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (head, policy) = (key(&mut reader)?, key(&mut reader)?);
        let mut records: Vec<SetRecord> = Vec::new();
        for _ in 0..reader.u32()? {
            let rid: RecordId = reader.array()?;
            records.last().is_none_or(|last| last.rid < rid).then_some(())?;
            let (class, generation) = (class_of(reader.u8()?)?, reader.u32()?);
            let tag = Tag::parse(std::str::from_utf8(reader.prefixed()?).ok()?).ok()?;
            let metadata = key(&mut reader)?;
            let value = match reader.prefixed()? {
                [] => None,
                value => Some(Key::copy_of(value.try_into().ok()?)),
            };

            records.push(SetRecord { rid, tag, class, generation, metadata, value });
        }

        reader.finish(Self { head, policy, records })
    }
}

fn key(reader: &mut Reader<'_>) -> Option<Key> {
    Some(Key::copy_of(&Zeroizing::new(reader.array()?)))
}

/// The content that the owner needs to issue a grant again.
pub struct Escrow {
    /// The key that seals the token's grants
    pub kek: Key,
    /// The key that verifies what the token signs
    pub writer: PublicKey,
    /// The token's name
    pub name: TokenName,
    /// Its level
    pub level: Level,
    /// The time of its end; `None` for a token that does not expire
    pub expires: Option<Timestamp>,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: bool,
    /// Its project
    pub pid: ProjectId,
    /// True if it may use restricted secrets
    pub is_restricted_allowed: bool,
    /// Its secrets; `None` for all of the project's, in ascending order
    pub only: Option<Vec<RecordId>>,
    /// The time of its creation
    pub created: Timestamp,
    /// The id of the token that replaces it, if it was rotated and still works for a while
    pub replaced_by: Option<TokenId>,
    /// Fields of later versions, as they are encoded
    pub later: SecretBytes,
}

const ESCROW_KEK: u8 = 1;
const ESCROW_WRITER: u8 = 2;
const ESCROW_NAME: u8 = 3;
const ESCROW_LEVEL: u8 = 4;
const ESCROW_EXPIRES: u8 = 5;
const ESCROW_STRICT: u8 = 6;
const ESCROW_PROJECT: u8 = 7;
const ESCROW_RESTRICTED: u8 = 8;
const ESCROW_ONLY: u8 = 9;
const ESCROW_CREATED: u8 = 10;
const ESCROW_REPLACED_BY: u8 = 11;

impl Escrow {
    /// Returns true if the token has expired at this time.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Seals the escrow under the owner's key for escrows. Fails if the result would have more than
    /// [`MAX_ESCROW`] bytes.
    pub fn seal(
        &self,
        escrow_key: &Key,
        vault_id: &VaultId,
        token_id: &TokenId,
        generation: u64,
    ) -> Result<Vec<u8>, CryptoError> {
        let padded = pad(self.encode().expose(), metadata_size);
        if padded.expose().len() + OVERHEAD > MAX_ESCROW {
            return Err(CryptoError::TooManySecrets);
        }

        escrow_key.seal("escrow", vault_id, &context(token_id, generation), padded.expose())
    }

    /// Opens the escrow of a row.
    pub fn open(escrow_key: &Key, vault_id: &VaultId, row: &GrantRow) -> Result<Self, CryptoError> {
        if row.escrow.len() > MAX_ESCROW {
            return Err(CryptoError::Damaged(ESCROW));
        }

        let context = context(&row.token_id, row.generation);
        let padded = escrow_key.open("escrow", vault_id, &context, &row.escrow, ESCROW)?;
        Self::decode(unpad(padded.expose(), metadata_size, ESCROW)?)
    }

    /// Returns the plaintext that is sealed.
    pub fn encode(&self) -> SecretBytes {
        let mut fields = Fields::with_capacity(1024);
        fields.add(ESCROW_KEK, self.kek.expose());
        fields.add(ESCROW_WRITER, self.writer.bytes());
        fields.add(ESCROW_NAME, self.name.as_str().as_bytes());
        fields.add(ESCROW_LEVEL, &[level_byte(self.level)]);
        if let Some(expires) = self.expires {
            fields.add(ESCROW_EXPIRES, &expires.0.to_be_bytes());
        }

        if self.is_strict {
            fields.add(ESCROW_STRICT, &[1]);
        }

        fields.add(ESCROW_PROJECT, &self.pid);
        if self.is_restricted_allowed {
            fields.add(ESCROW_RESTRICTED, &[1]);
        }

        if let Some(only) = &self.only {
            fields.add(ESCROW_ONLY, only.as_flattened());
        }

        fields.add(ESCROW_CREATED, &self.created.0.to_be_bytes());
        if let Some(token_id) = &self.replaced_by {
            fields.add(ESCROW_REPLACED_BY, token_id);
        }

        fields.finish(self.later.expose())
    }

    /// Decodes the bytes of [`Escrow::encode`].
    pub fn decode(plain: &[u8]) -> Result<Self, CryptoError> {
        let fields = Fields::decode::<12>(plain, ESCROW)?;
        let decoded = || {
            Some(Self {
                kek: Key::copy_of(fields.array(ESCROW_KEK)?),
                writer: PublicKey::new(*fields.array(ESCROW_WRITER)?),
                name: name(&fields, ESCROW_NAME)?,
                level: level(&fields, ESCROW_LEVEL)?,
                expires: time(&fields, ESCROW_EXPIRES)?,
                is_strict: flag(&fields, ESCROW_STRICT)?,
                pid: *fields.array(ESCROW_PROJECT)?,
                is_restricted_allowed: flag(&fields, ESCROW_RESTRICTED)?,
                only: fields.optional(ESCROW_ONLY, || records(fields.bytes(ESCROW_ONLY)?))?,
                created: fields
                    .array(ESCROW_CREATED)
                    .map(|bytes| Timestamp(u64::from_be_bytes(*bytes)))?,
                replaced_by: fields
                    .optional(ESCROW_REPLACED_BY, || fields.array(ESCROW_REPLACED_BY).copied())?,
                later: SecretBytes::copy_of(fields.later()),
            })
        };

        decoded().ok_or(CryptoError::Damaged(ESCROW))
    }
}

/// Decodes ids of records in ascending order.
fn records(bytes: &[u8]) -> Option<Vec<RecordId>> {
    let (ids, rest) = bytes.as_chunks::<8>();
    let is_ordered = ids.is_sorted_by(|one, next| one < next);
    (rest.is_empty() && is_ordered).then(|| ids.to_vec())
}

fn context(token_id: &TokenId, generation: u64) -> Vec<u8> {
    [&token_id[..], &generation.to_be_bytes()].concat()
}

fn level_byte(level: Level) -> u8 {
    match level {
        Level::Read => 1,
        Level::Use => 2,
        Level::Manage => 3,
    }
}

fn level<const N: usize>(fields: &Decoded<'_, N>, kind: u8) -> Option<Level> {
    let [byte] = *fields.array(kind)?;
    Level::ALL.into_iter().find(|level| level_byte(*level) == byte)
}

fn name<const N: usize>(fields: &Decoded<'_, N>, kind: u8) -> Option<TokenName> {
    TokenName::parse(fields.text(kind)??).ok()
}

#[allow(clippy::option_option)] // not valid, or absent
fn time<const N: usize>(fields: &Decoded<'_, N>, kind: u8) -> Option<Option<Timestamp>> {
    fields.optional(kind, || fields.array(kind).map(|bytes| Timestamp(u64::from_be_bytes(*bytes))))
}

/// Decodes a field that is there with the byte 1, or absent.
fn flag<const N: usize>(fields: &Decoded<'_, N>, kind: u8) -> Option<bool> {
    let set = || (fields.bytes(kind)? == [1]).then_some(());
    fields.optional(kind, set).map(|set| set.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::copy_of(&[byte; 32])
    }

    fn grant(keys: GrantedKeys) -> Grant {
        Grant {
            name: TokenName::parse("ci").unwrap(),
            level: Level::Use,
            expires: Some(Timestamp(7)),
            is_strict: true,
            owner: PublicKey::new([1; 32]),
            project: GrantedProject {
                pid: [2; 16],
                name: ProjectName::parse("web").unwrap(),
                epoch: 3,
                floor: Floor {
                    seq: 4,
                    head: [5; 32],
                    policy: PolicyId { version: 6, hash: [7; 32] },
                },
                keys,
            },
            is_replaced: false,
            later: SecretBytes::copy_of(b"\x80\0\0\0\0"),
        }
    }

    fn set() -> SetKeys {
        let record = |id: u8, value| SetRecord {
            rid: [id; 8],
            tag: Tag::parse("api-key").unwrap(),
            class: Class::Team,
            generation: 0,
            metadata: key(id),
            value,
        };

        SetKeys {
            head: key(1),
            policy: key(2),
            records: vec![record(3, Some(key(4))), record(5, None)],
        }
    }

    #[test]
    fn grants_round_trip_and_are_bound_to_their_token() {
        let ring = Keyring::new(key(1), Some(key(2)), None, key(3));
        for keys in [GrantedKeys::Project(ring), GrantedKeys::Set(set())] {
            let grant = grant(keys);
            let sealed = grant.seal(&key(9), &[1; 16], &[2; 16], 3).unwrap();
            let row =
                GrantRow { token_id: [2; 16], generation: 3, grant: sealed, escrow: Vec::new() };
            let opened = Grant::open(&key(9), &[1; 16], &row).unwrap();
            assert_eq!(opened.encode().expose(), grant.encode().expose());
            let wrong = [
                GrantRow { generation: 4, ..row.clone() },
                GrantRow { token_id: [3; 16], ..row.clone() },
            ];
            assert!(wrong.iter().all(|row| Grant::open(&key(9), &[1; 16], row).is_err()));
            assert!(Grant::open(&key(9), &[2; 16], &row).is_err());
            assert!(Grant::open(&key(8), &[1; 16], &row).is_err());
        }
    }

    #[test]
    fn a_set_has_keys_for_its_own_secrets_only() {
        let keys = GrantedKeys::Set(set());
        assert!(keys.metadata_key(&[2; 16], &[3; 8]).is_some());
        assert!(keys.metadata_key(&[2; 16], &[4; 8]).is_none());
        assert!(keys.value_key(&[2; 16], &[3; 8], Class::Team, 0).is_some());
        assert!(keys.value_key(&[2; 16], &[3; 8], Class::Restricted, 0).is_none());
        assert!(keys.value_key(&[2; 16], &[5; 8], Class::Team, 0).is_none());
        assert!(keys.whole().is_none());
    }

    fn escrow() -> Escrow {
        Escrow {
            kek: key(1),
            writer: PublicKey::new([2; 32]),
            name: TokenName::parse("ci").unwrap(),
            level: Level::Read,
            expires: None,
            is_strict: false,
            pid: [3; 16],
            is_restricted_allowed: true,
            only: Some(vec![[1; 8], [2; 8]]),
            created: Timestamp(4),
            replaced_by: Some([5; 16]),
            later: SecretBytes::with_capacity(0),
        }
    }

    #[test]
    fn escrows_round_trip_and_are_decoded_strictly() {
        let mut escrow = escrow();
        let sealed = escrow.seal(&key(6), &[7; 16], &[8; 16], 9).unwrap();
        let row = GrantRow { token_id: [8; 16], generation: 9, grant: Vec::new(), escrow: sealed };
        let opened = Escrow::open(&key(6), &[7; 16], &row).unwrap();
        assert_eq!(opened.encode().expose(), escrow.encode().expose());
        assert!(Escrow::open(&key(6), &[7; 16], &GrantRow { generation: 8, ..row }).is_err());

        escrow.only = Some(vec![[2; 8], [1; 8]]);
        assert!(Escrow::decode(escrow.encode().expose()).is_err());
    }

    #[test]
    fn grants_and_escrows_have_an_upper_bound() {
        let later = |length: usize| {
            let mut later = SecretBytes::copy_of(b"\x80");
            prefixed(&mut |piece| later.extend(piece), &[&vec![7; length]]);
            later
        };

        // The greatest multiple of 256 that fits with what a seal adds, without the length and the
        // head of the field.
        let room = |most: usize, plain: usize| (most - OVERHEAD) / 256 * 256 - 4 - plain - 5;
        let mut grant = grant(GrantedKeys::Set(set()));
        grant.later = later(0);
        let grant_room = room(MAX_GRANT, grant.encode().expose().len() - 5);
        grant.later = later(grant_room);
        let mut escrow = escrow();
        escrow.later = later(0);
        let escrow_room = room(MAX_ESCROW, escrow.encode().expose().len() - 5);
        escrow.later = later(escrow_room);

        let mut row = GrantRow {
            token_id: [2; 16],
            generation: 3,
            grant: grant.seal(&key(9), &[1; 16], &[2; 16], 3).unwrap(),
            escrow: escrow.seal(&key(9), &[1; 16], &[2; 16], 3).unwrap(),
        };
        assert!(Grant::open(&key(9), &[1; 16], &row).is_ok());
        assert!(Escrow::open(&key(9), &[1; 16], &row).is_ok());

        grant.later = later(grant_room + 1);
        escrow.later = later(escrow_room + 1);
        let too_many = Err(CryptoError::TooManySecrets);
        assert_eq!(grant.seal(&key(9), &[1; 16], &[2; 16], 3), too_many);
        assert_eq!(escrow.seal(&key(9), &[1; 16], &[2; 16], 3), too_many);

        // One that would open is refused for its length alone.
        let seal = |label, plain: &SecretBytes| {
            let padded = pad(plain.expose(), metadata_size);
            key(9).seal(label, &[1; 16], &context(&[2; 16], 3), padded.expose()).unwrap()
        };
        row.grant = seal("grant", &grant.encode());
        row.escrow = seal("escrow", &escrow.encode());
        assert!(Grant::open(&key(9), &[1; 16], &row).is_err());
        assert!(Escrow::open(&key(9), &[1; 16], &row).is_err());
    }
}
