//! This process: hardened before anything secret is in its memory, as it was for the programs that it starts, and cut
//! off from its caller where it is to live on its own.
#![allow(unsafe_code)] // descriptors that were inherited are taken by number; questions to the C library; signals

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Pid, Resource, Rlimit, Signal, chdir, getrlimit, setrlimit, setsid, umask};

/// What hardening took away.
struct OriginalLimits {
    umask: Mode,
    core: Rlimit,
}

static BEFORE: OnceLock<OriginalLimits> = OnceLock::new();

const PRIVATE: Mode = Mode::from_raw_mode(0o077);

/// No core dumps, no tracing by the same user, new files for us alone.
pub(crate) fn harden() {
    let before = OriginalLimits { umask: umask(PRIVATE), core: getrlimit(Resource::Core) };
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
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            place,
            &raw mut length,
        )
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
    let listed =
        fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")).ok().map(|entries| {
            let numbers =
                entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            numbers.collect::<Vec<RawFd>>()
        });

    // Without /proc nothing lists them. A number past these is as good as never used.
    let open = listed.unwrap_or_else(|| (3..4096).collect());
    for descriptor in open.into_iter().filter(|number| *number > 2 && is_open(*number)) {
        // SAFETY: nothing in this process owns a descriptor past the standard ones yet: it has opened none, and the
        // directory's own was closed above, which `is_open` sees.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
}

fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: the call reads a flag of a descriptor, or fails because there is none of that number.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// The path by which this process was started, which the kernel keeps for it: relative to the directory of that time.
#[cfg(target_os = "linux")]
pub(crate) fn started_as() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    // SAFETY: the kernel puts the path, with its zero, at an address that stays valid as long as the process lives.
    let path = unsafe {
        let address = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        if address.is_null() { None } else { Some(std::ffi::CStr::from_ptr(address)) }
    };

    path.map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// Other systems tell it in another way.
#[cfg(not(target_os = "linux"))]
pub(crate) fn started_as() -> Option<PathBuf> {
    None
}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> usize {
    // SAFETY: the call reads a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The signal of a number, real-time signals included.
pub(crate) fn signal(number: i32) -> Option<Signal> {
    let is_real_time = || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number);

    // SAFETY: these numbers are for programs; the C library keeps the ones below SIGRTMIN for itself.
    Signal::from_named_raw(number)
        .or_else(|| is_real_time().then(|| unsafe { Signal::from_raw_unchecked(number) }))
}

/// True for a signal that this process ignores. No /proc is needed for it.
pub(crate) fn is_ignored(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();

    // SAFETY: without a new action the call only fills the old one, which is read if it did.
    unsafe {
        libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Ends this process by a signal, as the system does where nobody handles it. Returns only if the signal does not end
/// processes.
pub(crate) fn die_of(signal: Signal) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();

    // SAFETY: all zeros are the default action with an empty set, and every pointer is to a place of its type that
    // outlives the call.
    unsafe {
        let mut default = std::mem::zeroed::<libc::sigaction>();
        default.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal.as_raw(), &raw const default, std::ptr::null_mut());
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        libc::raise(signal.as_raw());
    }
}

/// Our process group; none where it is led from outside of our PID namespace.
pub(crate) fn group() -> Option<Pid> {
    // Not by rustix, which takes it for a number that is never 0.
    // SAFETY: the call takes nothing and cannot fail.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

/// The process group of a process; none where it is led from outside of our PID namespace, or the process is gone.
pub(crate) fn group_of(process: Pid) -> Option<Pid> {
    // SAFETY: the call takes a number, and fails if no process has it.
    let group = unsafe { libc::getpgid(process.as_raw_nonzero().get()) };
    if group > 0 { Pid::from_raw(group) } else { None }
}

/// Stops this process, as Ctrl-Z does, until it is continued; not at all where `continued` finds that it was already, or
/// where no shell looks after our process group: of one that is orphaned the kernel stops nobody (POSIX.1-2017, 2.4.4).
///
/// Nothing that continues us is lost in between: a SIGCONT before the question is for `continued` to find, a later one
/// takes back the stop that is pending by then (POSIX.1-2017, 2.4.1). SIGSTOP, which cannot be held back, would come
/// after it, and nobody would continue us any more.
pub(crate) fn stop_unless(continued: impl FnOnce() -> bool) {
    let signal = libc::SIGTSTP;
    let (mut set, mut mask) =
        (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
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
