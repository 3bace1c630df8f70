//! A vault on a real PostgreSQL server. Without PostgreSQL on this machine, these tests do nothing; in CI
//! they fail.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::too_many_lines,
    clippy::cast_precision_loss,
    unreachable_pub,
    dead_code,
    missing_docs
)]

mod concurrency;
mod cuts;
mod failover;
mod rollback;
mod trips;
mod world;
