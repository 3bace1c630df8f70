//! Progress on a terminal, of what takes over a second. Nothing of it stays on the screen.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What ends sooner is not worth a line.
const SOON: Duration = Duration::from_secs(1);

/// A line that says how far something has come. Dropped, it is gone.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    what: &'static str,
}

impl Progress {
    pub(super) fn new(what: &'static str, shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar, begun: Instant::now(), what }
    }

    /// Says how many there were so far.
    pub(crate) fn reached(&self, number: u64) {
        if self.begun.elapsed() >= SOON {
            self.bar.set_message(format!("{number} {}", self.what));
            self.bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
