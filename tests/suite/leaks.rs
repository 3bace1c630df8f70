//! A value and a passphrase never come out except through `render`: not in any output, not in a
//! file, not in a process that another process of the same user could inspect.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::files::{passphrase_file, root};
use crate::support::programs::NOBODY;
use crate::support::traces::{forms, hex};
use crate::support::{PASSPHRASE, Run, Sandbox};

/// A value that can be found in any form. Its hint is `mRk7…9wLs`.
const VALUE: &str = "mRk7vQz2TgXe8NbHc4YdUf6PjAo1KiSx5WlVr3ZtBnGqEhCy0MaDuFpJ9wLs";
const OTHER: &str = "Zk3nWq8RtYv5HbJm1XcLs7PfGd4AeUo9KiNz2TgVx6QlCr0MhByEwSaDuFj";

#[track_caller]
fn clean(what: &str, content: &[u8]) {
    for secret in [VALUE, OTHER, PASSPHRASE] {
        for form in forms(secret) {
            let found = memchr::memmem::find(content, &form).is_some();
            assert!(!found, "{what} holds {:?}", String::from_utf8_lossy(&form));
        }
    }
}

/// Asserts that neither stream of a run holds a secret, and returns the code.
#[track_caller]
fn silent(run: Run) -> Option<i32> {
    let (code, stdout, stderr) = run.everything();
    clean("stdout", &stdout);
    clean("stderr", stderr.as_bytes());
    code
}

/// Asserts that no file in a directory holds a secret, in its name or in its bytes.
#[track_caller]
fn clean_directory(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        clean("a file's name", entry.file_name().as_encoded_bytes());
        if entry.file_type().unwrap().is_dir() {
            clean_directory(&entry.path());
        } else if let Ok(content) = std::fs::read(entry.path()) {
            clean(&entry.path().display().to_string(), &content);
        }
    }
}

/// Returns the arguments of a line. A tab stands for a space inside of one.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace('\t', " ")).collect()
}

/// Returns a vault whose `key` holds the value, and an empty directory for temporary files.
fn with_value() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("key", VALUE), ("other", OTHER)]);
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    sandbox
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let hex = hex(VALUE.as_bytes());
    let base64 =
        <base64ct::Base64 as base64ct::Encoding>::encode_string(format!("x{VALUE}").as_bytes());
    for text in [VALUE, &VALUE[20..28], &hex, &hex.to_uppercase(), &base64, PASSPHRASE] {
        let found = std::panic::catch_unwind(|| clean("a test", text.as_bytes())).is_err();
        assert!(found, "{text}");
    }

    clean("a hint", "mRk7…9wLs".as_bytes());
}

#[test]
fn no_command_prints_a_value() {
    let sandbox = with_value();
    passphrase_file(&sandbox, "same", PASSPHRASE);
    passphrase_file(&sandbox, "file-pass", "a passphrase for the file");

    let id =
        sandbox.run(["get", "key", "--json"]).succeeds().json()["id"].as_str().unwrap().to_owned();
    for line in [
        "get key",
        "get KEY --json",
        "list",
        "list --json",
        "list --all-projects",
        "list --filter mRk7",
        "update key --name x",
        "update key --description x --json",
        "clone key --to web",
        "clone --all --to two --json",
        "clone --all --to web --dry-run --on-conflict skip",
        "clone key --to web --on-conflict overwrite --json",
        "project list",
        "project rename web site",
        "project delete site -y --json",
        "compact",
        "compact --json",
        "passwd --new-passphrase-file same -q",
        "passwd --new-passphrase-file same --json",
        "recovery create",
        "recovery create --replace --json",
        "rekey -y",
        "rekey -y --json",
        "-p default rekey -y",
        "verify",
        "verify --json",
        "backup copy.db",
        "backup copy.db --replace --json",
        "restore copy.db --dry-run",
        "restore copy.db -y --json",
        "restore --accept -y",
        "salvage out.db",
        "recovery delete -y",
        "completions bash",
        "completions zsh",
        "render -e {{KEY}} --list",
        "render -e {{KEY}} --list --json",
        "render -e {{KEY}} -o out",
        "render -e {{KEY}} -o out --check",
        "render -e {{KEY}} -o out -q",
        "export --encrypted all.age --all-projects -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en",
        "export --encrypted all.age -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en --armor --replace --json",
        "export --encrypted own.age --export-passphrase-file file-pass",
        "import own.age --import-passphrase-file file-pass",
        "import own.age --import-passphrase-file file-pass -p copy --dry-run --json",
        "import own.age --import-passphrase-file file-pass -p copy --json",
        "scan vault.db tmp",
        "scan vault.db --json",
        "run --dry-run --only key --file F=other --stdin key",
        "run --dry-run --json --env A={{KEY}}",
        "run -- /usr/bin/printenv KEY OTHER",
        "run --json --only key -- /bin/sh -c echo\t$KEY;echo\t$KEY>&2",
        "run --file F=key -- /bin/sh -c cat\t$F;echo\t$F>&2",
        "run --stdin key -- /bin/cat",
        "run --env A={{KEY|base64}}{{OTHER|url}} -- /usr/bin/printenv A",
        "redact",
        "unlock --ttl 1m -q",
        "status",
        "status --json",
        "get key",
        "lock",
        "delete other -y",
        "--help",
        "create --help",
        "--version",
    ] {
        assert_eq!(
            silent(
                sandbox
                    .command(words(line))
                    .env("TMPDIR", sandbox.path("tmp"))
                    .stdin(if line == "redact" { VALUE } else { "" })
                    .run()
            ),
            Some(0),
            "{line}"
        );
    }

    assert_eq!(silent(sandbox.run(["get", &id])), Some(0));

    // The rendered value is in its output and nowhere else.
    assert_eq!(sandbox.read("out"), VALUE.as_bytes());
    std::fs::remove_file(sandbox.path("out")).unwrap();
    std::fs::remove_file(sandbox.path("same")).unwrap();
    clean_directory(&sandbox.path(""));
    clean_directory(&sandbox.state());
}

#[test]
fn no_command_of_a_project_prints_a_value() {
    let sandbox = Sandbox::with_secrets(&[("key", VALUE)]);
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    sandbox.write("t.tmpl", "K={{ KEY }}\nO={{ secrets.other }}\n");
    sandbox.write(
        ".secrets.toml",
        "project = \"default\"\n[secrets.other]\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"out\"\n\
         [run.env]\nA = \"{{ KEY }}\"\n",
    );

    let given = format!("OTHER={OTHER}\n");
    sandbox.write("given.env", &given);
    for (line, code) in [
        ("setup", 3),
        ("check --json", 3),
        ("setup --from given.env --json", 0),
        ("setup", 0),
        ("check", 0),
        ("check --json", 0),
        ("refs", 0),
        ("refs --json", 0),
        ("run -- /usr/bin/printenv A", 0),
        ("run --dry-run", 0),
        ("update key --generate", 0),
        ("update key --value-file given.env", 0),
        ("render --all --check", 8),
        ("render --stale", 0),
        ("render --all --json", 0),
        ("delete key -y", 7),
        ("project delete default -y --json", 7),
        ("import given.env", 0),
        ("import given.env --dry-run --json", 0),
        ("import - --on-conflict overwrite", 0),
        ("import - --format json", 2),
        ("template given.env -o given.tmpl", 0),
        ("import given.env --delete-source", 0),
    ] {
        let run =
            sandbox.command(words(line)).env("TMPDIR", sandbox.path("tmp")).stdin(&given).run();
        assert_eq!(silent(run), Some(code), "{line}");
    }

    std::fs::remove_file(sandbox.path("out")).unwrap();
    clean_directory(&sandbox.path(""));
}

#[test]
fn while_a_program_runs_only_it_has_its_values() {
    let sandbox = with_value();
    let line = [
        "run",
        "--env",
        "A={{ KEY }}",
        "--file",
        "F=other",
        "--",
        "/bin/sh",
        "-c",
        "echo go; exec /bin/sleep 1000",
    ];

    for more in [&[][..], &["--no-mask"]] {
        let mut command = sandbox.command([&line[..1], more, &line[1..]].concat()).command;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        let children: Vec<&str> = children.split_whitespace().collect();
        let read = |pid: &str, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let begun = Instant::now();

        while !children.iter().any(|pid| read(pid, "comm") == b"sleep\n") {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }

        let us = child.id().to_string();
        let mut holders = 0;
        for pid in children.iter().copied().chain([&*us]) {
            clean("a command line", &read(pid, "cmdline"));
            let environment = read(pid, "environ");
            if read(pid, "comm") == b"sleep\n" {
                holders +=
                    usize::from(memchr::memmem::find(&environment, VALUE.as_bytes()).is_some());
                assert!(memchr::memmem::find(&environment, PASSPHRASE.as_bytes()).is_none());
            } else if pid == us {
                // The passphrase is there because this test put it there.
                assert!(memchr::memmem::find(&environment, &VALUE.as_bytes()[..16]).is_none());
            } else {
                clean("the environment of the guard", &environment);
            }
        }

        assert_eq!((children.len(), holders), (2, 1), "the guard and the program");
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = Instant::now();
        let left = || {
            std::fs::read_dir(sandbox.path("secrets"))
                .unwrap()
                .flatten()
                .any(|entry| entry.path().is_dir())
        };

        while left() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the private file still exists");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    clean_directory(&sandbox.path(""));
}

#[test]
fn no_way_of_storing_prints_a_value() {
    let sandbox = with_value();
    sandbox.write("value", VALUE);
    for line in [
        "create --tag a",
        "create --tag b --json",
        "create --tag c --value-file value",
        "create --tag d --value-file -",
        "create --tag e --exact -q",
        "update a",
        "update b --json",
        "update c --value-file value --name x",
    ] {
        let run =
            sandbox.command(line.split(' ')).env("TMPDIR", sandbox.path("tmp")).stdin(VALUE).run();
        assert_eq!(silent(run), Some(0), "{line}");
    }

    std::fs::remove_file(sandbox.path("value")).unwrap();
    clean_directory(&sandbox.path(""));
}

#[test]
fn no_failure_prints_a_value() {
    let sandbox = with_value();
    sandbox.write("value", VALUE.repeat(20_000)); // too large
    sandbox.write("template", format!("{VALUE} {{{{ secrets.kez }}}}"));
    std::os::unix::fs::symlink("nowhere", sandbox.path("link")).unwrap();

    for (line, code) in [
        ("create --tag key", 4),
        ("create --tag KEY", 4),
        ("create --tag a --value-file value", 2),
        ("create --tag a --value-file value", 2),
        ("create --tag a --value-file nowhere", 1),
        ("create", 2),
        ("create --tag a b", 2),
        ("create --tag se0123456789abcdef", 2),
        ("update nothing", 3),
        ("update key --value-file value", 2),
        ("update key --name x --allow-empty --generate --length 1", 2),
        ("clone key other --tag x", 2),
        ("clone --all --to default", 2),
        ("delete key", 7),
        ("delete key nothing -y", 3),
        ("render -e {{KEY}}{{KEZ}}", 3),
        ("render -e {{secrets.key|no}}", 2),
        ("render -e {{KEY}} -o link", 7),
        ("render -e {{KEY}} -o tmp", 7),
        ("render -e {{KEY}} -o nowhere/out", 1),
        ("render -e {{KEY}} -o missing --check", 8),
        ("init", 4),
        ("export", 2),
        ("export --encrypted out", 5),
        (
            "export --encrypted value -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en --replace",
            7,
        ),
        (
            "export --encrypted template -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en",
            4,
        ),
        ("export --encrypted out -R value", 2),
        ("export --encrypted out -r age1x", 2),
        ("import template -i value", 2),
        ("import value --format age", 6),
        ("list --vault template", 6),
        ("scan value", 8),
        ("scan nowhere", 1),
        ("redact nowhere", 1),
        ("redact tmp", 1),
        ("run --only kez -- true", 125),
        ("run --env A={{KEY}}{{KEZ}} -- true", 125),
        ("run --env A={{secrets.key|no}} -- true", 125),
        ("run --env LD_PRELOAD={{KEZ}} -- true", 125),
        ("run --only key -- /no/such/program", 127),
        ("run --only key -- /etc/passwd", 126),
        ("run --env-file template -- true", 125),
        ("run --env-file value -- true", 125),
        ("run --stdin key -- /bin/sh -c cat;exit\t9", 9),
        ("run -- /bin/sh -c kill\t-9\t$$", 137),
    ] {
        for json in [false, true] {
            let line = words(line).into_iter().chain(json.then(|| "--json".to_owned()));
            let run =
                sandbox.command(line.clone()).env("TMPDIR", sandbox.path("tmp")).stdin(VALUE).run();
            assert_eq!(silent(run), Some(code), "{:?}", line.collect::<Vec<_>>());
        }
    }

    for name in ["value", "template"] {
        std::fs::remove_file(sandbox.path(name)).unwrap();
    }

    clean_directory(&sandbox.path(""));
}

#[test]
fn a_damaged_vault_reveals_no_value() {
    let sandbox = with_value();
    for damage in [
        "UPDATE vals SET val = zeroblob(length(val))",
        "UPDATE records SET meta = zeroblob(length(meta))",
        "UPDATE projects SET head = zeroblob(length(head))",
        "UPDATE slots SET wrap = zeroblob(length(wrap))",
        "UPDATE vault SET root_mac = zeroblob(length(root_mac))",
        "DELETE FROM vals",
    ] {
        let whole = sandbox.read("vault.db");
        rusqlite::Connection::open(sandbox.vault_path()).unwrap().execute(damage, []).unwrap();
        for line in [
            "get key",
            "list",
            "render -e {{KEY}}{{OTHER}}",
            "delete key -y",
            "clone --all --to web",
        ] {
            silent(sandbox.run(line.split(' ')));
        }
        std::fs::write(sandbox.vault_path(), whole).unwrap();
    }
}

#[test]
fn a_wrong_passphrase_is_not_printed() {
    let sandbox = with_value();
    for line in ["list", "get key --json", "render -e {{KEY}}", "create --tag a"] {
        let run =
            sandbox.command(line.split(' ')).env("SECRETS_PASSPHRASE", VALUE).stdin(OTHER).run();
        assert_eq!(silent(run), Some(5), "{line}");
        sandbox.write("passphrase", format!("{VALUE}\n\n"));
        let run = sandbox.run(line.split(' ').chain(["--passphrase-file", "passphrase"]));

        assert_eq!(silent(run), Some(5), "{line}");
    }

    // These are not valid passphrases at all.
    for bad in [VALUE.repeat(100).into_bytes(), [VALUE.as_bytes(), b"\xff"].concat()] {
        sandbox.write("passphrase", bad);
        assert_eq!(silent(sandbox.run(["list", "--passphrase-file", "passphrase"])), Some(5));
    }
}

#[test]
fn a_writer_that_is_killed_leaves_no_value_behind() {
    let sandbox = with_value();
    let value = VALUE.repeat(16_000); // most of a MiB, so that the write takes long enough
    for round in 0..12 {
        let tag = format!("t{round}");
        let line =
            if round % 2 == 0 { vec!["create", "--tag", &tag] } else { vec!["update", "key"] };
        let mut command = sandbox.command(line).env("TMPDIR", sandbox.path("tmp")).command;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let mut stdin = child.stdin.take().unwrap();
        let bytes = value.clone();
        let feeder = std::thread::spawn(move || {
            drop(std::io::Write::write_all(&mut stdin, bytes.as_bytes()));
        });

        std::thread::sleep(Duration::from_millis(30 + 12 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        feeder.join().unwrap();

        // A journal and a staged file may exist now.
        clean_directory(&sandbox.path(""));
    }

    assert_eq!(silent(sandbox.run(["list"])), Some(0));
    clean_directory(&sandbox.path(""));
}

#[test]
fn a_large_template_on_stdin_leaves_no_value_behind() {
    let sandbox = with_value();
    let template = format!("{}{{{{ secrets.key }}}}", "x".repeat(9 * 1024 * 1024));
    let line = ["render", "-", "-o", "out"];
    let run = sandbox.command(line).env("TMPDIR", sandbox.path("tmp")).stdin(template).run();

    assert_eq!(silent(run), Some(0));
    assert!(sandbox.read("out").ends_with(VALUE.as_bytes()));
    std::fs::remove_file(sandbox.path("out")).unwrap();
    clean_directory(&sandbox.path(""));
}

#[test]
fn only_known_files_start_programs() {
    const STARTERS: [&str; 7] = [
        "agent/client.rs",
        "run/child.rs",
        "run/files.rs",
        "run/linger.rs",
        "run/monitor.rs",
        "run/supervise.rs",
        "src/git.rs",
    ];

    fn look(directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                look(&entry.path());
            } else {
                let source = std::fs::read_to_string(entry.path()).unwrap();
                let starts = source.contains("process::Command")
                    || source.contains("process::{Child, Command");
                let path = entry.path().display().to_string();

                assert!(!starts || STARTERS.iter().any(|known| path.ends_with(known)), "{path}");
            }
        }
    }

    look(&root().join("src"));
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

/// Returns true if user `nobody` can read the memory or the environment of its own process.
fn is_open_to_its_user(child: &Child) -> bool {
    let can_read = |file: &str| {
        let path = format!("/proc/{}/{file}", child.id());

        // Opening the file is the permission check. The first page of memory cannot be read anyway.
        let mut probe = as_nobody(Path::new("sh"));
        probe
            .args(["-c", "exec 3< \"$0\"", &path])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };

    let open = ["mem", "environ"].map(can_read);
    assert_eq!(open[0], open[1]);
    open[0]
}

#[test]
fn a_running_instance_is_closed_to_other_processes_of_its_user() {
    let sandbox = with_value();

    // User `nobody` may not have access to the build's directory, so the test runs a copy. Another
    // process writes it: a file that this one had open for writing, and that a test running at the
    // same time passed on with fork, could not be executed (ETXTBSY).
    let program = sandbox.path("program");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_secrets")).arg(&program).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(sandbox.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    if chown(sandbox.vault_path(), Some(NOBODY), Some(NOBODY)).is_err() {
        return; // only root can switch to another user
    }

    chown(sandbox.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = as_nobody(&program);
    command.args(["create", "--tag", "new"]).env("SECRETS_VAULT", sandbox.vault_path());
    command
        .env("SECRETS_PASSPHRASE", PASSPHRASE)
        .current_dir(sandbox.path(""))
        .stdin(Stdio::piped());

    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    // The process waits for its stdin. By then it is no longer setpriv.
    let begun = Instant::now();
    let is_itself = || {
        std::fs::read(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name == b"program\n")
    };

    while !is_itself() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }

    std::thread::sleep(Duration::from_millis(200));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let open = is_open_to_its_user(&child);
    drop(child.stdin.take());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!open, "memory and environment can be read");

    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();

    // The soft limit counts. The hard limit stays, so that `run` can restore a program's own limit.
    assert_eq!(core.split_whitespace().nth(4), Some("0"));

    // Another program of the same user can be inspected, so the check works.
    let mut sleeper = as_nobody(Path::new("sleep")).arg("30").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let open = is_open_to_its_user(&sleeper);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(open);
}
