//! Signals that end the process, held back while something must be put right first: the terminal's echo, a file's name.
//!
//! A handler that is taken away leaves its signal ignored, not as it was. So one handler stays, from the first hold on,
//! that does what the system would do, except while a hold lasts.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::process::is_ignored;

const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

struct Handlers {
    /// While true, a signal does what the system would do
    free: Arc<AtomicBool>,
    /// Which of them came
    seen: [Arc<AtomicBool>; 3],
    /// Becomes readable when one comes
    came: UnixStream,
    holds: AtomicUsize,
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

/// What was ignored when we were started stays so, as under `nohup`, unless `all` are wanted.
fn handlers(all: bool) -> io::Result<&'static Handlers> {
    if let Some(handlers) = HANDLERS.get() {
        return Ok(handlers);
    }

    let (came, writer) = UnixStream::pair()?;
    came.set_nonblocking(true)?;
    let handlers = Handlers {
        free: Arc::new(AtomicBool::new(true)),
        seen: Default::default(),
        came,
        holds: AtomicUsize::new(0),
    };

    for (signal, seen) in
        ENDING.into_iter().zip(&handlers.seen).filter(|(signal, _)| all || !is_ignored(*signal))
    {
        flag::register_conditional_default(signal, Arc::clone(&handlers.free))?;
        flag::register(signal, Arc::clone(seen))?;
        low_level::pipe::register(signal, writer.try_clone()?)?;
    }

    Ok(HANDLERS.get_or_init(|| handlers))
}

/// As long as one of these lives, SIGINT, SIGTERM and SIGHUP wait. Dropped, it lets one that came do its work.
pub(crate) struct DeferSignals(&'static Handlers);

impl DeferSignals {
    /// Begins to hold signals back; those that are ignored come to nobody.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::on(handlers(false)?))
    }

    /// The same with those that our caller had us ignore: for a process that lives on its own.
    pub(crate) fn on_all() -> io::Result<Self> {
        Ok(Self::on(handlers(true)?))
    }

    fn on(handlers: &'static Handlers) -> Self {
        handlers.holds.fetch_add(1, Ordering::SeqCst);
        handlers.free.store(false, Ordering::SeqCst);
        Self(handlers)
    }

    /// Becomes readable when a signal comes.
    pub(crate) fn came(&self) -> &UnixStream {
        &self.0.came
    }

    /// True when one has come: what is under way should end soon.
    pub(crate) fn is_due(&self) -> bool {
        self.0.seen.iter().any(|seen| seen.load(Ordering::SeqCst))
    }

    /// Takes note of the signals that came: they do not end the process any more, the caller does.
    pub(crate) fn take(&self) -> bool {
        let due = self.is_due();
        self.0.seen.iter().for_each(|seen| seen.store(false, Ordering::SeqCst));
        while io::Read::read(&mut &self.0.came, &mut [0; 16]).is_ok_and(|length| length > 0) {}
        due
    }
}

impl Drop for DeferSignals {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }

        self.0.free.store(true, Ordering::SeqCst);
        for (signal, seen) in ENDING.into_iter().zip(&self.0.seen) {
            if seen.load(Ordering::SeqCst) {
                let _ = low_level::emulate_default_handler(signal);
            }
        }
    }
}
