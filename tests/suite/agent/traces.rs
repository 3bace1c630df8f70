//! An agent keeps only the root key, in one locked page, and inherits and opens nothing else.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};
use terminal_secrets::agent::{Answer, Handover, Request, RuntimeDir};
use terminal_secrets::vault::Locked;

use crate::support::programs::{am_root, within};
use crate::support::traces::{find_in_memory, kib, proc};
use crate::support::{PATH, Prepared, passphrase, wrapped_in};

use super::watched::{kept_keys, project_keys};
use super::{AT_MOST, Home, ask, assert_ends, decoded, descriptors, impostor_at};

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

/// Reads every answer of an agent to the requests of commands.
#[test]
fn the_root_key_is_in_no_answer() {
    let home = Home::unlocked();

    // The commands find another runtime directory. An eavesdropper there forwards everything.
    fs::create_dir(home.path("ear")).unwrap();
    let place = RuntimeDir::open_or_create(&home.path("ear/secrets")).unwrap();
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
    assert!(
        data.len() > 500 && memmem::find(&data, b"default").is_some(),
        "the traffic was recorded"
    );

    // Not even eight bytes were sent of the root key, of the directory's keys, or of a key that
    // opens the values of a project.
    for (name, key) in kept_keys(&home.vault_path(), &root) {
        assert!(key.windows(8).all(|piece| memmem::find(&data, piece).is_none()), "{name}");
    }
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

    let root = Locked::open(&home.vault_path()).unwrap().root_key(&passphrase()).unwrap();
    assert_eq!(find_in_memory(pid, root.expose()).len(), 1, "the search finds the root key once");

    // The agent keeps the directory's keys. The keys of projects, which were opened for an answer,
    // are wiped.
    let left = remains(pid, &project_keys(&home.vault_path(), &root));
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
