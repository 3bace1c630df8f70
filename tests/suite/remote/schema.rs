//! A server whose operator changes the tables themselves: their columns, constraints, triggers and
//! policies.

use std::cell::Cell;
use std::fmt::Write;

use terminal_secrets::model::{Level, TokenName};
use terminal_secrets::vault::{ChangeLog, LogScope, NewToken, Vault, VaultError};

use super::rows::TABLES;
use super::target::{Target, contents, is_refused};
use crate::support::project;
use crate::support::specimen::Specimen;
use crate::support::traces::hex;

/// A server with two tokens. Every attack finds the honest tables.
pub struct Operator {
    pub target: Target,
    pub ids: Ids,
    keys: Keys,
    /// The tables that the last attack has changed
    changed: Cell<&'static [&'static str]>,
    honest: Vec<String>,
}

/// Ids of the fixture, as literals of SQL.
pub struct Ids {
    /// The record `one`
    pub one: String,
    /// The project of `one`
    pub alpha: String,
}

/// What a machine must do under an attack.
#[derive(Clone, Copy, PartialEq)]
pub enum Must {
    Refuse,
    /// It refuses, or it shows the honest state
    RefuseOrBeHonest,
}

/// Whether the tables have their keys.
#[derive(Clone, Copy, PartialEq)]
pub enum Keys {
    With,
    Without,
}

/// The readers of a vault. Each table has one that reads it.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    List,
    Values,
    Tokens,
    Logs,
}

impl Reader {
    const ALL: [Self; 4] = [Self::List, Self::Values, Self::Tokens, Self::Logs];

    fn of(table: &str) -> Self {
        match table {
            "vals" => Self::Values,
            "grants" => Self::Tokens,
            "audit" => Self::Logs,
            _ => Self::List,
        }
    }

    fn read(self, vault: &Vault) -> Result<String, VaultError> {
        Ok(match self {
            Self::List => format!("{:?}", vault.list(None, |_| true)?),
            Self::Values => format!("{:?}", contents(vault)?),
            Self::Tokens => format!("{:?}", vault.tokens()?),
            Self::Logs => format!("{:?}", logs(vault)?),
        })
    }
}

/// Returns all audit logs. Fails if one of them does not verify.
pub fn logs(vault: &Vault) -> Result<Vec<ChangeLog>, VaultError> {
    let logs = vault.change_logs(LogScope::All, &mut |_| true)?;
    logs.iter().try_for_each(ChangeLog::check)?;
    Ok(logs)
}

/// Returns the fixture with a manager and a reader of `alpha`.
pub fn with_tokens() -> Specimen {
    let specimen = Specimen::new();
    let vault = specimen.vault().unwrap();
    for (name, level) in [("boss", Level::Manage), ("reader", Level::Read)] {
        let (name, alpha) = (TokenName::parse(name).unwrap(), project("alpha"));
        vault.create_token(&NewToken::new(name, level, &alpha)).unwrap();
    }

    specimen
}

impl Operator {
    /// Creates a server with the rows of a vault's file, which a machine reads. Returns `None` if this
    /// machine has no PostgreSQL.
    pub fn new(specimen: &Specimen, keys: Keys) -> Option<Self> {
        let target = Target::new(specimen)?;
        target.sql(
            "ALTER SCHEMA secrets RENAME TO pristine; CREATE SCHEMA secrets; \
             GRANT USAGE ON SCHEMA secrets TO app, device",
        );

        let literal = |bytes: &[u8]| format!("'\\x{}'::bytea", hex(bytes));
        let one = specimen.vault().unwrap().get(&project("alpha"), &"one".parse().unwrap());
        let one = one.unwrap().id.0;
        let sql = "SELECT pid FROM records WHERE rid = ?1";
        let alpha: Vec<u8> =
            specimen.connection().query_row(sql, [&one[..]], |row| row.get(0)).unwrap();
        let ids = Ids { one: literal(&one), alpha: literal(&alpha) };

        let operator = Self { target, ids, keys, changed: Cell::new(&ALL), honest: Vec::new() };
        operator.apply(&[], "");
        let vault = operator.target.cold();
        let honest = Reader::ALL.map(|reader| reader.read(&vault).unwrap()).into();
        Some(Self { honest, ..operator })
    }

    /// Runs the statements of an attack that changes these tables, after an earlier attack was undone.
    pub fn apply(&self, tables: &'static [&'static str], attack: &str) {
        let like = if self.keys == Keys::With { "ALL" } else { "DEFAULTS" };
        let mut sql = "SET synchronous_commit = off; SET client_min_messages = error;".to_owned();
        for table in self.changed.replace(tables).iter().chain(tables) {
            let name = format!("secrets.{table}");
            write!(
                sql,
                "DROP TABLE IF EXISTS {name}; \
                 CREATE TABLE {name}(LIKE pristine.{table} INCLUDING {like}); \
                 INSERT INTO {name} SELECT * FROM pristine.{table}; GRANT ALL ON {name} TO app, device;"
            )
            .unwrap();
        }

        sql.push_str(attack);
        self.target.sql(&sql);
    }

    /// Makes an attack on a table, and checks what a machine does that has seen nothing, and one that
    /// has seen the honest state. Returns what is wrong.
    pub fn attack(
        &self,
        table: &'static str,
        name: &str,
        attack: &str,
        must: [Must; 2],
    ) -> Vec<String> {
        let number = ALL.iter().position(|known| *known == table).unwrap();
        self.apply(&ALL[number..=number], attack);

        let reader = Reader::of(table);
        let honest = &self.honest[reader as usize];
        let machines = [("cold", self.target.cold()), ("warm", self.target.warm())];
        let wrong = machines.into_iter().zip(must).filter_map(|((machine, vault), must)| {
            let read = reader.read(&vault);
            let is_honest = read.as_ref().is_ok_and(|read| read == honest);
            let is_right = is_refused(&read) || must == Must::RefuseOrBeHonest && is_honest;
            let shown = if is_honest { "the honest state".into() } else { format!("{read:?}") };
            (!is_right).then(|| format!("{name}, {machine}: {shown}"))
        });
        wrong.collect()
    }
}

/// The names of all tables.
pub const ALL: [&str; 9] = {
    let mut all = [""; 9];
    let mut number = 0;
    while number < all.len() {
        all[number] = TABLES[number].0;
        number += 1;
    }

    all
};
