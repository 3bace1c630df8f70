//! A file that differs is replaced only with consent, and without losing a value.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::PASSPHRASE;
use crate::support::repository::{MANIFEST, MARKER, Project, TEMPLATE, simple};
use crate::support::terminal::Terminal;

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
