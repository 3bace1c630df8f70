//! How a token is given to a command, and what becomes of it.

use super::Tokens;

const VALUE: &str = "{{ secrets.api-key }}";

#[test]
fn a_token_comes_from_an_option_a_file_or_the_environment() {
    let tokens = Tokens::new();
    let text = tokens.create("ci", &["--level", "use"]);
    let command = || tokens.0.command(["render", "-e", VALUE]).without_env("SECRETS_PASSPHRASE");
    command().env("SECRETS_TOKEN", &text).run().succeeds().stdout("value-of-api-key");
    let file = tokens.0.path("ci");
    command().env("SECRETS_TOKEN_FILE", file).run().succeeds().stdout("value-of-api-key");
    let stdin = tokens.0.command(["--token-file", "-", "render", "-e", VALUE]).stdin(&text);
    stdin.without_env("SECRETS_PASSPHRASE").run().succeeds().stdout("value-of-api-key");

    // Least privilege wins, and says so.
    let both = tokens.0.command(["render", "-e", VALUE]).env("SECRETS_TOKEN", &text).run();
    both.succeeds().stdout("value-of-api-key").stderr_has("the token is used, not the passphrase");
    let explicit = tokens.0.command(["--passphrase-file", "-", "list", "-q"]);
    let explicit = explicit.stdin(crate::support::PASSPHRASE).env("SECRETS_TOKEN", &text).run();
    explicit.succeeds().stdout("");
}

#[test]
fn a_mistyped_token_is_told_from_a_revoked_one() {
    let tokens = Tokens::new();
    let text = tokens.create("ci", &["--level", "use"]);
    let list = |token: &str| {
        let command = tokens.0.command(["list"]).without_env("SECRETS_PASSPHRASE");
        command.env("SECRETS_TOKEN", token).run().fails_with(5).stdout("")
    };
    let ending = if text.ends_with('a') { "b" } else { "a" };
    list(&format!("{}{ending}", &text[..text.len() - 1])).stderr_has("the checksum does not match");
    let short = list("secret-word");
    short.stderr_has("the token in SECRETS_TOKEN is invalid: it has 11 characters instead of 53");
    let long = format!("{text}{text}");
    for (wrong, why) in [
        ("", "it is empty"),
        (&*format!("\"{text}\""), "it begins or ends with a blank, a quote or a line break"),
        (&*format!("{text}\r\n\r\n"), "it begins or ends with a blank, a quote or a line break"),
        (&*long, "it has more than 53 characters"),
        (&*long.repeat(9), "it has more than 53 characters"),
    ] {
        let wrong_file = tokens.0.write("wrong", wrong);
        let run = tokens.with("wrong", &["list"]).run().fails_with(5).stdout("");
        let source = format!("the token in `{}` is invalid: {why}", wrong_file.display());
        run.stderr_has(&source.replace(&tokens.0.path("").display().to_string(), ""));
    }
    let other = Tokens::new().create("ci", &["--level", "use"]);
    list(&other).stderr_has("the token opens nothing in this vault");
}

#[test]
fn a_token_in_place_of_its_file_is_not_shown() {
    let tokens = Tokens::new();
    let text = tokens.create("ci", &["--level", "use"]);
    let run = tokens.with(&text, &["list"]).run().fails_with(2).stdout("");
    run.stderr_has("the path of the token file is a token (not shown)").stderr_lacks(&text);
    let file = tokens.0.command(["list"]).env("SECRETS_TOKEN_FILE", &text).run();
    file.fails_with(2).stdout("").stderr_lacks(&text);
}

#[test]
fn a_scan_for_tokens_needs_no_vault_even_with_a_token() {
    let tokens = Tokens::new();
    let leak = tokens.create("ci", &["--level", "use"]);
    std::fs::create_dir(tokens.0.path("tree")).unwrap();
    tokens.0.write("tree/a", &leak);
    let scan = |arguments: &[&str]| {
        let run = tokens.with("ci", arguments).run().fails_with(8);
        run.stderr_has("1 token in 1 file").stderr_lacks(&leak)
    };
    scan(&["scan", "tree"]).stdout("tree/a:1: a `use` token\n");
    scan(&["--vault", "none", "scan", "--tokens", "tree"]).stdout("tree/a:1: a `use` token\n");
    scan(&["--vault", "none", "scan", "tree"])
        .stdout("tree/a:1: a `use` token\n")
        .stderr_has("values were not searched for: no vault at");
    let reader = tokens.create("reader", &["--level", "read"]);
    let refused = tokens.with("reader", &["scan", "tree"]).run().fails_with(7);
    refused.stdout("").stderr_has("`scan` needs a token with level `use`").stderr_lacks(&reader);
}

#[test]
fn a_token_reaches_no_child() {
    let tokens = Tokens::new();
    let text = tokens.create("ci", &["--level", "use"]);
    let run = tokens.0.command(["run", "--", "env"]).without_env("SECRETS_PASSPHRASE");
    let run = run.env("SECRETS_TOKEN", &text).env("SECRETS_TOKEN_FILE", "ci").run().succeeds();
    let (_, stdout, _) = run.everything();
    let stdout = String::from_utf8_lossy(&stdout);
    assert!(!stdout.contains(&text) && !stdout.contains("SECRETS_TOKEN"), "{stdout}");
}

#[test]
fn a_token_names_its_project() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use"]);
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    let rename = tokens.0.run(["project", "rename", "web", "site", "-q"]).succeeds();
    rename.stderr_has("tokens `ci` still have the old name `web`; `secrets rekey --project site`");
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");

    // A new project of the old name is another one.
    tokens.0.run(["project", "delete", "site", "-y", "-q"]).succeeds();
    tokens.0.command(["-p", "web", "create", "api-key", "-q"]).stdin("another").run().succeeds();
    tokens.with("ci", &["render", "-e", VALUE]).run().fails_with(3).stdout("").stderr_has("`web`");
}

#[test]
fn a_refusal_is_recorded_as_the_tokens() {
    let tokens = Tokens::new();
    tokens.create("reader", &["--level", "read"]);
    let render = tokens.0.run(["-p", "web", "render", "-e", VALUE]).succeeds();
    render.stdout("value-of-api-key");
    for (command, why) in [
        (&["render", "-e", VALUE][..], "needs a token with level `use`"),
        (&["token", "list"], "needs the passphrase"),
    ] {
        tokens.with("reader", command).run().fails_with(7).stdout("").stderr_has(why);
    }
    let shown = tokens.0.run(["audit", "-p", "web", "--kind", "deny"]).succeeds();
    shown.stdout_has("\treader\trender refused").stdout_has("\treader\ttoken refused");
}

#[test]
fn check_says_what_a_token_may_do() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key"]);
    let check = tokens.with("ci", &["token", "check", "--json"]).run().succeeds().json();
    assert_eq!((&check["name"], &check["level"]), (&"ci".into(), &"use".into()));
    assert_eq!((&check["project"], &check["secrets"]), (&"web".into(), &1.into()));
    let none = tokens.0.run(["token", "check"]).fails_with(5).stdout("");
    none.stderr_has("no token was given");
}

#[test]
fn a_new_token_is_written_to_a_new_private_file() {
    use std::os::unix::fs::PermissionsExt;
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use"]);
    let mode = std::fs::metadata(tokens.0.path("ci")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = ["token", "create", "x", "--level", "use", "-p", "web", "--output", "ci"];
    tokens.0.run(again).fails_with(4).stdout("").stderr_has("`ci` already exists");
    let json = tokens.0.run(["token", "create", "x", "--level", "use", "-p", "web", "--json"]);
    let json = json.succeeds().json();
    assert!(json["token"].as_str().is_some_and(|token| token.starts_with("sxu_")));
    assert_eq!((&json["name"], &json["secrets"]), (&"x".into(), &serde_json::Value::Null));
}

#[test]
fn a_manifest_must_be_named_with_a_token() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use"]);
    tokens.0.write("app.env.tmpl", "KEY={{ secrets.api-key }}\n");
    let manifest =
        "project = \"web\"\n[[render]]\ntemplate = \"app.env.tmpl\"\noutput = \"app.env\"\n";
    tokens.0.write(".secrets.toml", manifest);
    tokens
        .with("ci", &["setup"])
        .run()
        .fails_with(7)
        .stdout("")
        .stderr_has("must be named by its SHA-256");
}
