//! The vault as a library: sealed records in one file, and the operations on them.
//!
//! * [`vault`]: projects and secrets; verifies what it reads and seals what it writes
//! * [`store`]: sealed rows in an SQLite file, and the vault's path
//! * [`crypto`]: docs/format.md in code, without input or output
//! * [`codec`]: length-prefixed bytes
//! * [`model`]: tags, names and values as types
//! * [`machine`]: how much memory the key derivation may use
//!
//! Each imports only those below it. This crate knows no argument, no environment and no terminal.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_precision_loss))]

pub mod codec;
pub mod crypto;
pub mod machine;
pub mod model;
pub mod store;
pub mod vault;
