//! A project's files: everything that works on text with placeholders or with plain values.
//!
//! * [`setup`]: the directory of a `.secrets.toml`; renders its outputs and turns dotenv files into
//!   templates
//! * [`template`]: placeholders, filters, and outputs with all values or none
//! * [`import`], [`export`]: files of other tools, and our own
//! * [`scan`]: values in trees and in git's index
//! * [`git`]: what git tracks, ignores and has staged, read from its files
//! * [`dotenv`]: dotenv files, byte for byte
//! * [`one_time`]: codes that follow from a key and the time
//! * [`shell`]: lines that set variables in a shell
//! * [`variables`]: the names of environment variables, and which of them are dangerous
//!
//! This crate starts no program, prints nothing and knows no environment. A repository may come
//! from a stranger, so everything in it is checked.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_precision_loss))]

pub mod dotenv;
pub mod export;
pub mod git;
pub mod import;
pub mod one_time;
mod position;
pub mod scan;
pub mod setup;
pub mod shell;
pub mod template;
pub mod variables;

pub use position::Position;
