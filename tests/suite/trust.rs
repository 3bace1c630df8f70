//! `trust`: a manifest's requests are used only after somebody consented to them, and to nothing
//! else.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::Value;

use crate::support::files::set_mode;
use crate::support::programs::environment;
use crate::support::repository::{MARKER, Project};
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Run, Sandbox};

const MANIFEST: &str = "project = \"web\"\n[secrets.key]\n\
    [[render]]\ntemplate = \"t.tmpl\"\noutput = \".env\"\n\
    [run.env]\nKEY = \"{{ secrets.key }}\"\nHTTPS_PROXY = \"http://proxy\"\n";
const TEMPLATE: &str = "KEY={{ secrets.key }}\n";
const HINT: &str =
    "hint: review it with `secrets trust --show`, then trust it with `secrets trust`\n";

/// Returns a stranger's repository without any trust. The vault has a secret for it and one in
/// another project.
fn cloned(files: &[(&str, &str)]) -> Project {
    let project = Project(Sandbox::new().without_trust());
    fs::create_dir(project.path("")).unwrap();
    for (name, content) in files {
        project.write(name, content);
    }

    project.store("web", "key", "value-of-key");
    project.store("web", "other", "value-of-other");
    project.store("prod", "key", MARKER);
    project
}

fn usual() -> Project {
    cloned(&[(".secrets.toml", MANIFEST), ("t.tmpl", TEMPLATE)])
}

fn trusted() -> Project {
    let project = usual();
    project.run(&["trust", "-q"]).succeeds().stdout_has("directory ");
    project
}

/// Runs a command without a passphrase. A failure with 7 comes before any question for one.
fn keyless(project: &Project, arguments: &[&str]) -> Run {
    project.command(arguments).without_env("SECRETS_PASSPHRASE").run()
}

fn records(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.0.state().join("secrets/trust")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn record(project: &Project) -> Value {
    let [only] = &records(project)[..] else { panic!("one record") };
    serde_json::from_slice(&fs::read(only).unwrap()).unwrap()
}

fn fingerprint(project: &Project) -> String {
    let shown = project.run(&["trust", "--show", "--json"]).succeeds().json();
    shown["sha256"].as_str().unwrap().to_owned()
}

#[test]
fn an_untrusted_manifest_is_not_used_and_causes_no_passphrase_prompt() {
    let project = usual();
    project.write("f.env", "A=b\n");
    let needing: [&[&str]; 15] = [
        &["adopt", "f.env"],
        &["setup"],
        &["setup", "--yes"],
        &["check"],
        &["render", "--all"],
        &["render", "--all", "--check"],
        &["render", "--stale"],
        &["render", "t.tmpl", "-o", "out"],
        &["render", "-e", "{{ KEY }}"],
        &["create", "--tag", "new", "--generate"],
        &["update", "key", "--generate"],
        &["delete", "key", "--yes", "--force"],
        &["clone", "--all", "--to", "copy"],
        &["import", "f.env"],
        &["export", "--encrypted", "all.age"],
    ];

    let text = format!("error: `.secrets.toml` is not trusted\n{HINT}");
    let before = project.files();
    for line in needing {
        keyless(&project, line).fails_with(7).stdout("").stderr(&text);

        // A given passphrase is not used for it either.
        project.run(line).fails_with(7).stdout("").stderr(&text);
    }

    keyless(&project, &["template", "f.env"]).fails_with(7).stderr(&text);
    for line in
        [&["run", "--", "true"][..], &["run", "--dry-run"], &["run", "--only", "key", "--", "true"]]
    {
        keyless(&project, line).fails_with(125).stdout("").stderr(&text);
    }

    assert!(before == project.files());
    let error = keyless(&project, &["check", "--json"]).fails_with(7).json_error();
    assert_eq!(
        (&error["type"], &error["details"]["trust"]),
        (&"FORBIDDEN".into(), &"unknown".into())
    );

    // Commands that show no value and change nothing need no trust, and neither does a project that
    // somebody named.
    project.run(&["list"]).succeeds().stdout_has("key");
    project.run(&["get", "key"]).succeeds().stdout_has("key");
    project.run(&["refs"]).succeeds().stdout_has("t.tmpl:1:5: key");
    project.run(&["render", "t.tmpl", "--list"]).succeeds().stdout_has("key");
    project.run(&["scan", ".", "-q"]).succeeds();
    project.run(&["render", "-e", "no placeholder"]).succeeds().stdout("no placeholder");
    project.run(&["-p", "web", "render", "t.tmpl"]).succeeds().stdout("KEY=value-of-key\n");
    project
        .run(&["-p", "web", "run", "--only", "key", "--", "printenv", "KEY"])
        .succeeds()
        .stdout("‹key›\n");

    let run = project.command(&["render", "t.tmpl"]).env("SECRETS_PROJECT", "web").run();
    run.succeeds().stdout("KEY=value-of-key\n");

    // That only covers the project. Files and variables still come from the manifest.
    for line in
        [&["-p", "web", "setup"][..], &["-p", "web", "render", "--all"], &["-p", "web", "check"]]
    {
        stderr!(keyless(&project, line).fails_with(7), @"
        error: `.secrets.toml` is not trusted
        hint: review it with `secrets trust --show`, then trust it with `secrets trust`
        ");
    }

    stderr!(keyless(&project, &["-p", "web", "run", "--", "true"]).fails_with(125), @"
    error: `.secrets.toml` is not trusted
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");
}

#[test]
fn the_default_project_needs_no_trust_in_a_manifest() {
    let project = cloned(&[(".secrets.toml", "[secrets.key]\n")]);
    project
        .run(&["create", "--tag", "key", "--generate"])
        .succeeds()
        .stderr_has("in project `default`");

    project.run(&["run", "--", "printenv", "KEY"]).succeeds().stdout("‹key›\n");
    keyless(&project, &["check"]).fails_with(7).stderr_has(HINT);
}

#[test]
fn the_help_names_every_command() {
    let help =
        String::from_utf8(Sandbox::empty().run(["trust", "--help"]).succeeds().bytes()).unwrap();
    let table = help.split("What needs trust").nth(1).unwrap();
    let words: Vec<&str> = table.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();

    for command in
        terminal_secrets::command().get_subcommands().filter(|command| !command.is_hide_set())
    {
        assert!(words.contains(&command.get_name()), "{}", command.get_name());
    }
}

#[test]
fn consent_is_given_shown_listed_and_revoked() {
    let project = usual();
    let directory = fs::canonicalize(project.path("")).unwrap().display().to_string();
    let shown = format!(
        "project      `web`, 2 secrets\n\
         output       `.env` (mode 600) from `t.tmpl`: key\n\
         variable     KEY={{{{ secrets.key }}}}\n\
         variable     HTTPS_PROXY=http://proxy (redirects connections or configuration)\n\
         sha256       {}\n",
        fingerprint(&project)
    );

    let untrusted = format!("directory    {directory}\ntrusted      no\n{shown}");
    project.run(&["trust", "--show"]).succeeds().stdout(&untrusted);
    let output = project.run(&["trust", "-y"]).succeeds().stdout_has(&shown);
    stderr!(output, @"trusted `.secrets.toml`; this does not cover the text of its templates");
    project
        .run(&["trust", "--show"])
        .succeeds()
        .stdout_has("trusted      since 20")
        .stdout_has(&shown);

    let [file] = &records(&project)[..] else { panic!("one record") };
    assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);

    project.run(&["setup", "--yes", "-q"]).succeeds();
    project
        .run(&["run", "--", "sh", "-c", "echo $HTTPS_PROXY"])
        .succeeds()
        .stdout("http://proxy\n");

    let list = project.run(&["trust", "--list", "--json"]).succeeds().json();
    assert_eq!(
        (&list["records"][0]["directory"], &list["records"][0]["state"]),
        (&directory.into(), &"trusted".into())
    );

    project.write("t.tmpl", "{{ secrets.other }}");
    project.run(&["trust", "--list"]).succeeds().stdout_has("\tchanged\tweb\t20");

    // From a subdirectory, and from another directory.
    fs::create_dir(project.path("below")).unwrap();
    project
        .command(&["trust", "-q"])
        .current_dir(project.path("below"))
        .run()
        .succeeds()
        .stdout_has("other");

    let revoke = project.0.command(["trust", "--revoke", "repo"]).run();
    stderr!(revoke.succeeds(), @"`[dir]/repo` is no longer trusted");
    stderr!(project.run(&["trust", "--revoke"]).succeeds(), @"`[dir]/repo` was not trusted");
    keyless(&project, &["check"]).fails_with(7).stderr_has(HINT);
    project.0.run(["trust", "repo/.secrets.toml", "-q"]).succeeds().stdout_has("directory ");
    stderr!(keyless(&project, &["check"]).fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    stderr!(project.0.run(["trust", "repo/below"]).fails_with(3), @"
    error: `repo/below` has no `.secrets.toml` that belongs to you
    hint: choose the directory of a `.secrets.toml` that belongs to you
    ");

    // A removed directory stays listed until its trust is revoked.
    fs::remove_dir_all(project.path("")).unwrap();
    project.0.run(["trust", "--list"]).succeeds().stdout_has("\tgone\tweb\t");
    stderr!(project.0.run(["trust", "--revoke", "repo"]).succeeds(), @"`[dir]/repo` is no longer trusted");
    project.0.run(["trust", "--list"]).succeeds().stdout("");
}

#[test]
fn every_change_except_a_templates_text_needs_new_consent() {
    let project = trusted();
    for (manifest, template, text) in [
        (MANIFEST.replace("\"web\"", "\"prod\""), TEMPLATE, "  project `prod`, previously `web`\n"),
        (
            MANIFEST.replace("\".env\"", "\"public/x\""),
            TEMPLATE,
            "  new output `public/x` (mode 600) from `t.tmpl`: key\n  removed output `.env`\n",
        ),
        (
            MANIFEST.replace("\".env\"\n", "\".env\"\nmode = \"644\"\n"),
            TEMPLATE,
            "  output `.env` (mode 644) from `t.tmpl`: key, previously (mode 600) from `t.tmpl`: key\n",
        ),
        (
            MANIFEST.replace("http://proxy", "http://evil"),
            TEMPLATE,
            "=http://evil, previously http://proxy\n",
        ),
        (format!("{MANIFEST}MORE = \"1\"\n"), TEMPLATE, "  new variable MORE=1\n"),
        (
            MANIFEST.replace("KEY = \"{{ secrets.key }}\"\n", ""),
            TEMPLATE,
            "  removed variable KEY\n",
        ),
        (
            MANIFEST.replace("[secrets.key]", "[secrets.key]\n[secrets.b]"),
            TEMPLATE,
            "  declares `b`\n",
        ),
        (format!("# new\n{MANIFEST}"), TEMPLATE, "  comments, descriptions or other settings\n"),
        (
            MANIFEST.to_owned(),
            "KEY={{ secrets.key }}{{ OTHER }}\n",
            "  output `.env` from `t.tmpl` also uses: other\n",
        ),
        (MANIFEST.to_owned(), "KEY=\n", "  output `.env` from `t.tmpl` no longer uses: key\n"),
    ] {
        project.write(".secrets.toml", &manifest);
        project.write("t.tmpl", template);
        let run = keyless(&project, &["render", "--stale"]).fails_with(7).stdout("");
        let run = run
            .stderr_has("error: `.secrets.toml` asks for something other than what you trusted\n");
        run.stderr_has(text).stderr_has(HINT);
    }

    project.write(".secrets.toml", MANIFEST);
    fs::remove_file(project.path("t.tmpl")).unwrap();
    keyless(&project, &["render", "--stale"])
        .fails_with(7)
        .stderr_has("from `t.tmpl`, which cannot be read, previously ");
    project.write("t.tmpl", "# other text\nNAME={{ KEY | trim }}\n");
    project.run(&["render", "--stale", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "# other text\nNAME=value-of-key\n");
}

#[test]
fn an_option_or_a_variable_consents_to_exactly_one_manifest() {
    let project = usual();
    let named = fingerprint(&project);
    project.run(&["--trust-manifest", &named, "render", "--all", "-q"]).succeeds();
    let given = |arguments: &[&str], value: &str| {
        project.command(arguments).env("SECRETS_TRUST_MANIFEST", value).run()
    };

    given(&["check", "-q"], &named.to_uppercase()).succeeds().stdout_has("unused\tother");

    // No program gets this variable.
    for mask in [&["run", "--", "env"][..], &["run", "--no-mask", "--", "env"]] {
        given(mask, &named)
            .succeeds()
            .without("SECRETS_TRUST")
            .stdout_has("HTTPS_PROXY=http://proxy\n");
    }

    assert!(!project.0.state().join("secrets/trust").exists());

    // The fingerprint covers the tags of templates as well.
    project.write("t.tmpl", "{{ secrets.other }}");
    assert_ne!(fingerprint(&project), named);
    let text = "error: `.secrets.toml` is not the manifest that `--trust-manifest` or its variable names\n";
    let hint = "hint: review it and find the SHA-256 to use with `secrets trust --show`\n";

    given(&["render", "--all"], &named).fails_with(7).stderr(&format!("{text}{hint}"));
    project.write("t.tmpl", TEMPLATE);
    project.write(".secrets.toml", format!("# new\n{MANIFEST}"));
    given(&["render", "--all"], &named).fails_with(7).stderr(&format!("{text}{hint}"));

    let alone = record_of(&project);
    stderr!(given(&["render", "--all"], &alone).fails_with(7), @"
    error: `.secrets.toml` is not the manifest that `--trust-manifest` or its variable names
    hint: use the SHA-256 that `secrets trust --show` prints; this one is of the file alone
    ");

    for wrong in ["abc", &"x".repeat(64)] {
        let run = project.run(&["--trust-manifest", wrong, "list"]).fails_with(2);
        stderr!(run, @"
        error: invalid `--trust-manifest <SHA256>`: a SHA-256 has 64 hexadecimal digits
        hint: see `secrets help` or `secrets COMMAND --help`
        ");
    }

    // A variable for another manifest does not remove existing consent.
    project.run(&["trust", "-q"]).succeeds().stdout_has("sha256");
    given(&["render", "--all", "-q"], &named).succeeds();
}

/// Returns the SHA-256 of the manifest alone.
fn record_of(project: &Project) -> String {
    project.run(&["trust", "-q"]).succeeds().stdout_has("sha256");
    let record = record(project);
    project.run(&["trust", "--revoke", "-q"]).succeeds();
    record["coverage"]["manifest"].as_str().unwrap().to_owned()
}

#[test]
fn a_record_is_bound_to_the_vault_and_a_modified_one_does_not_count() {
    let project = usual();

    // Without a key, the next command that has one binds the record.
    keyless(&project, &["trust", "-q"])
        .succeeds()
        .stdout_has("project      `web`, number of secrets unknown while");
    assert_eq!(record(&project)["bindings"], serde_json::json!([]));
    project.run(&["render", "--all", "-q"]).succeeds();

    let bound = record(&project)["bindings"].clone();
    assert_eq!(bound.as_array().unwrap().len(), 1);
    project.run(&["trust", "-q"]).succeeds().stdout_has("`web`, 2 secrets\n");
    assert_eq!(record(&project)["bindings"], bound);

    // Somebody adds to what the record covers.
    let [file] = &records(&project)[..] else { panic!("one record") };
    let whole = fs::read_to_string(file).unwrap();
    project.write("t.tmpl", "{{ secrets.other }}");
    fs::write(file, whole.replace(r#""tags":["key"]"#, r#""tags":["other"]"#)).unwrap();

    let run = project.run(&["render", "--all"]).fails_with(7).stdout("");
    run.stderr(&format!(
        "error: `.secrets.toml` is not trusted: its record of trust does not match this vault's \
         keys\n{HINT}"
    ));

    stderr!(project.run(&["run", "--", "true"]).fails_with(125), @"
    error: `.secrets.toml` is not trusted: its record of trust does not match this vault's keys
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");

    project.run(&["trust", "-q"]).succeeds().stdout_has("other");
    project.run(&["render", "--all", "-q"]).succeeds();

    // New keys do not remove consent. The record is bound to them.
    let before = record(&project)["bindings"].clone();
    project.run(&["rekey", "--yes", "-q"]).succeeds();
    project.run(&["render", "--all", "-q"]).succeeds();
    let after = record(&project)["bindings"].clone();

    assert!(before[0][0] == after[0][0] && before[0][1] != after[0][1], "{before} {after}");

    // An agent can use and bind records as well.
    project.run(&["unlock", "-q"]).succeeds();
    keyless(&project, &["render", "--all", "-q"]).succeeds();
    keyless(&project, &["trust", "--show"]).succeeds().stdout_has("`web`, 2 secrets\n");
    keyless(&project, &["trust", "-q"]).succeeds().stdout_has("sha256");
    assert_eq!(record(&project)["bindings"], after);
    project.run(&["lock", "-q"]).succeeds();
}

#[test]
fn a_record_that_somebody_else_could_have_written_does_not_count() {
    let project = trusted();
    let [file] = &records(&project)[..] else { panic!("one record") };
    let aside = project.0.path("aside");
    let text = |why: &str| {
        let run = keyless(&project, &["render", "--all"]).fails_with(7);
        run.stderr_has(&format!("is not trusted: its record of trust is invalid: {why}"));
    };

    set_mode(file, 0o622);
    text("other users can write to it\n");
    set_mode(file, 0o600);
    fs::rename(file, &aside).unwrap();
    symlink(&aside, file).unwrap();
    text("");
    fs::remove_file(file).unwrap();
    fs::write(file, "{\"version\":1}").unwrap();
    text("it is invalid\n");

    // A record of another directory does not count.
    let other = fs::read_to_string(&aside).unwrap().replace("/repo\"", "/other\"");
    fs::write(file, other).unwrap();
    text("it is invalid\n");
    fs::rename(&aside, file).unwrap();
    project.run(&["render", "--all", "-q"]).succeeds();
}

#[test]
fn on_a_terminal_the_question_comes_once_before_the_passphrase() {
    let project = usual();
    let asked = |typed: &str| {
        let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" render --all");
        terminal.waits_for("`.secrets.toml` is not trusted yet. It asks for:\r\n");
        terminal.waits_for(
            "  project   `web`, number of secrets unknown while the vault is locked\r\n",
        );
        terminal.waits_for("  output    `.env` (mode 600) from `t.tmpl`: key\r\n");
        terminal.waits_for("  variable  KEY={{ secrets.key }}\r\n");
        terminal.waits_for(
            "  variable  HTTPS_PROXY=http://proxy (redirects connections or configuration)\r\n",
        );
        terminal.waits_for("Trust it with 1 output, 2 variables and 1 secret? [y/N] ").types(typed);
        terminal
    };

    for typed in ["n\n", "\n", "maybe\n"] {
        let mut terminal = asked(typed);
        if typed == "maybe\n" {
            terminal
                .waits_for("Answer `y` or `n`.\r\nTrust it with ")
                .waits_for("[y/N] ")
                .types("no\n");
        }

        let screen = terminal
            .waits_for("\r\n`.secrets.toml` was not trusted; nothing was changed\r\n")
            .ends_with(7);
        assert!(!screen.contains("Passphrase") && !screen.contains("error:"), "{screen}");
    }

    asked("\x04").ends_with(130);
    let mut terminal = asked("y\n");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("wrote `.env`").ends_with(0);
    assert_eq!(record(&project)["bindings"].as_array().unwrap().len(), 1);

    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" render --all");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("up to date");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("Trust it"), "{screen}");

    // After a change the question is asked again, and it shows the change.
    let hostile = "\\u001b[2J".to_owned() + &"x".repeat(4000);
    project.write(".secrets.toml", MANIFEST.replace("http://proxy", &hostile));
    project.run(&["unlock", "-q"]).succeeds();
    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" check");

    terminal.waits_for("`.secrets.toml` asks for something other than what you trusted:\r\n");
    terminal
        .waits_for("  variable HTTPS_PROXY=\\u{1b}[2Jxxx")
        .waits_for("… (with no secret), previously http://proxy\r\n");
    terminal.waits_for("It asks for:\r\n");
    terminal.waits_for("  project   `web`, 2 secrets\r\n");
    terminal.waits_for("Trust it with ").types("y\n").waits_for("has everything it needs");
    terminal.ends_with(0);
    project.run(&["lock", "-q"]).succeeds();
}

#[test]
fn everything_that_is_trusted_is_shown() {
    let directory = "config/".repeat(9) + ".vscode";
    let declared: String =
        (0..20).map(|number| format!("{{{{ secrets.app-{number:02} }}}}")).collect();
    let project = cloned(&[
        (
            ".secrets.toml",
            &format!(
                "project = \"web\"\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"{directory}/tasks.json\"\n\
                 [run.env]\nBANNER = \"{}{{{{ secrets.prod-password }}}}\"\n",
                "x".repeat(150)
            ),
        ),
        ("t.tmpl", &format!("{declared}{{{{ secrets.prod-password }}}}\n")),
    ]);

    let tags: Vec<String> = (0..20).map(|number| format!("app_{number:02}")).collect();
    let output = format!(
        "output       `{directory}/tasks.json` (mode 600) from `t.tmpl`: {}, prod_password\n",
        tags.join(", ")
    );

    let shown = project.run(&["trust", "--show"]).succeeds().stdout_has(&output);
    shown.stdout_has(&format!(
        "variable     BANNER={}{{{{ secrets.prod-password }}}}\n",
        "x".repeat(150)
    ));

    // The question shortens the text of a variable, but never the secrets in it.
    let mut terminal =
        Terminal::shell(&project.0, "cd repo; stty cols 40; \"$secrets\" render --all");
    terminal.waits_for("app_19,").waits_for("prod_password\r\n").waits_for("  variable  BANNER=");
    terminal.waits_for("prod_password)\r\n");
    terminal.waits_for("Trust it with 1 output, 1 variable and\r\n21 secrets? [y/N] ").types("n\n");

    let screen = terminal.ends_with(7);
    let columns = |line: &str| line.chars().count();
    assert!(screen.lines().all(|line| columns(line) <= 40), "{screen}");
}

#[test]
fn a_template_that_changes_while_a_question_waits_is_refused() {
    // The change happens during the question for trust.
    let project = usual();
    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" render --all");
    terminal.waits_for("Trust it with ");
    project.write("t.tmpl", "KEY={{ secrets.key }}\nX={{ secrets.other }}\n");
    terminal
        .types("y\n")
        .waits_for("error: `.secrets.toml` asks for something other than what you trusted");
    terminal.waits_for("  output `.env` from `t.tmpl` also uses: other").ends_with(7);
    assert!(!project.path(".env").exists());

    // The change happens while a missing value is asked for.
    project.write("t.tmpl", "KEY={{ secrets.key }}\nNEW={{ secrets.new }}\n");
    project.run(&["trust", "-q"]).succeeds().stdout_has("new");
    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" setup");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("Value of new: ");
    project.write("t.tmpl", "KEY={{ secrets.key }}\nNEW={{ secrets.new }}{{ secrets.other }}\n");
    terminal
        .types("value-of-new\n")
        .waits_for("  output `.env` from `t.tmpl` also uses: other")
        .ends_with(7);

    assert!(!project.path(".env").exists());

    // The typed value is stored, and the command works once the change is trusted.
    project.run(&["trust", "-q"]).succeeds().stdout_has("other");
    project.run(&["setup", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=value-of-key\nNEW=value-of-newvalue-of-other\n");
}

#[test]
fn a_manifest_that_we_write_is_trusted_as_written() {
    // Test a first manifest by each command that writes one.
    for line in [&["setup", "--new"][..], &["init", "--project-file"]] {
        let project = cloned(&[("t.tmpl", TEMPLATE)]);
        stderr!(project.run(&[&["-p", "web"], line].concat()).succeeds(), @"
        wrote `.secrets.toml` for project `web`: 1 secret, 1 output
        next: review the file, then run `secrets setup`
        ");

        project.run(&["setup", "--yes", "-q"]).succeeds();
        assert_eq!(project.read("t"), "KEY=value-of-key\n");
    }

    let project = cloned(&[("a.env", "A=value-of-a\n"), ("b.env", "B=value-of-b\n")]);
    project.run(&["-p", "web", "template", "a.env", "-q"]).succeeds();
    project.run(&["template", "b.env", "-q"]).succeeds();
    stderr!(project.run(&["check", "-q"]).fails_with(8).stdout_has("permissions"), @"
    error: 2 outputs are out of date
    hint: render outdated outputs with `secrets render --stale`
    ");

    project.run(&["render", "--stale", "-q"]).succeeds();
    project.write("a.env", "A=value-of-a\nNEW=value-of-new\n");
    project.run(&["adopt", "a.env", "-q"]).succeeds();
    project.run(&["render", "--stale", "-q"]).succeeds();

    // An addition does not make an untrusted manifest trusted.
    let project = usual();
    project.write("b.env", "B=value-of-b\n");
    let before = project.files();
    let run = project.run(&["-p", "web", "template", "b.env"]).fails_with(7);

    stderr!(run, @"
    error: `.secrets.toml` is not trusted
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");

    assert!(before == project.files());
}

/// The case from the issue: a recipe renders whenever a branch is checked out.
#[test]
fn a_strangers_branch_leaks_nothing() {
    let project = trusted();
    let recipe = "secrets render --stale -q && cat .env public/leak";
    let enter = || {
        let mut run = project.command(&[]);
        let binary = PathBuf::from(run.command.get_program());
        let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut shell = std::process::Command::new("sh");

        shell.args(["-c", recipe]).current_dir(project.path("")).env_clear();
        shell.envs(environment(&run.command)).env("PATH", path);
        run.command = shell;
        run.run()
    };

    project.git(&["init", "-q"]);
    project.git(&["add", "."]);
    project.git(&["commit", "-q", "-m", "ours"]);
    project.git(&["checkout", "-q", "-b", "theirs"]);
    project.write(
        ".secrets.toml",
        "project = \"prod\"\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"public/leak\"\nmode = \"644\"\n",
    );

    project.git(&["commit", "-q", "-a", "-m", "theirs"]);
    let run = enter().fails_with(7).stdout("");
    stderr!(run, @"
    error: `.secrets.toml` asks for something other than what you trusted
      project `prod`, previously `web`
      new output `public/leak` (mode 644) from `t.tmpl`: key
      removed output `.env`
      removed variable KEY
      removed variable HTTPS_PROXY
      no longer declares `key`
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ")
    .stderr_has(HINT);

    // The manifest is ours, but the template names another secret of ours.
    project.git(&["checkout", "-q", "-b", "subtle", "main"]);
    project.write("t.tmpl", "KEY={{ secrets.key }}\nX={{ secrets.other }}\n");
    project.git(&["commit", "-q", "-a", "-m", "subtle"]);
    stderr!(enter().fails_with(7).stdout(""), @"
    error: `.secrets.toml` asks for something other than what you trusted
      output `.env` from `t.tmpl` also uses: other
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");

    assert!(!project.path(".env").exists() && !project.path("public").exists());

    project.git(&["checkout", "-q", "main"]);
    stderr!(enter().fails_with(1).stdout("KEY=value-of-key\n"), @"cat: public/leak: No such file or directory");
}

#[test]
fn without_run_env_a_program_gets_the_secrets_of_the_manifest() {
    let project = cloned(&[(
        ".secrets.toml",
        "project = \"web\"\n[secrets.key]\n[secrets.gone]\noptional = true\n",
    )]);

    project.run(&["trust", "-q"]).succeeds().stdout_has("sha256");
    let list = project.run(&["run", "--dry-run"]).succeeds();
    list.stdout("KEY\t.secrets.toml\tkey\n");
    let template = "[[render]]\ntemplate = \"t\"\noutput = \"o\"\n";

    project.write(".secrets.toml", format!("project = \"web\"\n[secrets.gone]\n{template}"));
    project.write("t", "{{ secrets.other }}");
    project.run(&["trust", "-q"]).succeeds().stdout_has("sha256");
    stderr!(project.run(&["run", "--", "true"]).fails_with(125), @"
    error: `gone` is missing in project `web`
    hint: enter missing secrets with `secrets setup`, or select the secrets that the program needs with `--only`
    ");

    project.store("web", "gone", "value-of-gone");
    let list = project.run(&["run", "--dry-run"]).succeeds();
    list.stdout("GONE\t.secrets.toml\tgone\nOTHER\t.secrets.toml\tother\n");

    project.write(".secrets.toml", "");
    let run = project.run(&["-p", "web", "run", "--dry-run"]).succeeds().stdout("");
    stderr!(run, @"warning: `.secrets.toml` declares no secrets, so the program gets none; select some with `--only`");
    fs::remove_file(project.path(".secrets.toml")).unwrap();

    let list = project.run(&["-p", "web", "run", "--dry-run"]).succeeds();
    list.stdout("GONE\tproject\tgone\nKEY\tproject\tkey\nOTHER\tproject\tother\n");
}
