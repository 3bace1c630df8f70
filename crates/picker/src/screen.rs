//! The terminal while the list is shown.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use ratatui::backend::TermionBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use secrets_files::DeferSignals;

use crate::draw::draw;
use crate::keys::{Key, parse};
use crate::picker::{Picker, Wish};

/// The other screen of the terminal, without a cursor; and back. Every terminal has it, or ignores it.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const CLEAR: &[u8] = b"\x1b[2J";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// How long we wait for a key before the size of the terminal is looked at, and while a search runs.
const IDLE: Duration = Duration::from_millis(200);
const BUSY: Duration = Duration::from_millis(4);
/// How many keys are read at once.
const KEYS: usize = 1024;

/// A terminal that shows the list. Dropping it restores the terminal.
pub struct Screen {
    tty: File,
    before: Termios,
    terminal: Terminal<TermionBackend<File>>,
    is_colored: bool,
    is_shown: bool,
    signals: DeferSignals,
}

impl Screen {
    /// Takes over a terminal. `path` names it, because the streams may be pipes.
    pub fn open(path: &Path, is_colored: bool) -> io::Result<Self> {
        let tty = File::options().read(true).write(true).open(path)?;
        let (before, area) = (tcgetattr(&tty)?, size(&tty)?);
        let terminal = terminal(&tty, area)?;
        let signals = DeferSignals::new()?;
        let mut screen = Self { tty, before, terminal, is_colored, is_shown: false, signals };
        screen.show()?;
        Ok(screen)
    }

    /// Shows the list until the user wants something. A signal that ends the process counts as leaving;
    /// it takes effect when the screen is dropped.
    pub fn ask(&mut self, picker: &mut Picker) -> io::Result<Wish> {
        self.show()?;
        let mut is_drawn = false;
        loop {
            let is_busy = picker.search();
            let area = size(&self.tty)?;
            if self.terminal.get_frame().area() != area {
                self.clear(area)?;
                is_drawn = false;
            }

            if !is_drawn || is_busy {
                self.terminal.draw(|frame| draw(frame, picker, self.is_colored))?;
            }

            is_drawn = !is_busy;
            if self.signals.is_due() {
                return Ok(Wish::Quit);
            }

            for key in self.keys(if is_busy { BUSY } else { IDLE })? {
                is_drawn = false;
                if let Some(wish) = picker.press(key) {
                    return Ok(wish);
                }
            }
        }
    }

    /// Gives the terminal back, so that a question can be asked. The next [`Screen::ask`] takes it again.
    pub fn hide(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_shown) {
            self.tty.write_all(LEAVE)?;
            tcsetattr(&self.tty, OptionalActions::Now, &self.before)?;
        }

        Ok(())
    }

    fn show(&mut self) -> io::Result<()> {
        if !self.is_shown {
            self.is_shown = true;
            let mut raw = self.before.clone();
            raw.make_raw();
            tcsetattr(&self.tty, OptionalActions::Now, &raw)?;
            self.tty.write_all(ENTER)?;
            self.clear(size(&self.tty)?)?;
        }

        Ok(())
    }

    /// Begins with an empty screen of this size. Ratatui's own way asks the terminal for the place of
    /// the cursor, and reads the answer from stdin, which may not be the terminal.
    fn clear(&mut self, area: Rect) -> io::Result<()> {
        self.tty.write_all(CLEAR)?;
        self.terminal = terminal(&self.tty, area)?;
        Ok(())
    }

    /// Waits for keys, at most this long. The end of the terminal counts as Escape.
    fn keys(&mut self, wait: Duration) -> io::Result<Vec<Key>> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let mut waiting = [PollFd::new(&self.tty, PollFlags::IN)];
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }

        let mut bytes = [0; KEYS];
        match self.tty.read(&mut bytes)? {
            0 => Ok(vec![Key::Escape]),
            read => Ok(parse(&bytes[..read])),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.hide();
    }
}

fn terminal(tty: &File, area: Rect) -> io::Result<Terminal<TermionBackend<File>>> {
    let viewport = Viewport::Fixed(area);
    Terminal::with_options(TermionBackend::new(tty.try_clone()?), TerminalOptions { viewport })
}

/// Returns the area of a terminal. One that does not know its size has 80 columns and 24 lines.
fn size(tty: &File) -> io::Result<Rect> {
    let found = tcgetwinsize(tty)?;
    let or = |found: u16, usual| if found == 0 { usual } else { found };
    Ok(Rect::new(0, 0, or(found.ws_col, 80), or(found.ws_row, 24)))
}
