//! The link: a process of the user that keeps the connections to the server of one vault, so that a
//! command waits for no handshake.
//!
//! * `frame`: questions and answers
//! * [`mod@serve`]: the process
//! * [`client`]: a store's server by way of that process
//!
//! It holds sockets and sealed bytes, and no key of the vault. What a hostile server sends is read
//! here, in a process that knows nothing. `secrets unlock` starts it, and `secrets lock` ends it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
mod frame;
pub mod serve;

pub use client::{LinkServer, end};
pub use frame::Handover;
pub use serve::serve;
