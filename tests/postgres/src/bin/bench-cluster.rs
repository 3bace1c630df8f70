//! The measuring half of benches/remote.sh: a server, a relay, machines, and the commands that are timed.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use test_postgres::{Cluster, Database, Options, Relay};

/// A machine: a home directory, and the program.
struct Machine {
    home: PathBuf,
    program: PathBuf,
    password: &'static str,
}

impl Machine {
    fn new(directory: &Path, name: &str, program: &Path, database: &Database) -> Self {
        let home = directory.join(name);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("passphrase"), "a passphrase for this machine\n").unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(home.join("passphrase"), private).unwrap();
        Self { home, program: program.to_owned(), password: database.password() }
    }

    /// Runs a command and returns how long it took.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Duration {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().env("HOME", &self.home).current_dir(&self.home);
        command.env("PGPASSWORD", self.password).stdin(Stdio::piped());
        command.env("SECRETS_PASSPHRASE_FILE", self.home.join("passphrase"));
        self.time(command, arguments, input)
    }

    /// Runs a command on a vault that an agent has unlocked.
    fn warm(&self, arguments: &[&str], input: &[u8]) -> Duration {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().env("HOME", &self.home).current_dir(&self.home);
        self.time(command, arguments, input)
    }

    fn time(&self, mut command: Command, arguments: &[&str], input: &[u8]) -> Duration {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input).unwrap();
        let output = process.wait_with_output().unwrap();
        let took = begun.elapsed();
        assert!(
            output.status.success(),
            "{arguments:?} in {}: {}",
            self.home.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        took
    }
}

/// Returns the median of some runs in milliseconds.
fn median(runs: usize, mut run: impl FnMut(usize) -> Duration) -> f64 {
    let mut times: Vec<Duration> = (0..runs).map(&mut run).collect();
    times.sort_unstable();
    times[runs / 2].as_secs_f64() * 1000.0
}

fn dotenv(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let _ = writeln!(text, "KEY_{number:05}=value-number-{number:05}-with-some-length");
    }

    text
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let program = PathBuf::from(arguments.next().expect("the program"));
    let runs: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(15);
    let cluster = Cluster::start(&Options::default());
    let directory = tempfile::tempdir().unwrap();
    println!("medians of {runs} runs, in ms");
    for round_trip in [1, 30] {
        measure(&cluster, directory.path(), &program, runs, round_trip);
    }
}

fn measure(cluster: &Cluster, directory: &Path, program: &Path, runs: usize, round_trip: u64) {
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::from_millis(round_trip));
    let url = database.url_at(relay.port());
    let directory = directory.join(round_trip.to_string());
    let machine = |name: &str| Machine::new(&directory, name, program, &database);
    let (first, second) = (machine("first"), machine("second"));
    let cheap = ["--kdf-memory", "19", "--kdf-iterations", "1", "--kdf-parallelism", "1"];
    first.run(&[&["remote", "init", &url][..], &cheap].concat(), b"");

    let large = first.home.join("large.env");
    std::fs::write(&large, dotenv(10_000)).unwrap();
    let path = large.to_str().unwrap();
    let import = first.run(&["import", path, "-p", "large", "--yes"], b"");
    first.run(&["create", "api-key"], b"value");
    let tags: Vec<String> = (0..20).map(|number| format!("t{number}")).collect();
    let lines: Vec<String> = tags.iter().map(|tag| format!("{{{{ secrets.{tag} }}}}")).collect();
    let template = lines.join("\n");
    for tag in &tags {
        first.run(&["create", tag], b"value");
    }

    let report = |what: &str, took: f64| {
        #[allow(clippy::cast_precision_loss)]
        let trip = round_trip as f64;
        println!("{round_trip:>3} ms  {what:<44} {took:>8.1}   trip + {:>7.1}", took - trip);
    };

    // Without the link.
    first.warm_up();
    relay.reset();
    first.run(&["get", "api-key"], b"");
    println!("{round_trip:>3} ms  get without the link: {} trips", relay.trips() + 1);

    first.run(&["unlock", "--ttl", "8h", "--idle", "8h"], b"");
    std::thread::sleep(Duration::from_millis(round_trip * 12 + 300));
    let get = median(runs, |_| first.warm(&["get", "api-key"], b""));
    report("get", get);
    report("render of 20", median(runs, |_| first.warm(&["render"], template.as_bytes())));
    report(
        "create",
        median(runs, |number| first.warm(&["create", &format!("new-{number}")], b"value")),
    );

    let ticket = directory.join("ticket");
    let printed = Command::new(program)
        .args(["remote", "ticket"])
        .env_clear()
        .env("HOME", &first.home)
        .env("SECRETS_PASSPHRASE_FILE", first.home.join("passphrase"))
        .output()
        .unwrap();
    std::fs::write(&ticket, &printed.stdout).unwrap();
    second.run(&[&["remote", "join", "-"][..], &cheap].concat(), &printed.stdout);
    second.run(&["unlock", "--ttl", "8h", "--idle", "8h"], b"");
    second.warm(&["list", "-p", "large"], b"");
    second.warm(&["get", "api-key"], b"");
    std::thread::sleep(Duration::from_millis(round_trip * 12 + 300));
    report(
        "create after a change elsewhere",
        median(runs, |number| {
            first.warm(&["create", &format!("elsewhere-{number}")], b"value");
            second.warm(&["create", &format!("raced-{number}")], b"value")
        }),
    );

    let mut bytes = 0;
    report(
        "list of 10,000 after one change",
        median(runs.min(5), |number| {
            first.warm(&["create", &format!("one-{number}"), "-p", "large"], b"value");
            relay.reset();
            let took = second.warm(&["list", "-p", "large"], b"");
            bytes = relay.bytes_down();
            took
        }),
    );
    println!("{round_trip:>3} ms  bytes received for it: {bytes}");
    report("import of 10,000", import.as_secs_f64() * 1000.0);

    let psql = |_| {
        let mut command = Command::new("psql");
        command.args([&format!("{url}&sslmode=verify-full"), "-c", "select 1"]);
        command.env("PGPASSWORD", database.password()).env("HOME", &first.home);
        first.time(command, &["psql"], b"")
    };
    let select = median(runs, psql);
    println!("{round_trip:>3} ms  psql -c 'select 1' {select:>8.1}   get is {:.2}×", get / select);

    let offline = median(runs, |_| first.warm(&["get", "api-key", "--offline"], b""));
    let local = machine("local");
    local.run(&[&["init"][..], &cheap].concat(), b"");
    local.run(&["create", "api-key"], b"value");
    local.run(&["unlock", "--ttl", "8h", "--idle", "8h"], b"");
    let file = median(runs, |_| local.warm(&["get", "api-key"], b""));
    println!("{round_trip:>3} ms  get --offline {offline:.2}, from a file {file:.2}");

    let rekey = first.run(&["rekey", "--yes"], b"");
    report("rekey of 10,000", rekey.as_secs_f64() * 1000.0);
    for machine in [&first, &second, &local] {
        machine.warm(&["lock"], b"");
    }
}

impl Machine {
    /// Brings the program into memory.
    fn warm_up(&self) {
        self.run(&["list"], b"");
    }
}
