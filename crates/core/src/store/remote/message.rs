//! Questions and answers of one trip to a server.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crypto::ids::{Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};
use crate::store::Extent;

/// A question to a server, which takes one trip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The transaction that begins with this trip; `None` goes on with the one before
    pub begin: Option<Begin>,
    /// The projects whose heads are wanted
    pub scope: Scope,
    /// Only the heads that differ are wanted, without what belongs to them. Most often none does.
    pub heads_only: bool,
    /// Rows that are wanted, whatever the heads are
    pub asks: Vec<Ask>,
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Begin {
    /// A consistent view
    Read,
    /// A change. The projects of each request are locked before anything is read. The directory is
    /// locked against changes, or for a change by this transaction.
    Write {
        /// Whether this transaction may change the directory
        directory: bool,
    },
}

/// Projects whose heads are wanted. For a head that differs from the one that the caller has, the
/// server also sends the policy, the hashes of the buckets and the newest entries of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Projects by their ids
    pub known: Vec<KnownHead>,
    /// Projects by the index of their entries in the directory
    pub entries: Vec<([u8; 16], Extent)>,
    /// The projects of these records
    pub ids: Vec<RecordId>,
    /// All projects, with the directory
    pub all: Option<Extent>,
}

impl Scope {
    /// Returns true if all projects are named by their ids.
    pub fn is_known(&self) -> bool {
        self.entries.is_empty() && self.ids.is_empty() && self.all.is_none()
    }
}

/// A head that the caller has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownHead {
    /// The project
    pub pid: ProjectId,
    /// The signature of the head; empty if the caller has none
    pub sig: Vec<u8>,
    /// The last entry of the audit log that the caller has, or 0
    pub last_entry: u64,
    /// The rows to send if the head differs
    pub extent: Extent,
}

/// Rows that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// All records of these buckets
    Buckets(Vec<(ProjectId, u8)>),
    /// All records and values of the buckets of a project whose hashes begin with other bytes than
    /// these: four for each of the 256 buckets. Nothing if they are more than [`MAX_DIFFERING`].
    Differing(ProjectId, Vec<u8>),
    /// All records of these projects
    Records(Vec<ProjectId>),
    /// The records of a project in the buckets of these indexes
    Indexes {
        /// The project
        pid: ProjectId,
        /// The indexes
        indexes: Vec<[u8; 16]>,
        /// Whether the values of the records at the indexes are wanted as well
        values: bool,
    },
    /// The records in the buckets of the records with these ids, and the values of these
    Ids(Vec<RecordId>),
    /// Values
    Values(Vec<RecordId>),
    /// The project and the index of records
    Located(Vec<RecordId>),
    /// The grants of all tokens
    Grants,
    /// The grant of one token
    Grant(TokenId),
    /// A project's audit log from this `seq` on
    Audit(ProjectId, u64),
    /// Every row
    Everything,
}

/// The maximum number of buckets that an [`Ask::Differing`] brings. More of them are an import rather than
/// changes of single secrets.
pub const MAX_DIFFERING: usize = 128;

/// Rows of a vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The vault's own row
    pub vault: Option<VaultRow>,
    /// The slots of the vault on the server
    pub slots: Vec<Slot>,
    /// The projects of the scope that exist
    pub present: Vec<ProjectId>,
    /// Heads
    pub projects: Vec<ProjectRow>,
    /// Hashes of buckets
    pub buckets: Vec<(ProjectId, u8, Hash)>,
    /// Policies
    pub policies: Vec<(ProjectId, PolicyRow)>,
    /// Entries of audit logs
    pub audit: Vec<(ProjectId, AuditRow)>,
    /// Records
    pub records: Vec<(ProjectId, Record)>,
    /// Values
    pub values: Vec<(RecordId, Vec<u8>)>,
    /// Where records are
    pub located: Vec<(RecordId, ProjectId, [u8; 16])>,
    /// Grants
    pub grants: Vec<GrantRow>,
}

/// The net effect of a change, which a server commits in one trip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The transaction begins with this trip
    pub begins: bool,
    /// The signatures of heads as they must be now; empty for a project that must not exist
    pub expected: Vec<(ProjectId, Vec<u8>)>,
    /// Everything is removed first
    pub clears: bool,
    /// Projects to remove, with everything in them
    pub dropped_projects: Vec<ProjectId>,
    /// Buckets that hold no record any more
    pub dropped_buckets: Vec<(ProjectId, u8)>,
    /// Records to remove, by their indexes
    pub dropped_records: Vec<(ProjectId, [u8; 16])>,
    /// Values to remove
    pub dropped_values: Vec<RecordId>,
    /// Grants to remove
    pub dropped_grants: Vec<TokenId>,
    /// Slots to remove
    pub dropped_slots: Vec<Vec<u8>>,
    /// Logs to remove entries from, up to this `seq`
    pub dropped_audit: Vec<(ProjectId, u64)>,
    /// Entries of audit logs that must be new: one for each head
    pub entries: Vec<(ProjectId, AuditRow)>,
    /// Projects whose ids must be free
    pub new_projects: Vec<ProjectRow>,
    /// Rows to add or to replace
    pub rows: Rows,
    /// What to ask, in a new transaction with locks, if another writer came first. The answer comes in
    /// the same trip.
    pub or_ask: Option<Request>,
}

impl Update {
    /// Adds another update to this one.
    pub(super) fn append(&mut self, mut other: Self) {
        self.begins |= other.begins;
        self.clears |= other.clears;
        self.expected.append(&mut other.expected);
        self.dropped_projects.append(&mut other.dropped_projects);
        self.dropped_buckets.append(&mut other.dropped_buckets);
        self.dropped_records.append(&mut other.dropped_records);
        self.dropped_values.append(&mut other.dropped_values);
        self.dropped_grants.append(&mut other.dropped_grants);
        self.dropped_slots.append(&mut other.dropped_slots);
        self.dropped_audit.append(&mut other.dropped_audit);
        self.entries.append(&mut other.entries);
        self.new_projects.append(&mut other.new_projects);
        self.rows.append(other.rows);
    }
}

/// The reason why a server has not committed an update, or may not have.
#[derive(Debug)]
pub enum UpdateError {
    /// Nothing was changed
    Failed(crate::store::StoreError),
    /// Nothing was changed, because another writer came first. The transaction of `or_ask` has begun.
    Overtaken(Box<Rows>),
    /// The connection broke while the server was committing
    Unknown(crate::store::StoreError),
}

/// A commit that is durable on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// False if the server has warned that other servers may not have the change
    pub replicated: bool,
}

impl Rows {
    /// Adds the rows of another answer.
    pub fn append(&mut self, mut other: Self) {
        self.vault = self.vault.take().or(other.vault);
        self.slots.append(&mut other.slots);
        self.present.append(&mut other.present);
        self.projects.append(&mut other.projects);
        self.buckets.append(&mut other.buckets);
        self.policies.append(&mut other.policies);
        self.audit.append(&mut other.audit);
        self.records.append(&mut other.records);
        self.values.append(&mut other.values);
        self.located.append(&mut other.located);
        self.grants.append(&mut other.grants);
    }
}

/// Returns a message as bytes, for the process that keeps the connection to a server.
pub fn encode(message: &impl Serialize) -> Option<Vec<u8>> {
    postcard::to_allocvec(message).ok()
}

/// Reads the bytes of [`encode`]. Returns `None` for any other bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (message, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(message)
}
