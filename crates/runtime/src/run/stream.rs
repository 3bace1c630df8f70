//! An output stream with its mask. The data is masked, queued, and written as soon as the receiver
//! accepts it.
//!
//! A possible start of a value is held back until the rest arrives. After 40 ms without data, at
//! most seven bytes of it are shown, because they may be a prompt. The queue is wiped.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::termios::isatty;
use secrets_core::model::{SecretBytes, SecretValue, Tag};
use secrets_mask::{MaskedSpan, Masker, Needles, Sink};

/// The maximum number of bytes that are read at once.
const READ_SIZE: usize = 64 * 1024;
/// The maximum number of bytes that are written at once to a descriptor that may block. A pipe that
/// is ready accepts that many without blocking.
const NONBLOCKING_WRITE: usize = 4096;
/// More bytes than a pipe holds, even if its program enlarged it to the system's limit.
const PIPE_LIMIT: usize = 2 * 1024 * 1024;
/// The minimum number of trailing bytes that are kept for a lingering process. The text before a
/// value may determine how the value is encoded.
const MIN_TAIL: u64 = 8 * 1024;
/// The time for which a possible start of a value is held back.
const HOLD_TIME: Duration = Duration::from_millis(40);

/// Resets a terminal's colours if the original reset was masked together with a value.
const RESET: &[u8] = b"\x1b[m";

/// The values to mask. Needles are built when the first output arrives, so that programs without
/// output cost nothing.
pub(super) struct StreamMask {
    values: Vec<(Tag, SecretValue)>,
    needles: OnceLock<Arc<Needles>>,
}

impl StreamMask {
    pub(super) fn new(values: Vec<(Tag, SecretValue)>) -> Arc<Self> {
        Arc::new(Self { values, needles: OnceLock::new() })
    }

    /// Builds the needles immediately and keeps no values.
    fn without_values(values: &[(Tag, SecretValue)]) -> Arc<Self> {
        let needles =
            Arc::new(Needles::new(values.iter().map(|(tag, value)| (tag, value.expose()))));
        Arc::new(Self { values: Vec::new(), needles: OnceLock::from(needles) })
    }

    /// Returns the values that are long enough to be masked.
    fn maskable(&self) -> Vec<(Tag, SecretValue)> {
        let long =
            self.values.iter().filter(|(_, value)| value.expose().len() >= Needles::SHORTEST);
        long.map(|(tag, value)| (tag.clone(), value.duplicate())).collect()
    }

    fn needles(&self) -> Arc<Needles> {
        let build =
            || Arc::new(Needles::new(self.values.iter().map(|(tag, value)| (tag, value.expose()))));
        Arc::clone(self.needles.get_or_init(build))
    }
}

/// The bytes to be written, with `‹tag›` in place of each value.
struct Queue {
    bytes: SecretBytes,
    written: usize,
    /// The end and the tag of the last masked span
    last: Option<(u64, Tag)>,
    /// Whether nothing has arrived since a pause released the held-back bytes
    paused: bool,
    /// The offset of the next bytes in the stream
    at: u64,
    /// The offset up to which a previous process has already written the stream
    from: u64,
}

impl Sink for Queue {
    type Error = std::convert::Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        let written = usize::try_from(self.from.saturating_sub(self.at))
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.bytes.extend(&bytes[written..]);
        self.at += bytes.len() as u64;
        self.paused = false;

        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Self::Error> {
        // A span that grew after a part of it was released is still the same span.
        let continues = self.paused
            && self.last.as_ref().is_some_and(|(end, tag)| *end == found.start && tag == found.tag);
        self.at = found.end;
        if !continues && found.end > self.from {
            self.bytes.extend(format!("\u{2039}{}\u{203a}", found.tag).as_bytes());
        }

        if found.resets {
            self.bytes.extend(RESET);
        }

        self.last = Some((found.end, found.tag.clone()));
        self.paused = false;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamState {
    /// More data may arrive
    Open,
    /// The stream has ended, and all data was written
    Ended,
    /// The reader closed its end
    Broken,
    /// The program has ended but others hold its output open; all data was written, and a lingering
    /// process continues
    HandedOver,
}

/// The reason why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// Writing failed; the kind is `BrokenPipe` if the reader closed its end
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// What another process needs to continue a masked stream.
pub(super) struct KnownValues {
    /// The values to mask
    pub(super) values: Vec<(Tag, SecretValue)>,
    /// The last bytes of the stream
    pub(super) tail: SecretBytes,
    /// The number of bytes in the tail that were already written
    pub(super) out: u64,
}

pub(super) struct Stream {
    from: OwnedFd,
    to: OwnedFd,
    mask: Arc<StreamMask>,
    masker: Option<Masker<Arc<Needles>>>,
    queue: Queue,
    piece: SecretBytes,
    /// Whether a write may block
    may_block: bool,
    /// Whether the output is a pipe that cannot get another reader
    reader_is_last: bool,
    ended: bool,
    /// The number of bytes still accepted after the program's end; at 0 a lingering process takes
    /// over
    remaining: Option<usize>,
    /// The last received bytes: at least [`MIN_TAIL`] of them if there were that many, including
    /// the whole of an incomplete value
    tail: SecretBytes,
    /// The number of all received bytes
    received: u64,
    /// The time at which held-back bytes are released
    release_at: Option<Instant>,
}

impl Stream {
    /// Creates a stream. `from` must be readable without blocking; `to` can be anything.
    pub(super) fn new(from: OwnedFd, to: OwnedFd, mask: Arc<StreamMask>) -> Self {
        let kind = fstat(&to).map(|found| FileType::from_raw_mode(found.st_mode));
        let (to, may_block) = match kind {
            Ok(FileType::Fifo) => reopen_nonblocking(to),
            // With blocking writes, a terminal that accepts no output while its keyboard buffer is
            // full would never be read again.
            Ok(FileType::CharacterDevice) if isatty(&to) => reopen_nonblocking(to),
            Ok(FileType::Socket) => (to, true),
            _ => (to, false),
        };

        let reader_is_last = matches!(kind, Ok(FileType::Fifo)) && is_anonymous(&to);
        let bytes = SecretBytes::with_capacity(0);
        let queue = Queue { bytes, written: 0, last: None, paused: false, at: 0, from: 0 };
        let piece = SecretBytes::zeroed(READ_SIZE);

        Self {
            from,
            to,
            mask,
            masker: None,
            queue,
            piece,
            may_block,
            reader_is_last,
            ended: false,
            remaining: None,
            tail: SecretBytes::with_capacity(0),
            received: 0,
            release_at: None,
        }
    }

    /// Creates a stream that continues another process's stream.
    pub(super) fn resumed(from: OwnedFd, to: OwnedFd, known: &KnownValues) -> Self {
        let mut stream = Self::new(from, to, StreamMask::without_values(&known.values));
        stream.queue.from = known.out;
        stream.push(known.tail.expose());
        stream
    }

    /// Splits the stream into the parts that another process needs to continue it.
    pub(super) fn into_parts(self) -> (OwnedFd, OwnedFd, KnownValues) {
        let begins = self.received - self.tail.len() as u64;
        let out = self.queue.at.saturating_sub(begins);
        (self.from, self.to, KnownValues { values: self.mask.maskable(), tail: self.tail, out })
    }

    /// Returns what to wait for: room for queued bytes, or else more data.
    pub(super) fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.is_queueing() {
            (self.to.as_fd(), PollFlags::OUT)
        } else {
            (self.from.as_fd(), PollFlags::IN)
        }
    }

    /// Returns the descriptor that reports when our reader closes its end, even if nothing is
    /// written. The program's next write then fails, as it would without us.
    pub(super) fn watches(&self) -> Option<BorrowedFd<'_>> {
        self.reader_is_last.then(|| self.to.as_fd())
    }

    /// Returns true if our reader has already closed its end.
    pub(super) fn is_unread(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.watches().is_some_and(|to| {
            let mut waiting = [PollFd::from_borrowed_fd(to, PollFlags::empty())];
            poll(&mut waiting, Some(&now)).is_ok_and(|ready| ready > 0)
        })
    }

    /// Returns the time of the next action if no data arrives.
    pub(super) fn release_at(&self) -> Option<Instant> {
        if self.is_queueing() { None } else { self.release_at }
    }

    /// Handles the program's end. Its output is already in the pipe, and other writers are not
    /// waited for.
    pub(super) fn program_ended(&mut self) {
        self.remaining = Some(PIPE_LIMIT);
    }

    /// Lets another process continue the stream as soon as everything is written.
    pub(super) fn hand_over(&mut self) {
        self.remaining = Some(0);
    }

    fn is_handed_over(&self) -> bool {
        self.remaining == Some(0)
    }

    pub(super) fn is_queueing(&self) -> bool {
        self.queue.written < self.queue.bytes.len()
    }

    /// Advances as far as possible without blocking. `ready` says that the descriptor from
    /// `waits_for` is ready, and `alarmed` that the one from `watches` has an event.
    pub(super) fn advance(
        &mut self,
        ready: bool,
        alarmed: bool,
    ) -> Result<StreamState, StreamError> {
        if alarmed && self.reader_is_last {
            return Ok(StreamState::Broken);
        }

        if ready && self.is_queueing() {
            match self.write() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(StreamState::Broken);
                }
                written => written.map_err(StreamError::Write)?,
            }
        } else if ready && !self.ended && !self.is_handed_over() {
            self.read().map_err(StreamError::Read)?;
            if self.release_at.is_some() && self.has_more_soon() {
                self.read().map_err(StreamError::Read)?;
            }
        }

        if self.release_at().is_some_and(|moment| Instant::now() >= moment) {
            self.pause();
        }

        Ok(match (self.ended, self.is_handed_over()) {
            _ if self.is_queueing() => StreamState::Open,
            (true, _) => StreamState::Ended,
            (false, true) => StreamState::HandedOver,
            (false, false) => StreamState::Open,
        })
    }

    /// Waits briefly for more data. A terminal delivers a line and its line ending separately.
    /// Until the ending arrives, the last letters of a line may be held back, and another program's
    /// output would appear before them.
    fn has_more_soon(&self) -> bool {
        let moment = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&moment))
            .is_ok_and(|ready| ready > 0)
    }

    fn read(&mut self) -> io::Result<()> {
        let length = match rustix::io::read(&self.from, self.piece.expose_mut()) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            // A pseudo-terminal that nobody has open any more reports this error.
            Err(Errno::IO) if isatty(&self.from) => 0,
            Err(error) => return Err(error.into()),
        };

        if length == 0 {
            self.end();
            return Ok(());
        }

        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(length);
        }

        let piece = std::mem::replace(&mut self.piece, SecretBytes::with_capacity(0));
        self.push(&piece.expose()[..length]);
        self.piece = piece;
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
        let mask = &self.mask;
        let masker = self.masker.get_or_insert_with(|| Masker::new(mask.needles()));
        let Ok(()) = masker.push(bytes, &mut self.queue);
        self.release_at = masker.is_holding().then(|| Instant::now() + HOLD_TIME);

        let needed = masker.needed_from();
        self.keep_tail(bytes, needed);
    }

    /// Appends data to the tail, and removes bytes that are no longer needed.
    fn keep_tail(&mut self, bytes: &[u8], needed: u64) {
        let begins = self.received - self.tail.len() as u64;
        self.received += bytes.len() as u64;
        let from = needed.min(self.received.saturating_sub(MIN_TAIL));
        let surplus = usize::try_from(from.saturating_sub(begins)).unwrap_or(usize::MAX);

        if let Some(skipped) = surplus.checked_sub(self.tail.len()) {
            self.tail.clear();
            self.tail.extend(&bytes[skipped..]);
            return;
        }

        // The tail is moved only when half of it is surplus, so that each byte is moved about once.
        if surplus > self.tail.len() / 2 {
            self.tail.expose_mut().copy_within(surplus.., 0);
            self.tail.truncate(self.tail.len() - surplus);
        }

        self.tail.extend(bytes);
    }

    fn pause(&mut self) {
        self.release_at = None;
        if let Some(masker) = &mut self.masker {
            let Ok(()) = masker.pause(&mut self.queue);
            self.queue.paused = true;
        }
    }

    /// Handles the end of the input and releases all held-back bytes.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.release_at = None;
        if let Some(masker) = &mut self.masker {
            let Ok(()) = masker.finish(&mut self.queue);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let rest = &self.queue.bytes.expose()[self.queue.written..];
        let most = if self.may_block { rest.len().min(NONBLOCKING_WRITE) } else { rest.len() };
        match rustix::io::write(&self.to, &rest[..most]) {
            Ok(length) => self.queue.written += length,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }

        if !self.is_queueing() {
            self.queue.bytes.clear();
            self.queue.written = 0;
        }

        Ok(())
    }
}

/// Reopens a pipe or terminal without blocking. Changing the given descriptor itself would affect
/// other processes. If it cannot be reopened, it is written in small pieces.
fn reopen_nonblocking(given: OwnedFd) -> (OwnedFd, bool) {
    let path = format!("/proc/self/fd/{}", given.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(reopened) => (reopened, false),
        Err(_) => (given, true),
    }
}

/// Returns true for a pipe without a name, which nobody can open again.
#[cfg(target_os = "linux")]
fn is_anonymous(pipe: &OwnedFd) -> bool {
    const PIPEFS: u64 = 0x5049_5045;
    rustix::fs::fstatfs(pipe).is_ok_and(|found| u64::try_from(found.f_type) == Ok(PIPEFS))
}

#[cfg(not(target_os = "linux"))]
fn is_anonymous(_: &OwnedFd) -> bool {
    false
}

/// Copies `from` to `to` with `values` masked, until the end. If the reader closes its end, returns
/// an error of kind `BrokenPipe`.
pub fn mask_stream(
    from: OwnedFd,
    to: OwnedFd,
    values: Vec<(Tag, SecretValue)>,
) -> Result<(), StreamError> {
    drive(Stream::new(from, to, StreamMask::new(values)), false)
}

/// Runs a stream until its end. With `watching`, the stream also ends if the reader closes its end
/// while nothing is written.
pub(super) fn drive(mut stream: Stream, watching: bool) -> Result<(), StreamError> {
    loop {
        let (descriptor, flags) = stream.waits_for();
        let mut waiting = vec![PollFd::from_borrowed_fd(descriptor, flags)];
        waiting.extend(
            stream
                .watches()
                .filter(|_| watching)
                .map(|to| PollFd::from_borrowed_fd(to, PollFlags::empty())),
        );

        let left =
            stream.release_at().map(|moment| moment.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut waiting, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(StreamError::Read(error.into())),
        }

        let mut ready = waiting.iter().map(|waited| !waited.revents().is_empty());
        let (ready, alarmed) = (ready.next() == Some(true), ready.next() == Some(true));
        drop(waiting);

        match stream.advance(ready, alarmed)? {
            StreamState::Open => {}
            StreamState::Ended | StreamState::HandedOver => return Ok(()),
            StreamState::Broken => {
                return Err(StreamError::Write(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }
}
