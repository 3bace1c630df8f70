//! What a caller will read, so that a store on a network sends it in one trip.
//!
//! The store joins rows by what it can see: a project's id begins with the id of its entry in the
//! directory, and the index of ids leads from a record to its project.

use serde::{Deserialize, Serialize};

use crate::crypto::ids::{ProjectId, RecordId, TokenId};

/// A project of at most this many bytes is small, see [`Extent::IfSmall`].
pub const SMALL: u64 = 64 * 1024;

/// Rows that a caller will read.
#[derive(Debug, Clone, Copy)]
pub enum Want<'a> {
    /// The vault's row, the slots, and the directory's head and bucket hashes
    Directory,
    /// The entries at these indexes of the directory: the leaves of their buckets, the records and
    /// their values. Also the projects that they name.
    Entries(&'a [[u8; 16]], Extent),
    /// All entries of the directory, and all projects
    AllProjects(Extent),
    /// Projects by their ids
    Projects(&'a [ProjectId], Extent),
    /// The records at these indexes of a project, and the leaves of their buckets
    Records {
        /// The project
        pid: &'a ProjectId,
        /// The indexes
        indexes: &'a [[u8; 16]],
        /// Whether their values are wanted as well
        values: bool,
    },
    /// Records by their ids: their rows in the index of ids, the leaves of their buckets, the records
    /// and their values; for each of their projects, the entry in the directory and the head
    Ids(&'a [RecordId]),
    /// Values
    Values(&'a [RecordId]),
    /// The grants of all tokens
    Grants,
    /// The grant of one token
    Grant(&'a TokenId),
}

/// How much of a project is wanted. Each one includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Extent {
    /// Nothing but the directory's entry
    Entry,
    /// The head, the policy and the bucket hashes
    Head,
    /// Leaves, records and values if they take at most [`SMALL`] bytes, or else the head
    IfSmall,
    /// All leaves and records
    Records,
    /// All values as well
    Values,
    /// The audit log as well
    Everything,
}
