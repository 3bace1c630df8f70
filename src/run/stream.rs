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

use crate::mask::{Masker, Match, Needles, Sink};
use crate::model::{SecretBytes, SecretValue, Tag};

/// Read at one time.
const PIECE: usize = 64 * 1024;
/// Written at one time to what may not take it all: a pipe that is ready takes as much without blocking.
const SAFE: usize = 4096;
/// More than a pipe holds, also one that its program has made as large as the system allows.
const PIPE: usize = 2 * 1024 * 1024;
/// How long a held-back prefix waits for the next byte.
const SILENCE: Duration = Duration::from_millis(40);

/// Resets a terminal's colours, where that was masked together with a value.
const RESET: &[u8] = b"\x1b[m";

/// The values to be masked, made into needles when the first output comes: most programs that print nothing cost
/// nothing.
pub(super) struct Mask {
    values: Vec<(Tag, SecretValue)>,
    needles: OnceLock<Arc<Needles>>,
}

impl Mask {
    pub(super) fn new(values: Vec<(Tag, SecretValue)>) -> Arc<Self> {
        Arc::new(Self { values, needles: OnceLock::new() })
    }

    fn needles(&self) -> Arc<Needles> {
        let made = || Arc::new(Needles::new(self.values.iter().map(|(tag, value)| (tag, value.expose()))));
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
}

impl Sink for Queue {
    type Error = std::convert::Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.bytes.extend(bytes);
        self.paused = false;
        Ok(())
    }

    fn masked(&mut self, found: &Match<'_>) -> Result<(), Self::Error> {
        // A region that grew after it had been let out is still the same one.
        let goes_on =
            self.paused && self.last.as_ref().is_some_and(|(end, tag)| *end == found.start && tag == found.tag);
        if !goes_on {
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
pub(super) enum State {
    /// There may be more
    Open,
    /// Nothing more comes, and all that came was written
    Ended,
    /// Whoever read it went away
    Broken,
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
    mask: Arc<Mask>,
    masker: Option<Masker<Arc<Needles>>>,
    queue: Queue,
    piece: SecretBytes,
    /// It may not take all that is written: a write would wait
    may_block: bool,
    /// A pipe whose reader does not come back once it has gone
    reader_is_last: bool,
    ended: bool,
    /// Bytes that are still taken, once the program has ended
    left: Option<usize>,
    /// When a held-back prefix is let go
    release_at: Option<Instant>,
}

impl Stream {
    /// From what is read without blocking, to what may be anything.
    pub(super) fn new(from: OwnedFd, to: OwnedFd, mask: Arc<Mask>) -> Self {
        let kind = fstat(&to).map(|found| FileType::from_raw_mode(found.st_mode));
        let (to, may_block) = match kind {
            Ok(FileType::Fifo) => unblocked(to),
            // One that does not take more while its own keyboard is full would never be read from again.
            Ok(FileType::CharacterDevice) if isatty(&to) => unblocked(to),
            Ok(FileType::Socket) => (to, true),
            _ => (to, false),
        };
        let reader_is_last = matches!(kind, Ok(FileType::Fifo)) && is_anonymous(&to);
        let queue = Queue { bytes: SecretBytes::with_capacity(0), written: 0, last: None, paused: false };
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
            release_at: None,
        }
    }

    /// What to wait for: room while something is queued, else more.
    pub(super) fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.is_queueing() { (self.to.as_fd(), PollFlags::OUT) } else { (self.from.as_fd(), PollFlags::IN) }
    }

    /// What tells that our reader went away though nothing is written: then the program's next write is its last, as
    /// without us.
    pub(super) fn watches(&self) -> Option<BorrowedFd<'_>> {
        self.reader_is_last.then(|| self.to.as_fd())
    }

    /// When something is due though nothing comes.
    pub(super) fn release_at(&self) -> Option<Instant> {
        if self.is_queueing() { None } else { self.release_at }
    }

    /// The program has ended: what it wrote is in the pipe, and whoever else writes on is not waited for.
    pub(super) fn expect_the_end(&mut self) {
        self.left = Some(PIPE);
    }

    pub(super) fn is_queueing(&self) -> bool {
        self.queue.written < self.queue.bytes.len()
    }

    /// Goes on as far as it can without waiting. `ready` says that what it waits for is there, `alarmed` that what it
    /// watches has something to say.
    pub(super) fn advance(&mut self, ready: bool, alarmed: bool) -> Result<State, StreamError> {
        if alarmed && self.reader_is_last {
            return Ok(State::Broken);
        }
        if ready && self.is_queueing() {
            match self.write() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(State::Broken),
                written => written.map_err(StreamError::Write)?,
            }
        } else if ready && !self.ended {
            self.read().map_err(StreamError::Read)?;
        }
        if self.release_at().is_some_and(|moment| Instant::now() >= moment) {
            self.pause();
        }
        Ok(if self.ended && !self.is_queueing() { State::Ended } else { State::Open })
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
            self.ended = *left == 0;
        }
        let mask = &self.mask;
        let masker = self.masker.get_or_insert_with(|| Masker::new(mask.needles()));
        let Ok(()) = masker.push(&self.piece.expose()[..length], &mut self.queue);
        self.release_at = masker.is_holding().then(|| Instant::now() + SILENCE);
        if self.ended {
            self.end();
        }
        Ok(())
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
pub fn mask_stream(from: OwnedFd, to: OwnedFd, values: Vec<(Tag, SecretValue)>) -> Result<(), StreamError> {
    let mut stream = Stream::new(from, to, Mask::new(values));
    loop {
        let (descriptor, flags) = stream.waits_for();
        let mut waiting = [PollFd::new(&descriptor, flags)];
        let left = stream.release_at().map(|moment| moment.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let ready = match poll(&mut waiting, left.as_ref()) {
            Ok(number) => number > 0,
            Err(Errno::INTR) => false,
            Err(error) => return Err(StreamError::Read(error.into())),
        };
        match stream.advance(ready, false)? {
            State::Open => {}
            State::Ended => return Ok(()),
            State::Broken => return Err(StreamError::Write(io::ErrorKind::BrokenPipe.into())),
        }
    }
}
