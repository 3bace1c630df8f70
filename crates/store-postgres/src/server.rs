//! A server for one process: a connection on a runtime that exists only while a vault on a server is
//! used.

use std::cell::RefCell;
use std::sync::Arc;

use secrets_core::model::SecretBytes;
use secrets_core::store::remote::{
    Committed, Request, Rows, Server, ServerError, Update, UpdateError,
};
use secrets_core::store::{Connector, StoreError};
use tokio::runtime::{Builder, Runtime};

use crate::address::Address;
use crate::connection::Connection;
use crate::facts::ServerFacts;

/// A vault's rows on a PostgreSQL server.
pub struct PostgresServer {
    /// Always there until the end, when it must not wait for a slow DNS server
    runtime: Option<Runtime>,
    connection: RefCell<Connection>,
}

impl PostgresServer {
    /// Prepares a connection to the server at an encoded address, which begins with the first
    /// question.
    pub fn new(address: &SecretBytes) -> Result<Self, StoreError> {
        let address = Address::decode(address.expose());
        let address = address.ok_or(StoreError::Damaged("server's address"))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ServerError::Unreachable(error.to_string()))?;
        let connection = RefCell::new(Connection::new(Arc::new(address)));
        Ok(Self { runtime: Some(runtime), connection })
    }

    /// Returns a function that makes connections to servers at encoded addresses.
    pub fn connector() -> Connector {
        Box::new(|address: &SecretBytes| Ok(Box::new(Self::new(address)?) as Box<dyn Server>))
    }

    /// Creates the tables of a vault at an address, if they do not exist.
    pub fn create_tables(address: &Address) -> Result<(), StoreError> {
        let server = Self::new(&address.encode())?;
        server.run(async |connection| connection.create_tables().await)?
    }

    /// Asks the server at an encoded address about itself.
    pub fn facts(address: &SecretBytes) -> Result<ServerFacts, StoreError> {
        Self::new(address)?.run(async |connection| connection.facts().await)?
    }

    /// Runs `act` with the connection.
    fn run<T>(&self, act: impl AsyncFnOnce(&mut Connection) -> T) -> Result<T, StoreError> {
        let ended = || ServerError::Unreachable("it is ending".into());
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        Ok(runtime.block_on(act(&mut self.connection.borrow_mut())))
    }
}

impl Server for PostgresServer {
    fn ask(&self, request: &Request) -> Result<Rows, StoreError> {
        self.run(async |connection| connection.ask(request).await)?
    }

    fn update(&self, update: &Update) -> Result<Committed, UpdateError> {
        let updated = self.run(async |connection| connection.update(update).await);
        updated.unwrap_or_else(|error| Err(UpdateError::Failed(error)))
    }

    fn end(&self) {
        // Without a runtime, there is no transaction.
        let _ = self.run(async |connection| connection.end().await);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.connection.borrow_mut().close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
