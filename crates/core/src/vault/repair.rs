//! Puts changes back that a server has lost, from what this machine has seen there.
//!
//! Nothing is signed again: the rows are those that were signed when the changes were made.

use std::rc::Rc;

use super::access::{LocalOwner, VaultAccess};
use super::checkpoints::Divergence;
use super::state::State;
use super::{Vault, VaultError};
use crate::crypto::history::{Relation, Revision};
use crate::crypto::ids::{DIRECTORY, ProjectId};
use crate::crypto::rows::tokens_hash;
use crate::model::ProjectName;
use crate::store::Snapshot;

/// A project whose changes were put back.
#[derive(Debug)]
pub struct Repaired {
    /// Its name; `None` for the list of projects
    pub project: Option<ProjectName>,
    /// The number of changes; for a project that the server no longer had, all of them
    pub changes: u64,
}

impl Vault {
    /// Puts changes back that the server has lost. Needs the root key.
    ///
    /// # Errors
    /// Fails with [`VaultError::Diverged`] if the server has other changes instead.
    pub fn repair(&self) -> Result<Vec<Repaired>, VaultError> {
        let owner: Rc<dyn VaultAccess> = Rc::new(LocalOwner::new(self.root_key()?.copy()?));
        let seen = Seen::read(&*self.store.cached()?, &owner)?;
        let mut lost = Lost::default();
        lost.find(&seen, &*self.store.read()?, &owner)?;
        if !lost.pids.is_empty() {
            self.store.put_back(&lost.pids, seen.has_grants)?;
        }

        Ok(lost.repaired)
    }
}

/// The parts of a vault that this machine has seen.
struct Seen {
    directory: Revision,
    /// The projects that it has opened
    projects: Vec<(ProjectId, ProjectName, Revision)>,
    /// It has seen the grants of all tokens
    has_grants: bool,
}

impl Seen {
    fn read(here: &dyn Snapshot, owner: &Rc<dyn VaultAccess>) -> Result<Self, VaultError> {
        let state = State::read(here, owner, None)?;
        let mut projects = Vec::new();
        for project in state.all(here)? {
            let (pid, name) = (project.entry.pid, project.entry.name.clone());
            if here.project(&pid)?.is_some() {
                let head = state.open(here, project)?.checkpoint().head;
                projects.push((pid, name, head));
            }
        }

        Ok(Self {
            directory: state.checkpoint(&state.directory).head,
            projects,
            has_grants: tokens_hash(&here.grants()?) == state.directory.policy,
        })
    }
}

/// The changes that a server has lost.
#[derive(Default)]
struct Lost {
    pids: Vec<ProjectId>,
    repaired: Vec<Repaired>,
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
        for (pid, name, revision) in &seen.projects {
            let present = match there.project(pid)? {
                Some(_) => Some(now.open(there, now.with_id(there, pid)?)?.checkpoint().head),
                None => None,
            };

            self.compare(pid, Some(name), revision, present.as_ref())?;
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
        self.repaired.push(Repaired { project: name.cloned(), changes });
        Ok(())
    }
}
