//! A program gets the secrets that were asked for, as variables that can hold them.

use crate::support::{PATH, Sandbox, TOKEN, project, secret};

use super::{prepared, private_directories, sandbox};

#[test]
fn every_secret_is_in_the_environment_and_masked_in_both_outputs() {
    let sandbox = sandbox();
    let line = "echo $API_TOKEN $DATABASE_URL $PIN; echo $API_TOKEN >&2";
    let run = prepared(&sandbox, &["--", "sh", "-c", line]).run().succeeds();
    stderr!(run.stdout("‹api-token› ‹database-url› 1234\n"), @"
    warning: values shorter than 8 bytes are not masked: `pin`
    ‹api-token›
    ");

    // The output is masked, but the program has the real value.
    let run = prepared(&sandbox, &["--", "sh", "-c", "test \"$API_TOKEN\" = \"$WANTED\""])
        .env("WANTED", TOKEN)
        .run();
    stderr!(run.succeeds(), @"warning: values shorter than 8 bytes are not masked: `pin`");
}

#[test]
fn only_named_secrets_are_given() {
    let sandbox = sandbox();
    let names = "env | sed 's/=.*//' | sort | tr '\\n' ' '";
    let given = |line: &[&str]| {
        let run = prepared(&sandbox, &[line, &["--", "sh", "-c", names]].concat()).run();
        String::from_utf8(run.everything().1).unwrap()
    };

    let only = given(&["--only", "api-token,PIN"]);
    assert!(
        only.contains("API_TOKEN") && only.contains("PIN") && !only.contains("DATABASE_URL"),
        "{only}"
    );

    let env = given(&["--env", "URL={{ DATABASE_URL }}"]);
    assert!(
        env.contains("URL ") && !env.contains("API_TOKEN") && !env.contains("DATABASE_URL"),
        "{env}"
    );

    let stdin = given(&["--stdin", "api-token"]);
    assert!(!stdin.contains("API_TOKEN"), "{stdin}");
}

#[test]
fn templates_have_filters_and_come_from_options_files_and_the_environment() {
    let sandbox = sandbox();
    sandbox.write(
        "app.env",
        "\u{feff}# ours\nexport A='x{{ API_TOKEN }}y' # c\nB=\"two\\nlines\"\nB=last\nC=pa$$word\n",
    );

    let line = "test \"$A$B$C$D$E\" = \"$WANTED\"";
    let arguments = [
        "--env-file",
        "app.env",
        "--env",
        "D={{ secrets.database-url | url }}",
        "--env",
        "E==",
        "--",
        "sh",
        "-c",
        line,
    ];

    let wanted = format!("x{TOKEN}ylastpa$$wordpostgres%3A%2F%2Fapp%3Ap%2540ss%40db%2Fdev=");
    prepared(&sandbox, &arguments).env("WANTED", wanted).run().succeeds();
    let line =
        ["--only", "pin", "--expand-env", "X", "--", "sh", "-c", "test \"$X\" = \"$WANTED\""];
    let inherited = prepared(&sandbox, &line);
    let run =
        inherited.env("X", "a{{ secrets.api-token }}b").env("WANTED", format!("a{TOKEN}b")).run();
    stderr!(run.succeeds(), @"warning: values shorter than 8 bytes are not masked: `pin`");

    let fails = |arguments: &[&str], words: &str| {
        prepared(&sandbox, &[arguments, &["--", "true"]].concat())
            .run()
            .fails_with(125)
            .stderr_has(words);
    };

    fails(&["--env", "A={{ secrets.nope }}"], "--env A:1:1: `nope`");
    fails(&["--env", "A={{ secrets.a! }}"], "--env A:1:1: not closed");
    fails(&["--env", "A"], "`--env NAME=TEMPLATE` requires a name and a `=`");
    fails(&["--env", "1A=x"], "requires the name of a variable");
    fails(&["--env-file", "no.env"], "cannot read `no.env`");
    sandbox.write("bad.env", "A=1\nB=\"open\n");
    fails(&["--env-file", "bad.env"], "bad.env:2:3: the double quote is never closed");

    let run =
        prepared(&sandbox, &["--expand-env", "X", "true"]).env("X", "{{ secrets.nope }}").run();
    stderr!(run.fails_with(125), @"
    warning: `{{nope}}` in `X` is kept unchanged: the secret does not exist
    error: a placeholder refers to a secret that does not exist in project `default`
    environment X:1:1: `nope`
    hint: store it with `secrets create nope`
    ");
}

#[test]
fn a_value_that_no_variable_can_hold_is_left_out_or_refused_if_named() {
    let sandbox = sandbox();
    let vault = sandbox.vault();
    for (tag, bytes) in [
        ("1st", &b"digit-first"[..]),
        ("with-nul", b"nul\0in the middle"),
        ("path", b"/evil/bin"),
        ("ld_preload", b"/evil.so"),
    ] {
        vault.create(&project("default"), secret(tag, bytes)).unwrap();
    }

    let (code, stdout, stderr) =
        prepared(&sandbox, &["--", "sh", "-c", "echo $PATH $LD_PRELOAD"]).run().everything();
    assert_eq!((code, String::from_utf8(stdout).unwrap()), (Some(0), format!("{PATH}\n")));
    for tag in ["1st", "with-nul", "path", "ld_preload"] {
        assert!(stderr.contains(&format!("warning: `{tag}` is skipped")), "{stderr}");
    }

    let fails = |arguments: &[&str], words: &str| {
        prepared(&sandbox, &[arguments, &["--", "true"]].concat())
            .run()
            .fails_with(125)
            .stderr_has(words);
    };

    fails(&["--only", "1st"], "`1ST` is not a valid variable name");
    fails(&["--only", "with-nul"], "`WITH_NUL` cannot be set: its value has a NUL byte");
    fails(&["--env", "A={{ WITH_NUL }}"], "`A` cannot be set: its value has a NUL byte");
    fails(&["--only", "path"], "`PATH` can change how programs behave");
    fails(&["--file", "GIT_SSH=pin"], "`GIT_SSH` can change how programs behave");
    sandbox.write("steer.env", "NODE_OPTIONS=--require=x\n");
    fails(
        &["--env-file", "steer.env"],
        "steer.env:1: `NODE_OPTIONS` can change how programs behave",
    );

    let run =
        prepared(&sandbox, &["--env", "PATH=/usr/bin:/bin", "--", "sh", "-c", "echo $PATH"]).run();
    run.succeeds().stdout("/usr/bin:/bin\n");
}

#[test]
fn a_value_that_was_left_out_and_then_named_is_masked() {
    let sandbox = Sandbox::with_secrets(&[("2fa-seed", TOKEN)]);
    let line = ["--expand-env", "SEED", "--", "sh", "-c", "echo $SEED"];
    let run = prepared(&sandbox, &line).env("SEED", "{{ secrets.2fa-seed }}").run();
    stderr!(run.succeeds().stdout("‹2fa-seed›\n"), @"warning: `2fa-seed` is skipped: its tag is not a valid variable name; use `--env NAME=TEMPLATE`");
}

#[test]
fn a_value_too_large_for_a_variable_is_left_out_or_refused_if_named() {
    let large = "x".repeat(131_072 - "CA_BUNDLE=".len());
    let sandbox = Sandbox::with_secrets(&[("ca-bundle", &large), ("fits-still", &large[2..])]);
    let line = ["--", "sh", "-c", "echo ${CA_BUNDLE-none} ${#FITS_STILL}"];
    let run =
        prepared(&sandbox, &line).run().succeeds().stdout(format!("none {}\n", large.len() - 2));
    stderr!(run, @"warning: `ca-bundle` is skipped: its value is too large for an environment variable; use `--file NAME=TAG`");

    for options in [["--only", "ca-bundle"], ["--env", "X={{ CA_BUNDLE }}{{ CA_BUNDLE }}"]] {
        let run =
            prepared(&sandbox, &[&options[..], &["--", "true"]].concat()).run().fails_with(125);
        run.stderr_has(
            "cannot be set: its value is too large for an environment variable\nhint: \
                        pass it as a file with `--file",
        );
    }

    let line = ["--file", "CA_BUNDLE=ca-bundle", "--", "sh", "-c", "wc -c <\"$CA_BUNDLE\""];
    prepared(&sandbox, &line).run().succeeds().stdout(format!("{}\n", large.len()));
}

#[test]
fn a_dry_run_lists_names_and_no_value() {
    let sandbox = sandbox();
    let arguments = [
        "--dry-run",
        "--only",
        "api-token",
        "--file",
        "KEY=pin",
        "--env",
        "URL={{ DATABASE_URL | url }}",
    ];

    let run = prepared(&sandbox, &[&arguments[..], &["--stdin", "pin"]].concat()).run();
    run.succeeds()
        .stdout("API_TOKEN\t--only\tapi-token\nKEY\t--file\tpin\nURL\t--env\tdatabase-url\n(stdin)\t--stdin\tpin\n");
    let run = prepared(&sandbox, &["--dry-run", "--json", "--only", "api-token"]).run().succeeds();
    let expected = serde_json::json!({
        "variables": [{ "name": "API_TOKEN", "source": "--only", "secrets": ["api-token"] }]
    });

    assert_eq!(run.json(), expected);
    assert!(private_directories(&sandbox).is_empty());
}

#[test]
fn a_clean_environment_keeps_the_users_identity_and_location() {
    let sandbox = sandbox();
    let command = prepared(&sandbox, &["--clean-env", "--only", "api-token", "--", "env"]);
    let command =
        command.env("TERM", "dumb").env("LC_ALL", "C").env("AWS_PROFILE", "x").env("USER", "me");
    let printed = String::from_utf8(command.run().succeeds().bytes()).unwrap();
    let mut names: Vec<&str> =
        printed.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["API_TOKEN", "HOME", "LC_ALL", "PATH", "TERM", "TZ", "USER"]);
}

#[test]
fn of_several_sources_the_more_explicit_one_wins() {
    let sandbox = Sandbox::with_secrets(&[
        ("api-token", TOKEN),
        ("a", "from the project"),
        ("b", "another value"),
    ]);

    sandbox.write("one.env", "A=from one\n");
    sandbox.write("two.env", "A=from two\n");
    let shown = |options: &[&str]| {
        let run = prepared(&sandbox, &[options, &["--no-mask", "--", "printenv", "A"]].concat());
        String::from_utf8(run.env("A", "inherited").run().succeeds().bytes()).unwrap()
    };

    assert_eq!(shown(&[]), "from the project\n");
    assert_eq!(shown(&["--only", "b"]), "inherited\n");
    assert_eq!(shown(&["--only", "a"]), "from the project\n");
    assert_eq!(shown(&["--only", "a", "--env-file", "one.env"]), "from one\n");
    assert_eq!(shown(&["--env-file", "one.env", "--env-file", "two.env"]), "from two\n");
    assert_eq!(
        shown(&["--env", "A=from env", "--env-file", "one.env", "--only", "a"]),
        "from env\n"
    );

    assert_eq!(shown(&["--env", "A=1", "--env", "A=2"]), "2\n");
    assert!(shown(&["--env", "A=1", "--file", "A=b"]).ends_with("/b\n"));

    // A pipe counts as a file, too.
    let run = prepared(&sandbox, &["--env-file", "/dev/stdin", "--", "printenv", "A"])
        .stdin("A='{{ API_TOKEN }}'\n")
        .run();
    run.succeeds().stdout("‹api-token›\n");
}
