//! Copies of a whole vault: backup, restore and salvage.
//!
//! A copy gets its name only after it was fully verified. Rows are copied in their sealed form.
//! Only `salvage` re-encrypts, because it stores what it can read in a new vault.
//!
//! * `bundle`: a file for one token
//! * `backup`: writes a copy, or replaces an earlier copy
//! * `restore`: the steps of a restore, and their order
//! * `follow`: restores an earlier state of the vault as a change of the present one
//! * `replace`: replaces the file at the vault's path with any other backup
//! * `difference`: the secrets that a restore would add, remove and change
//! * `salvage`: a new vault from what can be read of a damaged one

mod backup;
mod bundle;
mod difference;
mod follow;
mod replace;
mod restore;
mod salvage;

pub use bundle::BundleScope;
pub(super) use bundle::refuse_bundle;
pub use difference::Difference;
pub use replace::{RestoreInto, StateFingerprint};
pub use restore::{
    Restore, RestoreEvent, RestoreKeys, RestoreObserver, RestoreOutcome, RestorePlan,
    RestoreTarget, RestoreWork,
};
pub use salvage::SalvageOutcome;

use super::VaultError;
use crate::crypto::CryptoError;
use crate::crypto::ids::DIRECTORY;
use crate::crypto::rows::ProjectRow;
use crate::crypto::tree::EMPTY_BUCKET;
use crate::store::{Change, Inspection, StoreError, Transaction, Walk};

/// Copies every row that belongs to the vault.
pub(super) fn copy_rows(from: &dyn Inspection, to: &mut dyn Transaction) -> Result<(), VaultError> {
    let _walk = Walk::begin(from)?;
    to.apply(Change::Vault(&from.vault()?))?;
    from.slots()?.iter().try_for_each(|slot| to.apply(Change::Slot(slot)))?;
    from.grants()?.iter().try_for_each(|grant| to.apply(Change::Grant(grant)))?;

    from.projects()?.iter().try_for_each(|project| copy_project(from, project, to))
}

/// Copies the rows of one project, or of the directory.
fn copy_project(
    from: &dyn Inspection,
    project: &ProjectRow,
    to: &mut dyn Transaction,
) -> Result<(), VaultError> {
    to.apply(Change::Project(project))?;
    let policy = from.policy(&project.pid)?.filter(|_| project.pid != DIRECTORY);
    if let Some(policy) = policy {
        to.apply(Change::Policy(&project.pid, &policy))?;
    }

    let mut copied = Ok(());
    from.audit(&project.pid, 0, &mut |entry| {
        copied = to.apply(Change::Audit(&project.pid, &entry));
        copied.is_ok()
    })?;
    copied?;

    for (number, hash) in from.buckets(&project.pid)? {
        to.apply(Change::Bucket(
            &project.pid,
            number,
            Some(&hash).filter(|hash| **hash != EMPTY_BUCKET),
        ))?;
    }

    let mut rids = Vec::new();
    let mut outcome = Ok(());
    let mut last: Option<[u8; 16]> = None;
    from.records(&project.pid, &mut |record| {
        // Pages that point at each other would repeat their records forever.
        outcome = if last.replace(record.tag_ix) < Some(record.tag_ix) {
            to.apply(Change::Record(&project.pid, &record))
        } else {
            Err(StoreError::Damaged("table of records"))
        };

        rids.push(record.rid);
        outcome.is_ok()
    })?;

    outcome?;

    // Values are copied in the order in which they are stored.
    rids.sort_unstable();
    for rid in rids {
        let value = from.value(&rid)?.ok_or(CryptoError::Damaged("the table of values"))?;
        to.apply(Change::Value(&rid, &value))?;
    }

    Ok(())
}
