//! Paths and environment variables. Only this file reads the environment and the standard
//! directories.
//!
//! It never opens a vault. `SECRETS_PASSPHRASE` and `SECRETS_TOKEN` are read once, into wiped memory.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrets_core::model::{Invalid, ProjectName, SecretBytes};
use secrets_project::Position;
use secrets_project::git::GitEnvironment;
use secrets_project::setup::manifest::{
    EnvironmentName, MANIFEST, MAX_SIZE, Manifest, ManifestError,
};
use secrets_runtime::process;

use crate::ui::escape::clipped;
use crate::ui::input::drop_newline;

/// The project if nothing names one.
const DEFAULT_PROJECT: &str = "default";

/// The settings from the environment. An empty variable counts as not set.
pub(crate) struct Environment {
    pub(crate) vault: Option<PathBuf>,
    pub(crate) project: Option<OsString>,
    pub(crate) set_of_values: Option<OsString>,
    pub(crate) passphrase_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) token: RefCell<Option<SecretBytes>>,
    pub(crate) trust_manifest: Option<String>,
    pub(crate) passphrase: RefCell<Option<SecretBytes>>,
    pub(crate) no_color: bool,
    pub(crate) force_color: bool,
    data_directory: Option<PathBuf>,
    agent_directories: Vec<PathBuf>,
    state_directory: Option<PathBuf>,
}

/// Why a path or a project is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the vault's path is empty")]
    EmptyVaultPath,
    #[error("cannot determine the vault's path: there is no home directory")]
    NoDataDirectory,
    #[error("there is no directory for the agent's socket")]
    NoAgentDirectory,
    #[error("{origin} is not a valid project name: {why}")]
    Project { origin: String, why: Invalid },
    #[error("{origin} is not valid: {why}")]
    Environment { origin: String, why: &'static str },
    #[error("{}: {message}", place(path, *at))]
    Manifest { path: PathBuf, at: Option<Position>, message: String },
}

fn place(path: &Path, at: Option<Position>) -> String {
    match at {
        Some(at) => format!("{}:{at}", path.display()),
        None => path.display().to_string(),
    }
}

/// Returns the directories of `PATH`.
pub(crate) fn program_directories() -> Vec<PathBuf> {
    variable("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// Returns true if TZ names a time zone, or is empty, which means UTC.
pub(crate) fn has_time_zone() -> bool {
    Environment::is_set("TZ")
}

/// Returns the index of the word that the shell completes, if the shell provides it. Otherwise it
/// is the last word.
pub(crate) fn completed_word() -> Option<usize> {
    variable("_CLAP_COMPLETE_INDEX")?.to_str()?.parse().ok()
}

impl Environment {
    /// Reads the environment, once for the whole process.
    pub(crate) fn read() -> Self {
        let path = |name| variable(name).map(PathBuf::from);
        Self {
            vault: path("SECRETS_VAULT"),
            project: variable("SECRETS_PROJECT"),
            set_of_values: variable("SECRETS_ENVIRONMENT"),
            passphrase_file: path("SECRETS_PASSPHRASE_FILE"),
            key_file: path("SECRETS_KEY_FILE"),
            token_file: path("SECRETS_TOKEN_FILE"),
            token: variable("SECRETS_TOKEN").map(without_newline).into(),
            trust_manifest: variable("SECRETS_TRUST_MANIFEST")
                .map(|text| text.to_string_lossy().into_owned()),
            passphrase: variable("SECRETS_PASSPHRASE").map(without_newline).into(),
            no_color: variable("NO_COLOR").is_some(),
            force_color: variable("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            // An absolute XDG variable has priority on every Unix, including macOS. A relative one
            // is ignored.
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

    /// Returns the directory of the agents' sockets, which may not exist yet.
    pub(crate) fn agent_directory(&self) -> Result<&Path, ConfigError> {
        self.agent_directories.first().map(PathBuf::as_path).ok_or(ConfigError::NoAgentDirectory)
    }

    /// Returns the directories in which other logins of this user have their agents' sockets.
    pub(crate) fn other_agent_directories(&self) -> &[PathBuf] {
        self.agent_directories.get(1..).unwrap_or_default()
    }

    /// Returns the directory of the checkpoints, or `None` without a home directory.
    pub(crate) fn checkpoints(&self) -> Option<PathBuf> {
        self.state("anchors")
    }

    /// Returns the directory of records about `what`, or `None` without a home directory.
    pub(crate) fn state(&self, what: &str) -> Option<PathBuf> {
        self.state_directory.as_ref().map(|directory| directory.join("secrets").join(what))
    }

    /// Returns all variables, for a program that will be run.
    #[allow(clippy::disallowed_methods)] // only this file reads the environment
    pub(crate) fn inherited() -> Vec<(OsString, OsString)> {
        env::vars_os().collect()
    }

    /// Returns the address of a company's proxy for https, and the list of hosts that are reached
    /// without it. Both spellings of the variables are common; the lower-case one comes first, as in
    /// curl.
    pub(crate) fn company_proxy() -> Option<(String, String)> {
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        let text = |value: OsString| value.to_string_lossy().into_owned();
        let proxy =
            first(["https_proxy", "HTTPS_PROXY"]).or_else(|| first(["all_proxy", "ALL_PROXY"]))?;
        let bypass = first(["no_proxy", "NO_PROXY"]).map(text).unwrap_or_default();
        Some((text(proxy), bypass))
    }

    /// Returns the file with the certificates that programs trust: that of a variable, or the system's.
    pub(crate) fn certificates() -> Option<PathBuf> {
        const SYSTEM: [&str; 5] = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
            "/usr/local/share/certs/ca-root-nss.crt",
        ];

        let named = variable("SSL_CERT_FILE").map(PathBuf::from);
        named.or_else(|| SYSTEM.into_iter().map(PathBuf::from).find(|path| path.is_file()))
    }

    /// Returns a variable, for a program that gets only some of them.
    pub(crate) fn of(name: &str) -> Option<OsString> {
        variable(name)
    }

    /// Returns true if a variable is set, also to an empty value.
    #[allow(clippy::disallowed_methods)] // here an empty variable has a meaning
    pub(crate) fn is_set(name: &str) -> bool {
        env::var_os(name).is_some()
    }

    /// Returns a variable of the environment, for a program that gets a changed one.
    pub(crate) fn text_of(name: &str) -> Option<String> {
        variable(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// Returns the settings of git in the environment.
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

    /// Returns the name of the working directory.
    pub(crate) fn directory_name() -> Option<String> {
        env::current_dir().ok()?.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// Returns the path of this program, to start an agent of the same version even if the file was
    /// replaced. Without /proc it is the path that started us.
    pub(crate) fn executable() -> PathBuf {
        let running = PathBuf::from("/proc/self/exe");
        if running.exists() {
            return running;
        }

        let started = process::executable_path().and_then(|path| std::path::absolute(path).ok());
        started.filter(|path| path.exists()).or_else(|| env::current_exe().ok()).unwrap_or(running)
    }

    /// Returns the vault's path: `--vault`, `SECRETS_VAULT`, or the default in the platform's data
    /// directory.
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

    /// Returns the project of `SECRETS_PROJECT`.
    pub(crate) fn project(&self) -> Result<Option<ProjectName>, ConfigError> {
        self.project
            .as_ref()
            .map(|name| named(&name.to_string_lossy(), "SECRETS_PROJECT"))
            .transpose()
    }

    /// Returns the environment of `SECRETS_ENVIRONMENT`.
    pub(crate) fn environment(&self) -> Result<Option<EnvironmentName>, ConfigError> {
        let Some(name) = &self.set_of_values else { return Ok(None) };
        let name = name.to_string_lossy();
        let origin = || format!("SECRETS_ENVIRONMENT=`{name}`");
        name.parse().map(Some).map_err(|why| ConfigError::Environment { origin: origin(), why })
    }

    /// Returns the project if nothing names one.
    pub(crate) fn default_project() -> Result<ProjectName, ConfigError> {
        named(DEFAULT_PROJECT, "the default")
    }

    /// Reads the nearest `.secrets.toml` from the working directory upwards. Calls `warn` for each
    /// file that was ignored.
    pub(crate) fn manifest(warn: &dyn Fn(&str)) -> Result<Option<Manifest>, ConfigError> {
        manifest_directory(warn).map(|directory| Self::read_manifest(&directory)).transpose()
    }

    /// Returns the directory of the nearest manifest, relative to the working directory.
    pub(crate) fn manifest_place() -> Option<PathBuf> {
        manifest_directory(&|_| {})
    }

    /// Reads the manifest of a directory. Returns `None` if it has none or one of another user.
    pub(crate) fn manifest_of(directory: &Path) -> Result<Option<Manifest>, ConfigError> {
        let is_ours = manifest_in(directory) == Some(true);
        is_ours.then(|| Self::read_manifest(directory)).transpose()
    }

    fn read_manifest(directory: &Path) -> Result<Manifest, ConfigError> {
        let path = directory.join(MANIFEST);
        let failed = |at, message| ConfigError::Manifest { path: path.clone(), at, message };
        let unreadable =
            |error: std::io::Error| failed(None, format!("cannot read the file: {error}"));
        let mut text = Vec::new();
        let file = fs::File::open(&path).map_err(unreadable)?;

        file.take(MAX_SIZE + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_SIZE {
            return Err(failed(None, "the file is larger than 1 MiB".into()));
        }

        let text =
            String::from_utf8(text).map_err(|_| failed(None, "the file is not UTF-8".into()))?;

        // The message contains keys and paths, which may be as long as the file.
        let refused = |error: ManifestError| failed(error.at, clipped(&error.message, 400));
        Manifest::parse(directory, &text).map_err(refused)
    }
}

/// Removes one trailing newline, like for a file, because a secret from an orchestrator may end
/// with one if `echo` wrote it.
fn without_newline(text: OsString) -> SecretBytes {
    let mut bytes = SecretBytes::from_vec(text.into_vec());
    drop_newline(&mut bytes);
    bytes
}

// Only this function reads variables of the environment.
#[allow(clippy::disallowed_methods)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the directories for the agents' sockets; the first one is used. They are
/// `$XDG_RUNTIME_DIR/secrets`, the directory that this variable usually names, because cron and
/// `su` do not set it, and one in the state directory. A runtime directory of another user is
/// omitted, because `sudo -E` passes on the caller's.
fn agent_directories(runtime: Option<PathBuf>, state: Option<PathBuf>) -> Vec<PathBuf> {
    let me = rustix::process::geteuid().as_raw();
    let ours = |path: &PathBuf| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|found| found.uid() == me)
    };

    let default = PathBuf::from(format!("/run/user/{me}"));
    let runtimes = runtime.into_iter().chain([default]).filter(ours);
    let mut directories: Vec<PathBuf> =
        runtimes.chain(state).map(|directory| directory.join("secrets")).collect();
    directories.dedup();

    directories
}

/// Returns `$XDG_STATE_HOME` or the platform's state directory. A directory of another user is
/// ignored: if root created records in it for a user, they would also lock that user out.
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

/// Returns the directory of the nearest manifest, from the working directory upwards, as a relative
/// path: empty, or `..` and so on. Ignores a manifest of another user, because a user who can write
/// to a directory above ours could otherwise choose what our values are used for.
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

/// Returns true if a directory has a manifest of ours, and false if it has one of another user.
/// Both a symbolic link and the file that it names have to be ours.
fn manifest_in(directory: &Path) -> Option<bool> {
    let me = rustix::process::geteuid().as_raw();
    let path = directory.join(MANIFEST);
    let (name, file) = (fs::symlink_metadata(&path).ok()?, fs::metadata(&path).ok()?);
    file.is_file().then_some(name.uid() == me && file.uid() == me)
}
