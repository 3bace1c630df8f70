//! `secrets list` prints a project's secrets, sorted by tag key, and JSON one page at a time.

use terminal_secrets::model::{Description, Name};
use terminal_secrets::vault::NewSecret;

use crate::support::{Run, Sandbox, project, secret};

/// Returns the tags that a run of `list --json` shows, and its envelope.
#[track_caller]
fn page(sandbox: &Sandbox, options: &[&str]) -> (Vec<String>, u64, u64, u64) {
    let json = sandbox.run(["list", "--json"].iter().chain(options)).succeeds().json();
    let tags = json["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| secret["tag"].as_str().unwrap().to_owned());

    let number = |name: &str| json[name].as_u64().unwrap();
    (tags.collect(), number("page"), number("total"), number("totalPages"))
}

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn five() -> Sandbox {
    Sandbox::with_secrets(&[("b", "x"), ("A-2", "x"), ("e", "x"), ("a_1", "x"), ("D", "x")])
}

#[test]
fn list_is_sorted_by_tag_key() {
    assert_eq!(page(&five(), &[]), (tags(&["a_1", "A-2", "b", "D", "e"]), 0, 5, 1));
}

#[test]
fn list_without_a_terminal_is_tab_separated() {
    let sandbox = Sandbox::new();
    let name = Name::parse("Stripe, live").unwrap();
    let new = NewSecret { name, ..secret("key", b"abcdefghijklmnopqrstuvwxyz012345") };

    let stored = sandbox.vault().create(&project("default"), new).unwrap();
    let day = &stored.metadata.updated.rfc3339()[..10];
    let line = format!("key\tabcd…2345\t{day}\tStripe, live\t{}\n", stored.id);
    sandbox.run(["list"]).succeeds().stdout(&line);
    sandbox.run(["list", "--all-projects"]).succeeds().stdout(format!("default\t{line}"));
}

#[test]
fn list_pages_are_counted_from_0() {
    let sandbox = five();
    assert_eq!(page(&sandbox, &["--page-size", "2"]), (tags(&["a_1", "A-2"]), 0, 5, 3));
    assert_eq!(
        page(&sandbox, &["--page-size", "2", "--page", "0"]),
        (tags(&["a_1", "A-2"]), 0, 5, 3)
    );

    assert_eq!(page(&sandbox, &["--page-size", "2", "--page", "2"]), (tags(&["e"]), 2, 5, 3));
    assert_eq!(page(&sandbox, &["--page-size", "2", "--page", "3"]), (tags(&[]), 3, 5, 3));
    assert_eq!(page(&sandbox, &["--page-size", "5"]).3, 1);
    assert_eq!(
        page(&sandbox, &["--page-size", "1", "--page", "18446744073709551615"]).0,
        tags(&[])
    );
}

#[test]
fn list_all_is_one_page() {
    let sandbox = five();
    assert_eq!(page(&sandbox, &["--all"]).1..=page(&sandbox, &["--all"]).3, 0..=1);
    assert_eq!(page(&sandbox, &["--all"]).0.len(), 5);

    for other in [["--page", "1"], ["--page-size", "3"]] {
        sandbox
            .run(["list", "--all"].iter().chain(&other))
            .fails_with(2)
            .stderr_has("error: `--all` cannot be used");
    }
}

#[test]
fn json_shows_250_by_default_and_a_pipe_gets_all() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for number in 0..251 {
        vault.create(&project("default"), secret(&format!("t{number:03}"), b"x")).unwrap();
    }

    let (shown, number, total, pages) = page(&sandbox, &[]);
    assert_eq!((shown.len(), number, total, pages), (250, 0, 251, 2));
    assert_eq!(page(&sandbox, &["--page", "1"]).0, tags(&["t250"]));
    assert_eq!(page(&sandbox, &["--page-size", "1000"]).0.len(), 251);

    let lines = |run: Run| run.succeeds().bytes().split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(lines(sandbox.run(["list"])), 251);
    let run = sandbox.run(["list", "--filter", "t00", "--page-size", "4"]).succeeds();
    stderr!(run.stdout_has("t003\t"), @"4 of 10 secrets, page 0 of 0 to 2; use `--page 1` for the next page or `--all` for everything");
}

#[test]
fn list_limits_its_options() {
    let sandbox = five();
    for (option, bad) in
        [("--page-size", "0"), ("--page-size", "1001"), ("--page-size", "x"), ("--page", "x")]
    {
        sandbox
            .run(["list", option, bad])
            .fails_with(2)
            .stdout("")
            .stderr_has(&format!("error: `{option} <N>` "));
    }

    stderr!(sandbox.run(["list", "--page", "-1"]).fails_with(2).stdout(""), @"
    error: unknown option (not shown, in case it is a secret)
    hint: usage: secrets list [OPTIONS]
    ");
}

#[test]
fn list_explains_how_to_see_the_rest() {
    let sandbox = five();
    let rest = |options: &[&str], expected: &str| {
        sandbox.run(["list"].iter().chain(options)).succeeds().stdout_has("").stderr(expected);
    };

    rest(
        &["--page-size", "2"],
        "2 of 5 secrets, page 0 of 0 to 2; use `--page 1` for the next page or `--all` for \
         everything\n",
    );

    rest(
        &["--page-size", "2", "--page", "2"],
        "1 of 5 secrets, page 2 of 0 to 2; use `--all` for everything\n",
    );

    rest(&["--page", "7"], "page 7 does not exist; the last page is 0\n");
    rest(&[], "");
    rest(&["--page-size", "2", "-q"], "");
    rest(&["--all"], "");
}

#[test]
fn a_named_project_must_exist() {
    let sandbox = five();
    let unknown = "error: no project `defalt`\nhint: did you mean `default`?\n";
    sandbox.run(["list", "-p", "defalt"]).fails_with(3).stdout("").stderr(unknown);
    sandbox.run(["list", "-p", "defalt", "--filter", "x"]).fails_with(3).stdout("").stderr(unknown);
    sandbox
        .command(["list"])
        .env("SECRETS_PROJECT", "defalt")
        .run()
        .fails_with(3)
        .stdout("")
        .stderr(unknown);

    let json =
        sandbox.run(["list", "-p", "defalt", "--json"]).fails_with(3).stdout("").json_error();
    assert_eq!(json["type"], "NOT_FOUND");

    // The default project and a manifest's project need not exist yet.
    sandbox.write(".secrets.toml", "project = \"web\"\n");
    stderr!(sandbox.run(["list"]).succeeds().stdout(""), @"no secrets in project `web`");
    stderr!(Sandbox::new().run(["list", "-p", "default"]).succeeds().stdout(""), @"no secrets in project `default`");
}

#[test]
fn list_of_an_emptied_project_is_empty() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    sandbox.run(["delete", "key", "-y", "-q"]).succeeds();
    assert_eq!(page(&sandbox, &[]), (tags(&[]), 0, 0, 0));
    stderr!(sandbox.run(["list"]).succeeds().stdout(""), @"no secrets in project `default`");
    stderr!(sandbox.run(["list", "--all-projects"]).succeeds().stdout(""), @"no secrets in the vault");
}

#[test]
fn list_filters_tag_name_and_description_in_any_case() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for (tag, name, description) in [
        ("stripe-key", "", ""),
        ("two", "STRIPE, live", ""),
        ("three", "", "for\nÜber-Stripe"),
        ("four", "mail", "SMTP"),
    ] {
        let (name, description) =
            (Name::parse(name).unwrap(), Description::parse(description).unwrap());
        let new = NewSecret { name, description, ..secret(tag, b"stripe") };
        vault.create(&project("default"), new).unwrap();
    }

    // Values are not searched, although `four` holds `stripe` too.
    for text in ["stripe", "STRIPE", "sTrIpE"] {
        assert_eq!(
            page(&sandbox, &["--filter", text]),
            (tags(&["stripe-key", "three", "two"]), 0, 3, 1)
        );
    }

    assert_eq!(page(&sandbox, &["--filter", "über"]).0, tags(&["three"]));
    assert_eq!(page(&sandbox, &["--filter", ""]).2, 4);

    // The filter is text, not a pattern.
    assert_eq!(page(&sandbox, &["--filter", ".*"]).2, 0);
    let run = sandbox.run(["list", "--filter", "paypal"]);
    stderr!(run.succeeds().stdout(""), @"no matching secrets in project `default`");
}

#[test]
fn list_of_all_projects_is_sorted_by_project_first() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for (name, tag) in [("web", "a"), ("api", "z"), ("api", "b")] {
        vault.create(&project(name), secret(tag, b"x")).unwrap();
    }

    let json = sandbox.run(["list", "--all-projects", "--json"]).succeeds().json();
    let found: Vec<(&str, &str)> = json["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| (secret["project"].as_str().unwrap(), secret["tag"].as_str().unwrap()))
        .collect();

    assert_eq!(found, [("api", "b"), ("api", "z"), ("web", "a")]);
    let run = sandbox.run(["list", "--all-projects", "-p", "web"]);
    stderr!(run.fails_with(2), @"
    error: `--all-projects` cannot be used with `--project <NAME>`
    hint: usage: secrets list [OPTIONS]
    ");
}

#[test]
fn list_of_all_projects_ignores_the_project_from_the_environment() {
    // `--all-projects` conflicts with `--project`, but not with the environment variable.
    let sandbox = five();
    let run = sandbox
        .command(["list", "--all-projects", "--filter", "D"])
        .env("SECRETS_PROJECT", "web")
        .run();

    run.succeeds().stdout_has("default\tD\t");
}

#[test]
fn list_into_a_closed_pipe_succeeds_silently() {
    let sandbox = five();
    let mut command = sandbox.command(["list"]).command;
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();

    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
