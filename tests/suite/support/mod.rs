//! Tools that several test files share. This file has the sandbox: a directory with its own vault.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use terminal_secrets::setup::Manifest;
use terminal_secrets::setup::trust::{Coverage, TrustRecord, TrustStore};
use terminal_secrets::vault::{Locked, Vault};

pub use programs::{PATH, git};
use programs::{environment, reset_ignored_signals};
pub use run::{Prepared, Run, wrapped_in};
use values::empty_vault;
pub use values::{PASSPHRASE, Remembered, TOKEN, passphrase, project, secret, value};

pub mod backends;
pub mod contract;
pub mod faults;
pub mod files;
pub mod programs;
pub mod random;
pub mod remote;
pub mod repository;
#[macro_use]
mod run;
pub mod served;
pub mod server;
pub mod specimen;
pub mod terminal;
pub mod traces;
pub mod values;

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

    /// Runs git in a directory of the sandbox and returns its output.
    #[track_caller]
    pub fn git(&self, directory: &str, arguments: &[&str]) -> String {
        let output = git(&self.path(directory), &self.path(""), arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");

        String::from_utf8(output.stdout).unwrap()
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

        Prepared::new(command, self.path(""), self.trusts.then(|| self.state()))
    }

    /// Prepares another program that starts the binary, with the same directory and environment. It
    /// never touches the real home directory.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let ours = self.command([""; 0]).command;
        let mut command = Command::new(program);
        command.current_dir(self.path("")).env_clear().env("PATH", PATH);
        command.envs(environment(&ours));

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
