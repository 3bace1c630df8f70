//! Files next to a vault: a foreign journal, log or mark is refused before SQLite opens anything.
//! Our own journal is replayed, and the earlier state is kept until the vault was checked. Another
//! program's database is left alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;
use rustix::fs::{CWD, Mode, mkfifoat};
use terminal_secrets::store::StoreError;
use terminal_secrets::vault::{Locked, VaultError};

use crate::support::files::{names, set_mode, write_private};
use crate::support::programs::am_root;
use crate::support::specimen::{Specimen, code};
use crate::support::values::reveal;
use crate::support::{Sandbox, project, secret};

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const NONCE: u32 = 12345;
const SECTOR: usize = 512;

/// Returns the journal that SQLite writes for a change of all pages of `before`.
fn journal_of(before: &[u8]) -> Vec<u8> {
    let size = usize::from(u16::from_be_bytes([before[16], before[17]]));
    let pages: Vec<&[u8]> = before.chunks_exact(size).collect();
    let count = u32::try_from(pages.len()).unwrap();
    let mut journal = header(count, count, u32::try_from(size).unwrap());

    for (number, page) in (1..=count).zip(pages) {
        let places = (1..).map_while(|n| size.checked_sub(200 * n)).take_while(|at| *at > 0);
        let sum = places.fold(NONCE, |sum, at| sum.wrapping_add(u32::from(page[at])));
        journal.extend([&number.to_be_bytes()[..], page, &sum.to_be_bytes()].concat());
    }

    journal
}

fn header(records: u32, pages: u32, page_size: u32) -> Vec<u8> {
    let numbers = [records, NONCE, pages, SECTOR as u32, page_size];
    let mut header = MAGIC.to_vec();
    header.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    header.resize(SECTOR, 0);

    header
}

fn next_to(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Returns a vault in its state after `changes` changes, and its bytes from before them.
fn changed(changes: usize) -> (Specimen, Vec<u8>) {
    let specimen = Specimen::new();
    let before = specimen.bytes();
    for number in 0..changes {
        specimen
            .vault()
            .unwrap()
            .create(&project("alpha"), secret(&format!("new-{number}"), b"value"))
            .unwrap();
    }

    (specimen, before)
}

#[test]
fn our_own_journal_is_replayed_and_the_earlier_state_kept_until_the_check() {
    let (specimen, before) = changed(1);
    let after = specimen.bytes();
    let journal = journal_of(&before);
    write_private(&next_to(&specimen.path(), "-journal"), &journal);

    let locked = Locked::open(&specimen.path()).unwrap();
    let kept = names(specimen.directory());
    assert_eq!(kept, ["vault.db", "vault.db.before-recovery", "vault.db.before-recovery.journal"]);
    assert!(specimen.bytes() == before, "the interrupted change was not rolled back");

    let copy = next_to(&specimen.path(), ".before-recovery");
    assert!(fs::read(&copy).unwrap() == after);
    assert!(fs::read(next_to(&copy, ".journal")).unwrap() == journal);
    assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o600);
    drop(locked);

    // Opening the vault without a key leaves them in place.
    Locked::open(&specimen.path()).unwrap().vault_id().unwrap();
    assert_eq!(names(specimen.directory()), kept);
    let vault = specimen.vault().unwrap();
    assert!(reveal(&vault, "alpha", "new-0").unwrap().is_none());
    assert_eq!(names(specimen.directory()), ["vault.db"]);
}

#[test]
fn copies_of_an_earlier_journal_are_replaced() {
    let (specimen, before) = changed(1);
    let (after, journal) = (specimen.bytes(), journal_of(&before));
    let copy = next_to(&specimen.path(), ".before-recovery");

    for old in [b"the journal of another change".to_vec(), vec![7; journal.len()]] {
        write_private(&specimen.path(), &after);
        write_private(&next_to(&specimen.path(), "-journal"), &journal);

        // A power cut brought these files back.
        write_private(&copy, b"another state");
        write_private(&next_to(&copy, ".journal"), &old);
        drop(Locked::open(&specimen.path()).unwrap());
        assert!(
            fs::read(&copy).unwrap() == after
                && fs::read(next_to(&copy, ".journal")).unwrap() == journal
        );
    }
}

#[test]
fn a_journal_for_another_state_is_refused_and_changes_nothing() {
    let (specimen, before) = changed(2);
    let good = specimen.bytes();
    let page_size = u32::from(u16::from_be_bytes([good[16], good[17]]));
    let last = Specimen::of(&before);

    last.vault().unwrap().create(&project("alpha"), secret("new-0", b"value")).unwrap();
    let recent = journal_of(&last.bytes());

    let mut other_page = recent.clone();
    other_page[SECTOR..SECTOR + 4].copy_from_slice(&7_u32.to_be_bytes());
    let mut wrong_sum = recent.clone();
    wrong_sum[SECTOR + 4 + page_size as usize] ^= 1;

    let mut other_database = recent.clone();
    other_database[SECTOR + 4 + 68] ^= 1;

    // The journal of a change to several files names another file at its end.
    let super_journal = [
        &recent[..],
        &1_u32.to_be_bytes(),
        b"x",
        &1_u32.to_be_bytes(),
        &120_u32.to_be_bytes(),
        &MAGIC,
    ];

    let cases = [
        ("two changes ago", journal_of(&before)),
        ("cuts the file", header(0, 1, page_size)),
        ("no page", recent[..SECTOR].to_vec()),
        ("no first page", other_page),
        ("a wrong checksum", wrong_sum),
        ("of another database", other_database),
        ("of another page size", header(0, 1, page_size / 2)),
        ("several files", super_journal.concat()),
        ("a text", b"the notes of somebody".to_vec()),
    ];

    for (name, bytes) in cases {
        write_private(&next_to(&specimen.path(), "-journal"), &bytes);
        let opened = Locked::open(&specimen.path()).map(drop);
        assert!(
            matches!(opened, Err(VaultError::Store(StoreError::ForeignJournal(_)))),
            "{name}: {opened:?}"
        );

        assert!(specimen.bytes() == good, "{name}: the vault was changed");
        assert_eq!(names(specimen.directory()), ["vault.db", "vault.db-journal"], "{name}");
    }

    // A journal of zeros belongs to a writer that was killed early. SQLite does not replay it.
    write_private(&next_to(&specimen.path(), "-journal"), &[0; SECTOR]);
    assert!(reveal(&specimen.vault().unwrap(), "alpha", "new-1").unwrap().is_some());
}

#[test]
fn a_journal_of_a_running_writer_is_accepted() {
    let specimen = Specimen::new();
    let writer = specimen.connection();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE vals SET val = zeroblob(9)").unwrap();
    assert!(next_to(&specimen.path(), "-journal").exists());

    let vault = specimen.vault().unwrap();
    assert!(reveal(&vault, "alpha", "two").unwrap().is_some());
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(names(specimen.directory()), ["vault.db"]);
}

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

/// Another machine's journal was interrupted in the same state. Only the resulting state
/// distinguishes it from ours.
#[test]
fn a_rollback_by_a_journal_is_noticed_and_can_be_undone() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let before = sandbox.read("vault.db");
    sandbox
        .command(["create", "--tag", "newest", "-q"])
        .stdin("value of the newest")
        .run()
        .succeeds();

    write_private(&sandbox.path("vault.db-journal"), &journal_of(&before));

    let copy = sandbox.path("vault.db.before-recovery").display().to_string();
    let hint = format!(
        "hint: if it is intact, restore `{copy}` with `secrets restore {copy}`; it is a copy from \
         before an interrupted change was rolled back\n"
    );

    for _ in 0..2 {
        let list = sandbox.run(["list"]).fails_with(6).stdout("");
        stderr!(list, @"
        error: the vault was rolled back to a state before its last checkpoint here
          project `default`: 1 change behind
        hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
        hint: if you want this state, accept it with `secrets restore --accept`
        hint: if it is intact, restore `[dir]/vault.db.before-recovery` with `secrets restore [dir]/vault.db.before-recovery`; it is a copy from before an interrupted change was rolled back
        ")
            .stderr_has(&hint);
    }

    stderr!(sandbox.run(["restore", &copy, "-y"]).succeeds(), @"
    + default/newest
    1 added, 0 removed, 0 changed
    restored `[dir]/vault.db`
    ");

    sandbox.run(["list", "-q"]).succeeds().stdout_has("newest");
    assert!(!Path::new(&copy).exists());
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
