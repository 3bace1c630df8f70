//! `run` on a real pseudo-terminal: programs behave as if started directly, and their output is
//! masked.

use crate::support::terminal::Terminal;
use crate::support::{Sandbox, TOKEN};

mod endings;
mod keys;
mod streams;

/// A vault that is unlocked until this is dropped.
struct Unlocked(Sandbox);

impl Unlocked {
    fn new() -> Self {
        let sandbox = Sandbox::with_secrets(&[("api-token", TOKEN)]);
        sandbox.run(["unlock", "-q"]).succeeds();
        Self(sandbox)
    }

    /// Starts a shell that is not interactive.
    fn shell(&self, script: &str) -> Terminal {
        Terminal::shell(&self.0, script)
    }

    /// Starts a program with `run`. It is one word of a shell.
    fn run(&self, program: &str) -> Terminal {
        self.shell(&format!("\"$secrets\" run -- {program}"))
    }

    /// Starts a shell with job control, like a user's.
    fn interactive(&self) -> Terminal {
        let mut terminal = self.shell("PS1='ready> ' exec bash --norc --noediting -i");
        terminal.waits_for("ready> ");
        terminal
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        let _ = self.0.run(["lock", "--all", "-q"]).everything();
    }
}
