//! Leaves, buckets and the hashes of tables match their known answers (docs/format.md, section 5).

use terminal_secrets::crypto::rows::{self, GrantRow, Record};
use terminal_secrets::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};

use super::{Case, Fields};

pub fn leaf(case: &Case) {
    let input = &case.input;
    let record = Record {
        tag_ix: input.array("tag_ix"),
        rid: input.array("rid"),
        epoch: input.u32("epoch"),
        ver: input.u64("ver"),
        vver: input.u64("vver"),
        meta: input.bytes("meta"),
        val_hash: input.array("val_hash"),
        leaf: [0; 32],
    };

    case.same("leaf", &tree::leaf(&input.array("vault_id"), &input.array("pid"), &record));
}

pub fn bucket(case: &Case) {
    let leaves = case.input.rows("records", |row| Leaf {
        tag_ix: row.array("tag_ix"),
        rid: row.array("rid"),
        leaf: row.array("leaf"),
    });

    let number = case.input.u64("b").try_into().unwrap();
    case.same("bucket", &tree::bucket(&case.input.array("pid"), number, &leaves));
}

pub fn root_hash(case: &Case) {
    let mut buckets = [EMPTY_BUCKET; BUCKETS];
    for (number, hash) in case.input.rows("buckets", |row| (row.u64("b"), row.array("h"))) {
        buckets[usize::try_from(number).unwrap()] = hash;
    }

    case.same("root_hash", &tree::root_hash(&case.input.array("pid"), &buckets));
}

pub fn slots_hash(case: &Case) {
    let slots = case.input.rows("rows", Fields::slot);
    case.same("slots", &rows::slots_hash(&slots, &case.input.bytes("past")));
}

pub fn tokens_hash(case: &Case) {
    let grants = case.input.rows("rows", |row| GrantRow {
        token_id: row.array("token_id"),
        generation: row.u64("gen"),
        grant: Vec::new(),
        escrow: row.bytes("escrow"),
    });

    case.same("tokens", &rows::tokens_hash(&grants));
}
