//! Every output is ignored by git before it is written, whatever the rules and the repository are.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::files::names;
use crate::support::repository::{MANIFEST, MARKER, Project, TEMPLATE, simple};

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

    // The files match the names if these are taken as patterns.
    let others = ["line", "staar", "questXion", "s"].map(|other| (other, ""));
    let project = Project::in_git(&[&[("t.tmpl", TEMPLATE)], &others[..]].concat());
    project.store("default", "key", MARKER);
    let outputs = names.map(|name| {
        let quoted = serde_json::to_string(name).unwrap();
        format!("[[render]]\ntemplate = \"t.tmpl\"\noutput = {quoted}\n")
    });
    project.write(".secrets.toml", outputs.concat());

    let seen = project.git(&["status", "--porcelain", "-uall", "-z"]);
    project.run(&["setup", "--yes", "-q"]).succeeds();
    for name in names {
        assert_eq!(project.read(name), format!("KEY={MARKER}\n"), "{name:?}");
    }

    let now = project.git(&["status", "--porcelain", "-uall", "-z"]);
    let now: Vec<&str> = now.split('\0').filter(|line| *line != "?? .gitignore").collect();
    assert_eq!(now, seen.split('\0').collect::<Vec<_>>());
    project.run(&["check", "-q"]).succeeds().stdout_has("undeclared\tkey\t");
    project.changes_nothing(&["setup", "-q"]).succeeds();
    for name in names {
        project.git(&["add", "-f", "--", &format!(":(literal){name}")]);
        let run = project.changes_nothing(&["setup", "--yes"]).fails_with(7);
        run.stderr_has("is tracked by git");
        project.git(&["reset", "-q"]);
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
