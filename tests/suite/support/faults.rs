//! Faults that a test can inject: a system call that fails under strace, and a disk that is full.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Reports on the test's own stderr, which is not captured, that something was not tested.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Returns true if strace is installed and may trace.
pub fn strace_is_here() -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());

    let here = strace.status().is_ok_and(|status| status.success());
    if !here {
        skipped("strace is not installed or is not permitted to trace");
    }

    here
}

/// A directory with its own file system of 1 MiB, unmounted when dropped. `None` if mounting is not
/// permitted.
pub struct Small(pub PathBuf);

impl Small {
    pub fn mounted(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(path));
        }

        skipped("mounting is not permitted");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
