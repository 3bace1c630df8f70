//! One test binary: a file for each command and each promise.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::too_many_lines)]
#![allow(missing_docs, unreachable_pub, dead_code)]

mod agent;
mod architecture;
mod arguments;
mod attacks;
mod backends;
mod clone;
mod compact;
mod completions;
mod concurrency;
mod config;
mod create;
mod damage;
mod delete;
mod dotenv;
mod exit_codes;
mod filters;
mod fixture;
mod generated;
mod get;
mod hostile;
mod init;
mod json;
mod leaks;
mod list;
mod mask;
mod output;
mod output_faults;
mod paths;
mod project;
mod prompts;
mod readme;
mod redact;
mod render;
mod render_streams;
mod run;
mod run_terminal;
mod scan;
mod store;
mod support;
mod template;
mod terminal;
mod update;
mod vectors;
mod wycheproof;
