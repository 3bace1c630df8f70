//! Holds back the signals that end the process while something has to be restored first, for
//! example the terminal's echo or a file's name.
//!
//! Removing a handler would leave its signal ignored instead of restoring the previous action. So
//! one handler stays installed from the first hold on. It does what the system would do, except
//! during a hold.
#![allow(unsafe_code)] // reads the action of a signal

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

struct Handlers {
    /// If true, a signal has its default effect
    default_effect: Arc<AtomicBool>,
    /// Which of the signals have arrived
    arrived: [Arc<AtomicBool>; 3],
    /// Becomes readable when a signal arrives
    wakeup: UnixStream,
    holds: AtomicUsize,
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

/// Installs the handlers once. Signals that were ignored when we were started stay ignored, as
/// under `nohup`, unless `all` is true.
fn handlers(all: bool) -> io::Result<&'static Handlers> {
    if let Some(handlers) = HANDLERS.get() {
        return Ok(handlers);
    }

    let (wakeup, writer) = UnixStream::pair()?;
    wakeup.set_nonblocking(true)?;
    let handlers = Handlers {
        default_effect: Arc::new(AtomicBool::new(true)),
        arrived: Default::default(),
        wakeup,
        holds: AtomicUsize::new(0),
    };

    for (signal, arrived) in
        ENDING.into_iter().zip(&handlers.arrived).filter(|(signal, _)| all || !is_ignored(*signal))
    {
        flag::register_conditional_default(signal, Arc::clone(&handlers.default_effect))?;
        flag::register(signal, Arc::clone(arrived))?;
        low_level::pipe::register(signal, writer.try_clone()?)?;
    }

    Ok(HANDLERS.get_or_init(|| handlers))
}

/// A guard that holds back SIGINT, SIGTERM and SIGHUP while it lives. Dropping the last guard lets
/// a signal that has arrived take effect.
pub struct DeferSignals(&'static Handlers);

impl DeferSignals {
    /// Starts to hold signals back. Signals that are ignored stay ignored.
    pub fn new() -> io::Result<Self> {
        Ok(Self::on(handlers(false)?))
    }

    /// Starts to hold signals back, including those that our caller had us ignore. It is meant for
    /// a process that outlives its caller.
    pub fn on_all() -> io::Result<Self> {
        Ok(Self::on(handlers(true)?))
    }

    fn on(handlers: &'static Handlers) -> Self {
        handlers.holds.fetch_add(1, Ordering::SeqCst);
        handlers.default_effect.store(false, Ordering::SeqCst);
        Self(handlers)
    }

    /// Returns a stream that becomes readable when a signal arrives.
    pub fn wakeup(&self) -> &UnixStream {
        &self.0.wakeup
    }

    /// Returns true if a signal has arrived. The current operation should end soon then.
    pub fn is_due(&self) -> bool {
        self.0.arrived.iter().any(|arrived| arrived.load(Ordering::SeqCst))
    }

    /// Waits until a signal arrives.
    pub fn wait(&self) {
        while !self.is_due() {
            let mut waiting = [PollFd::new(self.wakeup(), PollFlags::IN)];
            let _ = poll(&mut waiting, None);
        }
    }

    /// Returns true if signals have arrived, and clears them. They no longer end the process, so
    /// the caller has to.
    pub fn take(&self) -> bool {
        let due = self.is_due();
        self.0.arrived.iter().for_each(|arrived| arrived.store(false, Ordering::SeqCst));
        while io::Read::read(&mut &self.0.wakeup, &mut [0; 16]).is_ok_and(|length| length > 0) {}
        due
    }
}

impl Drop for DeferSignals {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }

        self.0.default_effect.store(true, Ordering::SeqCst);
        for (signal, arrived) in ENDING.into_iter().zip(&self.0.arrived) {
            if arrived.load(Ordering::SeqCst) {
                let _ = low_level::emulate_default_handler(signal);
            }
        }
    }
}

/// Returns true if this process ignores a signal. It works without /proc.
pub fn is_ignored(number: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();

    // SAFETY: without a new action the call only fills in the old one, which is read only if the
    // call succeeded.
    unsafe {
        libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
