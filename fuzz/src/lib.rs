//! The fuzz targets: what each does with hostile input, and what must always hold. Each target is
//! one file with one `run`.
//!
//! Nothing here depends on libFuzzer. The files in `targets/` pass its inputs on.
//! `tests/suite/fuzz.rs` of the main crate compiles this folder as a module and replays corpus and
//! regressions, so `cargo test` runs the targets too.

pub mod agent;
pub mod answer;
mod answers;
pub mod api;
pub mod audit;
pub mod dotenv;
pub mod git;
pub mod grant;
pub mod head;
pub mod import;
mod input;
pub mod keyring;
pub mod link;
pub mod manifest;
pub mod mask;
pub mod mcp;
pub mod metadata;
pub mod path;
pub mod policy;
pub mod request;
pub mod rows;
mod server;
pub mod slot;
pub mod template;
pub mod ticket;
pub mod token;
pub mod uses;
pub mod vault;
mod world;

/// Runs a target on an input. It panics if a property does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name. Its file, its corpus and its regressions have the same name.
pub const TARGETS: [(&str, Target); 25] = [
    ("agent", agent::run),
    ("answer", answer::run),
    ("api", api::run),
    ("audit", audit::run),
    ("dotenv", dotenv::run),
    ("git", git::run),
    ("grant", grant::run),
    ("head", head::run),
    ("import", import::run),
    ("keyring", keyring::run),
    ("link", link::run),
    ("manifest", manifest::run),
    ("mask", mask::run),
    ("mcp", mcp::run),
    ("metadata", metadata::run),
    ("path", path::run),
    ("policy", policy::run),
    ("request", request::run),
    ("rows", rows::run),
    ("slot", slot::run),
    ("template", template::run),
    ("ticket", ticket::run),
    ("token", token::run),
    ("uses", uses::run),
    ("vault", vault::run),
];
