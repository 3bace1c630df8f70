//! Stores many secrets at once, new and existing ones, in one project or several. One transaction
//! stores all of them or none.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::access::OpenedProject;
use super::ahead::Ahead;
use super::copy::{Action, OnConflict};
use super::edit::{Draft, Edit};
use super::find::in_order;
use super::project::{ValueRef, VerifiedRecord};
use super::state::State;
use super::{NewSecret, Vault, VaultError};
use crate::crypto::audit;
use crate::crypto::record::ValueBinding;
use crate::crypto::rows::Record;
use crate::model::{Class, Metadata, ProjectName, Secret, Tag, TagKey, Timestamp};
use crate::store::{Snapshot, Want};

/// The secrets to store, with at most one for each tag of a project.
pub struct Import<'a> {
    /// The secrets
    pub secrets: Vec<IncomingSecret<'a>>,
    /// The action for tags that the project already has with another value
    pub on_conflict: OnConflict,
}

/// One secret of an import.
pub struct IncomingSecret<'a> {
    /// The project that gets it
    pub to: &'a ProjectName,
    /// The secret
    pub new: NewSecret,
    /// The times of creation and of the last change; the time of the import if unknown
    pub times: Option<(Timestamp, Timestamp)>,
}

impl<'a> Import<'a> {
    /// Creates an import of secrets for one project, with the current time.
    pub fn into_one(to: &'a ProjectName, secrets: Vec<NewSecret>, on_conflict: OnConflict) -> Self {
        let incoming = |new| IncomingSecret { to, new, times: None };
        Self { secrets: secrets.into_iter().map(incoming).collect(), on_conflict }
    }

    /// Returns each project that gets a secret once, in the order of the secrets.
    pub fn projects(&self) -> Vec<&'a ProjectName> {
        let mut seen = HashSet::new();
        self.secrets.iter().map(|incoming| incoming.to).filter(|to| seen.insert(*to)).collect()
    }

    /// Adds what an import reads first.
    fn ahead<'i>(&'i self, ahead: &mut Ahead<'i>) {
        for (name, positions) in self.positions(|_| true) {
            ahead.tags(name, positions.into_iter().map(|at| &self.secrets[at].new.tag));
        }

        ahead.with_values();
    }

    /// Returns the positions of the secrets that `is_wanted` selects, by project.
    fn positions(
        &self,
        is_wanted: impl Fn(usize) -> bool,
    ) -> BTreeMap<&'a ProjectName, Vec<usize>> {
        let mut positions: BTreeMap<&ProjectName, Vec<usize>> = BTreeMap::new();
        for (at, incoming) in self.secrets.iter().enumerate().filter(|(at, _)| is_wanted(*at)) {
            positions.entry(incoming.to).or_default().push(at);
        }

        positions
    }

    /// Refuses two secrets with the same tag. They would be counted twice but stored once.
    fn check_targets(&self) -> Result<(), VaultError> {
        let mut seen: HashMap<(&ProjectName, TagKey), &Tag> = HashMap::new();
        for IncomingSecret { to, new, .. } in &self.secrets {
            if let Some(other) = seen.insert((to, new.tag.key()), &new.tag) {
                return Err(VaultError::SameTarget(other.clone(), new.tag.clone()));
            }
        }

        Ok(())
    }
}

impl IncomingSecret<'_> {
    /// Returns the metadata to store at the time `now`. Fields that the import leaves out are taken
    /// from the overwritten secret.
    fn metadata(&self, before: Option<Metadata>, now: Timestamp) -> Metadata {
        let new = self.new.metadata(now);
        let (created, updated) = self.times.unwrap_or((now, now));
        match before {
            Some(mut before) => {
                before.name = new.name.or(before.name);
                before.description = new.description.or(before.description);
                before.source = new.source.or(before.source);

                // The old date belonged to the old value.
                before.expires = new.expires;
                before.updated = now;
                before.set_hint(new.hint);
                before
            }
            None => Metadata { created, updated, ..new },
        }
    }
}

/// The result for one secret of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportResult {
    /// The secret was stored, skipped or overwritten
    Action(Action),
    /// The project already has this value, so nothing was done
    Same,
}

impl ImportResult {
    fn writes(self) -> bool {
        matches!(self, Self::Action(Action::Create | Action::Overwrite))
    }
}

/// The result of an import, in the order of its secrets.
#[derive(Debug, Default)]
pub struct ImportOutcome {
    /// Each tag as its project has it, and what happened to it
    pub steps: Vec<(Tag, ImportResult)>,
    /// The secrets that were created or overwritten, project by project
    pub secrets: Vec<Secret>,
    /// The overwritten secrets that had a date of expiry and have none with their new value
    pub expiry_cleared: Vec<Tag>,
}

impl ImportOutcome {
    fn new(steps: Vec<Step>, secrets: Vec<Secret>, expiry_cleared: Vec<Tag>) -> Self {
        let steps = steps.into_iter().map(|step| (step.tag, step.what)).collect();
        Self { steps, secrets, expiry_cleared }
    }
}

impl Vault {
    /// Returns what [`Vault::import`] would do. Fails if that would fail. It does not wait for
    /// writers.
    pub fn plan_import(&self, import: &Import<'_>) -> Result<ImportOutcome, VaultError> {
        let (snapshot, state) = self.reading(|ahead| import.ahead(ahead))?;
        state.check_room(&*snapshot, &import.projects())?;
        Ok(ImportOutcome::new(steps(&state, &*snapshot, import)?, Vec::new(), Vec::new()))
    }

    /// Reads back all secrets that an import stored or found to exist, from one state of the vault.
    /// Returns the position of the first secret whose stored value differs.
    pub fn verify_import(
        &self,
        import: &Import<'_>,
        outcome: &ImportOutcome,
    ) -> Result<Option<usize>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| import.ahead(ahead))?;
        let is_there = |at: usize| outcome.steps[at].1 != ImportResult::Action(Action::Skip);
        let mut first: Option<usize> = None;
        let mut differs = |at: usize| first = Some(first.map_or(at, |first| first.min(at)));

        for (name, positions) in import.positions(is_there) {
            let Some(project) = state.named(&*snapshot, name)? else {
                positions.into_iter().for_each(&mut differs);
                continue;
            };

            let keys: Vec<TagKey> = positions.iter().map(|at| outcome.steps[*at].0.key()).collect();
            let (mut wanted, mut of) = (Vec::new(), Vec::new());
            project.by_tags(&*snapshot, &keys, true, |number, found| {
                match found {
                    Some(found) => {
                        wanted.push(ValueRef::from(&found));
                        of.push(positions[number]);
                    }
                    None => differs(positions[number]),
                }

                Ok(())
            })?;

            project.values(&*snapshot, &wanted, |number, value| {
                if value.expose() != import.secrets[of[number]].new.value.expose() {
                    differs(of[number]);
                }

                Ok::<_, VaultError>(())
            })?;
        }

        Ok(first)
    }

    /// Stores secrets in one transaction. A secret that already has the same value is left alone,
    /// so an interrupted import can be repeated. Calls `stored` with the number of secrets stored
    /// so far.
    pub fn import(
        &self,
        import: &Import<'_>,
        stored: &dyn Fn(u64),
    ) -> Result<ImportOutcome, VaultError> {
        self.retrying(|| self.import_once(import, stored))
    }

    fn import_once(
        &self,
        import: &Import<'_>,
        stored: &dyn Fn(u64),
    ) -> Result<ImportOutcome, VaultError> {
        let mut writing = self.writing(|ahead| import.ahead(ahead))?;
        let mut steps = steps(&writing.state, &*writing.transaction, import)?;
        let written = import.positions(|at| steps[at].what.writes());

        if written.is_empty() {
            return Ok(ImportOutcome::new(steps, Vec::new(), Vec::new()));
        }

        let names: Vec<&ProjectName> = written.keys().copied().collect();
        let targets = writing.find_or_create(&names)?;
        let mut storing =
            Storing { import, stored, secrets: Vec::new(), expiry_cleared: Vec::new() };

        for (target, positions) in targets.into_iter().zip(written.values()) {
            let project = writing.open(target)?;
            writing.edit(project, audit::Action::Import, |edit| {
                storing.project(edit, positions, &mut steps)
            })?;
        }

        let Storing { secrets, expiry_cleared, .. } = storing;
        writing.commit()?;
        Ok(ImportOutcome::new(steps, secrets, expiry_cleared))
    }
}

/// An import in progress, project by project.
struct Storing<'a> {
    import: &'a Import<'a>,
    stored: &'a dyn Fn(u64),
    /// The secrets stored so far, each project's in the order of the import
    secrets: Vec<Secret>,
    /// Those that lost their date of expiry
    expiry_cleared: Vec<Tag>,
}

impl Storing<'_> {
    /// Stores the secrets of one project.
    fn project(
        &mut self,
        edit: &mut Edit<'_>,
        positions: &[usize],
        steps: &mut [Step],
    ) -> Result<(), VaultError> {
        let mut drafts = Vec::with_capacity(positions.len());
        let mut before: HashMap<usize, Metadata> = HashMap::new();

        for &at in positions {
            drafts.push(match steps[at].existing.take() {
                Some(found) => {
                    let VerifiedRecord { record, mut metadata } = *found;
                    let class = self.import.secrets[at].new.class;
                    metadata.class = metadata.class.stricter(class);
                    let binding = ValueBinding::of(&metadata);
                    if metadata.expires.is_some() && self.import.secrets[at].new.expires.is_none() {
                        self.expiry_cleared.push(metadata.tag.clone());
                    }

                    before.insert(at, metadata);
                    Draft { number: at, record: Record { meta: Vec::new(), ..record }, binding }
                }
                None => {
                    let NewSecret { tag, class, .. } = &self.import.secrets[at].new;
                    let binding = ValueBinding::of_tag(tag, *class);
                    Draft { number: at, record: edit.draft_of(&tag.key())?, binding }
                }
            });
        }

        let now = Timestamp::now();
        let mut number = self.secrets.len() as u64;
        let value = |_: &dyn Snapshot, at: usize| {
            (self.stored)(number);
            number += 1;
            Ok(&self.import.secrets[at].new.value)
        };

        let metadata = |at: usize| self.import.secrets[at].metadata(before.remove(&at), now);
        let mut secrets = Vec::with_capacity(positions.len());
        edit.put_all(drafts, value, metadata, |at, secret| {
            secrets.push((at, secret));
        })?;

        self.secrets.extend(in_order(secrets));
        Ok(())
    }
}

/// The planned action for one secret of an import.
struct Step {
    /// Its tag as the project has it
    tag: Tag,
    what: ImportResult,
    /// The secret to overwrite
    existing: Option<Box<VerifiedRecord>>,
}

/// An existing project of an import.
struct ImportTarget {
    found: OpenedProject,
    /// The positions of its secrets
    positions: Vec<usize>,
    /// The keys and the indexes of their tags
    keys: Vec<TagKey>,
    indexes: Vec<[u8; 16]>,
}

/// Finds the existing projects of an import, and fetches what they have at the tags of the import.
fn targets(
    state: &State,
    snapshot: &dyn Snapshot,
    import: &Import<'_>,
) -> Result<Vec<ImportTarget>, VaultError> {
    let positions = import.positions(|_| true);
    let names: Vec<&ProjectName> = positions.keys().copied().collect();
    let found = state.access.find(state.vault_id(), snapshot, &names)?;
    let mut targets = Vec::new();
    for (positions, found) in positions.into_values().zip(found) {
        let Some(found) = found else { continue };
        state.known.add(&found);
        let key = |at: &usize| import.secrets[*at].new.tag.key();
        let keys: Vec<TagKey> = positions.iter().map(key).collect();
        let ring = found.ring()?;
        let indexes = keys.iter().map(|key| ring.tag_ix(key.as_str())).collect();
        targets.push(ImportTarget { found, positions, keys, indexes });
    }

    let mut wants = Vec::with_capacity(targets.len());
    for ImportTarget { found, indexes, .. } in &targets {
        wants.push(Want::Records { pid: &found.entry.pid, indexes, values: true });
    }

    snapshot.fetch(&wants)?;
    Ok(targets)
}

fn steps(
    state: &State,
    snapshot: &dyn Snapshot,
    import: &Import<'_>,
) -> Result<Vec<Step>, VaultError> {
    import.check_targets()?;
    let create = |incoming: &IncomingSecret<'_>| Step {
        tag: incoming.new.tag.clone(),
        what: ImportResult::Action(Action::Create),
        existing: None,
    };

    let mut steps: Vec<Step> = import.secrets.iter().map(create).collect();
    let mut conflicts = BTreeMap::new();
    for ImportTarget { found, positions, keys, indexes } in targets(state, snapshot, import)? {
        let project = state.open(snapshot, found)?;
        let wanted = indexes.into_iter().zip(0..).collect();
        let mut existing = Vec::new();
        project.by_indexes(snapshot, wanted, true, |number, found| {
            let found = project.of_tag(found, &keys[number])?;
            existing.extend(found.map(|found| (positions[number], found)));
            Ok(())
        })?;

        // A value is opened only if its hint is the same. A restricted secret has no hint.
        let may_be_same = |(at, found): &&(usize, VerifiedRecord)| {
            found.metadata.class == Class::Restricted
                || found.metadata.hint == import.secrets[*at].new.value.hint()
        };
        let similar: Vec<&(usize, VerifiedRecord)> = existing.iter().filter(may_be_same).collect();
        let wanted: Vec<ValueRef> = similar.iter().map(|(_, found)| found.into()).collect();
        let mut same = HashSet::new();
        project.values(snapshot, &wanted, |number, value| {
            let at = similar[number].0;
            if value.expose() == import.secrets[at].new.value.expose() {
                same.insert(at);
            }

            Ok::<_, VaultError>(())
        })?;

        for (at, found) in existing {
            let step = &mut steps[at];
            step.tag = found.metadata.tag.clone();
            step.what = match import.on_conflict {
                _ if same.contains(&at) => ImportResult::Same,
                OnConflict::Overwrite => ImportResult::Action(Action::Overwrite),
                OnConflict::Skip | OnConflict::Fail => ImportResult::Action(Action::Skip),
            };

            match step.what {
                ImportResult::Action(Action::Overwrite) => step.existing = Some(Box::new(found)),
                ImportResult::Action(_) if import.on_conflict == OnConflict::Fail => {
                    conflicts.insert(at, project.secret(found));
                }
                _ => {}
            }
        }
    }

    if conflicts.is_empty() {
        Ok(steps)
    } else {
        Err(VaultError::Exists(conflicts.into_values().collect()))
    }
}
