//! Finds secrets by tag or id, one or many, and suggests a tag for one that does not exist.

use std::collections::BTreeMap;

use super::state::{Project, State, VerifiedRecord};
use super::{VaultError, nearest};
use crate::model::{ProjectName, SecretRef, Tag};
use crate::store::Snapshot;

/// Projects with more secrets than this get no suggestions, because a suggestion opens the metadata
/// of every secret.
const SUGGEST_AMONG: u64 = 10_000;

/// Secrets that were looked up together.
pub(super) struct FoundAll<'s> {
    /// Their projects by position in the state; each was opened once
    pub(super) projects: BTreeMap<usize, Project<'s>>,
    /// The secrets in the requested order, each with the position of its project
    pub(super) secrets: Vec<(usize, VerifiedRecord)>,
}

/// Finds secrets by tag in `project`, or by id in any project. Opens each project once and reads
/// each bucket once. Fails for the first secret that does not exist.
pub(super) fn find_all<'s>(
    state: &'s State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &[SecretRef],
) -> Result<FoundAll<'s>, VaultError> {
    let mut by_project: BTreeMap<usize, Vec<([u8; 16], usize)>> = BTreeMap::new();
    for (number, wanted) in wanted.iter().enumerate() {
        if let Some((at, tag_ix)) = look_up(state, snapshot, project, wanted)? {
            by_project.entry(at).or_default().push((tag_ix, number));
        }
    }

    let mut projects = BTreeMap::new();
    let mut found: Vec<Option<(usize, VerifiedRecord)>> = vec![None; wanted.len()];
    for (at, indexes) in by_project {
        let project = state.project(snapshot, at)?;
        project.by_indexes(snapshot, indexes, |number, record| {
            found[number] = checked(&project, record, &wanted[number])?.map(|record| (at, record));
            Ok(())
        })?;

        projects.insert(at, project);
    }

    let mut secrets = Vec::with_capacity(wanted.len());
    for (found, wanted) in found.into_iter().zip(wanted) {
        match found {
            Some(found) => secrets.push(found),
            None => return Err(not_found(state, snapshot, project, wanted)?),
        }
    }

    Ok(FoundAll { projects, secrets })
}

/// Finds one secret.
pub(super) fn find<'s>(
    state: &'s State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &SecretRef,
) -> Result<(Project<'s>, VerifiedRecord), VaultError> {
    let mut all = find_all(state, snapshot, project, std::slice::from_ref(wanted))?;
    match (all.projects.pop_first(), all.secrets.pop()) {
        (Some((_, project)), Some((_, found))) => Ok((project, found)),
        _ => Err(not_found(state, snapshot, project, wanted)?),
    }
}

/// Returns the position of a secret's project and the secret's index, if it exists.
fn look_up(
    state: &State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &SecretRef,
) -> Result<Option<(usize, [u8; 16])>, VaultError> {
    match wanted {
        SecretRef::Id(id) => state.locate(snapshot, id.0),
        SecretRef::Tag(tag) => {
            Ok(state.position(project).map(|at| (at, state.keyrings[at].tag_ix(&tag.key()))))
        }
    }
}

/// Checks that the record found at the index of `wanted` is that secret.
fn checked(
    project: &Project<'_>,
    found: Option<VerifiedRecord>,
    wanted: &SecretRef,
) -> Result<Option<VerifiedRecord>, VaultError> {
    match (wanted, found) {
        (SecretRef::Tag(tag), found) => project.of_tag(found, &tag.key()),
        (SecretRef::Id(id), Some(found)) if found.record.rid == id.0 => Ok(Some(found)),
        // The index of ids points to another record or to none.
        (SecretRef::Id(_), _) => Err(project.damaged("a bucket")),
    }
}

/// Returns the error for a secret that does not exist, with the nearest tag. Proves first that no
/// project has the id.
fn not_found(
    state: &State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &SecretRef,
) -> Result<VaultError, VaultError> {
    let nearest = match wanted {
        SecretRef::Id(id) => {
            state.check_absent(snapshot, id.0)?;
            None
        }
        SecretRef::Tag(tag) => match state.named(snapshot, project)? {
            Some(project) => nearest_tag(&all_tags(&project, snapshot)?, tag),
            None => None,
        },
    };

    Ok(VaultError::NoSecret { wanted: wanted.clone(), project: project.clone(), nearest })
}

/// Returns every tag of a project, or none if it is too large to suggest from.
pub(super) fn all_tags(
    project: &Project<'_>,
    snapshot: &dyn Snapshot,
) -> Result<Vec<Tag>, VaultError> {
    let mut tags = Vec::new();
    if project.head.count <= SUGGEST_AMONG {
        project.each(snapshot, |found| tags.push(found.metadata.tag))?;
    }

    Ok(tags)
}

/// Returns the tag that was probably meant by `wanted`.
pub(super) fn nearest_tag(tags: &[Tag], wanted: &Tag) -> Option<Tag> {
    nearest(wanted.key().as_str(), tags.iter(), |tag| tag.key().as_str().to_owned()).cloned()
}
