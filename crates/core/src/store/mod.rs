//! Storage of sealed records: the trait and its errors.
//!
//! A store sees only sealed bytes. It neither encrypts nor verifies. A hostile store can withhold
//! data or return garbage, and [`crate::vault`] detects that. The rows are those of docs/format.md,
//! section 6.

mod checkpoints;
mod commit;
mod error;
pub mod limits;
mod location;
mod neighbours;
pub mod remote;
mod row_codec;
mod row_set;
mod sqlite;
mod vault_path;
mod want;

pub use checkpoints::CheckpointStore;
pub use commit::{CommitError, Doubt, commit};
pub use error::StoreError;
pub use location::Location;
pub use neighbours::rename_aside;
pub use remote::{CachePlace, Connector, Fallback, OfflineRules, RemoteStore, Server, ServerError};
pub use row_set::{OwnedChange, RowSet, decode_changes, encode_changes};
pub use sqlite::{NearRows, NewFile, SqliteStore};
pub use vault_path::{
    IfExists, JOURNALS, absolute, before_recovery, check_directory_for, check_new, check_new_vault,
    create_directory_for, looks_like_a_vault, quoted,
};
pub use want::{Extent, SMALL, Want};

use crate::crypto::aead::Key;
use crate::crypto::ids::{Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::tree::Leaf;
use crate::model::{SecretBytes, Timestamp};

/// The application id of a vault's SQLite file: `SCRT`.
pub const APPLICATION_ID: i32 = 0x5343_5254;
/// The only format that this version reads and writes. Formats 1 and 2 were never released.
pub const FORMAT: i32 = 3;

/// The maximum number of projects in a vault, which bounds the work that a hostile file can cause.
pub const MAX_PROJECTS: usize = 10_000;

/// The name of the table of projects in errors.
const PROJECTS: &str = "table of projects";

/// A store of sealed records.
///
/// One operation reads everything from one [`Snapshot`] and writes everything in one
/// [`Transaction`], which also reads the state that it replaces. Two writers wait for each other.
///
/// A store on a network sends nothing when a snapshot or a transaction begins. The first
/// [`Snapshot::fetch`] begins it there, in the same trip (docs/design/store-trips.md).
pub trait Store: Send {
    /// Begins a consistent view, which ends on drop.
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError>;
    /// Begins a change. Waits up to 30 seconds for another one to end. Without a commit, it changes
    /// nothing.
    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError>;
    /// Returns where the store is.
    fn location(&self) -> Location;
    /// Returns true if a trip to the store costs time, so that callers collect what they will read.
    fn is_remote(&self) -> bool {
        false
    }
    /// Finds out from what is stored now whether a commit happened whose outcome is unknown. Fails
    /// if that cannot be known.
    fn settle(&self, doubt: &Doubt) -> Result<bool, StoreError> {
        doubt.is_stored(&*self.read()?)
    }
    /// Says whether the next change may assume that the rows that this machine saw last are current. A
    /// store on a server then asks nothing before the commit, which fails with [`StoreError::Raced`]
    /// if they are not.
    fn assume_current(&self, _may_assume: bool) {}
    /// Returns true if the last change lost a race, and the store has locked what the next attempt needs.
    /// Other writers wait for that attempt.
    fn has_locked(&self) -> bool {
        false
    }
    /// Returns true if the last change has assumed that, and neither the server nor a commit has
    /// confirmed it. Its result may then belong to an earlier state.
    fn has_only_assumed(&self) -> bool {
        false
    }
    /// Opens the address of the vault's server with the key that seals checkpoints.
    fn unlock(&self, _key: &Key) {}
    /// Returns the content of the near file of a vault on a server.
    fn near(&self) -> Result<Option<NearRows>, StoreError> {
        Ok(None)
    }
    /// Replaces the content of the near file.
    fn replace_near(&self, _rows: &NearRows) -> Result<(), StoreError> {
        Err(ServerError::NoAddress.into())
    }
    /// Returns the opened address of the vault's server.
    fn address(&self) -> Option<&SecretBytes> {
        None
    }
    /// Returns the key slots on the server as they were last seen.
    fn recovery_slots(&self) -> Result<Vec<Slot>, StoreError> {
        Ok(Vec::new())
    }
    /// Returns why and with rows of what age something was read without the server, if it was.
    fn fallback(&self) -> Option<Fallback> {
        None
    }
    /// Returns what this machine has seen of a vault on a server, and the projects whose heads it has
    /// seen.
    fn cached(&self) -> Result<(Box<dyn Snapshot + '_>, Vec<ProjectId>), StoreError> {
        Err(ServerError::NoAddress.into())
    }
    /// Makes projects on the server those that this machine has seen, which follow on them. With
    /// `has_grants`, it has seen the grants of all tokens. Returns the projects of which it has not
    /// seen everything that the server lacks. They are left out; with the directory, everything is.
    fn put_back(
        &self,
        _pids: &[ProjectId],
        _has_grants: bool,
    ) -> Result<Vec<ProjectId>, StoreError> {
        Err(ServerError::NoAddress.into())
    }
    /// Returns when this machine last compared the directory with the server's.
    fn last_seen(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }
    /// Returns false if the last commit may be on one server only, although the server was set up to
    /// wait for another.
    fn is_replicated(&self) -> bool {
        true
    }
    /// Overwrites the remains of deleted and changed rows, whatever the size of the store.
    fn compact(&self) -> Result<(), StoreError>;
    /// Returns true if the last commit left deleted bytes in the store, until `compact` overwrites
    /// them.
    fn needs_compaction(&self) -> bool {
        false
    }
    /// Returns true if an interrupted change was rolled back and copies of the files from before
    /// the rollback are kept until [`Store::confirm`].
    fn keeps_copies(&self) -> bool {
        false
    }
    /// Removes those copies. Call it after the store was checked and found intact.
    fn confirm(&self) {}
}

/// A consistent view of a store.
pub trait Snapshot {
    /// Returns the error for a state that is older than one that was seen, if this view may be: it was
    /// taken without the vault's server.
    fn outdated(&self) -> Option<StoreError> {
        None
    }
    /// Fetches rows that the caller will read, all of them in one trip. Rows that were fetched
    /// before cost no trip. Every other method that reads a row that was not fetched makes a trip of
    /// its own.
    fn fetch(&self, _wants: &[Want<'_>]) -> Result<(), StoreError> {
        Ok(())
    }
    /// Says that the head of a project was verified and compared with its checkpoint. A store that
    /// keeps copies then keeps what it fetched of the project.
    fn accept(&self, _pid: &ProjectId) {}
    /// Returns the vault's own row.
    fn vault(&self) -> Result<VaultRow, StoreError>;
    /// Returns all slots in ascending order of their ids.
    fn slots(&self) -> Result<Vec<Slot>, StoreError>;
    /// Returns the row of one project, or of the directory.
    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError>;
    /// Returns all grants in ascending order of their ids. One that is too long is empty, so that
    /// its token's holder, who can write it, does not stop the owner.
    fn grants(&self) -> Result<Vec<GrantRow>, StoreError>;
    /// Returns one token's grant.
    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError>;
    /// Returns a project's policy. More than one counts as damage.
    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError>;
    /// Passes a project's audit log to `visit` in ascending order of `seq`, from `from` on, until
    /// `visit` returns false.
    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError>;
    /// Returns the hashes of a project's buckets that hold records.
    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError>;
    /// Returns the leaves of one bucket in ascending order of `tag_ix`.
    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError>;
    /// Returns one record by its blind index.
    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError>;
    /// Passes every record of a project to `visit` in ascending order of `tag_ix`, until `visit`
    /// returns false.
    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError>;
    /// Returns the project and the blind index of the record with this id.
    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError>;
    /// Returns a sealed value.
    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Returns the view for the inspection of the whole store.
    fn inspection(&self) -> Result<&dyn Inspection, StoreError>;
}

/// What only the inspection and the copying of a whole store need.
pub trait Inspection: Snapshot {
    /// Returns the projects that can be read, in ascending order of their ids, and whether these are
    /// all projects and undamaged. The directory is the first one. A head that cannot be read is
    /// empty.
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError>;
    /// Returns all projects in ascending order of their ids.
    fn projects(&self) -> Result<Vec<ProjectRow>, StoreError> {
        match self.readable_projects()? {
            (rows, true) => Ok(rows),
            _ => Err(StoreError::Damaged(PROJECTS)),
        }
    }
    /// Passes the project and the blind index of every record to `visit`, in the order of the index
    /// of ids.
    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError>;
    /// Counts orphan rows.
    fn orphans(&self) -> Result<OrphanRows, StoreError>;
    /// Returns true if the store finds its own structure intact.
    fn is_sound(&self) -> Result<bool, StoreError>;
    /// Begins a walk through all data, see [`Walk`].
    fn begin_walk(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Ends a walk.
    fn end_walk(&self) {}
}

/// A walk through all data of a snapshot. Until it is dropped, all reads share one budget of work
/// in proportion to the store's size. Exceeding it counts as damage.
pub struct Walk<'a>(&'a dyn Inspection);

impl<'a> Walk<'a> {
    /// Begins a walk.
    pub fn begin(inspection: &'a dyn Inspection) -> Result<Self, StoreError> {
        inspection.begin_walk()?;
        Ok(Self(inspection))
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.0.end_walk();
    }
}

/// The numbers of orphan rows, which belong to nothing. No operation reads or creates any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrphanRows {
    /// Values without a record
    pub values: u64,
    /// Records without a project
    pub records: u64,
    /// Buckets without a project
    pub buckets: u64,
    /// Policies without a project
    pub policies: u64,
    /// Entries of the audit log without a project
    pub audit: u64,
}

/// A change that is not committed yet. Reads see everything that was applied before them.
pub trait Transaction: Snapshot {
    /// Applies one change.
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError>;
    /// Makes all applied changes durable, or none of them. Callers use [`commit()`], which settles an
    /// unknown outcome.
    fn commit(self: Box<Self>) -> Result<(), CommitError>;
}

/// A change to one row or to a few rows.
pub enum Change<'a> {
    /// Removes everything and overwrites the old bytes
    Clear,
    /// Replaces the content of the near file, if the vault has one
    Near(&'a NearRows),
    /// Adds or replaces a grant, and overwrites the old bytes
    Grant(&'a GrantRow),
    /// Removes a grant and overwrites the old bytes
    DropGrant(&'a TokenId),
    /// Sets the policy of a project, in place of any other
    Policy(&'a ProjectId, &'a PolicyRow),
    /// Adds or replaces an entry of a project's audit log
    Audit(&'a ProjectId, &'a AuditRow),
    /// Removes the entries of a project's audit log up to this `seq`, and overwrites the old bytes
    DropAudit(&'a ProjectId, u64),
    /// Removes the slot with this id and overwrites the old bytes
    DropSlot(&'a [u8]),
    /// Replaces the vault's row
    Vault(&'a VaultRow),
    /// Adds a slot
    Slot(&'a Slot),
    /// Adds or replaces a project's row
    Project(&'a ProjectRow),
    /// Adds the row of a project that does not exist, and fails with [`StoreError::IdTaken`] if it
    /// does. A store on a server may find that only at the commit. The project holds nothing but what
    /// this transaction writes.
    NewProject(&'a ProjectRow),
    /// Removes a project with its buckets, records, values, policy and audit log
    DropProject(&'a ProjectId),
    /// Adds or replaces a bucket's hash, or removes it with `None`
    Bucket(&'a ProjectId, u8, Option<&'a Hash>),
    /// Adds or replaces a record; fails with [`StoreError::IdTaken`] if another record has its id. A
    /// store on a server may find that only at the commit.
    Record(&'a ProjectId, &'a Record),
    /// Replaces the record at an index by a record with the same id at another index
    MoveRecord(&'a ProjectId, &'a [u8; 16], &'a Record),
    /// Removes a record and its value
    DropRecord(&'a ProjectId, &'a Record),
    /// Adds or replaces a sealed value
    Value(&'a RecordId, &'a [u8]),
}
