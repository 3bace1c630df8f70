//! Progress on a terminal, of what takes over a second. Nothing of it stays on the screen.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What ends sooner is not worth a line.
const SOON: Duration = Duration::from_secs(1);

/// A line that says how far something has come. Dropped, it is gone.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    what: &'static str,
    shown: bool,
    /// Columns of a line that was written without the library, which shows nothing under NO_COLOR
    columns: AtomicUsize,
}

impl Progress {
    pub(super) fn new(what: &'static str, shown: bool) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }

        Self { bar, begun: Instant::now(), what, shown, columns: AtomicUsize::new(0) }
    }

    /// Says what takes its time now, of which no part can be counted.
    pub(crate) fn working(&self, what: &'static str) {
        if self.shown {
            let _ = io::stderr().write_all(format!("{what}\r").as_bytes());
            self.columns.store(what.len(), Ordering::Relaxed);
        }
    }

    fn clear(&self) {
        let columns = self.columns.swap(0, Ordering::Relaxed);
        if columns > 0 {
            let _ = io::stderr().write_all(format!("\r{}\r", " ".repeat(columns)).as_bytes());
        }
    }

    /// Says how many there were so far.
    pub(crate) fn on_progress(&self, number: u64) {
        if self.begun.elapsed() >= SOON {
            self.clear();
            self.bar.set_message(format!("{number} {}", self.what));
            self.bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
        self.bar.finish_and_clear();
    }
}
