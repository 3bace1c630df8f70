//! New keys for one project or for the whole vault. Everything is re-encrypted in one transaction.
//!
//! Everything is verified before it is re-encrypted. An interrupted rekey cannot be resumed: until
//! the commit, the file is the old one.

use super::access::{LocalOwner, OpenedProject, SignRequest};
use super::buckets::write_bucket;
use super::checkpoints::{Checkpoints, Seen};
use super::directory::{Directory, DirectoryEdit};
use super::next_head::{self, HeadPlace};
use super::next_policy::NextPolicy;
use super::project::{Project, ValueRef, VerifiedRecord, checkpoint};
use super::remote::{local_near_rows, near_rows};
use super::slots::{add_slot, needs_key_file, strongest_params};
use super::token_list::{self, LostRights, Tokens};
use super::writing::Writing;
use super::{Vault, VaultError};
use crate::crypto::aead::Key;
use crate::crypto::audit::{Action, AuditChange, SignedEntry};
use crate::crypto::checkpoint::{Checkpoint, PastKeys, open_past_keys, seal_past_keys};
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, Hash, ProjectId, VaultId};
use crate::crypto::kdf::Passphrase;
use crate::crypto::output_digest::OutputKey;
use crate::crypto::policy::Writer;
use crate::crypto::record::{RecordContext, VALUE_LABEL, ValueBinding, seal_value};
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{AuditRow, Record, Slot, VaultRow, slots_hash, tokens_hash};
use crate::crypto::signing::PublicKey;
use crate::crypto::slot::{Credential, KEYCHAIN_SLOT, RECOVERY_SLOT};
use crate::crypto::tree::{self, BUCKETS, Leaf};
use crate::crypto::{CryptoError, random};
use crate::model::{ProjectName, Secret, Timestamp, TokenName};
use crate::store::{self, Change, Extent, Snapshot, StoreError, Transaction};

/// The number of values, and of entries of the audit log, that are re-encrypted together.
const AT_ONCE: usize = 1000;

/// The result of a rekey.
pub struct RekeyOutcome {
    /// The number of projects
    pub projects: u64,
    /// The number of secrets
    pub secrets: u64,
    /// The new recovery code, if the vault had one that was not given
    pub recovery: Option<RecoveryCode>,
    /// The number of keychain slots that were removed
    pub keychains: usize,
    /// The new keys for the digests of rendered files, one for each project
    pub output_keys: Vec<OutputKey>,
    /// The tokens that were removed, because whoever has the old root key has their keys
    pub tokens: Vec<TokenName>,
}

impl Vault {
    /// Gives the vault a new root key, and every project new keys. From then on it opens with
    /// `passphrase`. If it had a recovery code, it also opens with `recovery`, which must be that
    /// code, or otherwise with a new one. This handle opens the vault no longer.
    pub fn rekey(
        &self,
        passphrase: &Passphrase,
        recovery: Option<&RecoveryCode>,
        on_progress: &dyn Fn(u64),
    ) -> Result<RekeyOutcome, VaultError> {
        let old = Directory::new(self.root_key()?, self.id()?);
        let vault_id = *old.vault_id();
        let root = RootKey::random()?;
        let before = {
            let snapshot = self.store.read()?;
            self.state(&*snapshot)?.slots
        };

        // Key derivations are slow, so they run before the transaction begins. On a server, the
        // passphrase's slot is in the near file.
        let near = self.near()?;
        let of_machine = near.as_ref().map_or(&before, |near| &near.slots);
        let is_keyed = needs_key_file(of_machine);
        let params = strongest_params(of_machine);
        let keychains = of_machine.iter().filter(|slot| slot.kind == KEYCHAIN_SLOT).count();
        let slot = Slot::create(passphrase, is_keyed, params, &vault_id, &root)?;
        let (mut new_slots, mut near_slots): (Vec<(Slot, &dyn Credential)>, Vec<Slot>) =
            Default::default();
        match &near {
            Some(_) => near_slots.push(slot),
            None => new_slots.push((slot, passphrase)),
        }

        let mut drawn = None;
        if let Some(slot) = before.iter().find(|slot| slot.kind == RECOVERY_SLOT) {
            let code = match recovery {
                Some(code) => slot.open(code, &vault_id).map(|_| code)?,
                None => drawn.insert(RecoveryCode::random()?),
            };

            new_slots.push((Slot::for_recovery(code, &vault_id, &root)?, code));
        }

        let mut writing = self.writing(|ahead| ahead.all = Some(Extent::Everything))?;
        let tokens = token_list::names(&*writing.transaction, &writing.state, self.root_key()?)?;
        if writing.state.slots != before {
            return Err(VaultError::SlotsChanged);
        }

        for old in &before {
            writing.transaction.apply(Change::DropSlot(&old.slot_id))?;
        }

        for (slot, by) in &new_slots {
            add_slot(&mut *writing.transaction, slot, *by, &vault_id, &root)?;
        }

        let mut slots: Vec<Slot> = new_slots.into_iter().map(|(slot, _)| slot).collect();
        slots.sort_by(|one, other| one.slot_id.cmp(&other.slot_id));

        let new = Directory::new(&root, vault_id);
        let no_tokens = Tokens::default();
        let mut rekey = Rekey::new(&new, (Vec::new(), &no_tokens), on_progress);
        rekey.owner_before = Some(old.owner());
        let (vault, seen) = self.renew(&mut writing, &mut rekey, (&old, &new), &root, &slots)?;
        let Writing { mut transaction, .. } = writing;
        if near.is_some() {
            let rows = match self.store.address() {
                Some(address) => near_rows(&root, vault.clone(), near_slots, address)?,
                None => local_near_rows(&root, vault.clone(), near_slots),
            };
            transaction.apply(Change::Near(&rows))?;
        }

        store::commit(&*self.store, transaction)?;

        // From here on the old key opens nothing, so the checkpoints are written under the new one.
        if let Some(before) = &self.checkpoints {
            let (checkpoints, owner) =
                (Checkpoints::new(before.store().clone(), None), LocalOwner::new(root));
            for (pid, name, state) in &seen {
                let seen = Seen { pid, name: name.as_ref(), state };
                let _ = checkpoints.remember(&vault, &owner, seen);
            }
        }

        let Rekey { secrets, output_keys, .. } = rekey;
        let projects = output_keys.len() as u64;
        Ok(RekeyOutcome { projects, secrets, recovery: drawn, keychains, output_keys, tokens })
    }

    /// Re-encrypts all projects and the directory. Returns the vault's new row and the states to
    /// remember.
    fn renew(
        &self,
        writing: &mut Writing<'_>,
        rekey: &mut Rekey<'_>,
        (old, new): (&Directory, &Directory),
        root: &RootKey,
        slots: &[Slot],
    ) -> Result<(VaultRow, SeenStates), VaultError> {
        let Writing { transaction, state, .. } = writing;
        let transaction = &mut **transaction;
        let vault_id = *state.vault_id();

        let mut renewed = Vec::new();
        let mut seen: SeenStates = Vec::new();
        for project in state.all(transaction)? {
            let project = state.open(transaction, project)?;
            let (opened, checkpoint) = rekey.project(transaction, &project, None)?;
            seen.push((opened.entry.pid, Some(opened.entry.name.clone()), checkpoint));
            renewed.push(opened);
        }

        // With the old checkpoint keys, a machine that last saw the vault under an old root key can
        // tell that this state follows.
        let before = self.access.checkpoint_key()?;
        let mut past = open_past_keys(&before, &vault_id, &state.vault.past)?;
        past.insert(0, PastKeys::of(self.root_key()?));
        let past = seal_past_keys(&root.checkpoint_key(), &vault_id, &past)?;
        let vault = VaultRow { past, ..state.vault.clone() };
        transaction.apply(Change::Vault(&vault))?;

        // A thief of the old root key has the key of every token, so the tokens are removed.
        for grant in transaction.grants()? {
            transaction.apply(Change::DropGrant(&grant.token_id))?;
        }

        let keys = (&old.audit_key(), &new.audit_key());
        reseal_audit(transaction, keys, &vault_id, &DIRECTORY, state.epoch.saturating_add(1))?;

        let before = (&state.directory, state.epoch);
        let mut edit = DirectoryEdit::empty(new, before, transaction, Action::Rekey)?;
        edit.begin_epoch();
        edit.tokens = tokens_hash(&[]);
        renewed.iter().try_for_each(|project| edit.adopt(project))?;
        edit.change().owner_before = Some(old.owner());
        edit.slots = slots_hash(slots, &vault.past);
        let head = edit.sign()?;

        state.epoch = state.epoch.saturating_add(1);
        seen.push((DIRECTORY, None, state.checkpoint(&head)));
        Ok((vault, seen))
    }
}

/// States to remember: a project's id and name, or the directory's id, and the state.
type SeenStates = Vec<(ProjectId, Option<ProjectName>, Checkpoint)>;

/// Projects that are being re-encrypted.
pub(super) struct Rekey<'a> {
    /// The directory whose owner signs
    directory: &'a Directory,
    /// The owner's key before, if the root key is changed
    owner_before: Option<PublicKey>,
    action: Action,
    on_progress: &'a dyn Fn(u64),
    pub(super) secrets: u64,
    pub(super) output_keys: Vec<OutputKey>,
    /// The rights that are taken away, and the secrets whose values they included
    lost: Option<&'a LostRights>,
    pub(super) exposed: Vec<Secret>,
    /// The tokens that may sign from now on
    writers: Vec<Writer>,
    tokens: &'a Tokens,
}

impl<'a> Rekey<'a> {
    pub(super) fn new(
        directory: &'a Directory,
        (writers, tokens): (Vec<Writer>, &'a Tokens),
        on_progress: &'a dyn Fn(u64),
    ) -> Self {
        Self {
            directory,
            owner_before: None,
            action: Action::Rekey,
            on_progress,
            secrets: 0,
            output_keys: Vec::new(),
            lost: None,
            exposed: Vec::new(),
            writers,
            tokens,
        }
    }

    /// Sets the rights that are taken away.
    pub(super) fn taking(self, lost: Option<&'a LostRights>) -> Self {
        Self { lost, ..self }
    }

    /// Sets the action that the audit log names.
    pub(super) fn named(self, action: Action) -> Self {
        Self { action, ..self }
    }

    /// Re-encrypts one project under keys of the next epoch. With `content`, a state of the same
    /// project from a copy of the vault, its secrets are stored; the present ones were removed. Returns
    /// the directory's new entry and the state to remember.
    pub(super) fn project(
        &mut self,
        transaction: &mut dyn Transaction,
        project: &Project,
        content: Option<(&Project, &dyn Snapshot)>,
    ) -> Result<(OpenedProject, Checkpoint), VaultError> {
        let vault_id = project.vault_id;
        let pid = project.row.pid;
        let source = content.map_or(project, |(source, _)| source);
        let mut entry = source.opened.entry.clone();
        entry.epoch = source
            .row
            .epoch
            .max(project.row.epoch)
            .checked_add(1)
            .ok_or(CryptoError::Unsupported("the project's keys cannot be changed any more"))?;
        entry.updated = Timestamp::now();
        entry.policy = project.opened.entry.policy;
        entry.due = None;

        let keys = source.ring()?.renewed()?;
        let mut change = AuditChange::new(self.action);
        let before = project.policy.as_ref().map(|(_, policy)| policy);
        let writers = self.writers.clone();
        if let Some(next) = NextPolicy::after(before, entry.epoch, writers, self.tokens) {
            next.write(self.directory, transaction, (&keys, &mut entry), &mut change)?;
        }

        let opened = OpenedProject::new(entry, keys);
        let ring = opened.ring()?;
        self.output_keys.push(ring.output_key(&pid));

        let mut moves = Vec::new();
        source.each(content.map_or(&*transaction as &dyn Snapshot, |(_, rows)| rows), |found| {
            let to = ring.tag_ix(found.metadata.tag.key().as_str());
            let binding = ValueBinding::of(&found.metadata);
            let record = Record { meta: Vec::new(), ..found.record };
            moves.push((to, record.clone(), binding));
            if self.lost.is_some_and(|lost| lost.include(record.rid, found.metadata.class)) {
                self.exposed.push(source.secret(VerifiedRecord { record, ..found }));
            }
        })?;

        let count = moves.len() as u64;
        let rows = content.map(|(_, rows)| rows);
        let next = NewProjectKeys { project: source, rows, opened: &opened };

        // Values are written in the order in which they are stored, and records in the order of
        // their new indexes.
        moves.sort_unstable_by_key(|(_, record, _)| record.rid);
        for moves in moves.chunks_mut(AT_ONCE) {
            next.values(transaction, moves)?;
            self.secrets += moves.len() as u64;
            (self.on_progress)(self.secrets);
        }

        moves.sort_unstable_by_key(|(to, ..)| *to);
        let root_hash = next.records(transaction, moves)?;

        let epoch = opened.entry.epoch;
        let audit_keys = (&project.ring()?.audit_key(&pid), &ring.audit_key(&pid));
        reseal_audit(transaction, audit_keys, &vault_id, &pid, epoch)?;

        let place = HeadPlace { vault_id: &vault_id, pid: &pid, epoch };
        let head = Head {
            policy: opened.entry.policy.hash,
            ..next_head::next(place, &project.head, project.row.epoch, root_hash, count)
        };
        (change.count, change.owner_before) = (count, self.owner_before);
        let request = SignRequest {
            project: &opened,
            previous: &project.row,
            policy: project.policy.as_ref().map(|(row, _)| row),
            head,
            change,
        };
        let signed = self.directory.sign(request);
        next_head::write(transaction, place, ring, &signed)?;
        let state = checkpoint(&vault_id, &opened, &signed.head);
        Ok((opened, state))
    }
}

/// Removes every record of a project, with its value.
pub(super) fn drop_records(
    transaction: &mut dyn Transaction,
    pid: &ProjectId,
) -> Result<(), VaultError> {
    let mut records: Vec<Record> = Vec::new();
    transaction.records(pid, &mut |record| {
        records.push(Record { meta: Vec::new(), ..record });
        true
    })?;
    Ok(records.iter().try_for_each(|record| transaction.apply(Change::DropRecord(pid, record)))?)
}

struct NewProjectKeys<'a> {
    project: &'a Project,
    /// The rows of the project, if they are not those of the transaction
    rows: Option<&'a dyn Snapshot>,
    opened: &'a OpenedProject,
}

impl NewProjectKeys<'_> {
    fn context<'p>(&'p self, rid: &'p [u8; 8]) -> RecordContext<'p> {
        RecordContext {
            vault_id: &self.project.vault_id,
            pid: &self.project.row.pid,
            rid,
            epoch: self.opened.entry.epoch,
        }
    }

    /// Re-encrypts values, and updates their hashes in the records.
    fn values(
        &self,
        transaction: &mut dyn Transaction,
        moves: &mut [([u8; 16], Record, ValueBinding)],
    ) -> Result<(), VaultError> {
        let wanted: Vec<ValueRef> =
            moves.iter().map(|(_, record, binding)| ValueRef::of(record, *binding)).collect();
        let mut values = Vec::with_capacity(moves.len());
        let rows = self.rows.unwrap_or(&*transaction);
        self.project.values(rows, &wanted, |_, value| {
            values.push(value);
            Ok::<_, VaultError>(())
        })?;

        for ((_, record, binding), value) in moves.iter_mut().zip(&values) {
            let ValueBinding { class, generation, .. } = *binding;
            let pid = &self.project.row.pid;
            let key = self.opened.keys.value_key(pid, &record.rid, class, generation);
            let key = key.ok_or(CryptoError::Internal("a new key ring is not complete"))?;
            let key = key.message_key(VALUE_LABEL, &random::array()?);
            let sealed = seal_value(key, self.context(&record.rid), record.vver, *binding, value)?;
            record.val_hash = tree::value_hash(&sealed);
            transaction.apply(Change::Value(&record.rid, &sealed))?;
        }

        Ok(())
    }

    /// Re-encrypts the metadata of all records and moves them to the new indexes of their tags.
    /// Returns the root hash.
    fn records(
        &self,
        transaction: &mut dyn Transaction,
        moves: Vec<([u8; 16], Record, ValueBinding)>,
    ) -> Result<Hash, VaultError> {
        let pid = &self.project.row.pid;
        let mut leaves: Vec<Vec<Leaf>> = vec![Vec::new(); BUCKETS];
        for (tag_ix, old, _) in moves {
            let leaf = Leaf { tag_ix: old.tag_ix, rid: old.rid, leaf: old.leaf };
            let found = self.project.by_leaf(self.rows.unwrap_or(&*transaction), &leaf)?;
            let epoch = self.opened.entry.epoch;
            let mut record = Record { tag_ix, epoch, val_hash: old.val_hash, ..found.record };
            record.meta = self.opened.ring()?.seal_metadata(
                self.context(&record.rid),
                record.ver,
                &found.metadata,
            )?;

            record.leaf = tree::leaf(&self.project.vault_id, pid, &record);
            transaction.apply(match self.rows {
                Some(_) => Change::Record(pid, &record),
                None => Change::MoveRecord(pid, &old.tag_ix, &record),
            })?;
            leaves[usize::from(tag_ix[0])].push(Leaf {
                tag_ix,
                rid: record.rid,
                leaf: record.leaf,
            });
        }

        let mut buckets = super::buckets::empty();
        for (number, leaves) in (0..=u8::MAX).zip(&leaves) {
            buckets[usize::from(number)] = write_bucket(transaction, pid, number, leaves)?;
        }

        Ok(tree::root_hash(pid, &buckets))
    }
}

/// Seals the audit log of a project again under its new key. The hashes of the entries stay the same.
/// An entry that does not open is left as it is, because damage to the log must not keep anybody from
/// changing keys.
fn reseal_audit(
    transaction: &mut dyn Transaction,
    (old, new): (&Key, &Key),
    vault_id: &VaultId,
    pid: &ProjectId,
    epoch: u32,
) -> Result<(), VaultError> {
    let mut from = 0;
    loop {
        let mut rows: Vec<AuditRow> = Vec::new();
        let read = transaction.audit(pid, from, &mut |row| {
            rows.push(row);
            rows.len() < AT_ONCE
        });

        // Unreadable entries stay as they are.
        if !matches!(read, Ok(()) | Err(StoreError::Damaged(_))) {
            read?;
        }

        let Some(last) = rows.last() else { return Ok(()) };
        from = last.seq + 1;
        for row in &rows {
            if let Ok(entry) = SignedEntry::open(old, vault_id, pid, row) {
                let sealed = entry.seal(new, vault_id, pid, row.seq, epoch)?;
                transaction.apply(Change::Audit(pid, &sealed))?;
            }
        }
    }
}
