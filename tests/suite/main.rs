//! One test binary, with one file for each command and each promise.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    clippy::format_collect
)]
#![allow(missing_docs, unreachable_pub, dead_code)]

#[macro_use]
mod support;

mod access;
mod adopt;
mod agent;
mod allow;
mod architecture;
mod arguments;
mod attacks;
mod audit;
mod backup;
mod before_prompts;
mod check;
mod checkpoint;
mod clone;
mod code;
mod compact;
mod completions;
mod concurrency;
mod config;
mod copy;
mod create;
mod damage;
mod delete;
mod doctor;
mod dotenv;
mod edit;
mod environments;
mod exit_codes;
mod expiry;
mod export;
mod faults;
mod filters;
mod formats;
mod fuzz;
mod generated;
mod get;
mod git;
mod git_credential;
mod hostile;
mod import;
mod import_formats;
mod import_programs;
mod init;
mod journal;
mod json;
mod key_file;
mod key_pairs;
mod keychain;
mod leak_hunt;
mod leaks;
mod list;
mod manifest;
mod many;
mod mask;
mod mcp;
mod migration;
mod output;
mod output_faults;
mod owners;
mod passwd;
mod paths;
mod pick;
mod poor_file_system;
mod project;
mod prompts;
mod proxy;
mod readers;
mod readme;
mod recovery;
mod redact;
mod refs;
mod rekey;
mod remembered;
mod remote;
mod remote_story;
mod rename;
mod render;
mod render_streams;
mod request;
mod run;
mod run_terminal;
mod scan;
mod serve;
mod setup;
mod shells;
mod store;
mod stories;
mod style;
mod supply;
mod template;
mod terminal;
mod token;
mod token_attacks;
mod trips;
mod trust;
mod update;
mod vectors;
mod verify;
mod witness;
mod wycheproof;
