//! Puts changes back that a server has lost, from what this machine has seen there.
//!
//! Nothing is signed again: the rows are those that were signed when the changes were made.

use std::rc::Rc;

use super::access::{LocalOwner, VaultAccess};
use super::checkpoints::Divergence;
use super::state::State;
use super::{Vault, VaultError};
use crate::crypto::head::Head;
use crate::crypto::history::{Relation, Revision};
use crate::crypto::ids::{DIRECTORY, ProjectId, record_of};
use crate::crypto::rows::{ProjectRow, tokens_hash};
use crate::model::ProjectName;
use crate::store::remote::ServerError;
use crate::store::{Snapshot, StoreError};

/// A project whose changes the server has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostChanges {
    /// Its name; `None` for the list of projects
    pub project: Option<ProjectName>,
    /// The number of changes; for a project that the server no longer had, all of them
    pub changes: u64,
}

/// The result of a repair.
#[derive(Debug, Default)]
pub struct Repair {
    /// The projects whose changes were put back
    pub repaired: Vec<LostChanges>,
    /// The projects of which this machine has not seen everything that the server has lost
    pub incomplete: Vec<LostChanges>,
    /// The projects that could be put back, but wait for the incomplete ones: the server has also lost
    /// the list of projects, which is put back with all of them or not at all
    pub waits: Vec<LostChanges>,
}

impl Vault {
    /// Puts changes back that the server has lost. Needs the root key.
    ///
    /// # Errors
    /// Fails with [`VaultError::Diverged`] if the server has other changes instead.
    pub fn repair(&self) -> Result<Repair, VaultError> {
        let owner: Rc<dyn VaultAccess> = Rc::new(LocalOwner::new(self.root_key()?.copy()?));
        let (here, pids) = self.store.cached()?;
        let seen = Seen::read(&*here, &pids, &owner)?;
        drop(here);
        let mut lost = Lost::default();
        lost.find(&seen, &*self.store.read()?, &owner)?;

        let mut repair = Repair::default();
        if lost.pids.is_empty() {
            return Ok(repair);
        }

        let left_out = self.store.put_back(&lost.pids, seen.has_grants)?;
        let is_waiting = lost.pids.contains(&DIRECTORY) && !left_out.is_empty();
        for (pid, changes) in lost.pids.iter().zip(lost.changes) {
            let to = match (left_out.contains(pid), is_waiting) {
                (true, _) => &mut repair.incomplete,
                (false, true) => &mut repair.waits,
                (false, false) => &mut repair.repaired,
            };
            to.push(changes);
        }

        // The projects come in the order of their random ids.
        for lost in [&mut repair.repaired, &mut repair.incomplete, &mut repair.waits] {
            lost.sort_by(|one, other| one.project.cmp(&other.project));
        }

        Ok(repair)
    }
}

/// The parts of a vault that this machine has seen.
struct Seen {
    directory: Revision,
    projects: Vec<SeenProject>,
    /// It has seen the grants of all tokens
    has_grants: bool,
}

/// A project whose head this machine has seen.
struct SeenProject {
    row: ProjectRow,
    /// Its name and its head. `None` if this machine has not seen its present entry in the directory
    opened: Option<(ProjectName, Revision)>,
}

impl Seen {
    fn read(
        here: &dyn Snapshot,
        pids: &[ProjectId],
        owner: &Rc<dyn VaultAccess>,
    ) -> Result<Self, VaultError> {
        let state = State::read(here, owner, None)?;
        let mut projects = Vec::new();
        for pid in pids.iter().filter(|pid| **pid != DIRECTORY) {
            let Some(row) = here.project(pid)? else { continue };
            let opened = match state.with_id(here, pid) {
                Ok(project) => {
                    let name = project.entry.name.clone();
                    Some((name, state.open(here, project)?.checkpoint().head))
                }
                Err(VaultError::Store(StoreError::Server(ServerError::NotCached(_)))) => None,
                Err(error) => return Err(error),
            };
            projects.push(SeenProject { row, opened });
        }

        Ok(Self {
            directory: state.checkpoint(&state.directory).head,
            projects,
            has_grants: tokens_hash(&here.grants()?) == state.directory.policy,
        })
    }
}

/// The changes that a server has lost: the projects, and how many in each.
#[derive(Default)]
struct Lost {
    pids: Vec<ProjectId>,
    changes: Vec<LostChanges>,
}

impl Lost {
    /// Compares what was seen with what the server has.
    fn find(
        &mut self,
        seen: &Seen,
        there: &dyn Snapshot,
        owner: &Rc<dyn VaultAccess>,
    ) -> Result<(), VaultError> {
        let now = State::read(there, owner, None)?;
        let directory = now.checkpoint(&now.directory).head;
        self.compare(&DIRECTORY, None, &seen.directory, Some(&directory))?;
        let has_lost_directory = !self.pids.is_empty();
        for SeenProject { row, opened } in &seen.projects {
            let pid = &row.pid;
            let entry = match there.locate(&record_of(pid))? {
                Some(_) => Some(now.with_id(there, pid)?),
                None if has_lost_directory => None,
                // It was deleted.
                None => continue,
            };
            let seen = match (opened, &entry) {
                (Some(opened), _) => opened.clone(),
                (None, Some(entry)) => {
                    let key = entry.keys.head_key(pid);
                    let Ok(head) = Head::open(&key, now.vault_id(), row) else { continue };
                    (entry.entry.name.clone(), head.revision(now.vault_id(), pid, row.epoch))
                }
                (None, None) => continue,
            };
            let present = match (there.project(pid)?, entry) {
                (Some(_), Some(entry)) => Some(now.open(there, entry)?.checkpoint().head),
                _ => None,
            };

            self.compare(pid, Some(&seen.0), &seen.1, present.as_ref())?;
        }

        Ok(())
    }

    fn compare(
        &mut self,
        pid: &ProjectId,
        name: Option<&ProjectName>,
        seen: &Revision,
        now: Option<&Revision>,
    ) -> Result<(), VaultError> {
        let changes = match now.map(|now| (now.compare(seen), now.seq)) {
            None => seen.seq,
            Some((Relation::Equal | Relation::Ahead, _)) => return Ok(()),
            Some((Relation::Behind(changes), _)) => changes,
            Some((Relation::Diverged, _)) => {
                let projects = name.map(|name| (name.clone(), Relation::Diverged));
                let vault = Some(name.map_or(Relation::Diverged, |_| Relation::Equal));
                let projects = projects.into_iter().collect();
                return Err(Divergence { vault, projects, is_remote: true }.into());
            }
        };

        self.pids.push(*pid);
        self.changes.push(LostChanges { project: name.cloned(), changes });
        Ok(())
    }
}
