//! Progress of long work on a terminal. It leaves nothing on the screen.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that ends sooner shows no progress.
const DELAY: Duration = Duration::from_secs(1);

/// A progress line, which is removed when this is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    what: &'static str,
    shown: bool,
    /// The width of a line that was written without the library, which shows nothing under NO_COLOR
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

        Self { bar, started: Instant::now(), what, shown, columns: AtomicUsize::new(0) }
    }

    /// Shows what is being done if its progress cannot be counted.
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

    /// Shows the current count.
    pub(crate) fn on_progress(&self, number: u64) {
        if self.started.elapsed() >= DELAY {
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
