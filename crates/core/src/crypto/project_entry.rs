//! The directory's entry for a project: its metadata, and its key ring as the value
//! (docs/format.md, section 4).

use super::CryptoError;
use super::aead::MessageKey;
use super::fields::Fields;
use super::ids::{Hash, ProjectId};
use super::keyring::{KEYRING, Keyring};
use super::record::{FIELD_CREATED, FIELD_TAG, FIELD_UPDATED, RecordContext, ValueBinding};
use crate::codec::Reader;
use crate::model::{ProjectName, SecretBytes, Timestamp};

const ENTRY: &str = "a project's entry in the directory";

const FIELD_PID: u8 = 16;
const FIELD_EPOCH: u8 = 17;
const FIELD_POLICY: u8 = 18;
const FIELD_DUE: u8 = 19;

/// A project as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectEntry {
    /// The project's id
    pub pid: ProjectId,
    /// Its name
    pub name: ProjectName,
    /// The time of creation
    pub created: Timestamp,
    /// The time of the last change of this entry
    pub updated: Timestamp,
    /// The generation of its keys
    pub epoch: u32,
    /// Its newest policy
    pub policy: PolicyId,
    /// The time since which new keys are due, because a right to read was taken away
    pub due: Option<Timestamp>,
    /// Fields of later versions, as they are encoded
    pub later: Vec<u8>,
}

/// Names one policy of a project. A project that never had a manage token has version 0 and a hash of
/// zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyId {
    /// The version
    pub version: u64,
    /// The hash of the policy
    pub hash: Hash,
}

impl PolicyId {
    /// Returns `version ‖ hash`.
    pub fn encode(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.version.to_be_bytes());
        bytes[8..].copy_from_slice(&self.hash);
        bytes
    }

    /// Decodes the bytes of [`PolicyId::encode`].
    pub fn decode(bytes: &[u8; 40]) -> Self {
        let mut reader = Reader::new(bytes);
        Self { version: reader.u64().unwrap_or_default(), hash: reader.array().unwrap_or_default() }
    }
}

impl ProjectEntry {
    fn encode(&self) -> SecretBytes {
        let mut fields = Fields::with_capacity(256);
        fields.add(FIELD_TAG, self.name.as_str().as_bytes());
        fields.add(FIELD_CREATED, &self.created.0.to_be_bytes());
        fields.add(FIELD_UPDATED, &self.updated.0.to_be_bytes());
        fields.add(FIELD_PID, &self.pid);
        fields.add(FIELD_EPOCH, &self.epoch.to_be_bytes());
        if self.policy != PolicyId::default() {
            fields.add(FIELD_POLICY, &self.policy.encode());
        }

        if let Some(due) = self.due {
            fields.add(FIELD_DUE, &due.0.to_be_bytes());
        }

        fields.finish(&self.later)
    }

    fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let fields = Fields::decode::<20>(bytes, ENTRY)?;
        let is_known = |kind: u8| {
            matches!(kind, FIELD_TAG | FIELD_CREATED | FIELD_UPDATED | FIELD_PID..=FIELD_DUE)
        };

        if (0..20).any(|kind| fields.bytes(kind).is_some() && !is_known(kind)) {
            return Err(CryptoError::Newer(ENTRY));
        }

        let time = |kind| fields.array(kind).map(|bytes| Timestamp(u64::from_be_bytes(*bytes)));
        let policy = || {
            let policy = PolicyId::decode(fields.array(FIELD_POLICY)?);
            (policy.version > 0).then_some(policy)
        };

        let decoded = || {
            Some(Self {
                pid: *fields.array(FIELD_PID)?,
                name: ProjectName::parse(fields.text(FIELD_TAG)??).ok()?,
                created: time(FIELD_CREATED)?,
                updated: time(FIELD_UPDATED)?,
                epoch: u32::from_be_bytes(*fields.array(FIELD_EPOCH)?),
                policy: fields.optional(FIELD_POLICY, policy)?.unwrap_or_default(),
                due: fields.optional(FIELD_DUE, || time(FIELD_DUE))?,
                later: fields.later().to_vec(),
            })
        };

        decoded().ok_or(CryptoError::Damaged(ENTRY))
    }

    /// Returns the entry as bytes, which an agent sends to its client.
    pub fn to_bytes(&self) -> SecretBytes {
        self.encode()
    }

    /// Decodes the bytes of [`ProjectEntry::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        Self::decode(bytes)
    }

    /// Seals the entry as version `ver` of its record, under the directory's keys.
    pub fn seal(
        &self,
        directory: &Keyring,
        context: RecordContext<'_>,
        ver: u64,
    ) -> Result<Vec<u8>, CryptoError> {
        let key = directory.metadata_key(context.pid, context.rid);
        context.seal_fields(&key, ver, &self.encode())
    }

    /// Opens the result of [`ProjectEntry::seal`].
    pub fn open(
        directory: &Keyring,
        context: RecordContext<'_>,
        ver: u64,
        sealed: &[u8],
    ) -> Result<Self, CryptoError> {
        let key = directory.metadata_key(context.pid, context.rid);
        context.open_fields(&key, ver, sealed, ENTRY, Self::decode)
    }

    /// Seals the project's key ring, which is bound to the project's name.
    pub fn seal_keyring(
        &self,
        key: MessageKey,
        context: RecordContext<'_>,
        vver: u64,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, CryptoError> {
        let binding = ValueBinding::of_project(self.name.as_str());
        context.seal_bytes(key, vver, binding, keyring.encode().expose())
    }

    /// Opens the result of [`ProjectEntry::seal_keyring`].
    pub fn open_keyring(
        &self,
        key: &MessageKey,
        context: RecordContext<'_>,
        vver: u64,
        sealed: &[u8],
    ) -> Result<Keyring, CryptoError> {
        let binding = ValueBinding::of_project(self.name.as_str());
        Keyring::decode(context.open_bytes(key, vver, binding, sealed, KEYRING)?.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip() {
        let mut entry = ProjectEntry {
            pid: [7; 16],
            name: ProjectName::parse("web.api").unwrap(),
            created: Timestamp(1),
            updated: Timestamp(2),
            epoch: 3,
            policy: PolicyId { version: 4, hash: [5; 32] },
            due: Some(Timestamp(6)),
            later: b"\x80\0\0\0\0".to_vec(),
        };

        assert_eq!(ProjectEntry::decode(entry.encode().expose()).as_ref(), Ok(&entry));
        (entry.policy, entry.due, entry.later) = (PolicyId::default(), None, Vec::new());
        assert_eq!(ProjectEntry::decode(entry.encode().expose()).as_ref(), Ok(&entry));

        let bytes = [entry.encode().expose(), &[20, 0, 0, 0, 0]].concat();
        assert_eq!(ProjectEntry::decode(&bytes), Err(CryptoError::Newer(ENTRY)));
    }
}
