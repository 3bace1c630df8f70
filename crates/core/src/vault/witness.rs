//! Compares a project with the witness that a repository has of it.

use super::audit_log::AuditLog;
use super::{Vault, VaultError};
use crate::crypto::witness::Witness;
use crate::model::ProjectName;
use crate::store::Extent;

impl Vault {
    /// Returns the witness of a project's present state.
    pub fn witness(&self, name: &ProjectName) -> Result<Witness, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.project(name, Extent::Head))?;
        let project = state.open(&*snapshot, state.require(&*snapshot, name)?)?;
        Ok(Witness::of(project.head.seq, &project.head.audit_head))
    }

    /// Fails unless a project is in the state of a witness, or follows it. A token for some secrets
    /// does not open the audit log. It only finds out that the project is not in an earlier state.
    pub fn check_witness(&self, name: &ProjectName, witness: &Witness) -> Result<(), VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.project(name, Extent::Head))?;
        let follows = match state.named(&*snapshot, name)? {
            None => false,
            Some(project) if project.head.seq == witness.seq => {
                witness.names(&project.head.audit_head)
            }
            Some(project) if project.head.seq < witness.seq => false,
            Some(project) if project.ring().is_err() => true,
            Some(project) => AuditLog::of(&project, state.owner)?.leads_from(
                &*snapshot,
                witness.seq,
                &project.head,
                |hash| witness.names(hash),
            )?,
        };

        if follows { Ok(()) } else { Err(VaultError::NotOfWitness(name.clone())) }
    }
}
