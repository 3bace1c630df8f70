//! Password managers. Their entries have user names, addresses, notes and several values.

pub(super) mod bitwarden;
pub(super) mod keepass;
pub(super) mod one_password;
pub(super) mod pass;
mod references;
pub(super) mod table;

pub(super) use references::resolve;
