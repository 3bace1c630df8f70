//! Copies the rows of a vault's file to a server, whatever they are.

use rusqlite::types::ValueRef;

use crate::support::specimen::Specimen;
use crate::support::traces::hex;

/// The tables of a vault's file with their columns, in the order of the tables on a server.
pub const TABLES: [(&str, &[&str]); 9] = [
    ("vault", &["id", "vault_id", "suite", "past"]),
    ("slots", &["slot_id", "type", "params", "salt", "commitment", "wrap"]),
    ("projects", &["pid", "epoch", "head", "sig"]),
    ("policies", &["pid", "v", "body", "sig"]),
    ("grants", &["token_id", "gen", "body", "escrow"]),
    ("buckets", &["pid", "b", "h"]),
    ("records", &["pid", "tag_ix", "rid", "epoch", "ver", "vver", "val_hash", "leaf", "meta"]),
    ("vals", &["rid", "val"]),
    ("audit", &["pid", "seq", "epoch", "ct"]),
];

/// Returns a statement that adds the rows of a table of a vault's file to a table on a server.
pub fn copy_of(specimen: &Specimen, (table, columns): (&str, &[&str]), to: &str) -> String {
    let connection = specimen.connection();
    let names = columns.join(", ");
    let mut select = connection.prepare(&format!("SELECT {names} FROM {table}")).unwrap();
    let mut rows = select.query([]).unwrap();
    let mut values: Vec<String> = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |column| match row.get_ref(column).unwrap() {
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Blob(bytes) => format!("decode('{}', 'hex')", hex(bytes)),
            other => panic!("{table}: {other:?}"),
        };

        let cells: Vec<String> = (0..columns.len()).map(cell).collect();
        values.push(format!("({})", cells.join(", ")));
    }

    if values.is_empty() {
        return String::new();
    }

    format!("INSERT INTO {to}({names}) VALUES {};", values.join(", "))
}

/// Returns statements that replace all rows on a server with those of a vault's file.
pub fn load(specimen: &Specimen) -> String {
    let mut sql = "SET synchronous_commit = off; \
                   ALTER TABLE secrets.vault ALTER COLUMN format SET DEFAULT 3;"
        .to_owned();
    for table in TABLES {
        let name = format!("secrets.{}", table.0);
        sql.push_str(&format!("DELETE FROM {name};"));
        sql.push_str(&copy_of(specimen, table, &name));
    }

    sql
}
