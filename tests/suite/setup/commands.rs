//! `run`, `delete` and `update` use the manifest too.

use std::fs;

use crate::support::repository::{MARKER, Project, simple};

#[test]
fn run_gives_exactly_the_variables_of_run_env_and_skips_optional_secrets() {
    let manifest = "project = \"web\"\n[secrets.dsn]\noptional = true\n[run.env]\nURL = \"pg://{{ secrets.key }}@h\"\n\
        DSN = \"{{ secrets.dsn }}\"\nBOTH = \"{{ secrets.key }} {{ secrets.dsn }}\"\nPLAIN = \"1\"\n";
    let project = Project::new(&[(".secrets.toml", manifest)]);
    stderr!(project.run(&["run", "--", "true"]).fails_with(125).stdout(""), @"
    error: a placeholder refers to a secret that does not exist in project `web`
    .secrets.toml:5 URL:1:6: `key`
    hint: store it with `secrets create key`
    ");

    project.store("web", "key", MARKER);
    project.store("web", "unrelated", "an unrelated value");
    let print = [
        "run",
        "--clean-env",
        "--",
        "sh",
        "-c",
        "env | grep -v -e ^PWD= -e ^HOME= -e ^PATH= -e ^XDG_ -e ^TZ= -e ^_= -e ^SHLVL= | sort",
    ];

    project.run(&print).succeeds().stdout("PLAIN=1\nURL=pg://‹key›@h\n");
    project
        .run(&[
            "run",
            "--",
            "sh",
            "-c",
            &format!("test \"$URL\" = pg://{MARKER}@h && test -z \"$KEY$UNRELATED$DSN\""),
        ])
        .succeeds();

    let rows = "PLAIN\t.secrets.toml:8\t\nURL\t.secrets.toml:5\tkey\n";
    project.run(&["run", "--dry-run"]).succeeds().stdout(rows);
    project.store("web", "dsn", "dsn-value");
    project.run(&print).succeeds().stdout_has("BOTH=‹key› ‹dsn›\nDSN=‹dsn›\n");

    // Explicit options replace the table.
    project
        .run(&["run", "--clean-env", "--only", "dsn", "--dry-run"])
        .succeeds()
        .stdout("DSN\t--only\tdsn\n");

    project.run(&["run", "--env", "A={{DSN}}", "--dry-run"]).succeeds().stdout("A\t--env\tdsn\n");

    // An empty table gives nothing. Without one, the program gets the declared secrets.
    project.write(".secrets.toml", "project = \"web\"\n[run.env]\n");
    project.run(&["run", "--dry-run"]).succeeds().stdout("");
    project.write(".secrets.toml", "project = \"web\"\n[secrets.dsn]\n");
    project.run(&["run", "--dry-run"]).succeeds().stdout("DSN\t.secrets.toml\tdsn\n");

    // A file from a clone cannot set variables that control programs.
    project.write(".secrets.toml", "[run.env]\nLD_PRELOAD = \"./evil.so\"\n");
    stderr!(project.run(&["run", "--", "true"]).fails_with(125).stdout(""), @"
    error: .secrets.toml:2:1: `LD_PRELOAD` can change what programs run; only `run --env` can set it
    hint: see `secrets setup --help` for what the file can contain; it never holds a value
    ");
}

#[test]
fn a_secret_that_the_tree_refers_to_is_deleted_only_with_force() {
    let project = simple();
    project.store("web", "unused", "x");
    project.store("other", "key", "x");
    let refusal = "error: 2 places refer to `key`\n.env.tmpl:1:5: key\n.secrets.toml:2:10: key \
                   (declared)\nhint: delete it anyway with `--force`; nothing was deleted\n";

    for arguments in [
        &["delete", "KEY", "--yes"][..],
        &["delete", "unused", "key", "-y"],
        &["project", "delete", "web", "--yes"],
        &["project", "delete", "other", "web", "-y"],
    ] {
        project.changes_nothing(arguments).fails_with(7).stdout("").stderr(refusal);
    }

    let error =
        project.changes_nothing(&["delete", "key", "-y", "--json"]).fails_with(7).json_error();
    assert_eq!(error["details"]["references"][0]["file"], ".env.tmpl");
    let id = project.0.vault().list(None, |secret| secret.tag.as_str() == "key").unwrap();
    let ours = id.iter().find(|secret| secret.project.as_str() == "web").unwrap().id.to_string();

    project.changes_nothing(&["delete", &ours, "-y"]).fails_with(7).stderr(refusal);

    // The tree has no claim to another project's secret with the same tag, nor to one that nothing
    // refers to.
    project.run(&["delete", "-p", "other", "key", "-y", "-q"]).succeeds();
    project.run(&["delete", "unused", "-y", "-q"]).succeeds();

    // A tree in another directory does not count.
    let elsewhere = project.0.command(["delete", "-p", "web", "key"]).run().fails_with(7);
    stderr!(elsewhere, @"
    error: deleting requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    stderr!(project.run(&["delete", "key", "-y", "--force"]).succeeds(), @"deleted `key` of project `web`");
    project.store("web", "key", MARKER);
    let run = project.run(&["project", "delete", "web", "-y", "--force"]).succeeds();
    stderr!(run, @"deleted project `web` with its 1 secret");
}

#[test]
fn update_names_the_outputs_that_are_out_of_date_now() {
    let project = simple();
    let update = |arguments: &[&str]| {
        project
            .command(&[&["update", "key"], arguments].concat())
            .stdin("a new value of it")
            .run()
            .without("a new")
    };

    // The output does not exist yet.
    stderr!(update(&[]).succeeds(), @"updated `key` in project `web`, hint a …it");
    let run = project.run(&["setup", "--yes", "-q"]).succeeds();
    stderr!(run, @"warning: `.env`: `bash` reads a different value for `KEY`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file");
    let stale = "`.env` is now out of date; render it with `secrets render --stale`\n";

    update(&[]).succeeds().stderr_has(stale);
    let (_, _, text) = update(&["--name", "x"]).everything();
    assert!(!text.contains("out of date"), "{text}");
    project.run(&["render", "--stale", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=a new value of it\n");

    // The value is stored even if the manifest cannot be used.
    fs::remove_file(project.path(".env.tmpl")).unwrap();
    stderr!(update(&[]).succeeds(), @"
    updated `key` in project `web`, hint a …it
    warning: cannot determine which outputs are now out of date: cannot read `.env.tmpl`: No such file or directory
    ");
}
