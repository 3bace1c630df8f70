//! `check` reports what is missing, stale or about to be committed. It changes nothing and shows no
//! value.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::support::files::set_mode;
use crate::support::repository::{MARKER, Project, TEMPLATE, simple};

/// The vault has every kind of problem at once. The most severe one is listed first.
#[test]
fn the_most_severe_finding_is_the_exit_code() {
    let manifest = "project = \"web\"\n[secrets.key]\ndescription = \"the key\"\n[secrets.dsn]\noptional = true\n[secrets.idle]\n\
        [[render]]\ntemplate = \".env.tmpl\"\noutput = \".env\"\n[[render]]\ntemplate = \"b.tmpl\"\noutput = \"b\"\n\
        [run.env]\nDSN = \"{{ secrets.dsn }}\"\n";
    let project = Project::in_git(&[
        (".secrets.toml", manifest),
        (".env.tmpl", TEMPLATE),
        ("b.tmpl", "{{ secrets.extra }} {{EXTRA}}"),
        ("b", "old"),
        ("src/x", "{{ secrets.from-code }}"),
        (".gitignore", "/.env\n"),
    ]);

    project.store("web", "extra", MARKER);
    project.store("web", "stored-only", MARKER);
    project.store("web", "from-code", MARKER);
    let check = |code: i32, rows: &str, words: &str| {
        project.changes_nothing(&["check"]).fails_with(code).stdout(rows).stderr(words);
    };

    let text = "undeclared\textra\tb.tmpl:1:1 and 1 more\n";
    let unused = "unused\tstored-only\tstored, but nothing refers to it\n";
    let idle = "unused\tidle\tdeclared, but nothing refers to it\n";
    let optional = "optional\tdsn\t.secrets.toml:14:8\n";

    check(
        3,
        &format!(
            "missing\tkey\t\"the key\"\nmissing\tidle\t\n{optional}{text}{unused}unknown\t.env\tone of its secrets is missing\nstale\tb\trendered from b.tmpl\nexposed\tb\tgit does not ignore it\n"
        ),
        "error: 2 secrets are missing\nhint: enter missing secrets with `secrets setup`\n",
    );

    project.store("web", "KEY", MARKER);
    project.store("web", "idle", MARKER);
    let known = format!("{optional}{text}{idle}{unused}");
    check(
        8,
        &format!(
            "{known}stale\t.env\tdoes not exist\nstale\tb\trendered from b.tmpl\nexposed\tb\tgit \
             does not ignore it\n"
        ),
        "error: 2 outputs are out of date\nhint: render outdated outputs with `secrets setup`, \
         which asks before it replaces a file that `secrets` did not write\n",
    );

    project.run(&["render", "--stale", "-q", "--yes"]).succeeds();
    fs::set_permissions(project.path("b"), Permissions::from_mode(0o644)).unwrap();
    check(
        8,
        &format!("{known}stale\tb\tpermissions too wide\nexposed\tb\tgit does not ignore it\n"),
        "error: an output is out of date\nhint: render outdated outputs with `secrets render \
         --stale`\n",
    );

    project.run(&["render", "--stale", "-q"]).succeeds();
    check(
        7,
        &format!("{known}exposed\tb\tgit does not ignore it\n"),
        "error: an output is not ignored by git\nhint: add outputs to .gitignore with `secrets \
         setup`\n",
    );

    project.git(&["add", "-f", ".env"]);
    check(
        7,
        &format!(
            "{known}tracked\t.env\tthe next commit would include it\nexposed\tb\tgit does not \
             ignore it\n"
        ),
        "error: an output is tracked by git\nhint: remove outputs from git with `git rm --cached \
         .env`, and change every value that was committed\n",
    );

    project.git(&["rm", "-q", "--cached", ".env"]);
    project.run(&["setup", "--yes", "-q"]).succeeds();
    check(
        0,
        &known,
        "project `web` has everything it needs and is up to date: 4 secrets, 2 \
                      outputs\n",
    );

    stderr!(project.run(&["check", "-q", "-p", "elsewhere"]).fails_with(3).stdout_has("missing\tkey"), @"
    error: 3 secrets are missing
    hint: enter missing secrets with `secrets -p elsewhere setup`
    ");
}

#[test]
fn json_has_the_findings_on_stdout_and_the_failure_on_stderr() {
    let project = simple();
    let run = project.changes_nothing(&["check", "--json"]).fails_with(8);
    let expected = concat!(
        r#"{"due":[],"exit":8,"manifest":".secrets.toml","missing":[],"optional":[],"#,
        r#""outputs":[{"git":"exposed","output":".env","state":"missing","template":".env.tmpl"}],"#,
        r#""project":"web","undeclared":[],"unused":[],"version":1}"#
    );

    let run = stderr!(run, @r#"{"type":"CONFLICT","message":"an output is out of date","details":{"hints":["render outdated outputs with `secrets render --stale`"]}}"#);
    assert_eq!(run.json().to_string(), expected);
    project.run(&["setup", "--yes", "-q"]).succeeds();
    let document = project.changes_nothing(&["check", "--json"]).succeeds().json();

    assert_eq!((&document["exit"], &document["outputs"][0]["git"]), (&0.into(), &"ignored".into()));
    project.write(".secrets.toml", "[secrets.gone]\ndescription = \"d\"\ngenerate = {}\n");
    let run = stderr!(project.changes_nothing(&["check", "--json"]).fails_with(3), @r#"{"type":"NOT_FOUND","message":"a secret is missing","details":{"hints":["enter missing secrets with `secrets setup`"]}}"#);
    let missing = run.json()["missing"].to_string();

    assert_eq!(missing, r#"[{"description":"d","generated":true,"references":[],"tag":"gone"}]"#);
}

#[test]
fn a_template_with_two_outputs_is_checked_for_both() {
    let twice = "[[render]]\ntemplate = \"t\"\noutput = \"one\"\ndelimiters = \"[[,]]\"\n[[render]]\ntemplate = \"t\"\noutput = \"two\"\n";
    let project =
        Project::new(&[(".secrets.toml", twice), ("t", "{{ secrets.key }} [[ secrets.other ]]")]);
    project.store("default", "key", MARKER);
    project.write("two", format!("{MARKER} [[ secrets.other ]]"));
    set_mode(&project.path("two"), 0o600);

    let run = stderr!(project.changes_nothing(&["check"]).fails_with(3), @"
    error: a secret is missing
    hint: enter missing secrets with `secrets setup`
    ");

    run.stdout(
        "missing\tother\tt:1:19\nundeclared\tkey\tt:1:1\nunknown\tone\tone of its secrets is \
         missing\n",
    );
}

#[test]
fn an_output_that_cannot_be_checked_is_a_failure() {
    let project = simple();
    project.write(".env.tmpl", "KEY={{ secrets.key | nothing }}\n");
    stderr!(project.changes_nothing(&["check"]).fails_with(2).stdout(""), @"
    error: invalid placeholder
    .env.tmpl:1:5: unknown filter; the filters are json, shell, url, base64, trim, dotenv, totp
        KEY={{ secrets.key | nothing }}
            ^
    hint: fix it, or set other `delimiters` for the template in `.secrets.toml`; nothing was written
    ");

    fs::remove_file(project.path(".env.tmpl")).unwrap();
    stderr!(project.changes_nothing(&["check"]).fails_with(1).stdout(""), @"error: cannot read `.env.tmpl`: No such file or directory");
    let project = simple();
    fs::create_dir(project.path(".env")).unwrap();
    stderr!(project.changes_nothing(&["check"]).fails_with(7).stdout(""), @"
    error: `.env` is a directory
    hint: move it away, or choose another file in `.secrets.toml`; nothing was written
    ");

    let project = simple();
    let locked = project.command(&["check"]).without_env("SECRETS_PASSPHRASE").run().fails_with(5);
    stderr!(locked.stdout(""), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    fs::remove_file(project.0.vault_path()).unwrap();
    for command in ["check", "setup"] {
        let before = project.files();
        stderr!(project.run(&[command]).fails_with(3).stdout(""), @"
        error: no vault at `[dir]/vault.db`
        hint: create one with `secrets init`, or restore a backup with `secrets restore PATH`
        ");

        assert_eq!(before, project.files());
        assert!(!project.0.vault_path().exists());
    }
}
