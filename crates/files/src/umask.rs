//! The umask: private for our own files, the caller's for files that we create for the user.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::umask;

const PRIVATE: Mode = Mode::from_raw_mode(0o077);

/// The umask that this process was started with.
static ORIGINAL: OnceLock<Mode> = OnceLock::new();

/// Makes new files private to this user.
pub fn make_private() {
    let _ = ORIGINAL.set(umask(PRIVATE));
}

/// Calls `create` with the umask that this process was started with.
pub fn with_original<T>(create: impl FnOnce() -> T) -> T {
    let Some(original) = ORIGINAL.get() else { return create() };
    umask(*original);
    let outcome = create();

    umask(PRIVATE);
    outcome
}
