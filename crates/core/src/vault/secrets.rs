//! The operations on secrets: create, get, list, update, delete, and revealing values for use.

use std::collections::{HashMap, HashSet};

use super::ahead::Ahead;
use super::edit::{Draft, Edit};
use super::find::{FoundIn, all_tags, find, find_all, in_order, nearest_tag};
use super::project::{Project, ValueRef, VerifiedRecord};
use super::{Reveal, Revealed, Vault, VaultError};
use crate::crypto::audit::Action;
use crate::crypto::record::ValueBinding;
use crate::crypto::rows::Record;
use crate::model::{
    Class, Description, Metadata, Name, ProjectName, Secret, SecretRef, SecretValue, Source, Tag,
    TagKey, Timestamp,
};
use crate::store::{Extent, Snapshot};

/// A secret to store.
pub struct NewSecret {
    /// Its identifier
    pub tag: Tag,
    /// A label
    pub name: Option<Name>,
    /// Free text
    pub description: Option<Description>,
    /// The value
    pub value: SecretValue,
    /// The readers who may use the value
    pub class: Class,
    /// The time by which the value must be replaced
    pub expires: Option<Timestamp>,
    /// The place where a new value can be had
    pub source: Option<Source>,
}

/// The changes of an `update`. `None` keeps a field, `Some(None)` clears it. A date of expiry
/// belongs to a value, so a new value without another date clears it.
#[derive(Default)]
pub struct SecretChanges {
    /// The label
    pub name: Option<Option<Name>>,
    /// The free text
    pub description: Option<Option<Description>>,
    /// The value
    pub value: Option<SecretValue>,
    /// The time by which the value must be replaced
    pub expires: Option<Option<Timestamp>>,
    /// The place where a new value can be had
    pub source: Option<Option<Source>>,
}

/// After this many unknown tags in one reading, no more suggestions are made.
const MAX_SUGGESTIONS: usize = 100;

/// The number of projects that are searched for a tag that the current project does not have.
const MAX_PROJECTS_SEARCHED: usize = 1000;
/// The number of projects that are named as having it.
const MAX_PROJECTS_NAMED: usize = 3;

impl Vault {
    /// Stores a new secret. The first secret creates the project.
    #[allow(clippy::needless_pass_by_value)] // the value is wiped once it is stored
    pub fn create(&self, project: &ProjectName, new: NewSecret) -> Result<Secret, VaultError> {
        let tag = new.tag.clone();
        self.retrying(|| {
            self.edit(
                project,
                Action::Create,
                |ahead| ahead.tags(project, [&tag]),
                |edit| {
                    let indexes = edit.expect([&new.tag.key()])?;
                    let record = draft(edit, &indexes[0])?;
                    let metadata = new.metadata(Timestamp::now());
                    edit.put(VerifiedRecord { record, metadata }, Some(&new.value))
                },
            )
        })
    }

    /// Stores new secrets in one transaction. If one of the tags is taken, none is stored. Returns
    /// their number.
    pub fn create_all(
        &self,
        project: &ProjectName,
        new: impl IntoIterator<Item = NewSecret>,
    ) -> Result<u64, VaultError> {
        self.edit(
            project,
            Action::Import,
            |ahead| ahead.project(project, Extent::IfSmall),
            |edit| {
                let mut new = new.into_iter();
                let mut count = 0;
                loop {
                    let batch = next_batch(&mut new);
                    if batch.is_empty() {
                        return Ok(count);
                    }

                    store_batch(edit, &batch)?;
                    count += batch.len() as u64;
                }
            },
        )
    }

    /// Changes a project in one transaction. Creates it if it does not exist.
    fn edit<'a, T>(
        &self,
        project: &ProjectName,
        action: Action,
        ahead: impl FnOnce(&mut Ahead<'a>),
        change: impl FnOnce(&mut Edit<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut writing = self.writing(ahead)?;
        let project = writing.open_or_create(project)?;
        let value = writing.edit(project, action, change)?;
        writing.commit()?;
        Ok(value)
    }

    /// Returns one secret's metadata.
    pub fn get(&self, project: &ProjectName, wanted: &SecretRef) -> Result<Secret, VaultError> {
        let (snapshot, state) =
            self.reading(|ahead| ahead.refs(project, std::slice::from_ref(wanted)))?;
        let (project, found) = find(&state, &*snapshot, project, wanted)?;
        Ok(project.secret(found))
    }

    /// Returns the metadata of many secrets in the order of `wanted`, all from one state of the
    /// vault.
    pub fn get_all(
        &self,
        project: &ProjectName,
        wanted: &[SecretRef],
    ) -> Result<Vec<Secret>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.refs(project, wanted))?;
        let mut found = Vec::with_capacity(wanted.len());
        for FoundIn { project, secrets } in find_all(&state, &*snapshot, project, wanted, false)? {
            found.extend(secrets.into_iter().map(|(number, one)| (number, project.secret(one))));
        }

        Ok(in_order(found))
    }

    /// Returns the secret with this tag, if it exists.
    pub fn find(&self, project: &ProjectName, tag: &Tag) -> Result<Option<Secret>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.tags(project, [tag]))?;
        let Some(project) = state.named(&*snapshot, project)? else {
            return Ok(None);
        };

        Ok(project.by_tag(&*snapshot, &tag.key())?.map(|found| project.secret(found)))
    }

    /// Returns the secrets of a project whose values the token that opened the vault may not use, sorted
    /// by tag. It does not see those outside of its own secrets.
    pub fn unusable(&self, project: &ProjectName) -> Result<Vec<Tag>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let project = state.open(&*snapshot, state.require(&*snapshot, project)?)?;
        let mut tags = Vec::new();
        if project.keys().whole().is_some_and(|ring| ring.restricted.is_some()) {
            return Ok(tags);
        }

        project.each(&*snapshot, |found| {
            if !project.may_use(&found) {
                tags.push(found.metadata.tag);
            }
        })?;
        tags.sort_by_cached_key(Tag::key);
        Ok(tags)
    }

    /// Returns up to three projects that have a secret with this tag, sorted by name. Searches at
    /// most 1,000 projects.
    pub fn projects_with(&self, tag: &Tag) -> Result<Vec<ProjectName>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.all = Some(Extent::Head))?;
        let mut names = Vec::new();
        for project in state.all(&*snapshot)?.into_iter().take(MAX_PROJECTS_SEARCHED) {
            let project = state.open(&*snapshot, project)?;
            if project.by_tag(&*snapshot, &tag.key())?.is_some() {
                names.push(project.name().clone());
            }

            if names.len() == MAX_PROJECTS_NAMED {
                break;
            }
        }

        Ok(names)
    }

    /// Applies `changes` to a secret. `seen` is the version that the caller has read: if another
    /// process has changed the secret since, nothing is written.
    #[allow(clippy::needless_pass_by_value)] // the value is wiped once it is stored
    pub fn update(
        &self,
        project: &ProjectName,
        wanted: &SecretRef,
        seen: Option<u64>,
        changes: SecretChanges,
    ) -> Result<Secret, VaultError> {
        self.retrying(|| self.update_once(project, wanted, seen, &changes))
    }

    fn update_once(
        &self,
        project: &ProjectName,
        wanted: &SecretRef,
        seen: Option<u64>,
        changes: &SecretChanges,
    ) -> Result<Secret, VaultError> {
        let mut writing =
            self.writing(|ahead| ahead.refs(project, std::slice::from_ref(wanted)))?;
        let (project, mut found) = find(&writing.state, &*writing.transaction, project, wanted)?;
        if seen.is_some_and(|version| version != found.record.ver) {
            return Err(VaultError::Changed(found.metadata.tag));
        }

        if let Some(name) = &changes.name {
            found.metadata.name.clone_from(name);
        }

        if let Some(description) = &changes.description {
            found.metadata.description.clone_from(description);
        }

        if let Some(source) = &changes.source {
            found.metadata.source.clone_from(source);
        }

        if let Some(value) = &changes.value {
            found.metadata.set_hint(value.hint());
            found.metadata.expires = None;
        }

        if let Some(expires) = changes.expires {
            found.metadata.expires = expires;
        }

        found.metadata.updated = Timestamp::now();
        let value = changes.value.as_ref();
        let secret = writing.edit(project, Action::Update, |edit| edit.put(found, value))?;
        writing.commit()?;
        Ok(secret)
    }

    /// Deletes all of `wanted`, or none.
    pub fn delete(
        &self,
        project: &ProjectName,
        wanted: &[SecretRef],
    ) -> Result<Vec<Secret>, VaultError> {
        self.retrying(|| self.delete_once(project, wanted))
    }

    fn delete_once(
        &self,
        project: &ProjectName,
        wanted: &[SecretRef],
    ) -> Result<Vec<Secret>, VaultError> {
        let mut writing = self.writing(|ahead| ahead.refs(project, wanted))?;

        // All secrets are found before the first one is removed, because a bucket is verified in
        // the state that was signed.
        let mut deleted = Vec::new();
        let found = find_all(&writing.state, &*writing.transaction, project, wanted, false)?;
        for FoundIn { project, secrets } in found {
            writing.edit(project, Action::Delete, |edit| {
                // A secret may be named twice, by its tag and by its id.
                let mut seen = HashSet::new();
                for (number, found) in secrets {
                    if seen.insert(found.record.rid) {
                        deleted.push((number, edit.remove(found)?));
                    }
                }

                Ok(())
            })?;
        }

        writing.commit()?;
        Ok(in_order(deleted))
    }

    /// Returns a project as a source of values.
    pub fn scope<'a>(&'a self, project: &'a ProjectName) -> Scope<'a> {
        Scope { vault: self, project }
    }
}

/// A project of an unlocked vault, as a source of values.
pub struct Scope<'a> {
    vault: &'a Vault,
    project: &'a ProjectName,
}

impl Scope<'_> {
    /// Opens the values of `tags` in their order, all from one state of the vault. Tags that do not
    /// exist give `None`, without a suggestion.
    pub fn reveal_existing(
        &self,
        tags: &[Tag],
    ) -> Result<Vec<Option<(Tag, SecretValue)>>, VaultError> {
        let (snapshot, state) = self.vault.reading(|ahead| {
            ahead.tags(self.project, tags);
            ahead.with_values();
        })?;
        match state.named(&*snapshot, self.project)? {
            Some(project) => opened(&project, &*snapshot, tags),
            None => Ok(tags.iter().map(|_| None).collect()),
        }
    }

    /// Opens every value, sorted by tag key, all from one state of the vault. An unknown project is
    /// an error, because a program that asks for everything would otherwise run with nothing. Values
    /// of restricted secrets are left out if a token has no key for them.
    pub fn reveal_all(&self) -> Result<Vec<(Tag, SecretValue)>, VaultError> {
        let (snapshot, state) =
            self.vault.reading(|ahead| ahead.project(self.project, Extent::Values))?;
        let found = state.require(&*snapshot, self.project)?;
        let project = state.open(&*snapshot, found)?;

        // All records are read and verified first. Values are read by other statements afterwards.
        let mut found = Vec::new();
        project.each(&*snapshot, |record| {
            if project.may_use(&record) {
                found.push(record);
            }
        })?;
        found.sort_by_cached_key(|found| found.metadata.tag.key());

        let wanted: Vec<ValueRef> = found.iter().map(ValueRef::from).collect();
        let mut opened = Vec::with_capacity(found.len());
        let mut found = found.into_iter();
        project.values(&*snapshot, &wanted, |_, value| {
            opened.extend(found.next().map(|found| (found.metadata.tag, value)));
            Ok::<_, VaultError>(())
        })?;

        Ok(opened)
    }
}

/// A secret with its value, for a request.
pub struct Sendable {
    /// The secret, with its destinations
    pub secret: Secret,
    /// Its value
    pub value: SecretValue,
}

impl Scope<'_> {
    /// Opens the values of all secrets that may be sent somewhere, sorted by tag key, all from one state
    /// of the vault. Restricted secrets are left out if a token has no key for them.
    pub fn sendable(&self) -> Result<Vec<Sendable>, VaultError> {
        let (snapshot, state) =
            self.vault.reading(|ahead| ahead.project(self.project, Extent::IfSmall))?;
        let Some(project) = state.named(&*snapshot, self.project)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        project.each(&*snapshot, |record| {
            if !record.metadata.destinations.is_empty() && project.may_use(&record) {
                found.push(record);
            }
        })?;

        found.sort_by_cached_key(|found| found.metadata.tag.key());
        with_values(&project, &*snapshot, found)
    }

    /// Opens the values of `tags` in their order, whether they may be sent or not. Tags that do not exist
    /// are left out.
    pub fn sendable_of(&self, tags: &[Tag]) -> Result<Vec<Sendable>, VaultError> {
        let (snapshot, state) = self.vault.reading(|ahead| {
            ahead.tags(self.project, tags);
            ahead.with_values();
        })?;
        let Some(project) = state.named(&*snapshot, self.project)? else { return Ok(Vec::new()) };
        let keys: Vec<TagKey> = tags.iter().map(Tag::key).collect();
        let mut found = Vec::new();
        project.by_tags(&*snapshot, &keys, true, |_, record| {
            found.extend(record);
            Ok(())
        })?;
        with_values(&project, &*snapshot, found)
    }
}

/// Opens the values of records.
fn with_values(
    project: &Project,
    snapshot: &dyn Snapshot,
    found: Vec<VerifiedRecord>,
) -> Result<Vec<Sendable>, VaultError> {
    let wanted: Vec<ValueRef> = found.iter().map(ValueRef::from).collect();
    let mut values: Vec<Option<SecretValue>> = found.iter().map(|_| None).collect();
    project.values(snapshot, &wanted, |number, value| {
        values[number] = Some(value);
        Ok::<_, VaultError>(())
    })?;

    let sendable = |(found, value): (VerifiedRecord, Option<SecretValue>)| {
        Some(Sendable { secret: project.secret(found), value: value? })
    };
    Ok(found.into_iter().zip(values).filter_map(sendable).collect())
}

impl Reveal for Scope<'_> {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let (snapshot, state) = self.vault.reading(|ahead| {
            ahead.tags(self.project, tags);
            ahead.with_values();
        })?;
        let Some(project) = state.named(&*snapshot, self.project)? else {
            return Ok(tags.iter().map(|_| Revealed::Missing { nearest: None }).collect());
        };

        // The tags are read once, for the first unknown tag. After many unknown tags, nobody reads
        // suggestions.
        let mut known: Option<Vec<Tag>> = None;
        let mut misses = 0;
        let mut missing = |tag: &Tag| {
            misses += 1;
            if misses > MAX_SUGGESTIONS {
                return Ok(Revealed::Missing { nearest: None });
            }

            let known = match &mut known {
                Some(known) => known,
                none => none.insert(all_tags(&project, &*snapshot)?),
            };

            Ok(Revealed::Missing { nearest: nearest_tag(known, tag) })
        };

        let answer = |(existing, tag)| match existing {
            Some((tag, value)) => Ok(Revealed::Value { tag, value }),
            None => missing(tag),
        };

        opened(&project, &*snapshot, tags)?.into_iter().zip(tags).map(answer).collect()
    }
}

/// Opens the values of `tags` in their order. Tags that do not exist give `None`.
fn opened(
    project: &Project,
    snapshot: &dyn Snapshot,
    tags: &[Tag],
) -> Result<Vec<Option<(Tag, SecretValue)>>, VaultError> {
    let keys: Vec<TagKey> = tags.iter().map(Tag::key).collect();
    let mut values: Vec<Option<(Tag, SecretValue)>> = tags.iter().map(|_| None).collect();
    let (mut wanted, mut found) = (Vec::new(), Vec::new());
    project.by_tags(snapshot, &keys, true, |at, record| {
        if let Some(record) = record {
            wanted.push(ValueRef::from(&record));
            found.push((at, record.metadata.tag));
        }

        Ok(())
    })?;

    project.values(snapshot, &wanted, |number, value| {
        let (at, tag) = &found[number];
        values[*at] = Some((tag.clone(), value));
        Ok::<_, VaultError>(())
    })?;

    Ok(values)
}

/// The number of secrets that are sorted and stored together, or fewer if their values exceed
/// `BATCH_BYTES`.
const BATCH: usize = 1 << 17;
const BATCH_BYTES: usize = 64 << 20;

/// Takes the next batch from an iterator.
fn next_batch(new: &mut impl Iterator<Item = NewSecret>) -> Vec<NewSecret> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Some(next) = new.next() else { break };
        bytes += next.value.expose().len();
        batch.push(next);
    }

    batch
}

/// Stores new secrets. Fails if one of the tags is taken.
fn store_batch(edit: &mut Edit<'_>, batch: &[NewSecret]) -> Result<(), VaultError> {
    let keys: Vec<TagKey> = batch.iter().map(|new| new.tag.key()).collect();
    let indexes = edit.expect(&keys)?;
    let mut tags: HashMap<&TagKey, &Tag> = HashMap::new();
    let mut drafts = Vec::with_capacity(batch.len());
    for (number, ((new, key), tag_ix)) in batch.iter().zip(&keys).zip(&indexes).enumerate() {
        let binding = ValueBinding::of_tag(&new.tag, new.class);
        drafts.push(Draft { number, record: draft(edit, tag_ix)?, binding });
        if let Some(other) = tags.insert(key, &new.tag) {
            return Err(VaultError::SameTarget(other.clone(), new.tag.clone()));
        }
    }

    let now = Timestamp::now();
    let value = |_: &dyn Snapshot, number: usize| Ok(&batch[number].value);
    edit.put_all(drafts, value, |number| batch[number].metadata(now), |_, _| {})
}

/// Begins a new secret at the index of its tag. Fails if the tag is taken.
fn draft(edit: &mut Edit<'_>, tag_ix: &[u8; 16]) -> Result<Record, VaultError> {
    match edit.find(tag_ix)? {
        Some(existing) => Err(VaultError::Exists(vec![existing])),
        None => edit.draft(*tag_ix),
    }
}

impl NewSecret {
    /// Returns a team secret with this tag and value, without any optional field.
    pub fn new(tag: Tag, value: SecretValue) -> Self {
        let (name, description, class) = (None, None, Class::Team);
        Self { tag, name, description, value, class, expires: None, source: None }
    }

    /// Returns the metadata of a secret that is created at the time `now`.
    pub(super) fn metadata(&self, now: Timestamp) -> Metadata {
        let mut metadata = Metadata {
            name: self.name.clone(),
            description: self.description.clone(),
            class: self.class,
            expires: self.expires,
            source: self.source.clone(),
            ..Metadata::new(self.tag.clone(), &self.value, now)
        };

        metadata.set_hint(self.value.hint());
        metadata
    }
}
