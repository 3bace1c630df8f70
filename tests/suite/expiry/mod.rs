//! A secret has a date of expiry and a source. `list`, `check` and `setup` report which values are
//! due, and where to get new ones.

use serde_json::{Value, json};
use terminal_secrets::model::{Source, Timestamp};
use terminal_secrets::vault::NewSecret;

use crate::support::repository::{MARKER, Project};
use crate::support::terminal::Terminal;
use crate::support::values::revealed;
use crate::support::{PASSPHRASE, Sandbox, project, secret};

mod list;

const DAY: u64 = 24 * 60 * 60 * 1000;
const URL: &str = "https://example.com/keys?a=b#c";

/// A secret with a value that expires this many days from now, or expired that long ago.
fn dated(tag: &str, days: i64) -> NewSecret {
    let expires = Timestamp::now().0.checked_add_signed(days * DAY.cast_signed()).unwrap();
    NewSecret { expires: Some(Timestamp(expires)), ..secret(tag, MARKER.as_bytes()) }
}

fn store(sandbox: &Sandbox, name: &str, new: NewSecret) {
    sandbox.vault().create(&project(name), new).unwrap();
}

/// Returns `expiresAt` and `source` of a secret. Missing ones are null.
#[track_caller]
fn found(sandbox: &Sandbox, tag: &str) -> (Value, Value) {
    let json = sandbox.run(["get", tag, "--json"]).succeeds().json();
    (json["expiresAt"].clone(), json["source"].clone())
}

/// Returns the number of milliseconds from now until a secret expires.
fn left(sandbox: &Sandbox, name: &str, tag: &str) -> Option<u64> {
    let secret = sandbox.vault().get(&project(name), &tag.parse().unwrap()).unwrap();
    secret.metadata.expires.map(|time| time.0.saturating_sub(Timestamp::now().0))
}

/// Returns true for a period that began less than a minute ago.
fn is_about(left: Option<u64>, days: u64) -> bool {
    left.is_some_and(|left| left <= days * DAY && left + 60_000 > days * DAY)
}

#[test]
fn create_stores_the_date_and_the_source_and_get_shows_them() {
    let sandbox = Sandbox::new();
    let line = ["create", "-t", "key", "--expires", "2099-01-31", "--source", URL];
    let run = sandbox.command(line).stdin("1234").run().succeeds();
    run.stdout("").stderr("created `key` in project `default`, hint ••••, expires 2099-01-31\n");

    let expected = (json!("2099-01-31T00:00:00.000Z"), json!(URL));
    assert_eq!(found(&sandbox, "key"), expected);
    sandbox
        .run(["get", "key"])
        .succeeds()
        .stdout_has(&format!("expires      2099-01-31 00:00:00 UTC\nsource       {URL}\n"));

    let line = ["create", "-t", "other", "--expires", "never", "--source", "", "-q"];
    sandbox.command(line).stdin("1234").run().succeeds();
    assert_eq!(found(&sandbox, "other"), (Value::Null, Value::Null));
    let text = sandbox.run(["get", "other"]).succeeds().bytes();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("expires") && !text.contains("source"), "{text}");

    store(&sandbox, "default", dated("old", -1));
    sandbox.run(["get", "old"]).succeeds().stdout_has(" UTC (expired)\n");
}

#[test]
fn a_period_is_counted_from_now() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    for (period, days) in [("24h", 1), ("90d", 90), ("2w", 14), ("6m", 180), ("1y", 365)] {
        sandbox.run(["update", "key", "--expires", period, "-q"]).succeeds();
        assert!(is_about(left(&sandbox, "default", "key"), days), "{period}");
    }
}

#[test]
fn a_date_begins_in_the_zone_in_which_dates_are_shown() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let in_zone = |line: &[&str]| sandbox.command(line).env("TZ", "<+02>-2").run().succeeds();
    in_zone(&["update", "key", "--expires", "2099-01-31"])
        .stderr("updated `key` in project `default`, expires 2099-01-31\n");
    assert_eq!(found(&sandbox, "key").0, "2099-01-30T22:00:00.000Z");
    in_zone(&["get", "key"]).stdout_has("expires      2099-01-31 00:00:00 +02\n");
}

#[test]
fn other_forms_are_refused_in_one_sentence() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let forms = "expected a period such as `12h`, `90d`, `2w`, `6m` or `1y`";
    let all = format!("{forms}, a date such as `2027-01-31`, or `never`");
    let refused = |line: &[&str], text: &str| {
        let run = sandbox.run(line).fails_with(2).stdout("");
        run.stderr_has(&format!("error: {text}\n"));
    };

    for bad in ["soon", "90", "90x", "2027-02-30", "-1d"] {
        let expires = format!("--expires={bad}");
        refused(&["update", "key", &expires], &format!("invalid `--expires <WHEN>`: {all}"));
        refused(&["create", "new", &expires], &format!("invalid `--expires <WHEN>`: {all}"));
    }

    for (bad, why) in [
        ("0d", "a period cannot be zero"),
        ("101y", "the longest period is 100 years"),
        ("99999999999999999999h", "the longest period is 100 years"),
    ] {
        let text = format!("invalid `--expires <WHEN>`: {why}; {all}");
        refused(&["update", "key", "--expires", bad], &text);
    }

    let past = "invalid `--expires`: the date is not in the future";
    refused(&["update", "key", "--expires", "2020-01-01"], past);
    for option in ["--expiring", "--older-than"] {
        for bad in ["never", "2027-01-31", "90"] {
            let text = format!("invalid `{option} <PERIOD>`: {forms}");
            refused(&["list", option, bad], &text);
        }
    }

    for (bad, why) in [
        ("example.com", "it does not begin with `https://` or `http://` and a host"),
        ("javascript:alert(1)", "it does not begin with `https://` or `http://` and a host"),
        ("https://a b", "it contains a blank or a control character"),
        ("https://a/\u{202e}b", "it contains a blank or a control character"),
        ("https://me:pass@example.com/", "it contains a user name"),
    ] {
        refused(&["update", "key", "--source", bad], &format!("invalid `--source`: {why}"));
    }

    assert_eq!(found(&sandbox, "key"), (Value::Null, Value::Null));
}

#[test]
fn update_of_the_date_or_the_source_keeps_the_value_and_never_reads_stdin() {
    let sandbox = Sandbox::with_secrets(&[("key", "old value")]);
    let update = |options: &[&str]| {
        let line = [&["update", "key"][..], options].concat();
        sandbox.command(line).stdin("not a new value").run().succeeds().stdout("")
    };

    update(&["--source", URL]).stderr("updated `key` in project `default`\n");
    update(&["--expires", "2099-01-31"])
        .stderr("updated `key` in project `default`, expires 2099-01-31\n");
    update(&["--name", "a name"]).stderr("updated `key` in project `default`\n");
    assert_eq!(found(&sandbox, "key"), (json!("2099-01-31T00:00:00.000Z"), json!(URL)));

    update(&["--expires", "never"]).stderr(
        "updated `key` in project `default`\nits expiry date 2099-01-31 was cleared; set another \
         one with `secrets update key --expires 90d`\n",
    );
    update(&["--source", ""]).stderr("updated `key` in project `default`\n");
    assert_eq!(found(&sandbox, "key"), (Value::Null, Value::Null));
    assert_eq!(revealed(&sandbox, "key"), b"old value");
}

/// A date belongs to a value.
#[test]
fn a_new_value_does_not_keep_the_old_date() {
    let sandbox = Sandbox::new();
    for (tag, days) in [("past", -1), ("near", 3)] {
        let source = Source::parse(URL).unwrap();
        store(&sandbox, "default", NewSecret { source, ..dated(tag, days) });
        let run = sandbox.command(["update", tag]).stdin("1234").run().succeeds();
        let date =
            &Timestamp(Timestamp::now().0.checked_add_signed(days * DAY.cast_signed()).unwrap());
        let date = &date.rfc3339()[..10];
        run.stdout("").stderr(&format!(
            "updated `{tag}` in project `default`, hint ••••\nits expiry date {date} was cleared; \
             set another one with `secrets update {tag} --expires 90d`\n"
        ));
        assert_eq!(found(&sandbox, tag), (Value::Null, json!(URL)));
    }

    let line = ["update", "near", "--generate", "--expires", "2099-01-31"];
    sandbox.run(line).succeeds().stderr_has(", expires 2099-01-31\n");
    assert_eq!(found(&sandbox, "near").0, "2099-01-31T00:00:00.000Z");
}

#[test]
fn a_new_value_expires_after_the_period_of_the_trusted_manifest() {
    let manifest = "project = \"web\"\n[secrets.key]\nexpires-after = \"30d\"\n[secrets.other]\n";
    let sandbox = Sandbox::new();
    sandbox.write(".secrets.toml", manifest);
    let days = |tag| left(&sandbox, "web", tag);

    for tag in ["KEY", "other"] {
        sandbox.command(["create", "-t", tag, "-q"]).stdin("1234").run().succeeds();
    }

    assert!(is_about(days("key"), 30));
    assert_eq!(days("other"), None);

    // An option has precedence, and a change of a label keeps the date.
    for (options, expected) in [
        (&["--generate", "--expires", "90d"][..], 90),
        (&["--name", "a name"], 90),
        (&["--generate"], 30),
    ] {
        sandbox.run([&["update", "key", "-q"][..], options].concat()).succeeds();
        assert!(is_about(days("key"), expected), "{options:?}");
    }

    sandbox.run(["update", "key", "--generate", "--expires", "never", "-q"]).succeeds();
    assert_eq!(days("key"), None);
    sandbox.run(["create", "-t", "key", "-p", "elsewhere", "--generate", "-q"]).succeeds();
    assert_eq!(left(&sandbox, "elsewhere", "key"), None);

    sandbox.write("new.env", "KEY=another-value\nOTHER=another-value\n");
    sandbox.run(["import", "new.env", "--on-conflict", "overwrite", "-q"]).succeeds();
    assert!(is_about(days("key"), 30));
    assert_eq!(days("other"), None);
}

#[test]
fn an_untrusted_manifest_sets_no_date() {
    let sandbox = Sandbox::new().without_trust();
    sandbox.write(".secrets.toml", "project = \"web\"\n[secrets.key]\nexpires-after = \"30d\"\n");
    let create = |tag: &str| {
        let run = sandbox.run(["create", "-t", tag, "--generate", "-p", "web", "-q"]);
        run.succeeds().stdout("").stderr("");
    };

    create("key");
    assert_eq!(left(&sandbox, "web", "key"), None);

    // Trusted, the same command uses it.
    sandbox.run(["delete", "key", "-p", "web", "-y", "--force", "-q"]).succeeds();
    sandbox.run(["trust", "-q"]).succeeds().stdout_has("web");
    create("key");
    assert!(is_about(left(&sandbox, "web", "key"), 30));
}

/// A manifest's address is only text, but it leads people somewhere. A change of it needs consent.
#[test]
fn trust_covers_the_source_and_the_period() {
    let manifest = "project = \"web\"\n[secrets.key]\nexpires-after = \"30d\"\n\
        source = \"https://example.com/\"\n";
    let sandbox = Sandbox::with_secrets(&[]).without_trust();
    sandbox.write(".secrets.toml", manifest);
    sandbox.run(["trust", "-q"]).succeeds().stdout_has("web");
    sandbox.run(["create", "-t", "key", "--generate", "-q"]).succeeds();
    sandbox.run(["check", "-q"]).succeeds();

    for (from, to) in [("30d", "99d"), ("example.com", "example.org")] {
        sandbox.write(".secrets.toml", manifest.replace(from, to));
        sandbox
            .run(["check"])
            .fails_with(7)
            .stdout("")
            .stderr_has("asks for something other than what you trusted");
    }
}

#[test]
fn a_copy_keeps_the_date_and_the_source() {
    let sandbox = Sandbox::new();
    let source = Source::parse(URL).unwrap();
    store(&sandbox, "default", NewSecret { source, ..dated("key", 7) });
    store(&sandbox, "web", dated("key", 99));
    let original = found(&sandbox, "key");
    assert!(original.0.is_string() && original.1 == URL);

    sandbox.run(["clone", "key", "--tag", "copy", "-q"]).succeeds();
    assert_eq!(found(&sandbox, "copy"), original);
    let line = ["clone", "key", "--to", "web", "--on-conflict", "overwrite", "-y", "-q"];
    sandbox.run(line).succeeds();
    let copy = sandbox.run(["get", "key", "-p", "web", "--json"]).succeeds().json();
    assert_eq!((copy["expiresAt"].clone(), copy["source"].clone()), original);
}

#[test]
fn an_overwriting_import_clears_the_date_and_says_so() {
    let sandbox = Sandbox::new();
    for (tag, days) in [("a", -1), ("b", 7), ("same", 7)] {
        let source = Source::parse(URL).unwrap();
        store(&sandbox, "default", NewSecret { source, ..dated(tag, days) });
    }

    let same = found(&sandbox, "same");
    sandbox.write("new.env", format!("A=new-value-1\nB=new-value-2\nSAME={MARKER}\n"));
    sandbox.run(["import", "new.env", "--on-conflict", "overwrite"]).succeeds().stderr(
        "imported into project `default`: 2 overwritten, 1 unchanged\nthe expiry date of `a` and \
         1 other secret was cleared, because the value is new; set another one with `secrets \
         update TAG --expires 90d`\n",
    );

    assert_eq!(found(&sandbox, "a"), (Value::Null, json!(URL)));
    assert_eq!(found(&sandbox, "b"), (Value::Null, json!(URL)));
    assert_eq!(found(&sandbox, "same"), same);
}

const MANIFEST: &str = "project = \"web\"\n[secrets.key]\nsource = \"https://example.com/team\"\n\
    [secrets.near]\n[secrets.far]\n";

/// Returns a project that needs an expired secret, one that expires soon and one that does not.
fn due() -> Project {
    let project = Project::new(&[(".secrets.toml", MANIFEST)]);
    let source = Source::parse("https://example.com/mine").unwrap();
    store(&project.0, "web", dated("key", -1));
    store(&project.0, "web", NewSecret { source, ..dated("near", 13) });
    store(&project.0, "web", dated("far", 15));

    // Nothing here needs this one.
    store(&project.0, "web", dated("elsewhere", -1));
    project
}

/// Returns the date on which a secret of the project `web` expires.
fn date(project: &Project, tag: &str) -> String {
    let json = project.run(&["get", tag, "--json"]).succeeds().json();
    json["expiresAt"].as_str().unwrap()[..10].to_owned()
}

#[test]
fn check_fails_if_a_secret_has_expired_and_warns_before() {
    let project = due();
    let (key, near) = (date(&project, "key"), date(&project, "near"));
    let warning = format!(
        "warning: `near` expires on {near}; store a new value with `secrets update near`, from \
         https://example.com/mine\n"
    );

    project
        .changes_nothing(&["check"])
        .fails_with(8)
        .stdout(format!(
            "unused\telsewhere\tstored, but nothing refers to it\nexpired\tkey\t{key}\nexpiring\t\
             near\t{near}\n"
        ))
        .stderr(&format!(
            "warning: `key` expired on {key}; store a new value with `secrets update key`, from \
             https://example.com/team\n{warning}error: a secret has expired\nhint: store a new \
             value with `secrets update TAG`\nhint: if a value is still valid, set another date \
             with `secrets update TAG --expires 90d`\n"
        ));

    let run = project.changes_nothing(&["check", "--json"]).fails_with(8);
    let run = run.stderr_has("\"message\":\"a secret has expired\"");
    let json = run.json();
    let (exit, due) = (json["exit"].clone(), json["due"].clone());
    let expires = |at: usize| due[at]["expiresAt"].as_str().unwrap().len();
    assert_eq!((exit, expires(0), expires(1)), (json!(8), 24, 24));
    assert_eq!(due.as_array().unwrap().len(), 2);
    assert_eq!((&due[0]["tag"], &due[0]["state"]), (&json!("key"), &json!("expired")));
    assert_eq!((&due[1]["tag"], &due[1]["state"]), (&json!("near"), &json!("expiring")));
    assert_eq!(due[0]["source"], "https://example.com/team");
    assert_eq!(due[1]["source"], "https://example.com/mine");

    project.run(&["update", "key", "--generate", "-q"]).succeeds();
    let run = project.changes_nothing(&["check", "-q"]).succeeds();
    run.stdout_has(&format!("expiring\tnear\t{near}\n")).stderr(&warning);
}

/// What had an exit code before still has the same one.
#[test]
fn an_expired_secret_is_the_last_reason_to_fail() {
    let project = due();
    project.write(".secrets.toml", format!("{MANIFEST}[secrets.missing]\n"));
    let run = project.changes_nothing(&["check"]).fails_with(3);
    run.stdout_has("expired\tkey\t").stderr_has("error: a secret is missing\n");

    project.write(
        ".secrets.toml",
        format!("{MANIFEST}[[render]]\ntemplate = \"t\"\noutput = \"o\"\n"),
    );
    project.write("t", "plain");
    project.git(&["init", "-q"]);
    let check = |code: i32, text: &str| {
        let run = project.changes_nothing(&["check"]).fails_with(code);
        run.stdout_has("expired\tkey\t").stderr_has(text);
    };

    check(8, "error: an output is out of date\n");
    project.run(&["render", "--all", "-q"]).succeeds();
    check(7, "error: an output is not ignored by git\n");
    project.run(&["setup", "-q"]).succeeds().stderr_has("warning: `key` expired on ");
    check(8, "error: a secret has expired\n");
}

#[test]
fn setup_stores_the_declared_source_and_date_and_warns_of_what_is_due() {
    let manifest = format!(
        "{MANIFEST}[secrets.made]\ngenerate = {{}}\nsource = \"{URL}\"\nexpires-after = \"90d\"\n"
    );
    let project = due();
    project.write(".secrets.toml", manifest);
    let (key, near) = (date(&project, "key"), date(&project, "near"));
    let run = project.run(&["setup"]).succeeds().stdout("");
    run.stderr_has("created `made` in project `web`, hint ").stderr_has(&format!(
        "warning: `key` expired on {key}; store a new value with `secrets update key`, from \
         https://example.com/team\nwarning: `near` expires on {near}; store a new value with \
         `secrets update near`, from https://example.com/mine\nproject `web` is set up"
    ));

    assert!(is_about(left(&project.0, "web", "made"), 90));
    let made = project.run(&["get", "made", "--json"]).succeeds().json();
    assert_eq!(made["source"], URL);
}

#[test]
fn setup_shows_the_source_above_the_prompt() {
    let manifest = format!("project = \"web\"\n[secrets.key]\nsource = \"{URL}\"\n");
    let project = Project::new(&[(".secrets.toml", &manifest)]);
    stderr!(project.changes_nothing(&["setup"]).fails_with(3).stdout(""), @"
    error: `key` is missing in project `web`
      key, from https://example.com/keys?a=b#c
    hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    ");

    let run = project.changes_nothing(&["check", "--json"]).fails_with(3);
    let json = run.stderr_has("a secret is missing").json();
    assert_eq!(json["missing"][0]["source"], URL);

    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" setup");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("says where to get it").waits_for("https://example.com/keys?a=b#c");
    terminal.waits_for("Value of key: ").types(MARKER).types("\n");
    let screen = terminal.waits_for("is set up: 1 secret").ends_with(0);
    assert!(!screen.contains(MARKER), "{screen}");
}

#[test]
fn many_due_secrets_are_named_up_to_a_limit() {
    let project = Project::new(&[]);
    let mut manifest = "project = \"web\"\n".to_owned();
    let vault = project.0.vault();
    let all = (0..12).map(|number| dated(&format!("key-{number:02}"), -1));
    vault.create_all(&crate::support::project("web"), all).unwrap();
    for number in 0..12 {
        manifest += &format!("[secrets.key-{number:02}]\n");
    }

    project.write(".secrets.toml", manifest);
    let run = project.changes_nothing(&["check"]).fails_with(8);
    run.stdout_has("expired\tkey-11\t").stderr_has("warning: `key-09` expired on ").stderr_has(
        "warning: 2 other secrets expired or will expire within 14 days; list them with \
             `secrets list --expiring 14d`\nerror: 12 secrets have expired\n",
    );
}

/// Another program may have written anything into the vault.
#[test]
fn a_hostile_source_is_shown_with_escapes() {
    let project = Project::new(&[(".secrets.toml", MANIFEST)]);
    let source = Source::stored("https://a/\u{202e}\x1b[2J\nerror: all is well");
    store(&project.0, "web", NewSecret { source, ..dated("key", -1) });
    for tag in ["near", "far"] {
        project.store("web", tag, MARKER);
    }

    let shown = "https://a/\\u{202e}\\u{1b}[2J\\nerror: all is well\n";
    project.run(&["check"]).fails_with(8).stdout_has("expired\tkey\t").stderr_has(shown);
    project.run(&["setup"]).succeeds().stdout("").stderr_has(shown);
    project.run(&["get", "key"]).succeeds().stdout_has(&format!("source       {shown}"));
}
