//! No finished command and no agent leaves a secret in memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};
use terminal_secrets::crypto::token::Token;
use terminal_secrets::model::SecretBytes;
use terminal_secrets::vault::Locked;

use crate::support::Sandbox;
use crate::support::faults::{skipped, strace_is_here};
use crate::support::programs::am_root;
use crate::support::traces::{keys, mappings};

use super::rows::{GIVEN, Leaves, PASSPHRASE, ROWS, Row, SAMPLE, STORED};
use super::{home, lock, passphrase, under_strace};

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

    // The prefix and the first digits may be shown, so the pieces begin behind them.
    let token = sandbox.read("user.token");
    let pieces = token[5..].chunks_exact(16).enumerate();
    wanted.extend(pieces.map(|(at, piece)| (format!("token {at}"), piece.to_vec())));
    let vault_id = Locked::open(&sandbox.vault_path()).unwrap().vault_id().unwrap();
    let token = Token::parse(&SecretBytes::copy_of(&token)).unwrap().keys(&vault_id);
    wanted.push(("the token's key".to_owned(), token.kek.expose()[..16].to_vec()));

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
    let held = Held::new(&sandbox, &("run --no-mask -- true", "", Leaves::Nothing, &[]));
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
