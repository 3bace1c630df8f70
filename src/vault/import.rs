//! Storing many secrets at once: new ones and those that are there already, all in one transaction or none.

use std::collections::BTreeMap;

use super::copy::{Action, OnConflict};
use super::edit::{Edit, target};
use super::state::State;
use super::{NewSecret, Vault, VaultError, Written};
use crate::model::{Metadata, ProjectName, Secret, Tag, TagKey, Timestamp};

/// What is to be stored; of one tag there is one.
pub struct Import<'a> {
    /// The secrets
    pub secrets: Vec<NewSecret>,
    /// The project that gets them
    pub to: &'a ProjectName,
    /// What happens to tags that the project has with another value
    pub on_conflict: OnConflict,
}

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// Stored, skipped or written over
    Action(Action),
    /// The project has it with this value: nothing was to be done
    Same,
}

/// What became of all of them, in their order.
#[derive(Debug)]
pub struct ImportOutcome {
    /// Tags as the project has them, and what became of each
    pub steps: Vec<(Tag, Imported)>,
    /// The secrets that were created or overwritten
    pub secrets: Vec<Secret>,
}

impl Vault {
    /// What [`Vault::import`] would do; where it would fail, so does this. It waits for no writer.
    pub fn plan_import(&self, import: &Import<'_>) -> Result<ImportOutcome, VaultError> {
        let snapshot = self.store.read()?;
        let state = State::read(&*snapshot, &*self.root)?;
        Ok(ImportOutcome { steps: steps(&state, &*snapshot, import)?, secrets: Vec::new() })
    }

    /// Stores secrets in one transaction. One that is there with the same value is left alone, so that what was broken off
    /// can be done again. `stored` is told how many were stored so far.
    pub fn import(&self, import: &Import<'_>, stored: &dyn Fn(u64)) -> Result<Written<ImportOutcome>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = State::read(&*transaction, &*self.root)?;
        let steps = steps(&state, &*transaction, import)?;
        let mut outcome = ImportOutcome { steps, secrets: Vec::new() };
        let writes = |step: &Imported| matches!(step, Imported::Action(Action::Create | Action::Overwrite));
        if !outcome.steps.iter().any(|(_, step)| writes(step)) {
            return Ok(Written { value: outcome, compaction_due: false });
        }
        let mut unborn = None;
        let project = target(&state, &*self.root, &mut *transaction, import.to, &mut unborn)?;
        // All are found before the first is changed: a bucket is verified as it was signed.
        let mut found = BTreeMap::new();
        for (tag, step) in &outcome.steps {
            if *step == Imported::Action(Action::Overwrite)
                && let Some(there) = project.by_tag(&*transaction, &tag.key())?
            {
                found.insert(tag.key(), there);
            }
        }
        let mut edit = Edit::new(project);
        let now = Timestamp::now();
        for (new, (_, step)) in import.secrets.iter().zip(&outcome.steps) {
            if !writes(step) {
                continue;
            }
            stored(outcome.secrets.len() as u64);
            let (name, description, hint) = (new.name.clone(), new.description.clone(), new.value.hint());
            outcome.secrets.push(if let Some(mut there) = found.remove(&new.tag.key()) {
                there.metadata.name = name.or(there.metadata.name);
                there.metadata.description = description.or(there.metadata.description);
                (there.metadata.hint, there.metadata.updated) = (hint, now);
                edit.put(&mut *transaction, there, Some(&new.value))?
            } else {
                let tag = new.tag.clone();
                let metadata = Metadata { tag, name, description, hint, created: now, updated: now };
                edit.add(&mut *transaction, metadata, &new.value)?
            });
        }
        edit.sign(&mut *transaction)?;
        Ok(Written { compaction_due: self.commit(transaction)?.compaction_due, value: outcome })
    }
}

fn steps(
    state: &State,
    snapshot: &dyn crate::store::Snapshot,
    import: &Import<'_>,
) -> Result<Vec<(Tag, Imported)>, VaultError> {
    let mut there: BTreeMap<TagKey, super::state::Found> = BTreeMap::new();
    let project = state.named(snapshot, import.to)?;
    if let Some(project) = &project {
        project.each(snapshot, |found| drop(there.insert(found.metadata.tag.key(), found)))?;
    }
    let mut steps = Vec::with_capacity(import.secrets.len());
    let mut conflicts = Vec::new();
    let mut seen: BTreeMap<TagKey, &Tag> = BTreeMap::new();
    for new in &import.secrets {
        // Two of one tag would be counted twice and stored once: a head that no state has.
        if let Some(other) = seen.insert(new.tag.key(), &new.tag) {
            return Err(VaultError::SameTarget(other.clone(), new.tag.clone()));
        }
        let (Some(project), Some(found)) = (&project, there.get(&new.tag.key())) else {
            steps.push((new.tag.clone(), Imported::Action(Action::Create)));
            continue;
        };
        let tag = found.metadata.tag.clone();
        let same = found.metadata.hint == new.value.hint()
            && project.value(snapshot, &found.record)?.expose() == new.value.expose();
        let step = match import.on_conflict {
            _ if same => Imported::Same,
            OnConflict::Overwrite => Imported::Action(Action::Overwrite),
            OnConflict::Skip => Imported::Action(Action::Skip),
            OnConflict::Fail => {
                conflicts.push(project.secret(found.clone()));
                Imported::Action(Action::Skip)
            }
        };
        steps.push((tag, step));
    }
    if conflicts.is_empty() { Ok(steps) } else { Err(VaultError::Exists(conflicts)) }
}
