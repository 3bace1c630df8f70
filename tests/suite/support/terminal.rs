//! A program on a real pseudo-terminal.
//!
//! A shell runs the program, as for a user. It reports the exit code, whether the terminal echoes
//! again, and the unread input.

use std::num::NonZero;
use std::process::Command;
use std::time::{Duration, Instant};

use expectrl::Expect;
use expectrl::session::OsSession;

use super::{PASSPHRASE, Sandbox};

const PATIENCE: Duration = Duration::from_secs(10);
/// The final report of the shell. The last input is read after all earlier input, so the test knows
/// without waiting that nothing else is unread.
const EPILOGUE: &str = r#"
    echo "code=$?"
    stty -a | grep -q -- '-echo ' && echo "echo=off" || echo "echo=on"
    stty -echo -icanon min 1 time 0
    echo "what is unread?"
    printf 'unread=[%s]\n' "$(dd bs=4096 count=1 2>/dev/null)"
    echo "the end"
"#;

/// The size that the program assumes, because this terminal does not say.
const LINES: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// A terminal with a program on it.
pub struct Terminal {
    pub session: OsSession,
    screen: String,
    /// The position up to which the screen has been checked.
    read: usize,
}

impl Terminal {
    /// Runs a shell script in which `$secrets` is the program. No passphrase is given.
    pub fn shell(sandbox: &Sandbox, script: &str) -> Self {
        sandbox.trust(&sandbox.path(""));
        sandbox.trust(&sandbox.path("repo"));
        let no_arguments: [&str; 0] = [];
        let program = sandbox.command(no_arguments).command;

        // A background job starts the tests with Ctrl-C ignored.
        let mut shell = Command::new("env");
        shell.args(["--default-signal=INT", "sh"]);

        // `spawn` sets the size and the echo of the terminal while the shell already runs. The
        // shell waits for that, so that its own settings stay. The trap does nothing: Ctrl-C is for
        // the program, and the shell continues and reports its exit code.
        shell
            .arg("-c")
            .arg(format!("read begin; stty sane; trap : INT\n{script}\n{EPILOGUE}"))
            .env_clear();

        shell
            .env("secrets", program.get_program())
            .env("PATH", "/usr/bin:/bin")
            .env("NO_COLOR", "1");

        for (name, value) in program.get_envs().filter(|(name, _)| *name != "SECRETS_PASSPHRASE") {
            shell.env(name, value.unwrap());
        }

        shell.current_dir(sandbox.path(""));
        let mut session = OsSession::spawn(shell).unwrap();
        session.send("\n").unwrap();
        Self { session, screen: String::new(), read: 0 }
    }

    /// Runs the program.
    pub fn run(sandbox: &Sandbox, arguments: &str) -> Self {
        Self::shell(sandbox, &format!("\"$secrets\" {arguments}"))
    }

    #[track_caller]
    pub fn waits_for(&mut self, text: &str) -> &mut Self {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.screen[self.read..].find(text) {
                self.read += at + text.len();
                return self;
            }

            self.read_more();
            assert!(begun.elapsed() < PATIENCE, "no {text:?} on the screen:\n{}", self.screen);
        }
    }

    /// Waits until a person would see a text on the screen, whatever was written in which order.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> &mut Self {
        let begun = Instant::now();
        loop {
            let mut seen = vt100::Parser::new(LINES, COLUMNS, 0);
            seen.process(self.screen.as_bytes());
            let seen = seen.screen().contents();
            if seen.contains(text) {
                return self;
            }

            self.read_more();
            assert!(begun.elapsed() < PATIENCE, "no {text:?} on the screen:\n{seen}");
        }
    }

    fn read_more(&mut self) {
        let mut piece = [0; 4096];
        match self.session.try_read(&mut piece) {
            Ok(length) if length > 0 => {
                self.screen += &String::from_utf8_lossy(&piece[..length]);
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }

    #[track_caller]
    pub fn types(&mut self, text: &str) -> &mut Self {
        self.session.send(text).unwrap();
        self
    }

    /// Waits for the end, with any exit code.
    #[track_caller]
    pub fn ends(&mut self) -> &mut Self {
        self.waits_for("what is unread?").types("#").waits_for("the end")
    }

    /// Returns the screen so far.
    pub fn screen(&self) -> &str {
        &self.screen
    }

    /// Waits for the end, and asserts that the terminal echoes and holds no unread input.
    #[track_caller]
    pub fn ends_with(&mut self, code: i32) -> &str {
        self.ends();
        let epilogue =
            format!("code={code}\r\necho=on\r\nwhat is unread?\r\nunread=[#]\r\nthe end");
        assert!(self.screen.contains(&epilogue), "not {epilogue:?}:\n{}", self.screen);
        &self.screen
    }
}

/// Creates a vault with a typed passphrase.
pub fn init(sandbox: &Sandbox) {
    let mut terminal =
        Terminal::run(sandbox, "init --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1");
    terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Repeat passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("created the vault").ends_with(0);
}
