//! The main loop for a running program: masked output, typed keys, signals and the program's end.

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

use super::child::{self, Group, in_memory};
use super::keyboard::{Keyboard, Role};
use super::linger;
use super::monitor::pack_environment;
use super::signals::{ReceivedSignal, Signals};
use super::stream::{Stream, StreamError, StreamMask, StreamState};
use super::terminal::{Pty, is_from_key, is_in_foreground, pty, resize};
use super::{Job, Outcome, RunError, Streams};
use crate::helper::Helper;
use crate::process;

/// The total time to wait for output after the program's end. Such output is still in a
/// pseudo-terminal, or passes through another process.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(100);
/// The interval for checking the foreground, because no event reports that we have moved there.
const FOREGROUND_POLL: Duration = Duration::from_millis(250);

/// Variables that contain the name of the terminal for prompts.
const TERMINALS: [&str; 2] = ["GPG_TTY", "SSH_TTY"];

/// Runs a program to its end. Returns how it ended.
pub fn run(job: Job, streams: &Streams) -> Result<Outcome, RunError> {
    let Job { command, mut environment, stdin, masked, executable, options } = job;
    let interactive = masked.is_some()
        && stdin.is_none()
        && isatty(&streams.output)
        && is_in_foreground(&streams.input);

    let mut session = None;
    let mut program = if interactive {
        let pty = pty(&streams.output, true).map_err(stream_error())?;
        let named = |name: &OsStr| TERMINALS.iter().any(|terminal| name == *terminal);
        for (_, value) in
            environment.iter_mut().filter(|(name, value)| named(name) && !value.is_empty())
        {
            value.clone_from(&pty.name);
        }

        // The program is passed by name, and the monitor looks it up as we would.
        let helper = Helper::Monitor { options: &options, command: &command };
        let mut monitor = helper.command(&executable);
        let failed = || RunError::io::<io::Error>("pass the environment on");
        let packed = in_memory(pack_environment(&environment).expose()).map_err(failed())?;
        let shared = File::from(packed.try_clone().map_err(failed())?);

        monitor.stdin(Stdio::from(packed));
        session = Some((pty, shared));
        monitor
    } else {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).env_clear().envs(environment);
        program
    };

    // A program with the terminal as its stdin reads keys there.
    let lends_keyboard = stdin.is_some() || !isatty(&streams.input);
    if let Some(value) = stdin {
        program
            .stdin(Stdio::from(in_memory(value.expose()).map_err(RunError::io("pass stdin on"))?));
    }

    let Some(values) = masked else { return run_unmasked(program, executable) };
    let mask = StreamMask::new(values);
    let mut running = Running::start(program, streams, &mask, session, executable)?;
    if lends_keyboard {
        running.lend_keyboard()?;
    }

    running.supervise()
}

/// Runs a program without masking. It inherits our streams, and we only handle signals and its end.
fn run_unmasked(program: Command, executable: PathBuf) -> Result<Outcome, RunError> {
    let signals = Signals::new(false).map_err(RunError::io("handle signals"))?;
    let pid = child::start(program, Group::Ours, signals.mask())?.pid;
    Running::new(pid, signals, executable).supervise()
}

fn stream_error() -> impl FnOnce(io::Error) -> RunError {
    RunError::io("create a pseudo-terminal or a pipe")
}

struct Running {
    pid: Pid,
    signals: Signals,
    streams: Vec<Stream>,
    /// Streams that other processes hold open after the program's end
    lingering: Vec<Stream>,
    /// Terminals and pseudo-terminals that follow their size: (real, pseudo)
    resized: Vec<(OwnedFd, OwnedFd)>,
    keyboard: Option<Keyboard>,
    /// The path of this program, for a lingering process
    executable: PathBuf,
    /// The last signal that a key sent to our whole group
    typed_signal: Option<Signal>,
    /// How the program ended, and the time spent waiting for output since then
    ended: Option<(Outcome, Duration)>,
    /// The reason why output of the program was lost
    lost: Option<StreamError>,
}

impl Running {
    fn new(pid: Pid, signals: Signals, executable: PathBuf) -> Self {
        let (streams, lingering, resized) = (Vec::new(), Vec::new(), Vec::new());
        let (keyboard, typed_signal, ended, lost) = (None, None, None, None);
        Self {
            pid,
            signals,
            streams,
            lingering,
            resized,
            keyboard,
            executable,
            typed_signal,
            ended,
            lost,
        }
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
            keyboard = Some(made.map_err(stream_error())?);
            prepared = Some((pty.ours, pty.programs));
        }

        // A shared terminal or pipe keeps the order of both streams, as with `2>&1`.
        let identity = |stream| fstat(stream).ok().map(|found| (found.st_dev, found.st_ino));
        let is_same = identity(&streams.output)
            .is_some_and(|output| identity(&streams.errors) == Some(output));
        let mut shared: Option<OwnedFd> = None;

        for (to, is_output) in [(&streams.output, true), (&streams.errors, false)] {
            let programs = match &shared {
                Some(programs) if is_same => programs.try_clone().map_err(stream_error())?,
                _ => {
                    let made = prepared.take().map_or_else(|| stream_ends(to, interactive), Ok);
                    let (ours, programs) = made.map_err(stream_error())?;
                    if isatty(to) {
                        resized.push((
                            to.try_clone().map_err(stream_error())?,
                            ours.try_clone().map_err(stream_error())?,
                        ));
                    }

                    shared = Some(programs.try_clone().map_err(stream_error())?);
                    let to = to.try_clone().map_err(stream_error())?;
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

        // If the reader has already closed its end, dropping the stream makes the program's first
        // write fail, however early that is.
        all.retain(|stream| !stream.is_unread());

        // `program` owns the last copies of the program's ends. This call consumes it, which closes
        // them.
        let pid = child::start(program, Group::Ours, signals.mask())?.pid;
        let mut running =
            Self { streams: all, resized, keyboard, ..Self::new(pid, signals, executable) };
        running.update_keyboard();
        Ok(running)
    }

    /// Gives the keyboard to a program that has only its output on a terminal. Pagers read keys
    /// from stderr, which is a pseudo-terminal.
    fn lend_keyboard(&mut self) -> Result<(), RunError> {
        if let (None, Some((real, pseudo))) = (&self.keyboard, self.resized.last()) {
            self.keyboard = Some(Keyboard::new(real, pseudo, Role::Lent).map_err(stream_error())?);
        }

        Ok(())
    }

    fn supervise(mut self) -> Result<Outcome, RunError> {
        loop {
            if let Some(outcome) = self.final_outcome() {
                return self.finish(outcome);
            }

            self.wait_and_advance()?;
            for received in self.signals.take() {
                self.forward(&received);
            }

            self.reap()?;
        }
    }

    /// Returns how the program ended, once all its output was written or handed over.
    fn final_outcome(&self) -> Option<Outcome> {
        let (outcome, _) = self.ended?;
        self.streams.is_empty().then_some(outcome)
    }

    /// Hands open streams over to lingering processes, and returns the outcome.
    fn finish(mut self, outcome: Outcome) -> Result<Outcome, RunError> {
        let had_terminal =
            self.is_session() && self.keyboard.as_ref().is_some_and(Keyboard::has_terminal);
        self.keyboard = None;
        for stream in self.lingering.drain(..) {
            linger::start(stream, &self.executable)
                .map_err(RunError::io("continue to mask the output of running processes"))?;
        }

        // The key's signal reached only the program. Without us, our whole group would have
        // received it.
        if let Some(signal) = outcome.interrupted()
            && had_terminal
            && self.typed_signal != Some(signal)
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

        // A slow reader is waited for. The time counts only while nothing is left to write.
        let is_writing = self.streams.iter().any(Stream::is_queueing);
        deadlines.extend(
            self.ended
                .filter(|_| !is_writing)
                .map(|(_, waited)| now + OUTPUT_TIMEOUT.saturating_sub(waited)),
        );

        if self.keyboard.as_ref().is_some_and(Keyboard::needs_polling) {
            deadlines.push(now + FOREGROUND_POLL);
        }

        let left = deadlines.into_iter().min().map(|moment| moment.saturating_duration_since(now));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut waiting: Vec<(BorrowedFd<'_>, PollFlags)> =
            vec![(self.signals.descriptor().as_fd(), PollFlags::IN)];
        waiting.extend(self.streams.iter().map(Stream::waits_for));

        let streams = waiting.len();

        // For a stream without a descriptor to watch, this one stands in. It reports no events.
        let silent = self.signals.descriptor().as_fd();
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

        let has_activity = ready[1..streams].contains(&true);
        self.advance_streams(&ready[1..streams], &ready[streams..keyboard_at]);
        if let (Some((_, waited)), false) = (&mut self.ended, is_writing) {
            *waited += passed;

            // A grandchild may keep a stream open forever and write to it from time to time. The
            // program's own output has already arrived.
            if *waited >= OUTPUT_TIMEOUT && !has_activity {
                self.streams.iter_mut().for_each(Stream::hand_over);
            }
        }

        if ready.get(keyboard_at) == Some(&true)
            && let Some(signal) = self.keyboard.as_mut().and_then(Keyboard::advance)
        {
            self.typed_signal = Some(signal);
            let _ = kill_current_process_group(signal);
        }

        if self.keyboard.as_ref().is_some_and(Keyboard::needs_polling) {
            self.update_keyboard();
        }

        Ok(())
    }

    /// Advances every stream. `ready` and `alarmed` are the arguments for [`Stream::advance`].
    fn advance_streams(&mut self, ready: &[bool], alarmed: &[bool]) {
        let streams = std::mem::take(&mut self.streams);
        for ((mut stream, ready), alarmed) in streams.into_iter().zip(ready).zip(alarmed) {
            // Dropping a broken stream closes our end. The program then gets SIGPIPE, or its
            // terminal hangs up.
            match stream.advance(*ready, *alarmed) {
                Ok(StreamState::Open) => self.streams.push(stream),
                Ok(StreamState::HandedOver) => self.lingering.push(stream),
                Ok(StreamState::Ended | StreamState::Broken) => {}
                Err(error) => drop(self.lost.get_or_insert(error)),
            }
        }
    }

    /// Passes a signal on. If a terminal sent it, the program has received it as well if it is in
    /// our group. It has not if it is on a pseudo-terminal or in a group of its own.
    fn forward(&mut self, received: &ReceivedSignal) {
        let session = self.is_session();
        match received.signal {
            // We sent this signal to our whole group, or the system sent it because a reader closed
            // its end.
            _ if received.by_us => return,
            // After the program was reaped, its process id may belong to another process. Its
            // output may still wait for a slow reader, so signals that ask us to end are obeyed.
            signal if self.ended.is_some() => {
                if [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].contains(&signal) {
                    self.streams.clear();
                    self.ended = Some((Outcome::Signal(signal), OUTPUT_TIMEOUT));
                }

                return;
            }
            Signal::CHILD => return,
            Signal::WINCH => self.resized.iter().for_each(|(real, pseudo)| resize(real, pseudo)),
            Signal::CONT => {
                self.update_keyboard();
                self.keyboard.iter().for_each(Keyboard::on_continue);
            }
            _ => {}
        }

        let is_key = || {
            matches!(received.signal, Signal::INT | Signal::QUIT)
                && received.sender.is_some_and(is_from_key)
        };

        let group = process::group_of(self.pid);
        if session {
            let foreground = || self.keyboard.as_ref().and_then(Keyboard::foreground);
            let _ = match received.signal {
                // The pseudo-terminal sends this signal itself when its size changes.
                Signal::WINCH if received.by_kernel => Ok(()),
                // A signal from our terminal goes to the group that the program's terminal would
                // send it to.
                signal if received.by_kernel || is_key() => foreground().map_or_else(
                    || kill_process(self.pid, signal),
                    |group| kill_process_group(group, signal),
                ),
                signal => kill_process(self.pid, signal),
            };
        } else if received.by_kernel || is_key() {
            // Our whole group has received the signal, and so has the program if it is in it.
            if let Some(group) = group.filter(|_| group != process::group()) {
                let _ = kill_process_group(group, received.signal);
            } else if received.signal == Signal::WINCH && !self.resized.is_empty() {
                // The program may have read the size before we changed it.
                let _ = kill_process(self.pid, received.signal);
            }
        } else {
            let _ = kill_process(self.pid, received.signal);
        }
    }

    /// Reaps all ended children, including orphans that were reparented to us if we are process 1.
    fn reap(&mut self) -> Result<(), RunError> {
        while self.ended.is_none() {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.pid => match Outcome::of(status) {
                    Some(outcome) => {
                        self.ended = Some((outcome, Duration::ZERO));
                        self.streams.iter_mut().for_each(Stream::program_ended);
                    }
                    None if status.stopped() => self.on_stop(),
                    None => {}
                },
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(RunError::io("wait for the program")(error)),
            }
        }

        Ok(())
    }

    /// Handles a stop of the program: we stop too, so that the shell notices, and continue together
    /// with it.
    fn on_stop(&mut self) {
        let interactive = self.is_session();
        self.keyboard.iter_mut().for_each(Keyboard::restore_terminal);
        if interactive {
            // A script that started us waits for us in our group, so it must stop as well.
            let _ = kill_current_process_group(Signal::TSTP);
        }

        let all = self.signals.stop();

        // Signals that we sent ourselves are not meant for the program.
        for received in all.iter().filter(|received| received.signal != Signal::TSTP) {
            self.forward(received);
        }

        self.update_keyboard();
        self.resized.iter().for_each(|(real, pseudo)| resize(real, pseudo));

        // If nobody would have continued us, we did not stop. The process that stopped the program
        // then has to continue it. On our pseudo-terminal no other process sees the program, so we
        // always continue it there.
        if interactive || all.iter().any(|received| received.signal == Signal::CONT) {
            let _ = kill_process(self.pid, Signal::CONT);
        }
    }

    fn update_keyboard(&mut self) {
        self.keyboard.iter_mut().for_each(Keyboard::update);
    }
}

/// Creates both ends of a stream: ours and the program's. They are a pseudo-terminal if the stream
/// is a terminal, and a pipe otherwise.
fn stream_ends(to: &OwnedFd, interactive: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    if isatty(to) {
        let pty = pty(to, interactive)?;
        return Ok((pty.ours, pty.programs));
    }

    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Replaces this process with the program, if nothing has to be masked or cleaned up.
pub fn become_program(command: &[OsString], environment: Vec<(OsString, OsString)>) -> RunError {
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).env_clear().envs(environment);
    child::replace(program)
}
