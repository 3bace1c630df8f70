//! Rows as bytes, for other processes of this user: the agent, and the process that keeps the
//! connection to a server. Rows are bounded by the size of the message that they are in.

use crate::codec::{self, Reader, prefixed};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};

pub(super) fn put_list<T>(
    out: &mut Vec<u8>,
    count: usize,
    items: impl Iterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    out.extend(codec::length(count));
    items.for_each(|item| put(out, item));
}

pub(super) fn put_bytes(out: &mut Vec<u8>, parts: &[&[u8]]) {
    prefixed(&mut |piece| out.extend(piece), parts);
}

pub(super) fn put_vault(out: &mut Vec<u8>, row: &VaultRow) {
    out.extend(row.vault_id);
    out.extend(row.suite.to_be_bytes());
    put_bytes(out, &[&row.past]);
}

pub(super) fn vault(reader: &mut Reader<'_>) -> Option<VaultRow> {
    Some(VaultRow {
        vault_id: reader.array()?,
        suite: reader.u32()?,
        past: reader.prefixed()?.to_vec(),
    })
}

pub(super) fn put_slot(out: &mut Vec<u8>, row: &Slot) {
    out.extend(row.kind.to_be_bytes());
    put_bytes(out, &[&row.slot_id, &row.params, &row.salt, &row.commitment, &row.wrap]);
}

pub(super) fn slot(reader: &mut Reader<'_>) -> Option<Slot> {
    let kind = reader.u32()?;
    let mut bytes = || Some(reader.prefixed()?.to_vec());
    Some(Slot {
        slot_id: bytes()?,
        kind,
        params: bytes()?,
        salt: bytes()?,
        commitment: bytes()?,
        wrap: bytes()?,
    })
}

pub(super) fn put_project(out: &mut Vec<u8>, row: &ProjectRow) {
    out.extend(row.pid);
    out.extend(row.epoch.to_be_bytes());
    put_bytes(out, &[&row.head, &row.sig]);
}

pub(super) fn project(reader: &mut Reader<'_>) -> Option<ProjectRow> {
    let (pid, epoch) = (reader.array()?, reader.u32()?);
    let (head, sig) = (reader.prefixed()?.to_vec(), reader.prefixed()?.to_vec());
    Some(ProjectRow { pid, epoch, head, sig })
}

pub(super) fn put_policy(out: &mut Vec<u8>, row: &PolicyRow) {
    out.extend(row.version.to_be_bytes());
    put_bytes(out, &[&row.body, &row.sig]);
}

pub(super) fn policy(reader: &mut Reader<'_>) -> Option<PolicyRow> {
    let version = reader.u64()?;
    let (body, sig) = (reader.prefixed()?.to_vec(), reader.prefixed()?.to_vec());
    Some(PolicyRow { version, body, sig })
}

pub(super) fn put_grant(out: &mut Vec<u8>, row: &GrantRow) {
    out.extend(row.token_id);
    out.extend(row.generation.to_be_bytes());
    put_bytes(out, &[&row.grant, &row.escrow]);
}

pub(super) fn grant(reader: &mut Reader<'_>) -> Option<GrantRow> {
    let (token_id, generation) = (reader.array()?, reader.u64()?);
    let (grant, escrow) = (reader.prefixed()?.to_vec(), reader.prefixed()?.to_vec());
    Some(GrantRow { token_id, generation, grant, escrow })
}

pub(super) fn put_audit(out: &mut Vec<u8>, row: &AuditRow) {
    out.extend(row.seq.to_be_bytes());
    out.extend(row.epoch.to_be_bytes());
    put_bytes(out, &[&row.ct]);
}

pub(super) fn audit(reader: &mut Reader<'_>) -> Option<AuditRow> {
    let (seq, epoch) = (reader.u64()?, reader.u32()?);
    Some(AuditRow { seq, epoch, ct: reader.prefixed()?.to_vec() })
}

pub(super) fn put_record(out: &mut Vec<u8>, record: &Record) {
    out.extend(record.tag_ix);
    out.extend(record.rid);
    out.extend(record.epoch.to_be_bytes());
    out.extend(record.ver.to_be_bytes());
    out.extend(record.vver.to_be_bytes());
    put_bytes(out, &[&record.meta]);
    out.extend(record.val_hash);
    out.extend(record.leaf);
}

pub(super) fn record(reader: &mut Reader<'_>) -> Option<Record> {
    Some(Record {
        tag_ix: reader.array()?,
        rid: reader.array()?,
        epoch: reader.u32()?,
        ver: reader.u64()?,
        vver: reader.u64()?,
        meta: reader.prefixed()?.to_vec(),
        val_hash: reader.array()?,
        leaf: reader.array()?,
    })
}
