//! Consent covers exactly what was shown, and a change needs new consent.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::repository::Project;
use crate::support::terminal::Terminal;

use super::{HINT, MANIFEST, TEMPLATE, cloned, keyless, record, records, trusted, usual};

fn fingerprint(project: &Project) -> String {
    let shown = project.run(&["trust", "--show", "--json"]).succeeds().json();
    shown["sha256"].as_str().unwrap().to_owned()
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
