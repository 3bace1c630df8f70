//! Checks the directory of a vault, and the files next to it that SQLite would read, before SQLite
//! opens anything.
//!
//! SQLite replays any journal with the right name into the vault, no matter which user wrote it. So
//! nobody else may be able to put one there. Also renames such files out of the way.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrets_files::directory::with_suffix;
use secrets_files::modes::{self, Probe};
use secrets_files::rename;

use super::StoreError;
use super::vault_path::{JOURNALS, quoted};

/// The write bits of the group and of all others.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
/// In a directory with this bit, only owners can remove and rename their files.
const STICKY: u32 = 0o1000;

/// Refuses a directory in which somebody else could replace the vault or put a journal next to it.
/// Returns true if others can write to it only because its file system has no Unix modes.
pub(super) fn check_directory(directory: &Path) -> Result<bool, StoreError> {
    let found = fs::metadata(directory).map_err(|source| failed(directory, source))?;
    let refuse = |why, fix| Err(StoreError::Unsafe { path: directory.to_owned(), why, fix });

    let us = rustix::process::geteuid();
    if found.uid() != us.as_raw() && found.uid() != 0 {
        return refuse("belongs to another user, who can replace the files in it", None);
    }

    let is_open = found.mode() & OTHERS_WRITE != 0
        || (found.mode() & GROUP_WRITES != 0 && !is_private_group(&found));
    if !is_open || found.mode() & STICKY != 0 {
        return Ok(false);
    }

    if modes::are_fixed_for(directory, Probe::Directory) {
        return Ok(true);
    }

    refuse("can be written by other users", Some(format!("chmod go-w {}", quoted(directory))))
}

/// Returns true for the private group that many systems create for each user: it has the user's
/// number and no other members.
fn is_private_group(found: &Metadata) -> bool {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if found.gid() != group || group != user {
        return false;
    }

    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let number = group.to_string();
    let mut members = groups.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        (fields.next()? == number).then(|| fields.next().unwrap_or_default().trim())
    });

    members.all(str::is_empty)
}

/// Refuses a journal, a write-ahead log or a compaction marker next to `vault` that is not ours.
/// Returns true if a journal exists. If `exposed` is true, the file system has no Unix modes, and
/// the modes of our files are not checked.
pub(super) fn check_files(vault: &Path, exposed: bool) -> Result<bool, StoreError> {
    let has_journal = check_file(&with_suffix(vault, "-journal"), exposed)?;
    check_file(&with_suffix(vault, "-compact"), exposed)?;

    // Even our own log is refused. A vault never has one, and SQLite would read it instead of the
    // vault.
    let log = with_suffix(vault, "-wal");
    if fs::symlink_metadata(&log).is_ok() {
        let fix = Some(set_aside(&log));
        return Err(StoreError::Unsafe {
            path: log,
            why: "is a write-ahead log, which a vault never has",
            fix,
        });
    }

    Ok(has_journal)
}

/// Refuses one file next to a vault that is not ours. Returns true if it exists.
fn check_file(path: &Path, exposed: bool) -> Result<bool, StoreError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed(path, source)),
    };

    let why = if !found.file_type().is_file() {
        "is not a regular file"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if found.nlink() > 1 {
        "has several names (hard links)"
    } else if found.mode() & 0o077 != 0 && !exposed {
        "can be accessed by other users"
    } else {
        return Ok(true);
    };

    Err(StoreError::Unsafe { path: path.to_owned(), why, fix: Some(set_aside(path)) })
}

/// Returns a command that moves a file away, so that SQLite does not find it.
pub(super) fn set_aside(path: &Path) -> String {
    format!("mv {} {}", quoted(path), quoted(&with_suffix(path, ".aside")))
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action: "access", path: PathBuf::from(path), source }
}

/// Renames the files at `place` with the suffixes `ends` (an empty one is the file itself) to
/// unused names. A journal that stayed would be applied to the vault that takes the place. Returns
/// the old and the new names.
pub fn rename_aside(place: &Path, ends: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, StoreError> {
    let is_free = |number: &u32| {
        let aside = with_suffix(place, &format!(".replaced-{number}"));
        std::iter::once("")
            .chain(JOURNALS)
            .all(|end| fs::symlink_metadata(with_suffix(&aside, end)).is_err())
    };

    let number = (1..u32::MAX).find(is_free).unwrap_or(u32::MAX);
    let mut names = Vec::new();
    for end in ends {
        let from = with_suffix(place, end);
        let aside = with_suffix(place, &format!(".replaced-{number}{end}"));
        match rename::to_new_name(&from, &aside) {
            Ok(()) => names.push((from, aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StoreError::Io { action: "rename", path: from, source });
            }
        }
    }

    Ok(names)
}
