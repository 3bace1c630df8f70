//! A database with a vault, and machines that use it.

use std::path::PathBuf;

use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::root_key::RootKey;
use secrets_core::model::{Class, ProjectName, SecretBytes, SecretRef, SecretValue, Tag};
use secrets_core::store::{CachePlace, RemoteStore, Store};
use secrets_core::vault::{Locked, NewSecret, Vault, begin_vault};
use secrets_store_postgres::PostgresServer;
use secrets_store_postgres::address::{Address, SystemFiles};
use tempfile::TempDir;
use test_postgres::{Cluster, Database};

/// The vault's id.
pub const VAULT_ID: VaultId = [9; 16];

/// Returns the vault's root key.
pub fn root() -> RootKey {
    RootKey::from_bytes(&[7; 32]).unwrap()
}

pub fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).unwrap()
}

pub fn tag(tag: &str) -> Tag {
    Tag::parse(tag).unwrap()
}

pub fn by_tag(tag: &str) -> SecretRef {
    tag.parse().unwrap()
}

pub fn value(bytes: &[u8]) -> SecretValue {
    SecretValue::new(SecretBytes::copy_of(bytes), false).unwrap()
}

/// Returns a secret to store.
pub fn secret(tag: &str, bytes: &[u8]) -> NewSecret {
    NewSecret {
        tag: self::tag(tag),
        name: None,
        description: None,
        value: value(bytes),
        class: Class::Team,
        expires: None,
        source: None,
    }
}

/// A database with an empty vault, and the caches of two machines.
pub struct World {
    pub database: Database,
    directory: TempDir,
}

impl World {
    /// Creates a world, unless this machine has no PostgreSQL.
    pub fn new() -> Option<Self> {
        Some(Self::at(Cluster::shared()?))
    }

    /// Creates a world on a cluster of its own.
    pub fn at(cluster: &Cluster) -> Self {
        let world = Self { database: cluster.database(), directory: TempDir::new().unwrap() };
        PostgresServer::create_tables(&world.address(None)).unwrap();

        let store = world.store("first", None);
        let mut transaction = store.write().unwrap();
        begin_vault(&mut *transaction, VAULT_ID, &root(), &[]).unwrap();
        transaction.commit().unwrap();
        world
    }

    /// Returns the address of the database, through a relay if its port is given.
    pub fn address(&self, port: Option<u16>) -> Address {
        let url = port.map_or_else(|| self.database.url(), |port| self.database.url_at(port));
        self.address_of(&url)
    }

    fn address_of(&self, url: &str) -> Address {
        let address = Address::parse(url, &SystemFiles, &|_| None).unwrap();
        address.with_password(SecretBytes::copy_of(self.database.password().as_bytes())).unwrap()
    }

    fn cache(&self, machine: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(machine).join("cache.db")
    }

    /// Returns a store with the cache of a machine.
    pub fn store(&self, machine: &str, port: Option<u16>) -> RemoteStore {
        self.store_at(machine, &self.address(port))
    }

    fn store_at(&self, machine: &str, address: &Address) -> RemoteStore {
        let cache = self.cache(machine);
        let place = CachePlace::File(&cache);
        let connector = PostgresServer::connector();
        RemoteStore::at(address.encode(), VAULT_ID, place, connector).unwrap()
    }

    /// Returns the vault as a machine sees it.
    pub fn vault(&self, machine: &str, port: Option<u16>) -> Vault {
        self.vault_at(machine, &self.address(port))
    }

    /// Returns the vault as a machine sees it that knows several servers.
    pub fn vault_of(&self, machine: &str, ports: &[u16]) -> Vault {
        self.vault_at(machine, &self.address_of(&self.database.url_of(ports)))
    }

    fn vault_at(&self, machine: &str, address: &Address) -> Vault {
        Locked::with_store(Box::new(self.store_at(machine, address)))
            .with_checkpoints(&self.directory.path().join(machine).join("anchors"))
            .unlocked(root())
    }
}
