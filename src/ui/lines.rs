//! Lines on stderr from threads that must not wait for its reader: a terminal that is stopped with Ctrl-S,
//! or a pipe that nobody reads.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Thread};
use std::time::Duration;

/// The most lines that wait to be written. Further ones are counted instead.
const WAITING: usize = 1024;
/// How long the last lines are waited for.
const LAST_TIME: Duration = Duration::from_millis(500);
/// The time between two writes. Waking the thread for each line would cost a proxy more than the line.
const PAUSE: Duration = Duration::from_millis(10);

/// The thread that writes. It begins with the first line.
static WRITER: OnceLock<Writer> = OnceLock::new();
/// The number of lines that are not written
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

struct Writer {
    entries: SyncSender<Entry>,
    /// `None` if it could not be started; lines are counted then
    thread: Option<Thread>,
}

enum Entry {
    Line(String),
    /// Everything before it is written
    Mark(Sender<()>),
}

/// Prints a line on stderr from a thread without a `Ui`. Never waits.
pub(crate) fn line_from_thread(line: &str) {
    let writer = WRITER.get_or_init(|| {
        let (entries, received) = sync_channel(WAITING);
        let named = thread::Builder::new().name("secrets-lines".into());
        let started = named.spawn(move || write(&received));
        Writer { entries, thread: started.ok().map(|started| started.thread().clone()) }
    });
    if writer.entries.try_send(Entry::Line(line.to_owned())).is_err() {
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
    if writer.entries.try_send(Entry::Mark(sender)).is_ok() {
        if let Some(thread) = &writer.thread {
            thread.unpark();
        }

        let _ = written.recv_timeout(LAST_TIME);
    }
}

fn write(entries: &Receiver<Entry>) {
    while let Ok(first) = entries.recv() {
        let (mut text, mut marks) = (String::new(), Vec::new());
        for entry in std::iter::once(first).chain(entries.try_iter().take(WAITING)) {
            match entry {
                Entry::Line(line) => text.extend([line.as_str(), "\n"]),
                Entry::Mark(sender) => marks.push(sender),
            }
        }

        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            text.push_str(&format!("warning: {left_out} lines were left out\n"));
        }

        // Nobody may be reading it any more.
        let _ = io::stderr().write_all(text.as_bytes());
        for sender in marks {
            let _ = sender.send(());
        }

        thread::park_timeout(PAUSE);
    }
}
