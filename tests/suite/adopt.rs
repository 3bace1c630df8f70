//! `adopt` turns variables that people added to an output into secrets and settings of the project.

use std::fs;

use crate::support::PASSPHRASE;
use crate::support::repository::{MANIFEST, MARKER, Project, simple};
use crate::support::terminal::Terminal;

/// Returns a project whose `.env` has two new variables: a secret with a comment, and a setting.
fn added() -> Project {
    let project = simple();
    project.run(&["setup", "-q"]).succeeds();
    project.write(
        ".env",
        format!("KEY={MARKER}\n\n# Payments\nSTRIPE_KEY={MARKER}-2\nLOG_LEVEL=debug\n"),
    );

    project
}

#[test]
fn a_secret_and_a_setting_are_adopted_and_the_file_is_unchanged() {
    let project = added();
    let before = project.read(".env");
    stderr!(project.run(&["adopt", ".env"]).succeeds().stdout(""), @"
    kept as plain settings in the template: `LOG_LEVEL`
    imported into project `web`: 1 created
    added 1 secret and 1 plain setting to `.env.tmpl`
    `.env` is up to date
    ");

    assert_eq!(
        project.read(".env.tmpl"),
        "KEY={{ secrets.key }}\n\n# Payments\nSTRIPE_KEY={{ secrets.STRIPE_KEY | dotenv }}\nLOG_LEVEL=debug\n"
    );

    let manifest = project.read(".secrets.toml");
    assert!(manifest.starts_with(MANIFEST.split("[[render]]").next().unwrap()), "{manifest}");
    assert!(manifest.contains("[secrets.STRIPE_KEY]\ndescription = \"Payments\"\n"), "{manifest}");
    assert_eq!(manifest.matches("[[render]]").count(), 1);
    assert_eq!(
        (project.read(".env"), project.stored("web", "stripe-key")),
        (before, Some(format!("{MARKER}-2")))
    );

    // The file counts as written by us from now on.
    project.changes_nothing(&["check", "-q"]).succeeds();
    project.command(&["update", "stripe-key", "-q"]).stdin("new").run().succeeds();
    project.run(&["render", "--stale", "-q"]).succeeds();
    assert!(project.read(".env").ends_with("STRIPE_KEY=new\nLOG_LEVEL=debug\n"));
    stderr!(project.changes_nothing(&["adopt", ".env"]).succeeds(), @"`.env` has no new variables");
}

#[test]
fn options_decide_and_json_lists_the_result() {
    let project = added();
    project.write(".env", format!("KEY={MARKER}\nSTRIPE_KEY=of-the-shop\nLOG_LEVEL=debug\n"));
    let json = project
        .run(&["adopt", ".env", "--keep", "STRIPE_KEY", "--secret", "LOG_LEVEL", "--json"])
        .succeeds()
        .json();

    let expected = r#"{"kept":["STRIPE_KEY"],"output":".env","project":"web","secrets":["LOG_LEVEL"],"template":".env.tmpl"}"#;
    assert_eq!(json.to_string(), expected);
    assert!(
        project
            .read(".env.tmpl")
            .ends_with("STRIPE_KEY=of-the-shop\nLOG_LEVEL={{ secrets.LOG_LEVEL | dotenv }}\n")
    );
}

#[test]
fn a_refused_adoption_changes_nothing() {
    let project = added();
    project.write("other.env", "A=1\n");
    for (line, code, text) in [
        (
            &["template", ".env"][..],
            4,
            "hint: adopt its new variables with `secrets adopt .env`; nothing was written\n",
        ),
        (
            &["adopt", "other.env"][..],
            3,
            "error: `other.env` is not an output of `.secrets.toml`\nhint: turn it into a template with `secrets template other.env`",
        ),
        (&["adopt", "none.env"], 3, "`none.env` is not an output"),
        (
            &["adopt", ".env", "--keep", "KEY"],
            2,
            "`KEY` is not a new variable of `.env`\nhint: choose from `STRIPE_KEY`, `LOG_LEVEL`",
        ),
        (
            &["adopt", ".env", "--keep", "A", "--secret", "A"],
            2,
            "`A` is listed in both `--secret` and `--keep`",
        ),
        (
            &["adopt", ".env", "--on-conflict", "skip"],
            2,
            "hint: possible values: fail, overwrite, separate\n",
        ),
        (&["-p", "other", "adopt", ".env"], 2, "`.secrets.toml` belongs to another project"),
    ] {
        project.changes_nothing(line).fails_with(code).stdout("").stderr_has(text);
    }

    // The project has this tag with another value. Either nothing uses it or another output does.
    project.store("web", "STRIPE_KEY", "theirs");
    stderr!(project.changes_nothing(&["adopt", ".env"]).fails_with(4), @"
    kept as plain settings in the template: `LOG_LEVEL`
    error: secret `STRIPE_KEY` already exists in project `web`
    hint: try again, because another process stored a value; nothing was written
    ");

    project.run(&["adopt", ".env", "--on-conflict", "separate", "-q"]).succeeds();
    let template = project.read(".env.tmpl");
    assert!(template.contains("STRIPE_KEY={{ secrets.STRIPE_KEY-repo | dotenv }}"), "{template}");
    assert_eq!(project.stored("web", "STRIPE_KEY").unwrap(), "theirs");

    let project = added();
    fs::remove_file(project.path(".env")).unwrap();
    stderr!(project.changes_nothing(&["adopt", ".env"]).fails_with(3), @"
    error: the file `.env` does not exist
    hint: render it with `secrets setup`
    ");

    project.write(".env", "KEY=x\nbroken line\n");
    stderr!(project.changes_nothing(&["adopt", ".env"]).fails_with(2), @"
    error: .env:2:8: no `=` follows the name; values are not taken from the environment
    hint: nothing was written
    ");

    let utf_16: Vec<u8> =
        [0xfeff].into_iter().chain("KEY=x\n".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    project.write(".env", utf_16);
    stderr!(project.changes_nothing(&["adopt", ".env"]).fails_with(2), @"
    error: `.env` is not a dotenv file: it is UTF-16 text, but only UTF-8 can be read
    hint: save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`
    hint: nothing was written
    ");

    let other = MANIFEST.to_owned() + "delimiters = \"[[,]]\"\n";
    project.write(".secrets.toml", other);
    stderr!(project.changes_nothing(&["adopt", ".env"]).fails_with(2), @"
    error: the template of `.env` has its own delimiters or a default filter
    hint: add the variables to the template by hand; nothing was written
    ");
}

#[test]
fn a_new_variable_is_spelled_for_the_readers_in_the_manifest() {
    let project = simple();
    project.write(".secrets.toml", MANIFEST.to_owned() + "readers = [\"bash\"]\n");
    project.run(&["setup", "-q"]).succeeds();
    project.write(".env", format!("KEY={MARKER}\nNEW='a$b {MARKER}'\n"));
    project.run(&["adopt", ".env", "-q"]).succeeds();
    assert_eq!(
        project.read(".env.tmpl"),
        "KEY={{ secrets.key }}\nNEW={{ secrets.NEW | dotenv }}\n"
    );

    assert_eq!(project.stored("web", "NEW"), Some(format!("a$b {MARKER}")));
    project.changes_nothing(&["check", "-q"]).succeeds();
}

/// A template that held an already stored value would publish it.
#[test]
fn a_stored_value_is_never_copied_into_the_template_or_the_manifest() {
    let project = added();
    project.store("web", "other", "a-value-of-another-template");
    project.store("web", "environment", "production");

    for (text, options, line, tag) in [
        (
            format!("KEY={MARKER}\n\n# used to be {MARKER} too\nHEALTH_URL=x1\nNEW=y1\n"),
            &[][..],
            3,
            "key",
        ),
        (format!("KEY={MARKER}\nA=1\nCOPY={MARKER}\n"), &["--keep", "COPY"], 3, "key"),
        (
            "KEY=x\n# of a\nA=x1\n\nCOPY=a-value-of-another-template\n".to_owned(),
            &["--keep", "COPY"],
            5,
            "other",
        ),
    ] {
        project.write(".env", text);
        let run = project
            .changes_nothing(&[&["adopt", ".env"][..], options].concat())
            .fails_with(2)
            .stdout("");
        run.stderr(&format!(
            "error: .env:{line}: the value of `{tag}` would stay in this line of the template\nhint: \
             change the lines that contain a secret or cannot be stored; nothing was written\n"
        ));
    }

    // A value that looks like a setting may appear in any file. A copy that becomes a secret leaks
    // nothing.
    project.write(".env", format!("KEY={MARKER}\nNODE_ENV=production\nCOPY={MARKER}\n"));
    project.run(&["adopt", ".env", "-q"]).succeeds();
    let template = "KEY={{ secrets.key }}\nNODE_ENV=production\nCOPY={{ secrets.COPY | dotenv }}\n";
    assert_eq!(project.read(".env.tmpl"), template);
}

#[test]
fn problems_are_reported_with_their_lines_and_a_next_step() {
    let project = added();
    let write = |text: &str| project.write(".env", format!("KEY={MARKER}\n\n{text}"));
    let refused = |expected: &str| {
        project.changes_nothing(&["adopt", ".env"]).fails_with(2).stdout("").stderr(expected);
    };

    write("# first\nNEW=one-value-1\nNEW=two-value-2\n");
    refused(
        "error: .env:5: `NEW` has two different values in this file; names that differ only in \
         case, or in `-` and `_`, count as one\nhint: change the lines that contain a secret or \
         cannot be stored; nothing was written\n",
    );

    write("NEW=1x\nNEW=2x\nP={{ secrets.A }}\nA='{{ secrets.A }}'\n");
    refused(
        "error: `.env` has 3 problems\n.env:4: `NEW` has two different values in this file; names \
         that differ only in case, or in `-` and `_`, count as one\n.env:5: the value of `P` \
         already contains a placeholder\n.env:6: the value of `A` already contains a \
         placeholder\nhint: use `--keep P,A` to leave values that are not secrets in the template; \
         change the lines that contain a secret or cannot be stored; move placeholders that should \
         be replaced into a template; nothing was written\n",
    );

    // Kept lines render exactly as they are.
    let text = "# see {{ secrets.A }}\nP={{ secrets.A }}\nQ='\\{{X}}{{{X}}}${{ secrets.A }}'\n";
    write(text);
    let backslashes = "3 backslashes before a placeholder";
    project.run(&["adopt", ".env", "--keep", "P,Q", "-q"]).succeeds().stderr_has(backslashes);

    let escaped =
        "# see \\{{ secrets.A }}\nP=\\{{ secrets.A }}\nQ='\\\\\\{{X}}{\\{{X}}}${{ secrets.A }}'\n";
    assert_eq!(project.read(".env.tmpl"), format!("KEY={{{{ secrets.key }}}}\n\n{escaped}"));
    project.run(&["setup", "--yes", "-q"]).succeeds().stderr_has(backslashes);
    assert_eq!(project.read(".env"), format!("KEY={MARKER}\n\n{text}"));

    // No template can hold this text.
    write("A={{ secrets.A | upper }}\nNEW=x1\n");
    let run = project.changes_nothing(&["adopt", ".env", "--keep", "A"]).fails_with(2);
    stderr!(run, @"
    warning: .env.tmpl:5:7: 3 backslashes before a placeholder become 1, then the placeholder's text; in version 0.1.0 they became 2, then the placeholder's text
    error: .env:3: this line has an invalid placeholder, which no template can contain
    hint: change the lines that contain a secret or cannot be stored; nothing was written
    ");
}

#[test]
fn a_value_that_also_changed_is_left_to_setup() {
    let project = added();
    project.write(".env", "KEY=by hand\nNEW=value-of-new\n");
    stderr!(project.run(&["adopt", ".env"]).succeeds(), @"
    imported into project `web`: 1 created
    added 1 secret and 0 plain settings to `.env.tmpl`
    `.env` has values, quotes or comments that its template does not give; `secrets setup` asks before replacing it
    ");

    assert_eq!(project.read(".env"), "KEY=by hand\nNEW=value-of-new\n");
    project.run(&["setup", "--yes", "-q"]).succeeds();
    assert_eq!(project.read(".env"), format!("KEY={MARKER}\nNEW=value-of-new\n"));
}

#[test]
fn on_a_terminal_every_variable_is_asked_about() {
    let project = added();
    project.0.write("pass", PASSPHRASE);
    let script = "cd repo; \"$secrets\" --passphrase-file ../pass adopt .env";
    let mut terminal = Terminal::shell(&project.0, script);

    terminal.waits_for("Is STRIPE_KEY a secret? [Y/n] ").types("\n");
    terminal.waits_for("Is LOG_LEVEL a secret? [y/N] ").types("y\n");
    let screen = terminal.waits_for("added 2 secrets and 0 plain settings").ends_with(0);
    assert!(!screen.contains(MARKER), "{screen}");
    assert_eq!(project.stored("web", "log-level").unwrap(), "debug");
}
