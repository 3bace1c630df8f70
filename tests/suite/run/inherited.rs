//! An inherited variable is expanded only if it is the placeholder of its own secret.

use crate::support::{PASSPHRASE, Sandbox, TOKEN};

use super::{URL, prepared, sandbox};

/// Returns the value of an inherited variable as the program sees it, and the messages.
fn inherited(options: &[&str], name: &str, text: &str) -> (String, String) {
    let sandbox = sandbox();
    let line = [options, &["--no-mask", "--", "printenv", name]].concat();
    let (code, stdout, stderr) = prepared(&sandbox, &line).env(name, text).run().everything();
    assert_eq!(code, Some(0), "{stderr}");

    (String::from_utf8(stdout).unwrap().trim_end_matches('\n').to_owned(), stderr)
}

#[test]
fn an_inherited_variable_is_expanded_if_it_is_the_placeholder_of_its_own_secret() {
    for text in ["{{ secrets.api-token }}", "{{secrets.API_TOKEN}}", "{{API_TOKEN}}"] {
        assert_eq!(
            inherited(&["--env", "A=1"], "API_TOKEN", text),
            (TOKEN.to_owned(), String::new()),
            "{text}"
        );
    }

    let filtered = inherited(&["--env", "A=1"], "DATABASE_URL", "{{ secrets.database-url | url }}");
    assert_eq!(filtered.0, "postgres%3A%2F%2Fapp%3Ap%2540ss%40db%2Fdev");
}

#[test]
fn an_inherited_variable_from_a_stranger_gets_no_secret_and_stops_nothing() {
    let valid = [
        ("CI_COMMIT_MESSAGE", "Fix {{ secrets.api-token }}"),
        ("CI_COMMIT_MESSAGE", "{{ secrets.api-token }}"),
        ("API_TOKEN", "{{ secrets.api-token }} "),
        ("API_TOKEN", "{{ secrets.database-url }}"),
        ("api_token", "{{ secrets.api-token }}"),
        ("CI_COMMIT_MESSAGE", "docs: explain {{ secrets.NAME }}"),
    ];

    for (name, text) in valid {
        let (value, shown) = inherited(&["--env", "A=1"], name, text);
        assert_eq!(value, text);
        let words = format!(
            "warning: `{name}` contains a placeholder and is passed on unchanged; expand it with \
             `--expand-env {name}`\n"
        );

        assert_eq!(shown, words);
    }

    for text in ["x {{ secrets.a | b }}", "{{ secrets.", "{{ secrets.api-token }} {{ secrets.a! }}"]
    {
        let (value, shown) = inherited(&["--env", "A=1"], "MESSAGE", text);
        let words =
            "warning: `MESSAGE` contains an invalid placeholder; it is passed on unchanged\n";
        assert_eq!((value.as_str(), shown.as_str()), (text, words));
    }

    // The braces belong to another tool.
    for text in ["{{ID}} {{ .Name }}", "{{API_TOKEN}}", "{{", "{{ user.name }}"] {
        assert_eq!(inherited(&["--env", "A=1"], "FORMAT", text), (text.to_owned(), String::new()));
    }

    // The variable's own secret does not exist. A stranger may know such a name.
    let (value, shown) = inherited(&["--env", "A=1"], "CI_BRANCH", "{{ secrets.ci-branch }}");
    assert_eq!(value, "{{ secrets.ci-branch }}");
    assert_eq!(
        shown,
        "warning: `{{ci-branch}}` in `CI_BRANCH` is kept unchanged: the secret does not exist\n"
    );
}

#[test]
fn with_only_no_inherited_variable_is_expanded() {
    let text = "{{ secrets.database-url }}";
    let (value, shown) = inherited(&["--only", "api-token"], "DATABASE_URL", text);
    assert_eq!(value, text);
    let words = "with `--only`, expand it with `--expand-env`";

    assert!(shown.contains(words), "{shown}");
    let line = ["--only", "api-token", "--expand-env", "DATABASE_URL"];
    assert_eq!(inherited(&line, "DATABASE_URL", text), (URL.to_owned(), String::new()));
}

#[test]
fn other_inherited_variables_are_expanded_if_named() {
    let sandbox = sandbox();
    let line = ["--expand-env", "A,B", "--no-mask", "--", "sh", "-c", "echo \"$A|$B\""];
    let run = prepared(&sandbox, &line)
        .env("A", "<{{ secrets.api-token }}>")
        .env("B", "{{ID}}")
        .run()
        .succeeds();

    stderr!(run.stdout(format!("<{TOKEN}>|{{{{ID}}}}\n")), @"warning: `{{ID}}` in `B` is kept unchanged: the secret does not exist");

    // An invalid placeholder stays unchanged.
    let (value, text) =
        inherited(&["--expand-env", "A"], "A", "{{ secrets.pin }} {{ secrets.a! }}");
    assert!(
        value == "1234 {{ secrets.a! }}" && text.contains("an invalid placeholder"),
        "{value} {text}"
    );

    let fails = |line: &[&str], words: &str| {
        let run = prepared(&sandbox, &[line, &["--", "true"]].concat())
            .env("SECRETS_PASSPHRASE", PASSPHRASE)
            .env("EDITOR", "x");
        run.run().fails_with(125).stderr_has(words);
    };

    fails(&["--expand-env", "NOT_SET"], "`--expand-env` names `NOT_SET`, which is not set");

    fails(&["--expand-env", "SECRETS_PASSPHRASE"], "is never passed to a program");
    fails(&["--expand-env", "EDITOR"], "`EDITOR` can change how programs behave");

    // A variable that an option sets is not expanded.
    let line = ["--env", "FORMAT=new", "--no-mask", "--", "printenv", "FORMAT"];
    prepared(&sandbox, &line)
        .env("FORMAT", "{{ secrets.format }}")
        .run()
        .succeeds()
        .stdout("new\n");
}

/// Returns the warning that text was copied although it resembles a placeholder for an existing
/// secret.
fn copied(place: &str, tag: &str) -> String {
    format!(
        "warning: {place}: this text is copied unchanged, although a secret `{tag}` exists; \
         to insert its value, write `{{{{ secrets.{tag} }}}}`\n"
    )
}

#[test]
fn a_near_miss_in_a_variable_is_copied_with_a_warning() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", "a long value of a secret")]);
    let near = "{{ stripe-key }}{{ Stripe_Key }}{{ secret.stripe-key }}{{- secrets.stripe-key -}}{{ lower }}";
    let warnings = |place: &str| {
        [(1, "stripe-key"), (17, "Stripe_Key"), (33, "stripe-key"), (56, "stripe-key")]
            .map(|(column, tag)| copied(&format!("{place}:1:{column}"), tag))
            .concat()
    };

    let env = format!("X={near}");
    let show = ["--only", "stripe-key", "--", "sh", "-c", "echo \"$X\""];
    let run = sandbox.run(["run", "--env", &env].iter().chain(&show));
    run.succeeds().stdout(format!("{near}\n")).stderr(&warnings("--env X"));

    sandbox.write("app.env", &env);
    let run = sandbox.run(["run", "--env-file", "app.env"].iter().chain(&show));
    run.succeeds().stdout(format!("{near}\n")).stderr(&warnings("app.env:1 X"));

    // Another variable makes the command open the vault.
    sandbox.write(
        ".secrets.toml",
        format!("[run.env]\nX = \"{near}\"\nKEY = \"{{{{ secrets.stripe-key }}}}\"\n"),
    );

    let run = sandbox.run(["run", "--", "sh", "-c", "echo \"$X\""]);
    run.succeeds().stdout(format!("{near}\n")).stderr(&warnings(".secrets.toml:2 X"));
    let run = sandbox.run(["run", "--dry-run"]).succeeds().stdout_has("KEY");
    run.stderr(&warnings(".secrets.toml:2 X"));
}

#[test]
fn a_near_miss_alone_asks_for_no_passphrase() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", "a long value of a secret")]);
    let run = |sandbox: &Sandbox| {
        let line = ["run", "--env", "X={{ stripe-key }}", "--", "sh", "-c", "echo \"$X\""];
        sandbox
            .command(line)
            .without_env("SECRETS_PASSPHRASE")
            .run()
            .succeeds()
            .stdout("{{ stripe-key }}\n")
    };

    stderr!(run(&sandbox), @"warning: --env X:1:1: this text is copied unchanged; if `stripe-key` is a secret, write `{{ secrets.stripe-key }}` to insert its value");

    // A running agent knows the tag.
    sandbox.run(["unlock", "-q"]).succeeds();
    run(&sandbox).stderr(&copied("--env X:1:1", "stripe-key"));
    sandbox.run(["lock", "-q"]).succeeds();
}

#[test]
fn a_tag_without_a_secret_is_not_a_near_miss() {
    let sandbox = Sandbox::with_secrets(&[("key", "a long value of a secret")]);
    let line = [
        "run",
        "--env",
        "X={{ other }} {{ secret.other }}",
        "--only",
        "key",
        "--",
        "sh",
        "-c",
        "echo \"$X\"",
    ];

    sandbox.run(line).succeeds().stdout("{{ other }} {{ secret.other }}\n").stderr("");
}
