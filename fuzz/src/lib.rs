//! What is done with hostile input, and what must hold whatever it is: one file a target, each with one `run`.
//!
//! Nothing here knows libFuzzer. The files in `targets/` hand over what it finds; `tests/suite/fuzz.rs` of the main crate
//! compiles this folder as a module of its own and replays corpus and regressions, so that `cargo test` does it too.

pub mod agent;
pub mod dotenv;
pub mod git;
pub mod head;
pub mod import;
mod input;
pub mod keyring;
pub mod manifest;
pub mod mask;
pub mod metadata;
pub mod slot;
pub mod template;
pub mod vault;
mod world;

/// A target: what it does with an input. It panics where something does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its file, its corpus and its regressions.
pub const TARGETS: [(&str, Target); 12] = [
    ("agent", agent::run),
    ("dotenv", dotenv::run),
    ("git", git::run),
    ("head", head::run),
    ("import", import::run),
    ("keyring", keyring::run),
    ("manifest", manifest::run),
    ("mask", mask::run),
    ("metadata", metadata::run),
    ("slot", slot::run),
    ("template", template::run),
    ("vault", vault::run),
];
