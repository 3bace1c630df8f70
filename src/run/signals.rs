//! Signals that are passed on to the program: which came, and whether a terminal sent them.
//!
//! What was ignored when we were started stays ignored, for the program too: `nohup` works.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::child::Mask;
use crate::process::stop_unless;
use crate::signals::{Hold, ignored, is_in};

/// What is passed on, and SIGCHLD.
const SIGNALS: [Signal; 10] = [
    Signal::CHILD,
    Signal::INT,
    Signal::TERM,
    Signal::HUP,
    Signal::QUIT,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
    Signal::USR1,
    Signal::USR2,
];

/// A signal that came.
pub(super) struct Came {
    pub(super) signal: Signal,
    /// By the kernel, as a terminal does: the whole process group has it
    pub(super) by_kernel: bool,
}

/// As long as it lives, these signals come to us.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    hold: Hold,
    mask: Mask,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let ignored = ignored();
        let wanted = SIGNALS.iter().map(|signal| signal.as_raw());
        // Without SIGCHLD nobody tells us of the program's end, and where it is ignored its exit code is lost.
        let is_wanted = |number: &i32| *number == Signal::CHILD.as_raw() || !is_in(ignored, *number);
        let wanted: Vec<i32> = wanted.filter(is_wanted).collect();
        // An earlier prompt's handlers would end us.
        let hold = Hold::new()?;
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), wanted)?;
        Ok(Self { delivery, hold, mask: Mask::taken() })
    }

    /// What was blocked when we were started.
    pub(super) fn mask(&self) -> Mask {
        self.mask
    }

    /// Becomes readable when one comes.
    pub(super) fn came(&self) -> &UnixStream {
        self.delivery.get_read()
    }

    /// Those that came since the last time.
    pub(super) fn take(&mut self) -> Vec<Came> {
        self.hold.take();
        let origins = self.delivery.pending();
        let came = |origin: signal_hook::low_level::siginfo::Origin| {
            let signal = Signal::from_named_raw(origin.signal)?;
            Some(Came { signal, by_kernel: matches!(origin.cause, Cause::Kernel) })
        };
        origins.filter_map(came).collect()
    }

    /// Stops this process until it is continued, or not at all where that came already or nobody would continue us; returns
    /// what came meanwhile: with SIGCONT among it, unless we were not stopped.
    pub(super) fn stop(&mut self) -> Vec<Came> {
        let mut all = Vec::new();
        stop_unless(|| {
            all = self.take();
            all.iter().any(|came| came.signal == Signal::CONT)
        });
        all.extend(self.take());
        all
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // They were the program's.
        self.hold.take();
    }
}
