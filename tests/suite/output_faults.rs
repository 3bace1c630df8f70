//! Output files when the system fails: kills and signals between two given system calls, a full
//! disk, a file system without nameless files.
//!
//! `strace` stops the program at a chosen call, and some tests mount a small file system. If either
//! is not available, a test reports that on stderr and passes.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use crate::support::Sandbox;
use crate::support::faults::{Small, strace_is_here};
use crate::support::files::{WAITING, mode, names};

/// Runs the binary under strace, which fails or kills it at a system call. Returns `None` if strace
/// is missing or not permitted.
fn traced(sandbox: &Sandbox, options: &[&str], template: &str) -> Option<i32> {
    if !strace_is_here() {
        return None;
    }

    let mut command = sandbox.program("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_secrets")).stdin(Stdio::null()).stderr(Stdio::null());
    command.args(["render", "-q", template, "-o"]).arg(sandbox.path("out"));
    let status = command.status().unwrap();
    Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}

#[test]
fn the_next_render_clears_up_after_a_kill_between_link_and_rename() {
    let sandbox = Sandbox::empty();
    sandbox.write("out", "old");
    sandbox.write("new", "new");
    let Some(code) =
        traced(&sandbox, &["-e", "trace=/^rename", "-e", "inject=/^rename:signal=KILL"], "new")
    else {
        return;
    };

    assert_eq!((code, sandbox.read("out")), (137, b"old".to_vec()));
    assert_eq!(
        (names(&sandbox.path("")), mode(&sandbox.path(WAITING))),
        (vec![WAITING.into(), "new".into(), "out".into()], 0o600)
    );

    sandbox.run(["render", "-q", "-e", "newer", "-o", "out"]).succeeds();
    assert_eq!(
        (names(&sandbox.path("")), sandbox.read("out")),
        (vec!["new".into(), "out".into()], b"newer".to_vec())
    );
}

/// The program can handle a signal, so nothing is left even here.
#[test]
fn a_signal_between_link_and_rename_leaves_nothing() {
    for signal in ["TERM", "INT", "HUP"] {
        let sandbox = Sandbox::empty();
        sandbox.write("out", "old");
        sandbox.write("new", "new");
        let inject = format!("inject=linkat:signal={signal}");

        if traced(&sandbox, &["-e", "trace=linkat", "-e", &inject], "new").is_none() {
            return;
        }

        let out = sandbox.read("out");
        assert!(out == b"old" || out == b"new");
        assert_eq!(names(&sandbox.path("")), ["new", "out"], "{signal}");
    }
}

/// Refuses a nameless file in the output's directory, as a file system without them does. `more`
/// has options for faults on the staged file.
fn without_nameless_files<'a>(
    sandbox: &'a Sandbox,
    more: &[&'a str],
    template: &str,
) -> Option<i32> {
    let (directory, waiting) = (sandbox.path(""), sandbox.path(WAITING));

    // If the architecture has `open`, only the nameless file uses it in this directory.
    let open = if cfg!(target_arch = "x86_64") { "open" } else { "openat" };
    let inject = format!("inject={open}:error=EOPNOTSUPP:when=1");
    let paths =
        ["-P", directory.to_str().unwrap().trim_end_matches('/'), "-P", waiting.to_str().unwrap()];
    let trace = format!("trace={open},flock,write,fsync,/^rename");
    let usual = ["-e", &trace, "-e", &inject];

    traced(sandbox, &[&paths[..], &usual, more].concat(), template)
}

#[test]
fn without_nameless_files_a_named_one_is_used() {
    // The fault, the exit code, and the contents that may exist afterwards.
    let cases: [(&[&str], i32, &[&str]); 5] = [
        (&[], 0, &["new"]),
        (&["-e", "inject=write:error=ENOSPC"], 1, &["old"]),
        (&["-e", "inject=fsync:error=EIO:when=1"], 1, &["old"]),
        (&["-e", "inject=/^rename:error=EACCES"], 1, &["old"]),
        (&["-e", "inject=write:signal=TERM:delay_exit=300000"], 143, &["old", "new"]),
    ];

    for (more, expected, contents) in cases {
        for left in [None, Some("of a dead writer")] {
            let sandbox = Sandbox::empty();
            sandbox.write("new", "new");
            sandbox.write("out", "old");
            left.map(|text| sandbox.write(WAITING, text));

            let Some(code) = without_nameless_files(&sandbox, more, "new") else { return };
            let found = String::from_utf8(sandbox.read("out")).unwrap();
            assert!(
                code == expected && contents.contains(&found.as_str()),
                "{more:?}: {code}, {found}"
            );

            assert_eq!(names(&sandbox.path("")), ["new", "out"], "{more:?}");
        }
    }
}

/// One writer is stopped after it created its file and before it locks it. At that moment the file
/// looks like a dead writer's.
#[test]
fn without_nameless_files_two_renders_leave_each_others_files_alone() {
    let sandbox = Sandbox::empty();
    let contents = [b"a".repeat(200_000), b"b".repeat(200_000)];
    sandbox.write("a", &contents[0]);
    sandbox.write("b", &contents[1]);

    let slow_lock = ["-e", "inject=flock:delay_enter=600000:when=1"];
    let slow_write = ["-e", "inject=write:delay_exit=900000:when=1"];
    let codes = std::thread::scope(|scope| {
        let first = scope.spawn(|| without_nameless_files(&sandbox, &slow_lock, "a"));
        std::thread::sleep(Duration::from_millis(300));
        let second = scope.spawn(|| without_nameless_files(&sandbox, &slow_write, "b"));
        [first.join().unwrap(), second.join().unwrap()]
    });

    if codes.contains(&None) {
        return;
    }

    assert_eq!(codes, [Some(0), Some(0)]);
    assert!(contents.contains(&sandbox.read("out")), "{} bytes", sandbox.read("out").len());
    assert_eq!(names(&sandbox.path("")), ["a", "b", "out"]);
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let sandbox = Sandbox::empty();
    let Some(small) = Small::mounted(sandbox.path("small")) else { return };
    sandbox.write("large", "x".repeat(2_000_000));

    for old in [None, Some("old")] {
        if let Some(text) = old {
            fs::write(small.0.join("out"), text).unwrap();
        }

        let run = sandbox.run(["render", "large", "-o", "small/out"]);
        stderr!(run.fails_with(1).stdout(""), @"error: cannot write `small/out`: No space left on device");
        assert_eq!(fs::read(small.0.join("out")).ok().as_deref(), old.map(str::as_bytes));
        assert_eq!(names(&small.0).len(), usize::from(old.is_some()));
    }

    sandbox.run(["render", "-q", "-e", "fits", "-o", "small/out"]).succeeds();
    assert_eq!(fs::read(small.0.join("out")).unwrap(), b"fits");
}

#[test]
fn the_longest_file_name_can_be_replaced() {
    let sandbox = Sandbox::empty();
    for length in [241, 242, 243, 254, 255] {
        let name = "n".repeat(length);
        for text in ["first", "second"] {
            sandbox.run(["render", "-q", "-e", text, "-o", &name]).succeeds().stdout("").stderr("");
            assert_eq!(sandbox.read(&name), text.as_bytes());
        }
    }

    assert_eq!(names(&sandbox.path("")).len(), 5);
}
