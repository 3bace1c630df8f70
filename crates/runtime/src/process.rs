//! Hardens this process before it holds anything secret, gives the programs that it starts their
//! caller's limits back, and detaches the process from its caller if it runs in the background.
#![allow(unsafe_code)] // inherited descriptors, C library calls, signals

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit, Signal, chdir, getrlimit, setrlimit, setsid};
use secrets_files::umask;

/// The core size limit that was in effect before hardening.
static ORIGINAL_CORE: OnceLock<Rlimit> = OnceLock::new();
/// The limit of open files that was in effect before it was raised.
static ORIGINAL_FILES: OnceLock<Rlimit> = OnceLock::new();
/// The most files that a server of ours has open.
const FILES: u64 = 8192;

/// Disables core dumps, makes new files private (umask 077) and, on Linux, forbids tracing by other
/// processes of the same user.
pub fn harden() {
    umask::make_private();
    let core = getrlimit(Resource::Core);
    no_core(core);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let _ = ORIGINAL_CORE.set(core);
}

fn no_core(limit: Rlimit) {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
}

/// Allows this process as many open files as a server with thousands of connections needs, or as many
/// as its caller permits.
pub fn allow_many_files() {
    let files = getrlimit(Resource::Nofile);
    let wanted = files.maximum.unwrap_or(FILES).min(FILES);
    if files.current.is_some_and(|current| current < wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..files }).is_ok()
    {
        let _ = ORIGINAL_FILES.set(files);
    }
}

/// Calls `start` with the umask and the limits that this process was started with.
/// Programs that we start should get the caller's settings, not ours. On Linux this process still
/// writes no core dump in the meantime, because it is not dumpable.
pub fn with_original_limits<T>(start: impl FnOnce() -> T) -> T {
    let Some(core) = ORIGINAL_CORE.get() else { return start() };
    let _ = setrlimit(Resource::Core, *core);
    let raised = ORIGINAL_FILES.get().map(|files| {
        let raised = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, *files);
        raised
    });
    let outcome = umask::with_original(start);

    no_core(*core);
    if let Some(raised) = raised {
        let _ = setrlimit(Resource::Nofile, raised);
    }

    outcome
}

/// Starts a new session, changes to `/` and closes all inherited descriptors, so that the process
/// no longer depends on its caller. Call it before the process opens anything. It does not clear
/// the environment, because the process that started this one already did.
pub fn detach(name: &std::ffi::CStr) -> io::Result<()> {
    // `setsid` fails if the process already leads a group, for example under a test's `setsid`.
    // Then it is detached anyway.
    let _ = setsid();
    chdir("/")?;
    close_inherited();
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(name);

    Ok(())
}

/// Returns true if the other end of a socket is a process of our own user.
#[cfg(target_os = "linux")]
pub fn is_same_user(socket: &impl AsRawFd) -> bool {
    // rustix cannot be used here. It assumes that the peer's process id is never 0, but it is 0 if
    // the peer is in another PID namespace.
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);

    // SAFETY: the kernel writes at most `length` bytes into `peer`, which has exactly that size and
    // consists of plain numbers.
    let result = unsafe {
        let address = (&raw mut peer).cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            address,
            &raw mut length,
        )
    };

    result == 0 && peer.uid == rustix::process::geteuid().as_raw()
}

/// Always returns true. On other systems, only the modes of the directory and of the socket keep
/// other users out.
#[cfg(not(target_os = "linux"))]
pub fn is_same_user(_: &impl AsRawFd) -> bool {
    true
}

/// Closes every descriptor except the three standard ones. An open one would keep a pipeline of the
/// first caller waiting.
fn close_inherited() {
    let listed =
        fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")).ok().map(|entries| {
            let numbers =
                entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            numbers.collect::<Vec<RawFd>>()
        });

    // Without /proc the open descriptors cannot be listed. Numbers above this range are practically
    // never used.
    let open = listed.unwrap_or_else(|| (3..4096).collect());
    for descriptor in open.into_iter().filter(|number| *number > 2 && is_open(*number)) {
        // SAFETY: nothing in this process owns a descriptor above the standard ones yet. The
        // process has opened none, and the directory's own descriptor was closed above, which
        // `is_open` detects.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
}

fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: the call reads a flag of a descriptor, or fails because no descriptor has that
    // number.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// Returns the path that this process was started with, which the kernel keeps. A relative path
/// refers to the working directory at that time.
#[cfg(target_os = "linux")]
pub fn executable_path() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    // SAFETY: the kernel stores the path, with its terminating zero, at an address that stays valid
    // as long as the process lives.
    let path = unsafe {
        let address = libc::getauxval(libc::AT_EXECFN) as *const libc::c_char;
        if address.is_null() { None } else { Some(std::ffi::CStr::from_ptr(address)) }
    };

    path.map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

/// Returns `None`, because other systems report this path in other ways.
#[cfg(not(target_os = "linux"))]
pub fn executable_path() -> Option<PathBuf> {
    None
}

/// Returns the size of a memory page in bytes.
pub fn page_size() -> usize {
    // SAFETY: the call reads a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Returns the signal with this number, which may be a real-time signal.
pub fn signal(number: i32) -> Option<Signal> {
    let is_real_time = || (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number);

    // SAFETY: these numbers are meant for programs. The C library reserves only the ones below
    // SIGRTMIN for itself.
    Signal::from_named_raw(number)
        .or_else(|| is_real_time().then(|| unsafe { Signal::from_raw_unchecked(number) }))
}

/// Ends this process with the default action of a signal. Returns only if that action does not end
/// processes.
pub fn terminate_by(signal: Signal) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();

    // SAFETY: all zeros are the default action with an empty set, and every pointer refers to a
    // value of its type that outlives the call.
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

/// Returns our process group, or `None` if its leader is outside our PID namespace.
pub fn group() -> Option<Pid> {
    // rustix cannot be used here: it assumes that this number is never 0.
    // SAFETY: the call takes nothing and cannot fail.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

/// Returns the process group of a process, or `None` if the leader is outside our PID namespace or
/// the process no longer exists.
pub fn group_of(process: Pid) -> Option<Pid> {
    // SAFETY: the call takes a number and fails if no process has it.
    let group = unsafe { libc::getpgid(process.as_raw_nonzero().get()) };
    if group > 0 { Pid::from_raw(group) } else { None }
}

/// Stops this process, as Ctrl-Z does, until it is continued. The process does not stop if
/// `continued` reports that a SIGCONT has already arrived, or if no shell manages our process
/// group: the kernel never stops an orphaned group this way (POSIX.1-2017, 2.4.4).
///
/// No SIGCONT is lost in between. `continued` reports one that arrived before it was called, and a
/// later one discards the stop that is pending by then (POSIX.1-2017, 2.4.1). SIGSTOP cannot be
/// held back, so it would take effect after that SIGCONT, and nobody would continue us again.
pub fn stop_unless(continued: impl FnOnce() -> bool) {
    let signal = libc::SIGTSTP;
    let (mut set, mut mask) =
        (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
    let mut handler = MaybeUninit::<libc::sigaction>::uninit();

    // SAFETY: all zeros are the default action with an empty set, every pointer refers to a value
    // of its type that outlives the call, and what is read was filled in, because none of the calls
    // fails with valid arguments.
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
