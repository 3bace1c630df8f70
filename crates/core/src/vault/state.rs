//! Reads a vault from one snapshot, and uses nothing that is not verified (docs/format.md, section
//! 5).

use std::rc::Rc;
use std::time::Duration;

use super::VaultError;
use super::access::{OpenedDirectory, OpenedProject, VaultAccess};
use super::ahead::KnownProjects;
use super::audit_log::AuditLog;
use super::checkpoints::{Checkpoints, Seen};
use super::directory::{DIRECTORY_NAME, Directory, nearest_name};
use super::project::Project;
use super::token_access::OpenGrant;
use crate::crypto::CryptoError;
use crate::crypto::checkpoint::Checkpoint;
use crate::crypto::grant::GrantedKeys;
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId, SUITE, VaultId, record_of};
use crate::crypto::project_entry::PolicyId;
use crate::crypto::rows::{Record, Slot, VaultRow, slots_hash};
use crate::crypto::signing::PublicKey;
use crate::crypto::tree::{self, Leaf};
use crate::model::{ProjectName, Timestamp};
use crate::store::{Extent, MAX_PROJECTS, Snapshot, Want};

/// The name of the table of slots in messages.
pub(super) const SLOTS: &str = "the vault's table of key slots";

/// Returns the vault's row. Fails if this version does not know its suite.
pub(super) fn checked_row(snapshot: &dyn Snapshot) -> Result<VaultRow, VaultError> {
    checked_suite(snapshot.vault()?)
}

/// Returns a vault's row. Fails if this version does not know its suite.
pub(super) fn checked_suite(vault: VaultRow) -> Result<VaultRow, VaultError> {
    if vault.suite != SUITE {
        return Err(CryptoError::Unsupported(
            "this version does not support the vault's cipher suite",
        )
        .into());
    }

    Ok(vault)
}

/// The verified directory of one state of a vault, from which projects are opened.
pub(super) struct State {
    pub(super) vault: VaultRow,
    pub(super) slots: Vec<Slot>,
    /// The directory's head
    pub(super) directory: Head,
    pub(super) epoch: u32,
    pub(super) owner: PublicKey,
    pub(super) access: Rc<dyn VaultAccess>,
    pub(super) checkpoints: Option<Rc<Checkpoints>>,
    /// The grant of the token that gives access; without one, the owner does
    pub(super) grant: Option<Rc<OpenGrant>>,
    pub(super) known: Rc<KnownProjects>,
    /// The age of the last change of a project from which on it is refused
    pub(super) max_age: Option<Duration>,
}

impl State {
    /// Verifies the directory and the slots, and compares the directory with its last checkpoint. For
    /// a token, opens its grant instead.
    pub(super) fn read(
        snapshot: &dyn Snapshot,
        access: &Rc<dyn VaultAccess>,
        checkpoints: Option<&Rc<Checkpoints>>,
    ) -> Result<Self, VaultError> {
        match access.token_id() {
            Some(token_id) => snapshot.fetch(&[Want::Grant(&token_id)])?,
            None => snapshot.fetch(&[Want::Directory])?,
        }

        let vault = checked_row(snapshot)?;
        let checkpoints = checkpoints.map(Rc::clone);
        if let Some(grant) = access.grant(&vault.vault_id, snapshot)? {
            let pin = grant.pin();
            let state = Self {
                vault,
                slots: Vec::new(),
                directory: Head::none(),
                epoch: 0,
                owner: grant.grant.owner,
                access: Rc::clone(access),
                checkpoints,
                grant: Some(grant),
                known: Rc::default(),
                max_age: None,
            };

            state.compare(snapshot, (&DIRECTORY, None), &pin, &|_| Ok(false))?;
            return Ok(state);
        }

        let slots = snapshot.slots()?;
        let OpenedDirectory { head, epoch, owner } = access.directory(&vault.vault_id, snapshot)?;
        if head.directory != slots_hash(&slots, &vault.past) {
            return Err(CryptoError::Damaged(SLOTS).into());
        }

        let state = Self {
            vault,
            slots,
            directory: head,
            epoch,
            owner,
            access: Rc::clone(access),
            checkpoints,
            grant: None,
            known: Rc::default(),
            max_age: None,
        };

        let now = state.checkpoint(&state.directory);
        let proves = |before: &Checkpoint| state.proves_directory(snapshot, before);
        state.compare(snapshot, (&DIRECTORY, None), &now, &proves)?;
        state.accept(snapshot, &DIRECTORY);
        Ok(state)
    }

    /// Returns what is remembered of the directory with this head.
    pub(super) fn checkpoint(&self, head: &Head) -> Checkpoint {
        Checkpoint {
            epoch: self.epoch,
            head: head.revision(self.vault_id(), &DIRECTORY, self.epoch),
            audit_head: head.audit_head,
            policy: PolicyId::default(),
            grant: None,
        }
    }

    fn compare(
        &self,
        snapshot: &dyn Snapshot,
        (pid, name): (&ProjectId, Option<&ProjectName>),
        state: &Checkpoint,
        proves: &dyn Fn(&Checkpoint) -> Result<bool, VaultError>,
    ) -> Result<(), VaultError> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        let seen = Seen { pid, name, state };
        match checkpoints.check(&self.vault, &*self.access, seen, proves) {
            // A change whose answer was lost is in the checkpoint, but not in the copy on this machine.
            Err(VaultError::Diverged(divergence)) if divergence.lost().is_some() => {
                Err(match snapshot.outdated() {
                    Some(outdated) => outdated.into(),
                    None => VaultError::Diverged(divergence),
                })
            }
            checked => checked,
        }
    }

    /// Says that a project was verified and compared with its checkpoint.
    fn accept(&self, snapshot: &dyn Snapshot, pid: &ProjectId) {
        if self.checkpoints.is_some() {
            snapshot.accept(pid);
        }
    }

    /// Returns true if the directory's audit log proves that it follows an earlier state. An agent does
    /// not open that log.
    fn proves_directory(
        &self,
        snapshot: &dyn Snapshot,
        before: &Checkpoint,
    ) -> Result<bool, VaultError> {
        let Some(root) = self.access.root_key() else { return Ok(false) };
        let directory = Directory::new(root, *self.vault_id());
        Ok(directory.audit_log().leads(snapshot, before, &self.directory)?)
    }

    pub(super) fn vault_id(&self) -> &VaultId {
        &self.vault.vault_id
    }

    /// Opens the head of a project that was found, and compares it with its last checkpoint.
    pub(super) fn open(
        &self,
        snapshot: &dyn Snapshot,
        project: OpenedProject,
    ) -> Result<Project, VaultError> {
        let access = Rc::clone(&self.access);
        let grant = self.grant.as_deref();
        let project =
            Project::open(snapshot, *self.vault_id(), &self.owner, project, access, grant)?;
        let proves = |before: &Checkpoint| match project.ring() {
            Ok(_) => {
                Ok(AuditLog::of(&project, self.owner)?.leads(snapshot, before, &project.head)?)
            }
            // A token for some secrets cannot open the log.
            Err(_) => Ok(true),
        };
        let now = project.checkpoint();
        self.compare(snapshot, (&project.row.pid, Some(project.name())), &now, &proves)?;
        self.check_age(&project)?;
        self.access.show_head(self.vault_id(), &project.opened, &project.row)?;
        self.accept(snapshot, &project.row.pid);
        Ok(project)
    }

    fn check_age(&self, project: &Project) -> Result<(), VaultError> {
        let Some(max_age) = self.max_age else { return Ok(()) };
        let age = Timestamp::now().0.saturating_sub(project.head.time);
        let age = Duration::from_millis(age);
        if age > max_age {
            return Err(VaultError::TooOld(project.name().clone(), age));
        }

        Ok(())
    }

    /// Finds one project by name, without its head.
    pub(super) fn find(
        &self,
        snapshot: &dyn Snapshot,
        name: &ProjectName,
    ) -> Result<Option<OpenedProject>, VaultError> {
        let found = self.access.find(self.vault_id(), snapshot, &[name])?.into_iter().next();
        let found = found.flatten();
        if let Some(found) = &found {
            self.known.add(found);
        }

        Ok(found)
    }

    /// Opens a project by its name. Returns `None` if it does not exist.
    pub(super) fn named(
        &self,
        snapshot: &dyn Snapshot,
        name: &ProjectName,
    ) -> Result<Option<Project>, VaultError> {
        self.find(snapshot, name)?.map(|found| self.open(snapshot, found)).transpose()
    }

    /// Finds a project by name. Fails with the nearest name if it does not exist.
    pub(super) fn require(
        &self,
        snapshot: &dyn Snapshot,
        name: &ProjectName,
    ) -> Result<OpenedProject, VaultError> {
        match self.find(snapshot, name)? {
            Some(found) => Ok(found),
            None => {
                let nearest = nearest_name(name, &self.all(snapshot)?);
                Err(VaultError::NoProject { name: name.clone(), nearest })
            }
        }
    }

    /// Fails if the vault would exceed the maximum number of projects with those of `names` that it
    /// does not have.
    pub(super) fn check_room(
        &self,
        snapshot: &dyn Snapshot,
        names: &[&ProjectName],
    ) -> Result<(), VaultError> {
        if self.grant.is_some() {
            return Ok(());
        }

        let found = self.access.find(self.vault_id(), snapshot, names)?;
        let absent = found.iter().filter(|found| found.is_none()).count() as u64;
        if self.directory.count + absent > MAX_PROJECTS as u64 {
            Err(VaultError::TooManyProjects)
        } else {
            Ok(())
        }
    }

    /// Returns all projects, sorted by name, or the one project of a token. Every bucket of the directory and the number of
    /// projects are verified.
    pub(super) fn all(&self, snapshot: &dyn Snapshot) -> Result<Vec<OpenedProject>, VaultError> {
        if let Some(grant) = &self.grant {
            return Ok(vec![grant.project.clone()]);
        }

        let damaged = || VaultError::from(CryptoError::Damaged(DIRECTORY_NAME));
        snapshot.fetch(&[Want::AllProjects(Extent::Entry)])?;

        // One walk takes less time than a search for each bucket. The order ends a walk through pages
        // that point at each other.
        let mut leaves: Vec<Leaf> = Vec::new();
        let mut is_ordered = true;
        snapshot.records(&DIRECTORY, &mut |record| {
            let Record { tag_ix, rid, leaf, .. } = record;
            is_ordered = leaves.last().is_none_or(|last| last.tag_ix < tag_ix);
            leaves.push(Leaf { tag_ix, rid, leaf });
            is_ordered
        })?;

        let mut buckets = super::buckets::empty();
        for of_bucket in leaves.chunk_by(|one, next| one.tag_ix[0] == next.tag_ix[0]) {
            let number = of_bucket[0].tag_ix[0];
            buckets[usize::from(number)] = tree::bucket(&DIRECTORY, number, of_bucket);
        }

        let is_whole = is_ordered
            && tree::root_hash(&DIRECTORY, &buckets) == self.directory.root_hash
            && leaves.len() as u64 == self.directory.count;
        if !is_whole {
            return Err(damaged());
        }

        let indexes: Vec<[u8; 16]> = leaves.iter().map(|leaf| leaf.tag_ix).collect();
        let found = self.access.at(self.vault_id(), snapshot, &indexes)?;
        let mut all = found.into_iter().collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        all.sort_by(|one, other| one.entry.name.cmp(&other.entry.name));
        Ok(all)
    }

    /// Returns one project, which may not exist, or all projects sorted by name.
    pub(super) fn one_or_all(
        &self,
        snapshot: &dyn Snapshot,
        name: Option<&ProjectName>,
    ) -> Result<Vec<OpenedProject>, VaultError> {
        match name {
            Some(name) => Ok(self.find(snapshot, name)?.into_iter().collect()),
            None => self.all(snapshot),
        }
    }

    /// Looks up a record in the index of ids. Returns the project and the blind index that it names,
    /// which are not verified yet. The id of a project's entry is not the id of a secret.
    pub(super) fn locate(
        &self,
        snapshot: &dyn Snapshot,
        rid: RecordId,
    ) -> Result<Option<(ProjectId, [u8; 16])>, VaultError> {
        let is_visible = |pid: &ProjectId| match &self.grant {
            Some(grant) => *pid == grant.project.entry.pid,
            None => *pid != DIRECTORY,
        };

        Ok(snapshot.locate(&rid)?.filter(|(pid, _)| is_visible(pid)))
    }

    /// Finds the project with this id. A record of no project is damage.
    pub(super) fn with_id(
        &self,
        snapshot: &dyn Snapshot,
        pid: &ProjectId,
    ) -> Result<OpenedProject, VaultError> {
        if let Some(grant) = &self.grant {
            return Ok(grant.project.clone());
        }

        let damaged = || VaultError::from(CryptoError::Damaged("the table of records"));
        let entry = snapshot.locate(&record_of(pid))?.filter(|(of, _)| *of == DIRECTORY);
        let (_, index) = entry.ok_or_else(damaged)?;
        let found = self.access.at(self.vault_id(), snapshot, &[index])?;
        let found = found.into_iter().next().flatten();
        found.filter(|project| project.entry.pid == *pid).ok_or_else(damaged)
    }

    /// Proves that no project has a record with this id, by verifying every head and every bucket.
    /// A token for some secrets cannot open any other, so for other ids there is nothing to prove.
    pub(super) fn check_absent(
        &self,
        snapshot: &dyn Snapshot,
        rid: RecordId,
    ) -> Result<(), VaultError> {
        match self.grant.as_ref().map(|grant| &*grant.project.keys) {
            Some(GrantedKeys::Set(set)) if set.record(&rid).is_none() => Ok(()),
            _ => self.check_absent_but(snapshot, &[(None, rid)]),
        }
    }

    /// Proves of each id that no project has a record with it, except the project named beside it.
    pub(super) fn check_absent_but(
        &self,
        snapshot: &dyn Snapshot,
        ids: &[(Option<ProjectId>, RecordId)],
    ) -> Result<(), VaultError> {
        if ids.is_empty() {
            return Ok(());
        }

        snapshot.fetch(&[Want::AllProjects(Extent::Records)])?;
        for project in self.all(snapshot)? {
            let pid = Some(project.entry.pid);
            let absent = ids.iter().filter(|(of, _)| *of != pid).map(|(_, rid)| *rid);
            let absent: Vec<RecordId> = absent.collect();
            if !absent.is_empty() {
                self.open(snapshot, project)?.check_deleted(snapshot, &absent)?;
            }
        }

        Ok(())
    }
}
