//! Tools for tests: a sandbox with its own vault, and runs of the binary that read like a story.
//!
//! A test fails if it drops a run without checking its output, so nothing that is printed goes
//! unnoticed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Once};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};
use tempfile::TempDir;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::ids::VaultId;
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase, SlotKeys};
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::crypto::slot::Credential;
use terminal_secrets::model::{ProjectName, SecretBytes, SecretValue, Tag};
use terminal_secrets::setup::Manifest;
use terminal_secrets::setup::trust::{Coverage, TrustRecord, TrustStore};
use terminal_secrets::vault::{Locked, NewSecret, Vault};

/// The passphrase of every sandbox.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// Returns the passphrase as the library takes it.
pub fn passphrase() -> Passphrase {
    Passphrase::new(&SecretBytes::copy_of(PASSPHRASE.as_bytes())).unwrap()
}

/// A passphrase whose keys are derived once for each slot, because the derivation always gives the
/// same keys. The commitment and the seal of the slot are checked each time.
pub struct Remembered(pub Passphrase);

impl Credential for Remembered {
    fn slot_type(&self) -> u32 {
        self.0.slot_type()
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError> {
        type Input = (Vec<u8>, [Vec<u8>; 3], VaultId);
        type KekAndCommitment = ([u8; 32], [u8; 32]);
        static KEYS: Mutex<BTreeMap<Input, KekAndCommitment>> = Mutex::new(BTreeMap::new());
        let of_slot = [&slot.slot_id, &slot.params, &slot.salt].map(Vec::clone);
        let input = (self.0.expose().to_vec(), of_slot, *vault_id);
        let known = KEYS.lock().unwrap().get(&input).copied();

        if let Some((kek, commitment)) = known {
            return Ok(SlotKeys { kek: Key::copy_of(&kek), commitment });
        }

        let keys = self.0.slot_keys(slot, vault_id)?;
        KEYS.lock().unwrap().insert(input, (*keys.kek.expose(), keys.commitment));
        Ok(keys)
    }

    fn wrong(&self) -> CryptoError {
        self.0.wrong()
    }
}

/// Returns the file of an empty vault, a different one for each call in a test. The next test gets
/// the same files, so a vault is not created for every test.
fn empty_vault() -> Arc<[u8]> {
    static MADE: Mutex<Vec<Arc<[u8]>>> = Mutex::new(Vec::new());
    thread_local! {
        /// The number of vaults that this test has taken. Every test has its own thread
        static TAKEN: Cell<usize> = const { Cell::new(0) };
    }

    let number = TAKEN.replace(TAKEN.get() + 1);
    let mut made = MADE.lock().unwrap();
    while made.len() <= number {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("vault.db");
        Vault::init(&path, &passphrase(), KdfParams::LEAST).unwrap();
        made.push(std::fs::read(path).unwrap().into());
    }

    Arc::clone(&made[number])
}

/// Returns a value as the library takes it.
pub fn value(bytes: &[u8]) -> SecretValue {
    SecretValue::new(SecretBytes::copy_of(bytes), true).unwrap()
}

/// Returns a secret that has only a tag and a value.
pub fn secret(tag: &str, bytes: &[u8]) -> NewSecret {
    NewSecret { tag: Tag::parse(tag).unwrap(), name: None, description: None, value: value(bytes) }
}

/// Returns a project's name.
pub fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).unwrap()
}

/// An agent of a sandbox, with the command that ends it.
struct Agent(Command);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.status();
    }
}

/// A directory with a vault that has the cheapest parameters of the format.
pub struct Sandbox {
    /// Dropped first, so that the agent ends before its directory is removed
    agent: Option<Agent>,
    directory: TempDir,
    /// The directory of checkpoints and other state
    state: TempDir,
    remembers_inside: bool,
    /// Trusts manifests before each run, as `secrets trust` would: most tests are about something
    /// else
    trusts: bool,
}

impl Sandbox {
    /// Creates a directory without a vault.
    pub fn empty() -> Self {
        reset_ignored_signals();
        Self {
            agent: None,
            directory: TempDir::new().unwrap(),
            state: TempDir::new().unwrap(),
            remembers_inside: false,
            trusts: true,
        }
    }

    /// Creates the same with the program's state in its subdirectory `state`.
    pub fn with_state_inside() -> Self {
        Self { remembers_inside: true, ..Self::empty() }
    }

    /// Returns the same sandbox, but no manifest is trusted unless the test does it.
    #[must_use]
    pub fn without_trust(self) -> Self {
        Self { trusts: false, ..self }
    }

    /// Returns the same sandbox with an agent that has the key, and without a passphrase in the
    /// environment. Tests of many commands use it to avoid key derivations.
    #[must_use]
    pub fn unlocked(mut self) -> Self {
        self.run(["unlock", "-q"]).succeeds();
        self.agent = Some(Agent(self.command(["lock", "--all", "-q"]).command));
        self
    }

    /// Trusts the nearest manifest of a directory, unless this sandbox trusts nothing.
    pub fn trust(&self, directory: &Path) {
        if self.trusts {
            trust(&self.state(), directory);
        }
    }

    /// Creates a sandbox with an empty vault.
    pub fn new() -> Self {
        let sandbox = Self::empty();
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(sandbox.vault_path());
        file.unwrap().write_all(&empty_vault()).unwrap();
        sandbox
    }

    /// Creates a sandbox with secrets in project `default`.
    pub fn with_secrets(secrets: &[(&str, &str)]) -> Self {
        let sandbox = Self::new();
        let vault = sandbox.vault();
        for (tag, text) in secrets {
            vault.create(&project("default"), secret(tag, text.as_bytes())).unwrap();
        }

        sandbox
    }

    /// Opens the vault with the library.
    pub fn vault(&self) -> Vault {
        Locked::open(&self.vault_path()).unwrap().unlock(&Remembered(passphrase())).unwrap()
    }

    pub fn vault_path(&self) -> PathBuf {
        self.path("vault.db")
    }

    /// Returns a path in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the directory of checkpoints and other state.
    pub fn state(&self) -> PathBuf {
        if self.remembers_inside { self.path("state") } else { self.state.path().to_owned() }
    }

    /// Writes a file in the sandbox.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Reads a file of the sandbox.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs the binary with the sandbox's vault, the passphrase in the environment, no terminal,
    /// and an empty stdin.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Run {
        self.command(arguments).run()
    }

    /// Prepares the same run, so that it can be changed before it starts.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Prepared {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secrets"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .env("TZ", "UTC")
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env("XDG_STATE_HOME", self.state())
            .env("SECRETS_VAULT", self.vault_path());

        if self.agent.is_none() {
            command.env("SECRETS_PASSPHRASE", PASSPHRASE);
        }

        Prepared {
            command,
            stdin: Vec::new(),
            directory: self.path(""),
            trusts: self.trusts.then(|| self.state()),
        }
    }

    /// Prepares another program that starts the binary, with the same directory and environment. It
    /// never touches the real home directory.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let ours = self.command([""; 0]).command;
        let mut command = Command::new(program);
        command.current_dir(self.path("")).env_clear().env("PATH", PATH);
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));

        command
    }
}

/// Writes the record that `secrets trust` would write, if it is missing or differs.
fn trust(state: &Path, directory: &Path) {
    let nearest = directory.ancestors().find(|above| above.join(".secrets.toml").is_file());
    let Some((above, Ok(text))) =
        nearest.map(|above| (above, std::fs::read_to_string(above.join(".secrets.toml"))))
    else {
        return;
    };

    let Ok(coverage) =
        Manifest::parse(above, &text).map(|manifest| Coverage::of(&manifest).unwrap())
    else {
        return;
    };

    let store = TrustStore::new(&state.join("secrets/trust"));
    let known = store.read(&coverage.directory()).ok().flatten();
    if known.is_none_or(|known| known.coverage != coverage) {
        // If nothing can be stored here, the test is about that.
        let _ = store.write(&TrustRecord::new(coverage));
    }
}

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

        setsid.env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                setsid.env(name, value);
            }
        }

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
struct Asked {
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

/// The directories of the programs that tests start.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Prepares git in a directory, with an identity and a home of its own, and with neither the
/// environment nor the configuration of this machine.
pub fn git(directory: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    for setting in ["user.name=me", "user.email=me@example.org", "init.defaultBranch=main"] {
        git.args(["-c", setting]);
    }

    git.args(arguments).current_dir(directory).env_clear();
    git.env("PATH", PATH).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    git
}

/// Gives programs that tests start the usual reaction to signals, even if `cargo test` was started
/// with some ignored, as by `nohup` or in a script's background job. A caught signal is reset when
/// a program starts, an ignored one is not.
pub fn reset_ignored_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored =
            mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();

        for signal in [SIGHUP, SIGINT, SIGQUIT] {
            if ignored & 1 << (signal - 1) != 0 {
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

/// A command line behind something that changes how a process begins: `env`, a shell, perl.
pub(crate) fn wrapped_in(wrapper: &[&str], prepared: &Prepared) -> Command {
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(prepared.command.get_program())
        .args(prepared.command.get_args())
        .env_clear();

    command.envs(prepared.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(prepared.command.get_current_dir().unwrap()).stdin(Stdio::null());
    command
}
