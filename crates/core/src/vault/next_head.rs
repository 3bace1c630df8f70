//! The next head of a project or of the directory: built from the one before, signed together with
//! its entry of the audit log, and written (docs/format.md, section 5).

use super::VaultError;
use crate::crypto::audit::{AuditChange, AuditEntry, SignedEntry};
use crate::crypto::head::Head;
use crate::crypto::history::Ancestors;
use crate::crypto::ids::{Hash, OWNER, ProjectId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::rows::ProjectRow;
use crate::crypto::signing::{SIGNATURE, Signer};
use crate::model::Timestamp;
use crate::store::{Change, Transaction};

/// The identity of a head: its vault, its project and the generation of the project's keys.
#[derive(Debug, Clone, Copy)]
pub struct HeadPlace<'a> {
    /// The vault
    pub vault_id: &'a VaultId,
    /// The project, or the directory
    pub pid: &'a ProjectId,
    /// The generation of the keys
    pub epoch: u32,
}

/// Returns the owner's head after `previous`, for records with these hashes. Its `audit_head` is still
/// the one before.
pub(super) fn next(
    place: HeadPlace<'_>,
    previous: &Head,
    previous_epoch: u32,
    root_hash: Hash,
    count: u64,
) -> Head {
    let ancestors = match previous.seq {
        0 => Ancestors::none(),
        _ => previous.ancestors.then(&previous.hash(place.vault_id, place.pid, previous_epoch)),
    };

    Head {
        seq: previous.seq + 1,
        count,
        root_hash,
        audit_head: previous.audit_head,
        time: Timestamp::now().0,
        signer_id: OWNER,
        policy: previous.policy,
        directory_seq: 0,
        directory: previous.directory,
        ancestors,
    }
}

/// A signed head, and the signed entry of the audit log that belongs to it.
pub struct SignedHead {
    /// The head
    pub head: Head,
    /// Its signature
    pub sig: [u8; SIGNATURE],
    /// The entry
    pub entry: SignedEntry,
}

/// Signs the entry for `change` and then the head that names it.
pub fn sign(
    place: HeadPlace<'_>,
    mut head: Head,
    change: AuditChange,
    signer: &Signer,
) -> SignedHead {
    let HeadPlace { vault_id, pid, epoch } = place;
    let entry = AuditEntry {
        previous: head.audit_head,
        signer_id: head.signer_id,
        time: head.time,
        root_hash: head.root_hash,
        change,
    };

    let entry = entry.sign(signer, vault_id, pid, head.seq);
    head.audit_head = entry.hash();
    let sig = signer.sign(&head.encode(vault_id, pid, epoch));
    SignedHead { head, sig, entry }
}

/// Seals and writes a signed head and its entry. Returns the row of the head.
pub(super) fn write(
    transaction: &mut dyn Transaction,
    place: HeadPlace<'_>,
    keys: &Keyring,
    signed: &SignedHead,
) -> Result<ProjectRow, VaultError> {
    let HeadPlace { vault_id, pid, epoch } = place;
    let SignedHead { head, sig, entry } = signed;
    let row = ProjectRow {
        pid: *pid,
        epoch,
        head: head.seal(&keys.head_key(pid), vault_id, pid, epoch)?,
        sig: sig.to_vec(),
    };

    let audit = entry.seal(&keys.audit_key(pid), vault_id, pid, head.seq, epoch)?;
    let is_first = head.seq == 1;
    transaction.apply(if is_first { Change::NewProject(&row) } else { Change::Project(&row) })?;
    transaction.apply(Change::Audit(pid, &audit))?;
    Ok(row)
}
