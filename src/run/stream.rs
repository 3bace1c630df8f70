//! One output on its way through the mask: what came is masked, queued, and written when it can be.
//!
//! The beginning of a value waits for the rest. After 40 ms of silence at most seven bytes of it are shown, because they may
//! be a prompt. What is queued is wiped.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::termios::isatty;

use super::linger::KnownValues;
use crate::mask::{MaskedSpan, Masker, Needles, Sink};
use crate::model::{SecretBytes, SecretValue, Tag};

/// Read at one time.
const PIECE: usize = 64 * 1024;
/// Written at one time to what may not take it all: a pipe that is ready takes as much without blocking.
const SAFE: usize = 4096;
/// More than a pipe holds, also one that its program has made as large as the system allows.
const PIPE: usize = 2 * 1024 * 1024;
/// Last bytes of a stream that are kept at least, for the process that may go on with it: what stands before a value may
/// tell how it is written.
const TAIL: u64 = 8 * 1024;
/// How long a held-back prefix waits for the next byte.
const SILENCE: Duration = Duration::from_millis(40);

/// Resets a terminal's colours, where that was masked together with a value.
const RESET: &[u8] = b"\x1b[m";

/// The values to be masked, made into needles when the first output comes: most programs that print nothing cost
/// nothing.
pub(super) struct StreamMask {
    values: Vec<(Tag, SecretValue)>,
    needles: OnceLock<Arc<Needles>>,
}

impl StreamMask {
    pub(super) fn new(values: Vec<(Tag, SecretValue)>) -> Arc<Self> {
        Arc::new(Self { values, needles: OnceLock::new() })
    }

    /// Makes the needles at once and keeps no values.
    fn without_values(values: &[(Tag, SecretValue)]) -> Arc<Self> {
        let needles =
            Arc::new(Needles::new(values.iter().map(|(tag, value)| (tag, value.expose()))));
        Arc::new(Self { values: Vec::new(), needles: OnceLock::from(needles) })
    }

    /// The values that are long enough to be looked for.
    fn looked_for(&self) -> Vec<(Tag, SecretValue)> {
        let long =
            self.values.iter().filter(|(_, value)| value.expose().len() >= Needles::SHORTEST);
        long.map(|(tag, value)| (tag.clone(), value.duplicate())).collect()
    }

    fn needles(&self) -> Arc<Needles> {
        let made =
            || Arc::new(Needles::new(self.values.iter().map(|(tag, value)| (tag, value.expose()))));
        Arc::clone(self.needles.get_or_init(made))
    }
}

/// Bytes that wait to be written; `‹tag›` stands where a value was.
struct Queue {
    bytes: SecretBytes,
    written: usize,
    /// The region that was masked last: where it ended, and whose it was
    last: Option<(u64, Tag)>,
    /// Nothing has come since a pause showed what was held back
    paused: bool,
    /// Where in the stream the next bytes stand
    at: u64,
    /// What stands before it was written by the process that we go on for
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
        // A region that grew after it had been let out is still the same one.
        let goes_on = self.paused
            && self.last.as_ref().is_some_and(|(end, tag)| *end == found.start && tag == found.tag);
        self.at = found.end;
        if !goes_on && found.end > self.from {
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

/// What became of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamState {
    /// There may be more
    Open,
    /// Nothing more comes, and all that came was written
    Ended,
    /// Whoever read it went away
    Broken,
    /// The program has ended and others hold its output: all that came was written, and another process goes on with it
    Left,
}

/// Why a stream ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// What it comes from
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// Where it goes; a reader that went away has the kind `BrokenPipe`
    #[error("cannot write: {0}")]
    Write(io::Error),
}

pub(super) struct Stream {
    from: OwnedFd,
    to: OwnedFd,
    mask: Arc<StreamMask>,
    masker: Option<Masker<Arc<Needles>>>,
    queue: Queue,
    piece: SecretBytes,
    /// It may not take all that is written: a write would wait
    may_block: bool,
    /// A pipe whose reader does not come back once it has gone
    reader_is_last: bool,
    ended: bool,
    /// Bytes that are still taken, once the program has ended; at 0 the stream is left to another process
    left: Option<usize>,
    /// The last bytes that came: [`TAIL`] or more if there were as many, with all of a value that is not complete
    tail: SecretBytes,
    /// Number of all bytes that came
    taken: u64,
    /// When a held-back prefix is let go
    release_at: Option<Instant>,
}

impl Stream {
    /// From what is read without blocking, to what may be anything.
    pub(super) fn new(from: OwnedFd, to: OwnedFd, mask: Arc<StreamMask>) -> Self {
        let kind = fstat(&to).map(|found| FileType::from_raw_mode(found.st_mode));
        let (to, may_block) = match kind {
            Ok(FileType::Fifo) => unblocked(to),
            // One that does not take more while its own keyboard is full would never be read from again.
            Ok(FileType::CharacterDevice) if isatty(&to) => unblocked(to),
            Ok(FileType::Socket) => (to, true),
            _ => (to, false),
        };

        let reader_is_last = matches!(kind, Ok(FileType::Fifo)) && is_anonymous(&to);
        let bytes = SecretBytes::with_capacity(0);
        let queue = Queue { bytes, written: 0, last: None, paused: false, at: 0, from: 0 };
        let piece = SecretBytes::zeroed(PIECE);

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
            left: None,
            tail: SecretBytes::with_capacity(0),
            taken: 0,
            release_at: None,
        }
    }

    /// A stream that another process began.
    pub(super) fn resumed(from: OwnedFd, to: OwnedFd, known: &KnownValues) -> Self {
        let mut stream = Self::new(from, to, StreamMask::without_values(&known.values));
        stream.queue.from = known.out;
        stream.push(known.tail.expose());
        stream
    }

    /// What another process needs to go on with it.
    pub(super) fn into_parts(self) -> (OwnedFd, OwnedFd, KnownValues) {
        let begins = self.taken - self.tail.len() as u64;
        let out = self.queue.at.saturating_sub(begins);
        (self.from, self.to, KnownValues { values: self.mask.looked_for(), tail: self.tail, out })
    }

    /// What to wait for: room while something is queued, else more.
    pub(super) fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.is_queueing() {
            (self.to.as_fd(), PollFlags::OUT)
        } else {
            (self.from.as_fd(), PollFlags::IN)
        }
    }

    /// What tells that our reader went away though nothing is written: then the program's next write is its last, as
    /// without us.
    pub(super) fn watches(&self) -> Option<BorrowedFd<'_>> {
        self.reader_is_last.then(|| self.to.as_fd())
    }

    /// True if our reader has gone already.
    pub(super) fn is_unread(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = |to| poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::empty())], Some(&now));
        self.watches().is_some_and(|to| gone(to).is_ok_and(|ready| ready > 0))
    }

    /// When something is due though nothing comes.
    pub(super) fn release_at(&self) -> Option<Instant> {
        if self.is_queueing() { None } else { self.release_at }
    }

    /// The program has ended: what it wrote is in the pipe, and whoever else writes on is not waited for.
    pub(super) fn expect_the_end(&mut self) {
        self.left = Some(PIPE);
    }

    /// Has another process go on with it as soon as nothing is left to be written.
    pub(super) fn leave(&mut self) {
        self.left = Some(0);
    }

    fn is_left(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn is_queueing(&self) -> bool {
        self.queue.written < self.queue.bytes.len()
    }

    /// Goes on as far as it can without waiting. `ready` says that what it waits for is there, `alarmed` that what it
    /// watches has something to say.
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
        } else if ready && !self.ended && !self.is_left() {
            self.read().map_err(StreamError::Read)?;
            if self.release_at.is_some() && self.has_more_soon() {
                self.read().map_err(StreamError::Read)?;
            }
        }

        if self.release_at().is_some_and(|moment| Instant::now() >= moment) {
            self.pause();
        }

        Ok(match (self.ended, self.is_left()) {
            _ if self.is_queueing() => StreamState::Open,
            (true, _) => StreamState::Ended,
            (false, true) => StreamState::Left,
            (false, false) => StreamState::Open,
        })
    }

    /// A terminal hands over a line and its end one after the other. Without the end, the last letters of a line may be held,
    /// and what another program writes meanwhile would stand before them.
    fn has_more_soon(&self) -> bool {
        let moment = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&moment))
            .is_ok_and(|ready| ready > 0)
    }

    fn read(&mut self) -> io::Result<()> {
        let length = match rustix::io::read(&self.from, self.piece.expose_mut()) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            // A pseudo-terminal that nobody has open any more answers so.
            Err(Errno::IO) if isatty(&self.from) => 0,
            Err(error) => return Err(error.into()),
        };

        if length == 0 {
            self.end();
            return Ok(());
        }

        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(length);
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
        self.release_at = masker.is_holding().then(|| Instant::now() + SILENCE);

        let needed = masker.needed_from();
        self.keep_tail(bytes, needed);
    }

    /// Adds what came to the tail, and takes off what is not needed any more.
    fn keep_tail(&mut self, bytes: &[u8], needed: u64) {
        let begins = self.taken - self.tail.len() as u64;
        self.taken += bytes.len() as u64;
        let from = needed.min(self.taken.saturating_sub(TAIL));
        let surplus = usize::try_from(from.saturating_sub(begins)).unwrap_or(usize::MAX);

        if let Some(skipped) = surplus.checked_sub(self.tail.len()) {
            self.tail.clear();
            self.tail.extend(&bytes[skipped..]);
            return;
        }

        // Moved when half of it is surplus, so that each byte is moved about once.
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

    /// Takes note that nothing more comes: what was held back goes out.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.release_at = None;
        if let Some(masker) = &mut self.masker {
            let Ok(()) = masker.finish(&mut self.queue);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let rest = &self.queue.bytes.expose()[self.queue.written..];
        let most = if self.may_block { rest.len().min(SAFE) } else { rest.len() };
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

/// A pipe or terminal opened anew without blocking: to change the one that we were given would change it for others. Where
/// the system does not give it, it is written in small pieces.
fn unblocked(given: OwnedFd) -> (OwnedFd, bool) {
    let path = format!("/proc/self/fd/{}", given.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(anew) => (anew, false),
        Err(_) => (given, true),
    }
}

/// True for a pipe without a name: nobody opens it anew.
#[cfg(target_os = "linux")]
fn is_anonymous(pipe: &OwnedFd) -> bool {
    const PIPEFS: u64 = 0x5049_5045;
    rustix::fs::fstatfs(pipe).is_ok_and(|found| u64::try_from(found.f_type) == Ok(PIPEFS))
}

#[cfg(not(target_os = "linux"))]
fn is_anonymous(_: &OwnedFd) -> bool {
    false
}

/// Copies `from` to `to` with `values` masked, until the end. A reader that goes away is an error of kind `BrokenPipe`.
pub fn mask_stream(
    from: OwnedFd,
    to: OwnedFd,
    values: Vec<(Tag, SecretValue)>,
) -> Result<(), StreamError> {
    drive(Stream::new(from, to, StreamMask::new(values)), false)
}

/// Goes on with a stream until its end. With `watching`, a reader that goes away ends it although nothing is written.
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
            StreamState::Ended | StreamState::Left => return Ok(()),
            StreamState::Broken => {
                return Err(StreamError::Write(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }
}
