//! A server under attack, and machines that look at it.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use terminal_secrets::store::remote::{Committed, Request, Rows, Server, Update, UpdateError};
use terminal_secrets::store::{CachePlace, Connector, OfflineRules, StoreError};
use terminal_secrets::store_postgres::PostgresServer;
use terminal_secrets::vault::{Locked, LogScope, Vault, VaultError};
use test_postgres::Session;

use super::rows::{TABLES, load};
use crate::support::server::VaultServer;
use crate::support::specimen::{Specimen, code, root};

/// One connection that all machines of a test use, one after the other. A login takes longer than all
/// statements of an operation.
struct Shared(Arc<Mutex<PostgresServer>>);

impl Server for Shared {
    fn ask(&self, request: &Request) -> Result<Rows, StoreError> {
        self.0.lock().unwrap().ask(request)
    }

    fn update(&self, update: &Update) -> Result<Committed, UpdateError> {
        self.0.lock().unwrap().update(update)
    }

    fn end(&self) {
        self.0.lock().unwrap().end();
    }
}

/// A server with an honest state, and a machine that has seen it.
pub struct Target {
    superuser: RefCell<Session>,
    pub server: VaultServer,
    connection: Arc<Mutex<PostgresServer>>,
    honest: String,
    copies: Cell<usize>,
}

/// The machine that has seen the honest state.
const SEEN: &str = "seen";

impl Target {
    /// Creates a server with the rows of a vault's file, which a machine reads. Returns `None` if this
    /// machine has no PostgreSQL.
    pub fn new(honest: &Specimen) -> Option<Self> {
        let server = VaultServer::without_vault()?;
        let connection = PostgresServer::new(&server.address().encode()).unwrap();
        let connection = Arc::new(Mutex::new(connection));
        let superuser = RefCell::new(server.database.session());
        let honest = load(honest);
        let target = Self { superuser, server, connection, honest, copies: Cell::new(0) };
        target.reset();
        target.see_everything();
        Some(target)
    }

    fn see_everything(&self) {
        let vault = self.vault(SEEN);
        contents(&vault).unwrap();
        vault.tokens().unwrap();
        vault.change_logs(LogScope::All, &mut |_| true).unwrap();
    }

    /// Runs statements as the superuser.
    pub fn sql(&self, statements: &str) {
        self.superuser.borrow_mut().sql(statements);
    }

    /// Runs statements as the superuser. Returns a hash of all rows afterwards.
    pub fn sql_and_hash(&self, statements: &str) -> String {
        let mut sql = format!("{statements};");
        for (table, _) in TABLES {
            let rows = "md5(string_agg(t::text, ',' ORDER BY t::text))";
            write!(sql, "SELECT {rows} FROM secrets.{table} t;").unwrap();
        }

        self.superuser.borrow_mut().sql(&sql)
    }

    /// Loads the honest rows.
    pub fn reset(&self) {
        self.sql(&self.honest);
    }

    /// Returns a function that uses the one connection.
    pub fn connector(&self) -> Connector {
        let connection = Arc::clone(&self.connection);
        Box::new(move |_| Ok(Box::new(Shared(Arc::clone(&connection)))))
    }

    /// Returns the vault on a machine that has seen nothing.
    pub fn cold(&self) -> Vault {
        let store = self.server.open(CachePlace::Memory, self.connector());
        Locked::with_store(Box::new(store)).unlocked(root())
    }

    /// Returns the vault on a machine that has seen the honest state, and nothing else.
    pub fn warm(&self) -> Vault {
        self.vault(&self.copy())
    }

    /// Creates a machine that has seen the honest state, and nothing else. The last one is removed.
    pub fn copy(&self) -> String {
        let before = copy_name(self.copies.get());
        let _ = fs::remove_dir_all(self.server.machine(&before));
        self.another_copy()
    }

    /// Creates another machine of this kind.
    pub fn another_copy(&self) -> String {
        self.copies.set(self.copies.get() + 1);
        let name = copy_name(self.copies.get());
        copy_directory(&self.server.machine(SEEN), &self.server.machine(&name));
        name
    }

    /// Makes a machine believe that it has last looked at the server two minutes ago. It then writes to
    /// its cache after every reading.
    pub fn age(&self, machine: &str) {
        let cache = Connection::open(self.server.machine(machine).join("cache.db")).unwrap();
        cache.execute("UPDATE seen SET at = at - 120000", []).unwrap();
    }

    /// Returns the vault on a machine.
    pub fn vault(&self, machine: &str) -> Vault {
        self.with_rules(machine, OfflineRules::default())
    }

    /// Returns the vault on a machine that does not ask the server.
    pub fn offline(&self, machine: &str) -> Vault {
        self.with_rules(machine, OfflineRules { is_offline: true, ..OfflineRules::default() })
    }

    fn with_rules(&self, machine: &str, rules: OfflineRules) -> Vault {
        let directory = self.server.machine(machine);
        let cache = directory.join("cache.db");
        let store = self.server.open(CachePlace::File(&cache), self.connector());
        let locked = Locked::with_store(Box::new(store.with_rules(rules)));
        locked.with_checkpoints(&directory.join("anchors")).unlocked(root())
    }
}

fn copy_name(number: usize) -> String {
    format!("copy-{number}")
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Returns the projects, tags and values of all secrets.
pub fn contents(vault: &Vault) -> Result<Vec<String>, VaultError> {
    let listed = vault.list(None, |_| true)?;
    let mut all = Vec::new();
    for secrets in listed.chunk_by(|one, next| one.project == next.project) {
        let project = &secrets[0].project;
        let values = vault.scope(project).reveal_all()?;
        assert_eq!(secrets.len(), values.len());
        for (tag, value) in values {
            let text = String::from_utf8(value.expose().to_vec()).unwrap();
            all.push(format!("{project} {tag} {text}"));
        }
    }

    Ok(all)
}

/// Returns true if a machine has refused what the server shows as damaged or rolled back.
pub fn is_refused<T>(outcome: &Result<T, VaultError>) -> bool {
    outcome.as_ref().is_err_and(|error| code(error) == 6)
}

/// Fails with everything that went wrong.
#[track_caller]
pub fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
