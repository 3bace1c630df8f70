//! Databases of a cluster, and statements of its superuser.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::installation::Installation;
use crate::session::Session;

/// The password of the role `app`.
pub(crate) const APP_PASSWORD: &str = "app-password";

/// A fresh database that belongs to the role `app`. It is dropped with this value.
pub struct Database {
    superuser: Superuser,
    name: String,
    port: u16,
    ca: PathBuf,
    role: Role,
}

/// The role of a database's URL.
pub(crate) enum Role {
    /// `app`, with a password
    App,
    /// `device`, with a certificate, which a pooler accepts for `app`
    Device { cert: PathBuf, key: PathBuf },
}

impl Database {
    pub(crate) fn create(
        superuser: Superuser,
        name: String,
        (port, ca, role): (u16, PathBuf, Role),
    ) -> Self {
        let statement = format!("create database {name} owner app");
        superuser.setup(&statement).unwrap();
        Self { superuser, name, port, ca, role }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the URL of the database for its owner, without a password.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// Returns the same URL with another port, for example that of a relay.
    pub fn url_at(&self, port: u16) -> String {
        self.url_of(&[port])
    }

    /// Returns the same URL with several hosts, for example the primary and its standbys.
    pub fn url_of(&self, ports: &[u16]) -> String {
        let (name, ca) = (&self.name, self.ca.display());
        let hosts: Vec<String> = ports.iter().map(|port| format!("localhost:{port}")).collect();
        let hosts = hosts.join(",");
        match &self.role {
            Role::App => format!("postgres://app@{hosts}/{name}?sslrootcert={ca}"),
            Role::Device { cert, key } => format!(
                "postgres://device@{hosts}/{name}?sslrootcert={ca}&sslcert={}&sslkey={}",
                cert.display(),
                key.display()
            ),
        }
    }

    /// Returns the password of the role `app`.
    #[allow(clippy::unused_self)] // callers have a database, not the constant
    pub fn password(&self) -> &'static str {
        APP_PASSWORD
    }

    /// Runs a statement as the superuser. Returns the rows as `psql` prints them, with `|` between
    /// columns and without the last line break. Panics if the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|error| panic!("`{statement}` fails: {error}"))
    }

    /// Begins a session of the superuser, for many statements.
    pub fn session(&self) -> Session {
        Session::start(self.superuser.session(&self.name))
    }

    /// Runs a statement as the superuser. Returns the rows, or the error message.
    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        self.superuser.run(&self.name, statement)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have been stopped.
        let _ =
            self.superuser.setup(&format!("drop database if exists {} with (force)", self.name));
    }
}

/// The superuser of a cluster, who connects through the Unix socket.
#[derive(Clone)]
pub(crate) struct Superuser {
    pub(crate) installation: Installation,
    /// The directory of the socket
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
}

impl Superuser {
    /// Runs a statement in a database.
    pub(crate) fn run(&self, database: &str, statement: &str) -> Result<String, String> {
        finish(self.psql(database, statement))
    }

    /// Runs a statement in the database `postgres` that does not wait for a synchronous standby.
    pub(crate) fn setup(&self, statement: &str) -> Result<String, String> {
        let mut psql = self.psql("postgres", statement);
        psql.env("PGOPTIONS", "-c synchronous_commit=local");
        finish(psql)
    }

    fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = self.session(database);
        psql.args(["-c", statement]);
        psql
    }

    /// Returns a `psql` that reads statements from its standard input.
    fn session(&self, database: &str) -> Command {
        let mut psql = self.installation.command("psql");
        psql.env("PGCONNECT_TIMEOUT", "10");
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        psql.arg("-h").arg(&self.directory).args(["-p", &self.port.to_string()]);
        psql
    }
}

fn finish(mut psql: Command) -> Result<String, String> {
    let output = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }

    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}
