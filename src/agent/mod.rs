//! The agent: one process per user that holds the root keys of unlocked vaults for a while.
//!
//! * `place`: the directory and the socket, verified
//! * `protocol`: frames, requests and answers, for both ends
//! * `session`: one unlocked vault, its time and what was last seen of it
//! * `server`: the agent's process
//! * `client`: the other end, and [`crate::vault::KeyHolder`]
//!
//! No answer holds a root key. The agent runs no program, reads no vault, logs nothing and keeps nothing of its first
//! caller.

mod client;
mod place;
mod protocol;
mod server;
mod session;

pub use client::{Client, Status};
pub use place::{Place, PlaceError};
pub use protocol::{Answer, Fault, LARGEST_FRAME, Request, VERSION};
pub use server::{MOST_CONNECTIONS, serve};

/// Milliseconds on a clock that goes on while the machine is suspended.
fn now() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic; // elsewhere it is this one that goes on
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}
