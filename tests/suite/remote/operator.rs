//! Attacks that only the operator of a server can make: rows of other types and lengths, rows twice,
//! hidden rows, and triggers.

use super::rows::TABLES;
use super::schema::Keys::{With, Without};
use super::schema::Must::{Refuse, RefuseOrBeHonest};
use super::schema::{ALL, Must, Operator, logs, with_tokens};
use super::target::{contents, is_refused, report};
use crate::attacks::Op::Update;
use crate::attacks::attempt;
use crate::support::specimen::code;

/// The columns with numbers. The others have bytes.
const NUMBERS: [&str; 9] = ["type", "suite", "epoch", "v", "gen", "b", "ver", "vver", "seq"];

/// Returns what a machine must do that has seen nothing, and one that has seen the honest state, if a
/// column has other values. Only its token reads the body of a grant, so that it does not stop the
/// owner.
fn must(column: &str) -> [Must; 2] {
    let is_of_token = column == "grants.body";
    [if is_of_token { RefuseOrBeHonest } else { Refuse }, RefuseOrBeHonest]
}

/// Returns all columns that are read: the table, the column, and whether it has bytes.
fn columns() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    let all = TABLES.into_iter().flat_map(|(table, columns)| {
        columns.iter().map(move |column| (table, *column, !NUMBERS.contains(column)))
    });
    all.filter(|(_, column, _)| *column != "id")
}

#[test]
fn values_of_other_lengths_are_refused() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let mut wrong = Vec::new();
    for (table, column, has_bytes) in columns() {
        let values: &[&str] =
            if has_bytes { &["NULL", "{} || '\\x00'::bytea"] } else { &["NULL", "-1"] };
        for value in values {
            let value = value.replace("{}", column);
            let sql = format!(
                "ALTER TABLE secrets.{table} ALTER COLUMN {column} DROP NOT NULL; \
                 UPDATE secrets.{table} SET {column} = {value}"
            );
            let must = must(&format!("{table}.{column}"));
            let name = format!("{table}.{column} = {value}");
            wrong.extend(operator.attack(table, &name, &sql, must));
        }
    }

    report(&wrong);
}

#[test]
fn columns_of_other_types_are_refused() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let mut wrong = Vec::new();
    for (table, column, has_bytes) in columns() {
        let types: &[(&str, &str)] = if has_bytes {
            &[("text", "encode({}, 'hex')")]
        } else {
            &[("numeric", "'NaN'"), ("smallint", "{}")]
        };
        for (name, value) in types {
            let value = value.replace("{}", column);
            let sql = format!(
                "ALTER TABLE secrets.{table} ALTER COLUMN {column} TYPE {name} USING {value}"
            );
            // A `smallint` becomes an `int` where a statement calculates with it.
            let must = if *name == "smallint" {
                [RefuseOrBeHonest; 2]
            } else {
                must(&format!("{table}.{column}"))
            };
            let name = format!("{table}.{column} {name}");
            wrong.extend(operator.attack(table, &name, &sql, must));
        }
    }

    report(&wrong);
}

/// The second row may come first or last. One of them is honest, so a machine may show it.
#[test]
fn rows_that_exist_twice_show_nothing_else() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let mut wrong = Vec::new();
    for (table, names) in TABLES {
        let same = format!("INSERT INTO secrets.{table} SELECT * FROM secrets.{table}");
        let name = format!("{table} twice");
        wrong.extend(operator.attack(table, &name, &same, [RefuseOrBeHonest; 2]));
        for (number, column) in names.iter().enumerate().filter(|(_, column)| **column != "id") {
            let other = if NUMBERS.contains(column) {
                format!("{column} + 1")
            } else {
                let bit = format!("set_byte({column}, 0, get_byte({column}, 0) # 1)");
                format!("CASE length({column}) WHEN 0 THEN '\\x01' ELSE {bit} END")
            };
            let changed = names.iter().map(|name| if name == column { &other } else { *name });
            let (all, changed) = (names.join(", "), changed.collect::<Vec<_>>().join(", "));
            let insert = format!("INSERT INTO secrets.{table}({all}) SELECT {changed} FROM ");
            let sql = if number % 2 == 0 {
                format!("{insert} secrets.{table}")
            } else {
                format!(
                    "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT * FROM secrets.{table}; \
                     DELETE FROM secrets.{table}; {insert} t; INSERT INTO secrets.{table} SELECT * FROM t"
                )
            };
            let name = format!("{table} twice, with another {column}");
            wrong.extend(operator.attack(table, &name, &sql, [RefuseOrBeHonest; 2]));
        }
    }

    report(&wrong);
}

#[test]
fn rows_that_are_too_long_are_refused() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let mut wrong = Vec::new();
    for (column, size) in [
        ("vals.val", 3),
        ("vals.rid", 1),
        ("records.meta", 1),
        ("records.tag_ix", 1),
        ("projects.head", 1),
        ("projects.sig", 1),
        ("projects.pid", 1),
        ("buckets.h", 1),
        ("policies.body", 1),
        ("policies.sig", 1),
        ("grants.body", 1),
        ("grants.escrow", 1),
        ("audit.ct", 1),
        ("slots.wrap", 1),
        ("vault.past", 1),
    ] {
        let (table, name) = column.split_once('.').unwrap();
        let bytes = format!("decode(repeat('00', {size} * 1024 * 1024), 'hex')");
        let sql = format!("UPDATE secrets.{table} SET {name} = {bytes}");
        let name = format!("{table}.{name} of {size} MiB");
        wrong.extend(operator.attack(table, &name, &sql, must(column)));
    }

    report(&wrong);
}

#[test]
fn hidden_rows_are_missed() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let (one, alpha) = (&operator.ids.one, &operator.ids.alpha);
    let directory = "'\\x00000000000000000000000000000000'::bytea";
    let entry = format!("substring({alpha} from 1 for 8)");
    let mut wrong = Vec::new();
    for (name, table, row) in [
        ("a record", "records", format!("rid = {one}")),
        ("a value", "vals", format!("rid = {one}")),
        ("a project's entry", "records", format!("rid = {entry}")),
        ("a key ring", "vals", format!("rid = {entry}")),
        ("a project", "projects", format!("pid = {alpha}")),
        ("the directory", "projects", format!("pid = {directory}")),
        ("the buckets of a project", "buckets", format!("pid = {alpha}")),
        ("the buckets of the directory", "buckets", format!("pid = {directory}")),
        ("a policy", "policies", format!("pid = {alpha}")),
        ("an entry of an audit log", "audit", format!("pid = {alpha} AND seq = 2")),
        ("the last entry of an audit log", "audit", format!("pid = {alpha} AND seq >= 3")),
        ("an audit log", "audit", format!("pid = {alpha}")),
        (
            "a grant",
            "grants",
            "token_id = (SELECT token_id FROM pristine.grants ORDER BY token_id LIMIT 1)".into(),
        ),
        ("all grants", "grants", "true".into()),
        ("the slots", "slots", "true".into()),
        ("the vault's row", "vault", "true".into()),
    ] {
        let sql = format!(
            "GRANT USAGE ON SCHEMA pristine TO app; GRANT SELECT ON pristine.grants TO app; \
             ALTER TABLE secrets.{table} ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY hides ON secrets.{table} TO app USING (NOT ({row}))"
        );
        wrong.extend(operator.attack(table, name, &sql, [Refuse, RefuseOrBeHonest]));
    }

    report(&wrong);
}

#[test]
fn another_format_suite_or_vault_is_refused() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let mut wrong = Vec::new();
    for change in [
        "SET format = 2",
        "SET format = 4",
        "SET format = -1",
        "SET suite = 2",
        "SET suite = 0",
        "SET vault_id = '\\x0102030405060708090a0b0c0d0e0f10'",
        "SET past = '\\x01'",
    ] {
        let sql = format!("UPDATE secrets.vault {change}");
        wrong.extend(operator.attack("vault", change, &sql, [Refuse; 2]));
    }

    report(&wrong);
}

/// Errors of the operator's choice: exit code 1, or 3 if the tables do not exist. A machine that has seen
/// the honest state may go on with it, as with a server that cannot be reached.
#[test]
fn errors_of_the_server_are_shown_without_its_text() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let honest = contents(&operator.target.warm()).unwrap();
    for state in ["P0001", "XX000", "57014", "57P01", "08006", "40001", "22012", "42P01", "0A000"] {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION secrets.fail() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'm4rker' USING ERRCODE = '{state}', DETAIL = 'm4rker', HINT = 'm4rker', \
             TABLE = 'm4rker', CONSTRAINT = 'm4rker'; END $$; \
             ALTER TABLE secrets.records ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY fails ON secrets.records TO app USING (secrets.fail())"
        );
        operator.apply(&["records"], &sql);
        for vault in [operator.target.cold(), operator.target.warm()] {
            match contents(&vault) {
                Ok(read) => assert_eq!(read, honest, "{state}"),
                Err(error) => {
                    assert!([1, 3].contains(&code(&error)), "{state}: {error:?}");
                    assert!(!format!("{error:?} {error}").contains("m4rker"), "{error:?}");
                }
            }
        }
    }
}

/// A message of the server is limited to 64 MiB.
#[test]
#[ignore = "takes several seconds and 200 MiB"]
fn a_huge_row_does_not_fill_the_memory() {
    let Some(operator) = Operator::new(&with_tokens(), Without) else { return };
    let sql = "UPDATE secrets.vals SET val = decode(repeat('00', 70 * 1024 * 1024), 'hex') \
               WHERE rid = (SELECT rid FROM pristine.vals LIMIT 1)";
    operator.apply(&["vals"], sql);
    let read = contents(&operator.target.cold());
    assert!(read.is_err_and(|error| code(&error) == 1));
}

/// Statements that change what is written. A trigger runs before the row is stored.
const TRIGGERS: &[(&str, &str, &str)] = &[
    ("another value", "vals", "NEW.val = decode(repeat('00', 200), 'hex'); RETURN NEW"),
    ("other metadata", "records", "NEW.meta = set_byte(NEW.meta, 40, 0); RETURN NEW"),
    ("another version", "records", "NEW.ver = NEW.ver + 1; RETURN NEW"),
    ("another bucket hash", "buckets", "NEW.h = set_byte(NEW.h, 0, 1); RETURN NEW"),
    ("another head", "projects", "NEW.head = set_byte(NEW.head, 40, 1); RETURN NEW"),
    ("another signature", "projects", "NEW.sig = set_byte(NEW.sig, 0, 1); RETURN NEW"),
    ("another entry of the log", "audit", "NEW.ct = set_byte(NEW.ct, 40, 1); RETURN NEW"),
    ("no value", "vals", "RETURN NULL"),
    ("no record", "records", "RETURN NULL"),
    ("no bucket hash", "buckets", "RETURN NULL"),
    ("no head", "projects", "RETURN NULL"),
    ("no entry of the log", "audit", "RETURN NULL"),
    ("a deleted record", "projects", "DELETE FROM secrets.records; RETURN NEW"),
    ("a deleted value", "projects", "DELETE FROM secrets.vals; RETURN NEW"),
];

/// Whoever writes does not read what the server has made of it. The next read refuses that, or shows
/// what was written.
#[test]
fn what_a_trigger_changes_is_not_believed() {
    let Some(operator) = Operator::new(&with_tokens(), With) else { return };
    let changed = |contents: &[String]| contents.iter().any(|line| line == "alpha one new");
    let mut wrong = Vec::new();
    for (name, table, body) in TRIGGERS {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION secrets.change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS \
             $$ BEGIN {body}; END $$; CREATE TRIGGER change BEFORE INSERT OR UPDATE OR DELETE ON \
             secrets.{table} FOR EACH ROW EXECUTE FUNCTION secrets.change()"
        );
        operator.apply(&ALL, &sql);
        let machine = operator.target.copy();
        if let Err(error) = attempt(&operator.target.vault(&machine), Update) {
            wrong.push(format!("{name}: the write fails: {error:?}"));
        }

        for (who, vault) in
            [("writer", operator.target.vault(&machine)), ("another", operator.target.cold())]
        {
            let read = contents(&vault);
            let log = logs(&vault);
            if !is_refused(&read) && !read.as_ref().is_ok_and(|read| changed(read)) {
                wrong.push(format!("{name}, {who}: {read:?}"));
            }

            if *table == "audit" && !is_refused(&log) {
                wrong.push(format!("{name}, {who}: {log:?}"));
            }
        }
    }

    report(&wrong);
}
