//! Questions on the controlling terminal, also while stdin and stdout are pipes.
//!
//! Nothing typed is shown where it is secret: the terminal is quiet before the question stands on it, so that what is
//! typed ahead is not shown either. However a question ends, the terminal is given back as it was.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use rpassword::{ConfigBuilder, read_password_with_config};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush,
    tcgetattr, tcsetattr,
};

use terminal_size::terminal_size_of;

use super::UiError;
use super::escape::visible;
use super::turn::Turn;
use super::wrap::{at_words, indented};
use crate::model::{SecretBytes, SecretValue};
use crate::signals::DeferSignals;

const TERMINAL: &str = "/dev/tty";

fn terminal() -> Result<File, UiError> {
    OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(|_| UiError::NoTerminal)
}

/// True where there is a terminal to ask on.
pub(crate) fn is_possible() -> bool {
    terminal().is_ok()
}

/// The terminal without echo and without lines, which end at 4,096 bytes. Dropped, it is as it was.
struct HiddenInput<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> HiddenInput<'a> {
    fn new(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut quiet = before.clone();
        quiet.local_modes -=
            LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        quiet.input_modes |= InputModes::ICRNL;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(tty, OptionalActions::Now, &quiet)?;

        Ok(Self { tty, before })
    }
}

impl Drop for HiddenInput<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, OptionalActions::Now, &self.before);
    }
}

/// The terminal without echo while nothing is asked. Signals wait, or one would leave it so.
pub(crate) struct EchoOff {
    tty: File,
    before: Termios,
    _hold: DeferSignals,
    /// The last to go: who asks next finds the terminal as it was
    _turn: Turn,
}

/// Turns echo off until the result is dropped; `None` where there is no terminal.
pub(crate) fn hush() -> Option<EchoOff> {
    let tty = terminal().ok()?;
    let turn = Turn::take(&tty).ok()?;
    let hold = DeferSignals::new().ok()?;
    let before = tcgetattr(&tty).ok()?;
    let mut quiet = before.clone();

    quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
    tcsetattr(&tty, OptionalActions::Now, &quiet).ok()?;
    Some(EchoOff { tty, before, _hold: hold, _turn: turn })
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }
}

/// What is typed, byte by byte: what is typed ahead belongs to whoever reads next. A signal ends it.
struct RawInput {
    tty: File,
    hold: DeferSignals,
}

impl Read for RawInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut waiting = [
                PollFd::new(&self.tty, PollFlags::IN),
                PollFd::new(self.hold.came(), PollFlags::IN),
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

/// Shows a passphrase that was drawn, on the terminal alone: not in a pipe, a file or a log.
pub(crate) fn show_words(label: &str, passphrase: &SecretBytes) -> Result<(), UiError> {
    let mut tty = terminal()?;
    let mut line = SecretBytes::with_capacity(label.len() + passphrase.len() + 8);
    for part in [label.as_bytes(), b":\n  ", passphrase.expose(), b"\n"] {
        line.extend(part);
    }

    tty.write_all(line.expose()).map_err(UiError::Terminal)
}

/// Asks for a passphrase. Keys that make no character (arrows, function keys) are passed over.
/// `hint` stands in lines of its own above the question.
pub(crate) fn passphrase(question: &str, hint: Option<&str>) -> Result<SecretBytes, UiError> {
    ask(question, hint, |keyboard| {
        let config = ConfigBuilder::new().input_reader(keyboard).output_discard().build();
        read_password_with_config(config).map(|text| SecretBytes::from_vec(text.into_bytes()))
    })
}

/// Asks for a value, of which every byte counts: a tab is a tab, and a key that makes other control characters (an arrow,
/// Ctrl-Z) is refused, not dropped. One of several lines was pasted: only its first would be taken, and the rest would be
/// typed into the shell, so it is thrown away and refused.
pub(crate) fn value(question: &str) -> Result<SecretBytes, UiError> {
    let mut several = false;
    let answer = ask(question, None, |mut keyboard| {
        let value = line(&mut keyboard)?;
        let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let more = || poll(&mut [PollFd::new(&keyboard.tty, PollFlags::IN)], Some(&moment));
        while more().is_ok_and(|ready| ready > 0) {
            several = true;
            tcflush(&keyboard.tty, QueueSelector::IFlush)?;
        }

        Ok(value)
    });

    let odd = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    match answer {
        _ if several => Err(UiError::SeveralLines),
        Ok(value) if value.expose().iter().any(odd) => Err(UiError::ControlCharacter),
        answer => answer,
    }
}

/// Makes the terminal quiet, asks, and gives it back.
fn ask(
    question: &str,
    hint: Option<&str>,
    read: impl FnOnce(RawInput) -> io::Result<SecretBytes>,
) -> Result<SecretBytes, UiError> {
    let tty = terminal()?;
    let _turn = Turn::take(&tty)?;

    // It outlives the keyboard's, so that nothing ends the process before the terminal is back.
    let hold = DeferSignals::new().map_err(UiError::Terminal)?;
    let quiet = HiddenInput::new(&tty).map_err(UiError::Terminal)?;
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
    drop(quiet);

    match answer {
        _ if hold.take() => Err(UiError::Interrupted),
        Ok(answer) => Ok(answer),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(UiError::Interrupted),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(UiError::Interrupted),
        Err(error) => Err(UiError::Terminal(error)),
    }
}

/// Reads a line with the editing that people know: backspace and Ctrl-U. Every other byte is taken as it is.
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

/// Breaks a text at words, so that the terminal does not break it inside one.
fn wrapped(tty: &File, text: &str) -> String {
    at_words(text, columns(tty))
}

fn columns(tty: &File) -> Option<usize> {
    terminal_size_of(tty).map(|(width, _)| usize::from(width.0))
}

/// Writes lines to the terminal, where what they are about is asked next. What is longer than a line goes on indented: no
/// text of a stranger stands where a question begins.
pub(crate) fn show(lines: &[String]) -> Result<(), UiError> {
    let mut tty = terminal()?;
    let mut text = String::new();
    for line in lines {
        text += &indented(&visible(line), columns(&tty));
        text.push('\n');
    }

    tty.write_all(text.as_bytes()).map_err(UiError::Terminal)
}

/// Asks yes or no, again after any other answer. Enter alone is `default`. The end of the terminal is no answer.
pub(crate) fn confirm(question: &str, default: bool) -> Result<bool, UiError> {
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    let question = format!("{} {choices} ", visible(question));
    loop {
        match echoed(&question)?.as_deref() {
            None => return Err(UiError::Interrupted),
            Some(b"") => return Ok(default),
            Some(b"y" | b"yes") => return Ok(true),
            Some(b"n" | b"no") => return Ok(false),
            Some(_) => say("Answer `y` or `n`.")?,
        }
    }
}

/// Asks for a line that is shown. Returns it in lower case, without blanks around it; it is empty for Enter alone.
pub(crate) fn words(question: &str) -> Result<String, UiError> {
    let answer = echoed(&format!("{}: ", visible(question)))?.ok_or(UiError::Interrupted)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Shows a line between two questions.
pub(crate) fn say(text: &str) -> Result<(), UiError> {
    let mut tty = terminal()?;
    let text = format!("{}\n", wrapped(&tty, &visible(text)));
    tty.write_all(text.as_bytes()).map_err(UiError::Terminal)
}

/// Asks for a word, where a `y` is too easily typed.
pub(crate) fn confirm_by_word(question: &str, word: &str) -> Result<bool, UiError> {
    let answer = echoed(&format!("{} `{word}`: ", visible(question)))?;
    Ok(answer.as_deref() == Some(word.as_bytes()))
}

/// Asks for a line that is shown, without blanks around it, in lower case; `None` where the terminal ends instead.
fn echoed(question: &str) -> Result<Option<Vec<u8>>, UiError> {
    let mut tty = terminal()?;
    let _turn = Turn::take(&tty)?;

    // The blank behind the question stays: what is typed stands there.
    let shown = format!("{} ", wrapped(&tty, question.trim_end()));
    tty.write_all(shown.as_bytes()).map_err(UiError::Terminal)?;
    let mut answer = Vec::new();
    let mut byte = [0];

    // Byte by byte: what is typed ahead belongs to whoever reads next.
    while tty.read(&mut byte).map_err(UiError::Terminal)? == 1 && byte[0] != b'\n' {
        answer.extend_from_slice(&byte);
    }

    if byte[0] != b'\n' {
        let _ = tty.write_all(b"\n");
        return Ok(None);
    }

    Ok(Some(answer.trim_ascii().to_ascii_lowercase()))
}
