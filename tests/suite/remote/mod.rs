//! A vault on a PostgreSQL server whose operator is hostile. The operator may run any SQL, and has no
//! key of the vault.
//!
//! * `attacks`: the attacks on a vault's file (`crate::attacks`), with the same rows on a server
//! * `operator`: attacks that are possible only on a server
//! * `tokens`: attacks on tokens and by them
//! * `machines`: several machines with one vault, without an attack
//! * `rows`: copies the rows of a vault's file to a server
//! * `target`: a server under attack, and machines that look at it
//!
//! Attacks on the connection are in `crates/store-postgres`: certificates, logins, messages, cuts.

mod attacks;
mod machines;
mod operator;
mod rollback;
mod rows;
mod schema;
mod target;
mod tokens;
