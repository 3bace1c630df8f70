//! Turns what a store asks into statements, which are all sent at once.

use secrets_core::crypto::ids::{DIRECTORY, ProjectId};
use secrets_core::store::remote::{Ask, Begin, MAX_DIFFERING, Request, Scope, Update};
use secrets_core::store::{Extent, SMALL};

use crate::rows::Table;
use crate::schema;
use crate::statement::{Parameter, Statement, long};

/// The number of records up to which the size of a project is added up.
const MAX_SMALL: usize = 256;

/// A statement, and where its rows belong.
pub(crate) struct Question<'a> {
    pub(crate) statement: Statement<'a>,
    pub(crate) table: Table,
}

impl<'a> Question<'a> {
    fn new(table: Table, sql: impl Into<String>, parameters: Vec<Parameter<'a>>) -> Self {
        Self { statement: Statement::new(sql, parameters), table }
    }
}

/// Limits of one transaction. A pool ignores them when a connection begins, so they are set in each
/// transaction.
const LIMITS: &str = "SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '60s'; \
                      SET LOCAL idle_in_transaction_session_timeout = '15s'";

/// Returns the statements that begin a transaction.
pub(crate) fn begin(begin: Begin) -> String {
    match begin {
        Begin::Read => format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LIMITS}"),
        Begin::Write { .. } => format!("BEGIN ISOLATION LEVEL READ COMMITTED; {LIMITS}"),
    }
}

/// Returns the statements for a request, in the order in which they run.
pub(crate) fn questions(request: &Request, is_writing: bool) -> Vec<Question<'_>> {
    let mut all = Vec::new();
    let has_scope = request.scope != Scope::default();
    if is_writing {
        let directory = matches!(request.begin, Some(Begin::Write { directory: true }))
            || request.scope.all.is_some();
        lock(request, directory, &mut all);
    }

    if request.begin.is_some() {
        all.push(Question::new(
            Table::Vault,
            "SELECT vault_id, suite, past, format, pg_is_in_recovery()::int FROM secrets.vault",
            Vec::new(),
        ));
        all.push(Question::new(
            Table::Slots,
            "SELECT slot_id, type, params, salt, commitment, wrap FROM secrets.slots ORDER BY slot_id",
            Vec::new(),
        ));
    }

    if has_scope {
        heads(&request.scope, request.heads_only, &mut all);
    }

    for ask in &request.asks {
        rows(ask, &mut all);
    }

    all
}

/// Returns the statements that follow on an update in the same flight. The first one fails, and so does
/// the rest, unless another writer came first.
pub(crate) fn questions_if_overtaken<'a>(
    update: &'a Update,
    request: &'a Request,
) -> Vec<Question<'a>> {
    let written = |pid: &ProjectId| {
        let row = update.rows.projects.iter().find(|row| row.pid == *pid);
        row.map_or(&[][..], |row| &row.sig[..])
    };
    let of = |column: fn(&'a (ProjectId, Vec<u8>)) -> &'a [u8]| {
        Parameter::ManyBytes(update.expected.iter().map(column).collect())
    };
    let first = Question::new(
        Table::Nothing,
        "SELECT 1 / CASE WHEN EXISTS(SELECT 1 FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) \
         AS e(pid, sig, written) LEFT JOIN secrets.projects p ON p.pid = e.pid \
         WHERE coalesce(p.sig, ''::bytea) NOT IN (e.sig, e.written)) THEN 1 ELSE 0 END",
        vec![
            of(|(pid, _)| &pid[..]),
            of(|(_, sig)| &sig[..]),
            Parameter::ManyBytes(update.expected.iter().map(|(pid, _)| written(pid)).collect()),
        ],
    );

    std::iter::once(first).chain(questions(request, true)).collect()
}

/// Locks the directory and the projects of a scope, the directory first, the others in the order of
/// their ids.
fn lock<'a>(request: &'a Request, directory: bool, all: &mut Vec<Question<'a>>) {
    if request.begin.is_some() {
        let how = if directory { "UPDATE" } else { "SHARE" };
        let sql = format!("SELECT 1 FROM secrets.projects WHERE pid = $1 FOR {how}");
        all.push(Question::new(Table::Nothing, sql, vec![Parameter::Bytes(&DIRECTORY)]));
    }

    if request.scope != Scope::default() {
        let sql = format!(
            "{} SELECT 1 FROM secrets.projects WHERE pid IN (SELECT pid FROM wanted) \
             AND pid <> '\\x00000000000000000000000000000000' ORDER BY pid FOR UPDATE",
            with_wanted(&request.scope)
        );
        all.push(Question::new(Table::Nothing, sql, scope(&request.scope)));
    }
}

/// The projects of a scope. `known` has those that the store named by their ids, with the signature of
/// the head that it has, or no bytes.
const WITH_KNOWN: &str = "WITH known AS (SELECT * FROM unnest($1::bytea[], $2::bytea[], \
    $3::bigint[], $4::int[]) AS k(pid, sig, seq, extent))";

/// `other` has those that were named in another way. A project's id begins with the id of its record in
/// the directory.
const AND_OTHER: &str = "other AS (SELECT p.pid, e.extent FROM unnest($5::bytea[], $6::int[]) \
      AS e(ix, extent) \
      JOIN secrets.records r ON r.pid = '\\x00000000000000000000000000000000' AND r.tag_ix = e.ix \
      JOIN secrets.projects p ON p.pid >= r.rid AND p.pid <= r.rid || '\\xffffffffffffffff'::bytea \
      UNION ALL SELECT r.pid, 2 FROM secrets.records r WHERE r.rid = ANY($7::bytea[]) \
      UNION ALL SELECT p.pid, $8::int FROM secrets.projects p WHERE $8::int >= 0), \
    wanted AS (SELECT pid, sig, seq, extent FROM known UNION ALL \
      SELECT o.pid, ''::bytea, 0, max(o.extent) FROM other o \
      WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.pid = o.pid) GROUP BY o.pid)";

/// Returns the beginning of a statement that reads the projects of a scope from `wanted`. Most often all
/// of them are known, and a server plans the short form in a fraction of the time.
fn with_wanted(scope: &Scope) -> String {
    if scope.is_known() {
        format!("{WITH_KNOWN}, wanted AS (SELECT * FROM known)")
    } else {
        format!("{WITH_KNOWN}, {AND_OTHER}")
    }
}

/// The projects of a scope whose heads differ from those that the store has.
fn with_changed(scope: &Scope) -> String {
    format!(
        "{wanted}, changed AS (SELECT p.pid, p.epoch, p.head, p.sig, w.seq, w.extent, \
         CASE WHEN w.extent <> {small} THEN w.extent > {small} \
           WHEN (SELECT count(*) FROM (SELECT 1 FROM secrets.records x WHERE x.pid = p.pid \
             LIMIT {most} + 1) c) > {most} THEN false \
           ELSE (SELECT coalesce(sum(octet_length(x.meta) + coalesce(octet_length(v.val), 0) + 120), 0) \
             FROM secrets.records x LEFT JOIN secrets.vals v ON v.rid = x.rid \
             WHERE x.pid = p.pid) <= {SMALL} END AS whole \
         FROM wanted w JOIN secrets.projects p ON p.pid = w.pid WHERE p.sig <> w.sig)",
        wanted = with_wanted(scope),
        small = Extent::IfSmall as i32,
        most = MAX_SMALL,
    )
}

fn scope(scope: &Scope) -> Vec<Parameter<'_>> {
    let known = &scope.known;
    let mut all = vec![
        Parameter::ManyBytes(known.iter().map(|known| &known.pid[..]).collect()),
        Parameter::ManyBytes(known.iter().map(|known| &known.sig[..]).collect()),
        Parameter::ManyLongs(known.iter().map(|known| long(known.last_entry)).collect()),
        Parameter::ManyInts(known.iter().map(|known| known.extent as i32).collect()),
    ];
    if !scope.is_known() {
        all.extend([
            Parameter::ManyBytes(scope.entries.iter().map(|(index, _)| &index[..]).collect()),
            Parameter::ManyInts(scope.entries.iter().map(|(_, extent)| *extent as i32).collect()),
            Parameter::ManyBytes(scope.ids.iter().map(|rid| &rid[..]).collect()),
            Parameter::Int(scope.all.map_or(-1, |extent| extent as i32)),
        ]);
    }

    all
}

/// Asks for the heads of a scope and for what belongs to those that differ.
fn heads<'a>(asked: &'a Scope, heads_only: bool, all: &mut Vec<Question<'a>>) {
    let mut ask = |table, sql: &str| {
        all.push(Question::new(table, sql, scope(asked)));
    };

    ask(
        Table::Heads,
        &format!(
            "{} SELECT p.pid, p.epoch, CASE WHEN p.sig <> w.sig THEN p.head END, \
             CASE WHEN p.sig <> w.sig THEN p.sig END FROM wanted w \
             JOIN secrets.projects p ON p.pid = w.pid",
            with_wanted(asked)
        ),
    );
    if heads_only {
        return;
    }

    let changed = with_changed(asked);
    ask(
        Table::Policies,
        &format!(
            "{changed} SELECT t.pid, t.v, t.body, t.sig FROM changed c \
             JOIN secrets.policies t ON t.pid = c.pid"
        ),
    );
    ask(
        Table::Buckets,
        &format!(
            "{changed} SELECT t.pid, string_agg(set_byte('\\x00'::bytea, 0, t.b) || t.h, ''::bytea \
             ORDER BY t.b) FROM changed c JOIN secrets.buckets t ON t.pid = c.pid GROUP BY t.pid"
        ),
    );
    ask(
        Table::Audit,
        &format!(
            "{changed} SELECT t.pid, t.seq, t.epoch, t.ct FROM changed c \
             JOIN secrets.audit t ON t.pid = c.pid AND t.seq > CASE WHEN c.extent > {values} THEN 0 \
             WHEN c.seq > 0 THEN c.seq ELSE (SELECT max(m.seq) - 1 FROM secrets.audit m WHERE m.pid = c.pid) END",
            values = Extent::Values as i32,
        ),
    );
    ask(
        Table::Records,
        &format!(
            "{changed} SELECT {RECORD} FROM changed c JOIN secrets.records r ON r.pid = c.pid \
             WHERE c.whole"
        ),
    );
    ask(
        Table::Values,
        &format!(
            "{changed} SELECT v.rid, v.val FROM changed c JOIN secrets.records r ON r.pid = c.pid \
             JOIN secrets.vals v ON v.rid = r.rid WHERE c.whole AND c.extent <> {records}",
            records = Extent::Records as i32,
        ),
    );
}

const RECORD: &str = "r.pid, r.tag_ix, r.rid, r.epoch, r.ver, r.vver, r.meta, r.val_hash, r.leaf";
/// The end of a range of indexes that begin with a byte.
const LAST: &str = "'\\xffffffffffffffffffffffffffffffff'::bytea";

/// Asks for the records of buckets, each given by a project and the first byte of its indexes.
fn buckets<'a>(buckets: impl Iterator<Item = (&'a ProjectId, &'a [u8])>) -> Question<'a> {
    let (pids, firsts) = buckets.map(|(pid, first)| (&pid[..], first)).unzip();
    Question::new(
        Table::Records,
        format!(
            "SELECT {RECORD} FROM unnest($1::bytea[], $2::bytea[]) AS w(pid, first) \
             JOIN secrets.records r ON r.pid = w.pid AND r.tag_ix >= w.first \
             AND r.tag_ix <= w.first || {LAST}"
        ),
        vec![Parameter::ManyBytes(pids), Parameter::ManyBytes(firsts)],
    )
}

/// Asks for the records and values of the buckets whose hashes begin with other bytes.
fn differing<'a>(pid: &'a ProjectId, prefixes: &'a [u8], all: &mut Vec<Question<'a>>) {
    let with_found = format!(
        "WITH d AS (SELECT set_byte('\\x00'::bytea, 0, k.b) AS first FROM secrets.buckets k \
         WHERE k.pid = $1 AND substring(k.h from 1 for 4) <> substring($2::bytea from k.b * 4 + 1 for 4)), \
         found AS (SELECT {RECORD} FROM d JOIN secrets.records r ON r.pid = $1 \
         AND r.tag_ix >= d.first AND r.tag_ix <= d.first || {LAST} \
         WHERE (SELECT count(*) FROM d) <= {MAX_DIFFERING})"
    );
    let parameters = || vec![Parameter::Bytes(pid), Parameter::Bytes(prefixes)];
    let records = format!("{with_found} SELECT * FROM found");
    let values = format!(
        "{with_found} SELECT v.rid, v.val FROM found f JOIN secrets.vals v ON v.rid = f.rid"
    );
    all.push(Question::new(Table::Records, records, parameters()));
    all.push(Question::new(Table::Values, values, parameters()));
}

fn rows<'a>(ask: &'a Ask, all: &mut Vec<Question<'a>>) {
    match ask {
        Ask::Buckets(wanted) => {
            all.push(buckets(wanted.iter().map(|(pid, number)| (pid, byte(*number)))));
        }
        Ask::Differing(pid, prefixes) => differing(pid, prefixes, all),
        Ask::Records(pids) => all.push(Question::new(
            Table::Records,
            format!("SELECT {RECORD} FROM secrets.records r WHERE r.pid = ANY($1::bytea[])"),
            vec![Parameter::ManyBytes(pids.iter().map(|pid| &pid[..]).collect())],
        )),
        Ask::Indexes { pid, indexes, values } => {
            let mut firsts: Vec<u8> = indexes.iter().map(|index| index[0]).collect();
            firsts.sort_unstable();
            firsts.dedup();
            all.push(buckets(firsts.into_iter().map(|first| (pid, byte(first)))));
            if *values {
                all.push(Question::new(
                    Table::Values,
                    "SELECT v.rid, v.val FROM secrets.records r JOIN secrets.vals v ON v.rid = r.rid \
                     WHERE r.pid = $1 AND r.tag_ix = ANY($2::bytea[])",
                    vec![
                        Parameter::Bytes(pid),
                        Parameter::ManyBytes(indexes.iter().map(|index| &index[..]).collect()),
                    ],
                ));
            }
        }
        Ask::Ids(rids) => ids(rids, all),
        Ask::Values(rids) => all.push(Question::new(
            Table::Values,
            "SELECT rid, val FROM secrets.vals WHERE rid = ANY($1::bytea[])",
            vec![many(rids)],
        )),
        Ask::Located(rids) => all.push(located(rids)),
        Ask::Grants => all.push(Question::new(
            Table::Grants,
            "SELECT token_id, gen, body, escrow FROM secrets.grants ORDER BY token_id",
            Vec::new(),
        )),
        Ask::Grant(token_id) => all.push(Question::new(
            Table::Grants,
            "SELECT token_id, gen, body, escrow FROM secrets.grants WHERE token_id = $1",
            vec![Parameter::Bytes(token_id)],
        )),
        Ask::Audit(pid, from) => all.push(Question::new(
            Table::Audit,
            "SELECT pid, seq, epoch, ct FROM secrets.audit WHERE pid = $1 AND seq >= $2 ORDER BY seq",
            vec![Parameter::Bytes(pid), Parameter::Long(long(*from))],
        )),
        Ask::Everything => everything(all),
    }
}

/// Asks for records by their ids, with their buckets and values, and for the entries of their projects
/// in the directory.
fn ids<'a>(rids: &'a [[u8; 8]], all: &mut Vec<Question<'a>>) {
    const WANTED: &str = "WITH i AS (SELECT pid, tag_ix, rid FROM secrets.records \
        WHERE rid = ANY($1::bytea[])), \
        wanted AS (SELECT pid, tag_ix, rid FROM i UNION \
          SELECT d.pid, d.tag_ix, d.rid FROM i JOIN secrets.records d \
          ON d.rid = substring(i.pid from 1 for 8))";
    all.push(Question::new(
        Table::Located,
        format!("{WANTED} SELECT rid, pid, tag_ix FROM wanted"),
        vec![many(rids)],
    ));
    all.push(Question::new(
        Table::Records,
        format!(
            "{WANTED}, b AS (SELECT DISTINCT pid, substring(tag_ix from 1 for 1) AS first FROM wanted) \
             SELECT {RECORD} FROM b JOIN secrets.records r ON r.pid = b.pid AND r.tag_ix >= b.first \
             AND r.tag_ix <= b.first || {LAST}"
        ),
        vec![many(rids)],
    ));
    all.push(Question::new(
        Table::Values,
        format!("{WANTED} SELECT v.rid, v.val FROM wanted w JOIN secrets.vals v ON v.rid = w.rid"),
        vec![many(rids)],
    ));
}

fn located(rids: &[[u8; 8]]) -> Question<'_> {
    Question::new(
        Table::Located,
        "SELECT rid, pid, tag_ix FROM secrets.records WHERE rid = ANY($1::bytea[])",
        vec![many(rids)],
    )
}

fn everything(all: &mut Vec<Question<'_>>) {
    for (table, columns, from) in [
        (Table::Heads, "pid, epoch, head, sig", "projects"),
        (Table::Policies, "pid, v, body, sig", "policies"),
        (Table::Bucket, "pid, b, h", "buckets"),
        (Table::Records, RECORD, "records r"),
        (Table::Values, "rid, val", "vals"),
        (Table::Grants, "token_id, gen, body, escrow", "grants"),
        (Table::Audit, "pid, seq, epoch, ct", "audit"),
    ] {
        let sql = format!("SELECT {columns} FROM {}.{from}", schema::NAME);
        all.push(Question::new(table, sql, Vec::new()));
    }
}

fn many<const N: usize>(ids: &[[u8; N]]) -> Parameter<'_> {
    Parameter::ManyBytes(ids.iter().map(|id| &id[..]).collect())
}

/// Returns a byte as a slice that lives for ever.
fn byte(number: u8) -> &'static [u8] {
    static ALL: [u8; 256] = {
        let mut all = [0; 256];
        let mut number = 0_u8;
        loop {
            all[number as usize] = number;
            if number == u8::MAX {
                break all;
            }

            number += 1;
        }
    };

    std::slice::from_ref(&ALL[usize::from(number)])
}
