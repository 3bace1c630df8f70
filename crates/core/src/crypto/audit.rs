//! The entries of a project's audit log: one for each change, signed by the one who made it
//! (docs/format.md, section 5).
//!
//! The head names the hash of the last entry, and each entry names the one before. What an entry says
//! is its writer's word. That it is the writer's is proven.

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::Key;
use super::fields::Fields;
use super::ids::{Hash, ProjectId, RecordId, TokenId, VaultId};
use super::padding::{pad, unpad};
use super::record::metadata_size;
use super::rows::AuditRow;
use super::signing::{PublicKey, SIGNATURE, Signer};
use crate::codec::{self, Reader, prefixed};

const AUDIT: &str = "an entry of the audit log";
const NAME: &[u8] = b"secrets/v3/audit\0";

/// The maximum number of items that an entry names. A larger change gives their number.
pub const MAX_ITEMS: usize = 32;

const FIELD_ACTION: u8 = 1;
const FIELD_COUNT: u8 = 2;
const FIELD_ITEMS: u8 = 3;
const FIELD_ADMITTED: u8 = 4;
const FIELD_REMOVED: u8 = 5;
const FIELD_OWNER_BEFORE: u8 = 6;
const FIELD_PRUNED: u8 = 7;

/// The maximum number of bytes of the names in a mark, so that it fits into its row.
const MAX_MARK_NAMES: usize = 3072;

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Secrets were created
    Create,
    /// Secrets were changed
    Update,
    /// Secrets were deleted
    Delete,
    /// Secrets were copied from another project
    Clone,
    /// Secrets were imported
    Import,
    /// The project got new keys
    Rekey,
    /// The content was replaced by that of a backup
    Restore,
    /// Readable secrets were stored in a new vault
    Salvage,
    /// The class of secrets was changed
    Access,
    /// Tokens that may sign were admitted or removed
    Policy,
    /// In the directory: projects were added
    AddProjects,
    /// In the directory: a project was renamed
    RenameProject,
    /// In the directory: projects were deleted
    DeleteProjects,
    /// In the directory: the passphrase or the recovery code was changed
    Credentials,
    /// In the directory: a token was created
    CreateToken,
    /// In the directory: a token was changed
    UpdateToken,
    /// In the directory: tokens were revoked
    RevokeTokens,
    /// Earlier entries were removed
    Prune,
    /// The project or the vault was created
    Begin,
    /// The destinations of secrets were changed
    Allow,
    /// A secret got another tag
    Rename,
}

impl Action {
    const ALL: [Self; 21] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Clone,
        Self::Import,
        Self::Rekey,
        Self::Restore,
        Self::Salvage,
        Self::Access,
        Self::Policy,
        Self::AddProjects,
        Self::RenameProject,
        Self::DeleteProjects,
        Self::Credentials,
        Self::CreateToken,
        Self::UpdateToken,
        Self::RevokeTokens,
        Self::Prune,
        Self::Begin,
        Self::Allow,
        Self::Rename,
    ];

    /// Returns the number of the action in an entry, from 1.
    pub fn number(self) -> u8 {
        (1..).zip(Self::ALL).find(|(_, action)| *action == self).map_or(0, |(number, _)| number)
    }

    /// Returns the word by which the action is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Clone => "clone",
            Self::Import => "import",
            Self::Rekey => "rekey",
            Self::Restore => "restore",
            Self::Salvage => "salvage",
            Self::Access => "access",
            Self::Policy => "managers",
            Self::AddProjects => "project-add",
            Self::RenameProject => "project-rename",
            Self::DeleteProjects => "project-delete",
            Self::Credentials => "credentials",
            Self::CreateToken => "token-create",
            Self::UpdateToken => "token-update",
            Self::RevokeTokens => "token-revoke",
            Self::Prune => "prune",
            Self::Begin => "begin",
            Self::Allow => "allow",
            Self::Rename => "rename",
        }
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }
}

/// Something that a change concerned: a secret, a project or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditItem {
    /// The id of its record; for a token, the first 8 bytes of its id
    pub rid: RecordId,
    /// Its tag or name
    pub name: String,
}

/// A token that may sign from an entry on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The token's id
    pub token_id: TokenId,
    /// The key that verifies what it signs
    pub key: PublicKey,
    /// The token's name
    pub name: String,
}

impl Admitted {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.token_id);
        out.extend(self.key.bytes());
        prefixed(&mut |piece| out.extend(piece), &[self.name.as_bytes()]);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (token_id, key) = (reader.array()?, PublicKey::new(reader.array()?));
        Some(Self { token_id, key, name: text(reader.prefixed()?)? })
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The mark that a prune leaves in place of the entries that it removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneMark {
    /// The `seq` of the last removed entry, from 1
    pub seq: u64,
    /// Its hash
    pub hash: Hash,
    /// The tokens that could sign after it
    pub signers: Vec<Admitted>,
}

impl PruneMark {
    /// Returns a mark. Names that do not fit into an entry are left out.
    pub fn new(seq: u64, hash: Hash, signers: Vec<Admitted>) -> Self {
        let mut room = MAX_MARK_NAMES;
        let named = |token: Admitted| match room.checked_sub(token.name.len()) {
            Some(rest) => {
                room = rest;
                token
            }
            None => Admitted { name: String::new(), ..token },
        };

        Self { seq, hash, signers: signers.into_iter().map(named).collect() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = [&self.seq.to_be_bytes()[..], &self.hash].concat();
        bytes.extend(codec::length(self.signers.len()));
        self.signers.iter().for_each(|token| token.put(&mut bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (seq, hash) = (reader.u64()?, reader.array()?);
        let signers = reader.list(Admitted::read)?;
        reader.finish(Self { seq, hash, signers }).filter(|mark| mark.seq > 0)
    }
}

/// A change as the audit log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditChange {
    /// The kind of the change
    pub action: Action,
    /// The number of secrets, projects or tokens that it concerns
    pub count: u64,
    /// The first [`MAX_ITEMS`] of them. A renamed secret stands there twice, with its tag before and
    /// after
    pub items: Vec<AuditItem>,
    /// Tokens that may sign from now on
    pub admitted: Vec<Admitted>,
    /// Tokens that may no longer sign
    pub removed: Vec<TokenId>,
    /// The owner's key before, if the root key was changed
    pub owner_before: Option<PublicKey>,
    /// The mark of a prune
    pub pruned: Option<PruneMark>,
    /// Fields of later versions, as they are encoded
    pub later: Vec<u8>,
}

impl AuditChange {
    /// Returns a change without items.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            count: 0,
            items: Vec::new(),
            admitted: Vec::new(),
            removed: Vec::new(),
            owner_before: None,
            pruned: None,
            later: Vec::new(),
        }
    }

    /// Adds an item, or only counts it if there are [`MAX_ITEMS`] already.
    pub fn add(&mut self, rid: RecordId, name: &str) {
        self.count += 1;
        if self.items.len() < MAX_ITEMS {
            self.items.push(AuditItem { rid, name: name.to_owned() });
        }
    }

    /// Adds the tag that a secret had before it is added with its new one.
    pub fn add_before(&mut self, rid: RecordId, name: &str) {
        self.items.push(AuditItem { rid, name: name.to_owned() });
    }

    /// Adds a token as an item.
    pub fn add_token(&mut self, token_id: &TokenId, name: &str) {
        let mut rid = [0; 8];
        rid.copy_from_slice(&token_id[..8]);
        self.add(rid, name);
    }

    /// Returns true if the items are secrets, in the log of a project.
    pub fn is_about_secrets(&self) -> bool {
        self.action != Action::Policy
    }

    /// Returns the bytes of the fields.
    pub fn encode(&self) -> Vec<u8> {
        let list = |count: usize, put: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = codec::length(count).to_vec();
            put(&mut bytes);
            (count > 0).then_some(bytes)
        };

        let items = list(self.items.len(), &|out| {
            for item in &self.items {
                out.extend(item.rid);
                prefixed(&mut |piece| out.extend(piece), &[item.name.as_bytes()]);
            }
        });
        let admitted = list(self.admitted.len(), &|out| {
            self.admitted.iter().for_each(|token| token.put(out));
        });
        let removed = list(self.removed.len(), &|out| out.extend(self.removed.as_flattened()));

        let mut fields = Fields::with_capacity(256);
        fields.add(FIELD_ACTION, &[self.action.number()]);
        fields.add(FIELD_COUNT, &self.count.to_be_bytes());
        for (kind, bytes) in
            [(FIELD_ITEMS, items), (FIELD_ADMITTED, admitted), (FIELD_REMOVED, removed)]
        {
            if let Some(bytes) = bytes {
                fields.add(kind, &bytes);
            }
        }

        if let Some(key) = &self.owner_before {
            fields.add(FIELD_OWNER_BEFORE, key.bytes());
        }

        if let Some(mark) = &self.pruned {
            fields.add(FIELD_PRUNED, &mark.encode());
        }

        fields.finish(&self.later).expose().to_vec()
    }

    /// Decodes the bytes of [`AuditChange::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let fields = Fields::decode::<8>(bytes, AUDIT)?;
        let item = |reader: &mut Reader<'_>| {
            Some(AuditItem { rid: reader.array()?, name: text(reader.prefixed()?)? })
        };
        let decoded = || {
            let [action] = *fields.array(FIELD_ACTION)?;
            let action = Action::of(action)?;
            let mark = || PruneMark::decode(fields.bytes(FIELD_PRUNED)?);
            let pruned = fields.optional(FIELD_PRUNED, mark)?;

            // A prune has a mark, and nothing else has one.
            (pruned.is_some() == (action == Action::Prune)).then_some(())?;
            Some(Self {
                action,
                count: u64::from_be_bytes(*fields.array(FIELD_COUNT)?),
                items: list_of(fields.bytes(FIELD_ITEMS), item)?,
                admitted: list_of(fields.bytes(FIELD_ADMITTED), Admitted::read)?,
                removed: list_of(fields.bytes(FIELD_REMOVED), |reader: &mut Reader<'_>| {
                    reader.array()
                })?,
                owner_before: fields.optional(FIELD_OWNER_BEFORE, || {
                    fields.array(FIELD_OWNER_BEFORE).map(|bytes| PublicKey::new(*bytes))
                })?,
                pruned,
                later: fields.later().to_vec(),
            })
        };

        decoded().ok_or(CryptoError::Damaged(AUDIT))
    }
}

/// Decodes `n(u32)` and `n` elements. An absent list has none, and a list that is there has some.
fn list_of<T>(bytes: Option<&[u8]>, read: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let Some(bytes) = bytes else { return Some(Vec::new()) };
    let mut reader = Reader::new(bytes);
    let list = reader.list(read)?;
    reader.finish(list).filter(|list| !list.is_empty())
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The hash of the entry before; zeros for the first one
    pub previous: Hash,
    /// The signer of the entry and of its head
    pub signer_id: TokenId,
    /// The time of signing, in milliseconds since 1970
    pub time: u64,
    /// The root hash of the head that belongs to the entry
    pub root_hash: Hash,
    /// The kind of the change
    pub change: AuditChange,
}

/// A signed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEntry {
    /// The entry
    pub entry: AuditEntry,
    /// The signature, 64 bytes
    pub sig: [u8; SIGNATURE],
}

impl AuditEntry {
    /// Returns the bytes that are hashed and, after a name and the entry's place, signed.
    pub fn encode(&self) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            &self.previous,
            &self.signer_id,
            &self.time.to_be_bytes(),
            &self.root_hash,
            &self.change.encode(),
        ];

        parts.concat()
    }

    /// Decodes the bytes of [`AuditEntry::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let mut reader = Reader::new(bytes);
        let mut fixed = || Some((reader.array()?, reader.array()?, reader.u64()?, reader.array()?));
        let (previous, signer_id, time, root_hash) = fixed().ok_or(CryptoError::Damaged(AUDIT))?;
        let change = AuditChange::decode(reader.rest())?;
        Ok(Self { previous, signer_id, time, root_hash, change })
    }

    fn message(&self, vault_id: &VaultId, pid: &ProjectId, seq: u64) -> Vec<u8> {
        [NAME, vault_id, pid, &seq.to_be_bytes(), &self.encode()].concat()
    }

    /// Signs the entry that belongs to head `seq` of a project.
    pub fn sign(
        self,
        signer: &Signer,
        vault_id: &VaultId,
        pid: &ProjectId,
        seq: u64,
    ) -> SignedEntry {
        let sig = signer.sign(&self.message(vault_id, pid, seq));
        SignedEntry { entry: self, sig }
    }
}

impl SignedEntry {
    /// Returns the hash by which the head and the next entry name this one.
    pub fn hash(&self) -> Hash {
        Sha256::new().chain_update(self.entry.encode()).chain_update(self.sig).finalize().into()
    }

    /// Returns true if the signature is that of `key` for head `seq` of a project.
    pub fn is_signed_by(
        &self,
        key: &PublicKey,
        vault_id: &VaultId,
        pid: &ProjectId,
        seq: u64,
    ) -> bool {
        key.verifies(&self.entry.message(vault_id, pid, seq), &self.sig)
    }

    /// Seals the entry under AK.
    pub fn seal(
        &self,
        audit_key: &Key,
        vault_id: &VaultId,
        pid: &ProjectId,
        seq: u64,
        epoch: u32,
    ) -> Result<AuditRow, CryptoError> {
        let padded = pad(&[&self.entry.encode()[..], &self.sig].concat(), metadata_size);
        let context = context(pid, seq, epoch);
        let ct = audit_key.seal("audit", vault_id, &context, padded.expose())?;
        Ok(AuditRow { seq, epoch, ct })
    }

    /// Opens an entry. Its signature is not verified here, because earlier entries name the signer.
    pub fn open(
        audit_key: &Key,
        vault_id: &VaultId,
        pid: &ProjectId,
        row: &AuditRow,
    ) -> Result<Self, CryptoError> {
        let context = context(pid, row.seq, row.epoch);
        let padded = audit_key.open("audit", vault_id, &context, &row.ct, AUDIT)?;
        let plain = unpad(padded.expose(), metadata_size, AUDIT)?;
        let (entry, sig) = plain.split_last_chunk().ok_or(CryptoError::Damaged(AUDIT))?;
        let found = Self { entry: AuditEntry::decode(entry)?, sig: *sig };
        if found.entry.encode() == entry { Ok(found) } else { Err(CryptoError::Damaged(AUDIT)) }
    }
}

fn context(pid: &ProjectId, seq: u64, epoch: u32) -> Vec<u8> {
    [&pid[..], &seq.to_be_bytes(), &epoch.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(signer: &Signer) -> AuditEntry {
        let mut change = AuditChange::new(Action::Import);
        (0..40).for_each(|number| change.add([number; 8], &format!("tag-{number}")));
        change.admitted =
            vec![Admitted { token_id: [1; 16], key: signer.public(), name: "ci".into() }];
        change.removed = vec![[2; 16], [3; 16]];
        change.owner_before = Some(signer.public());
        AuditEntry { previous: [4; 32], signer_id: [0; 16], time: 5, root_hash: [6; 32], change }
    }

    #[test]
    fn entries_round_trip_and_are_bound_to_their_place() {
        let (key, signer) = (Key::random().unwrap(), Signer::from_seed(&Key::random().unwrap()));
        let entry = sample(&signer).sign(&signer, &[7; 16], &[8; 16], 9);
        assert_eq!((entry.entry.change.count, entry.entry.change.items.len()), (40, MAX_ITEMS));
        let row = entry.seal(&key, &[7; 16], &[8; 16], 9, 1).unwrap();
        assert_eq!(SignedEntry::open(&key, &[7; 16], &[8; 16], &row).as_ref(), Ok(&entry));

        let moved = AuditRow { seq: 10, ..row.clone() };
        assert!(SignedEntry::open(&key, &[7; 16], &[8; 16], &moved).is_err());
        assert!(SignedEntry::open(&key, &[7; 16], &[9; 16], &row).is_err());

        let public = signer.public();
        assert!(entry.is_signed_by(&public, &[7; 16], &[8; 16], 9));
        assert!(!entry.is_signed_by(&public, &[7; 16], &[8; 16], 10));
        assert!(!entry.is_signed_by(&public, &[7; 16], &[9; 16], 9));
    }

    #[test]
    fn a_seal_under_new_keys_does_not_change_the_hash() {
        let (old, new) = (Key::random().unwrap(), Key::random().unwrap());
        let signer = Signer::from_seed(&old);
        let entry = sample(&signer).sign(&signer, &[7; 16], &[8; 16], 9);
        let row = entry.seal(&old, &[7; 16], &[8; 16], 9, 1).unwrap();
        let opened = SignedEntry::open(&old, &[7; 16], &[8; 16], &row).unwrap();
        let again = opened.seal(&new, &[7; 16], &[8; 16], 9, 2).unwrap();
        let again = SignedEntry::open(&new, &[7; 16], &[8; 16], &again).unwrap();
        assert_eq!(again.hash(), entry.hash());
    }

    #[test]
    fn every_action_has_its_number() {
        for action in Action::ALL {
            assert_eq!(Action::of(action.number()), Some(action));
        }

        assert_eq!((Action::of(0), Action::of(22)), (None, None));
        let least = AuditChange::new(Action::Begin);
        assert_eq!(AuditChange::decode(&least.encode()), Ok(least));
    }

    #[test]
    fn a_prune_has_a_mark_that_fits_into_a_row() {
        let key = Key::random().unwrap();
        let signer = Signer::from_seed(&key);
        let token = |number: u8| Admitted {
            token_id: [number; 16],
            key: signer.public(),
            name: "n".repeat(128),
        };

        let mut change = AuditChange::new(Action::Prune);
        change.pruned = Some(PruneMark::new(7, [9; 32], (0..64).map(token).collect()));
        assert_eq!(AuditChange::decode(&change.encode()).as_ref(), Ok(&change));
        let signers = &change.pruned.as_ref().unwrap().signers;
        assert_eq!(signers.iter().filter(|token| !token.name.is_empty()).count(), 24);

        let entry = AuditEntry { change: change.clone(), ..sample(&signer) };
        let row = entry.sign(&signer, &[7; 16], &[8; 16], 9);
        assert!(row.seal(&key, &[7; 16], &[8; 16], 9, 1).unwrap().ct.len() <= 8192);

        for wrong in [
            AuditChange { pruned: None, ..change.clone() },
            AuditChange { action: Action::Rekey, ..change.clone() },
            AuditChange { pruned: Some(PruneMark::new(0, [9; 32], Vec::new())), ..change },
        ] {
            assert_eq!(AuditChange::decode(&wrong.encode()), Err(CryptoError::Damaged(AUDIT)));
        }
    }
}
