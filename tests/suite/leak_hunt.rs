//! Searches for traces of secrets: in the memory of a finished command, in core dumps, in the
//! arguments and environments of the programs that it starts, and in every byte that it writes.
//!
//! `strace` holds or records a process, and root reads its memory. If either is not available, the
//! tests report that on stderr and pass, as in `output_faults`. A row's [`Leaves`] lists what
//! `SECURITY.md` does not promise. Anything else fails.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::model::SecretBytes;
use terminal_secrets::vault::{Locked, Vault};

use crate::support::faults::{skipped, strace_is_here};
use crate::support::files::write_private;
use crate::support::programs::{am_root, environment};
use crate::support::traces::{forms, keys, mappings};
use crate::support::{Sandbox, project, secret};

/// The stored value, and the value that is given to a command that stores. Both are ASCII, because
/// strace escapes other bytes.
const STORED: &str = "St0red-Qm7XvTz2LkRb9NcWg4HsYd6PfJa1UeKo3ViBn8MtGx5EwZqCr0AhDlSu_";
const GIVEN: &str = "G1ven-xWq8ZtRk3VnYb5MjHc9LsPf2GdUe7AoKi4TzNm1XrQv6CwBh0ElJaDyS__";
/// The passphrase as it is given. Its separate accent becomes one character with the letter before
/// it.
const PASSPHRASE: &str = "P4ss-zKe\u{301}7TvWn2Qm9XcRb5LhGd3YsJf8UoAi1EtNx6Mk0HpVqBrSwCgDlZ";
/// The part of the passphrase that appears unescaped in a trace.
const PLAIN: &str = "7TvWn2Qm9XcRb5LhGd3YsJf8UoAi1EtNx6Mk0HpVqBrSwCgDlZ";

/// Traces that a command may leave in its own memory.
#[derive(Clone, Copy, PartialEq)]
enum Leaves {
    Nothing,
    /// The standard library's copies of a program's environment (SECURITY.md, "A program's
    /// environment")
    Environment,
    /// Pieces in the memory of the libraries that read CSV, JSON and XML ("Imports")
    Import,
    /// In a debug build, the search of a tree spills vector registers to its threads' stacks. In a
    /// release build the bytes stay in registers
    Vectors,
}

use Leaves::{Environment, Import, Nothing, Vectors};

impl Leaves {
    fn covers(self, what: &str, place: &str) -> bool {
        match self {
            Nothing => false,
            Environment => what.starts_with("stored"),
            Import => what.starts_with("given"),
            Vectors => cfg!(debug_assertions) && what.starts_with("given") && place == "anonymous",
        }
    }
}

/// A command, its stdin, what it may leave, and the places that may get a value: parts of a
/// descriptor's name. A tab stands for a space inside of an argument.
type Row = (&'static str, &'static str, Leaves, &'static [&'static str]);

/// The number of rows that the short tests take.
const SAMPLE: usize = 4;

const ROWS: &[Row] = &[
    ("create --tag new", GIVEN, Nothing, &[]),
    ("update key --value-file value", "", Nothing, &[]),
    ("render t.tmpl -o out", "", Nothing, &["/#", "/out"]),
    ("run --file F=key -- true", "", Nothing, &["/secrets/"]),
    ("refs", "", Vectors, &[]),
    ("unlock", "", Nothing, &[]),
    ("create --tag new --value-file value", "", Nothing, &[]),
    ("create --tag new --generate", "", Nothing, &[]),
    ("get key", "", Nothing, &[]),
    ("list --all-projects --json", "", Nothing, &[]),
    ("update key", GIVEN, Nothing, &[]),
    ("update key --name x", "", Nothing, &[]),
    ("delete key --force -y", "", Vectors, &[]),
    ("clone key --to web", "", Nothing, &[]),
    ("render -e {{KEY}}", "", Nothing, &["1<"]),
    (
        "render -e {{secrets.key|json}}{{secrets.key|shell}}{{secrets.key|trim}}",
        "",
        Nothing,
        &["1<"],
    ),
    ("render -e {{secrets.key|base64}}{{secrets.key|url}}", "", Nothing, &["1<"]),
    ("render -", "{{KEY}}", Nothing, &["1<"]),
    ("run -- true", "", Environment, &[]),
    ("run --env A={{KEY}} -- true", "", Environment, &[]),
    ("run --no-mask -- true", "", Environment, &[]),
    // Programs that print a value themselves or read one.
    ("run -- /usr/bin/printenv KEY", "", Environment, &["1<pipe"]),
    ("run --stdin key -- cat", "", Nothing, &["<pipe", "/memfd:secrets"]),
    ("redact", STORED, Nothing, &[]),
    ("scan .", "", Vectors, &[]),
    ("scan value", "", Nothing, &[]),
    ("import given.env", "", Nothing, &[]),
    ("import given.env --on-conflict overwrite --delete-source", "", Nothing, &[]),
    ("import given.json", "", Import, &[]),
    ("template given.env -o given.tmpl", "", Nothing, &[]),
    ("setup", "", Vectors, &["/#", "/out"]),
    ("check", "", Vectors, &[]),
    ("project list", "", Nothing, &[]),
    ("project rename web site", "", Nothing, &[]),
    ("project delete web -y --force", "", Vectors, &[]),
    ("verify", "", Nothing, &[]),
    ("recovery create", "", Nothing, &[]),
    ("rekey -y", "", Nothing, &[]),
    ("rekey -y --project web", "", Nothing, &[]),
    ("backup another.db", "", Nothing, &[]),
    ("backup copy.db --replace", "", Nothing, &[]),
    ("restore copy.db -y", "", Nothing, &[]),
    ("salvage out.db", "", Nothing, &[]),
    ("compact", "", Nothing, &[]),
    ("status", "", Nothing, &[]),
    ("lock", "", Nothing, &[]),
    (
        "init --vault new.db --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 4",
        "",
        Nothing,
        &[],
    ),
    // Failures after the value or the passphrase was read.
    ("create --tag key", GIVEN, Nothing, &[]),
    ("update nothing", GIVEN, Nothing, &[]),
    ("render -e {{KEZ}}{{KEY}}", "", Nothing, &[]),
    ("render -e {{KEY}} -o nowhere/out", "", Nothing, &[]),
    ("run --only key -- /no/such/program", "", Environment, &[]),
    ("list --passphrase-file wrong", "", Nothing, &[]),
    ("list --passphrase-file long", "", Nothing, &[]),
    ("delete key", "", Nothing, &[]),
];

fn passphrase() -> Passphrase {
    Passphrase::new(&SecretBytes::copy_of(PASSPHRASE.as_bytes())).unwrap()
}

/// Returns a sandbox in which every row can run.
fn home() -> Sandbox {
    let sandbox = Sandbox::empty();
    Vault::init(&sandbox.vault_path(), &passphrase(), KdfParams::LEAST).unwrap();
    let vault = Locked::open(&sandbox.vault_path()).unwrap().unlock(&passphrase()).unwrap();
    vault.create(&project("default"), secret("key", STORED.as_bytes())).unwrap();
    vault.create(&project("web"), secret("port", format!("{STORED}b").as_bytes())).unwrap();
    vault.backup(&sandbox.path("copy.db"), false, &|_| {}).unwrap();

    for (name, content) in [
        ("wrong", format!("{GIVEN}\n")),
        ("long", GIVEN.repeat(100)),
        ("value", GIVEN.to_owned()),
        ("given.env", format!("NEW={GIVEN}\nOTHER='{GIVEN}'\n")),
        ("given.json", format!("{{\"NEW\": \"{GIVEN}\"}}")),
        ("t.tmpl", "K={{ KEY }}\n".to_owned()),
        (
            ".secrets.toml",
            "project = \"default\"\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"out\"\n"
                .to_owned(),
        ),
    ] {
        write_private(&sandbox.path(name), content);
    }

    sandbox.trust(&sandbox.path(""));

    // The file is outside of the tree, because some commands search the tree.
    write_private(&sandbox.state().join("passphrase"), format!("{PASSPHRASE}\n"));
    sandbox
}

/// Returns a row's command under strace. The `options` select what strace writes or injects. The
/// passphrase is in a file.
fn under_strace(sandbox: &Sandbox, row: &Row, options: &[&str]) -> Command {
    let program = sandbox.command(row.0.split(' ').map(|word| word.replace('\t', " "))).command;
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o"]).arg(sandbox.path("trace")).args(options);
    strace.arg(program.get_program()).args(program.get_args()).env_clear();
    strace.envs(environment(&program));
    strace
        .env_remove("SECRETS_PASSPHRASE")
        .env("SECRETS_PASSPHRASE_FILE", sandbox.state().join("passphrase"));
    strace.current_dir(sandbox.path("")).stdin(File::open(sandbox.write("stdin", row.1)).unwrap());
    fs::remove_file(sandbox.path("stdin")).unwrap();

    strace
}

/// Ends the agent that a row may have started.
fn lock(sandbox: &Sandbox) {
    sandbox.run(["lock", "-q"]).everything();
}

/// A command that has finished its work and is held before its exit.
struct Held {
    strace: Child,
    pid: Pid,
}

/// The system call in which it is held, as /proc shows it.
const EXIT_GROUP: &str = if cfg!(target_arch = "x86_64") { "231 " } else { "94 " };

impl Held {
    fn new(sandbox: &Sandbox, row: &Row) -> Self {
        let options = ["-e", "trace=exit_group", "-e", "inject=exit_group:delay_enter=300000000"];
        let mut strace = under_strace(sandbox, row, &options);
        let strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        let pid = loop {
            match Self::child_at_exit(strace.id()) {
                Some(pid) => break pid,
                None if begun.elapsed() > Duration::from_secs(20) => break Pid::INIT,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };

        assert!(pid != Pid::INIT, "{} does not reach its exit", row.0);
        Self { strace, pid }
    }

    /// Returns the child of a strace if it is held.
    fn child_at_exit(strace: u32) -> Option<Pid> {
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).ok()?;
        let pid = children.split(' ').next()?;
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;

        // strace starts with children of its own, to test the kernel's features.
        let is_strace = fs::read(format!("/proc/{pid}/comm")).ok()? == b"strace\n";
        if !is_strace && call.starts_with(EXIT_GROUP) {
            Pid::from_raw(pid.parse().ok()?)
        } else {
            None
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // strace sleeps during the delay.
        let _ = self.strace.kill();
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = self.strace.wait();
    }
}

/// Returns the search terms for memory: a name, and pieces of 16 bytes.
fn wanted(sandbox: &Sandbox) -> Vec<(String, Vec<u8>)> {
    let normal = PASSPHRASE.replace("e\u{301}", "\u{e9}");
    let mut wanted: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, text) in
        [("stored", STORED), ("given", GIVEN), ("passphrase", PASSPHRASE), ("its NFC", &normal)]
    {
        let pieces = text.as_bytes().chunks_exact(16).enumerate();
        wanted.extend(pieces.map(|(at, piece)| (format!("{name} {at}"), piece.to_vec())));
    }

    for (name, key) in keys(&sandbox.vault_path(), &passphrase()) {
        wanted.extend(
            key.chunks_exact(16)
                .enumerate()
                .map(|(at, piece)| (format!("{name} {at}"), piece.to_vec())),
        );
    }

    wanted
}

/// Returns the pieces that are in a process's writable memory, each with its name and that of the
/// mapping.
fn pieces(pid: Pid, wanted: &[(String, Vec<u8>)]) -> BTreeSet<(String, String)> {
    let memory = File::open(format!("/proc/{}/mem", pid.as_raw_nonzero())).unwrap();
    let mut found = BTreeSet::new();
    for (from, to, lines) in mappings(pid) {
        let mut words = lines.lines().next().unwrap().split_whitespace();
        if !words.nth(1).is_some_and(|rights| rights.starts_with("rw")) {
            continue;
        }

        let place = words.nth(3).unwrap_or("anonymous");
        let mut bytes = vec![0; (to - from) as usize];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            // Most pages were never written.
            for written in bytes.chunks(4096).collect::<Vec<_>>().split(|page| is_zero(page)) {
                let written = written.concat();
                let here =
                    wanted.iter().filter(|(_, piece)| memmem::find(&written, piece).is_some());
                found.extend(here.map(|(what, _)| (what.clone(), place.to_owned())));
            }
        }
    }

    found
}

fn is_zero(page: &[u8]) -> bool {
    *page == [0; 4096][..page.len()]
}

fn can_read_memory() -> bool {
    if !am_root() {
        skipped("only root can read the memory of an undumpable process");
    }

    am_root() && strace_is_here()
}

/// Searches the memory, the arguments and the environment of each of these commands at its end.
fn search_memory(rows: &[Row]) {
    if !can_read_memory() {
        return;
    }

    let mut wrong = Vec::new();
    for row in rows {
        let sandbox = home();
        let wanted = wanted(&sandbox);
        let held = Held::new(&sandbox, row);
        let left = pieces(held.pid, &wanted)
            .into_iter()
            .filter(|(what, place)| !row.2.covers(what, place));

        wrong.extend(left.map(|(what, place)| format!("{}: {what} in {place}", row.0)));
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{file}", held.pid.as_raw_nonzero())).unwrap();

            // `run --no-mask` has become the program itself.
            let is_ours = !row.0.contains("--no-mask");
            let there =
                wanted.iter().filter(|(_, piece)| is_ours && memmem::find(&bytes, piece).is_some());
            wrong.extend(there.map(|(what, _)| format!("{}: {what} in {file}", row.0)));
        }

        drop(held);
        lock(&sandbox);
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_finished_commands_leave_nothing_in_memory() {
    search_memory(&ROWS[..SAMPLE]);
}

#[test]
#[ignore = "half a minute; needs strace and root"]
fn every_finished_command_leaves_nothing_in_memory() {
    search_memory(ROWS);
}

/// The program's own memory holds a value while it is in use. So the search can find one.
#[test]
fn the_search_finds_what_is_in_memory() {
    if !can_read_memory() {
        return;
    }

    let sandbox = home();
    let wanted = wanted(&sandbox);

    // For the program that has replaced us, the environment is ordinary memory.
    let held = Held::new(&sandbox, &("run --no-mask -- true", "", Nothing, &[]));
    let found = pieces(held.pid, &wanted);
    for piece in 0..4 {
        assert!(
            found.contains(&(format!("stored {piece}"), "[stack]".into())),
            "{piece}: {found:?}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn the_agents_memory_holds_no_passphrase_and_no_value() {
    if !can_read_memory() {
        return;
    }

    let (sandbox, other) = (home(), home());
    let at = |vault: &Sandbox, line: &str| {
        let prepared = sandbox.command(line.split(' ')).env("SECRETS_VAULT", vault.vault_path());
        prepared.env("SECRETS_PASSPHRASE", PASSPHRASE)
    };

    at(&sandbox, "unlock -q").run().succeeds();
    at(&other, "unlock -q").run().succeeds();
    let sockets = fs::read_dir(sandbox.path("secrets")).unwrap().map(|entry| entry.unwrap().path());
    let pids = sockets.filter(|path| path.extension().is_some_and(|ending| ending == "sock")).map(
        |path| {
            let socket = std::os::unix::net::UnixStream::connect(path).unwrap();
            rustix::net::sockopt::socket_peercred(&socket).unwrap().pid
        },
    );

    let pids: Vec<_> = pids.collect();
    assert_eq!(pids.len(), 2, "each vault has an agent");
    for (line, stdin) in
        [("create --tag new -q", GIVEN), ("render -e {{KEY}} -o out -q", ""), ("list -q", "")]
    {
        let run = at(&sandbox, line).without_env("SECRETS_PASSPHRASE").stdin(stdin).run();
        assert_eq!(run.everything().0, Some(0), "{line}");
    }

    let wanted: Vec<_> =
        wanted(&sandbox).into_iter().filter(|(name, _)| !name.starts_with("root ")).collect();
    for pid in &pids {
        assert_eq!(pieces(*pid, &wanted), BTreeSet::new());
    }

    // Locking ends the agent, and its memory disappears.
    for vault in [&sandbox, &other] {
        at(vault, "lock -q").run().succeeds();
    }

    for pid in &pids {
        let process = std::path::PathBuf::from(format!("/proc/{}/maps", pid.as_raw_nonzero()));
        let gone = || fs::read(&process).is_ok_and(|maps| maps.is_empty()) || !process.exists();
        assert!((0..100).any(|_| gone() || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }));
    }
}

/// Returns true if a line holds eight bytes of a secret in any likely form.
fn has_secret(line: &str) -> bool {
    [STORED, GIVEN, PLAIN].iter().any(|secret| {
        forms(secret).iter().any(|form| memmem::find(line.as_bytes(), form).is_some())
    })
}

/// Checks every byte that these commands and their programs write, and how the programs are
/// started.
fn check_writes(rows: &[Row]) {
    if !strace_is_here() {
        return;
    }

    let mut wrong = Vec::new();
    for row in rows {
        let sandbox = home();
        let calls = "trace=write,pwrite64,writev,pwritev,sendto,sendmsg,execve";
        let options = ["-f", "-v", "-y", "-x", "-s", "1000000", "-e", "signal=none", "-e", calls];
        let mut strace = under_strace(&sandbox, row, &options);
        let mut child = strace.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

        if row.0 == "unlock" {
            // strace runs until the agent ends.
            std::thread::sleep(Duration::from_millis(700));
            lock(&sandbox);
        }

        drop(child.stdout.take().map(std::io::read_to_string));
        child.wait().unwrap();
        let trace = sandbox.read("trace");
        let trace = String::from_utf8_lossy(&trace);

        assert!(trace.contains("execve(\""), "{}: {trace}", row.0);
        for line in trace.lines().filter(|line| has_secret(line)) {
            // A program of `run` gets its values only through its environment.
            let to_program = row.2 == Environment && line.contains("execve(\"") && {
                let arguments = line.split("], [").next().unwrap_or_default();
                !has_secret(arguments) && !line.contains(PLAIN)
            };

            let descriptor = line
                .split_once('(')
                .map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default());
            let allowed =
                !line.contains("execve(") && row.3.iter().any(|place| descriptor.contains(place));
            if !to_program && !allowed {
                wrong.push(format!("{}: {}", row.0, &line[..line.len().min(300)]));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_commands_write_no_secret_elsewhere() {
    check_writes(&ROWS[..SAMPLE]);
}

#[test]
#[ignore = "half a minute; needs strace"]
fn every_command_writes_no_secret_elsewhere() {
    check_writes(ROWS);
}

/// Sends a crash signal to a process without a limit on core files. Returns true if it left one.
fn leaves_a_core(sandbox: &Sandbox, program: &Command, signal: Signal) -> bool {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args());

    shell.env_clear().envs(environment(&program));
    shell
        .current_dir(sandbox.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    let mut child = shell.spawn().unwrap();

    // By now it has read its input and waits for more.
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), STORED.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));

    // The standard library handles the first signal from outside, because it checks for a stack
    // overflow.
    let status = loop {
        let _ = kill_process(Pid::from_child(&child), signal);
        std::thread::sleep(Duration::from_millis(20));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };

    // `run` passes the signal on and ends like its program.
    let died =
        status.signal() == Some(signal.as_raw()) || status.code() == Some(128 + signal.as_raw());
    assert!(died, "{:?}: {status}", program.get_args());
    status.core_dumped()
}

#[test]
fn no_signal_leaves_a_core() {
    let sandbox = home();
    let control = Sandbox::empty();
    if !leaves_a_core(
        &control,
        Command::new("sleep").arg("30").env("PATH", "/usr/bin:/bin"),
        Signal::SEGV,
    ) {
        skipped("no process leaves a core file on this machine");
        return;
    }

    let lines: [&[&str]; 4] =
        [&["create", "--tag", "x"], &["redact"], &["run", "--", "sleep", "30"], &["render", "-"]];
    std::thread::scope(|scope| {
        for signal in [Signal::SEGV, Signal::ABORT, Signal::BUS] {
            for line in lines {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    let program =
                        sandbox.command(line).env("SECRETS_PASSPHRASE", PASSPHRASE).command;
                    assert!(!leaves_a_core(sandbox, &program, signal), "{line:?} {signal:?}");
                });
            }
        }
    });
}
