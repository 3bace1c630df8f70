//! Rows of a vault's directory in memory, and the changes that were made to them.
//!
//! A client sends such rows to the agent, which runs the same code on them as on a store. The agent
//! sends the changes back. Everything is sealed, and nothing is trusted: what is missing here looks
//! like a damaged store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::row_codec::{self, put_audit, put_bytes, put_list, put_project, put_record};
use super::{Change, CommitError, Inspection, Snapshot, StoreError, Transaction};
use crate::codec::Reader;
use crate::crypto::ids::{DIRECTORY, Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{
    AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow, slots_hash,
};
use crate::crypto::tree::{BUCKETS, Leaf};

/// The error of a read that the rows do not answer.
const ABSENT: StoreError = StoreError::Damaged("list of projects");

/// Rows of the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowSet {
    row: Option<ProjectRow>,
    slots: Hash,
    is_copy: bool,
    buckets: Vec<(u8, Hash)>,
    leaves: BTreeMap<u8, Vec<Leaf>>,
    records: BTreeMap<[u8; 16], Record>,
    values: BTreeMap<RecordId, Vec<u8>>,
    changes: Vec<OwnedChange>,
}

/// A change of the directory or of a project that it adds or deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnedChange {
    /// See [`Change::Project`] for the directory, and [`Change::NewProject`] for a project
    Project(ProjectRow),
    /// See [`Change::DropProject`]
    DropProject(ProjectId),
    /// See [`Change::Bucket`]
    Bucket(u8, Option<Hash>),
    /// See [`Change::Record`]
    Record(Record),
    /// See [`Change::DropRecord`]
    DropRecord(Record),
    /// See [`Change::Value`]
    Value(RecordId, Vec<u8>),
    /// See [`Change::Audit`]
    Audit(ProjectId, AuditRow),
}

impl OwnedChange {
    /// Applies the change.
    pub fn apply(&self, to: &mut dyn Transaction) -> Result<(), StoreError> {
        to.apply(match self {
            Self::Project(row) if row.pid == DIRECTORY => Change::Project(row),
            Self::Project(row) => Change::NewProject(row),
            Self::DropProject(pid) => Change::DropProject(pid),
            Self::Bucket(number, hash) => Change::Bucket(&DIRECTORY, *number, hash.as_ref()),
            Self::Record(record) => Change::Record(&DIRECTORY, record),
            Self::DropRecord(record) => Change::DropRecord(&DIRECTORY, record),
            Self::Value(rid, sealed) => Change::Value(rid, sealed),
            Self::Audit(pid, row) => Change::Audit(pid, row),
        })
    }
}

impl RowSet {
    /// Reads the directory's head and the hashes of its buckets.
    pub fn read(from: &dyn Snapshot) -> Result<Self, StoreError> {
        let row = from.project(&DIRECTORY)?.ok_or(ABSENT)?;
        let slots = slots_hash(&from.slots()?, &from.vault()?.past);
        let buckets = from.buckets(&DIRECTORY)?;
        Ok(Self { row: Some(row), slots, buckets, ..Self::default() })
    }

    /// Does the same as [`RowSet::read`] with a copy of the vault, whose state must not be mistaken for
    /// the vault's.
    pub fn read_copy(from: &dyn Snapshot) -> Result<Self, StoreError> {
        Ok(Self { is_copy: true, ..Self::read(from)? })
    }

    /// Returns true if the rows come from a copy.
    pub fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Adds the leaves of a bucket, if they are not there yet.
    pub fn add_bucket(&mut self, from: &dyn Snapshot, number: u8) -> Result<(), StoreError> {
        if let Entry::Vacant(vacant) = self.leaves.entry(number) {
            vacant.insert(from.leaves(&DIRECTORY, number)?);
        }

        Ok(())
    }

    /// Adds the record at an index and its value, if they exist, and the leaves of the bucket.
    pub fn add(&mut self, from: &dyn Snapshot, index: &[u8; 16]) -> Result<(), StoreError> {
        self.add_bucket(from, index[0])?;
        if let Some(record) = from.record(&DIRECTORY, index)? {
            if let Some(value) = from.value(&record.rid)? {
                self.values.insert(record.rid, value);
            }

            self.records.insert(*index, record);
        }

        Ok(())
    }

    /// Returns the hash of the vault's slots, see [`slots_hash`].
    pub fn slots(&self) -> Hash {
        self.slots
    }

    /// Returns the number of bytes of [`RowSet::encode`].
    pub fn size(&self) -> usize {
        self.encode().len()
    }

    /// Removes the changes and returns them.
    pub fn take_changes(&mut self) -> Vec<OwnedChange> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the rows as bytes, without the changes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.slots.to_vec();
        bytes.push(u8::from(self.is_copy));
        let row = self.row.iter();
        put_list(&mut bytes, row.len(), row, put_project);
        put_list(&mut bytes, self.buckets.len(), self.buckets.iter(), |out, (number, hash)| {
            out.push(*number);
            out.extend(hash);
        });

        put_list(&mut bytes, self.leaves.len(), self.leaves.iter(), |out, (number, leaves)| {
            out.push(*number);
            put_list(out, leaves.len(), leaves.iter(), |out, leaf| {
                out.extend(leaf.tag_ix);
                out.extend(leaf.rid);
                out.extend(leaf.leaf);
            });
        });

        put_list(&mut bytes, self.records.len(), self.records.values(), put_record);
        put_list(&mut bytes, self.values.len(), self.values.iter(), |out, (rid, value)| {
            out.extend(rid);
            put_bytes(out, &[value]);
        });

        bytes
    }

    /// Decodes the bytes of [`RowSet::encode`]. Returns `None` for any other bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let slots = reader.array()?;
        let is_copy = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };

        let row = reader.list(row_codec::project)?;
        (row.len() <= 1).then_some(())?;
        let buckets = reader.list(|reader| Some((reader.u8()?, reader.array()?)))?;
        (buckets.len() <= BUCKETS).then_some(())?;
        let leaf = |reader: &mut Reader<'_>| {
            Some(Leaf { tag_ix: reader.array()?, rid: reader.array()?, leaf: reader.array()? })
        };

        let leaves = reader.list(|reader| Some((reader.u8()?, reader.list(leaf)?)))?;
        let records = reader.list(row_codec::record)?;
        let value = |reader: &mut Reader<'_>| Some((reader.array()?, reader.prefixed()?.to_vec()));
        let values = reader.list(value)?;
        Some(Self {
            row: row.into_iter().next(),
            slots,
            is_copy,
            buckets,
            leaves: leaves.into_iter().collect(),
            records: records.into_iter().map(|record| (record.tag_ix, record)).collect(),
            values: values.into_iter().collect(),
            changes: Vec::new(),
        })
    }
}

/// Returns changes as bytes.
pub fn encode_changes(changes: &[OwnedChange]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_list(&mut bytes, changes.len(), changes.iter(), |out, change| match change {
        OwnedChange::Project(row) => {
            out.push(1);
            put_project(out, row);
        }
        OwnedChange::DropProject(pid) => {
            out.push(2);
            out.extend(pid);
        }
        OwnedChange::Bucket(number, hash) => {
            out.extend([3, *number]);
            put_list(out, hash.iter().len(), hash.iter(), Extend::extend);
        }
        OwnedChange::Record(record) => {
            out.push(4);
            put_record(out, record);
        }
        OwnedChange::DropRecord(record) => {
            out.push(5);
            put_record(out, record);
        }
        OwnedChange::Value(rid, sealed) => {
            out.push(6);
            out.extend(rid);
            put_bytes(out, &[sealed]);
        }
        OwnedChange::Audit(pid, row) => {
            out.push(7);
            out.extend(pid);
            put_audit(out, row);
        }
    });

    bytes
}

/// Decodes the bytes of [`encode_changes`].
pub fn decode_changes(reader: &mut Reader<'_>) -> Option<Vec<OwnedChange>> {
    reader.list(|reader| {
        Some(match reader.u8()? {
            1 => OwnedChange::Project(row_codec::project(reader)?),
            2 => OwnedChange::DropProject(reader.array()?),
            3 => {
                let number = reader.u8()?;
                let hash = reader.list(Reader::array)?;
                (hash.len() <= 1).then_some(())?;
                OwnedChange::Bucket(number, hash.first().copied())
            }
            4 => OwnedChange::Record(row_codec::record(reader)?),
            5 => OwnedChange::DropRecord(row_codec::record(reader)?),
            6 => OwnedChange::Value(reader.array()?, reader.prefixed()?.to_vec()),
            7 => {
                let pid = reader.array()?;
                OwnedChange::Audit(pid, row_codec::audit(reader)?)
            }
            _ => return None,
        })
    })
}

impl Snapshot for RowSet {
    fn vault(&self) -> Result<VaultRow, StoreError> {
        Err(ABSENT)
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        Err(ABSENT)
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        Ok(self.row.clone().filter(|row| row.pid == *pid))
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        Err(ABSENT)
    }

    fn grant(&self, _: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        Err(ABSENT)
    }

    fn policy(&self, _: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        Err(ABSENT)
    }

    fn audit(
        &self,
        _: &ProjectId,
        _: u64,
        _: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        Err(ABSENT)
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        if *pid == DIRECTORY { Ok(self.buckets.clone()) } else { Err(ABSENT) }
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        let leaves = self.leaves.get(&bucket).filter(|_| *pid == DIRECTORY);
        leaves.cloned().ok_or(ABSENT)
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        Ok(self.records.get(tag_ix).filter(|_| *pid == DIRECTORY).cloned())
    }

    fn records(&self, _: &ProjectId, _: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        Err(ABSENT)
    }

    fn locate(&self, _: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        Err(ABSENT)
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.values.get(rid).cloned())
    }

    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        Err(ABSENT)
    }
}

impl Transaction for RowSet {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        // A later part of the same change reads these rows again.
        match change {
            Change::Record(_, record) => {
                self.records.insert(record.tag_ix, record.clone());
            }
            Change::DropRecord(_, record) => {
                self.records.remove(&record.tag_ix);
                self.values.remove(&record.rid);
            }
            Change::Value(rid, sealed) => {
                self.values.insert(*rid, sealed.to_vec());
            }
            _ => {}
        }

        self.changes.push(match change {
            Change::Project(row) | Change::NewProject(row) => OwnedChange::Project(row.clone()),
            Change::DropProject(pid) => OwnedChange::DropProject(*pid),
            Change::Bucket(pid, number, hash) if *pid == DIRECTORY => {
                OwnedChange::Bucket(number, hash.copied())
            }
            Change::Record(pid, record) if *pid == DIRECTORY => OwnedChange::Record(record.clone()),
            Change::DropRecord(pid, record) if *pid == DIRECTORY => {
                OwnedChange::DropRecord(record.clone())
            }
            Change::Value(rid, sealed) => OwnedChange::Value(*rid, sealed.to_vec()),
            Change::Audit(pid, row) => OwnedChange::Audit(*pid, row.clone()),
            _ => return Err(ABSENT),
        });

        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        Err(ABSENT.into())
    }
}
