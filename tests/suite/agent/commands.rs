//! An unlocked vault needs no passphrase, and `unlock` and `lock` do what they report.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use terminal_secrets::agent::{Client, Handover};
use terminal_secrets::crypto::kdf::KdfParams;
use terminal_secrets::vault::{KeyServiceError, Vault};

use crate::support::passphrase;
use crate::support::programs::{has_ended, within};
use crate::support::values::reveal;

use super::{AT_MOST, HOUR, Home, PATIENCE, agents_in, assert_ends};

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
        Err(KeyServiceError::Timeout)
    ));

    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
    assert_ends(&home, pid);
    drop(strangers);
    assert!(!Client::lock_all(&place, PATIENCE).unwrap(), "no agent is left");
    assert_eq!(fs::read_dir(home.directory()).unwrap().count(), 1, "only the lock file is left");
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
