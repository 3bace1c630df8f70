//! Finds secrets by tag or id, one or many, and suggests a tag for one that does not exist.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::access::OpenedProject;
use super::project::{Project, VerifiedRecord};
use super::state::State;
use super::{VaultError, nearest};
use crate::crypto::ids::ProjectId;
use crate::crypto::project_entry::ProjectEntry;
use crate::model::{ProjectName, SecretRef, Tag, TagKey};
use crate::store::Snapshot;

/// Projects with more secrets than this get no suggestions, because a suggestion opens the metadata
/// of every secret.
const SUGGEST_AMONG: u64 = 10_000;

/// The secrets of one project that were looked up together.
pub(super) struct FoundIn {
    pub(super) project: Project,
    /// The secrets, each with its position in the request, by which they are sorted
    pub(super) secrets: Vec<(usize, VerifiedRecord)>,
}

/// Where a wanted record is looked up.
enum Place {
    Index([u8; 16]),
    Tag(TagKey),
}

/// The places of wanted records, each with its position in the request.
type Wanted = Vec<(Place, usize)>;

/// Finds secrets by tag in `project`, or by id in any project. Opens each project once and reads
/// each bucket once. Fails for the first secret that does not exist. With `values`, the caller will
/// also read their values.
pub(super) fn find_all(
    state: &State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &[SecretRef],
    values: bool,
) -> Result<Vec<FoundIn>, VaultError> {
    find_all_in(state, snapshot, (project, OnceCell::new()), wanted, values)
}

/// Does the same as [`find_all`] with a project that may have been found before.
pub(super) fn find_all_in(
    state: &State,
    snapshot: &dyn Snapshot,
    (project, current): (&ProjectName, OnceCell<Option<OpenedProject>>),
    wanted: &[SecretRef],
    values: bool,
) -> Result<Vec<FoundIn>, VaultError> {
    let mut missing: Vec<usize> = Vec::new();
    let mut elsewhere = Vec::new();
    let mut by_project: BTreeMap<ProjectId, (OpenedProject, Wanted)> = BTreeMap::new();
    for (number, wanted) in wanted.iter().enumerate() {
        let found = match wanted {
            SecretRef::Id(id) => match state.locate(snapshot, id.0)? {
                Some((pid, tag_ix)) => {
                    // Each project is opened once, however many of its secrets are wanted.
                    let (of, _) = match by_project.entry(pid) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => {
                            new.insert((state.with_id(snapshot, &pid)?, Wanted::new()))
                        }
                    };
                    if may_be_taken(&of.entry, project) {
                        elsewhere.push((Some(pid), id.0));
                    }

                    Some((pid, Place::Index(tag_ix)))
                }
                None => None,
            },
            SecretRef::Tag(tag) => {
                let found = match current.get() {
                    Some(found) => found,
                    None => {
                        let found = state.find(snapshot, project)?;
                        current.get_or_init(|| found)
                    }
                };

                found.as_ref().map(|found| {
                    let pid = found.entry.pid;
                    by_project.entry(pid).or_insert_with(|| (found.clone(), Wanted::new()));
                    (pid, Place::Tag(tag.key()))
                })
            }
        };

        match found.and_then(|(pid, place)| Some((by_project.get_mut(&pid)?, place))) {
            Some(((_, places), place)) => places.push((place, number)),
            None => missing.push(number),
        }
    }

    state.check_absent_but(snapshot, &elsewhere)?;
    let mut found = Vec::with_capacity(by_project.len());
    for (project, places) in by_project.into_values() {
        let project = state.open(snapshot, project)?;
        let mut indexes = Vec::with_capacity(places.len());
        for (place, number) in places {
            match project.index_at(snapshot, &place)? {
                Some(index) => indexes.push((index, number)),
                None => missing.push(number),
            }
        }

        let mut secrets = Vec::with_capacity(indexes.len());
        project.by_indexes(snapshot, indexes, values, |number, record| {
            match checked(&project, record, &wanted[number])? {
                Some(record) => secrets.push((number, record)),
                None => missing.push(number),
            }

            Ok(())
        })?;

        secrets.sort_unstable_by_key(|(number, _)| *number);
        found.push(FoundIn { project, secrets });
    }

    match missing.into_iter().min() {
        Some(first) => Err(not_found(state, snapshot, project, &wanted[first])?),
        None => Ok(found),
    }
}

/// Returns what was collected for the positions of a request, in their order.
pub(super) fn in_order<T>(mut numbered: Vec<(usize, T)>) -> Vec<T> {
    numbered.sort_unstable_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, one)| one).collect()
}

pub(super) fn find(
    state: &State,
    snapshot: &dyn Snapshot,
    project: &ProjectName,
    wanted: &SecretRef,
) -> Result<(Project, VerifiedRecord), VaultError> {
    let found = match wanted {
        SecretRef::Id(id) => match state.locate(snapshot, id.0)? {
            Some((pid, index)) => {
                let found = state.with_id(snapshot, &pid)?;
                if may_be_taken(&found.entry, project) {
                    state.check_absent_but(snapshot, &[(Some(pid), id.0)])?;
                }

                Some((found, Place::Index(index)))
            }
            None => None,
        },
        SecretRef::Tag(tag) => {
            state.find(snapshot, project)?.map(|found| (found, Place::Tag(tag.key())))
        }
    };

    if let Some((found, place)) = found {
        let project = state.open(snapshot, found)?;
        if let Some(index) = project.index_at(snapshot, &place)? {
            let found = project.by_index(snapshot, &index)?;
            if let Some(found) = checked(&project, found, wanted)? {
                return Ok((project, found));
            }
        }
    }

    Err(not_found(state, snapshot, project, wanted)?)
}

impl Project {
    fn index_at(
        &self,
        snapshot: &dyn Snapshot,
        place: &Place,
    ) -> Result<Option<[u8; 16]>, VaultError> {
        match place {
            Place::Index(index) => Ok(Some(*index)),
            Place::Tag(key) => self.index_of(snapshot, key),
        }
    }
}

/// Returns true for an id that was found in another project than the command's, if tokens may or
/// could sign for that project. The holder of such a token can store a record there under the id of
/// another project's secret and remove that one's row.
fn may_be_taken(found: &ProjectEntry, current: &ProjectName) -> bool {
    found.policy.version > 0 && found.name != *current
}

/// Checks that the record found at the index of `wanted` is that secret.
fn checked(
    project: &Project,
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
pub(super) fn all_tags(project: &Project, snapshot: &dyn Snapshot) -> Result<Vec<Tag>, VaultError> {
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
