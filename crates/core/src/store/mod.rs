//! Storage of sealed records: the trait and its errors.
//!
//! A store sees only sealed bytes. It neither encrypts nor verifies. A hostile store can withhold
//! data or return garbage, and [`crate::vault`] detects that. The rows are those of docs/format.md,
//! section 6.

mod checkpoints;
mod neighbours;
mod row_set;
mod sqlite;
mod vault_path;

use std::path::PathBuf;

pub use checkpoints::CheckpointStore;
pub use neighbours::rename_aside;
pub use row_set::{OwnedChange, RowSet, decode_changes, encode_changes};
pub use sqlite::{NewFile, SqliteStore};
pub use vault_path::{
    IfExists, JOURNALS, absolute, before_recovery, check_directory_for, check_new, check_new_vault,
    create_directory_for, looks_like_a_vault, quoted,
};

use crate::crypto::ids::{Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::tree::Leaf;

/// The application id of a vault's SQLite file: `SCRT`.
pub const APPLICATION_ID: i32 = 0x5343_5254;
/// The only format that this version reads and writes. Formats 1 and 2 were never released.
pub const FORMAT: i32 = 3;

/// The maximum number of projects in a vault, which bounds the work that a hostile file can cause.
pub const MAX_PROJECTS: usize = 10_000;

/// A store of sealed records.
///
/// One operation reads everything from one [`Snapshot`] and writes everything in one
/// [`Transaction`], which also reads the state that it replaces. Two writers wait for each other.
pub trait Store {
    /// Begins a consistent view, which ends on drop.
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError>;
    /// Begins a change. Waits up to 30 seconds for another one to end. Without a commit, it changes
    /// nothing.
    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError>;
    /// Overwrites the remains of deleted and changed rows, whatever the size of the store.
    fn compact(&self) -> Result<(), StoreError>;
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
    /// Returns the vault's own row.
    fn vault(&self) -> Result<VaultRow, StoreError>;
    /// Returns all slots in ascending order of their ids.
    fn slots(&self) -> Result<Vec<Slot>, StoreError>;
    /// Returns the row of one project, or of the directory.
    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError>;
    /// Returns all projects in ascending order of their ids. The directory is the first one.
    fn projects(&self) -> Result<Vec<ProjectRow>, StoreError>;
    /// Returns the projects that can be read, and whether these are all projects and undamaged. A
    /// head that cannot be read is empty.
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError>;
    /// Returns all grants in ascending order of their ids.
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
    /// Passes the project and the blind index of every record to `visit`, in the order of the index
    /// of ids.
    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError>;
    /// Counts orphan rows.
    fn orphans(&self) -> Result<OrphanRows, StoreError>;
    /// Returns true if the store finds its own structure intact.
    fn is_sound(&self) -> Result<bool, StoreError>;
    /// Returns a sealed value.
    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Begins a walk through all data, see [`Walk`].
    fn begin_walk(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Ends a walk.
    fn end_walk(&self) {}
}

/// A walk through all data of a snapshot. Until it is dropped, all reads share one budget of work
/// in proportion to the store's size. Exceeding it counts as damage.
pub struct Walk<'a>(&'a dyn Snapshot);

impl<'a> Walk<'a> {
    /// Begins a walk.
    pub fn begin(snapshot: &'a dyn Snapshot) -> Result<Self, StoreError> {
        snapshot.begin_walk()?;
        Ok(Self(snapshot))
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
    /// Makes all applied changes durable, or none of them.
    fn commit(self: Box<Self>) -> Result<Committed, StoreError>;
}

/// A change to one row or to a few rows.
pub enum Change<'a> {
    /// Removes everything and overwrites the old bytes
    Clear,
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
    /// Removes a project with its buckets, records, values, policy and audit log
    DropProject(&'a ProjectId),
    /// Adds or replaces a bucket's hash, or removes it with `None`
    Bucket(&'a ProjectId, u8, Option<&'a Hash>),
    /// Adds or replaces a record
    Record(&'a ProjectId, &'a Record),
    /// Replaces the record at an index by a record with the same id at another index
    MoveRecord(&'a ProjectId, &'a [u8; 16], &'a Record),
    /// Removes a record and its value
    DropRecord(&'a ProjectId, &'a Record),
    /// Adds or replaces a sealed value
    Value(&'a RecordId, &'a [u8]),
}

/// The result of a durable change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Deleted or replaced bytes are still in the file, until `compact` overwrites them
    pub compaction_due: bool,
}

/// The reason why a store could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The path does not exist
    #[error("no vault at `{}`", .0.display())]
    Missing(PathBuf),
    /// The directory for a new file does not exist
    #[error("the directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The path already exists
    #[error("`{}` already exists", .0.display())]
    Exists(PathBuf),
    /// The path does not name a file
    #[error("`{}` is not the path of a file", .0.display())]
    BadPath(PathBuf),
    /// Somebody else could read or replace the file; `fix` is a command that helps, if one exists
    #[error("`{}` {why}", path.display())]
    Unsafe {
        /// The file or directory
        path: PathBuf,
        /// A predicate, for example "is a symbolic link"
        why: &'static str,
        /// A command line
        fix: Option<String>,
    },
    /// The journal was not written for this state of the vault
    #[error("`{}` was not written for the vault's current state; it would roll the vault back and was not used", .0.display())]
    ForeignJournal(PathBuf),
    /// The file is not a SQLite file of ours
    #[error("`{}` is not a vault", .0.display())]
    NotAVault(PathBuf),
    /// The vault has a format that this version does not know
    #[error("the vault has format {0}; this version of `secrets` reads format {FORMAT}")]
    Format(i32),
    /// The tables do not follow the format; the text names them
    #[error("the vault's {0} is damaged or was tampered with")]
    Damaged(&'static str),
    /// A checkpoint cannot be read
    #[error("cannot read the vault's checkpoint `{}`: {source}", path.display())]
    Checkpoint {
        /// The file
        path: PathBuf,
        /// The system's error
        source: std::io::Error,
    },
    /// Another process has used the vault for 30 seconds
    #[error("the vault is busy: another process has been using it for 30 seconds")]
    Busy,
    /// The file system does not support locks, without which readers and writers destroy each
    /// other's work
    #[error("the vault's file system does not support file locks")]
    NoLocks,
    /// The file system is read-only, or we lack the permission to write
    #[error("the vault cannot be written: the file or its file system is read-only")]
    ReadOnly,
    /// The file system has no space left
    #[error("no space left on the vault's file system; nothing was changed")]
    Full,
    /// A system call failed; the SQLite code is for developers
    #[error("cannot read or write the vault (SQLite code {0})")]
    Sqlite(i32),
    /// A system call failed
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The verb that fits, for example "create" or "open"
        action: &'static str,
        /// The file or directory
        path: PathBuf,
        /// The system's error
        source: std::io::Error,
    },
}
