//! Where things are: the only reader of the environment and of directories.
//!
//! It never opens a vault. `SECRETS_PASSPHRASE` is taken once, into wiped memory.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::{Invalid, ProjectName, SecretBytes};

/// The file that names a directory's project.
const MANIFEST: &str = ".secrets.toml";
/// The project where nothing names one.
const DEFAULT_PROJECT: &str = "default";

/// What the environment says. An empty variable says nothing.
pub(crate) struct Environment {
    pub(crate) vault: Option<PathBuf>,
    pub(crate) project: Option<OsString>,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) passphrase: RefCell<Option<SecretBytes>>,
    pub(crate) no_color: bool,
    pub(crate) force_color: bool,
    data_directory: Option<PathBuf>,
    agent_directory: Option<PathBuf>,
}

/// Why a place or a project is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the vault's path is empty")]
    EmptyVaultPath,
    #[error("cannot tell where the vault is: there is no home directory")]
    NoDataDirectory,
    #[error("there is no directory for the agent's socket")]
    NoAgentDirectory,
    #[error("{origin} is no project name: {why}")]
    Project { origin: String, why: Invalid },
    #[error("{}: {message}", place(path, *at))]
    Manifest { path: PathBuf, at: Option<(usize, usize)>, message: String },
}

fn place(path: &Path, at: Option<(usize, usize)>) -> String {
    match at {
        Some((line, column)) => format!("{}:{line}:{column}", path.display()),
        None => path.display().to_string(),
    }
}

impl Environment {
    /// Reads it, once for the whole process.
    pub(crate) fn read() -> Self {
        let path = |name| variable(name).map(PathBuf::from);
        Self {
            vault: path("SECRETS_VAULT"),
            project: variable("SECRETS_PROJECT"),
            passphrase_file: path("SECRETS_PASSPHRASE_FILE"),
            passphrase: variable("SECRETS_PASSPHRASE").map(|text| SecretBytes::from_vec(text.into_vec())).into(),
            no_color: variable("NO_COLOR").is_some(),
            force_color: variable("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            // An absolute XDG variable wins on every Unix, macOS too; where it is not absolute it is ignored.
            data_directory: path("XDG_DATA_HOME").filter(|path| path.is_absolute()).or_else(dirs::data_dir),
            agent_directory: agent_directory(path("XDG_RUNTIME_DIR"), path("XDG_STATE_HOME")),
        }
    }

    /// The directory of the agent's socket; it may not be there yet.
    pub(crate) fn agent_directory(&self) -> Result<&Path, ConfigError> {
        self.agent_directory.as_deref().ok_or(ConfigError::NoAgentDirectory)
    }

    /// All variables, for a program that is to be run.
    #[allow(clippy::disallowed_methods)] // the one place where the environment is read
    pub(crate) fn inherited() -> Vec<(OsString, OsString)> {
        env::vars_os().collect()
    }

    /// This program, to start an agent of the same version even after the file was replaced.
    pub(crate) fn executable() -> PathBuf {
        let running = PathBuf::from("/proc/self/exe");
        if running.exists() { running } else { env::current_exe().unwrap_or(running) }
    }

    /// The vault's path: `--vault`, `SECRETS_VAULT`, or its place in the platform's data directory.
    pub(crate) fn vault_path(&self, option: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if let Some(path) = option {
            return if path.as_os_str().is_empty() { Err(ConfigError::EmptyVaultPath) } else { Ok(path.to_owned()) };
        }
        match (&self.vault, &self.data_directory) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(directory)) => Ok(directory.join("secrets").join("vault.db")),
            (None, None) => Err(ConfigError::NoDataDirectory),
        }
    }

    /// The current project: `SECRETS_PROJECT`, the nearest `.secrets.toml`, or `default`. What was ignored on the way
    /// is told through `warn`.
    pub(crate) fn project(&self, warn: &dyn Fn(&str)) -> Result<ProjectName, ConfigError> {
        if let Some(name) = &self.project {
            return named(&name.to_string_lossy(), "SECRETS_PROJECT");
        }
        let from_manifest = manifest_path(warn).map(|path| project_of(&path)).transpose()?.flatten();
        from_manifest.map_or_else(|| named(DEFAULT_PROJECT, "the default"), Ok)
    }
}

// The one place where the environment is read.
#[allow(clippy::disallowed_methods)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// `$XDG_RUNTIME_DIR/secrets`; where that is not said, as in cron, the directory that it would name; else one in the state
/// directory. A runtime directory that is not ours is passed over: `sudo -E` leaves the caller's.
fn agent_directory(runtime: Option<PathBuf>, state: Option<PathBuf>) -> Option<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let ours = |path: &PathBuf| path.is_absolute() && fs::metadata(path).is_ok_and(|found| found.uid() == me);
    let usual = || PathBuf::from(format!("/run/user/{me}"));
    let runtime = runtime.filter(ours).or_else(|| Some(usual()).filter(ours));
    let state = || state.filter(|path| path.is_absolute()).or_else(dirs::state_dir).or_else(dirs::data_dir);
    // Nor is a state directory that somebody else may exchange: made by root for a user, it would also lock that one out.
    let ours_or_new =
        |path: &PathBuf| path.ancestors().find_map(|path| fs::metadata(path).ok()).is_some_and(|f| f.uid() == me);
    runtime.or_else(|| state().filter(ours_or_new)).map(|directory| directory.join("secrets"))
}

fn named(name: &str, origin: &str) -> Result<ProjectName, ConfigError> {
    ProjectName::parse(name).map_err(|why| ConfigError::Project { origin: format!("{origin}=`{name}`"), why })
}

/// The nearest manifest from the working directory upwards. Another user's is passed over: whoever can write to a
/// directory above ours could otherwise choose the project that our values come from.
fn manifest_path(warn: &dyn Fn(&str)) -> Option<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    for directory in env::current_dir().ok()?.ancestors() {
        let path = directory.join(MANIFEST);
        // A link counts as its owner's, whomever the file behind it belongs to.
        let owners = fs::symlink_metadata(&path).and_then(|name| fs::metadata(&path).map(|file| (name, file)));
        match owners {
            Ok((name, file)) if file.is_file() && name.uid() == me && file.uid() == me => return Some(path),
            Ok((_, file)) if file.is_file() => {
                warn(&format!("`{}` belongs to another user and is ignored", path.display()));
            }
            _ => {}
        }
    }
    None
}

/// The one key that is read so far. Others belong to the commands that will read them.
#[derive(Deserialize)]
struct Manifest {
    project: Option<toml::Spanned<String>>,
}

fn project_of(path: &Path) -> Result<Option<ProjectName>, ConfigError> {
    let failed = |at, message| ConfigError::Manifest { path: path.to_owned(), at, message };
    let text = fs::read_to_string(path).map_err(|error| failed(None, format!("cannot be read: {error}")))?;
    let manifest: Manifest = toml::from_str(&text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        failed(error.span().map(|span| line_and_column(&text, span.start)), message)
    })?;
    let Some(project) = manifest.project else { return Ok(None) };
    let at = line_and_column(&text, project.span().start);
    let parsed = ProjectName::parse(project.get_ref());
    parsed.map(Some).map_err(|why| failed(Some(at), format!("`{}` is no project name: {why}", project.get_ref())))
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    (memchr::memchr_iter(b'\n', before).count() + 1, before.len() - line_start + 1)
}
