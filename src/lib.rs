//! x
#![cfg_attr(test, allow(clippy::unwrap_used))]
pub mod crypto;
pub mod model;
pub mod store;
pub mod vault;
