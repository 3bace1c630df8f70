//! File systems without Unix modes: FAT, SMB, mounts of another system.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::leftovers;

#[derive(Clone, Copy)]
pub enum Probe {
    File,
    Directory,
}

/// Returns true if the file system of `directory` has no Unix modes of its own, so that no file can
/// be made private there.
pub fn are_fixed(directory: &Path) -> bool {
    are_fixed_for(directory, Probe::File)
}

/// Returns true if a new file or directory in `directory` does not get the requested mode, or if it
/// cannot be created because the file system is read-only.
pub fn are_fixed_for(directory: &Path, probe: Probe) -> bool {
    let Ok(name) = leftovers::drawn_name() else { return false };
    let path = directory.join(format!("{name}probe"));

    let created = match probe {
        Probe::File => {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map(drop)
        }
        Probe::Directory => DirBuilder::new().mode(0o700).create(&path),
    };

    if let Err(error) = created {
        return error.kind() == io::ErrorKind::ReadOnlyFilesystem;
    }

    let mode = fs::symlink_metadata(&path).map(|found| found.mode());
    let _ = match probe {
        Probe::File => fs::remove_file(&path),
        Probe::Directory => fs::remove_dir(&path),
    };

    mode.is_ok_and(|mode| mode & 0o077 != 0)
}
