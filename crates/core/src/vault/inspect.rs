//! Inspects everything in a vault, damaged or not: what it contains, what is valid and what can
//! still be read.
//!
//! It changes nothing. It continues where other readers stop, so one damaged part does not hide
//! another.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use super::access::OpenedProject;
use super::audit_log::AuditLog;
use super::checkpoints::{Divergence, Seen};
use super::directory::{DIRECTORY_NAME, Directory};
use super::project::Project;
use super::state::{SLOTS, State, checked_row};
use super::{GRANTS, Vault, VaultError};
use crate::crypto::CryptoError;
use crate::crypto::checkpoint::Checkpoint;
use crate::crypto::ids::{DIRECTORY, ProjectId};
use crate::crypto::kdf::KdfParams;
use crate::crypto::rows::{ProjectRow, Slot, VaultRow, slots_hash, tokens_hash};
use crate::crypto::signing::PublicKey;
use crate::crypto::slot::{KEYCHAIN_SLOT, KEYED_SLOT, RECOVERY_SLOT, is_of_passphrase};
use crate::crypto::tree::{self, Leaf};
use crate::model::{ProjectName, SecretId, Tag};
use crate::store::{Inspection, Snapshot, StoreError, Walk};

/// The content of a vault and its damage.
#[derive(Debug, Default)]
pub struct Report {
    /// All projects whose entry in the directory opens, sorted by name
    pub projects: Vec<ProjectReport>,
    /// The costs of a guess, for each passphrase slot
    pub passphrases: Vec<KdfParams>,
    /// Whether a passphrase needs a key file
    pub key_file: bool,
    /// The number of keychains that hold a key
    pub keychains: u32,
    /// Whether the vault has a recovery code
    pub recovery: bool,
    /// All damage; empty for an intact vault
    pub damage: Vec<Damage>,
    /// Set if the vault's state neither equals its last checkpoint here nor follows it
    pub divergence: Option<Divergence>,
}

impl Report {
    /// Adds what is known of key slots.
    fn add_slots(&mut self, slots: &[Slot]) {
        for slot in slots {
            match (slot.kind, slot.kdf_params()) {
                (kind, Some(params)) if is_of_passphrase(kind) => {
                    self.passphrases.push(params);
                    self.key_file |= kind == KEYED_SLOT;
                }
                (KEYCHAIN_SLOT, _) => self.keychains += 1,
                (kind, None) if is_of_passphrase(kind) => {
                    self.damage.push(Damage::new("a key slot"));
                }
                (kind, _) => self.recovery |= kind == RECOVERY_SLOT,
            }
        }
    }
}

/// An inspected project.
#[derive(Debug)]
pub struct ProjectReport {
    /// Its name
    pub name: ProjectName,
    /// The number of records that were found
    pub secrets: u64,
    /// The number of records that open, with their values
    pub readable: u64,
}

/// One damaged part of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The part, for example "the head" or "the value"
    pub what: &'static str,
    /// The project, if known
    pub project: Option<ProjectName>,
    /// The record, if known
    pub id: Option<SecretId>,
    /// The record's tag, if its metadata opens
    pub tag: Option<Tag>,
}

/// A record that opens.
pub(super) struct ReadableRecord {
    pub(super) leaf: Leaf,
    /// Head, root hash and bucket are valid, so this is the current version
    pub(super) proven: bool,
}

/// A vault, read as far as possible.
pub(super) struct InspectedVault {
    pub(super) vault: VaultRow,
    pub(super) slots: Vec<Slot>,
    /// All projects whose entry in the directory opens
    pub(super) projects: Vec<OpenedProject>,
    /// The readable records of each project, in the order of the projects
    pub(super) readable: Vec<Vec<ReadableRecord>>,
    pub(super) report: Report,
    /// The key that verifies what the owner signed; `None` if the directory is too damaged
    owner: Option<PublicKey>,
}

impl Vault {
    /// Checks every seal, hash, signature and count, the structure of the file, and that it has no
    /// orphan rows. Calls `on_progress` with the number of secrets checked so far.
    pub fn verify(&self, on_progress: &dyn Fn(u64)) -> Result<Report, VaultError> {
        let snapshot = self.store.read()?;
        let mut report = inspect(snapshot.inspection()?, self, on_progress)?.report;
        if let Some(near) = self.near()? {
            report.add_slots(&near.slots);
        }

        if !report.damage.is_empty() && self.slots_changed(&*snapshot) {
            return Err(VaultError::SlotsChanged);
        }

        Ok(report)
    }

    /// Returns true if the last state that was opened has been recorded in a checkpoint, so that a
    /// rollback to an earlier one will be noticed.
    pub fn is_remembered(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.are_written())
    }
}

pub(super) fn inspect(
    snapshot: &dyn Inspection,
    vault: &Vault,
    on_progress: &dyn Fn(u64),
) -> Result<InspectedVault, VaultError> {
    let _walk = Walk::begin(snapshot)?;
    let mut report = Report::default();
    let is_sound = snapshot.is_sound().unwrap_or(false);
    if !is_sound {
        report.damage.push(Damage::new("the file's own structure"));
    }

    let id_index = IdIndex::read(snapshot, is_sound, &mut report)?;
    let mut inspection = open(snapshot, vault, &id_index, report)?;
    let mut looked_at = 0;
    for project in &inspection.projects {
        let name = &project.entry.name;
        let damage = &mut inspection.report.damage;
        let row = &inspection.vault;
        let inspector = ProjectInspector { snapshot, vault, row, name, damage };
        let owner = inspection.owner;
        let findings = inspector.project(owner, project, &id_index, &mut |more| {
            looked_at += more;
            on_progress(looked_at);
        });

        if let Some(divergence) = findings.divergence {
            let all = &mut inspection.report.divergence;
            match all {
                Some(all) => all.projects.extend(divergence.projects),
                None => *all = Some(divergence),
            }
        }

        let readable = findings.readable.len() as u64;
        inspection.report.projects.push(ProjectReport {
            name: name.clone(),
            secrets: findings.found,
            readable,
        });

        inspection.readable.push(findings.readable);
    }

    inspection.report.projects.sort_by(|one, other| one.name.cmp(&other.name));

    // Each damage is reported once, in the order in which it was found.
    let mut reported = HashSet::new();
    inspection.report.damage.retain(|damage| reported.insert(damage.to_string()));
    Ok(inspection)
}

/// Reads the slots and the directory.
fn open(
    snapshot: &dyn Inspection,
    of: &Vault,
    id_index: &IdIndex,
    mut report: Report,
) -> Result<InspectedVault, VaultError> {
    let vault = checked_row(snapshot)?;
    let slots =
        damaged_or(|| snapshot.slots(), "the table of key slots", &mut report)?.unwrap_or_default();
    let (mut rows, mut is_whole) = snapshot.readable_projects()?;
    if !is_whole {
        // The second attempt may find more, see `retry_once`.
        (rows, is_whole) = snapshot.readable_projects()?;
    }

    if !is_whole {
        report.damage.push(Damage::new("the table of projects"));
    }

    let grants = damaged_or(|| snapshot.grants(), GRANTS, &mut report)?.unwrap_or_default();
    report.add_slots(&slots);

    let state = || State::read(snapshot, &of.access, of.checkpoints.as_ref());
    let read = match retry_once(state) {
        Err(VaultError::Diverged(divergence)) => {
            report.divergence = Some(*divergence);
            State::read(snapshot, &of.access, None)
        }
        read => read,
    };

    let whole = read.and_then(|state| Ok((retry_once(|| state.all(snapshot))?, state)));
    let (projects, owner) = match (whole, of.access.root_key()) {
        (Ok((projects, state)), _) => {
            if !matches!(snapshot.policy(&DIRECTORY), Ok(None)) {
                report.damage.push(Damage::new("a policy that belongs to no project"));
            }

            if tokens_hash(&grants) != state.directory.policy {
                report.damage.push(Damage::new(GRANTS));
            }

            let keys = of.access.root_key().map(|root| Directory::new(root, vault.vault_id));
            if let Some(directory) = keys
                && !directory.audit_log().is_intact(snapshot, &state.directory)
            {
                report.damage.push(Damage::new("the audit log of the vault"));
            }

            (projects, Some(state.owner))
        }
        (Err(error), Some(root)) if error.is_damage() => {
            let directory = Directory::new(root, vault.vault_id);
            let head = directory.read(snapshot);
            let is_of_slots = head
                .as_ref()
                .is_ok_and(|state| state.head.directory == slots_hash(&slots, &vault.past));

            report.damage.push(match error {
                VaultError::Crypto(CryptoError::Damaged(SLOTS)) => Damage::new(SLOTS),
                _ => Damage::new(DIRECTORY_NAME),
            });
            if head.is_ok() && !is_of_slots {
                report.damage.push(Damage::new(SLOTS));
            }

            (one_by_one(snapshot, &directory, id_index), Some(directory.owner()))
        }
        (Err(error), _) => return Err(error),
    };

    let known: HashSet<ProjectId> = projects.iter().map(|project| project.entry.pid).collect();
    if rows.iter().any(|row| row.pid != DIRECTORY && !known.contains(&row.pid)) {
        report.damage.push(Damage::new("a project that is not in the vault's list of projects"));
    }

    let readable = Vec::new();
    Ok(InspectedVault { vault, slots, projects, readable, report, owner })
}

/// Opens every entry of a damaged directory that still opens.
fn one_by_one(
    snapshot: &dyn Snapshot,
    directory: &Directory,
    id_index: &IdIndex,
) -> Vec<OpenedProject> {
    let mut indexes: BTreeSet<[u8; 16]> = BTreeSet::new();
    for bucket in 0..=u8::MAX {
        let leaves = retry_once(|| snapshot.leaves(&DIRECTORY, bucket)).unwrap_or_default();
        indexes.extend(leaves.iter().map(|leaf| leaf.tag_ix));
    }

    indexes.extend(id_index.0.get(&DIRECTORY).into_iter().flatten());
    let open = |index: [u8; 16]| {
        let record = retry_once(|| snapshot.record(&DIRECTORY, &index)).ok()??;
        retry_once(|| directory.open_record(snapshot, &record)).ok()
    };

    let mut seen = HashSet::new();
    let found = indexes.into_iter().filter_map(open);
    found.filter(|project| seen.insert(project.entry.pid)).collect()
}

/// Reads, and returns `None` for damage, which is added to the report. Other errors, such as failing system
/// calls, are passed on.
fn damaged_or<T>(
    read: impl FnMut() -> Result<T, StoreError>,
    what: &'static str,
    report: &mut Report,
) -> Result<Option<T>, StoreError> {
    match retry_once(read) {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Damaged(_)) => {
            report.damage.push(Damage::new(what));
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// The index of ids: where each record is stored. It is a separate B-tree of the file, so it may be
/// readable if the table of records is not.
struct IdIndex(HashMap<ProjectId, Vec<[u8; 16]>>);

impl IdIndex {
    fn read(
        snapshot: &dyn Inspection,
        is_sound: bool,
        report: &mut Report,
    ) -> Result<Self, VaultError> {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        let read = || {
            index.clear();
            snapshot.id_index(&mut |pid, tag_ix| index.entry(pid).or_default().push(tag_ix))
        };
        damaged_or(read, "the index of ids", report)?;

        // Pages that point at each other would give endless counts, which mean nothing.
        if !is_sound {
            return Ok(Self(index));
        }

        let orphans = damaged_or(|| snapshot.orphans(), "the file's own structure", report)?
            .unwrap_or_default();
        for (count, what) in [
            (orphans.values, "a value that belongs to no secret"),
            (orphans.records, "a record that belongs to no project"),
            (orphans.buckets, "a bucket that belongs to no project"),
            (orphans.policies, "a policy that belongs to no project"),
            (orphans.audit, "an entry of the audit log that belongs to no project"),
        ] {
            report.damage.extend((count > 0).then(|| Damage::new(what)));
        }

        Ok(Self(index))
    }
}

/// Repeats a read that failed. SQLite refuses a page with one misplaced cell, but only when it
/// reads the page for the first time (`PRAGMA cell_size_check`). The second attempt finds the other
/// rows of that page.
fn retry_once<T, E>(mut read: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    read().or_else(|_| read())
}

struct ProjectInspector<'a> {
    snapshot: &'a dyn Snapshot,
    vault: &'a Vault,
    row: &'a VaultRow,
    name: &'a ProjectName,
    damage: &'a mut Vec<Damage>,
}

struct ProjectFindings {
    /// How the project differs from its last checkpoint
    divergence: Option<Divergence>,
    found: u64,
    readable: Vec<ReadableRecord>,
}

impl ProjectInspector<'_> {
    fn project(
        mut self,
        owner: Option<PublicKey>,
        opened: &OpenedProject,
        id_index: &IdIndex,
        on_progress: &mut dyn FnMut(u64),
    ) -> ProjectFindings {
        let vault_id = self.row.vault_id;
        let access = Rc::clone(&self.vault.access);
        let project = owner.map(|owner| {
            let access = Rc::clone(&access);
            Project::open(self.snapshot, vault_id, &owner, opened.clone(), access, None)
        });

        let (project, is_verified) = match project {
            Some(Ok(project)) => {
                let log = owner.and_then(|owner| AuditLog::of(&project, owner).ok());
                if !log.is_some_and(|log| log.is_intact(self.snapshot, &project.head)) {
                    self.note("the audit log", None, None);
                }

                (project, true)
            }
            failed => {
                if let Some(Err(error)) = failed {
                    self.note(damaged_part(&error), None, None);
                }

                (Project::unverified(vault_id, opened.clone(), access), false)
            }
        };

        let divergence = if is_verified { self.divergence(owner, &project) } else { None };
        let row = &project.row;
        let mut findings = ProjectFindings { divergence, found: 0, readable: Vec::new() };
        let mut seen: BTreeSet<[u8; 16]> = BTreeSet::new();
        for number in 0..=u8::MAX {
            let (leaves, proven) = match self.snapshot.leaves(&row.pid, number) {
                Ok(leaves) => {
                    let holds = tree::bucket(&row.pid, number, &leaves)
                        == project.buckets[usize::from(number)];
                    if is_verified && !holds {
                        self.note("a bucket", None, None);
                    }

                    (leaves, is_verified && holds)
                }
                Err(_) => {
                    self.note("a bucket", None, None);
                    (self.leaves_one_by_one(row, number, id_index), false)
                }
            };

            for leaf in leaves.into_iter().filter(|leaf| seen.insert(leaf.tag_ix)) {
                findings.found += 1;
                if self.record(&project, &leaf) {
                    findings.readable.push(ReadableRecord { leaf, proven });
                }
            }

            on_progress(seen.len() as u64);
            seen.clear();
        }

        if is_verified && findings.found != project.head.count {
            self.note("the number of records", None, None);
        }

        findings
    }

    /// Compares a project with its last checkpoint.
    fn divergence(&self, owner: Option<PublicKey>, project: &Project) -> Option<Divergence> {
        let checkpoints = self.vault.checkpoints.as_ref()?;
        let (pid, state) = (&project.row.pid, &project.checkpoint());
        let seen = Seen { pid, name: Some(self.name), state };
        let proves = |before: &Checkpoint| {
            let owner = owner.filter(|_| project.ring().is_ok());
            match owner.map(|owner| AuditLog::of(project, owner)) {
                Some(log) => Ok(log?.leads(self.snapshot, before, &project.head)?),
                None => Ok(true),
            }
        };

        match checkpoints.check(self.row, &*project.access, seen, &proves) {
            Err(VaultError::Diverged(divergence)) => Some(*divergence),
            _ => None,
        }
    }

    /// Reads the records of a bucket one by one, because they cannot be read together.
    fn leaves_one_by_one(&self, row: &ProjectRow, number: u8, id_index: &IdIndex) -> Vec<Leaf> {
        let known = id_index.0.get(&row.pid).into_iter().flatten();
        let read = |tag_ix: &[u8; 16]| {
            let record = retry_once(|| self.snapshot.record(&row.pid, tag_ix)).ok()??;
            Some(Leaf { tag_ix: *tag_ix, rid: record.rid, leaf: record.leaf })
        };

        known.filter(|tag_ix| tag_ix[0] == number).filter_map(read).collect()
    }

    /// Returns true if a record and its value open.
    fn record(&mut self, project: &Project, leaf: &Leaf) -> bool {
        let id = Some(SecretId(leaf.rid));
        let found = match retry_once(|| project.by_leaf(self.snapshot, leaf)) {
            Ok(found) => found,
            Err(error) => {
                self.note(damaged_part(&error), id, None);
                return false;
            }
        };

        match retry_once(|| project.value(self.snapshot, &found)) {
            Ok(_) => true,
            Err(error) => {
                self.note(damaged_part(&error), id, Some(found.metadata.tag));
                false
            }
        }
    }

    fn note(&mut self, what: &'static str, id: Option<SecretId>, tag: Option<Tag>) {
        self.damage.push(Damage { what, project: Some(self.name.clone()), id, tag });
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match (&self.tag, self.id) {
            (Some(tag), _) => write!(f, " of `{tag}`")?,
            (None, Some(id)) => write!(f, " of `{id}`")?,
            (None, None) => {}
        }

        self.project.as_ref().map_or(Ok(()), |project| write!(f, " of project `{project}`"))
    }
}

impl Damage {
    fn new(what: &'static str) -> Self {
        Self { what, project: None, id: None, tag: None }
    }
}

/// Returns the part of a project that an error is about.
fn damaged_part(error: &VaultError) -> &'static str {
    match error {
        VaultError::Project { what, .. } | VaultError::Record { what, .. } => what,
        _ => "a part of the file",
    }
}
