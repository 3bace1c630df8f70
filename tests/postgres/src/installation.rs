//! The programs of PostgreSQL on this machine, and the user that runs them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The longest base of a cluster's directory. A socket's path has at most 103 bytes on macOS.
const LONGEST_BASE: usize = 60;

/// A directory with the programs of PostgreSQL.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    programs: PathBuf,
    /// The user and group that run the programs, if we are root. PostgreSQL refuses to run as root.
    owner: Option<(u32, u32)>,
}

impl Installation {
    /// Returns the installation of this machine, or none if it has no server.
    #[allow(clippy::disallowed_methods)] // tests have no `config::Environment`
    pub(crate) fn find() -> Option<Self> {
        let programs = match std::env::var_os("SECRETS_TEST_POSTGRES_BIN") {
            Some(directory) => {
                let directory = PathBuf::from(directory);
                let message = "SECRETS_TEST_POSTGRES_BIN has no `initdb` and `postgres`";
                assert!(has_server(&directory), "{message}");
                directory
            }
            None => newest_package().or_else(configured)?,
        };

        Some(Self { programs, owner: owner() })
    }

    /// Returns a command that runs a program as the owner of the cluster.
    ///
    /// The environment is empty, so that no `PG…` variable of the tests changes a result.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        command.stdin(Stdio::null()).current_dir("/");
        self.as_owner(&mut command);
        command
    }

    /// Lets a command run as the owner of the cluster.
    pub(crate) fn as_owner(&self, command: &mut Command) {
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
    }

    /// Runs a program to its end, and returns what it printed. Panics if the program fails.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> String {
        let output = self.command(program).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{program}` failed: {errors}");

        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Creates the directory of a cluster, which only its owner can read.
    pub(crate) fn create_directory(&self) -> PathBuf {
        let base = std::env::temp_dir();
        let is_short = base.as_os_str().len() <= LONGEST_BASE;
        let is_usable = is_short && (self.owner.is_none() || is_traversable(&base));
        let base = if is_usable { base } else { PathBuf::from("/tmp") };

        let builder = tempfile::Builder::new().prefix("secrets-postgres-").tempdir_in(base);
        let directory = builder.unwrap().keep();
        self.give(&directory);
        directory
    }

    /// Makes a file or directory the property of the user that runs the server.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

fn has_server(directory: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| directory.join(program).is_file())
}

/// Returns the programs of the newest version that Debian's packages have installed.
fn newest_package() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version_of = |name: &OsStr| name.to_str().and_then(|name| name.parse::<u32>().ok());

    versions
        .filter_map(|entry| Some((version_of(&entry.file_name())?, entry.path().join("bin"))))
        .filter(|(_, directory)| has_server(directory))
        .max_by_key(|(version, _)| *version)
        .map(|(_, directory)| directory)
}

/// Returns the programs of the installation whose `pg_config` is on the path.
fn configured() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end());
    has_server(&directory).then_some(directory)
}

/// Returns the user and group `postgres` if this process is root.
fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }

    let id = |option| {
        let output = Command::new("id").args([option, "postgres"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim_end().parse::<u32>().expect("root needs a user `postgres` to run PostgreSQL")
    };

    Some((id("-u"), id("-g")))
}

/// Returns true if every user can reach the entries of a directory.
fn is_traversable(directory: &Path) -> bool {
    directory.ancestors().all(|path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    })
}
