//! `setup --new` writes a valid manifest from placeholders and replaces nothing.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::repository::{MARKER, Project};

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
