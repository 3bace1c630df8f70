//! The end of a change: durable, failed, or unknown until it is settled.

use super::{Snapshot, Store, StoreError, Transaction};
use crate::crypto::ids::ProjectId;
use crate::crypto::rows::{AuditRow, ProjectRow};

/// The reason why a commit did not succeed.
#[derive(Debug)]
pub enum CommitError {
    /// Nothing was changed
    Failed(StoreError),
    /// Everything was changed or nothing; [`Store::settle`] finds out which
    Unknown(Box<Doubt>),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Counts an unknown outcome as a failure, for a new file that is removed after an error.
impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed(error) => error,
            CommitError::Unknown(doubt) => doubt.cause,
        }
    }
}

/// A commit whose outcome is unknown: what it would have written.
#[derive(Debug)]
pub struct Doubt {
    /// The last head
    pub head: Option<ProjectRow>,
    /// The last entry of an audit log; `None` if the change has replaced the logs themselves
    pub entry: Option<(ProjectId, AuditRow)>,
    /// The error of the commit
    pub cause: StoreError,
}

impl Doubt {
    /// Returns true if the change is stored. A later change replaces the head, but it keeps the entry
    /// of the audit log.
    pub fn is_stored(&self, now: &dyn Snapshot) -> Result<bool, StoreError> {
        let Some(head) = &self.head else { return Err(StoreError::UnknownOutcome) };
        if now.project(&head.pid)?.as_ref() == Some(head) {
            return Ok(true);
        }

        let mut is_stored = false;
        if let Some((pid, entry)) = &self.entry {
            now.audit(pid, entry.seq, &mut |row| {
                is_stored = row == *entry;
                false
            })?;
        }

        Ok(is_stored)
    }
}

/// Commits a change of `store`. Settles an unknown outcome: a change that is stored is a success.
pub fn commit(store: &dyn Store, transaction: Box<dyn Transaction + '_>) -> Result<(), StoreError> {
    match transaction.commit() {
        Ok(()) => Ok(()),
        Err(CommitError::Failed(error)) => Err(error),
        Err(CommitError::Unknown(doubt)) => match store.settle(&doubt) {
            Ok(true) => Ok(()),
            Ok(false) => Err(doubt.cause),
            Err(_) => Err(StoreError::UnknownOutcome),
        },
    }
}
