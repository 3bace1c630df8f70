//! A vault on a server as its users see it: two machines of the owner, a CI job with a token, work
//! without the server, and what the commands say there.

use std::time::Duration;

use test_postgres::{Cluster, Database, Relay};

use crate::support::{Prepared, Run, Sandbox};

/// A database, and the machines that use it. Each has a home of its own.
struct World {
    database: Database,
    relay: Relay,
}

impl World {
    /// Returns `None` if this machine has no PostgreSQL.
    fn new() -> Option<Self> {
        let cluster = Cluster::shared()?;
        let relay = Relay::start(cluster.port(), Duration::ZERO);
        Some(Self { database: cluster.database(), relay })
    }

    fn url(&self) -> String {
        self.database.url_at(self.relay.port())
    }

    fn command(&self, machine: &Sandbox, arguments: &[&str]) -> Prepared {
        machine.command(arguments).env("PGPASSWORD", self.database.password())
    }

    #[track_caller]
    fn run(&self, machine: &Sandbox, arguments: &[&str]) -> Run {
        self.command(machine, arguments).run()
    }

    /// Runs a command that prints no status lines and has to succeed.
    #[track_caller]
    fn quiet(&self, machine: &Sandbox, arguments: &[&str]) {
        self.run(machine, &[&["-q"], arguments].concat()).succeeds();
    }

    fn store(&self, machine: &Sandbox, tag: &str, value: &str) {
        self.command(machine, &["-q", "create", tag, "-p", "web"]).stdin(value).run().succeeds();
    }

    /// Creates the vault from a machine of its own.
    fn founder(&self) -> Sandbox {
        let founder = Sandbox::empty();
        self.quiet(
            &founder,
            &["remote", "init", &self.url(), "--kdf-memory", "19", "--kdf-iterations", "1"],
        );
        founder
    }

    /// Adds a machine with a ticket of another one.
    fn join(&self, founder: &Sandbox) -> Sandbox {
        let machine = Sandbox::empty();
        let ticket = self.run(founder, &["-q", "remote", "ticket"]).succeeds().bytes();
        self.command(&machine, &JOIN).stdin(ticket).run().succeeds();
        machine
    }

    #[track_caller]
    fn tags(&self, machine: &Sandbox) -> Vec<String> {
        let found = self.run(machine, &["list", "-p", "web", "--json"]).succeeds().json();
        let secrets = found["secrets"].as_array().unwrap();
        secrets.iter().map(|secret| secret["tag"].as_str().unwrap().to_owned()).collect()
    }
}

const JOIN: [&str; 7] =
    ["-q", "remote", "join", "-", "--kdf-memory=19", "--kdf-iterations=1", "--kdf-parallelism=1"];

/// The most flights of a command that has no connection yet: five for TLS and the login, two that read, and
/// three that end the transaction and the connection, for which nobody waits.
const MOST_TRIPS: u64 = 10;

#[test]
fn two_machines_share_a_vault() {
    let Some(world) = World::new() else { return };
    let one = world.founder();
    world.store(&one, "api-key", "first-value");
    let other = world.join(&one);
    assert_eq!(world.tags(&other), ["api-key"]);

    world.store(&other, "dsn", "second-value");
    assert_eq!(world.tags(&one), ["api-key", "dsn"]);
    let rendered = world.run(&one, &["render", "-p", "web", "-e", "{{ secrets.dsn }}", "--reveal"]);
    rendered.succeeds().stdout("second-value");

    // Each machine has a passphrase of its own, and the server has none.
    let passphrase = other.write("pass", "six other words for this machine\n");
    let passphrase = passphrase.to_str().unwrap();
    let changed = world.run(&other, &["passwd", "--new-passphrase-file", passphrase]);
    changed.succeeds().stderr_has("your other machines keep their own");
    world.run(&other, &["list", "-p", "web"]).fails_with(5).stderr_has("wrong passphrase");
    assert_eq!(world.tags(&one), ["api-key", "dsn"]);
    assert_eq!(world.database.sql("SELECT count(*) FROM secrets.slots"), "0");
}

#[test]
fn a_ticket_works_once() {
    let Some(world) = World::new() else { return };
    let founder = world.founder();
    let ticket = world.run(&founder, &["-q", "remote", "ticket"]).succeeds().bytes();
    let join = |machine: &Sandbox, ticket: &[u8]| world.command(machine, &JOIN).stdin(ticket).run();

    let broken = join(&Sandbox::empty(), &ticket[..ticket.len() - 9]);
    broken.fails_with(2).stderr_has("invalid ticket: it is incomplete or mistyped");
    join(&Sandbox::empty(), &ticket).succeeds();
    let machine = Sandbox::empty();
    join(&machine, &ticket).fails_with(5).stderr_has("the ticket was used or withdrawn");
    assert!(!machine.vault_path().exists());
}

#[test]
fn the_recovery_code_joins_when_every_machine_is_lost() {
    let Some(world) = World::new() else { return };
    let founder = world.founder();
    world.store(&founder, "api-key", "kept-value");
    let code = world.run(&founder, &["-q", "recovery", "create"]).succeeds().bytes();
    drop(founder);

    let machine = Sandbox::empty();
    let code = machine.write("code", String::from_utf8(code).unwrap());
    let (url, code) = (world.url(), code.to_str().unwrap().to_owned());
    let join = |file: &str| {
        let options = ["-q", "remote", "join", "--url", &url, "--recovery-file", file];
        world.run(&machine, &[&options[..], &JOIN[4..]].concat())
    };
    let other = "AAAAA-BBBBB";
    let other = machine.write("other", other);
    join(other.to_str().unwrap()).fails_with(5).stderr_has("invalid recovery code");
    join(&code).succeeds().stderr_has("other users can read the file of the recovery code");
    let reveal = ["render", "-p", "web", "-e", "{{ secrets.api-key }}", "--reveal"];
    world.run(&machine, &reveal).succeeds().stdout("kept-value");

    // The code stays valid, and a ticket of the new machine works.
    world.join(&machine);
    let without_url = ["remote", "join", "--recovery-file", &code];
    world.run(&Sandbox::empty(), &without_url).fails_with(2).stderr_has("--url");
}

#[test]
fn a_job_with_a_token_needs_no_file() {
    let Some(world) = World::new() else { return };
    let founder = world.founder();
    world.store(&founder, "api-key", "value-for-the-job");
    world.store(&founder, "other", "another-value");
    let created =
        ["-q", "token", "create", "ci", "--level", "use", "-p", "web", "--only", "api-key"];
    let token = world.run(&founder, &created).succeeds().bytes();
    let token = String::from_utf8(token).unwrap();

    let job = Sandbox::empty();
    let render_at = |url: String, template: &str| {
        let command = world.command(&job, &["render", "-p", "web", "-e", template, "--reveal"]);
        let command = command.without_env("SECRETS_PASSPHRASE").env("SECRETS_TOKEN", token.trim());
        command.env("SECRETS_VAULT", url).run()
    };
    let render = |template: &str| render_at(world.url(), template);
    render("{{ secrets.api-key }}").succeeds().stdout("value-for-the-job");

    // Without a delay, one flight may count as two.
    let relay = Relay::start(Cluster::shared().unwrap().port(), Duration::from_millis(100));
    for most in [u64::MAX, MOST_TRIPS] {
        relay.reset();
        let run = render_at(world.database.url_at(relay.port()), "{{ secrets.api-key }}");
        run.succeeds().stdout("value-for-the-job");
        std::thread::sleep(Duration::from_millis(200));
        assert!(relay.trips() <= most, "{}", relay.trips());
    }

    render("{{ secrets.other }}").fails_with(3).stderr_has("token `ci` is limited to some secrets");

    let update = world.command(&founder, &["-q", "update", "api-key", "-p", "web"]);
    update.stdin("a-new-value").run().succeeds();
    render("{{ secrets.api-key }}").succeeds().stdout("a-new-value");
    world.run(&founder, &["-q", "token", "revoke", "ci", "--yes"]).succeeds();
    render("{{ secrets.api-key }}").fails_with(5).stderr_has("it was revoked");
}

#[test]
fn without_the_server_a_machine_reads_what_it_saw() {
    let Some(world) = World::new() else { return };
    let founder = world.founder();
    world.store(&founder, "api-key", "seen-value");
    let reveal = ["render", "-p", "web", "-e", "{{ secrets.api-key }}", "--reveal"];
    world.run(&founder, &reveal).succeeds().stdout("seen-value");

    let offline = world.run(&founder, &[&["--offline"], &reveal[..]].concat());
    offline
        .succeeds()
        .stdout("seen-value")
        .stderr_has("warning: offline: using what this machine saw");
    let change =
        world.command(&founder, &["--offline", "create", "new", "-p", "web"]).stdin("x").run();
    change.fails_with(2).stderr_has("error: a change needs the vault's server");

    // The server is gone.
    world.relay.block();
    world
        .run(&founder, &reveal)
        .succeeds()
        .stdout("seen-value")
        .stderr_has("using what this machine saw");
    let change = world.command(&founder, &["create", "new", "-p", "web"]).stdin("x").run();
    change.fails_with(1).stderr_has("no connection to the vault's server");
    let status = world.run(&founder, &["remote", "status"]).fails_with(1);
    status.stdout_has("cannot be reached").stderr_has("the server cannot be reached");

    world.relay.unblock();
    world.run(&founder, &reveal).succeeds().stdout("seen-value");
}

#[test]
fn commands_for_files_say_what_they_do() {
    let Some(world) = World::new() else { return };
    let founder = world.founder();
    world.store(&founder, "api-key", "kept-value");
    let other = world.join(&founder);

    world.run(&founder, &["compact"]).succeeds().stderr_has("compacted the copy on this machine");
    world.quiet(&founder, &["backup", "backup.db"]);
    let restore = world.run(&founder, &["restore", "backup.db", "--yes"]).fails_with(2);
    restore.stderr_has("a backup does not replace it").stderr_has("secrets remote repair");
    let salvaged = world.run(&founder, &["salvage", "saved.db"]).succeeds();
    salvaged.stderr_has("the server was not changed").bytes();

    // Both copies are vaults of their own, without the server.
    for copy in ["backup.db", "saved.db"] {
        let shown =
            founder.command(["render", "-p", "web", "-e", "{{ secrets.api-key }}", "--reveal"]);
        shown.env("SECRETS_VAULT", founder.path(copy)).run().succeeds().stdout("kept-value");
    }

    let rekeyed = world.run(&founder, &["rekey", "--yes"]).succeeds();
    rekeyed.stderr_has("your other machines need the new keys");
    let stale = world.run(&other, &["list", "-p", "web"]).fails_with(5);
    stale.stderr_has("the vault got new keys").stderr_has("secrets remote ticket");
    assert_eq!(world.tags(&world.join(&founder)), ["api-key"]);
}

#[test]
fn a_vault_moves_to_a_server_and_back() {
    let Some(world) = World::new() else { return };
    let machine = Sandbox::with_secrets(&[("api-key", "moved-value")]);
    let reveal = ["render", "-e", "{{ secrets.api-key }}", "--reveal"];
    world.run(&machine, &["remote", "status"]).fails_with(2).stderr_has("and not on a server");

    let pushed = world.run(&machine, &["remote", "push", &world.url()]).succeeds();
    pushed.stderr_has("moved the vault to").stderr_has("the file is kept as").bytes();
    world.run(&machine, &reveal).succeeds().stdout("moved-value");
    world.quiet(&machine, &["remote", "pull", "copy.db"]);
    let copy = machine.command(reveal).env("SECRETS_VAULT", machine.path("copy.db"));
    copy.run().succeeds().stdout("moved-value");
    let again = world.run(&machine, &["remote", "push", &world.url()]).fails_with(2);
    again.stderr_has("the vault is on a server already");

    world.quiet(&machine, &["remote", "set", "--to-file"]);
    world.relay.block();
    world.run(&machine, &reveal).succeeds().stdout("moved-value");
}

#[test]
fn addresses_that_cannot_be_used_are_explained() {
    let Some(world) = World::new() else { return };
    let machine = Sandbox::empty();
    let refused = |url: &str, password: &str, code: i32, part: &str| {
        let command = machine.command(["remote", "init", url]).env("PGPASSWORD", password);
        let run = command.run().fails_with(code).stdout("").stderr_has(part);
        assert!(!machine.vault_path().exists(), "{url}");
        run
    };

    let right = world.database.password();
    refused("https://db.example/x", right, 2, "does not begin with `postgres://`");
    let hint = "check the URL, the password and the certificate; nothing was changed";
    refused(&world.url(), "wrong", 1, "wrong user or password").stderr_has(hint);
    let without_ca = world.url().split('?').next().unwrap().to_owned();
    refused(&without_ca, right, 1, "not signed by a known authority").stderr_has("sslrootcert");
    let with_password = world.url().replace("app@", "app:hunter2@");
    refused(&with_password, right, 2, "password").stderr_lacks("hunter2");

    world.founder();
    refused(&world.url(), right, 4, "already").stderr_has("secrets remote join");
}
