//! A vault on a PostgreSQL server, and machines that use it. Each machine has its own cache and its
//! own checkpoints.

use std::path::PathBuf;

use tempfile::TempDir;
use terminal_secrets::model::SecretBytes;
use terminal_secrets::store::{CachePlace, Connector, RemoteStore, Store};
use terminal_secrets::store_postgres::PostgresServer;
use terminal_secrets::store_postgres::address::{Address, SystemFiles};
use terminal_secrets::vault::{Locked, Vault};
use test_postgres::{Cluster, Database};

use super::specimen::{VAULT_ID, begin, root};

/// A database with the tables of a vault.
pub struct VaultServer {
    pub database: Database,
    directory: TempDir,
}

impl VaultServer {
    /// Creates a database with empty tables. Returns `None` if this machine has no PostgreSQL.
    pub fn without_vault() -> Option<Self> {
        let database = Cluster::shared()?.database();
        let server = Self { database, directory: in_memory() };
        PostgresServer::create_tables(&server.address()).unwrap();
        Some(server)
    }

    /// Creates a database with an empty vault that has the fixture's id and root key. Returns `None`
    /// if this machine has no PostgreSQL.
    pub fn new() -> Option<Self> {
        let server = Self::without_vault()?;
        let store = server.store("founder");
        let mut transaction = store.write().unwrap();
        begin(&mut *transaction).unwrap();
        transaction.commit().unwrap();
        Some(server)
    }

    /// Returns the address of the database for its owner, with the password.
    pub fn address(&self) -> Address {
        let address = Address::parse(&self.database.url(), &SystemFiles, &|_| None).unwrap();
        address.with_password(SecretBytes::copy_of(self.database.password().as_bytes())).unwrap()
    }

    /// Returns the directory with the cache and the checkpoints of a machine.
    pub fn machine(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    /// Opens the rows of the database with the cache of a machine.
    pub fn store(&self, machine: &str) -> RemoteStore {
        let cache = self.machine(machine).join("cache.db");
        self.open(CachePlace::File(&cache), PostgresServer::connector())
    }

    /// Opens the rows of the database with a cache.
    pub fn open(&self, cache: CachePlace<'_>, connector: Connector) -> RemoteStore {
        RemoteStore::at(self.address().encode(), VAULT_ID, cache, connector).unwrap()
    }

    /// Opens the vault on a machine, with the owner's key.
    pub fn vault(&self, machine: &str) -> Vault {
        let locked = Locked::with_store(Box::new(self.store(machine)));
        locked.with_checkpoints(&self.machine(machine).join("anchors")).unlocked(root())
    }
}

/// Creates a directory in memory if the system has a place for that. Attacks copy many small files.
fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}
