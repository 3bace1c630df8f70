//! `clone`: copying secrets into a project, all or none.
//!
//! A copy is sealed anew under the target's keys and has an id and times of its own.

use std::collections::BTreeMap;

use super::edit::{Edit, target};
use super::projects::known;
use super::secrets::find;
use super::state::{Project, State, VerifiedRecord};
use super::{Vault, VaultError, WriteOutcome};
use crate::crypto::ids::ProjectId;
use crate::model::{Metadata, ProjectName, Secret, SecretRef, Tag, Timestamp};
use crate::store::{Snapshot, Transaction};

/// What happens to a tag that the target has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing is copied
    Fail,
    /// That one is not copied
    Skip,
    /// The target's secret takes over name, description and value; its id and tag stay
    Overwrite,
}

/// What is to be copied where.
pub struct CopyRequest<'a> {
    /// The secrets; `None` is all of `from`
    pub secrets: Option<&'a [SecretRef]>,
    /// The project in which tags are looked for
    pub from: &'a ProjectName,
    /// The project that gets the copies
    pub to: &'a ProjectName,
    /// Another tag for the copy of a single secret
    pub tag: Option<&'a Tag>,
    /// What happens to tags that the target has
    pub on_conflict: OnConflict,
}

/// What happens to one secret of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The target gets a new secret
    Create,
    /// The target's own stays
    Skip,
    /// The target's own takes over what is copied
    Overwrite,
}

/// One line of a copy's plan.
#[derive(Debug, Clone)]
pub struct PlannedCopy {
    /// What is copied
    pub source: Secret,
    /// Its tag in the target
    pub tag: Tag,
    /// What happens
    pub action: Action,
}

/// What a copy would do.
pub type CopyPlan = Vec<PlannedCopy>;

/// What a copy did.
#[derive(Debug)]
pub struct CopyOutcome {
    /// The plan that was carried out
    pub plan: CopyPlan,
    /// The target's secrets that were created or overwritten
    pub secrets: Vec<Secret>,
}

/// A copy, looked up and checked before anything changes.
struct PreparedCopy<'s> {
    sources: BTreeMap<ProjectId, Project<'s>>,
    steps: Vec<Step>,
    on_conflict: OnConflict,
}

struct Step {
    from: ProjectId,
    source: VerifiedRecord,
    tag: Tag,
    target: Option<VerifiedRecord>,
}

impl Vault {
    /// What [`Vault::copy`] would do; where it would fail, so does this.
    pub fn plan_copy(&self, request: &CopyRequest<'_>) -> Result<CopyPlan, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        Ok(PreparedCopy::new(&state, &*snapshot, request)?.plan())
    }

    /// Copies secrets in one transaction.
    pub fn copy(&self, request: &CopyRequest<'_>) -> Result<WriteOutcome<CopyOutcome>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let mut prepared = PreparedCopy::new(&state, &*transaction, request)?;
        let plan = prepared.plan();

        prepared.steps.retain(|step| action(step, request.on_conflict) != Action::Skip);
        let mut secrets = Vec::new();
        if !prepared.steps.is_empty() {
            let mut new_project = None;
            let target =
                target(&state, &*self.root, &mut *transaction, request.to, &mut new_project)?;
            secrets = prepared.carry_out(Edit::new(target), &mut *transaction)?;
        }

        Ok(WriteOutcome::new(CopyOutcome { plan, secrets }, self.commit(transaction)?))
    }
}

impl<'s> PreparedCopy<'s> {
    fn new(
        state: &'s State,
        snapshot: &dyn Snapshot,
        request: &CopyRequest<'_>,
    ) -> Result<Self, VaultError> {
        let mut prepared =
            Self { sources: BTreeMap::new(), steps: Vec::new(), on_conflict: request.on_conflict };
        match request.secrets {
            Some(wanted) => {
                for wanted in wanted {
                    let (project, found) = find(state, snapshot, request.from, wanted)?;
                    prepared.step(request, &project, found);
                    prepared.sources.insert(project.row.pid, project);
                }
            }
            None => {
                let project =
                    known(state, request.from).and_then(|at| state.project(snapshot, at))?;
                project.each(snapshot, |found| prepared.step(request, &project, found))?;
                prepared.sources.insert(project.row.pid, project);
            }
        }

        prepared.steps.sort_by_cached_key(|step| step.tag.key());
        if let Some(pair) =
            prepared.steps.windows(2).find(|pair| pair[0].tag.key() == pair[1].tag.key())
        {
            return Err(VaultError::SameTarget(pair[0].tag.clone(), pair[1].tag.clone()));
        }

        prepared.look_for_targets(state, snapshot, request)?;
        Ok(prepared)
    }

    fn step(&mut self, request: &CopyRequest<'_>, project: &Project<'_>, source: VerifiedRecord) {
        // Named twice, by tag and by id perhaps, it is copied once.
        if request.secrets.is_some()
            && self.steps.iter().any(|step| step.source.record.rid == source.record.rid)
        {
            return;
        }

        let tag = request.tag.unwrap_or(&source.metadata.tag).clone();
        self.steps.push(Step { from: project.row.pid, source, tag, target: None });
    }

    fn look_for_targets(
        &mut self,
        state: &State,
        snapshot: &dyn Snapshot,
        request: &CopyRequest<'_>,
    ) -> Result<(), VaultError> {
        let Some(target) = state.named(snapshot, request.to)? else {
            return Ok(());
        };

        let mut conflicts = Vec::new();
        for step in &mut self.steps {
            step.target = target.by_tag(snapshot, &step.tag.key())?;
            let Some(found) = &step.target else { continue };
            if found.record.rid == step.source.record.rid {
                return Err(VaultError::OntoItself(step.tag.clone()));
            }

            conflicts.push(target.secret(found.clone()));
        }

        if request.on_conflict == OnConflict::Fail && !conflicts.is_empty() {
            return Err(VaultError::Exists(conflicts));
        }

        Ok(())
    }

    fn plan(&self) -> CopyPlan {
        let planned = |step: &Step| {
            let source = self.sources.get(&step.from)?.secret(step.source.clone());
            Some(PlannedCopy {
                source,
                tag: step.tag.clone(),
                action: action(step, self.on_conflict),
            })
        };

        self.steps.iter().filter_map(planned).collect()
    }

    fn carry_out(
        self,
        mut edit: Edit<'_>,
        transaction: &mut dyn Transaction,
    ) -> Result<Vec<Secret>, VaultError> {
        let now = Timestamp::now();
        let mut secrets = Vec::new();
        for step in self.steps {
            let Some(project) = self.sources.get(&step.from) else { continue };
            let value = project.value(transaction, &step.source.record)?;
            let Metadata { name, description, hint, .. } = step.source.metadata;
            secrets.push(if let Some(mut found) = step.target {
                found.metadata =
                    Metadata { name, description, hint, updated: now, ..found.metadata };
                edit.put(transaction, found, Some(&value))?
            } else {
                let metadata =
                    Metadata { tag: step.tag, name, description, hint, created: now, updated: now };
                edit.add(transaction, metadata, &value)?
            });
        }

        edit.sign(transaction)?;
        Ok(secrets)
    }
}

fn action(step: &Step, on_conflict: OnConflict) -> Action {
    match (&step.target, on_conflict) {
        (None, _) => Action::Create,
        (Some(_), OnConflict::Overwrite) => Action::Overwrite,
        (Some(_), OnConflict::Skip | OnConflict::Fail) => Action::Skip,
    }
}
