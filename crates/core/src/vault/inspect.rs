//! Inspects everything in a vault, damaged or not: what it contains, what is valid and what can
//! still be read.
//!
//! It changes nothing. It continues where other readers stop, so one damaged part does not hide
//! another.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use super::checkpointed::Divergence;
use super::key_handle::{RootKeyHandle, RootTables};
use super::state::{Project, checked_row};
use super::{Vault, VaultError};
use crate::crypto::ids::ProjectId;
use crate::crypto::kdf::KdfParams;
use crate::crypto::keyring::{KEYRING, Keyring};
use crate::crypto::root_key::ROOT_TABLES;
use crate::crypto::rows::{ProjectRow, Slot, VaultRow};
use crate::crypto::slot::{PASSPHRASE_SLOT, RECOVERY_SLOT};
use crate::crypto::tree::{self, Leaf};
use crate::model::{ProjectName, SecretId, Tag};
use crate::store::{Snapshot, StoreError, Walk};

/// The content of a vault and its damage.
#[derive(Debug, Default)]
pub struct Report {
    /// All projects whose key ring opens, sorted by name
    pub projects: Vec<ProjectReport>,
    /// The costs of a guess, for each passphrase slot
    pub passphrases: Vec<KdfParams>,
    /// Whether the vault has a recovery code
    pub recovery: bool,
    /// All damage; empty for an intact vault
    pub damage: Vec<Damage>,
    /// Set if the vault's state neither equals its last checkpoint here nor follows it
    pub divergence: Option<Divergence>,
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
pub(super) struct Inspection {
    pub(super) vault: VaultRow,
    pub(super) slots: Vec<Slot>,
    pub(super) rows: Vec<ProjectRow>,
    pub(super) keyrings: Vec<Option<Rc<Keyring>>>,
    /// The readable records of each project, in the order of the rows
    pub(super) readable: Vec<Vec<ReadableRecord>>,
    pub(super) report: Report,
}

impl Vault {
    /// Checks every seal, hash, signature and count, the structure of the file, and that it has no
    /// orphan rows. Calls `on_progress` with the number of secrets checked so far.
    pub fn verify(&self, on_progress: &dyn Fn(u64)) -> Result<Report, VaultError> {
        let snapshot = self.store.read()?;
        let report = inspect(&*snapshot, &*self.root, on_progress)?.report;
        if !report.damage.is_empty() && self.slots_changed(&*snapshot) {
            return Err(VaultError::SlotsChanged);
        }

        Ok(report)
    }

    /// Returns true if the last state that was opened has been recorded in a checkpoint, so that a
    /// rollback to an earlier one will be noticed.
    pub fn is_remembered(&self) -> bool {
        self.root.has_written()
    }
}

pub(super) fn inspect(
    snapshot: &dyn Snapshot,
    root: &dyn RootKeyHandle,
    on_progress: &dyn Fn(u64),
) -> Result<Inspection, VaultError> {
    let _walk = Walk::begin(snapshot)?;
    let mut inspection = open(snapshot, root)?;
    let is_sound = snapshot.is_sound().unwrap_or(false);
    if !is_sound {
        inspection.report.damage.push(Damage::new("the file's own structure"));
    }

    let id_index = IdIndex::read(snapshot, is_sound, &mut inspection.report)?;
    let mut looked_at = 0;
    for (row, keyring) in inspection.rows.iter().zip(&inspection.keyrings) {
        let Some(keyring) = keyring else {
            inspection.readable.push(Vec::new());
            continue;
        };

        let damage = &mut inspection.report.damage;
        let inspector = ProjectInspector { snapshot, name: &keyring.name, damage };
        let findings = inspector.project(&inspection.vault, row, keyring, &id_index, &mut |more| {
            looked_at += more;
            on_progress(looked_at);
        });

        let readable = findings.readable.len() as u64;
        inspection.report.projects.push(ProjectReport {
            name: keyring.name.clone(),
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

/// Reads the tables under the root MAC and opens the key rings.
fn open(snapshot: &dyn Snapshot, root: &dyn RootKeyHandle) -> Result<Inspection, VaultError> {
    let vault = checked_row(snapshot)?;
    let mut report = Report::default();
    let slots =
        damaged_or(snapshot.slots(), "the table of key slots", &mut report)?.unwrap_or_default();
    let (rows, is_whole) = snapshot.readable_projects()?;

    if !is_whole {
        report.damage.push(Damage::new("the table of projects"));
    }

    let grants =
        damaged_or(snapshot.grants(), "the table of grants", &mut report)?.unwrap_or_default();
    let tables = RootTables { vault: &vault, slots: &slots, projects: &rows, grants: &grants };
    let opened = match root.open(&tables) {
        Err(VaultError::Diverged(divergence)) => {
            report.divergence = Some(*divergence);
            root.open_unchecked(&tables)
        }
        opened => opened,
    };

    let keyrings: Vec<Option<Rc<Keyring>>> = match (opened, root.root_key()) {
        (Ok(keyrings), _) => keyrings.into_iter().map(Rc::new).map(Some).collect(),
        (Err(error), Some(root)) if error.is_damage() => {
            if root.verify_mac(&vault, &slots, &rows, &grants).is_err() {
                report.damage.push(Damage::new(ROOT_TABLES));
            }

            let mut open = |row| {
                let keyring = root.open_keyring(&vault.vault_id, row).ok();
                if keyring.is_none() {
                    report.damage.push(Damage::new(KEYRING));
                }

                keyring.map(Rc::new)
            };

            rows.iter().map(&mut open).collect()
        }
        (Err(error), _) => return Err(error),
    };

    for slot in &slots {
        match (slot.kind, slot.kdf_params()) {
            (PASSPHRASE_SLOT, Some(params)) => report.passphrases.push(params),
            (PASSPHRASE_SLOT, None) => report.damage.push(Damage::new("a key slot")),
            (kind, _) => report.recovery |= kind == RECOVERY_SLOT,
        }
    }

    let mut names = BTreeSet::new();
    if !keyrings.iter().flatten().all(|keyring| names.insert(&keyring.name)) {
        report.damage.push(Damage::new("the table of projects"));
    }

    Ok(Inspection { vault, slots, rows, keyrings, readable: Vec::new(), report })
}

/// Returns `None` for damage, which is added to the report. Other errors, such as failing system
/// calls, are passed on.
fn damaged_or<T>(
    read: Result<T, StoreError>,
    what: &'static str,
    report: &mut Report,
) -> Result<Option<T>, StoreError> {
    match read {
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
        snapshot: &dyn Snapshot,
        is_sound: bool,
        report: &mut Report,
    ) -> Result<Self, VaultError> {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        let read = snapshot.id_index(&mut |pid, tag_ix| index.entry(pid).or_default().push(tag_ix));
        damaged_or(read, "the index of ids", report)?;

        // Pages that point at each other would give endless counts, which mean nothing.
        if !is_sound {
            return Ok(Self(index));
        }

        let orphans =
            damaged_or(snapshot.orphans(), "the file's own structure", report)?.unwrap_or_default();
        for (count, what) in [
            (orphans.values, "a value that belongs to no secret"),
            (orphans.records, "a record that belongs to no project"),
            (orphans.buckets, "a bucket that belongs to no project"),
        ] {
            report.damage.extend((count > 0).then(|| Damage::new(what)));
        }

        Ok(Self(index))
    }
}

/// Repeats a read that failed. SQLite refuses a page with one misplaced cell, but only when it
/// reads the page for the first time (`PRAGMA cell_size_check`). The second attempt finds the other
/// rows of that page.
fn retry_once<T, E>(read: impl Fn() -> Result<T, E>) -> Result<T, E> {
    read().or_else(|_| read())
}

struct ProjectInspector<'a> {
    snapshot: &'a dyn Snapshot,
    name: &'a ProjectName,
    damage: &'a mut Vec<Damage>,
}

struct ProjectFindings {
    found: u64,
    readable: Vec<ReadableRecord>,
}

impl ProjectInspector<'_> {
    fn project(
        mut self,
        vault: &VaultRow,
        row: &ProjectRow,
        keyring: &Rc<Keyring>,
        id_index: &IdIndex,
        on_progress: &mut dyn FnMut(u64),
    ) -> ProjectFindings {
        let (vault_id, keyring) = (vault.vault_id, Rc::clone(keyring));
        let opened = Project::open(self.snapshot, vault_id, row.clone(), Rc::clone(&keyring));
        let (project, is_verified) = match opened {
            Ok(project) => (project, true),
            Err(error) => {
                self.note(damaged_part(&error), None, None);
                (Project::unverified(vault_id, row.clone(), keyring), false)
            }
        };

        let mut findings = ProjectFindings { found: 0, readable: Vec::new() };
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

        match retry_once(|| project.value(self.snapshot, &found.record)) {
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
