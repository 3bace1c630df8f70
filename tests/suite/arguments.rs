//! Arguments that were not understood are never printed, because they may be values.

use crate::support::Sandbox;

const MARKER: &str = "hunter2-MARKER";
/// Each command with the arguments that it needs to parse, but without anything to work on.
const COMMANDS: [&str; 14] = [
    "init",
    "create --tag key",
    "list",
    "get key",
    "update key",
    "rename key new",
    "delete key",
    "clone key --to web",
    "render -e x",
    "project list",
    "project rename a b",
    "project delete a",
    "compact",
    "completions bash",
];
/// Commands that take one more argument, which they would take for a name.
const TAKES_MORE: [&str; 3] = ["delete key", "clone key --to web", "project delete a"];

/// Runs a line that must be refused before anything else happens, and returns the message.
#[track_caller]
fn refused(line: &str, more: &[&str]) -> String {
    // The sandbox has no vault and no passphrase, so a line that parses would fail with 3 or 5.
    let sandbox = Sandbox::empty();
    let arguments: Vec<&str> = line.split(' ').chain(more.iter().copied()).collect();
    let (code, stdout, stderr) =
        sandbox.command(&arguments).without_env("SECRETS_PASSPHRASE").run().everything();
    assert_eq!((code, stdout.len()), (Some(2), 0), "{arguments:?}: {stderr}");
    for part in ["hunter2", "MARKER", "4929118273"] {
        assert!(!stderr.contains(part), "{arguments:?}: {stderr}");
    }

    assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
    let json = sandbox
        .command(["--json"].iter().chain(&arguments))
        .run()
        .fails_with(2)
        .stdout("")
        .json_error();

    assert!(
        !json.to_string().contains("hunter2") && !json.to_string().contains("4929118273"),
        "{json}"
    );

    assert_eq!(json["type"], "BAD_REQUEST");
    stderr
}

#[test]
fn a_value_on_the_command_line_is_refused_with_the_alternatives() {
    for line in [
        "create --tag key",
        "create key",
        "update key",
        "create --tag key --generate",
        "update key --name x",
    ] {
        for attempt in [
            &[MARKER][..],
            &[MARKER, "more"],
            &["--value", MARKER],
            &["--value=hunter2-MARKER"],
            &["--value"],
            &["--secret", MARKER],
            &["--secret=hunter2-MARKER"],
            &["--password", MARKER],
            &["--password=hunter2-MARKER"],
            &["--token", MARKER],
            &["--token=hunter2-MARKER"],
            &["--", MARKER],
        ] {
            let message = refused(line, attempt);
            assert!(
                message.starts_with("error: a value cannot be an argument"),
                "{line} {attempt:?}: {message}"
            );
            for way in ["type it hidden", "pipe it in", "`--value-file PATH`", "`--generate`"] {
                assert!(message.contains(way), "{way}: {message}");
            }
        }
    }
}

/// Text that looks like a key is neither stored as a tag nor shown. `--tag` states that it is a
/// tag.
#[test]
fn a_key_given_as_a_tag_is_refused_and_not_repeated() {
    for key in
        ["sk_hunter2MARKER", "ghp_hunter2MARKER", "hunter2-MARKER-0123456789", "eyJhunter2MARKER"]
    {
        let message = refused("create", &[key]);
        assert_eq!(
            message,
            "error: the argument looks like a key, not like a tag (not shown, in case it is a \
             secret)\nhint: run `secrets create TAG` and type the value when asked\nhint: if it is \
             a tag, pass it with `secrets create --tag TAG`\n"
        );
    }

    assert!(refused("create", &["hunter2 MARKER"]).starts_with("error: invalid tag: "));
    assert_eq!(
        refused("create", &[]),
        "error: `TAG` is missing\nhint: usage: secrets create TAG\n"
    );

    let sandbox = Sandbox::new();
    sandbox.command(["create", "api-key", "-q"]).stdin("value").run().succeeds();
    sandbox.command(["create", "--tag", "sk_test", "-q"]).stdin("value").run().succeeds();

    for command in ["get", "update", "delete"] {
        let run = sandbox.run([command, "sk_hunter2MARKER"]).fails_with(3);
        stderr!(run.without("hunter2"), @"
        error: unknown secret in project `default` (name not shown, in case it is a value)
        hint: `secrets list` shows the secrets of the project
        ");
    }

    let run = sandbox.run(["delete", "sk_hunter2MARKER", "-y"]).fails_with(3).without("hunter2");
    stderr!(run, @"
    error: unknown secret in project `default` (name not shown, in case it is a value)
    hint: `secrets list` shows the secrets of the project
    ");
}

#[test]
fn an_extra_argument_is_not_repeated() {
    for line in COMMANDS.iter().filter(|line| !TAKES_MORE.contains(line)) {
        refused(line, &[MARKER]);
    }
}

#[test]
fn an_unknown_option_s_value_is_not_repeated() {
    for line in COMMANDS {
        for unknown in [
            "--unknown=hunter2-MARKER",
            "--key=hunter2-MARKER",
            "-khunter2-MARKER",
            "-k=hunter2-MARKER",
        ] {
            refused(line, &[unknown]);
        }

        if !line.starts_with("create") && !line.starts_with("update") {
            for unknown in
                ["--value=hunter2-MARKER", "--password=hunter2-MARKER", "--token=hunter2-MARKER"]
            {
                refused(line, &[unknown]);
            }
        }
    }
}

#[test]
fn a_value_that_looks_like_an_option_is_not_repeated() {
    for line in COMMANDS {
        for value in ["--hunter2-MARKER", "--hunter2-MARKER=x", "-----BEGIN MARKER-----\nhunter2\n"]
        {
            refused(line, &[value]);
        }
    }

    // A mistyped option is shown, because it cannot be a value.
    assert!(refused("list", &["--fitler=x"]).contains("`--fitler`"));
}

#[test]
fn an_option_that_takes_no_value_does_not_repeat_one() {
    for line in COMMANDS {
        for flag in ["--json=hunter2-MARKER", "--quiet=hunter2-MARKER"] {
            refused(line, &[flag]);
        }
    }

    refused("create --tag key", &["--generate=hunter2-MARKER"]);
    refused("delete key", &["--yes=hunter2-MARKER"]);
}

#[test]
fn an_impossible_value_is_not_repeated() {
    for (line, options) in [
        ("list", &["--color", MARKER][..]),
        ("list", &["--color=hunter2-MARKER"]),
        ("create --tag key --generate", &["--alphabet", MARKER]),
        ("clone key --to web", &["--on-conflict", MARKER]),
        ("render -e x", &["--escape", MARKER]),
        ("completions", &[MARKER]),
        ("project", &[MARKER]),
        ("help", &[MARKER]),
        (MARKER, &[]),
    ] {
        let message = refused(line, options);
        assert!(message.contains("possible values: ") || message.contains("usage: "), "{message}");
    }
}

#[test]
fn an_invalid_number_is_not_repeated() {
    for (line, option) in [
        ("create --tag key --generate", "--length"),
        ("update key --generate", "--length"),
        ("list", "--page-size"),
        ("init", "--kdf-memory"),
        ("init", "--kdf-iterations"),
        ("init", "--kdf-parallelism"),
        ("render -e x -o y", "--mode"),
    ] {
        for bad in
            [MARKER, "4929118273", "-4929118273", "49291182730000000000000000", "4929118273x"]
        {
            refused(line, &[&format!("{option}={bad}")]);
        }
    }

    let message = refused("create --tag key --generate", &["--length", "3"]);
    assert!(
        message.starts_with("error: `--length <N>` must be in the range 4 to 1024\n"),
        "{message}"
    );
}

#[test]
fn an_invalid_tag_or_name_is_not_repeated() {
    for (line, options) in [
        ("get", &["hunter2-MARKER!"][..]),
        ("update", &["hunter2-MARKER!"]),
        ("delete", &["hunter2-MARKER!"]),
        ("rename", &["hunter2-MARKER!", "x"]),
        ("rename key", &["hunter2-MARKER!"]),
        ("clone", &["hunter2-MARKER!", "--to", "x"]),
        ("clone key", &["--to", "hunter2-MARKER!"]),
        ("clone key", &["--tag", "hunter2-MARKER!"]),
        ("create", &["--tag", "hunter2-MARKER!"]),
        ("create --tag key", &["--name", "hunter2-MARKER\n"]),
        ("create --tag key", &["--description", "hunter2-MARKER\r"]),
        ("list", &["-p", "hunter2-MARKER!"]),
        ("project rename a", &["hunter2-MARKER!"]),
        ("project delete", &["hunter2-MARKER!"]),
        ("render -e x", &["--delimiters", MARKER]),
    ] {
        refused(line, options);
    }
}

/// Mistakes that users of other tools make, with the hint that helps them.
const MISTAKES: [(&str, &str); 47] = [
    ("get key --reveal", "`secrets render --reveal -e '{{ secrets.TAG }}'` to print a value"),
    ("get key --value", "`secrets render --reveal -e"),
    ("get key --value=x", "`secrets render --reveal -e"),
    ("get key --show", "`secrets run` to pass it to a program"),
    (
        "get key --copy",
        "pipe the value to a clipboard program: `secrets render -e '{{ secrets.TAG \
                        }}' | wl-copy`",
    ),
    ("get a b", "`secrets list --filter TEXT` to find several"),
    ("list --tag key", "`secrets get TAG` to show one secret"),
    ("list web", "`secrets list --project NAME` for a project"),
    ("render t .env", "`secrets render TEMPLATE -o OUT` to write to a file"),
    ("render -i t", "`secrets render TEMPLATE -o OUT`"),
    ("render -e a FILE", "to render a file: `secrets render FILE`"),
    ("unlock 8h", "`secrets unlock --ttl 8h`"),
    ("project new web", "`secrets --project NAME create TAG`"),
    ("project create web", "`secrets --project NAME create TAG`"),
    ("project switch web", "did you mean `use`?"),
    ("project mv a b", "did you mean `rename`?"),
    ("recovery remove", "did you mean `delete`?"),
    ("recovery new", "did you mean `create`?"),
    ("recovery rotate", "`secrets recovery create --replace`"),
    ("recovery show", "a code is shown only once"),
    ("upgrade", "install the new version"),
    ("upload", "sends neither anywhere"),
    ("sync", "`secrets backup FILE` to copy the vault"),
    ("version", "`secrets --version`"),
    ("-v", "`secrets --version`"),
    ("log", "no other history is kept"),
    ("history", "no other history is kept"),
    ("undo", "`secrets restore BACKUP --dry-run`"),
    ("man", "`man secrets`"),
    ("config", "there is no configuration file"),
    ("inject", "did you mean `render`?"),
    ("inject -i t", "`secrets render TEMPLATE -o OUT`"),
    ("set key", "`secrets create TAG`"),
    ("show key", "`secrets get` to show the hint"),
    ("cp key", "did you mean `clone`?"),
    ("mv a b", "did you mean `rename`?"),
    ("search x", "`secrets list --filter TEXT`"),
    ("exec x", "did you mean `run`?"),
    ("passphrase", "did you mean `passwd`?"),
    ("generate key", "`secrets create TAG --generate`"),
    ("lst", "did you mean `list`?"),
    ("updat", "did you mean `update`?"),
    ("list --fitler x", "did you mean `--filter`?"),
    ("list --all-project", "did you mean `--all-projects`?"),
    ("get", "usage: secrets get [OPTIONS] <TAG|ID>"),
    ("list --bogus", "usage: secrets list [OPTIONS]"),
    ("get key --bogus", "usage: secrets get [OPTIONS] <TAG|ID>"),
];

#[test]
fn names_from_other_tools_get_a_useful_hint() {
    for (line, hint) in MISTAKES {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (code, _, stderr) = Sandbox::empty().run(&arguments).everything();
        let hints: Vec<&str> =
            stderr.lines().filter_map(|line| line.strip_prefix("hint: ")).collect();
        assert!(
            code == Some(2) && hints.iter().any(|text| text.contains(hint)),
            "{line}: {stderr}"
        );

        // The hints offer neither a hidden command nor an option with another purpose.
        for wrong in [
            "`monitor`",
            "`guard`",
            "`agent`",
            "`--recovery`",
            "`--vault`",
            "--vault <PATH>",
            "`--page`",
        ] {
            assert!(!stderr.contains(wrong), "{line}: {stderr}");
        }

        assert!(hints.len() <= 2, "{line}: {stderr}");
    }
}

#[test]
fn invalid_utf_8_is_not_repeated() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = std::ffi::OsString::from_vec(b"hunter2-MARKER\xff".to_vec());
    for line in
        ["get", "delete", "create --tag", "create --tag key --name", "list --filter", "list -p"]
    {
        let arguments = line.split(' ').map(std::ffi::OsString::from).chain([bytes.clone()]);
        let (code, _, stderr) = Sandbox::empty().run(arguments).everything();
        assert!(code == Some(2) && !stderr.contains("hunter2"), "{line}: {stderr}");
    }

    // A value on the command line is refused as such, even if it is not UTF-8.
    let arguments = ["create".into(), "--tag".into(), "key".into(), bytes];
    stderr!(Sandbox::empty().run(arguments).fails_with(2), @"
    error: a value cannot be an argument: other processes and the shell's history would see it
    hint: omit it to type it hidden, pipe it in, or use `--value-file PATH` or `--generate`
    hint: usage: secrets create TAG
    ");
}
