//! The agent: access control, protocol, lifetime, rollback detection, and traces in memory.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::process::{Pid, Resource, Signal, Uid, kill_process};
use rustix::thread::set_thread_res_uid;
use terminal_secrets::agent::{
    AgentFault, Answer, Client, Handover, LARGEST_FRAME, MOST_CONNECTIONS, Request, RuntimeDir,
    VERSION,
};
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::crypto::root_key::{RootKey, row_and_slots};
use terminal_secrets::crypto::rows::{ProjectRow, Slot, VaultRow};
use terminal_secrets::model::SecretBytes;
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::{
    KeyServiceError, Locked, RootKeyHandle, RootTables, SecretChanges, Vault, VaultError,
};

use crate::support::programs::{NOBODY, am_root, has_ended, within};
use crate::support::random::Dice;
use crate::support::specimen::Specimen;
use crate::support::traces::{find_in_memory, keys, kib, proc};
use crate::support::values::reveal;
use crate::support::{
    PATH, Prepared, Sandbox, passphrase, project, secret, specimen, value, wrapped_in,
};

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
        RuntimeDir::made(&self.directory()).unwrap()
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

/// Returns the row of the vault at `/steady`, without slots.
fn row_of_steady() -> Vec<u8> {
    [
        &[0, 0, 0, 16],
        &[1; 16][..],
        &[0, 0, 0, 4],
        &[0; 4],
        &[0, 0, 0, 8],
        &[0; 8],
        &[0, 0, 2, 0],
        &[0; 512],
        &[0; 4],
    ]
    .concat()
}

fn descriptors(pid: Pid) -> Vec<PathBuf> {
    let all = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

// Protocol

/// Returns one request of each kind.
fn requests() -> Vec<SecretBytes> {
    let row = |n: u8| ProjectRow {
        pid: [n; 16],
        epoch: u32::from(n),
        keys: vec![n; 300],
        head: vec![n; 200],
        sig: vec![n; 64],
    };

    let path = b"/a/path of some\xff/vault.db".as_slice();
    [
        Request::LockAll,
        Request::Status { path, vault_id: None },
        Request::Status { path, vault_id: Some([3; 16]) },
        Request::Lock { path },
        Request::BeginMac { path, row_and_slots: &[6; 99] },
        Request::MoreMac { bytes: &[7; 1000] },
        Request::MoreMac { bytes: &[] },
        Request::Verify { mac: &[8; 32] },
        Request::Sign,
        Request::Open { rows: vec![] },
        Request::Open { rows: vec![row(1), row(2)] },
        Request::Seal { path, pid: [1; 16], epoch: 9, keyring: &[b'k'; 100] },
        Request::CheckpointKey,
    ]
    .iter()
    .map(|request| request.encode().unwrap())
    .collect()
}

fn answers() -> Vec<SecretBytes> {
    let faults = [
        AgentFault::Locked,
        AgentFault::Replaced,
        AgentFault::RolledBack,
        AgentFault::ProjectRolledBack(0),
        AgentFault::ProjectRolledBack(77),
        AgentFault::OtherSlots,
        AgentFault::RootTables,
        AgentFault::Keyring(u32::MAX),
        AgentFault::System,
        AgentFault::Version,
    ];

    let mut all = vec![
        Answer::Done(true),
        Answer::Done(false),
        Answer::State { left: None },
        Answer::State { left: Some((1, u64::MAX)) },
        Answer::Bytes(&[]),
        Answer::Bytes(&[9; 32]),
        Answer::Keyrings(vec![]),
        Answer::Keyrings(vec![b"one", b"", b"three"]),
    ];

    all.extend(faults.map(Answer::Failed));
    all.iter().map(|answer| answer.encode().unwrap()).collect()
}

/// Decodes a frame and encodes it again.
fn reencoded(frame: &[u8]) -> Option<SecretBytes> {
    match frame.get(1) {
        Some(kind) if *kind < 128 => Request::decode(frame).ok()?.encode(),
        _ => Answer::decode(frame).ok()?.encode(),
    }
}

#[test]
fn a_frame_round_trips() {
    for frame in requests().iter().chain(&answers()) {
        let (length, body) = frame.expose().split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, body.len());
        assert_eq!(body[0], VERSION);
        assert_eq!(reencoded(body).unwrap().expose(), frame.expose());
    }
}

#[test]
fn an_incomplete_handover_is_refused() {
    let handover = Handover {
        path: b"/a/vault.db",
        vault_id: [3; 16],
        ttl: 60_000,
        idle: u64::MAX,
        key: &[5; 32],
    };

    let frame = handover.encode().unwrap();
    let read = Handover::decode(frame.expose()).unwrap();
    assert_eq!(
        (read.path, read.vault_id, read.ttl, read.idle),
        (&b"/a/vault.db"[..], [3; 16], 60_000, u64::MAX)
    );

    assert_eq!(read.key, &[5; 32]);
    for cut in 0..frame.len() {
        assert!(Handover::decode(&frame.expose()[..cut]).is_none(), "{cut}");
    }

    assert!(Handover::decode(&[frame.expose(), b"x"].concat()).is_none());

    // A handover is not a request: a key never reaches an agent through its socket.
    assert!(Request::decode(&frame.expose()[4..]).is_err());
}

#[test]
fn an_incomplete_frame_is_refused() {
    for frame in requests().iter().chain(&answers()) {
        let body = &frame.expose()[4..];

        // Lists end with their frame. The body of kind 0 is never read.
        let (list, lock_all) = ([8, 131].contains(&body[1]), body[1] == 0);
        for cut in 0..body.len() {
            if let Some(read) = reencoded(&body[..cut]) {
                assert!(list && read.expose()[4..] == body[..cut], "{cut} of {body:02x?}");
            }
        }

        for extra in [0, 1, 255] {
            assert_eq!(
                reencoded(&[body, &[extra]].concat()).is_some(),
                lock_all,
                "{body:02x?} and {extra}"
            );
        }

        for version in [0, VERSION + 1, 255] {
            let other = [&[version], &body[1..]].concat();
            assert_eq!(reencoded(&other).is_some(), lock_all);
        }
    }
}

/// Regression test, found by fuzzing: decoding ignored the remaining time of a locked vault.
#[test]
fn a_locked_vault_has_no_remaining_time() {
    let locked = Answer::State { left: None }.encode().unwrap();
    let mut body = locked.expose()[4..].to_vec();
    assert!(Answer::decode(&body).is_ok());

    for at in 3..body.len() {
        body[at] = 1;
        assert!(Answer::decode(&body).is_err(), "{body:02x?}");
        body[at] = 0;
    }
}

#[test]
fn the_size_of_a_frame_is_limited() {
    let most = vec![0; LARGEST_FRAME - 6];
    assert_eq!(Request::MoreMac { bytes: &most }.encode().unwrap().len(), LARGEST_FRAME + 4);
    assert_eq!(Answer::Bytes(&most).encode().unwrap().len(), LARGEST_FRAME + 4);
    let more = vec![0; LARGEST_FRAME - 5];

    assert!(Request::MoreMac { bytes: &more }.encode().is_none());
    assert!(Answer::Bytes(&more).encode().is_none());
}

/// The agent closes the connection after each of these, without an answer.
#[test]
fn malformed_frames_get_no_answer() {
    let home = Home::with_agent();
    let with_length = |body: &[u8]| [&(body.len() as u32).to_be_bytes(), body].concat();
    let mut bad: Vec<Vec<u8>> = [0, 1, LARGEST_FRAME as u32 + 1, 1 << 30, u32::MAX]
        .map(|n| n.to_be_bytes().to_vec())
        .into();

    for kind in [2, 10, 64, 77, 128, 132, 255] {
        bad.push(with_length(&[VERSION, kind]));
    }

    for frame in requests().iter().filter(|frame| frame.expose()[5] != 0) {
        bad.push(with_length(&[&frame.expose()[4..], b"x"].concat()));
        bad.push(with_length(&frame.expose()[4..frame.len() - 1]));
    }

    // A MAC without a beginning, key rings without a verified MAC, and a path that is longer than
    // its frame.
    bad.push(Request::MoreMac { bytes: b"x" }.encode().unwrap().expose().to_vec());
    bad.push(Request::Verify { mac: &[0; 32] }.encode().unwrap().expose().to_vec());
    bad.push(Request::Sign.encode().unwrap().expose().to_vec());
    bad.push(Request::Open { rows: vec![] }.encode().unwrap().expose().to_vec());
    bad.push(with_length(&[VERSION, 3, 0xff, 0xff, 0xff, 0xff]));
    bad.push(b"GET / HTTP/1.1\r\n\r\n".to_vec());

    // The message that gave a version 2 agent its key, with the present version number.
    let unlock = [&[VERSION, 2, 0, 0, 0, 2, b'/', b'x'], &[3; 16][..], &[9; 16], &[5; 32]].concat();
    bad.push(with_length(&unlock));
    bad.retain(|bytes| reencoded(bytes.get(4..).unwrap_or_default()).is_none_or(|_| bytes[5] >= 5));

    for bytes in &bad {
        let mut stream = home.dial();
        stream.write_all(bytes).unwrap();
        assert_eq!(rest(&stream).as_deref(), Some(&[][..]), "{bytes:02x?}");
    }

    home.assert_serves();
}

#[test]
fn the_largest_frame_is_served() {
    let home = Home::with_agent();
    let stream = home.dial();
    let bytes = vec![0; LARGEST_FRAME - 6];
    let row_and_slots = row_of_steady();

    send_request(&stream, &Request::BeginMac { path: b"/steady", row_and_slots: &row_and_slots });
    for _ in 0..20 {
        send_request(&stream, &Request::MoreMac { bytes: &bytes });
    }

    let answer = ask(&stream, &Request::Verify { mac: &[0; 32] });
    assert!(decoded(&answer) == Answer::Failed(AgentFault::OtherKey));
}

#[test]
fn frames_may_arrive_in_any_pieces() {
    let home = Home::with_agent();
    let request = Request::Status { path: b"/steady", vault_id: None }.encode().unwrap();
    let mut stream = home.dial();
    for byte in request.expose() {
        stream.write_all(&[*byte]).unwrap();
        sleep(Duration::from_millis(2));
    }

    assert!(matches!(decoded(&frame(&stream).unwrap()), Answer::State { left: Some(_), .. }));
    stream.write_all(&request.expose().repeat(100)).unwrap();
    for _ in 0..100 {
        assert!(matches!(decoded(&frame(&stream).unwrap()), Answer::State { left: Some(_), .. }));
    }
}

#[test]
fn a_newer_client_gets_an_error_and_can_end_the_agent() {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    let mut stream = home.dial();
    stream.write_all(&[0, 0, 0, 3, VERSION + 1, 200, 7]).unwrap();
    assert!(decoded(&frame(&stream).unwrap()) == Answer::Failed(AgentFault::Version));
    stream.write_all(&[0, 0, 0, 5, 255, 0, 1, 2, 3]).unwrap();
    assert!(decoded(&frame(&stream).unwrap()) == Answer::Done(true));
    assert_ends(&home, pid);
}

// Commands

#[test]
fn an_unlocked_vault_needs_no_passphrase() {
    let home = Home::new();
    stderr!(home.free(["status", "-q"]).run().fails_with(5), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    stderr!(home.free(["list"]).run().fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    stderr!(home.run(["unlock", "--ttl", "1h", "--idle", "90s"]).succeeds(), @"unlocked `[dir]/vault.db` for 1h, or 1m 30s without use");
    home.free(["create", "--tag", "new", "-q"]).stdin("a new value").run().succeeds();
    home.free(["clone", "key", "--to", "web", "-q"]).run().succeeds();
    home.free(["project", "rename", "web", "site", "-q"]).run().succeeds();
    home.free(["update", "key", "-q"]).stdin("another value").run().succeeds();
    home.free(["render", "-e", "{{KEY}} {{NEW}}"])
        .run()
        .succeeds()
        .stdout("another value a new value");

    home.free(["project", "delete", "site", "-yq"]).run().succeeds();
    home.free(["delete", "new", "-yq"]).run().succeeds();
    home.free(["compact", "-q"]).run().succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");

    let status = home.free(["status", "--json"]).run().succeeds().json();
    assert_eq!((&status["unlocked"], &status["idleSecondsLeft"]), (&true.into(), &90.into()));
    let pid = home.pid().unwrap();
    stderr!(home.free(["lock"]).run().succeeds(), @"locked `[dir]/vault.db`");
    stderr!(home.free(["list"]).run().fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    assert_ends(&home, pid);

    // The command line reads what the library wrote, and the other way round.
    assert_eq!(reveal(&home.vault(), "default", "key").unwrap().unwrap(), b"another value");
}

#[test]
fn a_vault_whose_directory_was_removed_can_be_locked() {
    let home = Home::new();
    fs::create_dir(home.path("disk")).unwrap();
    fs::rename(home.vault_path(), home.path("disk/vault.db")).unwrap();
    let on_disk =
        |line: &[&str]| home.command(line).env("SECRETS_VAULT", home.path("disk/vault.db")).run();

    for line in [&["lock"][..], &["lock", "--all"]] {
        on_disk(&["unlock", "-q"]).succeeds();
        fs::rename(home.path("disk"), home.path("away")).unwrap();
        on_disk(line).succeeds().stderr_has("locked ");
        fs::rename(home.path("away"), home.path("disk")).unwrap();
        on_disk(&["status", "-q"]).fails_with(5).stderr_has("is locked");
    }
}

#[test]
fn locking_a_locked_vault_succeeds() {
    let home = Home::new();
    stderr!(home.run(["lock"]).succeeds(), @"`[dir]/vault.db` was already locked");
    stderr!(home.run(["lock", "--all"]).succeeds(), @"nothing was unlocked");
    home.run(["unlock", "-q"]).succeeds();
    home.run(["lock", "-q"]).succeeds();
    stderr!(home.run(["lock"]).succeeds(), @"`[dir]/vault.db` was already locked");
    stderr!(home.run(["lock", "--all"]).succeeds(), @"nothing was unlocked");
    assert!(!home.socket().exists());
}

#[test]
fn a_wrong_passphrase_or_time_unlocks_nothing() {
    let home = Home::new();
    home.command(["unlock"])
        .env("SECRETS_PASSPHRASE", "wrong")
        .run()
        .fails_with(5)
        .stderr_has("passphrase");

    for time in ["0s", "31d", "x", "1", "18446744073709551615s", "4294967295d", ""] {
        home.run(["unlock", "--ttl", time]).fails_with(2).stderr_has("--ttl");
    }

    assert!(!home.socket().exists());
}

#[test]
fn each_vault_has_its_own_agent() {
    let home = Home::unlocked();
    let other = home.path("other.db");
    Vault::init(&other, &passphrase(), KdfParams::LEAST).unwrap();
    stderr!(home.free(["list", "--vault", "other.db"]).run().fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets --vault other.db unlock` on a terminal
    ");

    let pid = home.pid().unwrap();
    home.run(["unlock", "--vault", "other.db", "-q"]).succeeds();
    assert_eq!(home.pid(), Some(pid), "the other vault's session goes on");
    home.free(["create", "--vault", "other.db", "--tag", "x", "-q"])
        .stdin("of the other")
        .run()
        .succeeds();

    home.free(["render", "-e", "{{KEY}}"]).run().succeeds().stdout("a value of no great length");
    symlink(home.path(""), home.path("link")).unwrap();
    home.free(["render", "--vault", "link/other.db", "-e", "{{X}}"])
        .run()
        .succeeds()
        .stdout("of the other");

    home.free(["lock", "-q"]).run().succeeds();
    stderr!(home.free(["status", "-q"]).run().fails_with(5), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    home.free(["status", "--vault", "other.db", "-q"]).run().succeeds().stdout_has("other.db");
    assert_ends(&home, pid);
    home.run(["unlock", "-q"]).succeeds();
    let pid = home.pid().unwrap();

    home.free(["lock", "--all", "-q"]).run().succeeds();
    assert_ends(&home, pid);
    within(AT_MOST, "the other agent ends", || agents_in(&home.directory()) == 0);
    stderr!(home.free(["status", "--vault", "other.db", "-q"]).run().fails_with(5), @"
    `other.db` is locked
    hint: unlock it with `secrets --vault other.db unlock`
    ");
}

/// No number of other vaults or foreign sockets prevents an unlock, because sessions are not
/// created through a socket.
#[test]
fn foreign_sockets_block_neither_unlock_nor_lock() {
    let home = Home::new();
    let place = home.place();
    let strangers: Vec<_> =
        (0..70_u8).map(|n| UnixListener::bind(place.socket(&[b'/', n])).unwrap()).collect();
    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");

    let (pid, begun) = (home.pid().unwrap(), Instant::now());
    assert!(matches!(
        Client::lock_all(&place, Duration::from_millis(300)),
        Err(KeyServiceError::Silent)
    ));

    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
    assert_ends(&home, pid);
    drop(strangers);
    assert!(!Client::lock_all(&place, PATIENCE).unwrap(), "no agent is left");
    assert_eq!(fs::read_dir(home.directory()).unwrap().count(), 1, "only the lock file is left");
}

/// These six cases mostly wait, so they run in parallel.
#[test]
fn stopped_replaced_and_slow_agents_and_clients_time_out() {
    let tests: [fn(); 6] = [
        an_impostor_in_the_agents_place_gets_no_key,
        concurrent_unlocks_leave_one_agent,
        a_stopped_agent_is_an_error_and_not_an_endless_wait,
        the_longest_and_the_shortest_time_are_served,
        unread_answers_time_out,
        an_unfinished_frame_times_out,
    ];

    thread::scope(|scope| {
        for test in tests {
            scope.spawn(test);
        }
    });
}

fn concurrent_unlocks_leave_one_agent() {
    let home = Home::new();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| home.run(["unlock", "-q"]).succeeds());
        }
    });

    assert!(home.is_unlocked());

    // Agents that were replaced end by themselves.
    within(AT_MOST, "only one agent is left", || agents_in(&home.directory()) == 1);
    assert!(home.is_unlocked());
}

#[test]
fn unlocking_again_restarts_the_time_limit() {
    let home = Home::new();
    home.run(["unlock", "--ttl", "1h", "--idle", "1h", "-q"]).succeeds();
    let pid = home.pid().unwrap();
    home.run(["unlock", "--ttl", "3h", "--idle", "2h", "-q"]).succeeds();
    within(Duration::from_secs(2), "the earlier agent ends", || has_ended(pid));

    let (ttl, idle) = home.client().status(None).unwrap().left.unwrap();
    assert!(ttl > 2 * HOUR && idle > HOUR, "{ttl:?} {idle:?}");
}

#[test]
fn an_agent_without_a_key_ends() {
    let home = Home::new();
    home.place();
    let directory = home.directory();
    let agent = |input: &[u8]| {
        home.command(["agent", "--directory", directory.to_str().unwrap()])
            .stdin(input)
            .run()
            .fails_with(1)
    };

    let frame = Handover { path: b"/x", vault_id: [0; 16], ttl: 1, idle: 1, key: &[0; 32] }
        .encode()
        .unwrap();
    let long = vec![0; 100_000];

    for input in [&b""[..], b"x", &long, &frame.expose()[..frame.len() - 1]] {
        stderr!(agent(input), @"error: the agent ended: invalid data");
    }

    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

// Directory and socket

#[test]
fn socket_and_directory_are_private() {
    let home = Home::unlocked();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&home.directory()), mode(&home.socket())), (0o700, 0o600));
    for entry in fs::read_dir(home.directory()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()) & 0o077, 0);
    }
}

#[test]
fn a_directory_that_others_can_use_is_refused() {
    let home = Home::new();
    fs::create_dir(home.directory()).unwrap();
    for mode in [0o750, 0o701, 0o777] {
        fs::set_permissions(home.directory(), Permissions::from_mode(mode)).unwrap();
        for command in ["unlock", "lock", "status"] {
            stderr!(home.run([command]).fails_with(7), @"
            error: `[dir]/secrets` is accessible to other users
            hint: make `[dir]/secrets` a directory that you own, with mode 700
            ");
        }

        // With a passphrase the agent is not needed. Without one, an unusable directory must not
        // make the command hang.
        home.run(["list", "-q"]).succeeds().stdout_has("key");
        stderr!(home.free(["list", "-q"]).run().fails_with(5), @"
        error: no passphrase was given and there is no terminal to ask on
        hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
        hint: or unlock the vault for a while with `secrets unlock` on a terminal
        ");
    }

    fs::remove_dir(home.directory()).unwrap();
    fs::create_dir(home.path("elsewhere")).unwrap();
    symlink(home.path("elsewhere"), home.directory()).unwrap();
    stderr!(home.run(["unlock"]).fails_with(7), @"
    error: `[dir]/secrets` is not a directory
    hint: make `[dir]/secrets` a directory that you own, with mode 700
    ");

    fs::remove_file(home.directory()).unwrap();
    fs::write(home.directory(), "").unwrap();
    stderr!(home.run(["unlock"]).fails_with(7), @"
    error: `[dir]/secrets` is not a directory
    hint: make `[dir]/secrets` a directory that you own, with mode 700
    ");

    if am_root() {
        fs::remove_file(home.directory()).unwrap();
        fs::create_dir(home.directory()).unwrap();
        chown(home.directory(), Some(NOBODY), None).unwrap();
        stderr!(home.run(["unlock"]).fails_with(7), @"
        error: `[dir]/secrets` belongs to another user
        hint: make `[dir]/secrets` a directory that you own, with mode 700
        ");
    }
}

#[test]
fn a_path_too_long_for_a_socket_is_reported() {
    let home = Home::new();
    let long = home.path(&"x".repeat(120));
    fs::create_dir(&long).unwrap();

    for command in ["unlock", "lock", "status"] {
        let run = home.command([command]).env("XDG_RUNTIME_DIR", &long).run();
        stderr!(run.fails_with(2), @"
        error: the path `[dir]/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/secrets` is too long to contain a socket
        hint: set XDG_RUNTIME_DIR to a directory with a shorter path
        ");
    }

    // A private file needs the directory, but no socket.
    let run = home.command([
        "run",
        "--file",
        "F=key",
        "--",
        "sh",
        "-c",
        "cmp \"$F\" /dev/null 2>&1 | wc -l",
    ]);

    run.env("XDG_RUNTIME_DIR", &long).run().succeeds().stdout("1\n");
    home.command(["list", "-q"]).env("XDG_RUNTIME_DIR", &long).run().succeeds().stdout_has("key");
}

#[test]
fn without_a_runtime_directory_the_state_directory_is_used() {
    if Path::new("/run/user").join(rustix::process::geteuid().to_string()).exists() {
        return; // that directory would be used, and it is not ours to test with
    }

    let home = Home::new();
    let state = home.path("state");
    for runtime in ["", "relative", "/", "/proc/1/root/nowhere"] {
        if runtime == "/" && am_root() {
            continue;
        }

        let command = |name| {
            home.command([name, "-q"]).env("XDG_RUNTIME_DIR", runtime).env("XDG_STATE_HOME", &state)
        };

        command("unlock").run().succeeds();
        assert_eq!(agents_in(&state.join("secrets")), 1, "{runtime}");
        command("lock").run().succeeds();
        within(AT_MOST, "the agent ends", || agents_in(&state.join("secrets")) == 0);
    }
}

/// A login, cron, `su` and a container may each have their own runtime directory, or none.
#[test]
fn lock_finds_agents_of_every_login() {
    let home = Home::new();
    let (one, other) = (home.path("one"), home.path("other"));
    for directory in [&one, &other] {
        fs::create_dir(directory).unwrap();
    }

    let at =
        |runtime: &Path, line: &[&str]| home.command(line).env("XDG_RUNTIME_DIR", runtime).run();
    let nowhere = Path::new("");
    for (runtime, later) in [(nowhere, one.as_path()), (&one, &other), (&one, nowhere)] {
        if runtime == nowhere
            && Path::new("/run/user").join(rustix::process::geteuid().to_string()).exists()
        {
            continue;
        }

        for line in [&["lock"][..], &["lock", "--all"]] {
            at(runtime, &["unlock", "-q", "--ttl", "8h"]).succeeds();
            at(runtime, &["status", "-q"]).succeeds().stdout_has("unlocked");
            at(later, line).succeeds().stderr_has("locked ");
            at(runtime, &["status", "-q"]).fails_with(5).stderr_has("is locked");
        }

        at(later, &["lock", "--all"]).succeeds().stderr_has("nothing was unlocked");
    }

    // A removed directory is forgotten. It is not an error.
    fs::remove_dir_all(&one).unwrap();
    at(&other, &["lock", "--all"]).succeeds().stderr_has("nothing was unlocked");
    assert_eq!(fs::read_dir(home.state().join("secrets/agents")).into_iter().flatten().count(), 1);
}

// Other users

/// Runs a closure as another user. On Linux a single thread can change its user.
fn as_nobody<T: Send>(deed: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = Uid::from_raw(NOBODY);
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
            deed()
        });

        thread.join().unwrap()
    })
}

#[test]
fn another_user_gets_no_answer() {
    if !am_root() {
        return;
    }

    let home = Home::unlocked();
    let socket = home.socket();
    assert_eq!(as_nobody(|| dial(&socket).unwrap_err().kind()), ErrorKind::PermissionDenied);

    // Another user is refused even if the file modes allow access.
    for path in [&home.path(""), &home.directory(), &socket] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }

    let answer = as_nobody(|| {
        let mut stream = dial(&socket).unwrap();
        let _ = stream.write_all(Request::LockAll.encode().unwrap().expose());
        rest(&stream)
    });

    assert_eq!(answer, Some(vec![]));
    fs::set_permissions(home.directory(), Permissions::from_mode(0o700)).unwrap();
    assert!(home.is_unlocked());
}

#[test]
fn another_users_agent_gets_no_key() {
    if !am_root() {
        return;
    }

    let home = Home::new();
    let socket = home.socket();
    for path in [home.path(""), home.directory()] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }

    let listener = as_nobody(|| UnixListener::bind(socket).unwrap());
    for path in [home.path(""), home.directory()] {
        fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    }

    for command in ["unlock", "lock", "status", "list"] {
        let run = if command == "unlock" { home.command([command]) } else { home.free([command]) };
        stderr!(run.run().fails_with(7), @"error: the process that listens on the agent's socket belongs to another user");
    }

    listener.set_nonblocking(true).unwrap();
    while let Ok((stream, _)) = listener.accept() {
        assert_eq!(rest(&stream), Some(vec![]), "a client sent something to another user's agent");
    }
}

// Impostors in the agent's place

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

/// An impostor in an agent's place, of this or an earlier version, gets no byte of the root key and
/// blocks nobody.
fn an_impostor_in_the_agents_place_gets_no_key() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let answers = [
        Answer::Done(true),
        Answer::State { left: Some((1, 1)) },
        Answer::Failed(AgentFault::OtherKey),
    ];

    let mut answers: Vec<Vec<u8>> =
        answers.iter().map(|answer| answer.encode().unwrap().expose().to_vec()).collect();
    answers.extend([vec![], b"no frame at all".to_vec()]);
    let meets = |answer: Vec<u8>| {
        let home = Home::new();
        let hear = |heard: &Arc<Mutex<Vec<u8>>>| {
            let (heard, answer) = (Arc::clone(heard), answer.clone());
            move |mut stream: UnixStream| {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece) {
                    heard.lock().unwrap().extend_from_slice(&piece[..length]);
                    if stream.write_all(&answer).is_err() || answer.is_empty() {
                        return;
                    }
                }
            }
        };

        impostor(&home, hear(&heard));
        impostor_at(&home.directory().join("agent.sock"), hear(&heard));
        home.run(["unlock", "-q"]).succeeds();
        home.free(["list", "-q"]).run().succeeds().stdout_has("key");
        assert!(
            home.pid().is_some_and(|pid| pid != rustix::process::getpid()),
            "the agent took the place over"
        );

        assert!(!home.directory().join("agent.sock").exists());
        *Locked::open(&home.vault_path()).unwrap().root_key(&passphrase()).unwrap().expose()
    };

    // Each case mostly waits.
    let roots: Vec<[u8; 32]> = thread::scope(|scope| {
        let all: Vec<_> =
            answers.into_iter().map(|answer| scope.spawn(move || meets(answer))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });

    for root in roots {
        let heard = heard.lock().unwrap();
        assert!(root.windows(4).all(|piece| memmem::find(&heard, piece).is_none()));
    }

    assert!(heard.lock().unwrap().len() > 1000, "the impostors received some traffic");
}

/// An impostor that claims to have seen a newer state can refuse `unlock` until `lock` removes its
/// socket.
#[test]
fn lock_removes_an_impostor() {
    let home = Home::new();
    impostor(&home, |mut stream| {
        while frame(&stream).is_ok() {
            let fault = Answer::Failed(AgentFault::RolledBack).encode().unwrap();
            if stream.write_all(fault.expose()).is_err() {
                return;
            }
        }
    });

    stderr!(home.run(["unlock"]).fails_with(6), @"
    error: the agent has seen a newer state of this vault
    hint: put the newest copy back, or accept this older one with `secrets restore --accept`
    hint: if this is the newest copy, stop the agent with `secrets lock`, then run `secrets unlock` again
    ");

    home.run(["lock", "-q"]).succeeds();
    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
}

#[test]
fn an_agent_of_another_version_is_reported_without_waiting() {
    let home = Home::new();
    let other_version = |mut stream: UnixStream| {
        let _ = frame(&stream);
        let _ = stream.write_all(&[0, 0, 0, 4, VERSION + 1, 128, 1, 2]);
    };

    impostor(&home, other_version);
    let begun = Instant::now();
    for command in ["status", "list", "lock"] {
        stderr!(home.free([command]).run().fails_with(1), @"
        error: the agent was started by another version of `secrets`
        hint: stop it with `secrets lock --all`, then run `secrets unlock` again
        ");
    }

    stderr!(home.free(["status", "-q"]).run().fails_with(5), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    impostor(&home, other_version);
    stderr!(home.run(["lock", "--all"]).succeeds(), @"locked every vault");
    impostor(&home, other_version);
    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_nonsensical_answer_is_an_error() {
    let home = Home::new();
    for answer in [
        &b"garbage that is no frame"[..],
        &[0, 0, 0, 3, VERSION, 128, 7],
        &[0, 1, 0, 1],
        &[0, 0, 0, 3, VERSION, 131, 0],
    ] {
        let answer = answer.to_vec();
        impostor(&home, move |mut stream| {
            let _ = frame(&stream);
            let _ = stream.write_all(&answer);
        });
        stderr!(home.free(["list"]).run().fails_with(1), @"
        error: the agent sent an invalid response
        hint: stop it with `secrets lock --all`, then run `secrets unlock` again
        ");
    }
}

/// Tests four ways of not answering.
#[test]
fn an_agent_that_does_not_answer_times_out() {
    let patience = Duration::from_millis(500);
    let deaf: [fn(UnixStream); 4] = [
        drop,
        |stream| {
            let _ = frame(&stream);
            sleep(AT_MOST);
        },
        |_stream| sleep(AT_MOST),
        // A byte now and then is not an answer either.
        |mut stream| {
            let _ = frame(&stream);
            for byte in Answer::Bytes(&[0; 60]).encode().unwrap().expose() {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }

                sleep(Duration::from_millis(100));
            }
        },
    ];

    let specimen = Specimen::new();
    let (vault, slots, projects) = tables(&specimen);
    let tables = RootTables { vault: &vault, slots: &slots, projects: &projects, grants: &[] };
    let talk = |n: usize, deaf: fn(UnixStream)| {
        let home = Home::empty("/x");
        let client = Client::new(&home.place(), Path::new("/x"), patience);
        let silent = |what: &str, talk: &dyn Fn() -> Option<KeyServiceError>| {
            impostor(&home, deaf);
            let begun = Instant::now();
            assert!(matches!(talk(), Some(KeyServiceError::Silent)), "{n} {what}");
            assert!(begun.elapsed() < 4 * patience, "{n} {what}: {:?}", begun.elapsed());
        };

        silent("status", &|| client.status(None).err());
        silent("lock", &|| client.lock().err());
        silent("list", &|| match client.open(&tables) {
            Err(VaultError::KeyService(error)) => Some(error),
            _ => None,
        });

        impostor(&home, deaf);
        let begun = Instant::now();

        // A client cannot tell an agent that closes the connection from one that is ending.
        let _ = Client::lock_all(&home.place(), patience);
        assert!(begun.elapsed() < 4 * patience, "{n} lock --all: {:?}", begun.elapsed());
        assert!(!home.socket().exists());
    };

    thread::scope(|scope| {
        for (n, deaf) in deaf.into_iter().enumerate() {
            scope.spawn(move || talk(n, deaf));
        }
    });
}

fn a_stopped_agent_is_an_error_and_not_an_endless_wait() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    thread::scope(|scope| {
        for command in ["list", "status"] {
            let home = &home;
            scope.spawn(move || {
                let begun = Instant::now();
                stderr!(home.free([command]).run().fails_with(1), @"
                error: the agent does not respond
                hint: stop it with `pkill -KILL -x -u $(id -u) secrets-agent`, then run `secrets unlock` again
                ");

                assert!(begun.elapsed() < AT_MOST, "{command}: {:?}", begun.elapsed());
            });
        }
    });

    home.run(["list", "-q"]).succeeds().stdout_has("key");

    // `unlock` replaces the stopped agent, which ends as soon as it continues.
    let impatient = Client::new(&home.place(), &home.vault, Duration::from_millis(500));
    let locked = Locked::open(&home.vault_path()).unwrap();
    let root = locked.root_key(&passphrase()).unwrap();
    impatient.unlock(program(), &locked, &root, (HOUR, HOUR)).unwrap();

    let next = home.pid().unwrap();
    assert_ne!(next, pid);
    kill_process(pid, Signal::CONT).unwrap();
    within(AT_MOST, "the stopped agent ends", || has_ended(pid));
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");

    // An agent that `lock` could not reach ends in the same way.
    kill_process(next, Signal::STOP).unwrap();
    assert!(matches!(impatient.lock(), Err(KeyServiceError::Silent)));
    stderr!(home.free(["status", "-q"]).run().fails_with(5), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    kill_process(next, Signal::CONT).unwrap();
    within(AT_MOST, "it ends", || has_ended(next));
}

#[test]
fn a_killed_agent_does_not_block_the_next_one() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    within(AT_MOST, "the agent is killed", || has_ended(pid));
    assert!(home.socket().exists());
    stderr!(home.free(["list"]).run().fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    stderr!(home.free(["status", "-q"]).run().fails_with(5), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    stderr!(home.free(["lock"]).run().succeeds(), @"`[dir]/vault.db` was already locked");
    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
}

/// A cleanup job may remove the socket. No key may stay in a process that nobody can reach.
#[test]
fn an_agent_whose_socket_was_removed_ends() {
    let (home, other) = (Home::new(), Home::new());

    // The short time limit ends an agent that does not notice, because the sandbox can no longer
    // reach it.
    for home in [&home, &other] {
        home.run(["unlock", "--ttl", "20s", "-q"]).succeeds();
    }

    let (pid, others) = (home.pid().unwrap(), other.pid().unwrap());
    fs::remove_file(home.socket()).unwrap();
    fs::remove_file(other.socket()).unwrap();
    let _stranger = UnixListener::bind(other.socket()).unwrap();

    // An `unlock` in the meantime waits for the old agent.
    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    within(AT_MOST, "the agents end", || has_ended(pid) && has_ended(others));
    assert!(other.socket().exists(), "an agent must not remove another one's socket");
}

// Lifetime

#[test]
fn signals_end_the_agent() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let home = Home::unlocked();
        let pid = home.pid().unwrap();
        kill_process(pid, signal).unwrap();
        assert_ends(&home, pid);
        stderr!(home.free(["list"]).run().fails_with(5), @"
        error: no passphrase was given and there is no terminal to ask on
        hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
        hint: or unlock the vault for a while with `secrets unlock` on a terminal
        ");
    }
}

#[test]
fn the_time_limit_holds_whatever_happens() {
    let home = Home::new();
    let begun = Instant::now();
    home.run(["unlock", "--ttl", "2s", "-q"]).succeeds();
    let pid = home.pid().unwrap();

    while home.free(["list", "-q"]).run().everything().0 == Some(0) {
        assert!(begun.elapsed() < AT_MOST);
    }

    assert!(begun.elapsed() > Duration::from_secs(2));
    assert_ends(&home, pid);
}

#[test]
fn the_idle_limit_is_extended_only_by_requests() {
    let home = Home::empty("/steady");
    home.start_agent(Duration::from_millis(1500), Duration::from_millis(500));
    let (pid, begun) = (home.pid().unwrap(), Instant::now());
    let state =
        || match decoded(&ask(&home.dial(), &Request::Status { path: b"/steady", vault_id: None }))
        {
            Answer::State { left, .. } => left,
            _ => panic!("no state"),
        };

    while begun.elapsed() < Duration::from_millis(1200) {
        let (ttl, idle) = state().unwrap();
        assert!(ttl <= 1500 && idle <= 500 && idle <= ttl);
        sleep(Duration::from_millis(150));
    }

    assert_ends(&home, pid);
    assert!((1300..4000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    home.start_agent(HOUR, Duration::from_millis(700));
    let (pid, begun) = (home.pid().unwrap(), Instant::now());

    // A question about another vault does not count as use of this one.
    while begun.elapsed() < Duration::from_millis(500) {
        home.assert_serves();
        sleep(Duration::from_millis(100));
    }

    assert_ends(&home, pid);
    assert!((500..2500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

fn the_longest_and_the_shortest_time_are_served() {
    let home = Home::empty("/steady");
    home.start_agent(Duration::MAX, Duration::MAX);
    let pid = home.pid().unwrap();
    let state = ask(&home.dial(), &Request::Status { path: b"/steady", vault_id: None });

    assert!(matches!(decoded(&state), Answer::State { left: Some(_), .. }));
    for (ttl, idle) in [(Duration::ZERO, Duration::MAX), (Duration::MAX, Duration::ZERO)] {
        home.start_agent(ttl, idle);
        within(AT_MOST, "the agent ends", || !home.socket().exists());
    }

    within(AT_MOST, "the first agent notices that it was replaced", || has_ended(pid));
}

// Many connections and slow ones

#[test]
fn a_new_client_is_served_despite_silent_connections() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let mut silent: Vec<UnixStream> = (0..100).map(|_| home.dial()).collect();
    sleep(Duration::from_millis(100));
    silent.extend((0..200).map(|_| home.dial()));
    home.assert_serves();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    assert!(descriptors(pid).len() < MOST_CONNECTIONS + 16);

    // The agent closed the oldest connections first.
    let closed = |stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0))
    };

    let closed: Vec<bool> = silent.iter().map(closed).collect();
    assert!(closed[..100].iter().all(|closed| *closed));
    assert!(closed[290..].iter().all(|closed| !closed));
}

fn an_unfinished_frame_times_out() {
    let home = Home::with_agent();
    let begun = Instant::now();
    let mut stream = home.dial();
    let request = Request::Status { path: b"/steady", vault_id: None }.encode().unwrap();

    for byte in request.expose() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }

        sleep(Duration::from_millis(500));
    }

    assert_eq!(rest(&stream).as_deref(), Some(&[][..]));
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
}

/// The agent drops a client that does not read its answers. No other client waits for it.
fn unread_answers_time_out() {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    let request = Request::Status { path: b"/steady", vault_id: None }.encode().unwrap();
    let many = request.expose().repeat(100);
    let greedy: Vec<UnixStream> = (0..20).map(|_| home.dial()).collect();
    let begun = Instant::now();

    for mut stream in &greedy {
        stream.set_nonblocking(true).unwrap();
        while stream.write(&many).is_ok() {
            assert!(begun.elapsed() < AT_MOST);
        }
    }

    home.assert_serves();
    within(AT_MOST, "the connections are closed", || descriptors(pid).len() < 16);
    assert!(kib(pid, "VmRSS") < 64 * 1024);
}

/// A flood of minimal frames does not starve other clients.
#[test]
fn a_new_client_is_served_despite_a_flood_of_small_frames() {
    let home = Home::with_agent();
    let row_and_slots = row_of_steady();
    let first = Request::BeginMac { path: b"/steady", row_and_slots: &row_and_slots };
    let flood = Request::MoreMac { bytes: &[] }.encode().unwrap().expose().repeat(10_000);
    let streams: Vec<UnixStream> = (0..20).map(|_| home.dial()).collect();

    thread::scope(|scope| {
        for mut stream in &streams {
            send_request(stream, &first);
            let flood = &flood;
            scope.spawn(move || while stream.write_all(flood).is_ok() {});
        }

        sleep(Duration::from_millis(500));
        let begun = Instant::now();
        let served = thread::scope(|scope| scope.spawn(|| home.assert_serves()).join());
        let took = begun.elapsed();

        for stream in &streams {
            let _ = stream.shutdown(Shutdown::Both);
        }

        assert!(served.is_ok(), "served after {took:?}");
    });
}

// Traces in memory and in the process

#[test]
fn the_agent_inherits_nothing_from_its_first_caller() {
    let home = Home::new();
    let mut caller = home.command(["unlock", "-q"]).env("A_CALLERS_VARIABLE", "x");
    let inherited = home.write("inherited", "");
    let script = format!(
        "umask 0; trap '' TERM HUP; exec 7<'{0}' 9>'{0}'; \"$@\" <&7 | cat",
        inherited.display()
    );

    let mut shell = wrapped_in(&["sh", "-c", &script, "sh"], &caller);

    // Reading the pipe ends when the caller exits, because the agent does not keep it open.
    let output = shell.env("PATH", PATH).output().unwrap();
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );

    caller.command.env_clear();
    let pid = home.pid().unwrap();
    let number = pid.as_raw_nonzero();
    assert_eq!(proc(pid, "environ"), b"");
    assert_eq!(fs::read_link(format!("/proc/{number}/cwd")).unwrap(), Path::new("/"));

    let expected = [
        &b"secrets\0agent\0--directory\0"[..],
        home.directory().as_os_str().as_encoded_bytes(),
        b"\0",
    ]
    .concat();

    assert_eq!(proc(pid, "cmdline"), expected);
    for descriptor in descriptors(pid) {
        let name = descriptor.to_string_lossy().into_owned();
        let own = name == "/dev/null"
            || name.starts_with("socket:")
            || name.ends_with("/secrets/agent.lock");

        assert!(own, "{name}");
    }

    // Fields: state, parent, group, session, terminal.
    let stat = String::from_utf8(proc(pid, "stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let own = number.to_string();
    assert_eq!((fields[2], fields[3], fields[4]), (own.as_str(), own.as_str(), "0"), "{stat}");

    let status = String::from_utf8(proc(pid, "status")).unwrap();
    assert!(status.contains("Umask:\t0077"), "{status}");
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    assert!(status.contains("Threads:\t1\n"), "{status}");

    // The agent ends on a signal even if its caller ignored that signal.
    kill_process(pid, Signal::HUP).unwrap();
    assert_ends(&home, pid);
}

#[test]
fn the_key_is_in_one_page_locked_and_left_out_of_dumps_and_forks() {
    if !am_root() {
        return; // only root can read the memory of an undumpable process
    }

    let home = Home::unlocked();
    for _ in 0..3 {
        home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    }

    home.free(["create", "--tag", "x", "-q"]).stdin("value").run().succeeds();
    let pid = home.pid().unwrap();
    let root = Locked::open(&home.vault_path()).unwrap().root_key(&passphrase()).unwrap();
    let found = find_in_memory(pid, root.expose());
    let [(_, lines)] = found.as_slice() else { panic!("{} places: {found:#?}", found.len()) };
    let flags: Vec<&str> =
        lines.lines().find(|line| line.starts_with("VmFlags:")).unwrap().split(' ').collect();
    for flag in ["dd", "dc", "lo"] {
        assert!(flags.contains(&flag), "{flag}: {flags:?}");
    }

    assert!(lines.contains("Locked:                4 kB"), "{lines}");
    assert_eq!(kib(pid, "VmLck"), 4);
    let limits = String::from_utf8(proc(pid, "limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();

    assert_eq!(core.split_whitespace().nth(4), Some("0"));
}

#[test]
fn memory_that_cannot_be_locked_is_a_warning() {
    let home = Home::new();
    let unlock = home.command(["unlock"]);

    // Root can lock any amount of memory unless it lacks the capability.
    let without: &[&str] = if am_root() {
        &["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]
    } else {
        &["env"]
    };
    let wrapper = [without, &["prlimit", "--memlock=0:0"]].concat();
    let output = wrapped_in(&wrapper, &unlock).env("PATH", PATH).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();

    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("the key may be written to swap"), "{stderr}");
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    assert_eq!(kib(home.pid().unwrap(), "VmLck"), 0);
}

/// Reads every answer of an agent to every kind of request.
#[test]
fn the_root_key_is_in_no_answer() {
    let home = Home::unlocked();

    // The commands find another runtime directory. An eavesdropper there forwards everything.
    fs::create_dir(home.path("ear")).unwrap();
    let place = RuntimeDir::made(&home.path("ear/secrets")).unwrap();
    let (socket, data) = (home.socket(), Arc::new(Mutex::new(Vec::new())));
    let ear = Arc::clone(&data);

    impostor_at(&place.socket(home.vault.as_os_str().as_encoded_bytes()), move |mut client| {
        let mut agent = UnixStream::connect(&socket).unwrap();
        let (mut from_client, mut to_agent) =
            (client.try_clone().unwrap(), agent.try_clone().unwrap());
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_agent);
            let _ = to_agent.shutdown(Shutdown::Write);
        });

        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = agent.read(&mut piece) {
            ear.lock().unwrap().extend_from_slice(&piece[..length]);
            let _ = client.write_all(&piece[..length]);
        }

        let _ = client.shutdown(Shutdown::Both);
    });

    let free = |line: &[&str]| {
        let command = home.command(line).without_env("SECRETS_PASSPHRASE");
        command.env("XDG_RUNTIME_DIR", home.path("ear"))
    };

    free(&["create", "--tag", "new", "-q"]).stdin("a new value").run().succeeds();
    free(&["clone", "key", "--to", "web", "-q"]).run().succeeds();
    free(&["project", "rename", "web", "site", "-q"]).run().succeeds();
    free(&["list", "-q"]).run().succeeds().stdout_has("key");
    free(&["render", "-e", "{{KEY}}"]).run().succeeds().stdout_has("value");
    free(&["status", "-q"]).run().succeeds().stdout_has("unlocked");
    free(&["lock", "-q"]).run().succeeds();

    let root = Locked::open(&home.vault_path()).unwrap().root_key(&passphrase()).unwrap();
    let data = data.lock().unwrap();
    assert!(data.len() > 500 && memmem::find(&data, b"site").is_some(), "the traffic was recorded");

    // Not even eight bytes of the key were sent.
    assert!(root.expose().windows(8).all(|piece| memmem::find(&data, piece).is_none()));
}

#[test]
fn an_agent_that_is_locked_ends() {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    let answer = ask(&home.dial(), &Request::Lock { path: b"/another" });
    assert!(decoded(&answer) == Answer::Done(false));

    let answer = ask(&home.dial(), &Request::Lock { path: b"/steady" });
    assert!(decoded(&answer) == Answer::Done(true));
    assert_ends(&home, pid);
}

// Rollback detection

/// An agent that holds the fixture's key.
struct Watched {
    home: Home,
    specimen: Specimen,
}

impl Watched {
    fn new(specimen: Specimen) -> Self {
        let watched = Self::unseen(specimen);
        watched.look().unwrap();
        watched
    }

    /// Creates an agent that has not seen the vault yet.
    fn unseen(specimen: Specimen) -> Self {
        let vault = specimen.path().canonicalize().unwrap();
        let watched = Self { home: Home { sandbox: Sandbox::empty(), vault }, specimen };
        watched.client().start(program(), [9; 16], &specimen::root(), (HOUR, HOUR)).unwrap();
        watched
    }

    fn client(&self) -> Client {
        self.home.client()
    }

    /// Does what the command `unlock` does.
    fn unlock(&self) -> Result<bool, VaultError> {
        let locked = Locked::open(&self.specimen.path()).unwrap();
        self.client().unlock(program(), &locked, &specimen::root(), (HOUR, HOUR))
    }

    fn vault(&self) -> Vault {
        Locked::open(&self.specimen.path()).unwrap().unlocked(self.client())
    }

    /// Does what the command `list` does.
    fn look(&self) -> Result<usize, VaultError> {
        self.vault().list(None, |_| true).map(|all| all.len())
    }

    #[track_caller]
    fn notices_a_rollback(&self, name: Option<&str>) {
        match self.look() {
            Err(VaultError::KeyService(KeyServiceError::RolledBack(found))) => {
                assert_eq!(found, name.map(project));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_rollback_of_the_vault_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let now = watched.specimen.bytes();
    watched.specimen.overwrite(&Specimen::earlier().bytes());
    watched.notices_a_rollback(Some("alpha"));

    // The second attempt is refused as well, and so is a write.
    let refused = watched.vault().create(&project("alpha"), secret("x", b"x"));
    assert!(matches!(refused, Err(VaultError::KeyService(KeyServiceError::RolledBack(_)))));
    watched.notices_a_rollback(Some("alpha"));
    watched.specimen.overwrite(&now);
    assert_eq!(watched.look().unwrap(), 3);
}

#[test]
fn a_fork_of_a_vault_is_noticed() {
    let watched = Watched::new(Specimen::new());
    watched.specimen.overwrite(&Specimen::fork().bytes());
    watched.notices_a_rollback(Some("alpha"));
}

#[test]
fn a_rollback_to_before_a_project_existed_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let before = watched.specimen.bytes();
    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.specimen.overwrite(&before);
    watched.notices_a_rollback(None);
}

/// A writer shows the agent its new state, so rolling that back is noticed too.
#[test]
fn a_rollback_of_the_last_write_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let before = watched.specimen.bytes();
    let changes = SecretChanges { value: Some(value(b"newer")), ..SecretChanges::default() };
    watched.vault().update(&project("beta"), &"three".parse().unwrap(), None, changes).unwrap();
    watched.specimen.overwrite(&before);
    watched.notices_a_rollback(Some("beta"));
}

#[test]
fn a_rollback_of_one_project_is_noticed() {
    let watched = Watched::new(Specimen::new());
    let earlier = Specimen::earlier();
    watched.specimen.sql(&format!(
        "ATTACH '{}' AS old; BEGIN; {} COMMIT;",
        earlier.path().display(),
        "DELETE FROM vals; INSERT INTO vals SELECT * FROM old.vals;
         DELETE FROM records; INSERT INTO records SELECT * FROM old.records;
         DELETE FROM buckets; INSERT INTO buckets SELECT * FROM old.buckets;
         DELETE FROM projects; INSERT INTO projects SELECT * FROM old.projects;"
    ));

    watched.notices_a_rollback(Some("alpha"));
}

#[test]
fn another_vault_at_the_path_is_noticed() {
    let home = Home::unlocked();
    let other = Home::new();
    fs::copy(other.vault_path(), home.vault_path()).unwrap();

    for command in ["list", "status"] {
        stderr!(home.free([command]).run().fails_with(6), @"
        error: the vault at this path is not the one that was unlocked
        hint: if you replaced it, run `secrets unlock` to use this one
        ");
    }

    home.run(["unlock", "-q"]).succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
}

/// Extending the time does not reset what the agent has seen.
#[test]
fn unlocking_again_keeps_the_checkpoint() {
    let watched = Watched::new(Specimen::new());
    let pid = watched.home.pid();
    watched.unlock().unwrap();
    assert_ne!(watched.home.pid(), pid);
    watched.specimen.overwrite(&Specimen::earlier().bytes());
    let outcome = watched.unlock();
    assert!(matches!(outcome, Err(VaultError::KeyService(KeyServiceError::RolledBack(_)))));
    watched.notices_a_rollback(Some("alpha"));

    // `lock` does reset it. That is how a user accepts an older copy.
    assert!(watched.client().lock().unwrap());
    watched.unlock().unwrap();
    assert_eq!(watched.look().unwrap(), 3);
}

/// Returns the first rows of the fixture's tables, and its slots.
fn tables(specimen: &Specimen) -> (VaultRow, Vec<Slot>, Vec<ProjectRow>) {
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let snapshot = store.read().unwrap();
    (snapshot.vault().unwrap(), snapshot.slots().unwrap(), snapshot.projects().unwrap())
}

#[test]
fn slots_are_signed_only_after_they_were_verified() {
    let watched = Watched::unseen(Specimen::new());
    let (mut vault, slots, projects) = tables(&watched.specimen);
    let client = watched.client();
    let mac = |vault: &VaultRow, slots: &[Slot]| {
        RootKeyHandle::mac(&client, &RootTables { vault, slots, projects: &projects, grants: &[] })
    };

    let refused =
        |outcome| matches!(outcome, Err(VaultError::KeyService(KeyServiceError::OtherSlots)));
    vault.root_seq += 1;
    assert!(refused(mac(&vault, &slots)), "the agent has seen no state yet");
    watched.look().unwrap();
    assert_eq!(mac(&vault, &slots).unwrap(), specimen::root().mac(&vault, &slots, &projects, &[]));

    let other = Passphrase::new(&SecretBytes::copy_of(b"another passphrase")).unwrap();
    let added = Slot::create(&other, KdfParams::LEAST, &vault.vault_id, &specimen::root()).unwrap();
    let mut changed = slots[0].clone();
    changed.wrap[0] ^= 1;

    for slots in [vec![], vec![added.clone()], vec![slots[0].clone(), added], vec![changed]] {
        assert!(refused(mac(&vault, &slots)));

        // A failed attempt to open these tables does not make them acceptable.
        let look = client.open(&RootTables {
            vault: &vault,
            slots: &slots,
            projects: &projects,
            grants: &[],
        });

        assert!(matches!(look, Err(VaultError::KeyService(KeyServiceError::OtherKey))));
        assert!(refused(mac(&vault, &slots)));
    }

    // The first piece must hold the slots as a whole, so slot bytes cannot pass as project rows.
    let bytes = row_and_slots(&vault, &slots);
    let stream = watched.home.dial();
    let path = watched.specimen.path().canonicalize().unwrap();

    for cut in 0..bytes.len() {
        let path = path.as_os_str().as_encoded_bytes();
        send_request(&stream, &Request::BeginMac { path, row_and_slots: &bytes[..cut] });
        let _ = (&stream)
            .write_all(Request::MoreMac { bytes: &bytes[cut..] }.encode().unwrap().expose());
        let answer = if cut < 40 { rest(&stream) } else { Some(ask(&stream, &Request::Sign)) };

        match answer.as_deref() {
            Some([]) => return assert!(cut < 40, "closed at {cut}"),
            Some(answer) => {
                assert!(decoded(answer) == Answer::Failed(AgentFault::OtherSlots), "{cut}");
            }
            None => panic!("no answer at {cut}"),
        }
    }
}

#[test]
fn readers_and_writers_through_an_agent_see_no_false_alarm() {
    let watched = Watched::new(Specimen::new());
    let (path, bytes) = (watched.home.path("runtime"), watched.specimen.path());
    drop(path);
    let home = &watched.home;
    let command = |arguments: &[&str]| {
        let mut command = home
            .command(arguments)
            .without_env("SECRETS_PASSPHRASE")
            .env("SECRETS_VAULT", &bytes)
            .command;

        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };

    for round in 0..4 {
        let mut children = Vec::new();
        for n in 0..4 {
            let (tag, name) = (format!("t{round}-{n}"), format!("p{n}"));
            children.push(command(&["create", "-p", &name, "--tag", &tag, "--generate", "-q"]));
            children.push(command(&["list", "--all-projects", "-q"]));
        }

        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    assert_eq!(watched.look().unwrap(), 3 + 16);
}

// Long runs

/// Returns true if any frame in these bytes, at any offset, would end the agent. Kind 0 does.
fn locks_all(mut bytes: &[u8]) -> bool {
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if !(2..=LARGEST_FRAME).contains(&length) || rest.len() < length {
            return false;
        }

        if rest[1] == 0 {
            return true;
        }

        bytes = &rest[length..];
    }

    false
}

/// Sends random bytes, mutated frames and valid ones, several on each connection, and asserts that
/// only valid answers come back.
fn bombard(home: &Home, frames: usize) {
    let mut dice = Dice::new();
    let seed = dice.0;
    let mut whole: Vec<SecretBytes> = requests().into_iter().skip(1).collect();

    for _ in 0..3 {
        whole.push(
            Request::BeginMac { path: b"/steady", row_and_slots: &row_of_steady() }
                .encode()
                .unwrap(),
        );

        whole.push(Request::Status { path: b"/steady", vault_id: Some([1; 16]) }.encode().unwrap());
    }

    let (mut sent, mut answered) = (0, 0);
    while sent < frames {
        let mut bytes = Vec::new();
        let kind = dice.below(3);
        for _ in 0..=dice.below(16) {
            let mut next = whole[dice.below(whole.len() as u64) as usize].expose().to_vec();
            match kind {
                0 => {
                    next = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();

                    // Half of them have a possible length.
                    if dice.below(2) == 0 {
                        next.splice(
                            0..0,
                            [0, 0, 0, dice.below(250) as u8, VERSION, 1 + dice.below(9) as u8],
                        );
                    }
                }
                1 => {
                    for _ in 0..=dice.below(3) {
                        let at = dice.below(next.len() as u64) as usize;
                        match dice.below(4) {
                            0 => next[at] = dice.below(256) as u8,
                            1 => next[at] ^= 1 << dice.below(8),
                            2 => drop(next.remove(at)),
                            _ => next.insert(at, dice.below(256) as u8),
                        }
                    }
                }
                _ => {}
            }

            bytes.extend(next);
            sent += 1;
        }

        if locks_all(&bytes) {
            continue;
        }

        let stream = home.dial();
        let _ = (&stream).write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let data =
            rest(&stream).unwrap_or_else(|| panic!("seed {seed}: no end after {bytes:02x?}"));

        let mut data = data.as_slice();
        while let Some((length, rest)) = data.split_first_chunk() {
            let (answer, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            assert!(Answer::decode(answer).is_ok(), "seed {seed}");
            answered += 1;
            data = rest;
        }

        assert!(data.is_empty(), "seed {seed}");
    }

    assert!(answered > frames / 100, "seed {seed}: only {answered} of {sent} answered");
}

fn survives(frames: usize) {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    bombard(&home, frames.min(1000));
    let before = kib(pid, "VmRSS");

    bombard(&home, frames);
    home.assert_serves();
    assert_eq!(home.pid(), Some(pid));
    let after = kib(pid, "VmRSS");

    assert!(after < before + 8 * 1024, "{before} KiB, then {after}");
    within(AT_MOST, "all connections are closed", || descriptors(pid).len() < 16);
    let steady = ask(&home.dial(), &Request::Status { path: b"/steady", vault_id: None });
    assert!(matches!(decoded(&steady), Answer::State { left: Some(_), .. }));
}

#[test]
fn thousands_of_random_frames_do_no_harm() {
    survives(3000);
}

#[test]
#[ignore = "a minute"]
fn a_hundred_thousand_random_frames_do_no_harm() {
    survives(100_000);
}

#[test]
#[ignore = "half a minute"]
fn ten_thousand_connections_do_no_harm() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let before = kib(pid, "VmRSS");

    // Open as many connections as the limit allows. Each is silent or in the middle of a frame.
    let most = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1024).min(12_000)
        as usize
        - 200;
    let mut open = std::collections::VecDeque::new();
    for n in 0..10_000 {
        let mut stream = home.dial();
        if n % 2 == 0 {
            let _ = stream.write_all(&[0, 0, 0xff, 0xff, VERSION, 5]);
        }

        open.push_back(stream);
        if open.len() > most {
            open.pop_front();
        }

        if n % 500 == 0 {
            home.assert_serves();
            assert!(descriptors(pid).len() < MOST_CONNECTIONS + 16);
        }
    }

    home.assert_serves();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    let after = kib(pid, "VmRSS");
    assert!(after < before + 16 * 1024, "{before} KiB, then {after}");
}

#[test]
#[ignore = "half a minute"]
fn three_hundred_slow_connections_time_out() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let request = Request::MoreMac { bytes: &[0; 1000] }.encode().unwrap();
    let mut slow: Vec<UnixStream> = (0..300).map(|_| home.dial()).collect();

    for byte in &request.expose()[..12] {
        for stream in &mut slow {
            let _ = stream.write_all(&[*byte]);
        }

        home.assert_serves();
        home.free(["list", "-q"]).run().succeeds().stdout_has("key");
        sleep(Duration::from_secs(1));
    }

    assert!(descriptors(pid).len() < 16);

    // The agent also closes connections that stay silent.
    let silent: Vec<UnixStream> = (0..20).map(|_| home.dial()).collect();
    within(Duration::from_secs(15), "the connections are closed", || descriptors(pid).len() < 16);
    drop(silent);
}

fn remains(pid: Pid, keys: &[(&'static str, [u8; 32])]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, key) in keys {
        for (part, bytes) in
            [("whole", &key[..]), ("first half", &key[..16]), ("second half", &key[16..])]
        {
            for (at, lines) in find_in_memory(pid, bytes) {
                found.push(format!(
                    "{part} of {name} at {at:x} in {}",
                    lines.lines().next().unwrap()
                ));
            }
        }
    }

    found
}

#[test]
#[ignore = "reads the agent's memory"]
fn derived_keys_are_wiped_from_memory() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let use_it = |command: &dyn Fn(&[&str]) -> Prepared, n: usize| {
        let free = |arguments: &[&str]| command(arguments).without_env("SECRETS_PASSPHRASE");
        free(&["create", "--tag", &format!("t{n}"), "-p", &format!("p{n}"), "-q"])
            .stdin("a value")
            .run()
            .succeeds();

        free(&["list", "--all-projects", "-q"]).run().succeeds().stdout_has("key");
        free(&["render", "-e", "{{KEY}}"]).run().succeeds().stdout_has("value");
        free(&["project", "rename", &format!("p{n}"), &format!("q{n}"), "-q"]).run().succeeds();
        free(&["delete", &format!("t{n}"), "-p", &format!("q{n}"), "-yq"]).run().succeeds();
    };

    for n in 0..5 {
        use_it(&|arguments| home.command(arguments), n);
    }

    let keys = keys(&home.vault_path(), &passphrase());
    assert_eq!(find_in_memory(pid, &keys[0].1).len(), 1, "the search finds the root key once");

    // Keys that were derived for an answer are wiped.
    let left = remains(pid, &keys[1..]);
    assert!(left.is_empty(), "{} pieces: {left:#?}", left.len());
    home.run(["lock", "-q"]).succeeds();
    assert_ends(&home, pid);
}

#[test]
#[ignore = "needs strace"]
fn an_agent_opens_and_executes_nothing_once_it_serves() {
    let home = Home::new();
    let trace = home.path("trace");
    let locked = Locked::open(&home.vault_path()).unwrap();
    let (root, vault_id) = (locked.root_key(&passphrase()).unwrap(), locked.vault_id().unwrap());
    let path = home.vault.as_os_str().as_encoded_bytes();
    let times = (3_600_000, 3_600_000);
    let handover = Handover { path, vault_id, ttl: times.0, idle: times.1, key: root.expose() }
        .encode()
        .unwrap();
    let mut strace = Command::new("strace");

    strace.args(["-f", "-qq", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_secrets"));
    strace
        .args(["agent", "--directory"])
        .arg(home.directory())
        .env_clear()
        .env("PATH", "/usr/bin:/bin");

    home.place();
    let mut agent =
        strace.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    agent.stdin.take().unwrap().write_all(handover.expose()).unwrap();
    within(AT_MOST, "it listens", || home.socket().exists());
    home.free(["create", "--tag", "new", "-q"]).stdin("a new value").run().succeeds();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    home.free(["lock", "-q"]).run().succeeds();
    assert!(agent.wait().unwrap().success());

    let trace = fs::read_to_string(trace).unwrap();
    let served = &trace[trace.find("listen(").unwrap()..];
    let served = &served[served.find("accept4(").unwrap()..];
    assert!(served.lines().count() > 30, "{served}");

    for call in [
        "open", "exec", "fork", "vfork", "clone", "socket(", "connect(", "rename", "mkdir",
        "ptrace", " write(",
    ] {
        let called = served.lines().find(|line| line.contains(call));
        assert!(called.is_none(), "{}", called.unwrap());
    }
}
