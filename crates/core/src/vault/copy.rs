//! `clone`: copies secrets into a project, all or none.
//!
//! A copy is re-encrypted under the target's keys. It gets its own id and times.

use std::cell::OnceCell;
use std::collections::HashSet;

use super::access::OpenedProject;
use super::ahead::Ahead;
use super::edit::{Draft, Edit};
use super::find::{FoundIn, find_all_in, in_order};
use super::project::{Project, VerifiedRecord};
use super::state::State;
use super::{Vault, VaultError};
use crate::crypto::audit;
use crate::crypto::record::ValueBinding;
use crate::crypto::rows::Record;
use crate::model::{Class, Metadata, ProjectName, Secret, SecretRef, Tag, TagKey, Timestamp};
use crate::store::{Extent, Snapshot, Want};

/// The action for a tag that the target already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing is copied
    Fail,
    /// The secret is not copied
    Skip,
    /// The target's secret gets the name, description and value, and keeps its id and tag
    Overwrite,
}

/// The secrets to copy, and their target.
pub struct CopyRequest<'a> {
    /// The secrets; `None` means all of `from`
    pub secrets: Option<&'a [SecretRef]>,
    /// The project in which tags are looked up
    pub from: &'a ProjectName,
    /// The project that gets the copies
    pub to: &'a ProjectName,
    /// Another tag for the copy, if a single secret is copied
    pub tag: Option<&'a Tag>,
    /// The action for tags that the target already has
    pub on_conflict: OnConflict,
}

impl CopyRequest<'_> {
    /// Adds what a copy reads first.
    fn ahead<'r>(&'r self, ahead: &mut Ahead<'r>) {
        ahead.with_values();
        match (self.secrets, self.tag) {
            (None, _) => {
                ahead.project(self.from, Extent::Values);
                ahead.project(self.to, Extent::IfSmall);
            }
            (Some(wanted), tag) => {
                ahead.refs(self.from, wanted);
                ahead.tags(self.to, tags_of(wanted).chain(tag));
            }
        }
    }

    /// Finds both projects, and fetches what they have at the tags of the request.
    fn projects(
        &self,
        state: &State,
        snapshot: &dyn Snapshot,
    ) -> Result<(Option<OpenedProject>, Option<OpenedProject>), VaultError> {
        let names = [self.from, self.to];
        let found = state.access.find(state.vault_id(), snapshot, &names)?;
        let mut indexes: Vec<(&OpenedProject, Vec<[u8; 16]>)> = Vec::new();
        for found in found.iter().flatten() {
            state.known.add(found);
            let tags = tags_of(self.secrets.unwrap_or_default()).chain(self.tag);
            let ring = found.ring()?;
            let index = |tag: &Tag| ring.tag_ix(tag.key().as_str());
            indexes.push((found, tags.map(index).collect()));
        }

        let mut wants = Vec::with_capacity(indexes.len());
        for (found, indexes) in indexes.iter().filter(|(_, indexes)| !indexes.is_empty()) {
            wants.push(Want::Records { pid: &found.entry.pid, indexes, values: true });
        }

        snapshot.fetch(&wants)?;
        let mut found = found.into_iter();
        Ok((found.next().flatten(), found.next().flatten()))
    }
}

/// The action for one secret of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The target gets a new secret
    Create,
    /// The target keeps its own secret
    Skip,
    /// The target's own secret is overwritten
    Overwrite,
}

/// One entry of a copy's plan.
#[derive(Debug, Clone)]
pub struct PlannedCopy {
    /// The secret that is copied
    pub source: Secret,
    /// Its tag in the target
    pub tag: Tag,
    /// The action for it
    pub action: Action,
}

/// The plan of a copy.
pub type CopyPlan = Vec<PlannedCopy>;

/// The result of a copy.
#[derive(Debug)]
pub struct CopyOutcome {
    /// The plan that was carried out
    pub plan: CopyPlan,
    /// The target's secrets that were created or overwritten
    pub secrets: Vec<Secret>,
}

/// A copy whose secrets were looked up and checked, before anything is changed.
struct PreparedCopy {
    sources: Vec<Project>,
    steps: Vec<Step>,
    on_conflict: OnConflict,
}

struct Step {
    /// The position of its project in the sources
    from: usize,
    source: VerifiedRecord,
    tag: Tag,
    target: Option<VerifiedRecord>,
}

impl Vault {
    /// Returns what [`Vault::copy`] would do. Fails if that would fail.
    pub fn plan_copy(&self, request: &CopyRequest<'_>) -> Result<CopyPlan, VaultError> {
        let (snapshot, state) = self.reading(|ahead| request.ahead(ahead))?;
        Ok(PreparedCopy::new(&state, &*snapshot, request)?.plan())
    }

    /// Copies secrets in one transaction.
    pub fn copy(&self, request: &CopyRequest<'_>) -> Result<CopyOutcome, VaultError> {
        self.retrying(|| self.copy_once(request))
    }

    fn copy_once(&self, request: &CopyRequest<'_>) -> Result<CopyOutcome, VaultError> {
        let mut writing = self.writing(|ahead| request.ahead(ahead))?;
        let mut prepared = PreparedCopy::new(&writing.state, &*writing.transaction, request)?;
        let plan = prepared.plan();
        prepared.steps.retain(|step| action(step, request.on_conflict) != Action::Skip);

        let mut secrets = Vec::new();
        if !prepared.steps.is_empty() {
            let target = writing.open_or_create(request.to)?;
            secrets =
                writing.edit(target, audit::Action::Clone, |edit| prepared.carry_out(edit))?;
        }

        writing.commit()?;
        Ok(CopyOutcome { plan, secrets })
    }
}

impl PreparedCopy {
    fn new(
        state: &State,
        snapshot: &dyn Snapshot,
        request: &CopyRequest<'_>,
    ) -> Result<Self, VaultError> {
        let mut prepared =
            Self { sources: Vec::new(), steps: Vec::new(), on_conflict: request.on_conflict };
        let (from, to) = request.projects(state, snapshot)?;
        match request.secrets {
            Some(wanted) => {
                // A secret may be named twice, by its tag and by its id.
                let mut seen = HashSet::new();
                let mut steps = Vec::with_capacity(wanted.len());
                let from = (request.from, OnceCell::from(from));
                for FoundIn { project, secrets } in
                    find_all_in(state, snapshot, from, wanted, true)?
                {
                    for (number, found) in secrets {
                        if seen.insert(found.record.rid) {
                            steps.push((number, prepared.step(request, found)));
                        }
                    }

                    prepared.sources.push(project);
                }

                prepared.steps = in_order(steps);
            }
            None => {
                let from = from.map_or_else(|| state.require(snapshot, request.from), Ok)?;
                let project = state.open(snapshot, from)?;
                let mut steps = Vec::new();
                project.each(snapshot, |found| steps.push(prepared.step(request, found)))?;
                prepared.steps = steps;
                prepared.sources.push(project);
            }
        }

        prepared.steps.sort_by_cached_key(|step| step.tag.key());
        if let Some(pair) =
            prepared.steps.windows(2).find(|pair| pair[0].tag.key() == pair[1].tag.key())
        {
            return Err(VaultError::SameTarget(pair[0].tag.clone(), pair[1].tag.clone()));
        }

        if let Some(to) = to {
            prepared.find_targets(&state.open(snapshot, to)?, snapshot, request)?;
        }

        Ok(prepared)
    }

    /// Returns the step for a secret of the project that is added to the sources next.
    fn step(&self, request: &CopyRequest<'_>, source: VerifiedRecord) -> Step {
        let tag = request.tag.unwrap_or(&source.metadata.tag).clone();
        Step { from: self.sources.len(), source, tag, target: None }
    }

    fn find_targets(
        &mut self,
        target: &Project,
        snapshot: &dyn Snapshot,
        request: &CopyRequest<'_>,
    ) -> Result<(), VaultError> {
        let mut conflicts = Vec::new();
        let keys: Vec<TagKey> = self.steps.iter().map(|step| step.tag.key()).collect();
        target.by_tags(snapshot, &keys, false, |at, found| {
            self.steps[at].target = found;
            Ok(())
        })?;

        for step in &self.steps {
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
        let planned = |step: &Step| PlannedCopy {
            source: self.sources[step.from].secret(step.source.clone()),
            tag: step.tag.clone(),
            action: action(step, self.on_conflict),
        };

        self.steps.iter().map(planned).collect()
    }

    fn carry_out(&self, edit: &mut Edit<'_>) -> Result<Vec<Secret>, VaultError> {
        let now = Timestamp::now();
        let mut drafts = Vec::with_capacity(self.steps.len());
        for (number, step) in self.steps.iter().enumerate() {
            let record = match &step.target {
                Some(found) => Record { meta: Vec::new(), ..found.record },
                None => edit.draft_of(&step.tag.key())?,
            };

            let binding = ValueBinding::of(&step.metadata(now));
            drafts.push(Draft { number, record, binding });
        }

        let value = |snapshot: &dyn Snapshot, number: usize| {
            let step: &Step = &self.steps[number];
            self.sources[step.from].value(snapshot, &step.source)
        };

        let mut secrets = Vec::with_capacity(drafts.len());
        let take = |number, secret| secrets.push((number, secret));
        edit.put_all(drafts, value, |number| self.steps[number].metadata(now), take)?;
        Ok(in_order(secrets))
    }
}

impl Step {
    /// Returns the class of the copy: restricted if the original or the overwritten secret is.
    fn class(&self) -> Class {
        let target = self.target.as_ref().map(|found| found.metadata.class);
        self.source.metadata.class.stricter(target.unwrap_or_default())
    }

    /// Returns the metadata of the copy. A new copy may be sent where the original may be sent. One that
    /// is overwritten keeps its destinations.
    fn metadata(&self, now: Timestamp) -> Metadata {
        let source = self.source.metadata.clone();
        match &self.target {
            Some(found) => {
                let mut metadata = Metadata {
                    name: source.name,
                    description: source.description,
                    expires: source.expires,
                    source: source.source,
                    class: self.class(),
                    updated: now,
                    ..found.metadata.clone()
                };

                metadata.set_hint(source.hint);
                metadata
            }
            None => Metadata {
                tag: self.tag.clone(),
                created: now,
                updated: now,
                generation: 0,
                later: Vec::new(),
                ..source
            },
        }
    }
}

/// Returns the tags among references.
fn tags_of(wanted: &[SecretRef]) -> impl Iterator<Item = &Tag> {
    wanted.iter().filter_map(|one| match one {
        SecretRef::Tag(tag) => Some(tag),
        SecretRef::Id(_) => None,
    })
}

fn action(step: &Step, on_conflict: OnConflict) -> Action {
    match (&step.target, on_conflict) {
        (None, _) => Action::Create,
        (Some(_), OnConflict::Overwrite) => Action::Overwrite,
        (Some(_), OnConflict::Skip | OnConflict::Fail) => Action::Skip,
    }
}
