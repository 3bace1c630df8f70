//! The parts that several commands share. A command imports from here and never from another
//! command.

pub(super) mod additions;
pub(super) mod age_options;
pub(super) mod backups;
pub(super) mod clipboard;
pub(super) mod confirm;
pub(super) mod conflicts;
pub(super) mod destinations;
pub(super) mod directories;
pub(super) mod due;
pub(super) mod expiry;
pub(super) mod git;
pub(super) mod kdf_options;
pub(super) mod label;
pub(super) mod listening;
pub(super) mod look_for;
pub(super) mod migrating;
pub(super) mod new_vault;
pub(super) mod no_space;
pub(super) mod outputs;
pub(super) mod project_file;
pub(super) mod readers;
pub(super) mod ready;
pub(super) mod recovery_code;
pub(super) mod references;
pub(super) mod renaming;
pub(super) mod revocation;
pub(super) mod sending;
pub(super) mod shells;
pub(super) mod status;
pub(super) mod store;
pub(super) mod suspects;
pub(super) mod updated;
pub(super) mod uses;
pub(super) mod value_source;
pub(super) mod variables;
