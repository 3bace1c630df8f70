//! Output files are private from the first byte, hold either the old content or the new, and leave
//! nothing behind.
//!
//! The templates have no placeholders, so nothing is unlocked. Writing does not depend on
//! placeholders.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::files::{WAITING, mode, names, passphrase_file, set_mode};
use crate::support::{PASSPHRASE, Run, Sandbox};

fn render(sandbox: &Sandbox, text: &str, options: &[&str]) -> Run {
    sandbox.run([&["render", "-e", text, "-o", "out"], options].concat())
}

#[test]
fn modes_are_narrowed_and_only_widened_on_request() {
    let sandbox = Sandbox::empty();
    let out = sandbox.path("out");

    // The mode before (0 if the file does not exist), the options, and the mode afterwards.
    let cases: [(u32, &[&str], u32); 12] = [
        (0, &[], 0o600),
        (0, &["--mode", "640"], 0o640),
        (0, &["--mode", "666"], 0o666),
        (0, &["--mode", "0400"], 0o400),
        (0o644, &[], 0o600),
        (0o777, &[], 0o600),
        (0o4755, &[], 0o600),
        (0o400, &[], 0o400),
        (0o200, &[], 0o200),
        (0o644, &["--mode", "640"], 0o640),
        (0o600, &["--mode", "640"], 0o640),
        (0o400, &["--mode", "644"], 0o644),
    ];

    for (before, options, after) in cases {
        for old in ["old", "new"] {
            let _ = fs::remove_file(&out);
            if before != 0 {
                sandbox.write("out", old);
                set_mode(&out, before);
            }

            render(&sandbox, "new", &[options, &["-q"]].concat()).succeeds().stdout("").stderr("");
            assert_eq!(
                (mode(&out), sandbox.read("out")),
                (after, b"new".to_vec()),
                "{before:o} {options:?} {old}"
            );
        }
    }

    assert_eq!(names(&sandbox.path("")), ["out"]);
}

#[test]
fn the_same_content_is_not_written_again() {
    let sandbox = Sandbox::empty();
    stderr!(render(&sandbox, "text", &[]).succeeds(), @"wrote `out`");
    let out = sandbox.path("out");
    let stamp = |found: fs::Metadata| (found.ino(), found.mtime(), found.mtime_nsec());
    let before = stamp(fs::metadata(&out).unwrap());

    stderr!(render(&sandbox, "text", &[]).succeeds(), @"`out` is up to date");
    set_mode(&out, 0o664);
    stderr!(render(&sandbox, "text", &[]).succeeds(), @"changed the mode of `out`, which is up to date");
    assert_eq!((stamp(fs::metadata(&out).unwrap()), mode(&out)), (before, 0o600));

    for other in ["tex", "textt", "Text", ""] {
        stderr!(render(&sandbox, other, &[]).succeeds(), @"wrote `out`");
        assert_eq!(sandbox.read("out"), other.as_bytes());
    }
}

/// Reads the mode and size of `out` as fast as it can until `ended` is set. Returns each distinct
/// pair.
fn watched(out: &Path, ended: &AtomicBool) -> Vec<(u32, u64)> {
    let mut seen = Vec::new();
    loop {
        let last = ended.load(Ordering::SeqCst);
        if let Ok(found) = fs::symlink_metadata(out) {
            let now = (found.mode() & 0o7777, found.len());
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }

        if last {
            return seen;
        }
    }
}

#[test]
fn no_reader_sees_a_wider_mode_or_an_incomplete_file() {
    let sandbox = Sandbox::empty();
    sandbox.write("small", "x".repeat(100_000));
    sandbox.write("large", "y".repeat(9_000_000));
    let umask = |command: &str| {
        let mut child = sandbox.program("sh");
        let script = format!("umask 000; exec \"$0\" render -q {command}");
        child.args(["-c", &script, env!("CARGO_BIN_EXE_secrets")]);
        assert!(child.status().unwrap().success(), "{command}");
    };

    for round in 0..6 {
        let _ = fs::remove_file(sandbox.path("out"));
        let ended = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watched(&sandbox.path("out"), &ended));
            umask("large -o out");
            umask("small -o out");
            umask("large -o out --mode 640");
            ended.store(true, Ordering::SeqCst);
            watcher.join().unwrap()
        });

        // The watcher may miss one of them, but never sees a fourth.
        let allowed = [(0o600, 9_000_000), (0o600, 100_000), (0o640, 9_000_000)];
        assert!(
            !seen.is_empty() && seen.iter().all(|now| allowed.contains(now)),
            "{round}: {seen:?}"
        );
    }

    assert_eq!(names(&sandbox.path("")), ["large", "out", "small"]);
}

#[test]
fn special_and_linked_files_are_refused_and_unchanged() {
    let sandbox = Sandbox::empty();
    let directory = sandbox.path("refused");
    fs::create_dir(&directory).unwrap();
    let path = |name: &str| directory.join(name);

    fs::write(path("target"), "target").unwrap();
    symlink("target", path("link")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    symlink(".", path("link-to-directory")).unwrap();
    fs::create_dir(path("directory")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    fs::write(path("name"), "names").unwrap();
    fs::hard_link(path("name"), path("other-name")).unwrap();

    let _socket = UnixListener::bind(path("socket")).unwrap();
    let before = names(&directory);
    let cases = [
        ("link", "is a symbolic link"),
        ("dangling", "is a symbolic link"),
        ("link-to-directory", "is a symbolic link"),
        ("directory", "is a directory"),
        ("directory/", "is not the path of a file"),
        ("new/", "is not the path of a file"),
        ("directory/..", "is not the path of a file"),
        ("fifo", "is a FIFO or a socket"),
        ("socket", "is a FIFO or a socket"),
        ("name", "has several names (hard links)"),
        ("/dev/null", "is a device"),
        ("/dev/full", "is a device"),
        ("/dev/stdout", "is a symbolic link"),
    ];

    for (name, why) in cases {
        let shown = path(name);
        for options in [&["-q"][..], &["--mode", "666"], &["--check"]] {
            let mut run = sandbox.command(["render", "-e", "new", "-o"]);
            run.command.arg(&shown).args(options);
            let text = format!(
                "error: `{}` {why}\nhint: choose a new file, or a regular file",
                shown.display()
            );

            run.run().fails_with(7).stdout("").stderr_has(&text);
        }
    }

    assert_eq!(names(&directory), before);
    assert_eq!(
        (fs::read(path("target")).unwrap(), fs::read(path("name")).unwrap()),
        (b"target".into(), b"names".into())
    );

    assert!(!path("nowhere").exists());
}

#[test]
fn the_template_is_never_overwritten() {
    let sandbox = Sandbox::empty();
    let template = sandbox.write("t", r"\{{ X }}");
    fs::create_dir(sandbox.path("d")).unwrap();
    let absolute = template.to_str().unwrap();
    let render = "\"$0\" render";
    let scripts = [
        format!("{render} t -o t"),
        format!("{render} t -o ./d/../t"),
        format!("{render} {absolute} -o t"),
        format!("{render} t -o {absolute}"),
        format!("{render} -o t < t"),
        format!("{render} - -o t < t"),
        format!("{render} /dev/fd/5 -o t 5< t"),
        format!("ln -s t link; {render} link -o t"),
        format!("ln t hard; {render} hard -o t; code=$?; rm hard; exit $code"),
    ];

    for script in scripts {
        let mut run = sandbox.command::<_, &str>([]);
        run.command = sandbox.program("bash");
        run.command.args(["-c", &script, env!("CARGO_BIN_EXE_secrets")]);
        run.run().fails_with(7).stdout("").stderr_has("error: ");
        assert_eq!(sandbox.read("t"), br"\{{ X }}", "{script}");
    }
}

#[test]
fn unusual_paths_are_accepted() {
    let sandbox = Sandbox::empty();
    fs::create_dir(sandbox.path("d")).unwrap();
    let long = "n".repeat(242);
    let strange: [&[u8]; 9] = [
        b"with space",
        b"new\nline",
        b"\xff\xfe",
        b"./-",
        b"--x",
        b"d/out",
        b"./d/../out",
        "é€".as_bytes(),
        long.as_bytes(),
    ];

    for name in strange {
        for text in ["first", "second"] {
            let mut option = b"--output=".to_vec();
            option.extend_from_slice(name);
            let mut run = sandbox.command(["render", "-q", "-e", text]);
            run.command.arg(OsStr::from_bytes(&option));
            run.run().succeeds().stdout("").stderr("");

            let found = fs::read(sandbox.path("").join(OsStr::from_bytes(name))).unwrap();
            assert_eq!(found, text.as_bytes(), "{}", name.escape_ascii());
        }
    }

    assert_eq!(names(&sandbox.path("")).len(), strange.len());
    let output = sandbox.run(["render", "-e", "x", "-o", "no/out"]).fails_with(1).stdout("");
    stderr!(output, @"
    error: the directory `no` does not exist
    hint: create it with `mkdir -p`, or choose another file; nothing was written
    ");
}

/// Starts a run without waiting for it.
fn spawned(sandbox: &Sandbox, template: &str) -> Child {
    let mut command = sandbox.program(env!("CARGO_BIN_EXE_secrets"));
    let command = command.args(["render", "-q", template, "-o", "out"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap()
}

/// A kill at any moment leaves the old file or the new one. Between link and rename the kernel
/// offers nothing better than a second name, so a kill there may leave that name. A later render
/// removes it.
#[test]
fn a_killed_render_leaves_the_old_file_or_the_new() {
    let sandbox = Sandbox::empty();
    let old = "old".repeat(1000);
    let new = sandbox.write("new", "n".repeat(12_000_000));
    let begin = Instant::now();

    assert!(spawned(&sandbox, "new").wait().unwrap().success());
    let whole = begin.elapsed();
    for round in 0..21_u32 {
        sandbox.write("out", &old);
        let mut child = spawned(&sandbox, "new");

        // The kills spread over the whole run, the last ones near its end.
        std::thread::sleep(whole * (round + 1) / 21);
        let signal = [
            rustix::process::Signal::KILL,
            rustix::process::Signal::TERM,
            rustix::process::Signal::INT,
        ];

        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, signal[round as usize % 3]);
        child.wait().unwrap();
        let found = sandbox.read("out");

        assert!(
            found == old.as_bytes() || found.len() == 12_000_000,
            "{round}: {} bytes",
            found.len()
        );

        if round % 3 == 0 {
            let _ = fs::remove_file(sandbox.path(WAITING));
        }

        assert_eq!(names(&sandbox.path("")), ["new", "out"], "{round}");
    }

    assert!(spawned(&sandbox, "new").wait().unwrap().success());
    assert_eq!(
        (names(&sandbox.path("")), sandbox.read("out")),
        (vec!["new".into(), "out".into()], fs::read(new).unwrap())
    );
}

#[test]
fn concurrent_renders_leave_one_complete_output() {
    let sandbox = Sandbox::empty();
    let contents: Vec<Vec<u8>> = (0..8_u8).map(|number| vec![b'0' + number; 300_000]).collect();
    for (number, content) in contents.iter().enumerate() {
        sandbox.write(&format!("t{number}"), content);
    }

    for round in 0..4 {
        // Half of the rounds start with an existing file.
        if round % 2 == 0 {
            let _ = fs::remove_file(sandbox.path("out"));
        }

        let children: Vec<Child> =
            (0..8).map(|number| spawned(&sandbox, &format!("t{number}"))).collect();
        for mut child in children {
            assert!(child.wait().unwrap().success(), "{round}");
        }

        assert!(contents.contains(&sandbox.read("out")), "{round}");
        assert_eq!(names(&sandbox.path("")).len(), 9, "{round}");
    }
}

#[test]
fn a_dead_writers_file_is_removed() {
    let sandbox = Sandbox::empty();
    for left in ["", "half of a secr"] {
        sandbox.write("out", "old");
        set_mode(&sandbox.write(WAITING, left), 0o600);
        render(&sandbox, "new", &["-q"]).succeeds();
        assert_eq!(
            (names(&sandbox.path("")), sandbox.read("out")),
            (vec!["out".to_owned()], b"new".to_vec())
        );
    }
}

/// The second writer waits for the one that still runs, and never removes its file.
#[test]
fn a_running_writer_is_waited_for() {
    let sandbox = Sandbox::empty();
    sandbox.write("out", "old");
    sandbox.write("new", "new");
    let waiting = fs::File::create(sandbox.path(WAITING)).unwrap();

    waiting.lock().unwrap();
    let mut child = spawned(&sandbox, "new");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && sandbox.path(WAITING).exists());
    drop(waiting);
    assert!(child.wait().unwrap().success());
    assert_eq!(
        (names(&sandbox.path("")), sandbox.read("out")),
        (vec!["new".into(), "out".into()], b"new".to_vec())
    );
}

#[test]
fn a_vault_and_the_passphrase_file_are_never_overwritten() {
    let sandbox = Sandbox::with_secrets(&[("x", "value")]);
    passphrase_file(&sandbox, "passphrase", PASSPHRASE);
    let another = Sandbox::new();

    fs::copy(another.vault_path(), sandbox.path("another.db")).unwrap();
    for (name, why) in [
        ("vault.db", "is a vault"),
        ("another.db", "is a vault"),
        ("passphrase", "is the passphrase file"),
    ] {
        let before = sandbox.read(name);
        sandbox
            .run(["render", "-e", "{{X}}", "-o", name, "--passphrase-file", "passphrase"])
            .fails_with(7)
            .stdout("")
            .stderr_has(&format!("error: `{name}` {why}\n"));
        assert_eq!(sandbox.read(name), before);
    }
}
