//! The directory and the socket of an agent are private and are found by every login.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use crate::support::programs::{NOBODY, am_root, within};

use super::{AT_MOST, Home, agents_in};

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
