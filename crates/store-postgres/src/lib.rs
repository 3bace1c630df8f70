//! A vault's sealed rows on a PostgreSQL server, or on another engine with the same protocol.
//!
//! * [`address`]: where a vault is, and how to log in there
//! * `connect`: the connection, with full verification of the server or without TLS
//! * `connection`: questions and commits, each in one trip
//! * [`server`]: a connection for one process
//! * `questions`, `update`, `statement`: the statements
//! * `rows`, `failure`: what comes back
//! * `schema`: the tables
//! * `facts`: what the server says about itself
//!
//! The server is hostile. Nothing here has a key, and no text of the server is passed on.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod connect;
mod connection;
mod facts;
mod failure;
mod questions;
mod rows;
mod schema;
pub mod server;
mod statement;
mod update;

pub use address::Address;
pub use connection::Connection;
pub use facts::{Acknowledges, ServerFacts};
pub use server::PostgresServer;
