//! Turns the net effect of a change into statements, which are all sent at once: what must not have
//! changed, what is removed, and what is added or replaced.

use secrets_core::crypto::ids::{DIRECTORY, ProjectId};
use secrets_core::crypto::rows::{AuditRow, ProjectRow, Record};
use secrets_core::store::remote::Update;

use crate::schema::{FORMAT, TABLES};
use crate::statement::{Parameter, Statement, long};

/// Returns the statements between the beginning of a transaction and its commit.
pub(crate) fn statements(update: &Update) -> Vec<Statement<'_>> {
    let mut all = Vec::new();
    expect(update, &mut all);
    if update.clears {
        for table in TABLES {
            all.push(Statement::new(format!("DELETE FROM secrets.{table}"), Vec::new()));
        }
    }

    remove(update, &mut all);
    put_vault(update, &mut all);
    put_projects(update, &mut all);
    put_records(update, &mut all);
    all
}

/// Locks the projects that the change has read, and fails if one has another head than it had then. The
/// division by zero is the one way to fail in every engine with this protocol.
fn expect<'a>(update: &'a Update, all: &mut Vec<Statement<'a>>) {
    if update.expected.is_empty() {
        return;
    }

    let changes_directory = update.clears
        || !update.dropped_projects.is_empty()
        || update.rows.projects.iter().any(|row| row.pid == DIRECTORY);
    let how = if changes_directory { "UPDATE" } else { "SHARE" };
    let pids = || pids(update.expected.iter().map(|(pid, _)| pid));
    all.push(Statement::new(
        format!("SELECT 1 FROM secrets.projects WHERE pid = $1 FOR {how}"),
        vec![Parameter::Bytes(&DIRECTORY)],
    ));
    all.push(Statement::new(
        "SELECT 1 FROM secrets.projects WHERE pid = ANY($1::bytea[]) AND pid <> $2 ORDER BY pid FOR UPDATE",
        vec![pids(), Parameter::Bytes(&DIRECTORY)],
    ));
    all.push(Statement::new(
        "SELECT 1 / CASE WHEN EXISTS(SELECT 1 FROM unnest($1::bytea[], $2::bytea[]) AS e(pid, sig) \
         LEFT JOIN secrets.projects p ON p.pid = e.pid WHERE coalesce(p.sig, ''::bytea) <> e.sig) \
         THEN 0 ELSE 1 END",
        vec![
            pids(),
            Parameter::ManyBytes(update.expected.iter().map(|(_, sig)| &sig[..]).collect()),
        ],
    ));
}

fn pids<'a>(pids: impl Iterator<Item = &'a ProjectId>) -> Parameter<'a> {
    Parameter::ManyBytes(pids.map(|pid| &pid[..]).collect())
}

fn remove<'a>(update: &'a Update, all: &mut Vec<Statement<'a>>) {
    if !update.dropped_projects.is_empty() {
        let dropped = || pids(update.dropped_projects.iter());
        all.push(Statement::new(
            "DELETE FROM secrets.vals WHERE rid IN (SELECT rid FROM secrets.records \
             WHERE pid = ANY($1::bytea[]))",
            vec![dropped()],
        ));
        for table in ["records", "buckets", "policies", "audit", "projects"] {
            all.push(Statement::new(
                format!("DELETE FROM secrets.{table} WHERE pid = ANY($1::bytea[])"),
                vec![dropped()],
            ));
        }
    }

    let mut delete = |sql: &str, parameters: Vec<Parameter<'a>>, is_empty: bool| {
        if !is_empty {
            all.push(Statement::new(sql, parameters));
        }
    };

    let buckets = &update.dropped_buckets;
    delete(
        "DELETE FROM secrets.buckets t USING unnest($1::bytea[], $2::int[]) AS d(pid, b) \
         WHERE t.pid = d.pid AND t.b = d.b",
        vec![
            pids(buckets.iter().map(|(pid, _)| pid)),
            Parameter::ManyInts(buckets.iter().map(|(_, number)| i32::from(*number)).collect()),
        ],
        buckets.is_empty(),
    );

    let records = &update.dropped_records;
    delete(
        "DELETE FROM secrets.records t USING unnest($1::bytea[], $2::bytea[]) AS d(pid, tag_ix) \
         WHERE t.pid = d.pid AND t.tag_ix = d.tag_ix",
        vec![
            pids(records.iter().map(|(pid, _)| pid)),
            Parameter::ManyBytes(records.iter().map(|(_, index)| &index[..]).collect()),
        ],
        records.is_empty(),
    );

    let values = &update.dropped_values;
    delete(
        "DELETE FROM secrets.vals WHERE rid = ANY($1::bytea[])",
        vec![Parameter::ManyBytes(values.iter().map(|rid| &rid[..]).collect())],
        values.is_empty(),
    );

    let grants = &update.dropped_grants;
    delete(
        "DELETE FROM secrets.grants WHERE token_id = ANY($1::bytea[])",
        vec![Parameter::ManyBytes(grants.iter().map(|id| &id[..]).collect())],
        grants.is_empty(),
    );

    let slots = &update.dropped_slots;
    delete(
        "DELETE FROM secrets.slots WHERE slot_id = ANY($1::bytea[])",
        vec![Parameter::ManyBytes(slots.iter().map(|id| &id[..]).collect())],
        slots.is_empty(),
    );

    let audit = &update.dropped_audit;
    delete(
        "DELETE FROM secrets.audit t USING unnest($1::bytea[], $2::bigint[]) AS d(pid, seq) \
         WHERE t.pid = d.pid AND t.seq <= d.seq",
        vec![
            pids(audit.iter().map(|(pid, _)| pid)),
            Parameter::ManyLongs(audit.iter().map(|(_, seq)| long(*seq)).collect()),
        ],
        audit.is_empty(),
    );
}

fn put_vault<'a>(update: &'a Update, all: &mut Vec<Statement<'a>>) {
    if let Some(vault) = &update.rows.vault {
        all.push(Statement::new(
            "INSERT INTO secrets.vault(id, vault_id, suite, past, format) VALUES(1, $1, $2, $3, $4) \
             ON CONFLICT(id) DO UPDATE SET vault_id = excluded.vault_id, suite = excluded.suite, \
             past = excluded.past, format = excluded.format",
            vec![
                Parameter::Bytes(&vault.vault_id),
                Parameter::Int(vault.suite.cast_signed()),
                Parameter::Bytes(&vault.past),
                Parameter::Int(FORMAT),
            ],
        ));
    }

    for slot in &update.rows.slots {
        all.push(Statement::new(
            "INSERT INTO secrets.slots(slot_id, type, params, salt, commitment, wrap) \
             VALUES($1, $2, $3, $4, $5, $6)",
            vec![
                Parameter::Bytes(&slot.slot_id),
                Parameter::Int(slot.kind.cast_signed()),
                Parameter::Bytes(&slot.params),
                Parameter::Bytes(&slot.salt),
                Parameter::Bytes(&slot.commitment),
                Parameter::Bytes(&slot.wrap),
            ],
        ));
    }

    for grant in &update.rows.grants {
        all.push(Statement::new(
            "INSERT INTO secrets.grants(token_id, gen, body, escrow) VALUES($1, $2, $3, $4) \
             ON CONFLICT(token_id) DO UPDATE SET gen = excluded.gen, body = excluded.body, \
             escrow = excluded.escrow",
            vec![
                Parameter::Bytes(&grant.token_id),
                Parameter::Long(long(grant.generation)),
                Parameter::Bytes(&grant.grant),
                Parameter::Bytes(&grant.escrow),
            ],
        ));
    }
}

fn put_projects<'a>(update: &'a Update, all: &mut Vec<Statement<'a>>) {
    let mut put = |row: &'a ProjectRow, on_conflict| {
        all.push(Statement::new(
            format!(
                "INSERT INTO secrets.projects(pid, epoch, head, sig) VALUES($1, $2, $3, $4){on_conflict}"
            ),
            vec![
                Parameter::Bytes(&row.pid),
                Parameter::Long(i64::from(row.epoch)),
                Parameter::Bytes(&row.head),
                Parameter::Bytes(&row.sig),
            ],
        ));
    };

    update.new_projects.iter().for_each(|row| put(row, ""));
    for row in &update.rows.projects {
        put(
            row,
            " ON CONFLICT(pid) DO UPDATE SET epoch = excluded.epoch, head = excluded.head, \
             sig = excluded.sig",
        );
    }

    for (pid, policy) in &update.rows.policies {
        all.push(Statement::new(
            "DELETE FROM secrets.policies WHERE pid = $1",
            vec![Parameter::Bytes(pid)],
        ));
        all.push(Statement::new(
            "INSERT INTO secrets.policies(pid, v, body, sig) VALUES($1, $2, $3, $4)",
            vec![
                Parameter::Bytes(pid),
                Parameter::Long(long(policy.version)),
                Parameter::Bytes(&policy.body),
                Parameter::Bytes(&policy.sig),
            ],
        ));
    }

    // The newest entry of a log is a plain INSERT: of two writers who follow on the same head, the
    // second one fails, whatever isolation the engine promises.
    put_audit(&update.entries, "", all);
    put_audit(
        &update.rows.audit,
        " ON CONFLICT(pid, seq) DO UPDATE SET epoch = excluded.epoch, ct = excluded.ct",
        all,
    );
}

fn put_audit<'a>(
    entries: &'a [(ProjectId, AuditRow)],
    on_conflict: &str,
    all: &mut Vec<Statement<'a>>,
) {
    if entries.is_empty() {
        return;
    }

    all.push(Statement::new(
        format!(
            "INSERT INTO secrets.audit(pid, seq, epoch, ct) SELECT * FROM \
             unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[]){on_conflict}"
        ),
        vec![
            pids(entries.iter().map(|(pid, _)| pid)),
            Parameter::ManyLongs(entries.iter().map(|(_, entry)| long(entry.seq)).collect()),
            Parameter::ManyLongs(entries.iter().map(|(_, entry)| entry.epoch.into()).collect()),
            Parameter::ManyBytes(entries.iter().map(|(_, entry)| &entry.ct[..]).collect()),
        ],
    ));
}

fn put_records<'a>(update: &'a Update, all: &mut Vec<Statement<'a>>) {
    let buckets = &update.rows.buckets;
    if !buckets.is_empty() {
        all.push(Statement::new(
            "INSERT INTO secrets.buckets(pid, b, h) SELECT * FROM \
             unnest($1::bytea[], $2::int[], $3::bytea[]) \
             ON CONFLICT(pid, b) DO UPDATE SET h = excluded.h",
            vec![
                pids(buckets.iter().map(|(pid, ..)| pid)),
                Parameter::ManyInts(buckets.iter().map(|(_, b, _)| i32::from(*b)).collect()),
                Parameter::ManyBytes(buckets.iter().map(|(.., hash)| &hash[..]).collect()),
            ],
        ));
    }

    let records = &update.rows.records;
    if !records.is_empty() {
        let bytes = |column: fn(&Record) -> &[u8]| {
            Parameter::ManyBytes(records.iter().map(|(_, record)| column(record)).collect())
        };
        let longs = |column: fn(&Record) -> u64| {
            Parameter::ManyLongs(records.iter().map(|(_, record)| long(column(record))).collect())
        };
        all.push(Statement::new(
            "INSERT INTO secrets.records(pid, tag_ix, rid, epoch, ver, vver, meta, val_hash, leaf) \
             SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], \
             $6::bigint[], $7::bytea[], $8::bytea[], $9::bytea[])",
            vec![
                pids(records.iter().map(|(pid, _)| pid)),
                bytes(|record| &record.tag_ix),
                bytes(|record| &record.rid),
                longs(|record| record.epoch.into()),
                longs(|record| record.ver),
                longs(|record| record.vver),
                bytes(|record| &record.meta),
                bytes(|record| &record.val_hash),
                bytes(|record| &record.leaf),
            ],
        ));
    }

    let values = &update.rows.values;
    if !values.is_empty() {
        all.push(Statement::new(
            "INSERT INTO secrets.vals(rid, val) SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
             ON CONFLICT(rid) DO UPDATE SET val = excluded.val",
            vec![
                Parameter::ManyBytes(values.iter().map(|(rid, _)| &rid[..]).collect()),
                Parameter::ManyBytes(values.iter().map(|(_, value)| &value[..]).collect()),
            ],
        ));
    }
}
