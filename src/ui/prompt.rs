//! Prompts on the controlling terminal, even if stdin and stdout are pipes.
//!
//! Secret input is never echoed. The echo is turned off before the prompt appears, so that text
//! typed ahead is not shown either. However a prompt ends, the terminal's settings are restored.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use rpassword::{ConfigBuilder, read_password_with_config};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush,
    tcgetattr, tcsetattr,
};
use secrets_core::crypto::with_freed_memory_wiped;
use secrets_core::model::{SecretBytes, SecretValue};
use secrets_files::DeferSignals;
use terminal_size::terminal_size_of;

use super::UiError;
use super::escape::visible;
use super::turn::Turn;
use super::wrap::{at_words, indented};

/// The terminal of this process, whatever its streams are.
pub(crate) const TERMINAL: &str = "/dev/tty";

fn terminal() -> Result<File, UiError> {
    if IS_FORBIDDEN.load(Ordering::Relaxed) {
        return Err(UiError::NoTerminal);
    }

    OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(|_| UiError::NoTerminal)
}

/// True if nothing may be asked, although there may be a terminal.
static IS_FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// Lets every later question fail as without a terminal.
pub(crate) fn forbid() {
    IS_FORBIDDEN.store(true, Ordering::Relaxed);
}

/// Returns true if there is a terminal to ask on.
pub(crate) fn is_possible() -> bool {
    terminal().is_ok()
}

/// The terminal without echo and without line mode, in which lines end at 4,096 bytes. Dropping it
/// restores the settings.
struct HiddenInput<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> HiddenInput<'a> {
    fn new(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut hidden = before.clone();
        hidden.local_modes -=
            LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        hidden.input_modes |= InputModes::ICRNL;
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(tty, OptionalActions::Now, &hidden)?;

        Ok(Self { tty, before })
    }
}

impl Drop for HiddenInput<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Now, &self.before);
    }
}

/// The terminal without echo outside of prompts. Signals are deferred, because one could leave the
/// echo off.
pub(crate) struct EchoOff {
    tty: File,
    before: Termios,
    _hold: DeferSignals,
    /// Dropped last, so that the next process to ask finds the original settings
    _turn: Turn,
}

/// Turns echo off until the result is dropped. Returns `None` without a terminal.
pub(crate) fn echo_off() -> Option<EchoOff> {
    let tty = terminal().ok()?;
    let turn = Turn::take(&tty).ok()?;
    let hold = DeferSignals::new().ok()?;
    let before = tcgetattr(&tty).ok()?;
    let mut hidden = before.clone();

    hidden.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
    tcsetattr(&tty, OptionalActions::Now, &hidden).ok()?;
    Some(EchoOff { tty, before, _hold: hold, _turn: turn })
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }
}

/// Typed input, read byte by byte, because text typed ahead belongs to the next reader. A signal
/// ends it.
struct RawInput {
    tty: File,
    hold: DeferSignals,
}

impl Read for RawInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut waiting = [
                PollFd::new(&self.tty, PollFlags::IN),
                PollFd::new(self.hold.wakeup(), PollFlags::IN),
            ];

            match poll(&mut waiting, None) {
                Ok(_) if !waiting[1].revents().is_empty() => {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                Ok(_) => return self.tty.read(bytes.get_mut(..1).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Shows a generated passphrase on the terminal only, never in a pipe, a file or a log.
pub(crate) fn show_words(label: &str, passphrase: &SecretBytes) -> Result<(), UiError> {
    let mut tty = terminal()?;
    let mut line = SecretBytes::with_capacity(label.len() + passphrase.len() + 8);
    for part in [label.as_bytes(), b":\n  ", passphrase.expose(), b"\n"] {
        line.extend(part);
    }

    tty.write_all(line.expose()).map_err(UiError::Terminal)
}

/// Asks for a passphrase. Ignores keys that are not characters (arrows, function keys). Prints
/// `hint` on its own lines above the prompt.
pub(crate) fn passphrase(question: &str, hint: Option<&str>) -> Result<SecretBytes, UiError> {
    ask(question, hint, |keyboard| {
        let config = ConfigBuilder::new().input_reader(keyboard).output_discard().build();
        with_freed_memory_wiped(|| read_password_with_config(config))
            .map(|text| SecretBytes::from_vec(text.into_bytes()))
    })
}

/// Asks for a value. Every byte counts: a tab is kept, and a key that sends other control
/// characters (an arrow, Ctrl-Z) is refused instead of dropped. Several pasted lines are discarded
/// and refused: otherwise only the first would be read, and the shell would read the rest.
pub(crate) fn value(question: &str) -> Result<SecretBytes, UiError> {
    let mut several = false;
    let answer = ask(question, None, |mut keyboard| {
        let value = line(&mut keyboard)?;
        let timeout = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let more = || poll(&mut [PollFd::new(&keyboard.tty, PollFlags::IN)], Some(&timeout));
        while more().is_ok_and(|ready| ready > 0) {
            several = true;
            tcflush(&keyboard.tty, QueueSelector::IFlush)?;
        }

        Ok(value)
    });

    let is_refused = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    match answer {
        _ if several => Err(UiError::SeveralLines),
        Ok(value) if value.expose().iter().any(is_refused) => Err(UiError::ControlCharacter),
        answer => answer,
    }
}

/// Turns echo off, asks, and restores the terminal.
fn ask(
    question: &str,
    hint: Option<&str>,
    read: impl FnOnce(RawInput) -> io::Result<SecretBytes>,
) -> Result<SecretBytes, UiError> {
    let tty = terminal()?;
    let _turn = Turn::take(&tty)?;

    // This outlives the signals of the keyboard, so that nothing ends the process before the
    // terminal is restored.
    let hold = DeferSignals::new().map_err(UiError::Terminal)?;
    let hidden = HiddenInput::new(&tty).map_err(UiError::Terminal)?;
    if let Some(hint) = hint {
        writeln!(&tty, "{}", wrapped(&tty, &visible(hint))).map_err(UiError::Terminal)?;
    }

    write!(&tty, "{}: ", wrapped(&tty, &visible(question))).map_err(UiError::Terminal)?;
    let keyboard = RawInput {
        tty: tty.try_clone().map_err(UiError::Terminal)?,
        hold: DeferSignals::new().map_err(UiError::Terminal)?,
    };

    let answer = read(keyboard);
    let _ = (&tty).write_all(b"\n");
    drop(hidden);

    match answer {
        _ if hold.take() => Err(UiError::Interrupted),
        Ok(answer) => Ok(answer),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(UiError::Interrupted),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(UiError::Interrupted),
        Err(error) => Err(UiError::Terminal(error)),
    }
}

/// Reads a line with backspace and Ctrl-U for editing. Every other byte is taken unchanged.
fn line(keyboard: &mut RawInput) -> io::Result<SecretBytes> {
    let mut typed = SecretBytes::with_capacity(4096);
    let mut byte = [0];
    loop {
        if keyboard.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }

        match byte[0] {
            b'\n' | b'\r' => return Ok(typed),
            0x03 => return Err(io::ErrorKind::Interrupted.into()),
            0x04 if typed.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0x04 => {}
            0x15 => typed.truncate(0),
            0x08 | 0x7f => {
                let start = typed.expose().iter().rposition(|b| b & 0xc0 != 0x80).unwrap_or(0);
                typed.truncate(start);
            }
            _ if typed.len() > SecretValue::MAX => {}
            byte => typed.push(byte),
        }
    }
}

/// Wraps text at words, so that the terminal does not break inside one.
fn wrapped(tty: &File, text: &str) -> String {
    at_words(text, columns(tty))
}

fn columns(tty: &File) -> Option<usize> {
    terminal_size_of(tty).map(|(width, _)| usize::from(width.0))
}

/// Writes lines to the terminal above a prompt about them. Long lines continue indented, so that
/// text from a stranger never appears where a prompt begins.
pub(crate) fn show(lines: &[String]) -> Result<(), UiError> {
    let mut tty = terminal()?;
    let mut text = String::new();
    for line in lines {
        text += &indented(&visible(line), columns(&tty));
        text.push('\n');
    }

    tty.write_all(text.as_bytes()).map_err(UiError::Terminal)
}

/// Asks yes or no, and repeats the question after any other answer. Enter means `default`. The end
/// of input is not an answer.
pub(crate) fn confirm(question: &str, default: bool) -> Result<bool, UiError> {
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    let question = format!("{} {choices} ", visible(question));
    loop {
        match ask_echoed(&question)?.as_deref() {
            None => return Err(UiError::Interrupted),
            Some(b"") => return Ok(default),
            Some(b"y" | b"yes") => return Ok(true),
            Some(b"n" | b"no") => return Ok(false),
            Some(_) => show_line("Answer `y` or `n`.")?,
        }
    }
}

/// Asks for a line with echo. Returns it in lower case and without surrounding blanks; Enter
/// returns an empty line.
pub(crate) fn words(question: &str) -> Result<String, UiError> {
    let answer = ask_echoed(&format!("{}: ", visible(question)))?.ok_or(UiError::Interrupted)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks for a line with echo. Returns it without surrounding blanks; Enter returns an empty line.
pub(crate) fn text(question: &str) -> Result<String, UiError> {
    let answer = ask_exactly(&format!("{}: ", visible(question)))?.ok_or(UiError::Interrupted)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Shows a line between two prompts.
pub(crate) fn show_line(text: &str) -> Result<(), UiError> {
    let mut tty = terminal()?;
    let text = format!("{}\n", wrapped(&tty, &visible(text)));
    tty.write_all(text.as_bytes()).map_err(UiError::Terminal)
}

/// Asks to type a word, for changes where a `y` is typed too easily.
pub(crate) fn confirm_by_word(question: &str, word: &str) -> Result<bool, UiError> {
    let answer = ask_echoed(&format!("{} `{word}`: ", visible(question)))?;
    Ok(answer.as_deref() == Some(word.as_bytes()))
}

/// Does the same as [`ask_exactly`], and returns the line in lower case.
fn ask_echoed(question: &str) -> Result<Option<Vec<u8>>, UiError> {
    Ok(ask_exactly(question)?.map(|answer| answer.to_ascii_lowercase()))
}

/// Asks for a line with echo, and returns it without surrounding blanks. Returns `None` at the end of
/// input.
fn ask_exactly(question: &str) -> Result<Option<Vec<u8>>, UiError> {
    let mut tty = terminal()?;
    let _turn = Turn::take(&tty)?;

    // The blank after the question is kept, because the input follows it.
    let shown = format!("{} ", wrapped(&tty, question.trim_end()));
    tty.write_all(shown.as_bytes()).map_err(UiError::Terminal)?;
    let mut answer = Vec::new();
    let mut byte = [0];

    // The input is read byte by byte, because text typed ahead belongs to the next reader.
    while tty.read(&mut byte).map_err(UiError::Terminal)? == 1 && byte[0] != b'\n' {
        answer.extend_from_slice(&byte);
    }

    if byte[0] != b'\n' {
        let _ = tty.write_all(b"\n");
        return Ok(None);
    }

    Ok(Some(answer.trim_ascii().to_vec()))
}
