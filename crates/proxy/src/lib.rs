//! Requests with injected values: a proxy for programs that must not see them, and a client for
//! `secrets request`.
//!
//! * [`server`]: the proxy: tunnels, requests in them, WebSockets
//! * [`client`]: requests of our own
//! * [`session`]: what the proxy and the client share: policy, certificate authority, connections, log
//! * [`exchange`]: one request and its answer
//! * [`judge`]: judges a request and puts values into it
//! * [`policy`], [`placeholder`], [`placeholders`], [`refusal`]: rules; placeholders; why a request is
//!   not sent
//! * [`rewrite`], [`sigv4`]: parts of a request, each with its escaping; signatures
//! * [`answer`]: answers without values
//! * [`origin`], [`net`], [`ca`], [`caller`], [`address`]: connections
//!
//! A value is sent where its secret's destinations in the vault allow it, and nowhere else. Nothing
//! here reads arguments, the environment, files or the vault.
#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
pub use hyper::{Method, Request, Response};

pub mod address;
pub mod answer;
pub mod ca;
pub mod caller;
pub mod client;
pub mod exchange;
mod idle;
pub mod judge;
mod local;
pub mod net;
pub mod origin;
pub mod placeholder;
pub mod placeholders;
pub mod policy;
pub mod refusal;
pub mod rewrite;
pub mod server;
pub mod session;
pub mod sigv4;
