//! A manifest that nobody trusts is not used, and a stranger's branch leaks nothing.

use std::fs;
use std::path::PathBuf;

use crate::support::Sandbox;
use crate::support::programs::environment;

use super::{HINT, cloned, keyless, trusted, usual};

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
