//! Rows of the directory as bytes, for the agent. They are bounded by the size of the message that
//! they are in.

use crate::codec::{self, Reader, prefixed};
use crate::crypto::rows::{AuditRow, ProjectRow, Record};

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
