//! `setup`, `setup --new` and `render --all`: from a fresh clone to working files, in any state of
//! git and the tree.

mod commands;
mod first_manifest;
mod formats;
mod ignored;
mod missing;
mod outputs;
mod questions;
mod replacing;
mod trees;
