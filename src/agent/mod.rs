//! The agent: a process for each unlocked vault that holds its root key for a while.
//!
//! * `place`: the directory and the sockets, verified
//! * `protocol`: frames, requests and answers, for both ends
//! * `session`: the unlocked vault, its time and what was last seen of it
//! * `server`: the agent's process
//! * `client`: the other end, and [`crate::vault::RootKeyHandle`]
//!
//! No socket carries a root key: a new agent gets it through a pipe, and no answer holds it. The agent runs no program, reads no vault, logs nothing and keeps nothing of its first
//! caller.

mod client;
mod protocol;
mod runtime_dir;
mod server;
mod session;

pub(crate) use client::READY;
pub use client::{Client, Status};
pub use protocol::{AgentFault, Answer, Handover, LARGEST_FRAME, Request, VERSION};
pub use runtime_dir::{LONGEST as MAX_RUNTIME_DIR, RuntimeDir, RuntimeDirError};
pub use server::{MOST_CONNECTIONS, serve};

/// Milliseconds on a clock that goes on while the machine is suspended.
fn now() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic; // elsewhere it is this one that goes on
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}
