//! The operations on secrets: create, get, list, update, delete, and revealing values for use.

use std::collections::BTreeMap;

use super::edit::{Edit, target};
use super::projects::known;
use super::state::{Project, State, VerifiedRecord};
use super::{Reveal, Revealed, Vault, VaultError, WriteOutcome, nearest};
use crate::crypto::CryptoError;
use crate::crypto::ids::ProjectId;
use crate::model::{
    Description, Metadata, Name, ProjectName, Secret, SecretRef, SecretValue, Tag, Timestamp,
};
use crate::store::Snapshot;

/// A secret to be stored.
pub struct NewSecret {
    /// Its identifier
    pub tag: Tag,
    /// A label
    pub name: Option<Name>,
    /// Free text
    pub description: Option<Description>,
    /// What it protects
    pub value: SecretValue,
}

/// What `update` changes; `None` leaves a thing as it is, `Some(None)` clears it.
#[derive(Default)]
pub struct SecretChanges {
    /// The label
    pub name: Option<Option<Name>>,
    /// The free text
    pub description: Option<Option<Description>>,
    /// The value
    pub value: Option<SecretValue>,
}

/// Past this many secrets a miss offers no near one: it would open every name.
const SUGGEST_AMONG: u64 = 10_000;
/// Past this many misses of one reading no near one is offered any more.
const MOST_SUGGESTIONS: usize = 100;

/// Projects that are searched for a tag that the current one does not have.
const MOST_PROJECTS_SEARCHED: usize = 1000;
/// Projects that are named for it.
const MOST_PROJECTS_NAMED: usize = 3;

impl Vault {
    /// Stores a new secret; the project comes to be with its first one.
    pub fn create(
        &self,
        project: &ProjectName,
        new: NewSecret,
    ) -> Result<WriteOutcome<Secret>, VaultError> {
        let written = self.create_all(project, [new])?;

        // One went in, so one comes out.
        let secret =
            written.value.into_iter().next().ok_or(CryptoError::Damaged("a new secret"))?;
        Ok(WriteOutcome { value: secret, compaction_due: written.compaction_due })
    }

    /// Stores new secrets in one transaction: all of them, or none where one's tag is taken.
    pub fn create_all(
        &self,
        project: &ProjectName,
        new: impl IntoIterator<Item = NewSecret>,
    ) -> Result<WriteOutcome<Vec<Secret>>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let mut new_project = None;
        let target = target(&state, &*self.root, &mut *transaction, project, &mut new_project)?;
        let now = Timestamp::now();
        let mut edit = Edit::new(target);
        let mut secrets = Vec::new();

        for NewSecret { tag, name, description, value } in new {
            if let Some(existing) = edit.find(&*transaction, &tag.key())? {
                return Err(VaultError::Exists(vec![existing]));
            }

            let metadata =
                Metadata { tag, name, description, hint: value.hint(), created: now, updated: now };
            secrets.push(edit.add(&mut *transaction, metadata, &value)?);
        }

        edit.sign(&mut *transaction)?;
        Ok(WriteOutcome::new(secrets, self.commit(transaction)?))
    }

    /// One secret's metadata.
    pub fn get(&self, project: &ProjectName, wanted: &SecretRef) -> Result<Secret, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let (project, found) = find(&state, &*snapshot, project, wanted)?;
        Ok(project.secret(found))
    }

    /// The secret of a tag, where there is one.
    pub fn find(&self, project: &ProjectName, tag: &Tag) -> Result<Option<Secret>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let Some(project) = state.named(&*snapshot, project)? else {
            return Ok(None);
        };

        Ok(project.by_tag(&*snapshot, &tag.key())?.map(|found| project.secret(found)))
    }

    /// Returns up to three projects that have a secret of this tag, sorted by name. Looks into at most 1,000.
    pub fn projects_with(&self, tag: &Tag) -> Result<Vec<ProjectName>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let mut places: Vec<usize> = (0..state.keyrings.len()).collect();
        places.sort_by_key(|at| &state.keyrings[*at].name);

        let mut names = Vec::new();
        for at in places.into_iter().take(MOST_PROJECTS_SEARCHED) {
            if state.project(&*snapshot, at)?.by_tag(&*snapshot, &tag.key())?.is_some() {
                names.push(state.keyrings[at].name.clone());
            }

            if names.len() == MOST_PROJECTS_NAMED {
                break;
            }
        }

        Ok(names)
    }

    /// The secrets of one project, or of all, that `keep` keeps; sorted by project, then by tag key. An unknown
    /// project has none.
    pub fn list(
        &self,
        project: Option<&ProjectName>,
        keep: impl Fn(&Metadata) -> bool,
    ) -> Result<Vec<Secret>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let wanted = |at: &usize| project.is_none_or(|name| *name == state.keyrings[*at].name);
        let mut places: Vec<usize> = (0..state.keyrings.len()).filter(wanted).collect();

        places.sort_by_key(|at| &state.keyrings[*at].name);
        let mut secrets = Vec::new();
        for at in places {
            let project = state.project(&*snapshot, at)?;
            let first = secrets.len();
            project.each(&*snapshot, |found| {
                if keep(&found.metadata) {
                    secrets.push(project.secret(found));
                }
            })?;

            secrets[first..].sort_by_cached_key(|secret| secret.metadata.tag.key());
        }

        Ok(secrets)
    }

    /// Changes what `changes` names and nothing else. With `seen`, the version that was read before: where somebody
    /// else has changed the secret since, nothing is written.
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

    /// Deletes all that are named, or none.
    pub fn delete(
        &self,
        project: &ProjectName,
        wanted: &[SecretRef],
    ) -> Result<WriteOutcome<Vec<Secret>>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;

        // All are found before the first is removed: a bucket is verified as it was signed.
        let mut edits: BTreeMap<ProjectId, Edit<'_>> = BTreeMap::new();
        let mut doomed: Vec<(ProjectId, VerifiedRecord)> = Vec::new();
        for wanted in wanted {
            let (project, found) = find(&state, &*transaction, project, wanted)?;
            if doomed.iter().all(|(_, other)| other.record.rid != found.record.rid) {
                doomed.push((project.row.pid, found));
                edits.entry(project.row.pid).or_insert_with(|| Edit::new(project));
            }
        }

        let mut deleted = Vec::new();
        for (pid, found) in doomed {
            if let Some(edit) = edits.get_mut(&pid) {
                deleted.push(edit.remove(&mut *transaction, found)?);
            }
        }

        for edit in edits.into_values() {
            edit.sign(&mut *transaction)?;
        }

        Ok(WriteOutcome::new(deleted, self.commit(transaction)?))
    }

    /// A project's values, for use.
    pub fn scope<'a>(&'a self, project: &'a ProjectName) -> Scope<'a> {
        Scope { vault: self, project }
    }
}

/// Finds a secret by tag in `project`, by id in any.
pub(super) fn find<'s>(
    state: &'s State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &SecretRef,
) -> Result<(Project<'s>, VerifiedRecord), VaultError> {
    let missing = |nearest| VaultError::NoSecret {
        wanted: wanted.clone(),
        project: project.clone(),
        nearest,
    };

    match wanted {
        SecretRef::Id(id) => {
            let (at, found) = state.by_id(snapshot, id.0)?.ok_or_else(|| missing(None))?;
            Ok((state.project(snapshot, at)?, found))
        }
        SecretRef::Tag(tag) => {
            let project = state.named(snapshot, project)?.ok_or_else(|| missing(None))?;
            match project.by_tag(snapshot, &tag.key())? {
                Some(found) => Ok((project, found)),
                None => Err(missing(near_tag(&project, snapshot, tag)?)),
            }
        }
    }
}

fn near_tag(
    project: &Project<'_>,
    snapshot: &dyn Snapshot,
    wanted: &Tag,
) -> Result<Option<Tag>, VaultError> {
    Ok(near_among(&all_tags(project, snapshot)?, wanted))
}

/// Every tag of a project; none of one that is too large to suggest from.
fn all_tags(project: &Project<'_>, snapshot: &dyn Snapshot) -> Result<Vec<Tag>, VaultError> {
    let mut tags = Vec::new();
    if project.head.count <= SUGGEST_AMONG {
        project.each(snapshot, |found| tags.push(found.metadata.tag))?;
    }

    Ok(tags)
}

fn near_among(tags: &[Tag], wanted: &Tag) -> Option<Tag> {
    nearest(wanted.key().as_str(), tags.iter(), |tag| tag.key().as_str().to_owned()).cloned()
}

/// One project of an unlocked vault: where values come from.
pub struct Scope<'a> {
    vault: &'a Vault,
    project: &'a ProjectName,
}

impl Scope<'_> {
    /// Opens every value, sorted by tag key, all from one state of the vault. An unknown project is an error:
    /// whoever takes all would go on with nothing.
    pub fn reveal_all(&self) -> Result<Vec<(Tag, SecretValue)>, VaultError> {
        let snapshot = self.vault.store.read()?;
        let state = self.vault.state(&*snapshot)?;
        let project = state.project(&*snapshot, known(&state, self.project)?)?;

        // First the records, all verified; then the values, which are read by other statements.
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

        // Read once, for the first miss; past a few, nobody looks at suggestions.
        let mut known: Option<Vec<Tag>> = None;
        let mut misses = 0;
        let reveal = |tag: &Tag| {
            if let Some(found) = project.by_tag(&*snapshot, &tag.key())? {
                let value = project.value(&*snapshot, &found.record)?;
                return Ok(Revealed::Value { tag: found.metadata.tag, value });
            }

            misses += 1;
            if misses > MOST_SUGGESTIONS {
                return Ok(Revealed::Missing { nearest: None });
            }

            let known = match &mut known {
                Some(known) => known,
                none => none.insert(all_tags(&project, &*snapshot)?),
            };

            Ok(Revealed::Missing { nearest: near_among(known, tag) })
        };

        tags.iter().map(reveal).collect()
    }
}
