//! What makes the agent's process its own: a session without a terminal, no directory, no descriptor of its first caller.
//!
//! The environment was left behind by whoever started it (`client`); core dumps and tracing were shut off as in every
//! process of ours.
#![allow(unsafe_code)] // to close descriptors that were inherited, one must take them by number

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::process::{chdir, setsid};

/// Leaves everything behind. To be called before the process opens anything.
pub(super) fn detach() -> io::Result<()> {
    // It fails where the process leads a group already, as under a test's `setsid`: then it is alone as well.
    let _ = setsid();
    chdir("/")?;
    close_inherited();
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"secrets-agent");
    Ok(())
}

/// Closes all but the three standard descriptors: one left open would keep a pipeline of the first caller waiting.
fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")) else { return };
    let open: Vec<RawFd> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|number| *number > 2 && is_open(*number)) {
        // SAFETY: nothing in this process owns a descriptor past the standard ones yet: it has opened none, and the
        // directory's own was closed above, which `is_open` sees.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
}

fn is_open(descriptor: RawFd) -> bool {
    fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok()
        || fs::symlink_metadata(format!("/dev/fd/{descriptor}")).is_ok()
}
