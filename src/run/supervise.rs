//! The loop around a running program: its output through the mask, what is typed to it, signals, its end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_current_process_group, kill_process, wait};
use rustix::termios::isatty;

use super::child::{self, Group};
use super::monitor::packed;
use super::signals::{Came, Signals};
use super::stream::{Mask, State, Stream, StreamError};
use super::terminal::{Raw, is_in_foreground, pty, resize};
use super::{Job, RunError, Streams};
use crate::model::SecretBytes;

/// How long, after the program's end, output is waited for in all: what it left in a pseudo-terminal, or what comes of
/// its last words by way of another process.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// In the background nothing tells when the foreground is ours: it is looked at this often.
const FOREGROUND_POLL: Duration = Duration::from_millis(250);

/// The exit code that stands for how a process ended; `None` while it has not.
pub(super) fn exit_code(status: WaitStatus) -> Option<u8> {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))?;
    Some(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Runs a program to its end; returns its exit code, 128+n where signal n ended it.
pub fn run(job: Job, streams: &Streams) -> Result<u8, RunError> {
    let Job { command, environment, stdin, masked, executable, options } = job;
    let interactive =
        masked.is_some() && stdin.is_none() && isatty(&streams.output) && is_in_foreground(&streams.input);
    let mut program = if interactive {
        // By its own name: the process between finds the program as we would.
        let mut between = Command::new(executable);
        std::os::unix::process::CommandExt::arg0(&mut between, "secrets");
        between.args(options).arg("monitor").arg("--").args(&command).env_clear();
        let packed = in_memory(packed(&environment).expose());
        between.stdin(Stdio::from(packed.map_err(RunError::io("hand over the environment"))?));
        between
    } else {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).env_clear().envs(environment);
        program
    };
    if let Some(value) = stdin {
        program.stdin(Stdio::from(in_memory(value.expose()).map_err(RunError::io("hand over stdin"))?));
    }
    let Some(values) = masked else { return plain(program) };
    let mask = Mask::new(values);
    let running = Running::start(program, streams, &mask, interactive)?;
    running.supervised()
}

/// Nothing is masked: the program has our streams, and only signals and its end are ours to handle.
fn plain(program: Command) -> Result<u8, RunError> {
    let signals = Signals::new().map_err(RunError::io("handle signals"))?;
    let pid = child::start(program, Group::Ours, signals.mask())?;
    Running { pid, signals, streams: Vec::new(), resized: Vec::new(), keyboard: None, ended: None, lost: None }
        .supervised()
}

/// Bytes as a file that has no name and never touches a disk.
fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let file = File::from(rustix::fs::memfd_create(c"secrets", rustix::fs::MemfdFlags::CLOEXEC)?);
    #[cfg(not(target_os = "linux"))]
    let file = tempfile::tempfile()?;
    io::Write::write_all(&mut &file, bytes)?;
    io::Seek::rewind(&mut &file)?;
    Ok(file.into())
}

/// What is typed, on its way to a pseudo-terminal.
struct Keyboard {
    terminal: OwnedFd,
    pty: OwnedFd,
    typed: SecretBytes,
    raw: Option<Raw<OwnedFd>>,
}

struct Running {
    pid: Pid,
    signals: Signals,
    streams: Vec<Stream>,
    /// Pseudo-terminals that follow the size of a real one: (real, pseudo)
    resized: Vec<(OwnedFd, OwnedFd)>,
    keyboard: Option<Keyboard>,
    /// The program's exit code, and for how long output was waited for since its end
    ended: Option<(u8, Duration)>,
    /// Why output of the program is lost
    lost: Option<StreamError>,
}

impl Running {
    fn start(mut program: Command, streams: &Streams, mask: &Arc<Mask>, interactive: bool) -> Result<Self, RunError> {
        let failed = || RunError::io::<io::Error>("make a pseudo-terminal or a pipe");
        let signals = Signals::new().map_err(RunError::io("handle signals"))?;
        let (mut all, mut resized, mut keyboard) = (Vec::new(), Vec::new(), None);
        // One terminal or pipe for both keeps their order, as after `2>&1`.
        let identity = |stream| fstat(stream).ok().map(|found| (found.st_dev, found.st_ino));
        let same = identity(&streams.output).is_some_and(|output| identity(&streams.errors) == Some(output));
        let mut shared: Option<OwnedFd> = None;
        for (to, is_output) in [(&streams.output, true), (&streams.errors, false)] {
            let programs = match &shared {
                Some(programs) if same => programs.try_clone().map_err(failed())?,
                _ => {
                    let (ours, programs) = ends(to, interactive).map_err(failed())?;
                    if isatty(to) {
                        resized.push((to.try_clone().map_err(failed())?, ours.try_clone().map_err(failed())?));
                    }
                    shared = Some(programs.try_clone().map_err(failed())?);
                    if interactive && is_output {
                        keyboard = Some(Keyboard::new(&streams.input, &ours).map_err(failed())?);
                    }
                    let to = to.try_clone().map_err(failed())?;
                    all.push(Stream::new(ours, to, Arc::clone(mask)));
                    programs
                }
            };
            let stdio = Stdio::from(programs);
            if is_output {
                program.stdout(stdio)
            } else {
                program.stderr(stdio)
            };
        }
        drop(shared);
        // `program` holds the last copies of the program's ends: it is gone with this call.
        let pid = child::start(program, Group::Ours, signals.mask())?;
        let mut running = Self { pid, signals, streams: all, resized, keyboard, ended: None, lost: None };
        running.look_at_foreground();
        Ok(running)
    }

    fn supervised(mut self) -> Result<u8, RunError> {
        loop {
            if let Some(code) = self.over() {
                return self.lost.take().map_or(Ok(code), |error| Err(RunError::Output(error)));
            }
            self.wait_and_advance()?;
            for came in self.signals.take() {
                self.pass_on(&came);
            }
            self.reap()?;
        }
    }

    /// The exit code, when the program has ended and its last output was written.
    fn over(&self) -> Option<u8> {
        let (code, _) = self.ended?;
        self.streams.is_empty().then_some(code)
    }

    fn wait_and_advance(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        let mut deadlines: Vec<Instant> = self.streams.iter().filter_map(Stream::release_at).collect();
        // A reader that is slow is waited for: only with nothing left to write does time count.
        let is_patient = self.streams.iter().any(Stream::is_queueing);
        deadlines.extend(self.ended.filter(|_| !is_patient).map(|(_, waited)| now + LAST_WORDS.saturating_sub(waited)));
        if self.keyboard.as_ref().is_some_and(|keyboard| keyboard.raw.is_none()) {
            deadlines.push(now + FOREGROUND_POLL);
        }
        let left = deadlines.into_iter().min().map(|moment| moment.saturating_duration_since(now));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut waiting: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(self.signals.came().as_fd(), PollFlags::IN)];
        waiting.extend(self.streams.iter().map(Stream::waits_for));
        let streams = waiting.len();
        // Of a stream without anything to watch, something that stays silent.
        let silent = self.signals.came().as_fd();
        let watches = |stream| (Stream::watches(stream).unwrap_or(silent), PollFlags::empty());
        waiting.extend(self.streams.iter().map(watches));
        let keyboard_at = waiting.len();
        waiting.extend(self.keyboard.as_ref().and_then(Keyboard::waits_for));
        let mut all: Vec<PollFd<'_>> =
            waiting.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match poll(&mut all, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(RunError::io("wait for the program's output")(error)),
        }
        let passed = now.elapsed();
        let ready: Vec<bool> = all.iter().map(|waited| !waited.revents().is_empty()).collect();
        drop(waiting);
        let moved = ready[1..streams].contains(&true);
        let mut number = 0;
        let lost = &mut self.lost;
        self.streams.retain_mut(|stream| {
            number += 1;
            // With a stream that is broken our end of it goes: the program gets SIGPIPE, or its terminal hangs up.
            match stream.advance(ready[number], ready[streams + number - 1]) {
                Ok(state) => state == State::Open,
                Err(error) => {
                    lost.get_or_insert(error);
                    false
                }
            }
        });
        if let (Some((_, waited)), false) = (&mut self.ended, is_patient) {
            *waited += passed;
            // A grandchild may keep a stream open for ever, and write to it now and then. What the program itself wrote is
            // there without waiting.
            if *waited >= LAST_WORDS && !moved {
                self.streams.iter_mut().for_each(Stream::end);
                self.streams.retain(Stream::is_queueing);
            }
        }
        match &mut self.keyboard {
            Some(keyboard) if ready.get(keyboard_at) == Some(&true) => keyboard.advance(),
            Some(keyboard) if keyboard.raw.is_none() => self.look_at_foreground(),
            _ => {}
        }
        Ok(())
    }

    /// Passes a signal on. One that a terminal sent has reached the program as well, which is in our group; on a
    /// pseudo-terminal it has not.
    fn pass_on(&mut self, came: &Came) {
        match came.signal {
            // Once it has been waited for, its number may be another's. What it printed may wait for a reader that does
            // not read: who wants us to end is obeyed.
            signal if self.ended.is_some() => {
                if [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].contains(&signal) {
                    self.streams.clear();
                    let code = u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX);
                    self.ended = Some((code, LAST_WORDS));
                }
                return;
            }
            Signal::CHILD => return,
            Signal::WINCH => self.resized.iter().for_each(|(real, pseudo)| resize(real, pseudo)),
            Signal::CONT => {
                self.look_at_foreground();
                self.keyboard.iter().for_each(Keyboard::continued);
            }
            _ => {}
        }
        // The program may have asked for the size before we had passed it on.
        let anew = came.signal == Signal::WINCH && !self.resized.is_empty() && self.keyboard.is_none();
        if !came.by_kernel || self.keyboard.is_some() && came.signal != Signal::WINCH || anew {
            let _ = kill_process(self.pid, came.signal);
        }
    }

    /// Takes note of every child that ended, also of those that were left to us where we are process 1.
    fn reap(&mut self) -> Result<(), RunError> {
        while self.ended.is_none() {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.pid => match exit_code(status) {
                    Some(code) => {
                        self.ended = Some((code, Duration::ZERO));
                        self.streams.iter_mut().for_each(Stream::expect_the_end);
                    }
                    None if status.stopped() => self.stopped(),
                    None => {}
                },
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(RunError::io("wait for the program")(error)),
            }
        }
        Ok(())
    }

    /// The program was stopped: we stop too, so that the shell notices, and go on with it.
    fn stopped(&mut self) {
        let interactive = self.keyboard.is_some();
        if let Some(keyboard) = &mut self.keyboard {
            keyboard.raw = None;
            // A script that started us waits for us in our group: it has to stop as well.
            let _ = kill_current_process_group(Signal::TSTP);
        }
        let all = self.signals.stop();
        // What we sent ourselves is not the program's.
        for came in all.iter().filter(|came| came.signal != Signal::TSTP) {
            self.pass_on(came);
        }
        self.look_at_foreground();
        self.resized.iter().for_each(|(real, pseudo)| resize(real, pseudo));
        // Where nobody would have continued us, whoever stopped the program continues it; but nobody else sees one that is
        // on our pseudo-terminal.
        if interactive || all.iter().any(|came| came.signal == Signal::CONT) {
            let _ = kill_process(self.pid, Signal::CONT);
        }
    }

    /// The real terminal is raw as long as it is ours.
    fn look_at_foreground(&mut self) {
        if let Some(keyboard) = &mut self.keyboard {
            keyboard.look_at_foreground();
        }
    }
}

/// Both ends of a stream: ours, and the program's. A terminal gets a pseudo-terminal, anything else a pipe.
fn ends(to: &OwnedFd, interactive: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    if isatty(to) {
        let pty = pty(to, interactive)?;
        return Ok((pty.ours, pty.programs));
    }
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

impl Keyboard {
    fn new(terminal: &OwnedFd, pty: &OwnedFd) -> io::Result<Self> {
        let (terminal, pty) = (terminal.try_clone()?, pty.try_clone()?);
        Ok(Self { terminal, pty, typed: SecretBytes::with_capacity(0), raw: None })
    }

    fn look_at_foreground(&mut self) {
        if self.raw.is_none() && is_in_foreground(&self.terminal) {
            self.raw = self.terminal.try_clone().and_then(Raw::new).ok();
        }
    }

    /// Somebody stopped us without our doing: a shell has given the terminal its own modes meanwhile.
    fn continued(&self) {
        if let Some(raw) = self.raw.as_ref().filter(|_| is_in_foreground(&self.terminal)) {
            raw.again();
        }
    }

    /// Room in the pseudo-terminal for what was typed, else more of it.
    fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.raw.as_ref()?;
        let room = (self.pty.as_fd(), PollFlags::OUT);
        Some(if self.typed.is_empty() { (self.terminal.as_fd(), PollFlags::IN) } else { room })
    }

    fn advance(&mut self) {
        if self.typed.is_empty() {
            let mut piece = SecretBytes::zeroed(1024);
            match rustix::io::read(&self.terminal, piece.expose_mut()) {
                Ok(length) if length > 0 => self.typed.extend(&piece.expose()[..length]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // The terminal has hung up: SIGHUP is on its way.
                _ => self.raw = None,
            }
        } else if let Ok(length) = rustix::io::write(&self.pty, self.typed.expose()) {
            self.typed = SecretBytes::copy_of(&self.typed.expose()[length..]);
        }
    }
}

/// Becomes the program: nothing is masked and nothing is to be cleaned up.
pub fn become_program(command: &[OsString], environment: Vec<(OsString, OsString)>) -> RunError {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).env_clear().envs(environment);
    child::replace(program)
}
