//! Runs of the binary that read like a story. A test fails if it drops a run without checking its
//! output, so nothing that is printed goes unnoticed.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::programs::environment;
use super::trust;

/// Compares everything that a run printed on stderr with an inline snapshot, and returns the run.
/// `cargo insta review` shows what changed.
macro_rules! stderr {
    ($run:expr, @$snapshot:literal) => {{
        let mut run = $run;
        insta::allow_duplicates! { insta::assert_snapshot!(run.stderr_snapshot(), @$snapshot) };
        run
    }};
}

/// A run that has not started.
pub struct Prepared {
    pub command: Command,
    stdin: Vec<u8>,
    /// The sandbox's directory, which snapshots show as `[dir]`
    directory: PathBuf,
    /// The state directory, if the manifest will be trusted
    trusts: Option<PathBuf>,
}

impl Prepared {
    /// Prepares a command with an empty stdin. It trusts the manifest if it gets a state directory.
    pub fn new(command: Command, directory: PathBuf, trusts: Option<PathBuf>) -> Self {
        Self { command, stdin: Vec::new(), directory, trusts }
    }

    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Runs it to its end, without a controlling terminal.
    pub fn run(mut self) -> Run {
        if let (Some(state), Some(directory)) = (&self.trusts, self.command.get_current_dir()) {
            trust(state, directory);
        }

        let mut line: Vec<OsString> = vec!["secrets".into()];
        line.extend(self.command.get_args().map(OsStr::to_owned));
        let mut setsid = Command::new("setsid");
        setsid.arg("--wait").arg(self.command.get_program()).args(self.command.get_args());
        if let Some(directory) = self.command.get_current_dir() {
            setsid.current_dir(directory);
        }

        setsid.env_clear().envs(environment(&self.command));
        self.command = setsid;
        let piped =
            self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = std::mem::take(&mut self.stdin);

        // A program may close its stdin without reading it.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Run {
            line,
            directory: self.directory,
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
            asked: Asked::default(),
        }
    }
}

#[derive(Default)]
pub struct Asked {
    code: bool,
    stdout: bool,
    stderr: bool,
}

/// A run that has ended. Its output must be checked before it is dropped, unless it is empty.
pub struct Run {
    line: Vec<OsString>,
    directory: PathBuf,
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
    asked: Asked,
}

impl Run {
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.fails_with(0)
    }

    #[track_caller]
    pub fn fails_with(mut self, code: i32) -> Self {
        self.asked.code = true;
        assert_eq!(self.code, Some(code), "{:?}\nstderr: {}", self.line, self.stderr);
        self
    }

    #[track_caller]
    pub fn stdout(mut self, expected: impl AsRef<[u8]>) -> Self {
        self.asked.stdout = true;
        let (found, expected) =
            (String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(expected.as_ref()));
        assert_eq!(found, expected, "{:?}\nstderr: {}", self.line, self.stderr);
        self
    }

    #[track_caller]
    pub fn stderr(mut self, expected: &str) -> Self {
        self.asked.stderr = true;
        assert_eq!(self.stderr, expected, "{:?}", self.line);
        self
    }

    /// Returns stderr for a snapshot and marks it as checked. The sandbox's directory becomes
    /// `[dir]`.
    #[track_caller]
    pub fn stderr_snapshot(&mut self) -> String {
        self.asked.stderr = true;
        assert!(
            self.stderr.is_empty() || self.stderr.ends_with('\n'),
            "{:?}: no newline at the end",
            self.line
        );

        let directory = self.directory.to_string_lossy();
        self.stderr.replace(directory.trim_end_matches('/'), "[dir]")
    }

    #[track_caller]
    pub fn stdout_has(mut self, part: &str) -> Self {
        self.asked.stdout = true;
        let found = String::from_utf8_lossy(&self.stdout);
        assert!(found.contains(part), "{:?}\nstdout: {found}\nhas no: {part}", self.line);
        self
    }

    #[track_caller]
    pub fn stderr_has(mut self, part: &str) -> Self {
        self.asked.stderr = true;
        assert!(
            self.stderr.contains(part),
            "{:?}\nstderr: {}\nhas no: {part}",
            self.line,
            self.stderr
        );

        self
    }

    /// Asserts that neither stream contains `part`. The streams do not count as checked.
    #[track_caller]
    pub fn without(self, part: &str) -> Self {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert!(!stdout.contains(part), "{:?}\nstdout: {stdout}\nhas: {part}", self.line);
        assert!(
            !self.stderr.contains(part),
            "{:?}\nstderr: {}\nhas: {part}",
            self.line,
            self.stderr
        );

        self
    }

    /// Returns stdout as bytes.
    pub fn bytes(mut self) -> Vec<u8> {
        self.asked.stdout = true;
        std::mem::take(&mut self.stdout)
    }

    #[track_caller]
    pub fn stderr_lacks(mut self, part: &str) -> Self {
        self.asked.stderr = true;
        assert!(!self.stderr.contains(part), "{:?}\nstderr: {}", self.line, self.stderr);
        self
    }

    /// Returns stdout as JSON.
    #[track_caller]
    pub fn json(mut self) -> serde_json::Value {
        self.asked.stdout = true;
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|_| panic!("{:?}: {}", self.line, self.stderr))
    }

    /// Returns stderr as one JSON object.
    #[track_caller]
    pub fn json_error(mut self) -> serde_json::Value {
        self.asked.stderr = true;
        serde_json::from_str(&self.stderr)
            .unwrap_or_else(|_| panic!("{:?}: {}", self.line, self.stderr))
    }

    /// Returns the code and all output, for tests that search it for something that must not be
    /// there.
    pub fn everything(mut self) -> (Option<i32>, Vec<u8>, String) {
        self.asked = Asked { code: true, stdout: true, stderr: true };
        (self.code, std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }

        assert!(self.asked.code, "the exit code of {:?} was not checked", self.line);
        let unread = |asked: bool, empty: bool| !asked && !empty;
        assert!(
            !unread(self.asked.stdout, self.stdout.is_empty()),
            "unexpected stdout of {:?}",
            self.line
        );

        let stderr = unread(self.asked.stderr, self.stderr.is_empty());
        assert!(!stderr, "unexpected stderr of {:?}: {}", self.line, self.stderr);
    }
}

/// A command line behind something that changes how a process begins: `env`, a shell, perl.
pub fn wrapped_in(wrapper: &[&str], prepared: &Prepared) -> Command {
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(prepared.command.get_program())
        .args(prepared.command.get_args())
        .env_clear();

    command.envs(environment(&prepared.command));
    command.current_dir(prepared.command.get_current_dir().unwrap()).stdin(Stdio::null());
    command
}
