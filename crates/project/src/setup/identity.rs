//! The identity of a manifest in a record of trust: its directory, and the digest of its text.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::manifest::Manifest;
use super::relative;
use super::trust::hexadecimal;

impl Manifest {
    /// Returns the path of the manifest's directory without links.
    pub fn canonical_directory(&self) -> io::Result<PathBuf> {
        fs::canonicalize(relative(&self.directory))
    }

    /// Returns SHA-256 of the manifest's file in hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&self.base().digest)
    }
}
