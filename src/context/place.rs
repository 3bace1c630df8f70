//! Where the vault is: a file, the near file of a vault on a server, or the address of a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::output_digest::hex;
use secrets_core::model::SecretBytes;
use secrets_core::store::remote::FallbackNotice;
use secrets_core::store::{
    CachePlace, Connector, OfflineRules, RemoteStore, SqliteStore, Store, StoreError,
};
use secrets_core::vault::{Locked, VaultError};
use secrets_link::LinkServer;
use secrets_store_postgres::PostgresServer;
use secrets_store_postgres::address::{Address, SystemFiles};
use sha2::{Digest, Sha256};

use super::Context;
use crate::config::Environment;
use crate::error::{Error, Kind};

/// Where the vault is, and how to read it without its server.
pub(crate) struct VaultOpener {
    place: Place,
    caches: Option<PathBuf>,
    /// The socket of the process that keeps the connection
    link: Option<PathBuf>,
    is_offline: bool,
    /// The age that is permitted, if the user has named one
    max_age: Option<Duration>,
}

enum Place {
    File(PathBuf),
    Server { address: SecretBytes, name: VaultId },
}

impl VaultOpener {
    /// Opens the vault without unlocking it. `notice` is called if it is read without its server.
    pub(crate) fn open(&self, notice: Option<FallbackNotice>) -> Result<Locked, VaultError> {
        let max_age = self.max_age.unwrap_or(OfflineRules::MAX_AGE);
        let rules = OfflineRules { is_offline: self.is_offline, max_age, notice };
        let connector = self.connector();
        let store = match &self.place {
            Place::File(path) => {
                let file = SqliteStore::open(path)?;
                let near = file.near()?.filter(|near| !near.address.is_empty());
                let Some(near) = near else {
                    return Ok(Locked::with_file(file).with_max_age(self.max_age));
                };
                let cache = self.cache(&near.vault.vault_id);
                RemoteStore::open(file, cache_place(cache.as_deref()), connector)?
            }
            Place::Server { address, name } => {
                let cache = self.cache(name);
                let address = SecretBytes::copy_of(address.expose());
                RemoteStore::at(address, *name, cache_place(cache.as_deref()), connector)?
            }
        };

        let locked = Locked::with_store(Box::new(store.with_rules(rules)));
        Ok(locked.with_max_age(self.max_age))
    }

    /// Returns a function that connects by way of the link, or else by itself.
    fn connector(&self) -> Connector {
        let link = self.link.clone();
        Box::new(move |address| {
            let link = link.as_ref();
            match link.and_then(|socket| LinkServer::connect(socket, address.expose())) {
                Some(link) => Ok(Box::new(link)),
                None => Ok(Box::new(PostgresServer::new(address)?)),
            }
        })
    }

    /// Returns the path of the cache of a vault on a server.
    fn cache(&self, name: &VaultId) -> Option<PathBuf> {
        Some(self.caches.as_ref()?.join(hex(name)).with_extension("db"))
    }
}

fn cache_place(path: Option<&Path>) -> CachePlace<'_> {
    path.map_or(CachePlace::Memory, CachePlace::File)
}

/// Returns the URL of a server if the vault's path is one.
fn url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    is_url.then_some(text)
}

impl Context {
    /// Returns where the vault is.
    pub(crate) fn opener_of_vault(&self) -> Result<VaultOpener, Error> {
        let path = self.target.vault_path()?;
        let place = match url(&path) {
            Some(url) => {
                let address = self.server_address(url)?.encode();

                // Not the password: it can change.
                let name = Sha256::digest(url.as_bytes());
                let mut id = [0; 16];
                id.copy_from_slice(&name[..16]);
                Place::Server { address, name: id }
            }
            None => Place::File(path),
        };

        Ok(VaultOpener {
            place,
            caches: self.state_directory("remote"),
            link: self.agents.link_socket(),
            is_offline: self.is_offline,
            max_age: self.max_age,
        })
    }

    /// Returns the path of the cache of a vault on a server.
    pub(crate) fn cache_of(&self, vault_id: &VaultId) -> Option<PathBuf> {
        Some(self.state_directory("remote")?.join(hex(vault_id)).with_extension("db"))
    }

    /// Returns the address that a URL names, with the password that the environment or the password
    /// file has.
    pub(crate) fn server_address(&self, url: &str) -> Result<Address, Error> {
        let address = Address::parse(url, &SystemFiles, &Environment::text_of)?;
        self.with_known_password(address)
    }

    /// Adds the password that the environment or the password file has.
    pub(crate) fn with_known_password(&self, address: Address) -> Result<Address, Error> {
        match address.password_from(&SystemFiles, &Environment::text_of)? {
            Some(password) => Ok(address.with_password(password)?),
            None => Ok(address),
        }
    }

    /// Returns the path at which a near file will be created. Fails if a file is there.
    pub(crate) fn new_near_path(&self) -> Result<PathBuf, Error> {
        let path = self.target.vault_path()?;
        if url(&path).is_some() {
            return Err(Error::usage("`--vault` must be the path of a new file here")
                .hint("give the address of the server as an argument"));
        }

        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(StoreError::Exists(path).into());
        }

        Ok(path)
    }
}

impl From<secrets_store_postgres::address::AddressError> for Error {
    fn from(error: secrets_store_postgres::address::AddressError) -> Self {
        Self::new(Kind::Usage, error.to_string())
    }
}
