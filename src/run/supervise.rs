//! The loop around a running program: its output through the mask, what is typed to it, signals, its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_current_process_group, kill_process, kill_process_group, wait,
};
use rustix::termios::isatty;

use super::child::{self, Group};
use super::keyboard::{Keyboard, Role};
use super::linger;
use super::monitor::packed;
use super::signals::{ReceivedSignal, Signals};
use super::stream::{Stream, StreamError, StreamMask, StreamState};
use super::terminal::{Pty, is_in_foreground, is_of_a_key, pty, resize};
use super::{Job, Outcome, RunError, Streams};
use crate::process;

/// How long, after the program's end, output is waited for in all: what it left in a pseudo-terminal, or what comes of
/// its last words by way of another process.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// In the background nothing tells when the foreground is ours: it is looked at this often.
const FOREGROUND_POLL: Duration = Duration::from_millis(250);

/// Variables that name the terminal on which a program may ask for something.
const TERMINALS: [&str; 2] = ["GPG_TTY", "SSH_TTY"];

/// Runs a program to its end; returns how it ended.
pub fn run(job: Job, streams: &Streams) -> Result<Outcome, RunError> {
    let Job { command, mut environment, stdin, masked, executable, options } = job;
    let interactive = masked.is_some()
        && stdin.is_none()
        && isatty(&streams.output)
        && is_in_foreground(&streams.input);

    let mut session = None;
    let mut program = if interactive {
        let pty = pty(&streams.output, true).map_err(no_stream())?;
        let named = |name: &OsStr| TERMINALS.iter().any(|terminal| name == *terminal);
        for (_, value) in
            environment.iter_mut().filter(|(name, value)| named(name) && !value.is_empty())
        {
            value.clone_from(&pty.name);
        }

        // By its own name: the process between finds the program as we would.
        let mut between = Command::new(&executable);
        std::os::unix::process::CommandExt::arg0(&mut between, "secrets");
        between.args(options).arg("monitor").arg("--").args(&command).env_clear();
        let failed = || RunError::io::<io::Error>("hand over the environment");
        let packed = in_memory(packed(&environment).expose()).map_err(failed())?;
        let shared = File::from(packed.try_clone().map_err(failed())?);

        between.stdin(Stdio::from(packed));
        session = Some((pty, shared));
        between
    } else {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).env_clear().envs(environment);
        program
    };

    // Who has the terminal as stdin reads keys there.
    let lends = stdin.is_some() || !isatty(&streams.input);
    if let Some(value) = stdin {
        program.stdin(Stdio::from(
            in_memory(value.expose()).map_err(RunError::io("hand over stdin"))?,
        ));
    }

    let Some(values) = masked else { return plain(program, executable) };
    let mask = StreamMask::new(values);
    let mut running = Running::start(program, streams, &mask, session, executable)?;
    if lends {
        running.lend_keyboard()?;
    }

    running.supervised()
}

/// Nothing is masked: the program has our streams, and only signals and its end are ours to handle.
fn plain(program: Command, executable: PathBuf) -> Result<Outcome, RunError> {
    let signals = Signals::new(false).map_err(RunError::io("handle signals"))?;
    let pid = child::start(program, Group::Ours, signals.mask())?.pid;
    Running::new(pid, signals, executable).supervised()
}

fn no_stream() -> impl FnOnce(io::Error) -> RunError {
    RunError::io("make a pseudo-terminal or a pipe")
}

/// Bytes as a file that has no name and never touches a disk.
pub(super) fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let file = File::from(rustix::fs::memfd_create(c"secrets", rustix::fs::MemfdFlags::CLOEXEC)?);
    #[cfg(not(target_os = "linux"))]
    let file = tempfile::tempfile()?;
    io::Write::write_all(&mut &file, bytes)?;
    io::Seek::rewind(&mut &file)?;

    Ok(file.into())
}

struct Running {
    pid: Pid,
    signals: Signals,
    streams: Vec<Stream>,
    /// Streams that others hold after the program's end
    left: Vec<Stream>,
    /// Pseudo-terminals that follow the size of a real one: (real, pseudo)
    resized: Vec<(OwnedFd, OwnedFd)>,
    keyboard: Option<Keyboard>,
    /// This program, for a process that goes on with a stream
    executable: PathBuf,
    /// The last signal that a key sent to our whole group
    typed: Option<Signal>,
    /// How the program ended, and for how long output was waited for since
    ended: Option<(Outcome, Duration)>,
    /// Why output of the program is lost
    lost: Option<StreamError>,
}

impl Running {
    fn new(pid: Pid, signals: Signals, executable: PathBuf) -> Self {
        let (streams, left, resized) = (Vec::new(), Vec::new(), Vec::new());
        let (keyboard, typed, ended, lost) = (None, None, None, None);
        Self { pid, signals, streams, left, resized, keyboard, executable, typed, ended, lost }
    }

    fn start(
        mut program: Command,
        streams: &Streams,
        mask: &Arc<StreamMask>,
        session: Option<(Pty, File)>,
        executable: PathBuf,
    ) -> Result<Self, RunError> {
        let terminal = isatty(&streams.output) || isatty(&streams.errors);
        let signals = Signals::new(terminal).map_err(RunError::io("handle signals"))?;
        let (mut all, mut resized, mut keyboard) = (Vec::new(), Vec::new(), None);
        let interactive = session.is_some();
        let mut prepared = None;

        if let Some((pty, shared)) = session {
            let made = Keyboard::new(&streams.input, &pty.ours, Role::Session(shared));
            keyboard = Some(made.map_err(no_stream())?);
            prepared = Some((pty.ours, pty.programs));
        }

        // One terminal or pipe for both keeps their order, as after `2>&1`.
        let identity = |stream| fstat(stream).ok().map(|found| (found.st_dev, found.st_ino));
        let same = identity(&streams.output)
            .is_some_and(|output| identity(&streams.errors) == Some(output));
        let mut shared: Option<OwnedFd> = None;

        for (to, is_output) in [(&streams.output, true), (&streams.errors, false)] {
            let programs = match &shared {
                Some(programs) if same => programs.try_clone().map_err(no_stream())?,
                _ => {
                    let made = prepared.take().map_or_else(|| ends(to, interactive), Ok);
                    let (ours, programs) = made.map_err(no_stream())?;
                    if isatty(to) {
                        resized.push((
                            to.try_clone().map_err(no_stream())?,
                            ours.try_clone().map_err(no_stream())?,
                        ));
                    }

                    shared = Some(programs.try_clone().map_err(no_stream())?);
                    let to = to.try_clone().map_err(no_stream())?;
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

        // Where nobody reads any more, the program's first write is to tell it, however early that comes.
        all.retain(|stream| !stream.is_unread());

        // `program` holds the last copies of the program's ends: it is gone with this call.
        let pid = child::start(program, Group::Ours, signals.mask())?.pid;
        let mut running =
            Self { streams: all, resized, keyboard, ..Self::new(pid, signals, executable) };
        running.look_at_keyboard();
        Ok(running)
    }

    /// Pagers look for their keyboard where their errors go, and that is a pseudo-terminal.
    fn lend_keyboard(&mut self) -> Result<(), RunError> {
        if let (None, Some((real, pseudo))) = (&self.keyboard, self.resized.last()) {
            self.keyboard = Some(Keyboard::new(real, pseudo, Role::Lent).map_err(no_stream())?);
        }

        Ok(())
    }

    fn supervised(mut self) -> Result<Outcome, RunError> {
        loop {
            if let Some(outcome) = self.over() {
                return self.finished(outcome);
            }

            self.wait_and_advance()?;
            for came in self.signals.take() {
                self.pass_on(&came);
            }

            self.reap()?;
        }
    }

    /// How the program ended, when its last output was written or is another's to write.
    fn over(&self) -> Option<Outcome> {
        let (outcome, _) = self.ended?;
        self.streams.is_empty().then_some(outcome)
    }

    /// Leaves what is left to others.
    fn finished(mut self, outcome: Outcome) -> Result<Outcome, RunError> {
        let had_terminal =
            self.is_session() && self.keyboard.as_ref().is_some_and(Keyboard::has_terminal);
        self.keyboard = None;
        for stream in self.left.drain(..) {
            linger::leave(stream, &self.executable)
                .map_err(RunError::io("go on masking what is left running"))?;
        }

        // The key reached the program alone. Without us everybody in our group would have got its signal.
        if let Some(signal) = outcome.interrupted()
            && had_terminal
            && self.typed != Some(signal)
        {
            let _ = kill_current_process_group(signal);
        }

        self.lost.take().map_or(Ok(outcome), |error| Err(RunError::Output(error)))
    }

    fn is_session(&self) -> bool {
        self.keyboard.as_ref().is_some_and(Keyboard::is_session)
    }

    fn wait_and_advance(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        let mut deadlines: Vec<Instant> =
            self.streams.iter().filter_map(Stream::release_at).collect();

        // A reader that is slow is waited for: only with nothing left to write does time count.
        let is_patient = self.streams.iter().any(Stream::is_queueing);
        deadlines.extend(
            self.ended
                .filter(|_| !is_patient)
                .map(|(_, waited)| now + LAST_WORDS.saturating_sub(waited)),
        );

        if self.keyboard.as_ref().is_some_and(Keyboard::needs_a_look) {
            deadlines.push(now + FOREGROUND_POLL);
        }

        let left = deadlines.into_iter().min().map(|moment| moment.saturating_duration_since(now));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut waiting: Vec<(BorrowedFd<'_>, PollFlags)> =
            vec![(self.signals.came().as_fd(), PollFlags::IN)];
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
        self.advance_streams(&ready[1..streams], &ready[streams..keyboard_at]);
        if let (Some((_, waited)), false) = (&mut self.ended, is_patient) {
            *waited += passed;

            // A grandchild may keep a stream open for ever, and write to it now and then. What the program itself wrote is
            // there without waiting.
            if *waited >= LAST_WORDS && !moved {
                self.streams.iter_mut().for_each(Stream::leave);
            }
        }

        if ready.get(keyboard_at) == Some(&true)
            && let Some(signal) = self.keyboard.as_mut().and_then(Keyboard::advance)
        {
            self.typed = Some(signal);
            let _ = kill_current_process_group(signal);
        }

        if self.keyboard.as_ref().is_some_and(Keyboard::needs_a_look) {
            self.look_at_keyboard();
        }

        Ok(())
    }

    /// Goes on with every stream; `ready` and `alarmed` are as [`Stream::advance`] takes them.
    fn advance_streams(&mut self, ready: &[bool], alarmed: &[bool]) {
        let streams = std::mem::take(&mut self.streams);
        for ((mut stream, ready), alarmed) in streams.into_iter().zip(ready).zip(alarmed) {
            // With a stream that is broken our end of it goes: the program gets SIGPIPE, or its terminal hangs up.
            match stream.advance(*ready, *alarmed) {
                Ok(StreamState::Open) => self.streams.push(stream),
                Ok(StreamState::Left) => self.left.push(stream),
                Ok(StreamState::Ended | StreamState::Broken) => {}
                Err(error) => drop(self.lost.get_or_insert(error)),
            }
        }
    }

    /// Passes a signal on. One that a terminal sent has reached the program as well if it is in our group; on a
    /// pseudo-terminal, and in a group of its own, it has not.
    fn pass_on(&mut self, came: &ReceivedSignal) {
        let session = self.is_session();
        match came.signal {
            // What we sent to our whole group, ourselves among it, and what a reader that has gone makes the system send.
            _ if came.by_us => return,
            // Once it has been waited for, its number may be another's. What it printed may wait for a reader that does
            // not read: who wants us to end is obeyed.
            signal if self.ended.is_some() => {
                if [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].contains(&signal) {
                    self.streams.clear();
                    self.ended = Some((Outcome::Signal(signal), LAST_WORDS));
                }

                return;
            }
            Signal::CHILD => return,
            Signal::WINCH => self.resized.iter().for_each(|(real, pseudo)| resize(real, pseudo)),
            Signal::CONT => {
                self.look_at_keyboard();
                self.keyboard.iter().for_each(Keyboard::continued);
            }
            _ => {}
        }

        let is_key = || {
            matches!(came.signal, Signal::INT | Signal::QUIT)
                && came.sender.is_some_and(is_of_a_key)
        };

        let group = process::group_of(self.pid);
        if session {
            let foreground = || self.keyboard.as_ref().and_then(Keyboard::foreground);
            let _ = match came.signal {
                // A new size comes with the terminal.
                Signal::WINCH if came.by_kernel => Ok(()),
                // What our terminal sends, the program's terminal sends to the same effect.
                signal if came.by_kernel || is_key() => foreground().map_or_else(
                    || kill_process(self.pid, signal),
                    |group| kill_process_group(group, signal),
                ),
                signal => kill_process(self.pid, signal),
            };
        } else if came.by_kernel || is_key() {
            // Our whole group has it, and the program as well if it is there.
            if let Some(group) = group.filter(|_| group != process::group()) {
                let _ = kill_process_group(group, came.signal);
            } else if came.signal == Signal::WINCH && !self.resized.is_empty() {
                // It may have asked for the size before we had passed it on.
                let _ = kill_process(self.pid, came.signal);
            }
        } else {
            let _ = kill_process(self.pid, came.signal);
        }
    }

    /// Takes note of every child that ended, also of those that were left to us where we are process 1.
    fn reap(&mut self) -> Result<(), RunError> {
        while self.ended.is_none() {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.pid => match Outcome::of(status) {
                    Some(outcome) => {
                        self.ended = Some((outcome, Duration::ZERO));
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
        let interactive = self.is_session();
        self.keyboard.iter_mut().for_each(Keyboard::give_back);
        if interactive {
            // A script that started us waits for us in our group: it has to stop as well.
            let _ = kill_current_process_group(Signal::TSTP);
        }

        let all = self.signals.stop();

        // What we sent ourselves is not the program's.
        for came in all.iter().filter(|came| came.signal != Signal::TSTP) {
            self.pass_on(came);
        }

        self.look_at_keyboard();
        self.resized.iter().for_each(|(real, pseudo)| resize(real, pseudo));

        // Where nobody would have continued us, whoever stopped the program continues it; but nobody else sees one that is
        // on our pseudo-terminal.
        if interactive || all.iter().any(|came| came.signal == Signal::CONT) {
            let _ = kill_process(self.pid, Signal::CONT);
        }
    }

    fn look_at_keyboard(&mut self) {
        self.keyboard.iter_mut().for_each(Keyboard::look);
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

/// Becomes the program: nothing is masked and nothing is to be cleaned up.
pub fn become_program(command: &[OsString], environment: Vec<(OsString, OsString)>) -> RunError {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).env_clear().envs(environment);
    child::replace(program)
}
