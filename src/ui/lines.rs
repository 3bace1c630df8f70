//! Lines on stderr from threads that must not wait for its reader: a terminal that is stopped with Ctrl-S,
//! or a pipe that nobody reads.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// The most lines that wait to be written. Further ones are counted instead.
const WAITING: usize = 1024;
/// How long the last lines are waited for.
const LAST_TIME: Duration = Duration::from_millis(500);

/// The thread that writes. It begins with the first line.
static WRITER: OnceLock<SyncSender<Entry>> = OnceLock::new();
/// The number of lines that are not written
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Line(String),
    /// Everything before it is written
    Mark(Sender<()>),
}

/// Prints a line on stderr from a thread without a `Ui`. Never waits.
pub(crate) fn line_from_thread(line: &str) {
    let writer = WRITER.get_or_init(|| {
        let (sender, lines) = sync_channel(WAITING);
        // Without a thread, the receiver is gone, and lines are counted.
        let _ = thread::Builder::new().name("secrets-lines".into()).spawn(move || write(&lines));
        sender
    });
    if writer.try_send(Entry::Line(line.to_owned())).is_err() {
        LEFT_OUT.fetch_add(1, Ordering::Relaxed);
    }
}

/// Prints a warning from a thread without a `Ui`.
pub(crate) fn warn_from_thread(text: &str) {
    line_from_thread(&format!("warning: {text}"));
}

/// Waits a moment for the lines that are not written yet, before a command ends.
pub(crate) fn finish_lines() {
    let Some(writer) = WRITER.get() else { return };
    let (sender, written) = channel();
    if writer.try_send(Entry::Mark(sender)).is_ok() {
        let _ = written.recv_timeout(LAST_TIME);
    }
}

fn write(lines: &Receiver<Entry>) {
    while let Ok(entry) = lines.recv() {
        // Nobody may be reading it any more.
        match entry {
            Entry::Line(line) => drop(writeln!(io::stderr(), "{line}")),
            Entry::Mark(sender) => drop(sender.send(())),
        }

        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            let _ = writeln!(io::stderr(), "warning: {left_out} lines were left out");
        }
    }
}
