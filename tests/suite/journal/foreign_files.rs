//! A foreign file next to a vault, a directory of others and another program's database are left
//! alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;
use rustix::fs::{CWD, Mode, mkfifoat};
use terminal_secrets::vault::Locked;

use crate::support::files::{names, set_mode, write_private};
use crate::support::programs::am_root;
use crate::support::specimen::{Specimen, code};
use crate::support::{Sandbox, project, secret};

use super::{journal_of, next_to};

type Neighbour = (&'static str, &'static str, fn(&Path));

const NEIGHBOURS: &[Neighbour] = &[
    ("-journal", "is not a regular file", |path| {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    }),
    ("-journal", "is not a regular file", |path| symlink("/dev/zero", path).unwrap()),
    ("-journal", "is not a regular file", |path| fs::create_dir(path).unwrap()),
    ("-journal", "can be accessed by other users", |path| {
        write_private(path, b"");
        fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
    }),
    ("-journal", "has several names", |path| {
        write_private(path, b"");
        fs::hard_link(path, next_to(path, ".link")).unwrap();
    }),
    ("-journal", "belongs to another user", |path| {
        write_private(path, b"");
        std::os::unix::fs::chown(path, Some(12345), None).unwrap();
    }),
    ("-wal", "is a write-ahead log", |path| write_private(path, b"")),
    ("-wal", "is a write-ahead log", |path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap()),
    ("-compact", "is not a regular file", |path| {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    }),
    ("-compact", "is not a regular file", |path| symlink("nowhere", path).unwrap()),
];

#[test]
fn a_foreign_file_next_to_a_vault_is_refused() {
    for (end, message, make) in NEIGHBOURS {
        if message.contains("another user") && !am_root() {
            continue;
        }

        let specimen = Specimen::new();
        let (good, before) = (specimen.bytes(), specimen.vault().unwrap());
        make(&next_to(&specimen.path(), end));
        let there = names(specimen.directory());

        // A vault that was opened before checks again at each change.
        let written = before.create(&project("alpha"), secret("new", b"value")).map(drop);
        for outcome in [Locked::open(&specimen.path()).map(drop), written] {
            let error = outcome.unwrap_err();
            assert!(
                code(&error) == 7 && error.to_string().contains(message),
                "{end}, {message}: {error}"
            );
        }

        assert!(
            specimen.bytes() == good && names(specimen.directory()) == there,
            "{end}, {message}"
        );
    }
}

#[test]
fn the_hint_moves_the_journal_away() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let journal = sandbox.path("vault.db-journal");
    mkfifoat(CWD, &journal, Mode::RUSR | Mode::WUSR).unwrap();
    let text = format!(
        "error: `{0}` is not a regular file\nhint: fix it with `mv {0} {0}.aside`\n",
        journal.display()
    );

    for line in [&["list"][..], &["compact"], &["status"], &["verify"]] {
        sandbox.run(line).fails_with(7).stdout("").stderr(&text);
    }

    fs::rename(&journal, next_to(&journal, ".aside")).unwrap();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let is_root = am_root();
    #[allow(clippy::type_complexity)]
    let cases: [(u32, Option<(u32, u32)>, Option<&str>); 7] = [
        (0o777, None, Some("can be written by other users")),
        (0o702, None, Some("can be written by other users")),
        (0o755, None, None),
        (0o1777, None, None),
        (0o770, Some((0, 12345)), Some("can be written by other users")),
        (0o700, Some((12345, 0)), Some("belongs to another user")),
        (0o1777, Some((12345, 0)), Some("belongs to another user")),
    ];

    for (mode, owner, refused) in cases {
        if owner.is_some() && !is_root {
            continue;
        }

        let specimen = Specimen::new();
        let (user, group) = owner.unzip();
        std::os::unix::fs::chown(specimen.directory(), user, group).unwrap();
        fs::set_permissions(specimen.directory(), Permissions::from_mode(mode)).unwrap();

        let copied = Specimen::new().vault().unwrap().backup(
            &specimen.directory().join("copy.db"),
            false,
            &|_| {},
        );

        for outcome in [specimen.vault().map(drop), copied.map(drop)] {
            match (outcome, refused) {
                (Ok(()), None) => {}
                (Err(error), Some(why)) => {
                    assert!(
                        code(&error) == 7 && error.to_string().contains(why),
                        "{mode:o}: {error}"
                    );
                }
                (outcome, _) => panic!("{mode:o} {owner:?}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn a_private_group_of_the_user_may_write() {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let groups = fs::read_to_string("/etc/group").unwrap();
    let is_alone = groups
        .lines()
        .all(|line| !line.contains(&format!(":{}:", group.as_raw())) || line.ends_with(':'));

    if user.as_raw() != group.as_raw() || !is_alone {
        return;
    }

    let specimen = Specimen::new();
    fs::set_permissions(specimen.directory(), Permissions::from_mode(0o770)).unwrap();
    specimen.vault().unwrap();
}

/// Returns everything in a directory: names, contents and times.
fn state(directory: &Path) -> Vec<(String, Vec<u8>, SystemTime)> {
    let look = |name: String| {
        let path = directory.join(&name);
        (name, fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap())
    };

    names(directory).into_iter().map(look).collect()
}

/// Creates other programs' databases: one in log mode with a log, one with a hot journal, and an
/// empty one with a journal.
fn foreign(directory: &Path) -> [PathBuf; 4] {
    let database = |name: &str| {
        let path = directory.join(name);
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 2; CREATE TABLE notes(text); INSERT INTO notes VALUES('one')")
            .unwrap();
        (path, connection)
    };

    let copied = |path: &Path, name: &str, ends: &[&str]| {
        let copy = directory.join(name);
        for end in ends {
            fs::copy(next_to(path, end), next_to(&copy, end)).unwrap();
        }

        copy
    };

    let (path, connection) = database("a");
    connection.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO notes VALUES('two')").unwrap();
    let with_log = copied(&path, "log.db", &["", "-wal"]);
    drop(connection);

    let log_mode = copied(&path, "log-mode.db", &[""]);

    let (path, connection) = database("b");
    drop(connection);
    let hot = copied(&path, "hot.db", &[""]);
    fs::write(next_to(&hot, "-journal"), journal_of(&fs::read(&hot).unwrap())).unwrap();

    let empty = directory.join("empty.db");
    fs::write(&empty, "").unwrap();
    fs::write(next_to(&empty, "-journal"), journal_of(&fs::read(&hot).unwrap())).unwrap();

    let found = [with_log, log_mode, hot, empty];
    for path in &found {
        set_mode(path, 0o600);
    }

    found
}

#[test]
fn every_command_leaves_other_programs_databases_alone() {
    const COMMANDS: &[&str] = &[
        "init",
        "create --tag x --generate",
        "get x",
        "list",
        "update x --generate",
        "delete x --yes",
        "clone x --to y",
        "project list",
        "project rename a b",
        "project delete a --yes",
        "render -e {{X}}",
        "run -- true",
        "refs x",
        "import given.env",
        "export --encrypted out.age --recipient age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
        "verify",
        "backup copy.db",
        "salvage copy.db",
        "restore --accept --yes",
        "passwd --new-passphrase-file given.env",
        "recovery create",
        "rekey --yes",
        "compact",
        "unlock",
        "status",
        "redact",
        "scan given.env",
    ];

    let sandbox = Sandbox::empty();
    let directory = sandbox.path("databases");
    fs::create_dir(&directory).unwrap();
    sandbox.write("given.env", "A=b\n");

    let databases = foreign(&directory);
    let before = state(&directory);
    for path in &databases {
        for line in COMMANDS {
            let words = ["--vault", path.to_str().unwrap()].into_iter().chain(line.split(' '));
            let (code, stdout, stderr) = sandbox.run(words).everything();
            assert!(state(&directory) == before, "{} was changed by `{line}`", path.display());
            let is_refs = line.starts_with("refs");

            assert!(
                is_refs || code != Some(0) && stdout.is_empty(),
                "{}, `{line}`: {stderr}",
                path.display()
            );

            assert!(!stderr.contains("`mv "), "{}, `{line}`: {stderr}", path.display());
        }
    }

    // They neither replace a vault nor are replaced by one.
    sandbox
        .run(["init", "-q", "--kdf-memory", "19", "--kdf-iterations", "1"])
        .succeeds()
        .stderr_has("cheaper");

    for path in &databases {
        let path = path.to_str().unwrap();
        sandbox.run(["restore", "-y", path]).fails_with(6).stderr_has("is not a vault");
        sandbox.run(["backup", "--replace", path]).fails_with(6).stderr_has("is not a vault");
        assert!(state(&directory) == before, "{path}");
    }
}
