//! A PostgreSQL cluster with TLS, a few roles, and standbys.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::certificates::{Certificates, SERVER_CERT, SERVER_KEY};
use crate::database::{APP_PASSWORD, Database, Role, Superuser};
use crate::installation::Installation;
use crate::pooler::Pooler;
use crate::postmaster::{Postmaster, wait_for};
use crate::watcher::Watcher;

/// The password of the role `legacy`.
const LEGACY_PASSWORD: &str = "legacy-password";

/// The settings of every cluster. `fsync` is on because tests check which data survives a crash.
const CONFIGURATION: &str = "\
listen_addresses = '127.0.0.1'
max_connections = 250
shared_buffers = 64MB
fsync = on
wal_level = replica
max_wal_senders = 8
ssl = on
";

/// The rules for connections (`pg_hba.conf`). The first matching line decides.
const AUTHENTICATION: &str = "\
local     all         postgres                trust
local     replication postgres                trust
hostssl   all         device    127.0.0.1/32  cert
hostnossl all         plain     127.0.0.1/32  trust
host      all         legacy    127.0.0.1/32  password
host      all         app       127.0.0.1/32  scram-sha-256
";

/// The options of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More lines for `postgresql.conf`. They replace the default settings of the same name.
    pub lines: Vec<String>,
}

impl Options {
    /// Adds a line to `postgresql.conf`, for example `log_statement = 'all'`.
    #[must_use]
    pub fn with_line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }
}

/// A PostgreSQL cluster in a temporary directory, on a private port of 127.0.0.1.
///
/// The server stops when this value is dropped or this process ends, even by SIGKILL. Only the user
/// of this process can read the directory. Roles:
///
/// - `postgres`: the superuser, only through the Unix socket
/// - `app`: a SCRAM password, with and without TLS
/// - `device`: the client certificate, only with TLS
/// - `plain`: no password, only without TLS
/// - `legacy`: a password in clear text, with and without TLS
pub struct Cluster {
    pooler: Option<Pooler>,
    superuser: Superuser,
    certificates: Certificates,
    postmaster: Postmaster,
}

impl Cluster {
    /// Returns true if PostgreSQL is installed. Panics if it is not, and the environment variable
    /// `CI` is set.
    #[allow(clippy::disallowed_methods)] // tests have no `config::Environment`
    pub fn is_available() -> bool {
        let is_installed = Installation::find().is_some();
        assert!(is_installed || std::env::var_os("CI").is_none(), "CI needs PostgreSQL");
        is_installed
    }

    /// Returns the cluster that all tests of this process share, and starts it on the first call.
    /// Returns none if PostgreSQL is not installed. Panics in that case if `CI` is set.
    ///
    /// With `SECRETS_TEST_POOLER` in the environment, PgBouncer stands in front of it.
    #[allow(clippy::disallowed_methods)] // tests have no `config::Environment`
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();

        let start = || {
            Self::is_available().then(|| {
                let cluster = Self::start(&Options::default());
                let is_pooled = std::env::var_os("SECRETS_TEST_POOLER").is_some();
                if is_pooled { cluster.pooled() } else { cluster }
            })
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// Starts a cluster for one test. Panics if PostgreSQL is not installed.
    pub fn start(options: &Options) -> Self {
        let installation = Installation::find().expect("PostgreSQL is not installed");
        let directory = installation.create_directory();
        let watcher = Watcher::start(&directory);

        let data = directory.join("data");
        let arguments = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        let mut arguments = arguments.map(PathBuf::from).to_vec();
        arguments.extend([PathBuf::from("-D"), data]);
        installation.run("initdb", &arguments);

        let certificates = Certificates::create(&installation, &directory);
        let cluster = Self::launch(installation, &directory, watcher, certificates, options);
        cluster.create_roles();
        cluster
    }

    /// Puts PgBouncer in front of this cluster. [`Cluster::port`] and the URLs of databases are then its.
    #[must_use]
    pub fn pooled(mut self) -> Self {
        let Superuser { installation, directory, port } = &self.superuser;
        self.pooler = Some(Pooler::start(installation, directory, &self.certificates, *port));
        self
    }

    /// Starts a standby that streams from this cluster, and waits until it has caught up.
    ///
    /// The name is its `application_name`, for use in `synchronous_standby_names`. The standby has
    /// the same certificates. It does not inherit the options of this cluster.
    #[must_use]
    pub fn standby(&self, name: &str, options: &Options) -> Self {
        let installation = self.superuser.installation.clone();
        let directory = installation.create_directory();
        let watcher = Watcher::start(&directory);

        let (socket, port) = (self.superuser.directory.display(), self.superuser.port);
        let source = format!("host={socket} port={port} user=postgres application_name={name}");
        let arguments = ["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", &source, "-D"];
        let mut arguments = arguments.map(PathBuf::from).to_vec();
        arguments.push(directory.join("data"));
        installation.run("pg_basebackup", &arguments);

        let certificates = self.certificates.copy_to(&installation, &directory);
        let standby = Self::launch(installation, &directory, watcher, certificates, options);
        self.wait_for_standby(name, &standby);
        standby
    }

    /// Ends the recovery of a standby, and waits until it accepts writes.
    pub fn promote(&self) {
        assert_eq!(self.sql("select pg_promote()"), "t", "{}", self.log());
    }

    /// Creates a database with a fresh name that belongs to the role `app`.
    pub fn database(&self) -> Database {
        static COUNTER: AtomicU64 = AtomicU64::new(1);

        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let role = match &self.pooler {
            Some(_) => Role::Device { cert: self.client_cert(), key: self.client_key() },
            None => Role::App,
        };
        Database::create(self.superuser.clone(), name, (self.port(), self.ca(), role))
    }

    /// Runs a statement as the superuser in the database `postgres`. Returns the rows as `psql`
    /// prints them, with `|` between columns. Panics if the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        self.sql_in("postgres", statement)
    }

    /// Runs a statement as the superuser in a database, for example on a standby.
    #[track_caller]
    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        let result = self.superuser.run(database, statement);
        result.unwrap_or_else(|error| panic!("`{statement}` fails: {error}"))
    }

    /// Returns the port of the server, or of the pooler in front of it.
    pub fn port(&self) -> u16 {
        self.pooler.as_ref().map_or(self.postmaster.port(), Pooler::port)
    }

    /// Returns the certificate of the CA that has signed the server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.certificates.ca()
    }

    /// Returns the certificate of a CA that has signed nothing.
    pub fn other_ca(&self) -> PathBuf {
        self.certificates.other_ca()
    }

    /// Returns the client certificate of the role `device`.
    pub fn client_cert(&self) -> PathBuf {
        self.certificates.client_cert()
    }

    /// Returns the key of the client certificate. Only the user of this process can read it.
    pub fn client_key(&self) -> PathBuf {
        self.certificates.client_key()
    }

    /// Returns the password of the role `legacy`.
    #[allow(clippy::unused_self)] // callers have a cluster, not the constant
    pub fn legacy_password(&self) -> &'static str {
        LEGACY_PASSWORD
    }

    /// Returns everything that the server has logged.
    pub fn log(&self) -> String {
        self.postmaster.log()
    }

    /// Returns true if the postmaster runs.
    pub fn is_running(&self) -> bool {
        self.postmaster.id().is_some()
    }

    /// Stops the server without a checkpoint (SIGQUIT), and waits for its end.
    pub fn stop_immediately(&self) {
        self.postmaster.stop_immediately();
    }

    /// Kills the postmaster and all its children (SIGKILL), and waits for their end.
    pub fn kill(&self) {
        self.postmaster.kill();
    }

    /// Starts the server again on the same port, and waits until it answers. A running server is
    /// stopped immediately before.
    pub fn restart(&self) {
        self.postmaster.restart();
    }

    /// Configures the server in a directory, and starts it.
    fn launch(
        installation: Installation,
        directory: &Path,
        watcher: Watcher,
        certificates: Certificates,
        options: &Options,
    ) -> Self {
        let data = directory.join("data");
        let configuration = configuration(directory, &certificates, options);
        fs::write(data.join("postgresql.conf"), configuration).unwrap();
        fs::write(data.join("pg_hba.conf"), AUTHENTICATION).unwrap();

        let postmaster = Postmaster::start(&installation, directory, watcher);
        let (directory, port) = (directory.to_owned(), postmaster.port());
        let superuser = Superuser { installation, directory, port };
        Self { pooler: None, superuser, certificates, postmaster }
    }

    fn create_roles(&self) {
        let statement = format!(
            "create role app login password '{APP_PASSWORD}'; \
             create role legacy login password '{LEGACY_PASSWORD}'; \
             create role device login; \
             create role plain login"
        );
        self.superuser.setup(&statement).unwrap();
    }

    /// Waits until a standby has replayed everything that was written before this call.
    ///
    /// The primary counts a standby as synchronous from its first report of a flush on.
    fn wait_for_standby(&self, name: &str, standby: &Self) {
        let state = format!(
            "select count(*) from pg_stat_replication \
             where application_name = '{name}' and state = 'streaming' and flush_lsn is not null"
        );
        wait_for("a streaming standby", || self.sql(&state) != "0");

        let end = self.sql("select pg_current_wal_lsn()");
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
        wait_for("the standby to catch up", || standby.sql(&replayed) == "t");
    }
}

/// Returns the text of `postgresql.conf`. The last line for a setting is the one that counts.
fn configuration(directory: &Path, certificates: &Certificates, options: &Options) -> String {
    let mut text = CONFIGURATION.to_owned();
    let paths = [
        ("unix_socket_directories", directory.to_owned()),
        ("ssl_ca_file", certificates.ca()),
        ("ssl_cert_file", directory.join(SERVER_CERT)),
        ("ssl_key_file", directory.join(SERVER_KEY)),
    ];
    for (name, path) in paths {
        text.push_str(&format!("{name} = '{}'\n", path.display()));
    }

    for line in &options.lines {
        text.push_str(line);
        text.push('\n');
    }

    text
}
