//! `setup`, `setup --new` and `render --all`: from a fresh clone to working files, in any state of
//! git and the tree.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use crate::support::faults::Small;
use crate::support::files::names;
use crate::support::programs::environment;
use crate::support::repository::{MANIFEST, MARKER, Project, TEMPLATE, differences, simple};
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

#[test]
fn missing_secrets_come_from_a_file_or_a_generator_and_a_second_run_changes_nothing() {
    let project = Project::in_git(&[
        (
            ".secrets.toml",
            "project = \"web\"\n[secrets.url]\n[secrets.session]\ngenerate = { length = 64, alphabet = \"hex\" }\n\
             [secrets.short]\ngenerate = {}\n[secrets.dsn]\noptional = true\n\
             [[render]]\ntemplate = \"c/app.tmpl\"\noutput = \"new/dir/app.env\"\nmode = \"640\"\n",
        ),
        ("c/app.tmpl", "{{ secrets.url }} {{SESSION}} {{ secrets.short }}\n"),
    ]);

    project.0.write("old.env", format!("URL={MARKER}\nOTHER=x\nEMPTY=\n"));
    let run = project.run(&["setup", "--from", "../old.env", "--yes"]).succeeds().stdout("");
    run.stderr_has("added `/new/dir/app.env` to .gitignore\nwrote `new/dir/app.env`\nproject `web` is set up: 4 secrets, 1 output\n");
    let (session, short) =
        (project.stored("web", "session").unwrap(), project.stored("web", "short").unwrap());
    assert!(session.len() == 64 && session.bytes().all(|b| b.is_ascii_hexdigit()), "{session}");
    assert!(short.len() == 32 && project.stored("web", "dsn").is_none());
    assert_eq!(project.read("new/dir/app.env"), format!("{MARKER} {session} {short}\n"));
    assert_eq!(fs::metadata(project.path("new/dir/app.env")).unwrap().mode() & 0o777, 0o640);

    for from in [&["setup"][..], &["setup", "--from", "../old.env"], &["setup", "--yes"]] {
        let run = project.changes_nothing(from).succeeds().stdout("");
        run.stderr_has(
            "`new/dir/app.env` is up to date\nproject `web` is set up: 4 secrets, 1 output\n",
        );
    }

    let json = project.changes_nothing(&["setup", "--json"]).succeeds().json();
    let expected = r#"{"gitignore":[],"outputs":[{"output":"new/dir/app.env","state":"current"}],"project":"web","secrets":[]}"#;
    assert_eq!(json.to_string(), expected);
}

/// `--from` reads the templates, so it needs trust first. A template may be a FIFO that nobody
/// writes to.
#[test]
fn no_template_is_read_before_the_directory_is_trusted() {
    let project = Project(Sandbox::new().without_trust());
    fs::create_dir(project.path("")).unwrap();
    project.write(".secrets.toml", MANIFEST);
    project.write("v.env", "KEY=x\n");
    assert!(Command::new("mkfifo").arg(project.path("pipe")).status().unwrap().success());
    symlink("pipe", project.path(".env.tmpl")).unwrap();
    stderr!(project.changes_nothing(&["setup", "--from", "v.env"]).fails_with(7), @"
    error: `.secrets.toml` is not trusted
    hint: review it with `secrets trust --show`, then trust it with `secrets trust`
    ");

    project.run(&["trust", "-q"]).succeeds().stdout_has("`.env.tmpl`");
    let run = project.changes_nothing(&["setup", "--from", "v.env"]).fails_with(1);
    stderr!(run, @"error: cannot read `.env.tmpl`: it is not a regular file");
}

#[test]
fn a_name_with_dots_gets_the_same_tag_as_in_template() {
    let project = Project::new(&[("a.env", &format!("x.y.z={MARKER}\n"))]);
    stderr!(project.run(&["-p", "web", "template", "a.env", "-q"]).succeeds(), @"warning: `a.env`: `bash` cannot have a variable named `x.y.z`; list the programs that read the file in `readers`");
    fs::rename(project.path("a.env"), project.path("old.env")).unwrap();
    project.run(&["delete", "x_y_z", "--yes", "--force", "-q"]).succeeds();
    stderr!(project.run(&["setup", "--from", "old.env", "-q"]).succeeds(), @"warning: `a.env`: `bash` cannot have a variable named `x.y.z`; list the programs that read the file in `readers`");
    assert_eq!(project.stored("web", "x_y_z").as_deref(), Some(MARKER));
    assert_eq!(project.read("a.env"), format!("x.y.z={MARKER}\n"));
}

#[test]
fn without_a_terminal_missing_secrets_are_listed_and_nothing_changes() {
    let manifest = "project = \"web\"\n[secrets.a]\ndescription = \"first\\nof two\"\n[secrets.b]\n[secrets.g]\ngenerate = {}\n\
        [secrets.o]\noptional = true\n[run.env]\nX = \"{{ secrets.c }}\"\n\
        [[render]]\ntemplate = \"t.tmpl\"\noutput = \"out\"\n";
    let project = Project::in_git(&[
        (".secrets.toml", manifest),
        ("t.tmpl", "{{ secrets.o }} {{ secrets.a }}"),
    ]);

    project.0.write("some.env", format!("B={MARKER}\n"));
    for yes in
        [&["setup", "--from", "../some.env"][..], &["setup", "--from", "../some.env", "--yes"]]
    {
        // `o` is optional, but the output needs it.
        stderr!(project.changes_nothing(yes).fails_with(3).stdout(""), @r#"
        error: 3 secrets are missing in project `web`
          a: "first of two"
          o
          c
        hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
        "#);
    }

    let error = project.changes_nothing(&["setup", "--json"]).fails_with(3).json_error();
    assert_eq!(
        (&error["type"], error["details"]["missing"].as_array().unwrap().len()),
        (&"NOT_FOUND".into(), 4)
    );

    // The file has all missing values, so no question is left.
    project.0.write("all.env", format!("a={MARKER}\nB=b\nC=c\no=o\n"));
    project.run(&["setup", "-q", "--from", "../all.env", "--yes"]).succeeds();
    assert_eq!(project.read("out"), format!("o {MARKER}"));
}

#[test]
fn another_name_in_a_file_gives_a_secret_only_if_it_holds_the_whole_value() {
    let manifest = "project = \"web\"\n[run.env]\nPGPASSWORD = \"{{ secrets.db-password }}\"\n\
        [[render]]\ntemplate = \"t.env\"\noutput = \"out\"\n";
    let template = "STRIPE=\"{{ secrets.stripe-key | json }}\"\nURL={{ secrets.host-password }}@host/db\n\
        ENC={{ secrets.encoded | base64 }}\nBOTH={{ secrets.one }}{{ secrets.two }}\n";
    let project = Project::new(&[(".secrets.toml", manifest), ("t.env", template)]);
    let given =
        "PGPASSWORD=1\nSTRIPE=2\nURL=3@host/db\nENC=NA==\nBOTH=56\nEMPTY=\none=\ntwo=\ntwo=6\n";
    project.0.write("old.env", given);

    let run = project.changes_nothing(&["setup", "--from", "../old.env", "--yes"]).fails_with(3);
    stderr!(run.stdout(""), @"
    error: 2 secrets are missing in project `web`
      host-password
      encoded
    hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    ");

    project.0.write("old.env", format!("{given}host_password=3\nencoded=4\nONE=5\nPGPASSWORD=\n"));
    project.run(&["setup", "-q", "--from", "../old.env", "--yes"]).succeeds();
    assert_eq!(project.read("out"), "STRIPE=\"2\"\nURL=3@host/db\nENC=NA==\nBOTH=56\n");

    // An empty value counts as a value.
    assert_eq!(project.stored("web", "db-password").unwrap(), "");
}

#[test]
fn a_file_that_differs_is_replaced_only_with_yes() {
    let project = simple();
    let needs = |what: &str| {
        format!(
            "error: {what} requires `--yes` if there is no terminal to ask on\nhint: add `--yes` \
             to confirm; nothing was changed\n"
        )
    };

    project.write(".env", "written by hand");
    project.changes_nothing(&["setup"]).fails_with(7).stderr(&needs("replacing `.env`"));
    project.write(".gitignore", ".env");
    project.changes_nothing(&["setup"]).fails_with(7).stderr(&needs("replacing `.env`"));
    project.run(&["setup", "--yes", "-q"]).succeeds();
    assert_eq!(
        (project.read(".env"), project.read(".gitignore")),
        (format!("KEY={MARKER}\n"), ".env".into())
    );

    // A mode that is too wide is narrowed without a question.
    fs::set_permissions(project.path(".env"), fs::Permissions::from_mode(0o644)).unwrap();
    stderr!(project.run(&["setup"]).succeeds(), @"
    changed the mode of `.env`, which is up to date
    project `web` is set up: 1 secret, 1 output
    ");

    // A missing output replaces nothing.
    fs::remove_file(project.path(".env")).unwrap();
    stderr!(project.run(&["setup"]).succeeds(), @"
    wrote `.env`
    project `web` is set up: 1 secret, 1 output
    ");

    project.changes_nothing(&["setup", "-q"]).succeeds();
}

/// `.gitignore` before (if it exists) and after.
#[test]
fn gitignore_gets_a_line_only_if_it_needs_one() {
    for (before, after) in [
        (None, "/.env\n"),
        (Some(""), "/.env\n"),
        (Some(".env\n"), ".env\n"),
        (Some("*.log\n"), "*.log\n/.env\n"),
        (Some("*.log"), "*.log\n/.env\n"),
        (Some("*.log\r\n"), "*.log\r\n/.env\r\n"),
        (Some("*.log\r\nx"), "*.log\r\nx\r\n/.env\r\n"),
        (Some(".env\n!.env\n"), ".env\n!.env\n/.env\n"),
        (Some("*\n!.env\n"), "*\n!.env\n/.env\n"),
        (Some("# .env"), "# .env\n/.env\n"),
    ] {
        let project = simple();
        if let Some(before) = before {
            project.write(".gitignore", before);
        }
        project.run(&["setup", "--yes", "-q"]).succeeds();
        assert_eq!(project.read(".gitignore"), after, "{before:?}");
        project.changes_nothing(&["setup", "-q"]).succeeds();
        project.run(&["check", "-q"]).succeeds();
        assert!(!project.git(&["status", "--porcelain", "-uall"]).contains(".env\n"));
    }
}

#[test]
fn other_ignore_rules_count() {
    for (rule, content) in [(".git/info/exclude", ".env\n"), ("../.config/git/ignore", ".env\n")] {
        let project = simple();
        project.write(rule, content);
        project.run(&["setup", "-q"]).succeeds();
        assert!(!project.path(".gitignore").exists(), "{rule}");
    }

    // The manifest is below the repository's root. The root's rules apply there, and new rules are
    // added next to the manifest.
    for (root, added) in [
        ("app/.env\n", None),
        ("*.log\n", Some("/.env\n")),
        (".env\n!/app/.env\n", Some("/.env\n")),
    ] {
        let project =
            Project::in_git(&[("app/.secrets.toml", MANIFEST), ("app/.env.tmpl", TEMPLATE)]);
        project.write(".gitignore", root);
        project.store("web", "key", MARKER);
        // Run it in a subdirectory.
        fs::create_dir(project.path("app/deep")).unwrap();
        let setup =
            project.command(&["setup", "--yes", "-q"]).current_dir(project.path("app/deep"));
        setup.run().without(MARKER).succeeds();
        assert_eq!(
            fs::read_to_string(project.path("app/.gitignore")).ok().as_deref(),
            added,
            "{root}"
        );
        assert_eq!(
            (project.read(".gitignore").as_str(), project.read("app/.env")),
            (root, format!("KEY={MARKER}\n"))
        );
        assert!(!project.git(&["status", "--porcelain", "-uall"]).contains(".env\n"));
    }
}

#[test]
fn a_nested_rule_that_unignores_an_output_is_refused_before_anything_changes() {
    let manifest = "[secrets.key]\ngenerate = {}\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"conf/app.env\"\n";
    let project = Project::in_git(&[
        (".secrets.toml", manifest),
        ("t.tmpl", TEMPLATE),
        ("conf/.gitignore", "!*.env\n"),
    ]);

    stderr!(project.changes_nothing(&["setup", "--yes"]).fails_with(7), @"
    error: git does not ignore `conf/app.env` despite .gitignore: a rule in `conf/.gitignore` includes it again
    hint: remove that rule from `conf/.gitignore`; nothing was changed
    ");

    project.write("conf/.gitignore", "!*.env\napp.env\n");
    project.run(&["setup", "-q"]).succeeds();
}

#[test]
fn an_output_below_a_link_is_ignored_under_its_real_path() {
    let manifest = "project = \"web\"\n[secrets.key]\ngenerate = {}\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"d/o\"\n\
                    [[render]]\ntemplate = \"t.tmpl\"\noutput = \"d/new/p\"\n";
    let project =
        Project::in_git(&[(".secrets.toml", manifest), ("t.tmpl", TEMPLATE), ("sub/kept", "x\n")]);
    symlink("sub", project.path("d")).unwrap();
    project.git(&["add", "-A"]);
    project
        .run(&["setup"])
        .succeeds()
        .stderr_has("added `/sub/o` to .gitignore\nadded `/sub/new/p` to .gitignore\n");

    assert_eq!(project.read(".gitignore"), "/sub/o\n/sub/new/p\n");
    assert_eq!(project.git(&["add", "-A", "-n"]), "add '.gitignore'\n");
    project.run(&["check", "-q"]).succeeds();
    project.changes_nothing(&["setup", "-q"]).succeeds();

    // The file is tracked under its real path, and the command of the hint works.
    project.git(&["add", "-f", "sub/o"]);
    stderr!(project.run(&["check"]).fails_with(7).stdout("tracked\td/o\tthe next commit would \
                                                          include it\n"), @"
    error: an output is tracked by git
    hint: remove outputs from git with `git rm --cached sub/o`, and change every value that was committed
    ");

    stderr!(project.changes_nothing(&["setup"]).fails_with(7), @"
    error: `sub/o` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached sub/o`; nothing was changed
    ");

    stderr!(project.changes_nothing(&["render", "t.tmpl", "-o", "d/o"]).fails_with(7), @"
    error: `d/o` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached sub/o`, or write it anyway with `--force`
    ");

    project.git(&["rm", "-q", "--cached", "sub/o"]);
    let exposed = "warning: git does not ignore `sub/q`: add it to .gitignore before the next commit\nwrote `d/q`\n";
    project.run(&["render", "t.tmpl", "-o", "d/q"]).succeeds().stderr(exposed);
    project.write(".gitignore", "/d/q\n");
    project
        .run(&["render", "t.tmpl", "-o", "d/q"])
        .succeeds()
        .stderr_has("git does not ignore `sub/q`");

    project.write(".gitignore", "/sub/q\n");
    stderr!(project.run(&["render", "t.tmpl", "-o", "d/q"]).succeeds(), @"`d/q` is up to date");
}

#[test]
fn an_output_that_git_tracks_is_refused_before_anything_changes() {
    let manifest = MANIFEST.replace("[secrets.key]", "[secrets.key]\ngenerate = {}");
    let project = Project::in_git(&[
        (".secrets.toml", &*manifest),
        (".env.tmpl", TEMPLATE),
        (".env", "KEY=old\n"),
    ]);

    project.write(".gitignore", ".env\n");
    project.git(&["add", "-f", "."]);
    for yes in [&["setup"][..], &["setup", "--yes"]] {
        stderr!(project.changes_nothing(yes).fails_with(7), @"
        error: `.env` is tracked by git: the next commit would publish its content
        hint: remove it from git with `git rm --cached .env`; nothing was changed
        ");
    }

    project.git(&["rm", "-q", "--cached", ".env"]);
    project.run(&["setup", "--yes", "-q"]).succeeds();
}

#[test]
fn a_gitignore_that_is_not_a_file_is_refused_before_anything_changes() {
    let manifest = MANIFEST.replace("[secrets.key]", "[secrets.key]\ngenerate = {}");
    for kind in ["link", "broken link", "directory"] {
        let project = Project::in_git(&[
            (".secrets.toml", &*manifest),
            (".env.tmpl", TEMPLATE),
            ("rules", "*.log\n"),
        ]);

        match kind {
            "link" => symlink("rules", project.path(".gitignore")).unwrap(),
            "broken link" => symlink("nothing", project.path(".gitignore")).unwrap(),
            _ => fs::create_dir(project.path(".gitignore")).unwrap(),
        }

        let run = project.changes_nothing(&["setup", "--yes"]).fails_with(7);
        stderr!(run, @"
        error: `.gitignore` is not a regular file
        hint: move it away, or choose another file in `.secrets.toml`; nothing was written
        ");

        // If nothing has to be added, it may be any kind of file.
        project.write(".git/info/exclude", ".env\n");
        project.run(&["setup", "--yes", "-q"]).succeeds();
    }
}

#[test]
fn setup_works_without_a_git_program() {
    let bare = |project: &Project| project.command(&["setup", "--yes"]).env("PATH", "/nonexistent");
    let project = Project::new(&[(".secrets.toml", MANIFEST), (".env.tmpl", TEMPLATE)]);
    project.store("web", "key", MARKER);

    // `setsid` is found through one PATH, and the program runs with another.
    let run = |project: &Project| {
        project.0.trust(&project.path(""));
        let mut prepared = bare(project);
        prepared.command.env("PATH", "/nonexistent");
        let output = Command::new("/usr/bin/env")
            .args(["-i"])
            .args(prepared.command.get_envs().map(|(name, value)| {
                let mut pair = name.to_owned();
                pair.push("=");
                pair.push(value.unwrap_or_default());
                pair
            }))
            .args(["/usr/bin/setsid", "--wait"])
            .arg(prepared.command.get_program())
            .args(["setup", "--yes"])
            .current_dir(project.path(""))
            .output()
            .unwrap();

        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };

    let text = "wrote `.env`\nproject `web` is set up: 1 secret, 1 output\n";
    assert_eq!(run(&project), (0, text.into()));
    assert!(!project.path(".gitignore").exists());
    let project = simple();
    let before = project.files();
    let text = format!("added `/.env` to .gitignore\n{text}");

    assert_eq!(run(&project), (0, text));
    assert_ne!(before, project.files());
}

#[test]
fn a_repository_of_another_user_is_read_like_any_other() {
    let project = simple();
    let chown = |path| std::os::unix::fs::chown(path, Some(65_534), Some(65_534));
    for path in [".git", ".git/config", ".git/HEAD"] {
        if chown(project.path(path)).is_err() {
            return; // only root can change the owner
        }
    }

    project.run(&["setup", "--yes", "-q"]).succeeds();
    assert_eq!(project.read(".gitignore"), "/.env\n");
    project.run(&["check", "-q"]).succeeds();
}

#[test]
fn an_ignore_rule_matches_only_its_output() {
    let names = [
        "a b",
        " leading",
        "trailing ",
        "#hash",
        "!bang",
        "st*ar",
        "quest?ion",
        "[set]",
        "back\\slash",
        "tab\there",
        "new\nline",
        "\nfirst",
        "return\r",
        "quo\"te",
        "émoji 🔑",
        "-dash",
        "sub dir/#!* ",
        "~",
        "$HOME",
        "a\\",
    ];

    for name in names {
        let project = Project::in_git(&[
            ("t.tmpl", TEMPLATE),
            ("line", ""),
            ("staar", ""),
            ("questXion", ""),
            ("s", ""),
        ]);

        project.store("default", "key", MARKER);
        let quoted = serde_json::to_string(name).unwrap();
        project.write(
            ".secrets.toml",
            format!("[[render]]\ntemplate = \"t.tmpl\"\noutput = {quoted}\n"),
        );

        let seen = project.git(&["status", "--porcelain", "-uall", "-z"]);
        project.run(&["setup", "--yes", "-q"]).succeeds();
        assert_eq!(project.read(name), format!("KEY={MARKER}\n"), "{name:?}");
        let now = project.git(&["status", "--porcelain", "-uall", "-z"]);
        let now: Vec<&str> = now.split('\0').filter(|line| *line != "?? .gitignore").collect();

        assert_eq!(now, seen.split('\0').collect::<Vec<_>>(), "{name:?}");
        project.run(&["check", "-q"]).succeeds().stdout_has("undeclared\tkey\t");
        project.changes_nothing(&["setup", "-q"]).succeeds();
        project.git(&["add", "-f", "."]);

        let run = project.changes_nothing(&["setup", "--yes"]).fails_with(7);
        run.stderr_has("is tracked by git");
    }
}

#[test]
fn many_outputs_are_checked_together() {
    // The names together exceed a pipe's capacity.
    let mut manifest = String::from("project = \"web\"\n");
    let long = format!("{0}/{0}", "d".repeat(200));
    for n in 0..300 {
        let output = format!("o/{long}/{n}");
        manifest += &format!("[[render]]\ntemplate = \"t\"\noutput = \"{output}\"\n");
    }

    let project = Project::in_git(&[
        (".secrets.toml", &*manifest),
        ("t", "no placeholder"),
        (".gitignore", "/o/\n"),
    ]);

    project.run(&["setup", "-q"]).succeeds();
    assert_eq!(names(&project.path("o").join(&long)).len(), 300);
}

// Questions

const TWO: &str = "project = \"web\"\n[secrets.first]\ndescription = \"the first\"\n[secrets.second]\n[secrets.made]\n\
    generate = {}\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \".env\"\n";

/// Returns a project with two questions.
fn two() -> Project {
    Project::in_git(&[
        (".secrets.toml", TWO),
        ("t.tmpl", "{{ secrets.first }} {{ secrets.second }}\n"),
        (".gitignore", "x\n"),
    ])
}

/// Runs `setup` on a terminal and unlocks the vault.
fn on_a_terminal(project: &Project, script: &str) -> Terminal {
    let mut terminal = Terminal::shell(&project.0, &format!("cd repo; {script}"));
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal
}

#[test]
fn setup_asks_for_what_is_missing_hidden_and_stores_it_at_once() {
    let project = two();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("created `made` in project `web`");
    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("created `first` in project `web`, hint ");
    terminal.waits_for("Value of second: ").types("other\n");
    terminal
        .waits_for("added `/.env` to .gitignore")
        .waits_for("wrote `.env`")
        .waits_for("is set up: 3 secrets, 1 output");

    let screen = terminal.ends_with(0);
    assert!(!screen.contains(MARKER) && !screen.contains("other"), "{screen}");
    assert_eq!(project.read(".env"), format!("{MARKER} other\n"));
    project.changes_nothing(&["setup", "-q"]).succeeds();
    assert_eq!(project.0.vault().list(None, |_| true).unwrap().len(), 3);
}

#[test]
fn no_to_the_question_leaves_every_file_and_keeps_what_was_typed() {
    let project = two();
    project.write(".env", "by hand");
    let before = project.files();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");

    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("Value of second: ").types("other\n");

    // This question comes last, so that nobody types a value while the terminal echoes. Enter means
    // no if something would be lost.
    terminal.waits_for("Replace `.env`? [y/N] ").types("\n");
    terminal.waits_for("\r\n`.env` was not replaced").ends_with(7);
    assert_eq!(
        (before, project.0.vault().list(None, |_| true).unwrap().len()),
        (project.files(), 3)
    );

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Replace `.env`? [y/N] ").types("y\n").waits_for("is set up").ends_with(0);
}

#[test]
fn a_value_of_several_lines_is_left_for_later() {
    let project = two();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Value of first: ").types("-----BEGIN\nabc\n-----END\n");
    terminal.waits_for("skipped; store it with\r\n`secrets create first --value-file PATH`");
    terminal.waits_for("Value of second: ").types("a\x1b[Db\n").waits_for("try again");
    terminal.waits_for("Value of second: ").types(MARKER).types("\n");

    let screen = terminal.waits_for("error: `first` is missing in project `web`").ends_with(3);
    assert!(!screen.contains(MARKER) && !screen.contains("BEGIN"), "{screen}");
}

#[test]
fn enter_leaves_a_secret_for_later() {
    let project = two();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of first: ").types("\n");
    terminal.waits_for("Value of second: ").types(MARKER).types("\n");

    let screen = terminal.waits_for("error: `first` is missing in project `web`").ends_with(3);
    assert!(!screen.contains(MARKER), "{screen}");
    assert!(!project.path(".env").exists() && project.read(".gitignore") == "x\n");
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");

    terminal.waits_for("Value of first: ").types("1\n");
    let screen = terminal.waits_for("is set up").ends_with(0);
    assert!(!screen.contains("Value of second"), "{screen}");
    assert_eq!(project.read(".env"), format!("1 {MARKER}\n"));
}

#[test]
fn ctrl_c_at_the_second_question_keeps_the_first_answer_and_a_second_run_resumes() {
    let project = two();
    let before = project.files();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("Value of second: ").types("half\x03");

    let screen = terminal.ends_with(130);
    assert!(!screen.contains(MARKER) && !screen.contains("half"), "{screen}");
    assert_eq!(before, project.files());
    let made = project.stored("web", "made").unwrap();

    assert_eq!(
        (project.stored("web", "first").as_deref(), project.stored("web", "second")),
        (Some(MARKER), None)
    );

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of second: ").types("2\n").waits_for("is set up");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("Value of first"), "{screen}");
    assert_eq!(project.read(".env"), format!("{MARKER} 2\n"));
    assert_eq!(project.stored("web", "made").unwrap(), made);
}

#[test]
fn a_kill_at_the_second_question_keeps_the_first_answer_and_a_second_run_resumes() {
    use rustix::process::{Pid, Signal, kill_process};
    let project = two();
    let before = project.files();

    // A killed process leaves the terminal in the state of the question.
    let script =
        "sh -c 'echo $$ > ../pid; exec \"$secrets\" setup --yes'; code=$?; stty sane; (exit $code)";
    let mut terminal = on_a_terminal(&project, script);
    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("Value of second: ");

    let pid = String::from_utf8(project.0.read("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    terminal.ends_with(137);
    assert_eq!(before, project.files());
    stderr!(project.changes_nothing(&["setup"]).fails_with(3), @"
    error: `second` is missing in project `web`
      second
    hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    ");

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of second: ").types("2\n").waits_for("is set up").ends_with(0);
    assert_eq!(project.read(".env"), format!("{MARKER} 2\n"));
}

#[test]
fn a_description_cannot_control_the_terminal() {
    let manifest = "[secrets.a]\ndescription = \"x\\u202Ey\\nz\\u200B\"\n";
    let project = Project::new(&[(".secrets.toml", manifest)]);
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("`.secrets.toml` says: \"x\\u{202e}y z").waits_for("Value of a: ");

    let screen = terminal.types("\x03").ends_with(130);
    assert!(!screen.contains('\u{202e}') && !screen.contains('\u{200b}'), "{screen}");
    let (_, stdout, stderr) = project.run(&["check"]).everything();
    let all = String::from_utf8(stdout).unwrap() + &stderr;

    assert!(
        !all.contains('\u{202e}') && !all.contains('\u{200b}') && all.contains("x\\u{202e}y"),
        "{all}"
    );
}

#[test]
fn a_description_cannot_imitate_a_question() {
    // With enough blanks, its end would appear where our questions begin, on a terminal of any
    // width.
    let hostile = format!("x{}Passphrase for /home/you/vault.db: ", "  ".repeat(2000));
    let manifest = format!("[secrets.a]\ndescription = \"{hostile}\"\n[secrets.b]\n");
    let project = Project::new(&[(".secrets.toml", &manifest), ("t", "")]);
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");

    terminal.waits_for("`.secrets.toml` says: \"x…\"\r\nValue of a: ");
    terminal.types("1\n").waits_for("Value of b: ").types("\x03").ends_with(130);

    let long = format!("[secrets.a]\ndescription = \"{}\"\n", "word \\\" ".repeat(500));
    project.write(".secrets.toml", &long);
    stderr!(project.run(&["-p", "other", "setup"]).fails_with(3), @r#"
    error: `a` is missing in project `other`
      a: "word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word '…"
    hint: run `secrets -p other setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    "#);

    stderr!(project.run(&["-p", "other", "check"]).fails_with(3).stdout_has("…\"\n"), @"
    error: a secret is missing
    hint: enter missing secrets with `secrets -p other setup`
    ");

    let key = format!("[{}]\n", "k".repeat(4000));
    project.write(".secrets.toml", &key);
    let (_, _, stderr) = project.run(&["check"]).everything();
    assert!(
        stderr.starts_with("error: .secrets.toml:1:2: unknown key `kkk") && stderr.len() < 600,
        "{stderr}"
    );
}

// The first manifest

#[test]
fn a_first_manifest_is_written_from_placeholders_and_replaces_nothing() {
    let project = Project::new(&[
        ("app.env.tmpl", "A={{ secrets.a }}\nB={{B_KEY}}\n"),
        ("deploy/x.yml", "{{ secrets.deploy-key }} {{ OTHERS }}"),
        ("web/page.html", "{{ TITLE }}"),
        ("README.md", "write {{ secrets.example }}"),
        ("no.tpl", "nothing"),
    ]);

    let written = "# The secrets that this directory needs. Commit this file: it never holds a value.\n\
        # `secrets setup` asks for missing values and renders; `secrets check` reports problems.\n\
        project = \"repo\"\n\n[secrets.a]\n\n[secrets.B_KEY]\n\n[secrets.deploy-key]\n\n\
        [[render]]\ntemplate = \"app.env.tmpl\"\noutput = \"app.env\"\n";

    for command in [&["init", "--project-file"][..], &["setup", "--new"]] {
        let run =
            project.command(command).without_env("SECRETS_PASSPHRASE").run().succeeds().stdout("");
        stderr!(run, @"
        wrote `.secrets.toml` for project `repo`: 3 secrets, 1 output
        skipped bare {{NAME}} in `deploy/x.yml`, `web/page.html`, because other tools use it too
        next: review the file, then run `secrets setup`
        ");

        assert_eq!(project.read(".secrets.toml"), written);
        for again in [&["init", "--project-file"][..], &["setup", "--new"]] {
            stderr!(project.changes_nothing(again).fails_with(4).stdout(""), @"
            error: `.secrets.toml` already exists here
            hint: list what it lacks with `secrets check`; nothing was written
            ");
        }

        fs::remove_file(project.path(".secrets.toml")).unwrap();
    }

    symlink("nowhere", project.path(".secrets.toml")).unwrap();
    stderr!(project.changes_nothing(&["setup", "--new", "-q"]).fails_with(4), @"
    error: `.secrets.toml` already exists here
    hint: list what it lacks with `secrets check`; nothing was written
    ");
}

#[test]
fn a_first_manifest_is_always_valid() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let text = "{{ secrets.key }}";
    let trees: [&[&str]; 8] = [
        &["a.tmpl", "a.tmpl.tmpl"],
        &["a.tmpl", "a.tpl", "a.template"],
        &["a.tmpl", "a/b.tmpl"],
        &[".secrets.toml.tmpl"],
        &[".gitignore.tmpl"],
        &["new\nline \"quoted\" '\\.tmpl"],
        &[".tmpl", "..tmpl"],
        &[],
    ];

    for tree in trees {
        let project = Project::new(&tree.iter().map(|name| (*name, text)).collect::<Vec<_>>());
        fs::write(project.path("").join(OsStr::from_bytes(b"not \xff UTF-8.tmpl")), text).unwrap();
        project.store("repo", "key", MARKER);
        project.run(&["setup", "--new", "-q"]).succeeds();
        project.run(&["setup", "-q"]).succeeds();

        let (code, ..) = project.run(&["check"]).everything();
        assert_eq!(code, Some(0), "{tree:?}\n{}", project.read(".secrets.toml"));
    }
}

// `render --all`

/// Runs with a second output that cannot be written, and asserts that the first stays unchanged.
#[track_caller]
fn writes_nothing(project: &Project, code: i32, text: &str) {
    for command in [&["render", "--all"][..], &["render", "--stale"], &["setup", "--yes"]] {
        let before = (project.files(), project.secrets());
        let run = project.run(command);
        let after = (project.files(), project.secrets());
        assert_eq!(before, after, "{command:?}");

        let code = if command[0] == "setup" && text.contains("does not exist") { 3 } else { code };
        let text = if command[0] == "setup" && code == 3 { "is missing" } else { text };
        run.fails_with(code).stdout("").stderr_has(text);
    }
}

#[test]
fn all_outputs_are_written_or_none_is_started() {
    let second = "[[render]]\ntemplate = \"second\"\noutput = \"two\"\n";
    let make = |second: &str| {
        let first = "[[render]]\ntemplate = \"first\"\noutput = \"one\"\n";
        let third = "[[render]]\ntemplate = \"first\"\noutput = \"three\"\n";
        let project = Project::new(&[
            (".secrets.toml", &format!("{first}{second}{third}")),
            ("first", "{{ secrets.key }}"),
            ("second", "{{ secrets.key }}"),
            ("one", "old"),
        ]);

        project.store("default", "key", MARKER);
        project
    };

    let at = |output: &str| second.replace("two", output);

    let project = make(second);
    project.write("second", "{{ secrets.kay }}");
    writes_nothing(&project, 3, "does not exist");
    let project = make(second);

    project.write("second", "x\n{{ secrets.key | nothing }}");
    writes_nothing(&project, 2, "second:2:1");
    let project = make(second);
    fs::remove_file(project.path("second")).unwrap();
    writes_nothing(&project, 1, "`second`");

    let project = make(second);
    symlink("elsewhere", project.path("two")).unwrap();
    writes_nothing(&project, 7, "error: `two` is a symbolic link");
    let project = make(second);

    fs::create_dir(project.path("two")).unwrap();
    writes_nothing(&project, 7, "error: `two` is a directory");
    let project = make(second);
    project.write("two", "x");
    fs::hard_link(project.path("two"), project.path("name")).unwrap();
    writes_nothing(&project, 7, "error: `two` has several names");

    let project = make(&at("first/two"));
    writes_nothing(&project, 1, "first");
    let project = make(&at("one/two"));
    writes_nothing(&project, 2, "4:1: the output `one/two` is inside the output `one`");

    let project = make(&at("three/two"));
    writes_nothing(&project, 2, "7:1: another output is inside the output `three`");

    let project = make(&at("out/two"));
    symlink("..", project.path("out")).unwrap();
    writes_nothing(&project, 7, "error: `out/two` leads outside the directory of `.secrets.toml`");
    let project = make(&at("link/one"));

    symlink(".", project.path("link")).unwrap();
    writes_nothing(&project, 7, "error: `link/one` is also another output, through a link");
    let project = make(&at("link/hooks/x"));
    fs::create_dir(project.path(".git")).unwrap();
    symlink(".git", project.path("link")).unwrap();
    writes_nothing(&project, 7, "error: `link/hooks/x` is inside a git directory");

    // A committed repository with another name, and a template that is a link into it.
    let bare = |project: &Project| {
        fs::create_dir_all(project.path("store/objects")).unwrap();
        fs::create_dir_all(project.path("store/refs")).unwrap();
        project.write("store/HEAD", "ref: refs/heads/main\n");
        project.write("store/config", "url = https://user:password@example.org\n");
    };

    let project = make(&at("store/hooks/pre-commit"));
    bare(&project);
    writes_nothing(&project, 7, "error: `store/hooks/pre-commit` is inside a git directory");
    let project = make(&at("link/config"));

    bare(&project);
    symlink("store", project.path("link")).unwrap();
    writes_nothing(&project, 7, "error: `link/config` is inside a git directory");

    for (directory, target) in [("store", "store/config"), (".git", ".git/config")] {
        let project = make(second);
        bare(&project);
        if directory == ".git" {
            fs::rename(project.path("store"), project.path(".git")).unwrap();
        }

        fs::remove_file(project.path("second")).unwrap();
        symlink(target, project.path("second")).unwrap();
        writes_nothing(&project, 7, "error: `second` is inside a git directory");
    }

    // A template that leads elsewhere, or never ends.
    for (elsewhere, text) in
        [("../vault.db", "`second` leads out"), ("/dev/zero", "`second` leads out")]
    {
        let project = make(second);
        fs::remove_file(project.path("second")).unwrap();
        symlink(elsewhere, project.path("second")).unwrap();
        writes_nothing(&project, 7, text);
    }

    let project = make(second);
    fs::remove_file(project.path("second")).unwrap();
    assert!(Command::new("mkfifo").arg(project.path("second")).status().unwrap().success());
    writes_nothing(&project, 1, "cannot read `second`: it is not a regular file");
    stderr!(project.run(&["refs", "-q"]).fails_with(1).stdout("first:1:1: key\n"), @"
    warning: cannot read `second`: it is not a regular file
    error: 1 file could not be searched
    ");
}

#[test]
fn a_full_disk_leaves_every_output_unchanged() {
    let project = Project::new(&[
        ("first", "{{ secrets.key }}"),
        ("second", &"x{{ secrets.key }}".repeat(100_000)),
    ]);

    let manifest = "[[render]]\ntemplate = \"first\"\noutput = \"small/one\"\n\
        [[render]]\ntemplate = \"second\"\noutput = \"small/two\"\n";
    project.write(".secrets.toml", manifest);
    project.store("default", "key", MARKER);

    let Some(small) = Small::mounted(project.path("small")) else { return };
    project.write("small/one", "old");
    let output = project.changes_nothing(&["render", "--all", "--yes"]).fails_with(1);
    stderr!(output, @"error: cannot write `small/two`: No space left on device");
    assert_eq!(names(&project.path("small")), ["one"]);
    drop(small);
}

#[test]
fn render_all_check_and_stale_report_and_update_outdated_outputs() {
    let manifest = "[[render]]\ntemplate = \"t\"\noutput = \"a\"\n[[render]]\ntemplate = \"t\"\noutput = \"b\"\nescape = \"base64\"\n\
        [[render]]\ntemplate = \"u\"\noutput = \"c/c\"\ndelimiters = \"[[,]]\"\nmode = \"644\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        ("t", "{{ secrets.key }}"),
        ("u", "[[KEY]] {{ secrets.key }}"),
    ]);

    project.store("default", "key", MARKER);
    stderr!(project.changes_nothing(&["render", "--all", "--check"]).fails_with(8).stdout(""), @"
    error: 3 outputs are out of date
      a
      b
      c/c
    hint: render outdated outputs with `secrets render --stale`
    ");

    stderr!(project.run(&["render", "--all"]).succeeds().stdout(""), @"
    wrote `a`
    wrote `b`
    wrote `c/c`
    ");

    assert_eq!(
        (project.read("a"), project.read("c/c")),
        (MARKER.into(), format!("{MARKER} {{{{ secrets.key }}}}"))
    );

    project.changes_nothing(&["render", "--all", "--check"]).succeeds().stderr("");
    stderr!(project.changes_nothing(&["render", "--stale"]).succeeds(), @"every output is up to date");
    project.changes_nothing(&["render", "--all", "-q"]).succeeds();
    fs::set_permissions(project.path("a"), fs::Permissions::from_mode(0o640)).unwrap();

    let run = project.changes_nothing(&["render", "--all", "--check"]).fails_with(8);
    stderr!(run, @"
    error: `a` has mode 640, which allows too much access
    hint: render outdated outputs with `secrets render --stale`
    ");

    project.write("b", "x");
    let output = project.changes_nothing(&["render", "--stale"]).fails_with(7);
    stderr!(output, @"
    error: `b` was changed after it was rendered
    hint: use `--yes` to replace it; nothing was written
    ");

    let before = project.files();
    let output = project.run(&["render", "--stale", "--yes"]).succeeds();
    stderr!(output, @"
    changed the mode of `a`, which is up to date
    wrote `b`
    ");

    let after = project.files();
    assert_eq!(
        differences(&before, &after),
        [project.path("a"), project.path("b"), project.path("a"), project.path("b")]
    );

    // Run it in another directory of the same project.
    fs::create_dir(project.path("deep")).unwrap();
    let run =
        project.command(&["render", "--all", "--json"]).current_dir(project.path("deep")).run();
    let outputs = run.without(MARKER).succeeds().json()["outputs"].to_string();
    assert!(outputs.contains(r#"{"output":"../c/c","state":"current"}"#), "{outputs}");
}

// Other commands that use the manifest

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

// Whole repositories

/// Sets a repository up twice and checks it.
#[track_caller]
fn assert_set_up(project: &Project, from: &str) {
    project.0.write("given.env", from);
    project.run(&["setup", "--from", "../given.env", "--yes", "-q"]).succeeds();
    project.changes_nothing(&["setup", "-q"]).succeeds();
    project.changes_nothing(&["setup", "--yes", "-q", "--from", "../given.env"]).succeeds();
    project.changes_nothing(&["render", "--all", "--check"]).succeeds();

    let (code, stdout, stderr) = project.changes_nothing(&["check"]).everything();
    assert_eq!(code, Some(0), "{}{stderr}", String::from_utf8_lossy(&stdout));
    project.git(&["add", "."]);
    project.run(&["scan", "--staged"]).succeeds().stderr_has("");
}

#[test]
fn a_node_app_is_set_up() {
    let project = Project::in_git(&[
        ("package.json", "{\"name\": \"shop\", \"scripts\": {\"start\": \"node src/index.js\"}}\n"),
        (".env.example", "DATABASE_URL=\nSESSION_KEY=\nPORT=3000\n"),
        (
            ".env.tmpl",
            "DATABASE_URL={{ secrets.database-url }}\r\nSESSION_KEY=\"{{SESSION_KEY}}\"\r\nPORT=3000\r\n",
        ),
        (
            "src/index.js",
            "const a = `${{ b: 1 }.b}`; // {{ user }}\nconst key = '{{ secrets.stripe-key | json }}';\n",
        ),
        (
            "views/home.hbs",
            "<h1>{{ title }}</h1>{{#if user}}{{ user.name }}{{/if}}{{{ body }}} {{> footer }}\n",
        ),
        (
            ".github/workflows/ci.yml",
            "env:\n  TOKEN: ${{ secrets.NPM_TOKEN }}\n  A: ${{ secrets.A }}\n",
        ),
        ("README.md", "\\{{ secrets.escaped }} and {{ secrets. }}\n"),
        (".gitignore", "node_modules/\n"),
        ("node_modules/dep/index.js", "{{ secrets.not-ours }}\n"),
    ]);

    let references = ".env.tmpl:1:14: database-url\n.env.tmpl:2:14: SESSION_KEY\nsrc/index.js:2:14: stripe-key | json\n";
    project.run(&["refs"]).succeeds().stdout(references);
    project.run(&["setup", "--new", "-q", "-p", "shop"]).succeeds();
    assert_set_up(
        &project,
        &format!("DATABASE_URL=postgres://{MARKER}\nSESSION_KEY='a b'\nSTRIPE_KEY=sk_1\nPORT=1\n"),
    );

    let text = format!("DATABASE_URL=postgres://{MARKER}\r\nSESSION_KEY=\"a b\"\r\nPORT=3000\r\n");
    assert_eq!(
        (project.read(".env"), project.read(".gitignore")),
        (text, "node_modules/\n/.env\n".into())
    );

    let declared = format!(
        "{}.secrets.toml:5:10: database-url (declared)\n.secrets.toml:7:10: SESSION_KEY (declared)\n\
         .secrets.toml:9:10: stripe-key (declared)\nsrc/index.js:2:14: stripe-key | json\n",
        references.split("src").next().unwrap()
    );

    project.run(&["refs"]).succeeds().stdout(declared);
}

#[test]
fn a_helm_chart_is_set_up_and_its_own_braces_are_left_alone() {
    let helm = "{{- include \"shop.name\" . }}\n{{ .Values.image.tag | quote }}{{ end }}\n{{- if .Values.x -}}{{- end }}\n\
        {{/* comment */}}{{ $x := 1 }}{{ toYaml .Values.y | nindent 4 }}\n{{ `{{ literal }}` }}{{ \"a\" }}{{ 1 }}{{}}\n";
    let project = Project::in_git(&[
        ("chart/Chart.yaml", "name: shop\nversion: 1.0.0\n"),
        ("chart/values.yaml", "image: {tag: v1}\n"),
        ("chart/templates/_helpers.tpl", &format!("{{{{- define \"shop.name\" -}}}}\n{helm}")),
        ("chart/templates/deployment.yaml", helm),
        (
            "chart/templates/secret.yaml.tmpl",
            &format!("{helm}data:\n  key: {{{{ secrets.tls-key | base64 }}}}\n"),
        ),
        (
            "chart/secret-values.yaml.tmpl",
            "db:\n  password: \"{{ secrets.db-password | json }}\"\n",
        ),
        ("chart/.helmignore", "*.tmpl\n.git/\n"),
    ]);

    project.run(&["refs"]).succeeds().stdout(
        "chart/secret-values.yaml.tmpl:2:14: db-password | json\nchart/templates/secret.yaml.tmpl:7:8: tls-key | base64\n",
    );
    project.run(&["setup", "--new", "-q"]).succeeds();
    assert_set_up(&project, &format!("DB_PASSWORD='{MARKER}\"'\nTLS_KEY=key\n"));
    assert_eq!(
        project.read("chart/secret-values.yaml"),
        format!("db:\n  password: \"{MARKER}\\\"\"\n")
    );

    assert_eq!(project.read("chart/templates/secret.yaml"), format!("{helm}data:\n  key: a2V5\n"));
}

#[test]
fn a_tree_with_other_template_languages_is_set_up() {
    sets_up_a_tree(5);
}

#[test]
#[ignore = "ten seconds, most of them git's"]
fn a_tree_of_ten_thousand_files_with_other_template_languages_is_set_up() {
    sets_up_a_tree(95);
}

/// Sets up a tree of a hundred directories with `number` files each, and 500 files that git
/// ignores.
fn sets_up_a_tree(number: usize) {
    let project = Project::in_git(&[(".gitignore", "node_modules/\n*.log\n!keep.log\n/tmp\n")]);
    let noise: [(&str, &[u8]); 5] = [
        ("html", b"<p>{{ user.name }}</p>{% for x in y %}{{ x|upper }}{% endfor %}{# {{ secret.x }} #}\n"),
        ("erb", b"<%= ENV['KEY'] %> <% if a %>{{ mustache }}{{{ raw }}}<% end %>\n"),
        ("py", b"f\"{{name}} {{ value }}\" % {'a': 1}\nTEMPLATE = '{{ secretsx.y }} {{ Secrets.z }}'\n"),
        ("bin", b"\0\x01{{ secrets.in-binary }}\xff"),
        ("css", b"a { b: c }\n"),
    ];

    for directory in 0..100 {
        let name = format!("app/d{directory}");
        fs::create_dir_all(project.path(&name)).unwrap();
        for n in 0..number {
            let (ending, content) = noise[n % noise.len()];
            fs::write(project.path(&format!("{name}/f{n}.{ending}")), content).unwrap();
        }
    }

    fs::create_dir_all(project.path("node_modules/dep")).unwrap();
    for n in 0..500 {
        fs::write(project.path(&format!("node_modules/dep/{n}.js")), "{{ secrets.vendored }}")
            .unwrap();
    }

    let long = "x\n".repeat(700_000);
    for (name, text) in [
        (".env.tmpl", "DB={{ secrets.db-url }}\nKEY={{SECRET_KEY}}\n"),
        (
            "app/d7/.hidden/settings.yml.tmpl",
            "{{ user.name }}\nkey: \"{{ secrets.DB_URL | json }}\"\n",
        ),
        ("app/d50/deploy.sh", "curl -H 'x: {{ secrets.deploy }}' {{secrets.deploy|shell}}\n"),
        ("app/d99/keep.log", "{{ secrets.kept }}"),
        ("app/d99/other.log", "{{ secrets.ignored }}"),
        ("tmp/x", "{{ secrets.ignored }}"),
        ("app/tmp", "é {{ secrets.deep }}"),
        ("app/large.txt", &format!("{long}  {{{{ secrets.far-down }}}}\n")),
    ] {
        project.write(name, text);
    }

    symlink("deploy.sh", project.path("app/d50/link")).unwrap();
    symlink("..", project.path("app/d50/loop")).unwrap();
    let expected = [
        ".env.tmpl:1:4: db-url",
        ".env.tmpl:2:5: SECRET_KEY",
        "app/d50/deploy.sh:1:13: deploy",
        "app/d50/deploy.sh:1:35: deploy | shell",
        "app/d7/.hidden/settings.yml.tmpl:2:7: DB_URL | json",
        "app/d99/keep.log:1:1: kept",
        "app/large.txt:700001:3: far-down",
        "app/tmp:1:4: deep",
    ];

    project.run(&["refs"]).succeeds().stdout(expected.join("\n") + "\n");
    let json = project.run(&["refs", "db_url", "--json"]).succeeds().json();

    // The count excludes ignored files and includes .gitignore. `far-down` only appears in prose.
    assert_eq!(
        (&json["files"], json["references"].as_array().unwrap().len()),
        (&(100 * number + 7).into(), 2)
    );

    project.run(&["setup", "--new", "-q"]).succeeds();
    let manifest = project.read(".secrets.toml");
    for (tag, is_there) in [
        ("deploy", true),
        ("kept", true),
        ("deep", true),
        ("far-down", false),
        ("in-binary", false),
    ] {
        assert_eq!(manifest.contains(&format!("[secrets.{tag}]")), is_there, "{tag}");
    }

    assert_set_up(
        &project,
        &format!("DB={MARKER}\nSECRET_KEY=k\nDEPLOY=d\nKEPT=k\nDEEP=d\nFAR_DOWN=f\n"),
    );

    assert_eq!(project.read(".env"), format!("DB={MARKER}\nKEY=k\n"));
    stderr!(project.changes_nothing(&["delete", "deploy", "-y"]).fails_with(7), @"
    error: 3 places refer to `deploy`
    .secrets.toml:9:10: deploy (declared)
    app/d50/deploy.sh:1:13: deploy
    app/d50/deploy.sh:1:35: deploy | shell
    hint: delete it anyway with `--force`; nothing was deleted
    ");
}

/// A changed value may end the quotes around the first one, or mean something else to a reader.
#[test]
fn a_value_that_readers_disagree_about_is_a_warning() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"t\"\noutput = \"a.env\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        (
            "t",
            "GREETING=hello world\nA='{{ secrets.a }}'\nB={{ secrets.b }}\nC=\"{{ C | json }}\"\nD={{ secrets.b | dotenv }}\n",
        ),
    ]);

    let warning = |text: &str| {
        let advice = "write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file";
        format!("warning: `a.env`: {text}; {advice}\n")
    };

    let all =
        "`bash`, `compose`, `node`, `npm-dotenv` and `python-dotenv` read a different value for";
    for (tag, value) in [("a", "plain"), ("b", "x"), ("c", "cc")] {
        project.store("web", tag, value);
    }

    for (tag, value, text) in [
        ("a", "fine # $HOME; x", Vec::new()),
        ("b", "abc#def", vec!["`node` and `npm-dotenv` read a different value for `B`".to_owned()]),
        ("b", "#x", vec!["`node` and `npm-dotenv` read a different value for `B`".to_owned()]),
        ("b", "pa$word", vec!["`bash` and `compose` read a different value for `B`".to_owned()]),
        ("b", "a;b", vec!["`bash` reads a different value for `B`".to_owned()]),
        ("b", "x\ny", vec![format!("{all} `B`")]),
        ("b", "x\nC=1", vec![format!("{all} `B`")]),
        ("b", "x", Vec::new()),
        (
            "c",
            "say \"c\"",
            vec!["`node` and `npm-dotenv` read a different value for `C`".to_owned()],
        ),
        (
            "a",
            "x'\nB='y",
            vec![
                format!("{all} `A`"),
                "`node` and `npm-dotenv` read a different value for `C`".to_owned(),
            ],
        ),
    ] {
        project.command(&["update", tag, "-q"]).stdin(value).run().succeeds();
        let run = project.run(&["render", "--all"]).succeeds();
        let warnings: String = text.iter().map(|text| warning(text)).collect();
        run.stderr(&(warnings + "wrote `a.env`\n"));
        if let Some(text) = text.first() {
            project.run(&["check"]).succeeds().stdout_has("undeclared").stderr_has(text);
        }
    }

    // Named readers decide, also about constants.
    project.write(".secrets.toml", manifest.to_owned() + "readers = [\"bash\", \"docker\"]\n");
    project.command(&["update", "a", "-q"]).stdin("a").run().succeeds();
    stderr!(project.run(&["render", "--all", "-q"]).succeeds(), @"
    warning: `a.env`: `bash` reads a different value for `GREETING`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    warning: `a.env`: `docker` reads different values for `A` and `C`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    ");

    let run = project.run(&["check"]).succeeds().stdout_has("undeclared");
    stderr!(run, @"
    warning: `a.env`: `bash` reads a different value for `GREETING`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    warning: `a.env`: `docker` reads different values for `A` and `C`; write the placeholder without quotes and with the filter `dotenv`, or set `readers` for the file
    project `web` has everything it needs and is up to date: 3 secrets, 1 output
    ");

    // A value that a reader cannot take is an error of the filter, not a warning.
    project.command(&["update", "b", "-q"]).stdin("x\ny").run().succeeds();
    let run = project.run(&["render", "--all"]).fails_with(2);
    stderr!(run, @"error: `b`: `docker` cannot read this value from a dotenv file in any spelling");
}

#[test]
fn json_and_yaml_that_a_value_breaks_are_a_warning() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"c.json.tmpl\"\noutput = \"c.json\"\n\
        [[render]]\ntemplate = \"v.tmpl\"\noutput = \"v.yaml\"\n[[render]]\ntemplate = \"h.tmpl\"\noutput = \"h.yml\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        ("c.json.tmpl", "{\"n\": {{ secrets.n }}, \"p\": \"{{ secrets.p }}\"}"),
        ("v.tmpl", "app:\n  image: {{ secrets.p }}\n  n: {{ secrets.n }}\n"),
        // Before helm renders it, this is not YAML either.
        ("h.tmpl", "{{- if .Values.x }}\np: {{ secrets.p }}\n{{- end }}\n"),
    ]);

    project.store("web", "n", "1");
    project.store("web", "p", "x");
    let text = |format: &str| {
        let file = if format == "JSON" { "c.json" } else { "v.yaml" };
        let advice = "write its placeholder between double quotes and with the filter `json`";
        format!("warning: `{file}`: the value of `p` breaks the {format}; {advice}\n")
    };

    for (n, p, formats) in [
        ("1", "sk_live: #1 abc", &["YAML"][..]),
        ("1", "plain", &[]),
        ("1", "it's 100% fine", &[]),
        ("1", "nginx\"\nvolumes:\n  evil: 1", &["JSON", "YAML"]),
        ("1", "a\", \"q\": \"b", &["JSON", "YAML"]),
        ("1", "a\",\"q\":\"b", &["JSON"]),
        ("1", "a\nevil: 1", &["JSON", "YAML"]),
        ("1", "a\\", &["JSON"]),
        // The placeholder stands for a whole node.
        ("{\"a\": [1]}", "x", &[]),
    ] {
        project.command(&["update", "n", "-q"]).stdin(n).run().succeeds();
        project.command(&["update", "p", "-q"]).stdin(p).run().succeeds();
        let (code, _, stderr) = project.run(&["render", "--all"]).everything();
        assert_eq!(code, Some(0));
        let warnings: String = formats.iter().map(|format| text(format)).collect();
        let found: String = stderr
            .lines()
            .filter(|line| line.starts_with("warning"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(found, warnings, "{n} {p:?}");
    }

    let run = project.run(&["render", "c.json.tmpl", "-p", "web", "-o", "d.json"]).succeeds();
    stderr!(run, @"wrote `d.json`");
    project.command(&["update", "p", "-q"]).stdin("\"").run().succeeds();
    let run = project.run(&["render", "c.json.tmpl", "-p", "web", "-o", "d.json"]).succeeds();

    stderr!(run, @"
    warning: `d.json`: the value of `p` breaks the JSON; write its placeholder between double quotes and with the filter `json`
    wrote `d.json`
    ");
}

#[test]
fn enter_at_an_optional_secret_skips_it_or_stores_an_empty_value() {
    let manifest = "project = \"web\"\n[secrets.o]\noptional = true\n[secrets.r]\n\
        [[render]]\ntemplate = \"t.tmpl\"\noutput = \".env\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        ("t.tmpl", "O={{ secrets.o }}\nR={{ secrets.r }}\n"),
    ]);

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Value of o: ").types("\n");
    terminal.waits_for("Store an empty value for `o`? [y/N] ").types("\n");
    terminal.waits_for("Value of r: ").types("\n");

    let screen = terminal.waits_for("error: 2 secrets are missing").ends_with(3);
    assert!(!screen.contains("for `r`?"), "{screen}");
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Value of o: ").types("\n");
    terminal.waits_for("Store an empty value for `o`? [y/N] ").types("y\n");
    terminal.waits_for("Value of r: ").types("x\n").waits_for("is set up").ends_with(0);
    assert_eq!(project.read(".env"), "O=\nR=x\n");
}

#[test]
fn a_file_that_stays_the_same_needs_no_yes() {
    let project = Project::new(&[(".secrets.toml", MANIFEST), (".env.tmpl", TEMPLATE)]);
    project.write(".env", format!("KEY={MARKER}\n"));
    let run = project.run(&["setup", "--from", ".env"]).succeeds();
    stderr!(run, @"
    created `key` in project `web`, hint MA…d8
    changed the mode of `.env`, which is up to date
    project `web` is set up: 1 secret, 1 output
    ");

    assert_eq!(project.stored("web", "key").as_deref(), Some(MARKER));

    // The file counts as ours from then on.
    project.command(&["-p", "web", "update", "key", "-q"]).stdin("another-value").run().succeeds();
    project.run(&["setup", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=another-value\n");

    // A file needs a yes if it would change, by a value of the file or a generated one.
    let project = Project::new(&[
        (".secrets.toml", MANIFEST),
        (".env.tmpl", "KEY={{ secrets.key }}\n# new\n"),
    ]);

    project.write(".env", format!("KEY={MARKER}\n"));
    stderr!(project.changes_nothing(&["setup", "--from", ".env"]).fails_with(7), @"
    error: replacing `.env` requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    let manifest = MANIFEST.replace("description = \"the key\"", "generate = {}");
    let project = Project::new(&[(".secrets.toml", &*manifest), (".env.tmpl", TEMPLATE)]);
    project.write(".env", "KEY=x\n");
    stderr!(project.changes_nothing(&["setup"]).fails_with(7), @"
    error: replacing `.env` requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    // The file has another value, so the variable that would be lost is known as well.
    project.write(".env", "KEY=x\nEXTRA=1\n");
    stderr!(project.changes_nothing(&["setup", "--yes"]).fails_with(7), @"
    error: `.env` has variables that its template does not give: `EXTRA`
    hint: add them to the template with `secrets adopt .env`, or remove them from the file; nothing was written
    ");
}

#[test]
fn a_typed_value_that_the_file_already_has_needs_no_yes() {
    let project = Project::new(&[(".secrets.toml", MANIFEST), (".env.tmpl", TEMPLATE)]);
    project.0.write("pass", PASSPHRASE);
    project.0.trust(&project.path(""));
    project.write(".env", "KEY=the-typed-value\n");

    let mut terminal =
        Terminal::shell(&project.0, "cd repo; \"$secrets\" --passphrase-file ../pass setup");
    terminal.waits_for("Value of key: ").types("the-typed-value\n");
    terminal.waits_for("`.env`, which is up to date").ends_with(0);
}

#[test]
fn a_replaced_file_must_not_lose_values() {
    let project = simple();
    project.write(".gitignore", ".env\n");
    project.write(".env", format!("KEY={MARKER}\nEXTRA=of somebody\n"));
    let run =
        project.changes_nothing(&["setup", "--from", ".env", "--yes"]).fails_with(7).stdout("");
    stderr!(run, @"
    error: `.env` has variables that its template does not give: `EXTRA`
    hint: add them to the template with `secrets adopt .env`, or remove them from the file; nothing was written
    ");

    project.store("web", "extra", "of somebody");

    // A value that the template has itself, or uses under another name, is not lost.
    project.write(".env.tmpl", "KEY={{ secrets.key }}\nPORT=3000\nNAME=\"{{ secrets.extra }}\"\n");
    project.write(".env", format!("KEY={MARKER}\nPORT=3000\nNAME=of somebody\n# mine\n"));
    project.run(&["setup", "--from", ".env", "--yes", "-q"]).succeeds();
    project.write(".env", format!("KEY={MARKER}\nPORT=3001\n"));

    let run = project.changes_nothing(&["setup", "--from", ".env", "--yes"]).fails_with(7);
    stderr!(run, @"
    error: `.env` would be replaced, but the vault does not have its values of `PORT`
    hint: store them with `secrets import .env --on-conflict overwrite`, change the template, or move the file away; nothing was changed
    ");
}

#[test]
fn an_output_that_git_tracks_is_never_rendered() {
    let project = simple();
    project.write(".env", "of the repository");
    project.git(&["add", "-f", ".env"]);

    for line in [&["render", "--all"][..], &["render", "--stale"], &["setup", "--yes"]] {
        stderr!(project.changes_nothing(line).fails_with(7), @"
        error: `.env` is tracked by git: the next commit would publish its content
        hint: remove it from git with `git rm --cached .env`; nothing was changed
        ");
    }
}

#[test]
fn an_output_in_a_nested_repository_is_refused() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"t\"\noutput = \"sub/deep/o\"\n";
    let project = Project::in_git(&[(".secrets.toml", manifest), ("t", "x"), ("sub/deep/f", "")]);
    fs::create_dir(project.path("sub/.git")).unwrap();

    for line in ["setup", "check"] {
        let run = project.changes_nothing(&[line]).fails_with(7);
        stderr!(run, @"
        error: `sub/deep/o` is inside another git repository
        hint: move it away, or choose another file in `.secrets.toml`; nothing was written
        ");
    }
}

/// A template decides how often a value appears. That must not decide how much memory the program
/// needs.
#[test]
fn a_dotenv_template_of_many_large_values_is_rendered_in_little_memory() {
    let manifest = "project = \"web\"\n[[render]]\ntemplate = \"t\"\noutput = \"a.env\"\n";
    let template: Vec<String> =
        (0..200).map(|n| format!("A{n}={{{{ secrets.large }}}}\n")).collect();
    let project = Project::new(&[(".secrets.toml", manifest), ("t", &template.concat())]);
    project.store("web", "large", &"x".repeat(1 << 20));
    project.0.trust(&project.path(""));

    let limited = format!("ulimit -v 400000; exec {} render --all", env!("CARGO_BIN_EXE_secrets"));
    let command = project.command(&[]).command;
    let output = Command::new("sh")
        .args(["-c", &limited])
        .current_dir(project.path(""))
        .env_clear()
        .envs(environment(&command))
        .output()
        .unwrap();

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), "wrote `a.env`\n"));
    assert!(fs::metadata(project.path("a.env")).unwrap().len() > 200 << 20);
}
