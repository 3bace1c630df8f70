//! The Model Context Protocol over stdio: a server that has tools and nothing else (docs/design/mcp.md).
//!
//! It speaks two generations of the protocol. Clients up to `2025-11-25` begin with `initialize`. In
//! `2026-07-28` each request says its version in `_meta`, and nothing is remembered between requests.
//!
//! * `frame`: messages, one a line, of limited length
//! * `message`: JSON-RPC 2.0
//! * `protocol`: the methods
//! * `server`: reads requests, answers them, and lets tools run at the same time
//! * `tool`: tools, their results and their calls

mod frame;
mod message;
mod protocol;
mod server;
mod tool;

pub use frame::MAX_MESSAGE;
pub use server::serve;
pub use tool::{Arguments, Cancelled, Identity, Tool, ToolResult, Tools};
