//! Storing many secrets at once: new ones and those that are there already, of one project or of several, all in one
//! transaction or none.

use std::collections::{BTreeMap, HashSet};

use super::copy::{Action, OnConflict};
use super::edit::{Edit, NewProject, create_projects, missing};
use super::state::{Project, State, VerifiedRecord};
use super::{NewSecret, Vault, VaultError, WriteOutcome};
use crate::model::{Metadata, ProjectName, Secret, Tag, TagKey, Timestamp};
use crate::store::{Snapshot, Transaction};

/// What is to be stored; of one tag of one project there is one.
pub struct Import<'a> {
    /// The secrets
    pub secrets: Vec<IncomingSecret<'a>>,
    /// What happens to tags that their project has with another value
    pub on_conflict: OnConflict,
}

/// One secret of an import.
pub struct IncomingSecret<'a> {
    /// The project that gets it
    pub to: &'a ProjectName,
    /// The secret
    pub new: NewSecret,
    /// When it was stored first and changed last; the moment of the import where nothing tells
    pub times: Option<(Timestamp, Timestamp)>,
}

impl<'a> Import<'a> {
    /// Secrets for one project, stored now.
    pub fn into_one(to: &'a ProjectName, secrets: Vec<NewSecret>, on_conflict: OnConflict) -> Self {
        let incoming = |new| IncomingSecret { to, new, times: None };
        Self { secrets: secrets.into_iter().map(incoming).collect(), on_conflict }
    }

    /// The projects that get something, each once, in the order in which they come.
    pub fn projects(&self) -> Vec<&'a ProjectName> {
        let mut seen = HashSet::new();
        self.secrets.iter().map(|incoming| incoming.to).filter(|to| seen.insert(*to)).collect()
    }
}

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportResult {
    /// Stored, skipped or written over
    Action(Action),
    /// The project has it with this value: nothing was to be done
    Same,
}

impl ImportResult {
    fn writes(self) -> bool {
        matches!(self, Self::Action(Action::Create | Action::Overwrite))
    }
}

/// What became of all of them, in their order.
#[derive(Debug)]
pub struct ImportOutcome {
    /// Tags as their projects have them, and what became of each
    pub steps: Vec<(Tag, ImportResult)>,
    /// The secrets that were created or overwritten, project by project
    pub secrets: Vec<Secret>,
}

impl Vault {
    /// What [`Vault::import`] would do; where it would fail, so does this. It waits for no writer.
    pub fn plan_import(&self, import: &Import<'_>) -> Result<ImportOutcome, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        missing(&state, &import.projects())?;
        Ok(ImportOutcome { steps: steps(&state, &*snapshot, import)?, secrets: Vec::new() })
    }

    /// Reads back what an import stored or found to be there, all from one state of the vault. Returns the place of the first
    /// secret that is not there as it came.
    pub fn compare(
        &self,
        import: &Import<'_>,
        outcome: &ImportOutcome,
    ) -> Result<Option<usize>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let mut there: BTreeMap<&ProjectName, Vec<usize>> = BTreeMap::new();
        let steps = outcome.steps.iter().zip(&import.secrets).enumerate();

        for (at, (_, incoming)) in
            steps.filter(|(_, (step, _))| step.1 != ImportResult::Action(Action::Skip))
        {
            there.entry(incoming.to).or_default().push(at);
        }

        for (name, places) in there {
            let project = state.named(&*snapshot, name)?;
            for at in places {
                let Some(project) = &project else { return Ok(Some(at)) };
                let Some(found) = project.by_tag(&*snapshot, &outcome.steps[at].0.key())? else {
                    return Ok(Some(at));
                };

                if project.value(&*snapshot, &found.record)?.expose()
                    != import.secrets[at].new.value.expose()
                {
                    return Ok(Some(at));
                }
            }
        }

        Ok(None)
    }

    /// Stores secrets in one transaction. One that is there with the same value is left alone, so that what was broken off
    /// can be done again. `stored` is told how many were stored so far.
    pub fn import(
        &self,
        import: &Import<'_>,
        stored: &dyn Fn(u64),
    ) -> Result<WriteOutcome<ImportOutcome>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let steps = steps(&state, &*transaction, import)?;
        let mut outcome = ImportOutcome { steps, secrets: Vec::new() };
        let mut written: BTreeMap<&ProjectName, Vec<usize>> = BTreeMap::new();

        for (at, incoming) in
            import.secrets.iter().enumerate().filter(|(at, _)| outcome.steps[*at].1.writes())
        {
            written.entry(incoming.to).or_default().push(at);
        }

        if written.is_empty() {
            return Ok(WriteOutcome { value: outcome, compaction_due: false });
        }

        let names: Vec<&ProjectName> = written.keys().copied().collect();
        let new_project = create_projects(&state, &*self.root, &mut *transaction, &names)?;
        for (name, places) in written {
            let project = match state.named(&*transaction, name)? {
                Some(project) => project,
                // It is not there, so it was entered just now.
                None => match new_project.iter().find(|new| new.is_named(name)) {
                    Some(new) => NewProject::project(new, &state),
                    None => continue,
                },
            };

            let incoming = places.iter().map(|at| &import.secrets[*at]);
            store_in(project, &mut *transaction, incoming, stored, &mut outcome.secrets)?;
        }

        Ok(WriteOutcome {
            compaction_due: self.commit(transaction)?.compaction_due,
            value: outcome,
        })
    }
}

/// Stores what one project gets, and signs it.
fn store_in<'i>(
    project: Project<'_>,
    transaction: &mut dyn Transaction,
    incoming: impl Iterator<Item = &'i IncomingSecret<'i>> + Clone,
    stored: &dyn Fn(u64),
    secrets: &mut Vec<Secret>,
) -> Result<(), VaultError> {
    // All are found before the first is changed: a bucket is verified as it was signed.
    let mut found: BTreeMap<TagKey, VerifiedRecord> = BTreeMap::new();
    for IncomingSecret { new, .. } in incoming.clone() {
        if let Some(there) = project.by_tag(transaction, &new.tag.key())? {
            found.insert(new.tag.key(), there);
        }
    }

    let mut edit = Edit::new(project);
    let now = Timestamp::now();
    for IncomingSecret { new, times, .. } in incoming {
        stored(secrets.len() as u64);
        let (name, description, hint) =
            (new.name.clone(), new.description.clone(), new.value.hint());
        secrets.push(if let Some(mut there) = found.remove(&new.tag.key()) {
            there.metadata.name = name.or(there.metadata.name);
            there.metadata.description = description.or(there.metadata.description);
            (there.metadata.hint, there.metadata.updated) = (hint, now);
            edit.put(transaction, there, Some(&new.value))?
        } else {
            let (created, updated) = times.unwrap_or((now, now));
            let metadata =
                Metadata { tag: new.tag.clone(), name, description, hint, created, updated };
            edit.add(transaction, metadata, &new.value)?
        });
    }

    edit.sign(transaction)
}

fn steps(
    state: &State,
    snapshot: &dyn Snapshot,
    import: &Import<'_>,
) -> Result<Vec<(Tag, ImportResult)>, VaultError> {
    type OpenedProject<'s> = (Project<'s>, BTreeMap<TagKey, VerifiedRecord>);
    let mut there: BTreeMap<&ProjectName, OpenedProject<'_>> = BTreeMap::new();
    for name in import.projects() {
        let Some(project) = state.named(snapshot, name)? else { continue };
        let mut found = BTreeMap::new();
        project.each(snapshot, |one| drop(found.insert(one.metadata.tag.key(), one)))?;
        there.insert(name, (project, found));
    }

    let mut steps = Vec::with_capacity(import.secrets.len());
    let mut conflicts = Vec::new();
    let mut seen: BTreeMap<(&ProjectName, TagKey), &Tag> = BTreeMap::new();

    for IncomingSecret { to, new, .. } in &import.secrets {
        // Two of one tag would be counted twice and stored once: a head that no state has.
        if let Some(other) = seen.insert((to, new.tag.key()), &new.tag) {
            return Err(VaultError::SameTarget(other.clone(), new.tag.clone()));
        }

        let known =
            there.get(to).and_then(|(project, found)| Some((project, found.get(&new.tag.key())?)));
        let Some((project, found)) = known else {
            steps.push((new.tag.clone(), ImportResult::Action(Action::Create)));
            continue;
        };

        let tag = found.metadata.tag.clone();
        let same = found.metadata.hint == new.value.hint()
            && project.value(snapshot, &found.record)?.expose() == new.value.expose();
        let step = match import.on_conflict {
            _ if same => ImportResult::Same,
            OnConflict::Overwrite => ImportResult::Action(Action::Overwrite),
            OnConflict::Skip => ImportResult::Action(Action::Skip),
            OnConflict::Fail => {
                conflicts.push(project.secret(found.clone()));
                ImportResult::Action(Action::Skip)
            }
        };

        steps.push((tag, step));
    }

    if conflicts.is_empty() { Ok(steps) } else { Err(VaultError::Exists(conflicts)) }
}
