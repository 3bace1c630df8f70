//! Directories of files: which one a file is in, and how a change in it becomes durable.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Returns the directory of a file, as a path that can be opened.
pub fn of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// Returns `path` with `suffix` appended to its last component.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Creates a directory and its missing parents with mode 0700.
pub fn create_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Flushes a directory, so that renames in it are durable.
pub fn flush(directory: &Path) -> io::Result<()> {
    flush_open(&File::open(directory)?)
}

/// Flushes a directory that is open. Some file systems cannot do that, which is not an error.
pub fn flush_open(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

/// Creates a directory and its missing parents (0700), and flushes each into its parent. Otherwise
/// a file in it could be lost in a power cut.
pub fn create_durable(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|above| !above.exists()).collect();
    create_private(directory)?;
    for above in missing.into_iter().filter_map(Path::parent) {
        match flush(above) {
            // Somebody else created this directory and we may not read it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            flushed => flushed?,
        }
    }

    Ok(())
}
