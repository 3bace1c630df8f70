//! The identity of a manifest in a record of trust: its directory, and the digest of its text.

use std::fs;
use std::io;
use std::path::PathBuf;

use secrets_core::crypto::output_digest::hex;

use super::manifest::Manifest;
use super::relative;

impl Manifest {
    /// Returns the path of the manifest's directory without links.
    pub fn canonical_directory(&self) -> io::Result<PathBuf> {
        fs::canonicalize(relative(&self.directory))
    }

    /// Returns SHA-256 of the manifest's file in hex.
    pub fn sha256(&self) -> String {
        hex(&self.base().digest)
    }
}
