//! The operations on secrets: create, get, list, update, delete, and revealing values for use.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::edit::{Edit, open_or_create};
use super::find::{FoundAll, all_tags, find, find_all, nearest_tag};
use super::projects::require_project;
use super::state::{Project, VerifiedRecord};
use super::{Reveal, Revealed, Vault, VaultError, WriteOutcome};
use crate::crypto::CryptoError;
use crate::model::{
    Description, Metadata, Name, ProjectName, Secret, SecretRef, SecretValue, Tag, TagKey,
    Timestamp,
};
use crate::store::{Snapshot, Transaction};

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
}

/// The changes of an `update`. `None` keeps a field, `Some(None)` clears it.
#[derive(Default)]
pub struct SecretChanges {
    /// The label
    pub name: Option<Option<Name>>,
    /// The free text
    pub description: Option<Option<Description>>,
    /// The value
    pub value: Option<SecretValue>,
}

/// After this many unknown tags in one reading, no more suggestions are made.
const MAX_SUGGESTIONS: usize = 100;

/// The number of projects that are searched for a tag that the current project does not have.
const MAX_PROJECTS_SEARCHED: usize = 1000;
/// The number of projects that are named as having it.
const MAX_PROJECTS_NAMED: usize = 3;

impl Vault {
    /// Stores a new secret. The first secret creates the project.
    pub fn create(
        &self,
        project: &ProjectName,
        new: NewSecret,
    ) -> Result<WriteOutcome<Secret>, VaultError> {
        let mut secret = None;
        let written = self.store_new(project, [new], |stored| secret = Some(stored))?;

        // One secret was passed in, so one was stored.
        let value = secret.ok_or(CryptoError::Damaged("a new secret"))?;
        Ok(WriteOutcome { value, compaction_due: written.compaction_due })
    }

    /// Stores new secrets in one transaction. If one of the tags is taken, none is stored. Returns
    /// their number.
    pub fn create_all(
        &self,
        project: &ProjectName,
        new: impl IntoIterator<Item = NewSecret>,
    ) -> Result<WriteOutcome<u64>, VaultError> {
        let mut count = 0;
        let written = self.store_new(project, new, |_| count += 1)?;
        Ok(WriteOutcome { value: count, compaction_due: written.compaction_due })
    }

    fn store_new(
        &self,
        project: &ProjectName,
        new: impl IntoIterator<Item = NewSecret>,
        mut take: impl FnMut(Secret),
    ) -> Result<WriteOutcome<()>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let mut new_project = None;
        let target =
            open_or_create(&state, &*self.root, &mut *transaction, project, &mut new_project)?;
        let mut edit = Edit::new(target);

        let mut new = new.into_iter();
        loop {
            let batch = next_batch(&mut new);
            if batch.is_empty() {
                break;
            }

            store_batch(&mut edit, &mut *transaction, &batch, &mut take)?;
        }

        edit.sign(&mut *transaction)?;
        Ok(WriteOutcome::new((), self.commit(transaction)?))
    }

    /// Returns one secret's metadata.
    pub fn get(&self, project: &ProjectName, wanted: &SecretRef) -> Result<Secret, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
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
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let FoundAll { projects, secrets } = find_all(&state, &*snapshot, project, wanted)?;

        Ok(secrets
            .into_iter()
            .filter_map(|(at, found)| Some(projects.get(&at)?.secret(found)))
            .collect())
    }

    /// Returns the secret with this tag, if it exists.
    pub fn find(&self, project: &ProjectName, tag: &Tag) -> Result<Option<Secret>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let Some(project) = state.named(&*snapshot, project)? else {
            return Ok(None);
        };

        Ok(project.by_tag(&*snapshot, &tag.key())?.map(|found| project.secret(found)))
    }

    /// Returns up to three projects that have a secret with this tag, sorted by name. Searches at
    /// most 1,000 projects.
    pub fn projects_with(&self, tag: &Tag) -> Result<Vec<ProjectName>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let mut positions: Vec<usize> = (0..state.keyrings.len()).collect();
        positions.sort_by_key(|at| &state.keyrings[*at].name);

        let mut names = Vec::new();
        for at in positions.into_iter().take(MAX_PROJECTS_SEARCHED) {
            if state.project(&*snapshot, at)?.by_tag(&*snapshot, &tag.key())?.is_some() {
                names.push(state.keyrings[at].name.clone());
            }

            if names.len() == MAX_PROJECTS_NAMED {
                break;
            }
        }

        Ok(names)
    }

    /// Applies `changes` to a secret. `seen` is the version that the caller has read: if another
    /// process has changed the secret since, nothing is written.
    pub fn update(
        &self,
        project: &ProjectName,
        wanted: &SecretRef,
        seen: Option<u64>,
        changes: SecretChanges,
    ) -> Result<WriteOutcome<Secret>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let (project, mut found) = find(&state, &*transaction, project, wanted)?;
        if seen.is_some_and(|version| version != found.record.ver) {
            return Err(VaultError::Changed(found.metadata.tag));
        }

        if let Some(name) = changes.name {
            found.metadata.name = name;
        }

        if let Some(description) = changes.description {
            found.metadata.description = description;
        }

        if let Some(value) = &changes.value {
            found.metadata.hint = value.hint();
        }

        found.metadata.updated = Timestamp::now();
        let mut edit = Edit::new(project);
        let secret = edit.put(&mut *transaction, found, changes.value.as_ref())?;
        edit.sign(&mut *transaction)?;

        Ok(WriteOutcome::new(secret, self.commit(transaction)?))
    }

    /// Deletes all of `wanted`, or none.
    pub fn delete(
        &self,
        project: &ProjectName,
        wanted: &[SecretRef],
    ) -> Result<WriteOutcome<Vec<Secret>>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;

        // All secrets are found before the first one is removed, because a bucket is verified in
        // the state that was signed.
        let FoundAll { projects, secrets } = find_all(&state, &*transaction, project, wanted)?;
        let mut edits: BTreeMap<usize, Edit<'_>> =
            projects.into_iter().map(|(at, project)| (at, Edit::new(project))).collect();

        // A secret may be named twice, by its tag and by its id.
        let mut seen = HashSet::new();
        let mut deleted = Vec::new();
        for (at, found) in secrets {
            if let Some(edit) = edits.get_mut(&at).filter(|_| seen.insert(found.record.rid)) {
                deleted.push(edit.remove(&mut *transaction, found)?);
            }
        }

        for edit in edits.into_values() {
            edit.sign(&mut *transaction)?;
        }

        Ok(WriteOutcome::new(deleted, self.commit(transaction)?))
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
        let snapshot = self.vault.store.read()?;
        let state = self.vault.state(&*snapshot)?;
        match state.named(&*snapshot, self.project)? {
            Some(project) => opened(&project, &*snapshot, tags),
            None => Ok(tags.iter().map(|_| None).collect()),
        }
    }

    /// Opens every value, sorted by tag key, all from one state of the vault. An unknown project is
    /// an error, because a program that asks for everything would otherwise run with nothing.
    pub fn reveal_all(&self) -> Result<Vec<(Tag, SecretValue)>, VaultError> {
        let snapshot = self.vault.store.read()?;
        let state = self.vault.state(&*snapshot)?;
        let project = state.project(&*snapshot, require_project(&state, self.project)?)?;

        // All records are read and verified first. Values are read by other statements afterwards.
        let mut found = Vec::new();
        project.each(&*snapshot, |record| found.push(record))?;
        found.sort_by_cached_key(|found| found.metadata.tag.key());
        let open = |found: VerifiedRecord| {
            Ok((found.metadata.tag, project.value(&*snapshot, &found.record)?))
        };

        found.into_iter().map(open).collect()
    }
}

impl Reveal for Scope<'_> {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let snapshot = self.vault.store.read()?;
        let state = self.vault.state(&*snapshot)?;
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
    project: &Project<'_>,
    snapshot: &dyn Snapshot,
    tags: &[Tag],
) -> Result<Vec<Option<(Tag, SecretValue)>>, VaultError> {
    let keys: Vec<TagKey> = tags.iter().map(Tag::key).collect();
    let mut values: Vec<Option<(Tag, SecretValue)>> = tags.iter().map(|_| None).collect();
    project.by_tags(snapshot, &keys, |at, found| {
        if let Some(found) = found {
            let value = project.value(snapshot, &found.record)?;
            values[at] = Some((found.metadata.tag, value));
        }

        Ok(())
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
fn store_batch(
    edit: &mut Edit<'_>,
    transaction: &mut dyn Transaction,
    batch: &[NewSecret],
    take: &mut impl FnMut(Secret),
) -> Result<(), VaultError> {
    let mut tags: HashMap<TagKey, &Tag> = HashMap::new();
    let mut drafts = Vec::with_capacity(batch.len());
    for (number, NewSecret { tag, .. }) in batch.iter().enumerate() {
        if let Some(existing) = edit.find(transaction, &tag.key())? {
            return Err(VaultError::Exists(vec![existing]));
        }

        if let Some(other) = tags.insert(tag.key(), tag) {
            return Err(VaultError::SameTarget(other.clone(), tag.clone()));
        }

        drafts.push((number, edit.draft(transaction, &tag.key())?));
    }

    let now = Timestamp::now();
    let value = |_: &dyn Snapshot, number: usize| Ok(&batch[number].value);
    let metadata = |number: usize| {
        let NewSecret { tag, name, description, value } = &batch[number];
        let (tag, name, description) = (tag.clone(), name.clone(), description.clone());
        Metadata { tag, name, description, hint: value.hint(), created: now, updated: now }
    };

    edit.put_all(transaction, drafts, value, metadata, |_, secret| take(secret))
}
