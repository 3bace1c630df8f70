//! Salvage: a new vault from everything that can still be read of a damaged one.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;

use crate::crypto::kdf::Passphrase;
use crate::crypto::random;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Slot, VaultRow};
use crate::model::{ProjectName, TAG_MAX, Tag};
use crate::store::{Change, IfExists, Snapshot, SqliteStore, Store};
use crate::vault::edit::{Edit, open_or_create};
use crate::vault::inspect::{Inspection, ReadableRecord, Report, inspect};
use crate::vault::slots::strongest_params;
use crate::vault::state::{Project, State};
use crate::vault::{Vault, VaultError};

/// The result of salvaging a damaged vault.
pub struct SalvageOutcome {
    /// The findings of the inspection
    pub report: Report,
    /// The number of secrets in the new vault
    pub saved: u64,
    /// The secrets that cannot be verified as current; they are genuine, but may be old versions
    pub unproven: Vec<(ProjectName, Tag)>,
}

impl Vault {
    /// Creates a new vault at `path` from everything that can still be read, under `passphrase`.
    /// Secrets keep their ids and times. Calls `on_progress` with the number of secrets read so
    /// far.
    pub fn salvage(
        &self,
        path: &Path,
        passphrase: &Passphrase,
        on_progress: &dyn Fn(u64),
    ) -> Result<SalvageOutcome, VaultError> {
        let snapshot = self.store.read()?;
        let inspection = inspect(&*snapshot, &*self.root, on_progress)?;
        if inspection.readable.iter().all(Vec::is_empty) {
            return Err(VaultError::NothingToSave(Box::new(inspection.report)));
        }

        let (row, slot, root) = new_vault(&inspection, passphrase)?;
        let copy = SqliteStore::begin(path, IfExists::Refused)?;
        let store = copy.open()?;
        {
            let mut transaction = store.write()?;
            transaction.apply(Change::Vault(&row))?;
            transaction.apply(Change::Slot(&slot))?;
            transaction.commit()?;
        }

        let mut salvage =
            Salvage { from: &*snapshot, to: &store, root, saved: 0, unproven: vec![] };
        salvage.projects(&inspection)?;
        let Salvage { saved, unproven, .. } = salvage;

        drop(store);
        copy.persist()?;
        Ok(SalvageOutcome { report: inspection.report, saved, unproven })
    }
}

/// Returns the first row, the only slot and the root key of a new vault, whose passphrase is as
/// expensive to guess as the old one.
fn new_vault(
    inspection: &Inspection,
    passphrase: &Passphrase,
) -> Result<(VaultRow, Slot, RootKey), VaultError> {
    let root = RootKey::random()?;
    let mut row = VaultRow::first(random::array()?);
    let params = strongest_params(&inspection.slots);
    let slot = Slot::create(passphrase, params, &row.vault_id, &root)?;
    row.root_mac = root.mac(&row, std::slice::from_ref(&slot), &[], &[]);

    Ok((row, slot, root))
}

/// A salvage in progress, project by project.
struct Salvage<'a> {
    from: &'a dyn Snapshot,
    to: &'a SqliteStore,
    /// The root key of the new vault
    root: RootKey,
    saved: u64,
    unproven: Vec<(ProjectName, Tag)>,
}

impl Salvage<'_> {
    fn projects(&mut self, inspection: &Inspection) -> Result<(), VaultError> {
        let mut names = HashSet::new();
        for ((row, keyring), readable) in
            inspection.rows.iter().zip(&inspection.keyrings).zip(&inspection.readable)
        {
            let Some(keyring) = keyring.as_ref().filter(|_| !readable.is_empty()) else { continue };
            let vault_id = inspection.vault.vault_id;
            let from = Project::unverified(vault_id, row.clone(), Rc::clone(keyring));

            // A damaged vault may have two projects of the same name, for example after a rollback
            // of one of them. Both are saved.
            self.project(&from, readable, &unused_name(&keyring.name, &mut names))?;
        }

        Ok(())
    }

    /// Stores the readable records of one project in a new project, in one transaction.
    fn project(
        &mut self,
        from: &Project,
        readable: &[ReadableRecord],
        name: &ProjectName,
    ) -> Result<(), VaultError> {
        let mut transaction = self.to.write()?;
        let state = State::read(&*transaction, &self.root)?;
        let project = open_or_create(&state, &self.root, &mut *transaction, name)?;
        let mut edit = Edit::new(&mut *transaction, project);

        for one in readable {
            let found = from.by_leaf(self.from, &one.leaf)?;
            if !one.proven {
                self.unproven.push((name.clone(), found.metadata.tag.clone()));
            }

            let value = from.value(self.from, &found.record)?;
            edit.add_as(found.record.rid, found.metadata, &value)?;
            self.saved += 1;
        }

        edit.sign()?;
        transaction.commit()?;
        Ok(())
    }
}

/// Returns a project's name, or the first free one with a number, for example `web-2`.
fn unused_name(name: &ProjectName, taken: &mut HashSet<ProjectName>) -> ProjectName {
    let numbered = |number: u32| {
        let end = format!("-{number}");
        let start: String = name.as_str().chars().take(TAG_MAX.saturating_sub(end.len())).collect();
        ProjectName::parse(&format!("{start}{end}")).ok()
    };

    let mut names = std::iter::once(name.clone()).chain((2..=u32::MAX).filter_map(numbered));
    let found = names.find(|name| !taken.contains(name)).unwrap_or_else(|| name.clone());
    taken.insert(found.clone());
    found
}
