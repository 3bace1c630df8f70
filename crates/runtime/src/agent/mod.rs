//! The agent: a process that holds the root key of one unlocked vault for a limited time.
//!
//! * `runtime_dir`: the directory with the sockets, and its verification
//! * `protocol`: frames, requests and answers, for both ends
//! * `session`: the unlocked vault, its timeouts and its last known state
//! * `server`: the agent's process
//! * `client`: the client, which starts, asks and locks an agent
//! * `vault_access`: the client as [`secrets_core::vault::VaultAccess`]
//! * `answers`: the checks that a client makes before it uses an answer
//!
//! No socket ever carries a root key or a key of the directory. A new agent receives the root key
//! through a pipe, and no answer contains it. The agent runs no programs, reads no vaults, logs nothing and keeps nothing from
//! the process that started it.

mod answers;
mod client;
mod connection;
mod protocol;
mod runtime_dir;
mod server;
mod session;
mod vault_access;

pub use client::{Client, Status};
pub use protocol::{
    AgentFault, Answer, ChangeKind, Handover, MAX_ANSWER, MAX_FRAME, MAX_NAMES, ProjectFrame,
    Request, SignFrame, VERSION,
};
pub use runtime_dir::{MAX_LENGTH as MAX_RUNTIME_DIR, RuntimeDir, RuntimeDirError};
pub use server::{MAX_CONNECTIONS, serve};

/// Returns the milliseconds on a clock that keeps running while the machine is suspended.
fn now() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic; // keeps running on other systems
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}
