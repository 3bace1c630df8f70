//! PostgreSQL clusters for tests and benches, and a relay that delays, counts and cuts.
//!
//! A [`Cluster`] is a server of its own, with an empty data directory, TLS certificates and a few
//! roles. A [`Database`] is one database in it. A [`Relay`] stands between a client and the server,
//! and behaves like a slow or broken network.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod certificates;
mod cluster;
mod connection;
mod database;
mod installation;
mod pooler;
mod postmaster;
mod relay;
mod session;
mod watcher;

#[cfg(test)]
mod tests;

pub use cluster::{Cluster, Options};
pub use database::Database;
pub use relay::{Cut, Relay};
pub use session::Session;
