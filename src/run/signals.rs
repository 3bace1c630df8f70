//! Signals that are passed on to the program: which came, and from whom.
//!
//! What was ignored when we were started stays ignored, for the program too: `nohup` works.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal, getpid};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use super::child::SignalMask;
use crate::process::{is_ignored, signal, stop_unless};
use crate::signals::DeferSignals;

/// Not ours to pass on. Nobody can catch the first two; the others report a fault in our own code if they come.
const LEFT_ALONE: [Signal; 7] =
    [Signal::KILL, Signal::STOP, Signal::ILL, Signal::FPE, Signal::SEGV, Signal::BUS, Signal::SYS];

/// What stops a process in the background that uses its terminal. A handler would not stop us: the system would try the
/// same again for ever.
const OF_THE_BACKGROUND: [Signal; 2] = [Signal::TTIN, Signal::TTOU];

/// A signal that came.
pub(super) struct ReceivedSignal {
    pub(super) signal: Signal,
    /// By the kernel, as a terminal does: the whole process group has it
    pub(super) by_kernel: bool,
    /// By ourselves: because a reader went away, or as one of our process group
    pub(super) by_us: bool,
    /// The process that sent it, unless it is in a PID namespace that we do not see
    pub(super) sender: Option<Pid>,
}

/// As long as it lives, these signals come to us.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    hold: DeferSignals,
    mask: SignalMask,
}

impl Signals {
    /// Begins to catch what may be passed on, and SIGCHLD. With `terminal`, one of our streams is a terminal.
    pub(super) fn new(terminal: bool) -> io::Result<Self> {
        // An earlier prompt's handlers would end us.
        let hold = DeferSignals::new()?;
        let (read, write) = UnixStream::pair()?;
        let wanted = (1..=libc::SIGRTMAX()).filter(|number| is_wanted(*number, terminal));
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), wanted)?;

        Ok(Self { delivery, hold, mask: SignalMask::taken() })
    }

    /// What was blocked when we were started.
    pub(super) fn mask(&self) -> SignalMask {
        self.mask
    }

    /// Becomes readable when one comes.
    pub(super) fn came(&self) -> &UnixStream {
        self.delivery.get_read()
    }

    /// Those that came since the last time.
    pub(super) fn take(&mut self) -> Vec<ReceivedSignal> {
        self.hold.take();
        let us = getpid().as_raw_nonzero().get();
        let came = |origin: Origin| {
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

        self.delivery.pending().filter_map(came).collect()
    }

    /// Stops this process until it is continued, or not at all where that came already or nobody would continue us; returns
    /// what came meanwhile: with SIGCONT among it, unless we were not stopped.
    pub(super) fn stop(&mut self) -> Vec<ReceivedSignal> {
        let mut all = Vec::new();
        stop_unless(|| {
            all = self.take();
            all.iter().any(|came| came.signal == Signal::CONT)
        });

        all.extend(self.take());
        all
    }
}

fn is_wanted(number: i32, terminal: bool) -> bool {
    let Some(signal) = signal(number) else { return false };
    if LEFT_ALONE.contains(&signal) || terminal && OF_THE_BACKGROUND.contains(&signal) {
        return false;
    }

    // Without SIGCHLD nobody tells us of the program's end, and where it is ignored its exit code is lost. SIGPIPE is
    // ignored by the standard library, not by our caller.
    signal == Signal::CHILD || signal == Signal::PIPE || !is_ignored(number)
}

impl Drop for Signals {
    fn drop(&mut self) {
        // They were the program's.
        self.hold.take();
    }
}
