//! Another user, another program in the agent's place, and an agent that hangs get no key and stop
//! nobody.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Signal, Uid, kill_process};
use rustix::thread::set_thread_res_uid;
use terminal_secrets::agent::{AgentFault, Answer, Client, Request, VERSION};
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::{KeyServiceError, VaultAccess, VaultError};

use crate::support::programs::{NOBODY, am_root, has_ended, within};
use crate::support::specimen::{Specimen, VAULT_ID};

use super::{AT_MOST, Home, PATIENCE, dial, frame, impostor, rest};

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
        &[0, 16, 0, 1],
        &[0, 0, 0, 3, VERSION, 131, 0],
        &[0, 0, 0, 3, VERSION, 128, 1],
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
    let path = specimen.path();
    let path = path.as_path();
    let talk = |n: usize, deaf: fn(UnixStream)| {
        let home = Home::empty("/x");
        let client = Client::new(&home.place(), Path::new("/x"), patience);
        let silent = |what: &str, talk: &dyn Fn() -> Option<KeyServiceError>| {
            impostor(&home, deaf);
            let begun = Instant::now();
            assert!(matches!(talk(), Some(KeyServiceError::Timeout)), "{n} {what}");
            assert!(begun.elapsed() < 4 * patience, "{n} {what}: {:?}", begun.elapsed());
        };

        silent("status", &|| client.status(None).err());
        silent("lock", &|| client.lock().err());
        silent("list", &|| {
            let store = SqliteStore::open(path).unwrap();
            let snapshot = store.read().unwrap();
            match client.directory(&VAULT_ID, &*snapshot).err() {
                Some(VaultError::KeyService(error)) => Some(error),
                _ => None,
            }
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
