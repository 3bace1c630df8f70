//! Files of a test: their names, modes and bytes, and files that only their owner can read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Sandbox;

/// The name of the staged file that waits for the rename.
pub const WAITING: &str = ".out.secrets-new";

/// Returns the directory of this project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().into_owned()
    };

    let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Writes a file that only its owner can read, as the program requires of vaults and passphrases.
pub fn write_private(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    set_mode(path, 0o600);
}

/// Writes a file with a passphrase that only its owner can read.
pub fn passphrase_file(sandbox: &Sandbox, name: &str, passphrase: &str) -> PathBuf {
    let path = sandbox.path(name);
    write_private(&path, format!("{passphrase}\n"));
    path
}

/// Returns true if the vault or a file next to it holds 16 bytes of `needle`.
pub fn is_left(sandbox: &Sandbox, needle: &[u8]) -> bool {
    let files = fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| {
        let bytes = fs::read(path).unwrap();
        needle
            .chunks(16)
            .any(|piece| piece.len() == 16 && memchr::memmem::find(&bytes, piece).is_some())
    })
}
