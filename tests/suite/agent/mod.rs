//! The agent: access control, protocol, what it gives out and signs, lifetime, rollback detection,
//! and traces in memory.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::ops::Deref;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use terminal_secrets::agent::{Answer, ChangeKind, Client, Request, RuntimeDir, SignFrame};
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::{PolicyRow, ProjectRow};
use terminal_secrets::model::{Class, SecretBytes};
use terminal_secrets::vault::WantedKey;

use crate::support::programs::{has_ended, within};
use crate::support::{Prepared, Sandbox};

mod changes;
mod commands;
mod connections;
mod directory;
mod impostors;
mod lifetime;
mod message_keys;
mod protocol;
mod proxies;
mod rollback;
mod signing;
mod tickets;
mod timeouts;
mod traces;
mod trips;
mod watched;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same, with a margin for a busy machine.
const AT_MOST: Duration = Duration::from_secs(8);
const HOUR: Duration = Duration::from_secs(3600);

/// A sandbox whose agent ends with it.
struct Home {
    sandbox: Sandbox,
    /// The path of the vault whose agent is tested
    vault: PathBuf,
}

impl Deref for Home {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The listener may be this very process, posing as the agent.
        if let Some(pid) = self.pid().filter(|pid| *pid != rustix::process::getpid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Home {
    fn of(sandbox: Sandbox) -> Self {
        let vault = sandbox.path("").canonicalize().unwrap().join("vault.db");
        Self { sandbox, vault }
    }

    fn new() -> Self {
        Self::of(Sandbox::with_secrets(&[("key", "a value of no great length")]))
    }

    /// Creates a sandbox with an unlocked vault.
    fn unlocked() -> Self {
        let home = Self::new();
        home.run(["unlock", "-q"]).succeeds();
        home
    }

    /// Creates a sandbox without a vault.
    fn empty(vault: &str) -> Self {
        Self { sandbox: Sandbox::empty(), vault: vault.into() }
    }

    /// Creates a sandbox with an agent that holds an arbitrary key, for a path without a vault.
    fn with_agent() -> Self {
        let home = Self::empty("/steady");
        home.start_agent(HOUR, HOUR);
        home
    }

    /// Starts an agent that holds the arbitrary key.
    fn start_agent(&self, ttl: Duration, idle: Duration) {
        let root = RootKey::from_bytes(&[2; 32]).unwrap();
        self.client().start(program(), [1; 16], &root, (ttl, idle)).unwrap();
    }

    fn directory(&self) -> PathBuf {
        self.path("secrets")
    }

    fn place(&self) -> RuntimeDir {
        RuntimeDir::open_or_create(&self.directory()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.place().socket(self.vault.as_os_str().as_encoded_bytes())
    }

    fn dial(&self) -> UnixStream {
        dial(&self.socket()).unwrap()
    }

    fn pid(&self) -> Option<Pid> {
        let place = RuntimeDir::existing(&self.directory()).ok()??;
        let socket = place.socket(self.vault.as_os_str().as_encoded_bytes());
        Some(rustix::net::sockopt::socket_peercred(dial(&socket).ok()?).unwrap().pid)
    }

    fn client(&self) -> Client {
        Client::new(&self.place(), &self.vault, PATIENCE)
    }

    /// Prepares a command without a passphrase.
    fn free<const N: usize>(&self, arguments: [&str; N]) -> Prepared {
        self.command(arguments).without_env("SECRETS_PASSPHRASE")
    }

    fn is_unlocked(&self) -> bool {
        self.client().status(None).unwrap().left.is_some()
    }

    /// Asserts that the agent gives the right answer within five seconds.
    #[track_caller]
    fn assert_serves(&self) {
        let begun = Instant::now();
        let answer = ask(&self.dial(), &Request::Status { path: b"/nothing", vault_id: None });
        assert!(matches!(decoded(&answer), Answer::State { left: None, .. }));
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_secrets"))
}

/// Counts the agents that listen in a directory.
fn agents_in(directory: &Path) -> usize {
    let ours = [b"secrets\0agent\0--directory\0", directory.as_os_str().as_encoded_bytes(), b"\0"]
        .concat();
    let is_ours = |entry: &fs::DirEntry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == ours)
    };

    fs::read_dir("/proc").unwrap().flatten().filter(is_ours).count()
}

fn dial(socket: &Path) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(AT_MOST)).unwrap();
    stream.set_write_timeout(Some(AT_MOST)).unwrap();
    Ok(stream)
}

/// Reads one frame from a stream, without its length.
fn frame(mut stream: &UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;

    Ok(frame)
}

fn send_request(mut stream: &UnixStream, request: &Request<'_>) {
    stream.write_all(request.encode().unwrap().expose()).unwrap();
}

fn ask(stream: &UnixStream, request: &Request<'_>) -> Vec<u8> {
    send_request(stream, request);
    frame(stream).unwrap()
}

#[track_caller]
fn decoded(frame: &[u8]) -> Answer<'_> {
    Answer::decode(frame).unwrap_or_else(|why| panic!("{why:?}: {frame:02x?}"))
}

/// Reads a stream to its end. Returns `None` if the end does not come in time. A reset counts as an
/// end: the other side closed with unread data.
fn rest(mut stream: &UnixStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => None,
        _ => Some(all),
    }
}

/// Asserts that the agent ends and removes its socket.
#[track_caller]
fn assert_ends(home: &Home, pid: Pid) {
    within(AT_MOST, "the agent ends", || has_ended(pid));
    assert!(!home.socket().exists());
}

fn descriptors(pid: Pid) -> Vec<PathBuf> {
    let all = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

/// Returns requests of each kind.
fn requests() -> Vec<SecretBytes> {
    let path = b"/a/path of some\xff/vault.db".as_slice();
    let wanted = |class, salt| WantedKey { rid: [4; 8], generation: 5, class, salt };
    let wanted = vec![wanted(Class::Team, Some([6; 24])), wanted(Class::Restricted, None)];
    let names = vec![b"one".as_slice(), b"", b"t\xffree"];
    let change =
        |kind, names| Request::Change { path, vault_id: [3; 16], rows: &[7; 90], kind, names };

    [
        Request::LockAll,
        Request::Status { path, vault_id: None },
        Request::Status { path, vault_id: Some([3; 16]) },
        Request::Lock { path },
        Request::CheckpointKey { path },
        Request::Index { path, names: vec![] },
        Request::Index { path, names: names.clone() },
        Request::Directory { path, vault_id: [3; 16], rows: &[7; 90] },
        Request::Open { path, vault_id: [3; 16], rows: &[], indexes: &[8; 32] },
        Request::MessageKeys { path, ticket: &[9; 70], wanted: vec![] },
        Request::MessageKeys { path, ticket: &[9; 70], wanted },
        Request::Head { path, ticket: &[9; 70], row: sign_frame(path, None).previous },
        Request::Sign(sign_frame(path, None)),
        Request::Sign(sign_frame(
            path,
            Some(PolicyRow { version: 2, body: vec![1; 50], sig: vec![2; 64] }),
        )),
        change(ChangeKind::Add, names.clone()),
        change(ChangeKind::Rename, names),
        change(ChangeKind::Delete, vec![]),
    ]
    .iter()
    .map(|request| request.encode().unwrap())
    .collect()
}

fn sign_frame(path: &[u8], policy: Option<PolicyRow>) -> Box<SignFrame<'_>> {
    let previous = ProjectRow { pid: [1; 16], epoch: 2, head: vec![3; 40], sig: vec![4; 64] };
    Box::new(SignFrame {
        path,
        ticket: &[9; 70],
        previous,
        policy,
        head: &[5; 60],
        change: &[6; 9],
    })
}

/// Answers every connection in the agent's place, as our own user.
fn impostor(home: &Home, answer: impl Fn(UnixStream) + Send + Sync + 'static) {
    impostor_at(&home.socket(), answer);
}

fn impostor_at(socket: &Path, answer: impl Fn(UnixStream) + Send + Sync + 'static) {
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer(stream));
        }
    });
}
