//! Salvage: a new vault from everything that can still be read of a damaged one.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;

use crate::crypto::audit::Action;
use crate::crypto::kdf::Passphrase;
use crate::crypto::random;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::Slot;
use crate::model::{ProjectName, TAG_MAX, Tag};
use crate::store::{Extent, IfExists, Snapshot, SqliteStore, Store, StoreError};
use crate::vault::inspect::{InspectedVault, ReadableRecord, Report, inspect};
use crate::vault::project::Project;
use crate::vault::slots::strongest_params;
use crate::vault::{Locked, Vault, VaultError, begin_vault};

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
        let inspection = inspect(snapshot.inspection()?, self, on_progress)?;
        if inspection.readable.iter().all(Vec::is_empty) {
            return Err(VaultError::NothingToSave(Box::new(inspection.report)));
        }

        let vault_id = random::array()?;
        let root = RootKey::random()?;
        let params = strongest_params(&inspection.slots);
        let slot = Slot::create(passphrase, false, params, &vault_id, &root)?;
        let copy = SqliteStore::begin(path, IfExists::Refused)?;
        let store = copy.open()?;
        {
            let mut transaction = store.write()?;
            begin_vault(&mut *transaction, vault_id, &root, std::slice::from_ref(&slot))?;
            transaction.commit().map_err(StoreError::from)?;
        }

        // The new vault is not at its place yet, so no checkpoint is written.
        let to = Locked::with_store(Box::new(store)).unlocked(root);
        let mut salvage =
            Salvage { of: self, from: &*snapshot, to: &to, saved: 0, unproven: vec![] };
        salvage.projects(&inspection)?;
        let Salvage { saved, unproven, .. } = salvage;

        drop(to);
        copy.persist()?;
        Ok(SalvageOutcome { report: inspection.report, saved, unproven })
    }
}

/// A salvage in progress, project by project.
struct Salvage<'a> {
    of: &'a Vault,
    from: &'a dyn Snapshot,
    to: &'a Vault,
    saved: u64,
    unproven: Vec<(ProjectName, Tag)>,
}

impl Salvage<'_> {
    fn projects(&mut self, inspection: &InspectedVault) -> Result<(), VaultError> {
        let mut names = HashSet::new();
        for (project, readable) in inspection.projects.iter().zip(&inspection.readable) {
            if readable.is_empty() {
                continue;
            }

            let (vault_id, access) = (inspection.vault.vault_id, Rc::clone(&self.of.access));
            let from = Project::unverified(vault_id, project.clone(), access);

            // A damaged vault may have two projects of the same name, for example after a rollback
            // of one of them. Both are saved.
            self.project(&from, readable, &unused_name(&project.entry.name, &mut names))?;
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
        let mut writing = self.to.writing(|ahead| ahead.project(name, Extent::IfSmall))?;
        let project = writing.open_or_create(name)?;
        writing.edit(project, Action::Salvage, |edit| {
            for one in readable {
                let found = from.by_leaf(self.from, &one.leaf)?;
                if !one.proven {
                    self.unproven.push((name.clone(), found.metadata.tag.clone()));
                }

                let value = from.value(self.from, &found)?;
                edit.add_as(found.record.rid, found.metadata, &value)?;
                self.saved += 1;
            }

            Ok(())
        })?;

        writing.commit()?;
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
