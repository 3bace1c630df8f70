//! New keys for one project or for the whole vault. Everything is re-encrypted in one transaction.
//!
//! Everything is verified before it is re-encrypted. An interrupted rekey cannot be resumed: until
//! the commit, the file is the old one.

use super::edit::{seal_root, seal_tables, sign_next, write_bucket};
use super::projects::require_project;
use super::slots::{add_slot, strongest_params};
use super::state::{Project, State};
use super::{Vault, VaultError, WriteOutcome, checkpointed_handle};
use crate::crypto::CryptoError;
use crate::crypto::checkpoint::{open_history, seal_history};
use crate::crypto::ids::Hash;
use crate::crypto::kdf::Passphrase;
use crate::crypto::keyring::Keyring;
use crate::crypto::output_digest::OutputKey;
use crate::crypto::record::RecordContext;
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{ProjectRow, Record, Slot};
use crate::crypto::slot::{Credential, RECOVERY_SLOT};
use crate::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};
use crate::model::ProjectName;
use crate::store::{Change, Transaction};

/// The result of a rekey.
pub struct RekeyOutcome {
    /// The number of projects
    pub projects: u64,
    /// The number of secrets
    pub secrets: u64,
    /// The new recovery code, if the vault had one that was not given
    pub recovery: Option<RecoveryCode>,
    /// The new keys for the digests of rendered files, one for each project
    pub output_keys: Vec<OutputKey>,
}

impl Vault {
    /// Gives a project new keys. The old keys open nothing that is stored from now on. Calls
    /// `on_progress` with the number of secrets re-encrypted so far.
    pub fn rekey_project(
        &self,
        name: &ProjectName,
        on_progress: &dyn Fn(u64),
    ) -> Result<WriteOutcome<RekeyOutcome>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let at = require_project(&state, name)?;
        let mut rows = state.rows.clone();
        let mut rekey = ProjectRekey { on_progress, secrets: 0, output_keys: Vec::new() };

        rows[at] = rekey.project(&state, at, &mut *transaction, |row, keyring| {
            self.root.seal_keyring(&state.vault.vault_id, &row.pid, row.epoch, keyring)
        })?;

        seal_root(&state, &*self.root, rows, &mut *transaction)?;
        let ProjectRekey { secrets, output_keys, .. } = rekey;
        let rekeyed = RekeyOutcome { projects: 1, secrets, recovery: None, output_keys };
        Ok(WriteOutcome::new(rekeyed, self.commit(transaction)?))
    }

    /// Gives the vault a new root key, and every project new keys. From then on it opens with
    /// `passphrase`. If it had a recovery code, it also opens with `recovery`, which must be that
    /// code, or otherwise with a new one.
    pub fn rekey(
        self,
        passphrase: &Passphrase,
        recovery: Option<&RecoveryCode>,
        on_progress: &dyn Fn(u64),
    ) -> Result<WriteOutcome<RekeyOutcome>, VaultError> {
        self.root_key()?;

        let root = RootKey::random()?;
        let before = {
            let snapshot = self.store.read()?;
            self.state(&*snapshot)?
        };

        let vault_id = before.vault.vault_id;

        // Key derivations are slow, so they run before the transaction begins.
        let slot = Slot::create(passphrase, strongest_params(&before.slots), &vault_id, &root)?;
        let mut new_slots: Vec<(Slot, &dyn Credential)> = vec![(slot, passphrase)];
        let mut drawn = None;

        if let Some(slot) = before.slots.iter().find(|slot| slot.kind == RECOVERY_SLOT) {
            let code = match recovery {
                Some(code) => slot.open(code, &vault_id).map(|_| code)?,
                None => drawn.insert(RecoveryCode::random()?),
            };

            new_slots.push((Slot::for_recovery(code, &vault_id, &root)?, code));
        }

        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        if state.slots != before.slots {
            return Err(VaultError::SlotsChanged);
        }

        for old in &state.slots {
            transaction.apply(Change::DropSlot(&old.slot_id))?;
        }

        for (slot, by) in &new_slots {
            add_slot(&mut *transaction, slot, *by, &vault_id, &root)?;
        }

        let mut rekey = ProjectRekey { on_progress, secrets: 0, output_keys: Vec::new() };
        let mut rows = Vec::with_capacity(state.rows.len());
        for at in 0..state.rows.len() {
            rows.push(rekey.project(&state, at, &mut *transaction, |row, keyring| {
                Ok(root.seal_keyring(&vault_id, &row.pid, row.epoch, keyring)?)
            })?);
        }

        let slots = new_slots.into_iter().map(|(slot, _)| slot).collect();
        let projects = rows.len() as u64;
        let mut vault = state.vault.next();

        // With the old checkpoint keys, a machine that last saw the vault under an old root key can
        // tell that this state follows.
        let before = self.root.checkpoint_key()?;
        let mut past = open_history(&before, &vault_id, &vault.checkpoint_history)?;
        past.insert(0, before);
        vault.checkpoint_history = seal_history(&root.checkpoint_key(), &vault_id, &past)?;
        seal_tables(vault, slots, rows, &state.grants, &root, &mut *transaction)?;

        let committed = transaction.commit()?;

        // From here on the old key opens nothing, so the checkpoint is written under the new one.
        let renewed = checkpointed_handle(root, self.checkpoints.as_ref(), None);
        let _ = self
            .store
            .read()
            .map_err(VaultError::from)
            .and_then(|now| State::read(&*now, &*renewed));

        let ProjectRekey { secrets, output_keys, .. } = rekey;
        Ok(WriteOutcome::new(
            RekeyOutcome { projects, secrets, recovery: drawn, output_keys },
            committed,
        ))
    }
}

/// Projects that are being re-encrypted.
struct ProjectRekey<'a> {
    on_progress: &'a dyn Fn(u64),
    secrets: u64,
    output_keys: Vec<OutputKey>,
}

impl ProjectRekey<'_> {
    /// Re-encrypts one project under keys of the next epoch. `seal` seals its key ring. Returns its
    /// new row.
    fn project(
        &mut self,
        state: &State,
        at: usize,
        transaction: &mut dyn Transaction,
        seal: impl FnOnce(&ProjectRow, &Keyring) -> Result<Vec<u8>, VaultError>,
    ) -> Result<ProjectRow, VaultError> {
        let project = state.project(&*transaction, at)?;
        let pid = project.row.pid;
        let keyring = Keyring::random(&pid, project.keyring.name.clone())?;
        let epoch = project
            .row
            .epoch
            .checked_add(1)
            .ok_or(CryptoError::Unsupported("the project's keys cannot be changed any more"))?;

        let mut row = ProjectRow { epoch, ..project.row.clone() };
        row.keys = seal(&row, &keyring)?;
        self.output_keys.push(keyring.output_key(&pid));
        let mut moves = Vec::new();

        project.each(&*transaction, |found| {
            let to = keyring.tag_ix(&found.metadata.tag.key());
            moves.push((to, Record { meta: Vec::new(), ..found.record }));
        })?;

        let next = NewProjectKeys { project: &project, row: &row, keyring: &keyring };

        // Values are written in the order in which they are stored, and records in the order of
        // their new indexes.
        moves.sort_unstable_by_key(|(_, record)| record.rid);
        for (_, record) in &mut moves {
            next.value(transaction, record)?;
            self.secrets += 1;
            (self.on_progress)(self.secrets);
        }

        moves.sort_unstable_by_key(|(to, _)| *to);
        let buckets = next.records(transaction, moves)?;
        sign_next(transaction, &project, &row, &keyring, &buckets, project.head.count)
    }
}

struct NewProjectKeys<'a> {
    project: &'a Project,
    row: &'a ProjectRow,
    keyring: &'a Keyring,
}

impl NewProjectKeys<'_> {
    fn context<'p>(&'p self, rid: &'p [u8; 8]) -> RecordContext<'p> {
        RecordContext {
            vault_id: &self.project.vault_id,
            pid: &self.row.pid,
            rid,
            epoch: self.row.epoch,
        }
    }

    /// Re-encrypts a value, and updates its hash in `record`.
    fn value(
        &self,
        transaction: &mut dyn Transaction,
        record: &mut Record,
    ) -> Result<(), VaultError> {
        let value = self.project.value(&*transaction, record)?;
        let sealed = self.keyring.seal_value(self.context(&record.rid), record.vver, &value)?;
        record.val_hash = tree::value_hash(&sealed);
        Ok(transaction.apply(Change::Value(&record.rid, &sealed))?)
    }

    /// Re-encrypts the metadata of all records and moves them to the new indexes of their tags.
    /// Returns the bucket hashes.
    fn records(
        &self,
        transaction: &mut dyn Transaction,
        moves: Vec<([u8; 16], Record)>,
    ) -> Result<Box<[Hash; BUCKETS]>, VaultError> {
        let pid = &self.row.pid;
        let mut leaves: Vec<Vec<Leaf>> = vec![Vec::new(); BUCKETS];

        for (tag_ix, old) in moves {
            let leaf = Leaf { tag_ix: old.tag_ix, rid: old.rid, leaf: old.leaf };
            let found = self.project.by_leaf(&*transaction, &leaf)?;
            let mut record =
                Record { tag_ix, epoch: self.row.epoch, val_hash: old.val_hash, ..found.record };
            record.meta = self.keyring.seal_metadata(
                self.context(&record.rid),
                record.ver,
                &found.metadata,
            )?;
            record.leaf = tree::leaf(&self.project.vault_id, pid, &record);
            transaction.apply(Change::MoveRecord(pid, &old.tag_ix, &record))?;
            leaves[usize::from(tag_ix[0])].push(Leaf {
                tag_ix,
                rid: record.rid,
                leaf: record.leaf,
            });
        }

        let mut buckets = Box::new([EMPTY_BUCKET; BUCKETS]);
        for (number, leaves) in (0..=u8::MAX).zip(&leaves) {
            buckets[usize::from(number)] = write_bucket(transaction, pid, number, leaves)?;
        }

        Ok(buckets)
    }
}
