//! The HTTP API of a vault, for programs on this machine (docs/design/api.md).
//!
//! * `server`: connections, their limits, and the thread that waits for them
//! * `guard`: refuses requests that come from web pages or are meant for another server
//! * `routes`: methods and paths, and the operations behind them
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

use hyper::Method;
use routes::{Operation, Route};
use secrets_core::model::SecretBytes;

pub use rate::RateLimit;
pub use routes::OPENAPI;
pub use server::{Listener, Running, Settings, start};
pub use worker::{Access, Caller, Finished, Observer, OpenVault};

/// Reads what a request asks for, for the fuzz target. Returns what it asks for, or why it is refused.
#[doc(hidden)]
pub fn read(method: &str, target: &str, body: &SecretBytes) -> Result<&'static str, String> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
    let route = Route::find(&method, path).map_err(|failure| format!("{failure:?}"))?;
    let operation = Operation::read(route, path, query, body);
    operation.map(|one| one.level().as_str()).map_err(|failure| format!("{failure:?}"))
}
