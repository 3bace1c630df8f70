//! This process: hardened before anything secret is in its memory, as it was for the programs that it starts, and cut
//! off from its caller where it is to live on its own.
#![allow(unsafe_code)] // descriptors that were inherited are taken by number; one question about a socket; one stop

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, chdir, getrlimit, setrlimit, setsid, umask};

/// What hardening took away.
struct Before {
    umask: Mode,
    core: Rlimit,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

const PRIVATE: Mode = Mode::from_raw_mode(0o077);

/// No core dumps, no tracing by the same user, new files for us alone.
pub(crate) fn harden() {
    let before = Before { umask: umask(PRIVATE), core: getrlimit(Resource::Core) };
    no_core(before.core);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let _ = BEFORE.set(before);
}

fn no_core(limit: Rlimit) {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
}

/// Starts a program under the mask and the limit that we were started with: they are its caller's, not ours. That this
/// process leaves no core all the same, the system knows by other means.
pub(crate) fn as_before<T>(start: impl FnOnce() -> T) -> T {
    let Some(before) = BEFORE.get() else { return start() };
    umask(before.umask);
    let _ = setrlimit(Resource::Core, before.core);
    let outcome = start();
    umask(PRIVATE);
    no_core(before.core);
    outcome
}

/// Leaves everything behind: session, terminal, directory, descriptors. To be called before the process opens anything;
/// the environment was left behind by whoever started it.
pub(crate) fn detach(name: &std::ffi::CStr) -> io::Result<()> {
    // It fails where the process leads a group already, as under a test's `setsid`: then it is alone as well.
    let _ = setsid();
    chdir("/")?;
    close_inherited();
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(name);
    Ok(())
}

/// True for a socket whose other end is a process of our own user.
#[cfg(target_os = "linux")]
pub(crate) fn peer_is_us(socket: &impl AsRawFd) -> bool {
    // Not by rustix: it takes the peer's process id for one that is never 0, which it is in another PID namespace.
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes into `peer`, which has as many, all of them plain numbers.
    let asked = unsafe {
        let place = (&raw mut peer).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut length)
    };
    asked == 0 && peer.uid == rustix::process::geteuid().as_raw()
}

/// Elsewhere the modes of the directory and of the socket alone keep others away.
#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_is_us(_: &impl AsRawFd) -> bool {
    true
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

/// Our process group; none where it is led from outside of our PID namespace.
pub(crate) fn group() -> Option<Pid> {
    // Not by rustix, which takes it for a number that is never 0.
    // SAFETY: the call takes nothing and cannot fail.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

/// Stops this process, as Ctrl-Z does, until it is continued; not at all where `continued` finds that it was already, or
/// where no shell looks after our process group: of one that is orphaned the kernel stops nobody (POSIX.1-2017, 2.4.4).
///
/// Nothing that continues us is lost in between: a SIGCONT before the question is for `continued` to find, a later one
/// takes back the stop that is pending by then (POSIX.1-2017, 2.4.1). SIGSTOP, which cannot be held back, would come
/// after it, and nobody would continue us any more.
pub(crate) fn stop_unless(continued: impl FnOnce() -> bool) {
    let signal = libc::SIGTSTP;
    let (mut set, mut mask) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
    let mut handler = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: all zeros are the default action with an empty set, every pointer is to a place of its type that outlives the
    // call, and what is read was filled: with valid arguments none of the calls fails.
    unsafe {
        let mut default = std::mem::zeroed::<libc::sigaction>();
        default.sa_sigaction = libc::SIG_DFL;
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), mask.as_mut_ptr());
        libc::sigaction(signal, &raw const default, handler.as_mut_ptr());
        libc::raise(signal);
        if continued() {
            default.sa_sigaction = libc::SIG_IGN;
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        libc::sigaction(signal, handler.as_ptr(), std::ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), std::ptr::null_mut());
    }
}
