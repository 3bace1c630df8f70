//! Receives the signals that are passed on to the program, with their senders.
//!
//! Signals that were ignored when we were started stay ignored for the program too, so `nohup`
//! works.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal, getpid};
use secrets_files::{DeferSignals, is_ignored};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use super::child::SignalMask;
use crate::process::{signal, stop_unless};

/// Signals that are not passed on. The first two cannot be caught. The others report a fault in our
/// own code.
const NOT_FORWARDED: [Signal; 7] =
    [Signal::KILL, Signal::STOP, Signal::ILL, Signal::FPE, Signal::SEGV, Signal::BUS, Signal::SYS];

/// Signals that stop a background process that uses its terminal. With a handler the process would
/// not stop, and the system would retry the same operation forever.
const BACKGROUND_STOPS: [Signal; 2] = [Signal::TTIN, Signal::TTOU];

pub(super) struct ReceivedSignal {
    pub(super) signal: Signal,
    /// Whether the kernel sent it, for example on behalf of a terminal. The whole process group
    /// then receives it.
    pub(super) by_kernel: bool,
    /// Whether we sent it ourselves, to our process group or because a reader closed its end
    pub(super) by_us: bool,
    /// The sender's process id, unless the sender is in a PID namespace that we cannot see
    pub(super) sender: Option<Pid>,
}

/// Receives signals as long as it exists.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    deferred: DeferSignals,
    mask: SignalMask,
}

impl Signals {
    /// Starts to receive SIGCHLD and all signals that may be passed on. Set `terminal` if one of
    /// our streams is a terminal.
    pub(super) fn new(terminal: bool) -> io::Result<Self> {
        // The handlers of an earlier prompt would end this process.
        let deferred = DeferSignals::new()?;
        let (read, write) = UnixStream::pair()?;
        let wanted = (1..=libc::SIGRTMAX()).filter(|number| is_wanted(*number, terminal));
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), wanted)?;

        Ok(Self { delivery, deferred, mask: SignalMask::unblock_all() })
    }

    /// Returns the mask of signals that were blocked when we were started.
    pub(super) fn mask(&self) -> SignalMask {
        self.mask
    }

    /// Returns a stream that becomes readable when a signal arrives.
    pub(super) fn descriptor(&self) -> &UnixStream {
        self.delivery.get_read()
    }

    /// Returns the signals that arrived since the last call.
    pub(super) fn take(&mut self) -> Vec<ReceivedSignal> {
        self.deferred.take();
        let us = getpid().as_raw_nonzero().get();
        let to_received = |origin: Origin| {
            let sender = origin.process.map(|process| process.pid).filter(|pid| *pid > 0);
            let by_kernel = matches!(origin.cause, Cause::Kernel);
            let by_us = sender == Some(us);
            Some(ReceivedSignal {
                signal: signal(origin.signal)?,
                by_kernel,
                by_us,
                sender: sender.and_then(Pid::from_raw),
            })
        };

        self.delivery.pending().filter_map(to_received).collect()
    }

    /// Stops this process until it is continued. Does not stop if SIGCONT has already arrived, or
    /// if nobody would continue us. Returns the signals that arrived in the meantime. They include
    /// SIGCONT if the process was stopped.
    pub(super) fn stop(&mut self) -> Vec<ReceivedSignal> {
        let mut all = Vec::new();
        stop_unless(|| {
            all = self.take();
            all.iter().any(|received| received.signal == Signal::CONT)
        });

        all.extend(self.take());
        all
    }
}

fn is_wanted(number: i32, terminal: bool) -> bool {
    let Some(signal) = signal(number) else { return false };
    if NOT_FORWARDED.contains(&signal) || terminal && BACKGROUND_STOPS.contains(&signal) {
        return false;
    }

    // Without SIGCHLD we would not notice the program's end, and if SIGCHLD is ignored, the
    // program's exit code is lost. SIGPIPE is ignored by the standard library, not by our caller.
    signal == Signal::CHILD || signal == Signal::PIPE || !is_ignored(number)
}

impl Drop for Signals {
    fn drop(&mut self) {
        // These signals were meant for the program.
        self.deferred.take();
    }
}
