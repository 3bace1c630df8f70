//! The HTTP API of a vault, for programs on this machine (docs/design/api.md).
//!
//! * `server`: connections, their limits, and the thread that waits for them
//! * `guard`: refuses requests that come from web pages or are meant for another server
//! * `routes`: what a request asks for
//! * `body`: JSON documents with values, in wiped memory
//! * `worker`: the thread with the vault, which a request's own token opens
//! * `rate`: how often a token may ask
//! * `reply`: responses, in the shapes of `openapi.json`
//!
//! No operation returns a value. No key is kept between requests: a connection serves one request, and
//! is closed after it.

mod body;
mod guard;
mod rate;
mod reply;
mod routes;
mod server;
mod worker;

pub use rate::RateLimit;
pub use server::{Listener, Running, Settings, start};
pub use worker::{Access, Caller, Finished, Observer, OpenVault};

/// The description of this API (OpenAPI 3.0.1), with `{server}` in place of its address.
pub const OPENAPI: &str = include_str!("../openapi.json");
