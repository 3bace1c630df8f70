//! The sources of the vault, the project, the passphrase and colour. Options take precedence over
//! the environment, and the environment over files.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::files::write_private;
use crate::support::{PASSPHRASE, Run, Sandbox, project, secret};

const WRONG: &str = "error: wrong passphrase\nhint: enter the one last set with `secrets init` or \
                     `secrets passwd`, or use a recovery code with `--recovery`\n";

/// Returns a vault with a secret `key` in several projects. Each hint names its project.
fn projects() -> Sandbox {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for name in ["default", "env", "file", "inner", "option"] {
        vault.create(&project(name), secret("key", b"x")).unwrap();
    }

    sandbox
}

#[track_caller]
fn is_project(run: Run, name: &str) {
    run.succeeds().stdout_has(&format!("project      {name}\n"));
}

#[test]
fn the_vault_comes_from_the_option_then_the_environment_then_the_data_directory() {
    let sandbox = Sandbox::empty();
    let missing_by = |run: Run, path: &Path, option: &str| {
        let path = path.display();
        let expected = format!(
            "error: no vault at `{path}`\nhint: create one with `secrets {option}init`, or restore \
             a backup with `secrets {option}restore PATH`\n"
        );

        run.fails_with(3).stdout("").stderr(&expected);
    };

    let missing = |run: Run, path: &Path| missing_by(run, path, "");

    // The hint names the same vault.
    missing_by(sandbox.run(["list", "--vault", "o.db"]), &sandbox.path("o.db"), "--vault o.db ");
    missing(sandbox.run(["list"]), &sandbox.vault_path());
    let without = || sandbox.command(["list"]).without_env("SECRETS_VAULT");
    missing(
        without().env("XDG_DATA_HOME", sandbox.path("xdg")).run(),
        &sandbox.path("xdg/secrets/vault.db"),
    );

    let usual = sandbox.path(".local/share/secrets/vault.db");
    missing(without().run(), &usual);

    // An empty variable is ignored, and so is a relative directory.
    missing(without().env("SECRETS_VAULT", "").env("XDG_DATA_HOME", "").run(), &usual);
    missing(without().env("XDG_DATA_HOME", "relative").run(), &usual);
}

#[test]
fn an_empty_vault_path_or_a_directory_is_refused() {
    let sandbox = Sandbox::new();
    stderr!(sandbox.run(["list", "--vault", ""]).fails_with(2), @"
    error: `--vault <PATH>` requires a value
    hint: see `secrets help` or `secrets COMMAND --help`
    ");

    for path in ["./", "..", "/"] {
        let expected = format!(
            "error: `{path}` is not the path of a file\nhint: give the path of a file, such as \
             `DIRECTORY/vault.db`\n"
        );

        sandbox.run(["list", "--vault", path]).fails_with(2).stderr(&expected);
    }
}

#[test]
fn the_project_comes_from_the_option_then_the_environment_then_the_file() {
    let sandbox = projects();
    is_project(sandbox.run(["get", "key"]), "default");
    sandbox.write(".secrets.toml", "project = \"file\"\n");
    is_project(sandbox.run(["get", "key"]), "file");
    is_project(sandbox.command(["get", "key"]).env("SECRETS_PROJECT", "").run(), "file");
    is_project(sandbox.command(["get", "key"]).env("SECRETS_PROJECT", "env").run(), "env");
    is_project(
        sandbox.command(["get", "key", "-p", "option"]).env("SECRETS_PROJECT", "env").run(),
        "option",
    );

    is_project(sandbox.run(["--project", "option", "get", "key"]), "option");
}

#[test]
fn the_nearest_file_upwards_names_the_project() {
    let sandbox = projects();
    std::fs::create_dir_all(sandbox.path("a/b/c")).unwrap();
    sandbox.write(".secrets.toml", "project = \"file\"\n");
    sandbox.write("a/b/.secrets.toml", "# it\nproject = \"inner\"\n");

    for (directory, name) in [("a/b/c", "inner"), ("a/b", "inner"), ("a", "file"), ("", "file")] {
        is_project(
            sandbox.command(["get", "key"]).current_dir(sandbox.path(directory)).run(),
            name,
        );
    }

    // A directory of that name is not a manifest.
    std::fs::create_dir(sandbox.path("a/.secrets.toml")).unwrap();
    is_project(sandbox.command(["get", "key"]).current_dir(sandbox.path("a")).run(), "file");

    // Only the nearest file counts. If it names no project, the default project is used.
    sandbox.write("a/b/c/.secrets.toml", "");
    is_project(sandbox.command(["get", "key"]).current_dir(sandbox.path("a/b/c")).run(), "default");
}

#[test]
fn an_invalid_file_is_reported_with_line_and_column() {
    let sandbox = projects();
    for (content, place) in [
        ("project = 5\n", "1:11: "),
        ("# é\nproject = [\n", "2:12: "),
        ("\n\nproject =\n", "3:10: "),
        ("project = \"a\"\nproject = \"b\"\n", "2:1: "),
        (
            "\n  project = \"a b\"\n",
            "2:13: only ASCII letters, digits, `_`, `.` and `-` are allowed",
        ),
        ("project = \"\"\n", "1:11: it is empty"),
        ("projct = \"a\"\n", "1:1: unknown key `projct`, expected one of `project`"),
    ] {
        sandbox.write(".secrets.toml", content);
        let run = sandbox.run(["get", "key"]).fails_with(2).stdout("");
        run.stderr_has(&format!("error: .secrets.toml:{place}")).stderr_has(
            "\nhint: see `secrets setup --help` for what the file can contain; it never holds a \
             value\n",
        );
    }

    // The file is not read if the project is named in another way.
    is_project(sandbox.run(["get", "key", "-p", "option"]), "option");
}

#[test]
fn an_invalid_project_name_in_the_environment_is_refused() {
    let sandbox = projects();
    stderr!(sandbox.command(["get", "key"]).env("SECRETS_PROJECT", "a b").run().fails_with(2).stdout(""), @"
    error: SECRETS_PROJECT=`a b` is not a valid project name: only ASCII letters, digits, `_`, `.` and `-` are allowed
    hint: choose another project with `--project NAME`
    ");

    stderr!(sandbox.run(["get", "key", "-p", "a b"]).fails_with(2), @"
    error: invalid `--project <NAME>`: only ASCII letters, digits, `_`, `.` and `-` are allowed
    hint: see `secrets help` or `secrets COMMAND --help`
    ");
}

#[test]
fn another_user_s_file_is_ignored_with_a_warning() {
    let sandbox = projects();
    std::fs::create_dir(sandbox.path("a")).unwrap();
    sandbox.write(".secrets.toml", "project = \"file\"\n");
    let foreign = sandbox.write("a/.secrets.toml", "project = \"inner\"\n");

    if chown(&foreign, Some(65534), None).is_err() {
        return; // only root can change a file's owner
    }

    let inside =
        |arguments: &[&str]| sandbox.command(arguments).current_dir(sandbox.path("a")).run();
    let warning = "warning: `.secrets.toml` belongs to another user and is ignored\n";
    inside(&["get", "key"]).succeeds().stdout_has("project      file\n").stderr(warning);

    // With `--json` the warning is printed only on success. A failure prints a single object.
    let run = inside(&["get", "key", "--json"]).succeeds().stderr(warning);
    assert_eq!(run.json()["project"], "file");
    let error = inside(&["get", "other", "--json"]).fails_with(3).stdout("").json_error();
    assert_eq!(error["type"], "NOT_FOUND");
}

#[test]
fn the_passphrase_comes_from_the_option_then_the_file_variable_then_the_variable() {
    let sandbox = Sandbox::new();
    write_private(&sandbox.path("right"), PASSPHRASE);
    write_private(&sandbox.path("wrong"), "wrong");

    for (option, file, variable, code) in [
        (Some("right"), Some("wrong"), Some("wrong"), 0),
        (Some("wrong"), Some("right"), Some(PASSPHRASE), 5),
        (None, Some("right"), Some("wrong"), 0),
        (None, Some("wrong"), Some(PASSPHRASE), 5),
        (None, None, Some(PASSPHRASE), 0),
        (None, None, Some("wrong"), 5),
        // Empty variables are ignored.
        (None, Some(""), Some(PASSPHRASE), 0),
        (None, Some("right"), Some(""), 0),
    ] {
        let mut line = vec!["list", "-q"];
        line.extend(option.iter().flat_map(|path| ["--passphrase-file", path]));
        let mut command = sandbox.command(line).without_env("SECRETS_PASSPHRASE");
        for (name, value) in [("SECRETS_PASSPHRASE_FILE", file), ("SECRETS_PASSPHRASE", variable)] {
            command = value.into_iter().fold(command, |command, value| command.env(name, value));
        }
        command.run().fails_with(code).stdout("").stderr(if code == 0 { "" } else { WRONG });
    }
}

#[test]
fn a_passphrase_from_a_file_loses_one_newline() {
    let sandbox = Sandbox::new();
    for (ending, code) in [("", 0), ("\n", 0), ("\r\n", 0), ("\n\n", 5), (" ", 5), ("\r", 5)] {
        write_private(&sandbox.path("file"), PASSPHRASE.to_owned() + ending);
        let run = sandbox.run(["list", "-q", "--passphrase-file", "file"]);
        run.fails_with(code).stderr(if code == 0 { "" } else { WRONG });
    }
}

#[test]
fn a_passphrase_can_come_through_a_fifo_or_a_descriptor() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo");

    // The mode of a pipe does not matter, because its content is read only once.
    assert!(
        std::process::Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );

    let writer =
        std::thread::spawn(move || std::fs::write(fifo, PASSPHRASE.to_owned() + "\n").unwrap());
    sandbox.run(["list", "-q", "--passphrase-file", "fifo"]).succeeds().stderr("");
    writer.join().unwrap();
    let run =
        sandbox.command(["list", "-q", "--passphrase-file", "/dev/fd/0"]).stdin(PASSPHRASE).run();
    run.succeeds().stderr("");
}

#[test]
fn a_passphrase_file_that_others_can_read_is_a_warning() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("file", PASSPHRASE);
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let warning = "warning: other users can read the passphrase file `file`\n";
        let run = sandbox.run(["list", "-q", "--passphrase-file", "file"]);
        run.succeeds().stdout("").stderr(if warned { warning } else { "" });
    }
}

#[test]
fn a_passphrase_file_that_cannot_be_read_is_named() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(["list", "--passphrase-file", "nowhere"]);
    stderr!(run.fails_with(5), @"error: cannot read the passphrase file `nowhere`: No such file or directory");
    let run = sandbox.run(["list", "--passphrase-file", "."]);

    stderr!(run.fails_with(5), @"error: cannot read the passphrase file `.`: is a directory");
}

#[test]
fn without_a_terminal_and_a_passphrase_it_fails_at_once_and_names_three_ways() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    for line in [
        &["list"][..],
        &["get", "key"],
        &["create", "--tag", "new"],
        &["render", "-e", "{{ secrets.key }}"],
    ] {
        let begun = Instant::now();
        let run = sandbox.command(line).without_env("SECRETS_PASSPHRASE").stdin("a value").run();
        // The promise is a tenth of a second. A busy machine gets five times as much.
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        stderr!(run.fails_with(5).stdout(""), @"
        error: no passphrase was given and there is no terminal to ask on
        hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
        hint: or unlock the vault for a while with `secrets unlock` on a terminal
        ");
    }
}

#[test]
fn colour_is_for_terminals_or_on_request() {
    let sandbox = Sandbox::new();
    let coloured = "\x1b[1m\x1b[31merror:\x1b[0m no secret";
    for (option, no_color, force, shown) in [
        ("auto", "", "", "error: no secret"),
        ("auto", "", "1", coloured),
        ("auto", "", "0", "error: no secret"),
        ("auto", "1", "1", "error: no secret"),
        ("always", "", "", coloured),
        ("always", "1", "", coloured),
        ("never", "", "1", "error: no secret"),
    ] {
        let command = sandbox.command(["get", "key", "--color", option]);
        let run = command.env("NO_COLOR", no_color).env("CLICOLOR_FORCE", force).run();
        let (_, _, stderr) = run.everything();
        assert!(
            stderr.starts_with(shown),
            "{option} NO_COLOR={no_color} CLICOLOR_FORCE={force}: {stderr:?}"
        );
    }
}

#[test]
fn colour_never_gets_into_json() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let run = sandbox.run(["get", "key", "--json", "--color", "always"]).succeeds();
    assert!(!run.bytes().contains(&0x1b));
    let (_, _, stderr) = sandbox.run(["get", "other", "--json", "--color", "always"]).everything();

    assert!(stderr.starts_with('{'), "{stderr:?}");
}

#[test]
fn reading_works_on_a_read_only_file() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    std::fs::set_permissions(sandbox.vault_path(), std::fs::Permissions::from_mode(0o400)).unwrap();
    sandbox.run(["render", "-e", "{{ secrets.key }}"]).succeeds().stdout("x");
    sandbox.run(["list"]).succeeds().stdout_has("key\t");
}

#[test]
fn a_dash_reads_the_passphrase_from_stdin() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let with = |line: &[&str], stdin: &str| {
        sandbox
            .command([&["--passphrase-file", "-"], line].concat())
            .without_env("SECRETS_PASSPHRASE")
            .stdin(stdin)
            .run()
    };

    let passphrase = format!("{PASSPHRASE}\n");
    with(&["list", "-q"], &passphrase).succeeds().stdout_has("key");
    with(&["list", "-q"], PASSPHRASE).succeeds().stdout_has("key");
    stderr!(with(&["list", "-q"], "").fails_with(5), @"error: invalid passphrase: it is empty");
    with(&["create", "--tag", "new", "--generate", "-q"], &passphrase).succeeds();

    // A command that opens two files reads stdin once.
    with(&["backup", "copy.db", "-q"], &passphrase).succeeds();
    with(&["restore", "copy.db", "-yq"], &passphrase).succeeds();
    with(&["run", "--only", "key", "--no-mask", "--", "cat"], &passphrase).succeeds();
    let run = sandbox
        .command(["list", "-q"])
        .env("SECRETS_PASSPHRASE_FILE", "-")
        .stdin(&passphrase)
        .run();

    run.succeeds().stdout_has("key");
}

#[test]
fn stdin_cannot_be_the_passphrase_and_other_input() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    for line in [
        &["create", "--tag", "new"][..],
        &["create", "--tag", "new", "--value-file", "-"],
        &["update", "key"],
        &["render"],
        &["render", "-"],
        &["redact"],
        &["import", "-"],
    ] {
        // Each text needs the vault.
        let text = if line[0] == "import" { "A=1\n" } else { "A={{KEY}}\n" };
        let line = [line, &["--passphrase-file", "-"]].concat();
        let run = sandbox.command(&line).without_env("SECRETS_PASSPHRASE").stdin(text).run();
        stderr!(run.fails_with(2).stdout(""), @"
        error: stdin cannot provide both the passphrase and other input
        hint: read one of them from a file, for example with `--passphrase-file PATH`
        ");
    }

    assert_eq!(sandbox.vault().list(None, |_| true).unwrap().len(), 1);
}

/// An orchestrator's secret was created with `echo`.
#[test]
fn a_passphrase_from_the_environment_loses_one_newline() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let list = |end: &str| {
        sandbox
            .command(["list", "-q"])
            .env("SECRETS_PASSPHRASE", format!("{PASSPHRASE}{end}"))
            .run()
    };

    list("\n").succeeds().stdout_has("key");
    list("\r\n").succeeds().stdout_has("key");
    list("\n\n").fails_with(5).stderr(WRONG);
    list(" ").fails_with(5).stderr(WRONG);
}
