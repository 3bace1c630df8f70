//! Renames files without replacing others.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;

/// Renames without replacing. On a file system that supports neither that nor hard links, an empty
/// file reserves the name and is then replaced.
pub fn to_new_name(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {} // an old kernel or a simple file system
            done => return done.map_err(Into::into),
        }
    }

    match fs::hard_link(from, to) {
        Err(error) if has_no_links(&error) => {}
        linked => return linked.and_then(|()| fs::remove_file(from)),
    }

    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}

/// Returns true for the error of a file system without hard links, such as FAT.
fn has_no_links(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::INVAL)
    )
}
