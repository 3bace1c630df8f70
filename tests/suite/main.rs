//! One test binary: a file for each command and each promise.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::too_many_lines)]
#![allow(missing_docs, unreachable_pub, dead_code)]

mod architecture;
mod generated;
mod get;
mod readme;
mod support;
mod vectors;
mod wycheproof;
