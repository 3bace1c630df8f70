//! Paths of a vault are refused if somebody else could read, replace or redirect the file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::files::{mode, set_mode, write_private};
use crate::support::programs::am_root;
use crate::support::{Run, Sandbox, project, secret, wrapped_in};

/// Returns the path, mode, owner, size and content of everything in the sandbox.
fn state(sandbox: &Sandbox) -> Vec<(PathBuf, u32, u32, u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![sandbox.path("")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if metadata.is_dir() {
                directories.push(path.clone());
            }

            found.push((path, metadata.mode(), metadata.uid(), metadata.len(), content));
        }
    }

    found.sort();
    found
}

fn run_on(sandbox: &Sandbox, path: &Path, arguments: &[&str]) -> Run {
    let path = path.as_os_str();
    let arguments = [OsStr::new("--vault"), path]
        .into_iter()
        .chain(arguments.iter().map(|text| OsStr::new(*text)));

    sandbox.run(arguments)
}

const INIT: &[&str] =
    &["init", "--kdf-memory", "19", "--kdf-iterations", "1", "--kdf-parallelism", "1"];

/// An unsafe path, and the exit code of commands that open it.
type Case = (&'static str, fn(&Sandbox, &Path), i32, &'static str);

/// Cases with a vault or something else at the path.
const REFUSED: &[Case] = &[
    ("mode 0644", |_, path| set_mode(path, 0o644), 7, "can be accessed by other users"),
    ("mode 0660", |_, path| set_mode(path, 0o660), 7, "can be accessed by other users"),
    ("mode 0604", |_, path| set_mode(path, 0o604), 7, "can be accessed by other users"),
    ("mode 0601", |_, path| set_mode(path, 0o601), 7, "can be accessed by other users"),
    (
        "another owner",
        |_, path| std::os::unix::fs::chown(path, Some(12345), None).unwrap(),
        7,
        "another user",
    ),
    (
        "a symbolic link",
        |sandbox, path| symlink(moved(sandbox, path), path).unwrap(),
        7,
        "symbolic link",
    ),
    (
        "a dangling symbolic link",
        |_, path| instead(path, |path| symlink("nowhere", path).unwrap()),
        7,
        "symbolic link",
    ),
    (
        "a link to itself",
        |_, path| instead(path, |path| symlink(path, path).unwrap()),
        7,
        "symbolic link",
    ),
    (
        "a hard link",
        |sandbox, path| fs::hard_link(path, sandbox.path("other.db")).unwrap(),
        7,
        "several names",
    ),
    ("a directory", |_, path| instead(path, |path| fs::create_dir(path).unwrap()), 7, "directory"),
    (
        "a FIFO",
        |_, path| instead(path, |path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap()),
        7,
        "FIFO",
    ),
    (
        "a socket",
        |_, path| instead(path, |path| drop(UnixListener::bind(path).unwrap())),
        7,
        "socket",
    ),
    (
        "an empty file",
        |_, path| instead(path, |path| write_private(path, b"")),
        6,
        "is not a vault",
    ),
    (
        "a text",
        |_, path| instead(path, |path| write_private(path, b"text ".repeat(999))),
        6,
        "is not a vault",
    ),
    (
        "a text that others can read",
        |_, path| instead(path, |path| fs::write(path, "text").unwrap()),
        6,
        "is not a vault",
    ),
    ("another SQLite file", |_, path| instead(path, other_database), 6, "is not a vault"),
    ("nothing", |_, path| instead(path, |_| ()), 3, "no vault"),
];

fn moved(sandbox: &Sandbox, path: &Path) -> PathBuf {
    let to = sandbox.path("moved.db");
    fs::rename(path, &to).unwrap();
    to
}

fn instead(path: &Path, make: fn(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

fn other_database(path: &Path) {
    rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE vault(id)").unwrap();
    set_mode(path, 0o600);
}

#[test]
fn an_unsafe_path_or_a_file_that_is_not_a_vault_is_refused_and_unchanged() {
    for (name, spoil, code, message) in REFUSED {
        let sandbox = Sandbox::with_secrets(&[("token", "value-of-the-token")]);
        if *name == "another owner" && !am_root() {
            continue; // only root can change a file's owner
        }

        spoil(&sandbox, &sandbox.vault_path());
        let before = state(&sandbox);
        for arguments in [&["get", "token"][..], &["create", "--tag", "x", "--generate"]] {
            run_on(&sandbox, &sandbox.vault_path(), arguments)
                .fails_with(*code)
                .stdout("")
                .stderr_has(message);
        }

        assert!(state(&sandbox) == before, "{name}");
        if *code != 3 {
            stderr!(run_on(&sandbox, &sandbox.vault_path(), INIT).fails_with(4).stdout(""), @"
            error: `[dir]/vault.db` already exists
            hint: choose another path with `--vault PATH`
            ");

            assert!(state(&sandbox) == before, "init over {name}");
        }
    }
}

#[test]
fn the_suggested_command_fixes_the_problem() {
    for (spoil, mend) in [
        ((|path: &Path| set_mode(path, 0o644)) as fn(&Path), "chmod 600"),
        (|path| fs::hard_link(path, path.with_extension("copy")).unwrap(), "cp"),
    ] {
        let sandbox = Sandbox::with_secrets(&[("token", "value-of-the-token")]);
        spoil(&sandbox.vault_path());
        let (_, _, stderr) = sandbox.run(["get", "token"]).everything();
        let (_, command) = stderr.split_once("fix it with `").unwrap();
        let command = command.trim_end().trim_end_matches('`');
        assert!(command.starts_with(mend), "{command}");
        assert!(Command::new("sh").args(["-c", command]).status().unwrap().success());
        sandbox.run(["get", "token"]).succeeds().stdout_has("token");
    }
}

#[test]
fn devices_are_refused() {
    let sandbox = Sandbox::new();
    for device in ["/dev/null", "/dev/zero"] {
        assert!(fs::metadata(device).unwrap().file_type().is_char_device());
        run_on(&sandbox, Path::new(device), &["list"]).fails_with(7).stderr_has("is a device");
        run_on(&sandbox, Path::new(device), INIT).fails_with(4).stderr_has("already");
    }
}

/// SQLite, a shell or a terminal would interpret these names. Each is an ordinary file name here.
#[test]
fn odd_names_are_ordinary_files() {
    let names: &[&[u8]] = &[
        b":memory:",
        b"file:x?mode=memory",
        b"file:x?vfs=memdb",
        b"x?mode=memory&cache=shared",
        b"new\nline.db",
        b"\xff\xfe not UTF-8.db",
        b"./-v",
        b"~",
        b"'; DROP TABLE vals; --",
        b"%00%2e%2e",
        b" ",
        b"\x1b]0;title\x07.db",
        &[b'n'; 200],
    ];

    for name in names {
        let sandbox = Sandbox::empty();
        let name = Path::new(OsStr::from_bytes(name));
        run_on(&sandbox, name, INIT).succeeds().stdout("").stderr_has("created the vault");
        run_on(&sandbox, name, &["create", "--tag", "x", "--generate", "-q"]).succeeds();

        let (code, stdout, stderr) = run_on(&sandbox, name, &["list", "-q"]).everything();
        assert!(code == Some(0) && stdout.starts_with(b"x\t"), "{}: {stderr}", name.display());
        let mode = fs::symlink_metadata(sandbox.path("").join(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "{}", name.display());
        assert_eq!(state(&sandbox).len(), 1, "{}", name.display());
    }
}

#[test]
fn paths_that_name_no_file_are_refused() {
    let sandbox = Sandbox::with_secrets(&[]);
    sandbox.write("file", "");
    let long = "d/".repeat(2048) + "v.db";
    let cases: &[(&str, i32, i32)] = &[
        ("", 2, 2),
        (".", 2, 4),
        ("..", 2, 4),
        ("/", 2, 4),
        ("vault.db/", 2, 2),
        ("vault.db/.", 2, 2),
        ("new/", 2, 2),
        ("missing/vault.db", 3, 0),
        ("file/vault.db", 3, 1),
        (&"n".repeat(4096), 1, 1),
        (&long, 3, 1),
    ];

    for (path, open, init) in cases {
        let shown = &path[..path.len().min(20)];
        let before = state(&sandbox);
        let (code, stdout, stderr) = run_on(&sandbox, Path::new(path), &["list"]).everything();
        assert_eq!((code, stdout.len()), (Some(*open), 0), "{shown}: {stderr}");
        assert!(state(&sandbox) == before, "{shown}");

        let (code, _, stderr) = run_on(&sandbox, Path::new(path), INIT).everything();
        assert_eq!(code, Some(*init), "init {shown}: {stderr}");
        assert!(state(&sandbox) == before || code == Some(0), "init {shown}");
    }
}

#[test]
fn a_linked_directory_and_a_relative_path_lead_to_the_vault() {
    let sandbox = Sandbox::with_secrets(&[("token", "value-of-the-token")]);
    symlink(sandbox.path(""), sandbox.path("link")).unwrap();
    fs::create_dir(sandbox.path("below")).unwrap();

    for path in [
        "vault.db",
        "./vault.db",
        "below/../vault.db",
        "link/vault.db",
        "link/link/below/../vault.db",
    ] {
        run_on(&sandbox, Path::new(path), &["get", "token"]).succeeds().stdout_has("token");
    }
}

#[test]
fn init_creates_private_files_with_any_umask() {
    let sandbox = Sandbox::empty();
    let mut init = sandbox.command(INIT).env("SECRETS_VAULT", "a/b/vault.db");
    init.command = wrapped_in(&["sh", "-c", "umask 000; exec \"$0\" \"$@\""], &init);
    stderr!(init.run().succeeds(), @"
    guessing this passphrase takes about a million years or more on one graphics card (1 TB/s)
    warning: these key derivation parameters make guessing cheaper than the defaults
    created the vault `a/b/vault.db`
    a forgotten passphrase cannot be reset; print a recovery code with `secrets recovery create` and keep it safe
    next: store a secret with `secrets create TAG`
    `secrets unlock` asks once and keeps the vault unlocked for 15m, or 5m without use
    ");

    let mode = |path: &str| mode(&sandbox.path(path));
    assert_eq!([mode("a"), mode("a/b"), mode("a/b/vault.db")], [0o700, 0o700, 0o600]);
}

#[test]
fn a_read_only_file_system_can_be_read() {
    let sandbox = Sandbox::with_secrets(&[("token", "value-of-the-token")]);
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99; shift; exec \"$@\"";
    let attempt = |arguments: &[&str]| {
        let inner = sandbox.command(arguments);
        let mut prepared = sandbox.command::<[&str; 0], _>([]);
        let directory = sandbox.path("");
        let wrapper = ["unshare", "-m", "sh", "-c", script, "sh", directory.to_str().unwrap()];
        prepared.command = wrapped_in(&wrapper, &inner);
        prepared.command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        prepared.run().everything()
    };

    let (code, stdout, stderr) = attempt(&["get", "token"]);

    // A private mount needs root and a kernel that permits it. Without them this cannot be tested.
    if matches!(code, Some(99 | 1)) && (stderr.contains("unshare") || stderr.contains("mount")) {
        return;
    }

    assert_eq!((code, stdout.is_empty()), (Some(0), false), "{stderr}");
    let (code, stdout, stderr) = attempt(&["create", "--tag", "x", "--generate"]);
    assert_eq!((code, stdout.len()), (Some(1), 0), "{stderr}");
    assert!(stderr.contains("read-only"), "{stderr}");
    assert_eq!(sandbox.vault().list(Some(&project("default")), |_| true).unwrap().len(), 1);
    sandbox.vault().create(&project("default"), secret("x", b"again")).unwrap();
}
