//! Files that hold no secret, with the mode that the user's other files have.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tempfile::TempPath;

use super::{directory, umask};

/// Replaces a file in one step, keeping its mode. Follows a symbolic link to its target.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    next_to(&path, content)?.persist(&path).map_err(|error| error.error)
}

/// Writes a new content of a file to another name in its directory, with the same mode.
pub(crate) fn next_to(path: &Path, content: &[u8]) -> io::Result<TempPath> {
    let permissions = fs::metadata(path)?.permissions();
    let mut file = tempfile::NamedTempFile::new_in(directory::of(path))?;

    file.write_all(content)?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;

    Ok(file.into_temp_path())
}

/// Creates a file with the caller's umask. `mode` holds the permission bits before it is applied.
/// Never overwrites an existing file, and leaves no partial one behind.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = umask::with_original(|| options.open(path))?;

    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Appends to a file in one write, because another process may write to it too. Creates the file
/// with the caller's umask if it is missing.
pub fn append(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let mut file: File = umask::with_original(|| options.open(path))?;
    file.write_all(content)
}
