//! Files on this machine: atomic writes, private records, identity, and clean-up after processes
//! that were killed.
//!
//! * [`Output`]: replaces a file that the user named; `temporary` holds its new content
//! * [`Records`]: small private files of our own, in one directory
//! * [`FileId`]: whether two paths lead to one file; [`KeptFile`]: one that stays open
//! * [`DeferSignals`]: holds signals back while a file has a temporary name
//! * [`directory`], [`leftovers`], [`modes`], [`open`], [`public`], [`rename`],
//!   [`umask`]: one rule each
//!
//! This crate knows no vault, no template and no secret. It never follows a link that somebody else
//! could have put in place of a file.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod directory;
mod identity;
pub mod leftovers;
pub mod modes;
pub mod open;
mod output;
pub mod public;
mod records;
pub mod rename;
mod replacements;
mod signals;
mod temporary;
pub mod umask;

pub use identity::{FileId, KeptFile};
pub use output::{
    Comparison, Output, OutputChange, OutputError, PendingOutput, ProtectedFiles, StagedOutput,
    permission_bits,
};
pub use records::{Records, RecordsLock};
pub use replacements::{ReplaceError, Replacements};
pub use signals::{DeferSignals, is_ignored};
