//! Looking at everything in a vault, damaged or not: what is there, what holds, what can still be read.
//!
//! It changes nothing, and goes on where other readers stop: one damaged thing hides no other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

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

/// What a vault holds and what of it is damaged.
#[derive(Debug, Default)]
pub struct Report {
    /// Every project whose key ring opens, sorted by name
    pub projects: Vec<ProjectReport>,
    /// What guesses at its passphrases cost
    pub passphrases: Vec<KdfParams>,
    /// It has a recovery code
    pub recovery: bool,
    /// Everything that does not hold; empty for a vault without a fault
    pub damage: Vec<Damage>,
    /// It is not the state that was last seen here, nor one that follows on it
    pub divergence: Option<Divergence>,
}

/// A project, examined.
#[derive(Debug)]
pub struct ProjectReport {
    /// Its name
    pub name: ProjectName,
    /// Records that were found
    pub secrets: u64,
    /// Those that open, with their values
    pub readable: u64,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// "the head", "the value"
    pub what: &'static str,
    /// Of which project, where that is known
    pub project: Option<ProjectName>,
    /// Of which record, where that is known
    pub id: Option<SecretId>,
    /// Its tag, where its metadata opens
    pub tag: Option<Tag>,
}

/// A record that opens.
pub(super) struct ReadableRecord {
    pub(super) leaf: Leaf,
    /// Head, top and bucket vouch for it: it is the latest one
    pub(super) proven: bool,
}

/// A vault, read as far as it goes.
pub(super) struct Inspection {
    pub(super) vault: VaultRow,
    pub(super) slots: Vec<Slot>,
    pub(super) rows: Vec<ProjectRow>,
    pub(super) keyrings: Vec<Option<Keyring>>,
    /// Of each project, in the order of the rows
    pub(super) readable: Vec<Vec<ReadableRecord>>,
    pub(super) report: Report,
}

impl Vault {
    /// Checks every seal, hash, signature and count, the file, and that nothing is in it that belongs to nobody. `reached` is
    /// told how many secrets were looked at.
    pub fn verify(&self, on_progress: &dyn Fn(u64)) -> Result<Report, VaultError> {
        let snapshot = self.store.read()?;
        let report = examine(&*snapshot, &*self.root, on_progress)?.report;
        if !report.damage.is_empty() && self.slots_changed(&*snapshot) {
            return Err(VaultError::SlotsChanged);
        }

        Ok(report)
    }

    /// True where the state that was looked at last is remembered here: one that is put back will be noticed.
    pub fn is_remembered(&self) -> bool {
        self.root.has_written()
    }
}

/// Looks at everything.
pub(super) fn examine(
    snapshot: &dyn Snapshot,
    root: &dyn RootKeyHandle,
    on_progress: &dyn Fn(u64),
) -> Result<Inspection, VaultError> {
    let _walk = Walk::begin(snapshot)?;
    let mut examined = open(snapshot, root)?;
    let is_sound = snapshot.is_sound().unwrap_or(false);
    if !is_sound {
        examined.report.damage.push(Damage::of("the file's own structure"));
    }

    let places = IdIndex::read(snapshot, is_sound, &mut examined.report)?;
    let mut looked_at = 0;
    for (row, keyring) in examined.rows.iter().zip(&examined.keyrings) {
        let Some(keyring) = keyring else {
            examined.readable.push(Vec::new());
            continue;
        };

        let look =
            ProjectInspector { snapshot, name: &keyring.name, damage: &mut examined.report.damage };
        let seen = look.project(&examined.vault, row, keyring, &places, &mut |more| {
            looked_at += more;
            on_progress(looked_at);
        });

        let readable = seen.readable.len() as u64;
        examined.report.projects.push(ProjectReport {
            name: keyring.name.clone(),
            secrets: seen.found,
            readable,
        });

        examined.readable.push(seen.readable);
    }

    examined.report.projects.sort_by(|one, other| one.name.cmp(&other.name));

    // Each thing is told once, in the order in which it was found.
    let mut told = HashSet::new();
    examined.report.damage.retain(|damage| told.insert(damage.to_string()));
    Ok(examined)
}

/// The root's tables and the key rings.
fn open(snapshot: &dyn Snapshot, root: &dyn RootKeyHandle) -> Result<Inspection, VaultError> {
    let vault = checked_row(snapshot)?;
    let mut report = Report::default();
    let slots =
        damaged_or(snapshot.slots(), "the table of key slots", &mut report)?.unwrap_or_default();
    let (rows, is_whole) = snapshot.readable_projects()?;

    if !is_whole {
        report.damage.push(Damage::of("the table of projects"));
    }

    let grants =
        damaged_or(snapshot.grants(), "the table of grants", &mut report)?.unwrap_or_default();
    let tables = RootTables { vault: &vault, slots: &slots, projects: &rows, grants: &grants };
    let opened = match root.open(&tables) {
        Err(VaultError::Departed(divergence)) => {
            report.divergence = Some(*divergence);
            root.open_unchecked(&tables)
        }
        opened => opened,
    };

    let keyrings: Vec<Option<Keyring>> = match (opened, root.root_key()) {
        (Ok(keyrings), _) => keyrings.into_iter().map(Some).collect(),
        (Err(error), Some(root)) if error.is_damage() => {
            if root.verify_mac(&vault, &slots, &rows, &grants).is_err() {
                report.damage.push(Damage::of(ROOT_TABLES));
            }

            let mut open = |row| {
                let keyring = root.open_keyring(&vault.vault_id, row).ok();
                if keyring.is_none() {
                    report.damage.push(Damage::of(KEYRING));
                }

                keyring
            };

            rows.iter().map(&mut open).collect()
        }
        (Err(error), _) => return Err(error),
    };

    for slot in &slots {
        match (slot.kind, slot.kdf_params()) {
            (PASSPHRASE_SLOT, Some(params)) => report.passphrases.push(params),
            (PASSPHRASE_SLOT, None) => report.damage.push(Damage::of("a key slot")),
            (kind, _) => report.recovery |= kind == RECOVERY_SLOT,
        }
    }

    let mut names = BTreeSet::new();
    if !keyrings.iter().flatten().all(|keyring| names.insert(&keyring.name)) {
        report.damage.push(Damage::of("the table of projects"));
    }

    Ok(Inspection { vault, slots, rows, keyrings, readable: Vec::new(), report })
}

/// `None` for what is damaged, which is noted; an error for what has to do with the machine.
fn damaged_or<T>(
    read: Result<T, StoreError>,
    what: &'static str,
    report: &mut Report,
) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Damaged(_)) => {
            report.damage.push(Damage::of(what));
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// Where records stand by the index of ids, which is another tree of the file than the one that has the records.
struct IdIndex(HashMap<ProjectId, Vec<[u8; 16]>>);

impl IdIndex {
    fn read(
        snapshot: &dyn Snapshot,
        is_sound: bool,
        report: &mut Report,
    ) -> Result<Self, VaultError> {
        let mut places: HashMap<_, Vec<_>> = HashMap::new();
        let read = snapshot.places(&mut |pid, tag_ix| places.entry(pid).or_default().push(tag_ix));
        damaged_or(read, "the index of ids", report)?;

        // Pages that point at each other are counted without end, and tell nothing.
        if !is_sound {
            return Ok(Self(places));
        }

        let orphans =
            damaged_or(snapshot.orphans(), "the file's own structure", report)?.unwrap_or_default();
        for (count, what) in [
            (orphans.values, "a value that belongs to no secret"),
            (orphans.records, "a record that belongs to no project"),
            (orphans.buckets, "a bucket that belongs to no project"),
        ] {
            report.damage.extend((count > 0).then(|| Damage::of(what)));
        }

        Ok(Self(places))
    }
}

/// Reads once more what cannot be read. SQLite refuses a page for one cell that is out of place, but only when it reads the
/// page for the first time (`PRAGMA cell_size_check`); the other rows of that page are found after that.
fn twice<T, E>(read: impl Fn() -> Result<T, E>) -> Result<T, E> {
    read().or_else(|_| read())
}

/// A project being looked at.
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
        keyring: &Keyring,
        places: &IdIndex,
        on_progress: &mut dyn FnMut(u64),
    ) -> ProjectFindings {
        let (project, vouched) = match Project::open(self.snapshot, &vault.vault_id, row, keyring) {
            Ok(project) => (project, true),
            Err(error) => {
                self.note(what_of(&error), None, None);
                (Project::unverified(&vault.vault_id, row, keyring), false)
            }
        };

        let mut seen = ProjectFindings { found: 0, readable: Vec::new() };
        let mut met: BTreeSet<[u8; 16]> = BTreeSet::new();
        for number in 0..=u8::MAX {
            let (leaves, proven) = match self.snapshot.leaves(&row.pid, number) {
                Ok(leaves) => {
                    let holds = tree::bucket(&row.pid, number, &leaves)
                        == project.buckets[usize::from(number)];
                    if vouched && !holds {
                        self.note("a bucket", None, None);
                    }

                    (leaves, vouched && holds)
                }
                Err(_) => {
                    self.note("a bucket", None, None);
                    (self.by_places(row, number, places), false)
                }
            };

            for leaf in leaves.into_iter().filter(|leaf| met.insert(leaf.tag_ix)) {
                seen.found += 1;
                if self.record(&project, &leaf) {
                    seen.readable.push(ReadableRecord { leaf, proven });
                }
            }

            on_progress(met.len() as u64);
            met.clear();
        }

        if vouched && seen.found != project.head.count {
            self.note("the number of records", None, None);
        }

        seen
    }

    /// The records of a bucket that cannot be read in one go, one by one.
    fn by_places(&self, row: &ProjectRow, number: u8, places: &IdIndex) -> Vec<Leaf> {
        let known = places.0.get(&row.pid).into_iter().flatten();
        let read = |tag_ix: &[u8; 16]| {
            let record = twice(|| self.snapshot.record(&row.pid, tag_ix)).ok()??;
            Some(Leaf { tag_ix: *tag_ix, rid: record.rid, leaf: record.leaf })
        };

        known.filter(|tag_ix| tag_ix[0] == number).filter_map(read).collect()
    }

    /// True for a record that opens with its value.
    fn record(&mut self, project: &Project<'_>, leaf: &Leaf) -> bool {
        let id = Some(SecretId(leaf.rid));
        let found = match twice(|| project.by_leaf(self.snapshot, leaf)) {
            Ok(found) => found,
            Err(error) => {
                self.note(what_of(&error), id, None);
                return false;
            }
        };

        match twice(|| project.value(self.snapshot, &found.record)) {
            Ok(_) => true,
            Err(error) => {
                self.note(what_of(&error), id, Some(found.metadata.tag));
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
    fn of(what: &'static str) -> Self {
        Self { what, project: None, id: None, tag: None }
    }
}

/// What of a project an error tells of.
fn what_of(error: &VaultError) -> &'static str {
    match error {
        VaultError::Project { what, .. } | VaultError::Record { what, .. } => what,
        _ => "a part of the file",
    }
}
