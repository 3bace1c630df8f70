//! Where sealed records are kept: the trait, and what can go wrong.
//!
//! A store sees only sealed bytes. It neither encrypts nor verifies; a hostile one can withhold and answer nonsense,
//! which [`crate::vault`] notices. Rows are those of docs/format.md, section 6.

mod checkpoints;
mod neighbours;
mod records;
mod sqlite;
mod vault_path;

use std::path::PathBuf;

pub use checkpoints::CheckpointStore;
pub use neighbours::has_fixed_modes;
pub use records::Records;
pub use sqlite::{NewFile, SqliteStore};
pub use vault_path::{
    IfExists, JOURNALS, absolute, before_recovery, beside, check_directory_for, check_new,
    check_new_vault, looks_like_a_vault, make_directory, quoted, rename_new,
};

use crate::crypto::ids::{Hash, ProjectId, RecordId};
use crate::crypto::rows::{Grant, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::tree::Leaf;

/// The application id of a vault's SQLite file: `SCRT`.
pub const APPLICATION_ID: i32 = 0x5343_5254;
/// The format that this version writes. It reads every earlier one.
pub const FORMAT: i32 = 2;

/// Most projects of a vault: each is read and opened with every command, and a hostile file has no more than this.
pub const MOST_PROJECTS: usize = 10_000;

/// A place for sealed records.
///
/// Everything that one operation reads comes from one [`Snapshot`]; everything that it writes is applied in one
/// [`Transaction`], which reads the state that it will replace. Two writers wait for each other.
pub trait Store {
    /// Begins a consistent view; it ends when dropped.
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError>;
    /// Begins a change, waiting up to 30 seconds for another one to end. Dropped uncommitted, it changes nothing.
    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError>;
    /// Overwrites what deleted and changed rows have left behind, however large the store is.
    fn compact(&self) -> Result<(), StoreError>;
    /// True if an interrupted change was rolled back, and the files as they were before are kept until [`Store::confirm`].
    fn keeps_copies(&self) -> bool {
        false
    }
    /// Removes those copies: the store was checked, and is right as it is now.
    fn confirm(&self) {}
}

/// A consistent view of a store.
pub trait Snapshot {
    /// The vault's own row.
    fn vault(&self) -> Result<VaultRow, StoreError>;
    /// All slots in ascending order of their ids.
    fn slots(&self) -> Result<Vec<Slot>, StoreError>;
    /// All projects in ascending order of their ids.
    fn projects(&self) -> Result<Vec<ProjectRow>, StoreError>;
    /// Those that can be read, their heads perhaps without content, and whether that is all of them as they should be.
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError>;
    /// All grants in ascending order of their ids.
    fn grants(&self) -> Result<Vec<Grant>, StoreError>;
    /// The hashes of a project's buckets that hold records.
    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError>;
    /// The leaves of one bucket in ascending order of `tag_ix`.
    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError>;
    /// One record by its blind index.
    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError>;
    /// Hands over every record of a project in ascending order of `tag_ix`, until `visit` answers false.
    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError>;
    /// Where the record of an id stands.
    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError>;
    /// Hands over where every record stands, by the index of ids: project and blind index.
    fn places(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError>;
    /// Counts rows that belong to nothing.
    fn orphans(&self) -> Result<OrphanRows, StoreError>;
    /// True where the store finds no fault with its own structure.
    fn is_sound(&self) -> Result<bool, StoreError>;
    /// A sealed value.
    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Begins a walk through everything, see [`Walk`].
    fn begin_walk(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Ends it.
    fn end_walk(&self) {}
}

/// A walk through everything that a snapshot has. Until it is dropped, all that is read shares one budget of work, in proportion to
/// the store's size; what goes beyond it is damage.
pub struct Walk<'a>(&'a dyn Snapshot);

impl<'a> Walk<'a> {
    /// Begins one.
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

/// Rows that belong to nothing: no operation reads or leaves any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrphanRows {
    /// Values without a record
    pub values: u64,
    /// Records without a project
    pub records: u64,
    /// Buckets without a project
    pub buckets: u64,
}

/// A change in the making. Reads see what was applied before them.
pub trait Transaction: Snapshot {
    /// Applies one change.
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError>;
    /// Makes all applied changes durable, or none.
    fn commit(self: Box<Self>) -> Result<Committed, StoreError>;
}

/// One change of one row.
pub enum Change<'a> {
    /// Removes everything, for good
    Clear,
    /// Adds a grant
    Grant(&'a Grant),
    /// Removes the slot of an id, for good
    DropSlot(&'a [u8]),
    /// Replaces the vault's row
    Vault(&'a VaultRow),
    /// Adds a slot
    Slot(&'a Slot),
    /// Adds or replaces a project's row
    Project(&'a ProjectRow),
    /// Removes a project with its buckets, records and values
    DropProject(&'a ProjectId),
    /// Adds or replaces a bucket's hash; `None` removes it
    Bucket(&'a ProjectId, u8, Option<&'a Hash>),
    /// Adds or replaces a record
    Record(&'a ProjectId, &'a Record),
    /// Replaces the record of an index by one of another, of the same id
    MoveRecord(&'a ProjectId, &'a [u8; 16], &'a Record),
    /// Removes a record and its value
    DropRecord(&'a ProjectId, &'a Record),
    /// Adds or replaces a sealed value
    Value(&'a RecordId, &'a [u8]),
}

/// What is to be said of a change that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Deleted or replaced bytes are still in the file: `compact` overwrites them
    pub compaction_due: bool,
}

/// Why a store could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is nothing at the path
    #[error("no vault at `{}`", .0.display())]
    Missing(PathBuf),
    /// The directory in which a file is to be made is missing
    #[error("the directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// There is something at the path already
    #[error("`{}` already exists", .0.display())]
    Exists(PathBuf),
    /// The path names no file
    #[error("`{}` is not the path of a file", .0.display())]
    BadPath(PathBuf),
    /// The file could be read or replaced by somebody else; `mend` is a command where one helps
    #[error("`{}` {why}", path.display())]
    Unsafe {
        /// The vault
        path: PathBuf,
        /// Half a sentence: "is a symbolic link"
        why: &'static str,
        /// A command line
        fix: Option<String>,
    },
    /// A journal that was not written for this state of the vault
    #[error("`{}` was not written for the vault's current state; it would roll the vault back and was not used", .0.display())]
    ForeignJournal(PathBuf),
    /// Not an SQLite file of ours
    #[error("`{}` is not a vault", .0.display())]
    NotAVault(PathBuf),
    /// A vault of another format
    #[error("the vault has format {0}; this version of `secrets` reads formats 1 to {FORMAT}")]
    Format(i32),
    /// The tables are not what the format says; the text names them
    #[error("the vault's {0} is damaged or was tampered with")]
    Damaged(&'static str),
    /// What was last seen of a vault cannot be read
    #[error("cannot read the vault's checkpoint `{}`: {source}", path.display())]
    Checkpoint {
        /// The file
        path: PathBuf,
        /// The system's word
        source: std::io::Error,
    },
    /// Another process kept the vault for 30 seconds
    #[error("the vault is busy: another process has been using it for 30 seconds")]
    Busy,
    /// The file system knows no locks, without which readers and writers destroy each other's work
    #[error("the vault's file system does not support file locks")]
    NoLocks,
    /// On a read-only file system, or without the right to write
    #[error("the vault cannot be written: the file or its file system is read-only")]
    ReadOnly,
    /// No space left
    #[error("no space left on the vault's file system; nothing was changed")]
    Full,
    /// The system failed; SQLite's code tells developers more
    #[error("cannot read or write the vault (SQLite code {0})")]
    Sqlite(i32),
    /// The system failed
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// "create", "open"
        action: &'static str,
        /// What was to be created or opened
        path: PathBuf,
        /// The system's word
        source: std::io::Error,
    },
}
