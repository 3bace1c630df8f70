//! Where things are: the only reader of the environment and of directories.
//!
//! It never opens a vault. `SECRETS_PASSPHRASE` is taken once, into wiped memory.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::git::GitEnvironment;
use crate::model::{Invalid, ProjectName, SecretBytes};
use crate::process;
use crate::setup::manifest::{LARGEST, MANIFEST, Manifest, ManifestError, TextPosition};
use crate::ui::escape::clipped;
use crate::ui::input::drop_newline;

/// The project where nothing names one.
const DEFAULT_PROJECT: &str = "default";

/// What the environment says. An empty variable says nothing.
pub(crate) struct Environment {
    pub(crate) vault: Option<PathBuf>,
    pub(crate) project: Option<OsString>,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) trust_manifest: Option<String>,
    pub(crate) passphrase: RefCell<Option<SecretBytes>>,
    pub(crate) no_color: bool,
    pub(crate) force_color: bool,
    data_directory: Option<PathBuf>,
    agent_directories: Vec<PathBuf>,
    state_directory: Option<PathBuf>,
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
    Manifest { path: PathBuf, at: Option<TextPosition>, message: String },
}

fn place(path: &Path, at: Option<TextPosition>) -> String {
    match at {
        Some(at) => format!("{}:{}:{}", path.display(), at.line, at.column),
        None => path.display().to_string(),
    }
}

/// Directories of programs.
pub(crate) fn program_directories() -> Vec<PathBuf> {
    variable("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// True if TZ names a time zone, or is empty, which means UTC.
#[allow(clippy::disallowed_methods)] // an empty variable says something here
pub(crate) fn has_time_zone() -> bool {
    env::var_os("TZ").is_some()
}

/// The number of the word that a shell completes, if it says so: else that is the last one.
pub(crate) fn completed_word() -> Option<usize> {
    variable("_CLAP_COMPLETE_INDEX")?.to_str()?.parse().ok()
}

impl Environment {
    /// Reads it, once for the whole process.
    pub(crate) fn read() -> Self {
        let path = |name| variable(name).map(PathBuf::from);
        Self {
            vault: path("SECRETS_VAULT"),
            project: variable("SECRETS_PROJECT"),
            passphrase_file: path("SECRETS_PASSPHRASE_FILE"),
            trust_manifest: variable("SECRETS_TRUST_MANIFEST")
                .map(|text| text.to_string_lossy().into_owned()),
            passphrase: variable("SECRETS_PASSPHRASE").map(passphrase).into(),
            no_color: variable("NO_COLOR").is_some(),
            force_color: variable("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            // An absolute XDG variable wins on every Unix, macOS too; where it is not absolute it is ignored.
            data_directory: path("XDG_DATA_HOME")
                .filter(|path| path.is_absolute())
                .or_else(dirs::data_dir),
            agent_directories: agent_directories(
                path("XDG_RUNTIME_DIR"),
                state_directory(path("XDG_STATE_HOME")),
            ),
            state_directory: state_directory(path("XDG_STATE_HOME")),
        }
    }

    /// The directory of the agents' sockets, which may not exist yet.
    pub(crate) fn agent_directory(&self) -> Result<&Path, ConfigError> {
        self.agent_directories.first().map(PathBuf::as_path).ok_or(ConfigError::NoAgentDirectory)
    }

    /// The directories in which other logins of this user have their agents' sockets.
    pub(crate) fn other_agent_directories(&self) -> &[PathBuf] {
        self.agent_directories.get(1..).unwrap_or_default()
    }

    /// Where what was last seen of vaults is written down; nowhere without a home directory.
    pub(crate) fn checkpoints(&self) -> Option<PathBuf> {
        self.state("anchors")
    }

    /// Returns the directory of records about `what`; `None` without a home directory.
    pub(crate) fn state(&self, what: &str) -> Option<PathBuf> {
        self.state_directory.as_ref().map(|directory| directory.join("secrets").join(what))
    }

    /// All variables, for a program that is to be run.
    #[allow(clippy::disallowed_methods)] // the one place where the environment is read
    pub(crate) fn inherited() -> Vec<(OsString, OsString)> {
        env::vars_os().collect()
    }

    /// What the environment says about git's files.
    pub(crate) fn git() -> GitEnvironment {
        let path = |name| variable(name).map(PathBuf::from);
        let paths =
            |name| variable(name).map(|list| env::split_paths(&list).collect()).unwrap_or_default();
        let home = path("HOME").or_else(dirs::home_dir);
        let user = path("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let user = user.map(|directory| directory.join("git"));

        let no_system =
            variable("GIT_CONFIG_NOSYSTEM").is_some_and(|value| value != "0" && value != "false");
        let system = path("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into());
        let mut configs = if no_system { Vec::new() } else { vec![system] };

        match path("GIT_CONFIG_GLOBAL") {
            Some(global) => configs.push(global),
            None => {
                configs.extend(user.iter().map(|directory| directory.join("config")));
                configs.extend(home.iter().map(|home| home.join(".gitconfig")));
            }
        }

        GitEnvironment {
            git_dir: path("GIT_DIR"),
            common_dir: path("GIT_COMMON_DIR"),
            work_tree: path("GIT_WORK_TREE"),
            index_file: path("GIT_INDEX_FILE"),
            object_directory: path("GIT_OBJECT_DIRECTORY"),
            alternates: paths("GIT_ALTERNATE_OBJECT_DIRECTORIES"),
            ceilings: paths("GIT_CEILING_DIRECTORIES"),
            excludes: user.map(|directory| directory.join("ignore")),
            home,
            configs,
        }
    }

    /// The name of the working directory.
    pub(crate) fn directory_name() -> Option<String> {
        env::current_dir().ok()?.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// This program, to start an agent of the same version even after the file was replaced. Without /proc it is the path
    /// by which we were started.
    pub(crate) fn executable() -> PathBuf {
        let running = PathBuf::from("/proc/self/exe");
        if running.exists() {
            return running;
        }

        let started = process::started_as().and_then(|path| std::path::absolute(path).ok());
        started.filter(|path| path.exists()).or_else(|| env::current_exe().ok()).unwrap_or(running)
    }

    /// The vault's path: `--vault`, `SECRETS_VAULT`, or its place in the platform's data directory.
    pub(crate) fn vault_path(&self, option: Option<&Path>) -> Result<PathBuf, ConfigError> {
        if let Some(path) = option {
            return if path.as_os_str().is_empty() {
                Err(ConfigError::EmptyVaultPath)
            } else {
                Ok(path.to_owned())
            };
        }

        match (&self.vault, &self.data_directory) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(directory)) => Ok(directory.join("secrets").join("vault.db")),
            (None, None) => Err(ConfigError::NoDataDirectory),
        }
    }

    /// The project of `SECRETS_PROJECT`.
    pub(crate) fn project(&self) -> Result<Option<ProjectName>, ConfigError> {
        self.project
            .as_ref()
            .map(|name| named(&name.to_string_lossy(), "SECRETS_PROJECT"))
            .transpose()
    }

    /// The project where nothing names one.
    pub(crate) fn default_project() -> Result<ProjectName, ConfigError> {
        named(DEFAULT_PROJECT, "the default")
    }

    /// The nearest `.secrets.toml` from the working directory upwards. What was ignored on the way is told through `warn`.
    pub(crate) fn manifest(warn: &dyn Fn(&str)) -> Result<Option<Manifest>, ConfigError> {
        manifest_directory(warn).map(|directory| Self::read_manifest(&directory)).transpose()
    }

    /// Returns the directory of the nearest manifest, seen from the working directory.
    pub(crate) fn manifest_place() -> Option<PathBuf> {
        manifest_directory(&|_| {})
    }

    /// Reads the manifest of a directory. Returns `None` if it has none, or another user's.
    pub(crate) fn manifest_of(directory: &Path) -> Result<Option<Manifest>, ConfigError> {
        let is_ours = manifest_in(directory) == Some(true);
        is_ours.then(|| Self::read_manifest(directory)).transpose()
    }

    fn read_manifest(directory: &Path) -> Result<Manifest, ConfigError> {
        let path = directory.join(MANIFEST);
        let failed = |at, message| ConfigError::Manifest { path: path.clone(), at, message };
        let unreadable = |error: std::io::Error| failed(None, format!("cannot be read: {error}"));
        let mut text = Vec::new();
        let file = fs::File::open(&path).map_err(unreadable)?;

        file.take(LARGEST + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > LARGEST {
            return Err(failed(None, "is larger than 1 MiB".into()));
        }

        let text = String::from_utf8(text).map_err(|_| failed(None, "is not UTF-8".into()))?;

        // It repeats keys and paths, which may be as long as the file.
        let refused = |error: ManifestError| failed(error.at, clipped(&error.message, 400));
        Manifest::parse(directory, &text).map_err(refused)
    }
}

/// Without one trailing newline, as that of a file: a secret of an orchestrator that `echo` made has one.
fn passphrase(text: OsString) -> SecretBytes {
    let mut bytes = SecretBytes::from_vec(text.into_vec());
    drop_newline(&mut bytes);
    bytes
}

// The one place where the environment is read.
#[allow(clippy::disallowed_methods)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// `$XDG_RUNTIME_DIR/secrets`; then, because cron and `su` do not set it, the directory that it would name; then one in the
/// state directory. The first one is used. A runtime directory that is not ours is left out: `sudo -E` passes the caller's.
fn agent_directories(runtime: Option<PathBuf>, state: Option<PathBuf>) -> Vec<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let ours = |path: &PathBuf| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|found| found.uid() == me)
    };

    let usual = PathBuf::from(format!("/run/user/{me}"));
    let runtimes = runtime.into_iter().chain([usual]).filter(ours);
    let mut directories: Vec<PathBuf> =
        runtimes.chain(state).map(|directory| directory.join("secrets")).collect();
    directories.dedup();

    directories
}

/// `$XDG_STATE_HOME` or the platform's. One that somebody else may exchange is passed over: made by root for a user, what is
/// in it would also lock that one out.
fn state_directory(named: Option<PathBuf>) -> Option<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let ours_or_new = |path: &PathBuf| {
        path.ancestors().find_map(|path| fs::metadata(path).ok()).is_some_and(|f| f.uid() == me)
    };

    named
        .filter(|path| path.is_absolute())
        .or_else(dirs::state_dir)
        .or_else(dirs::data_dir)
        .filter(ours_or_new)
}

fn named(name: &str, origin: &str) -> Result<ProjectName, ConfigError> {
    ProjectName::parse(name)
        .map_err(|why| ConfigError::Project { origin: format!("{origin}=`{name}`"), why })
}

/// Where the nearest manifest is, from the working directory upwards, seen from there: empty, or `..` and so on. Another
/// user's is passed over: whoever can write to a directory above ours could otherwise choose what our values are used for.
fn manifest_directory(warn: &dyn Fn(&str)) -> Option<PathBuf> {
    let mut directory = PathBuf::new();
    for _ in env::current_dir().ok()?.ancestors() {
        match manifest_in(&directory) {
            Some(true) => return Some(directory),
            Some(false) => {
                let path = directory.join(MANIFEST);
                warn(&format!("`{}` belongs to another user and is ignored", path.display()));
            }
            None => {}
        }

        directory.push("..");
    }

    None
}

/// Returns true if a directory has a manifest of ours, and false if it has one of somebody else's. A link counts as its
/// owner's, whomever the file behind it belongs to.
fn manifest_in(directory: &Path) -> Option<bool> {
    let me = rustix::process::geteuid().as_raw();
    let path = directory.join(MANIFEST);
    let (name, file) = (fs::symlink_metadata(&path).ok()?, fs::metadata(&path).ok()?);
    file.is_file().then_some(name.uid() == me && file.uid() == me)
}
