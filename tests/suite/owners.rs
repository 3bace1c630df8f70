//! Directories and outputs that share projects and tags: nothing is shared or overwritten silently.

use std::fs;
use std::path::Path;
use std::process::Command;

use terminal_secrets::vault::{Reveal, Revealed};

use crate::support::terminal::Terminal;
use crate::support::{self, PASSPHRASE, Prepared, Sandbox, project};

const DEV: &str = "API_KEY=dev-key-aaaa1111\n";
const PROD: &str = "API_KEY=prod-key-bbbb2222\n";

fn write(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn at(sandbox: &Sandbox, directory: &str, arguments: &[&str]) -> Prepared {
    sandbox.command(arguments).current_dir(sandbox.path(directory)).env("PATH", "/usr/bin:/bin")
}

/// Returns a directory with two dotenv files that have a name in common. The first is already a
/// template.
fn two_files() -> Sandbox {
    let sandbox = Sandbox::new();
    write(&sandbox, "api/.env.development", DEV);
    write(&sandbox, "api/.env.production", PROD);
    at(&sandbox, "api", &["template", ".env.development", "-q"]).run().succeeds();

    sandbox
}

fn value(sandbox: &Sandbox, tag: &str) -> String {
    let vault = sandbox.vault();
    match vault.scope(&project("api")).reveal(&[tag.parse().unwrap()]).unwrap().remove(0) {
        Revealed::Value { value, .. } => String::from_utf8(value.expose().to_vec()).unwrap(),
        Revealed::Missing { .. } => panic!("no {tag}"),
    }
}

#[test]
fn a_second_file_does_not_overwrite_the_first_one_s_value() {
    let sandbox = two_files();
    let taken = "error: `API_KEY` has a different value in project `api`, used by \
                 `.env.development`\nhint: use `--on-conflict separate` to store it under another \
                 tag, such as `API_KEY-production`\n";
    let run = at(&sandbox, "api", &["template", ".env.production"]).run().fails_with(4).stdout("");

    run.stderr(&format!(
        "{taken}hint: use `--on-conflict overwrite --yes` to overwrite it for these outputs too; \
         nothing was written\n"
    ));

    let run = at(&sandbox, "api", &["template", ".env.production", "--on-conflict", "overwrite"])
        .run()
        .fails_with(4);

    run.stdout("").stderr(&format!(
        "{taken}hint: use `--yes` to overwrite it for these outputs too; nothing \
                          was written\n"
    ));

    assert_eq!(value(&sandbox, "API_KEY"), "dev-key-aaaa1111");
    assert!(!sandbox.path("api/.env.production.tmpl").exists());

    let separate = ["template", ".env.production", "--on-conflict", "separate", "--json"];
    let json = at(&sandbox, "api", &separate).run().succeeds().json();
    assert_eq!(json["secrets"].to_string(), r#"["API_KEY-production"]"#);
    assert_eq!(
        sandbox.read("api/.env.production.tmpl"),
        b"API_KEY={{ secrets.API_KEY-production | dotenv }}\n"
    );

    assert_eq!(value(&sandbox, "API_KEY-production"), "prod-key-bbbb2222");
    at(&sandbox, "api", &["setup", "-y", "-q"]).run().succeeds();
    assert_eq!(sandbox.read("api/.env.development"), DEV.as_bytes());
    assert_eq!(sandbox.read("api/.env.production"), PROD.as_bytes());
    at(&sandbox, "api", &["check", "-q"]).run().succeeds();
}

#[test]
fn with_yes_the_value_is_overwritten_and_its_uses_are_listed() {
    let sandbox = two_files();
    let overwrite = ["template", ".env.production", "--on-conflict", "overwrite", "--yes"];
    let run = at(&sandbox, "api", &overwrite).run().succeeds();
    stderr!(run, @"
    `API_KEY` has a different value in project `api`, used by `.env.development`
    imported into project `api`: 1 overwritten
    wrote `.env.production.tmpl`
    added the template to `.secrets.toml`
    next: review the files, then run `secrets setup`
    ");

    assert_eq!(value(&sandbox, "API_KEY"), "prod-key-bbbb2222");
}

#[test]
fn an_import_lists_the_uses_of_a_value_before_overwriting_it() {
    let sandbox = two_files();
    write(&sandbox, "elsewhere/new.env", PROD);
    let import = ["-p", "api", "import", "new.env", "--on-conflict", "overwrite"];
    let run = at(&sandbox, "elsewhere", &import).run().fails_with(4).stdout("");
    let dev = fs::canonicalize(sandbox.path("api/.env.development")).unwrap();

    run.stderr_has(&format!(
        "`API_KEY` has a different value in project `api`, used by `{}`\n",
        dev.display()
    ));

    assert_eq!(value(&sandbox, "API_KEY"), "dev-key-aaaa1111");
    at(
        &sandbox,
        "elsewhere",
        &["-p", "api", "import", "new.env", "--on-conflict", "separate", "-q"],
    )
    .run()
    .succeeds();

    assert_eq!(value(&sandbox, "API_KEY-new"), "prod-key-bbbb2222");

    // The file's own output does not count as another use.
    write(&sandbox, "api/.env.development", PROD);
    at(&sandbox, "api", &["import", ".env.development", "--on-conflict", "overwrite", "-q"])
        .run()
        .succeeds();
    write(&sandbox, "elsewhere/new.env", DEV);
    at(&sandbox, "elsewhere", &[&import[..], &["-y", "-q"]].concat()).run().succeeds();
    assert_eq!(value(&sandbox, "API_KEY"), "dev-key-aaaa1111");
}

/// Returns two directories of one project: `a` has an output, and `b` has a file with another
/// value.
fn two_directories() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    write(&sandbox, "a/.env", DEV);
    write(&sandbox, "b/.env", PROD);
    at(&sandbox, "a", &["-p", "s", "template", ".env", "-q"]).run().succeeds();

    let used = fs::canonicalize(sandbox.path("a/.env")).unwrap();
    (sandbox, used.display().to_string())
}

const OVERWRITE: [&str; 6] = ["-p", "s", "import", ".env", "--on-conflict", "overwrite"];

#[test]
fn a_use_is_known_after_rekey_and_without_the_output() {
    let (sandbox, used) = two_directories();
    let is_named = |sandbox: &Sandbox, used: &str| {
        let run = at(sandbox, "b", &OVERWRITE).run().fails_with(4).stdout("");
        run.stderr_has(&format!(
            "error: `API_KEY` has a different value in project `s`, used by `{used}`\n"
        ));
    };

    is_named(&sandbox, &used);
    sandbox.run(["rekey", "--yes", "-q"]).succeeds();
    is_named(&sandbox, &used);

    // This record stays under an earlier key, like those of another machine. It is found without
    // the manifest.
    write(&sandbox, "a/.env", "API_KEY=by hand\n");
    sandbox.run(["rekey", "--yes", "-q"]).succeeds();
    fs::rename(sandbox.path("a/.secrets.toml"), sandbox.path("a/away")).unwrap();
    is_named(&sandbox, &used);
    fs::rename(sandbox.path("a/away"), sandbox.path("a/.secrets.toml")).unwrap();

    // The output is missing, as after `git clean`.
    fs::remove_file(sandbox.path("a/.env")).unwrap();
    is_named(&sandbox, &used);
    fs::remove_dir_all(sandbox.state().join("secrets/outputs")).unwrap();
    is_named(&sandbox, &used);

    // An output of another project with the same tag does not count.
    at(&sandbox, "b", &["-p", "t", "import", ".env", "-q"]).run().succeeds();
    write(&sandbox, "c/.env", DEV);
    at(&sandbox, "c", &["-p", "t", "import", ".env", "--on-conflict", "overwrite", "-q"])
        .run()
        .succeeds();

    // A directory whose manifest no longer refers to the secret does not count.
    fs::remove_file(sandbox.path("a/.secrets.toml")).unwrap();
    at(&sandbox, "b", &[&OVERWRITE[..], &["-q"]].concat()).run().succeeds();
}

#[test]
fn a_directory_that_only_runs_programs_is_named() {
    let sandbox = Sandbox::new();
    let manifest = "project = \"s\"\n[secrets.API_KEY]\n";
    write(&sandbox, "a/.secrets.toml", manifest);
    write(&sandbox, "a/values", DEV);
    write(&sandbox, "b/.env", PROD);
    at(&sandbox, "a", &["setup", "--from", "values", "-q"]).run().succeeds();

    let path = fs::canonicalize(sandbox.path("a/.secrets.toml")).unwrap();
    let path = path.display();
    for (text, used) in [
        (manifest.to_owned(), format!("`{path}`")),
        (
            format!("{manifest}[run.env]\nX = \"{{{{ secrets.API_KEY }}}}\"\n"),
            format!("`[run.env]` of `{path}`"),
        ),
    ] {
        write(&sandbox, "a/.secrets.toml", &text);
        let run = at(&sandbox, "b", &OVERWRITE).run().fails_with(4).stdout("");
        run.stderr_has(&format!(
            "`API_KEY` has a different value in project `s`, used by {used}\n"
        ));
    }

    // This directory only uses `run`.
    write(
        &sandbox,
        "r/.secrets.toml",
        "project = \"s\"\n[run.env]\nY = \"{{ secrets.API_KEY }}\"\n",
    );

    at(&sandbox, "r", &["run", "--", "true"]).run().succeeds();
    let other = fs::canonicalize(sandbox.path("r/.secrets.toml")).unwrap();
    let run = at(&sandbox, "b", &OVERWRITE).run().fails_with(4);
    run.stderr_has(&format!("`[run.env]` of `{path}`, `[run.env]` of `{}`\n", other.display()));
    fs::remove_file(other).unwrap();

    // Templates that would block or are huge are not read, and they hide no other use.
    write(&sandbox, "a/huge", &"x".repeat(1024 * 1024 + 1));
    assert!(Command::new("mkfifo").arg(sandbox.path("a/pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("../b/.env", sandbox.path("a/link")).unwrap();
    let templates = ["pipe", "huge", "link", "missing"];
    let render = templates
        .map(|name| format!("[[render]]\ntemplate = \"{name}\"\noutput = \"{name}.env\"\n"))
        .concat();

    write(&sandbox, "a/.secrets.toml", &format!("{manifest}{render}"));
    at(&sandbox, "b", &OVERWRITE).run().fails_with(4).stderr_has(&format!("used by `{path}`\n"));
}

#[test]
fn a_clone_lists_the_uses_of_a_value_before_overwriting_it() {
    let (sandbox, used) = two_directories();
    at(&sandbox, "b", &["-p", "t", "import", ".env", "-q"]).run().succeeds();
    let clone = ["-p", "t", "clone", "--all", "--to", "s", "--on-conflict", "overwrite"];
    let what = format!("`API_KEY` has a different value in project `s`, used by `{used}`\n");

    at(&sandbox, "b", &clone).run().fails_with(4).stdout("").stderr(&format!(
        "error: {what}hint: use `--yes` to overwrite it for these outputs too; nothing was \
         written\n"
    ));

    // In the directory itself, the path is relative.
    stderr!(at(&sandbox, "a", &clone).run().fails_with(4), @"
    error: `API_KEY` has a different value in project `s`, used by `.env`
    hint: use `--yes` to overwrite it for these outputs too; nothing was written
    ");

    at(&sandbox, "b", &["-p", "t", "clone", "API_KEY", "--to", "s", "--tag", "OTHER", "-q"])
        .run()
        .succeeds();
    let other = ["-p", "s", "clone", "OTHER", "--tag", "API_KEY", "--on-conflict", "overwrite"];

    at(&sandbox, "b", &other).run().fails_with(4).stderr_has(&what);
    let skip = ["-p", "t", "clone", "--all", "--to", "s", "--on-conflict", "skip", "-q"];
    at(&sandbox, "b", &skip).run().succeeds();

    sandbox.write("pass", PASSPHRASE);
    let script = "cd b; \"$secrets\" --passphrase-file ../pass -p t clone --all --to s --on-conflict overwrite";
    for (answer, code) in [("n\n", 4), ("y\n", 0)] {
        let mut terminal = Terminal::shell(&sandbox, script);
        terminal.waits_for("has a different value in project `s`, used by `");
        terminal.waits_for("Overwrite it for them too? [y/N] ").types(answer).ends_with(code);
    }

    // No question is asked if the value is the same or nothing uses it.
    stderr!(at(&sandbox, "b", &clone).run().succeeds(), @"copied 1 secret to project `s`");
    at(
        &sandbox,
        "b",
        &["-p", "s", "import", "../a/.env", "--on-conflict", "overwrite", "-y", "-q"],
    )
    .run()
    .succeeds();

    let run = at(&sandbox, "b", &[&clone[..], &["--yes"]].concat()).run().succeeds();
    run.stderr(&format!("{what}copied 1 secret to project `s`\n"));
}

#[test]
fn two_directories_of_one_name_do_not_share_a_project_silently() {
    let sandbox = Sandbox::new();
    write(&sandbox, "one/api/.env", DEV);
    write(&sandbox, "two/api/.env", "OTHER=other-value-1234\n");
    write(&sandbox, "three/api/t.tmpl", "{{ secrets.x }}\n");
    at(&sandbox, "one/api", &["template", ".env", "-q"]).run().succeeds();

    let one = fs::canonicalize(sandbox.path("one/api")).unwrap();
    let taken = format!("project `api` is also used by `{}`\n", one.display());
    for (directory, line) in [
        ("two/api", &["template", ".env"][..]),
        ("three/api", &["setup", "--new"]),
        ("three/api", &["init", "--project-file"]),
    ] {
        at(&sandbox, directory, line).run().fails_with(4).stdout("").stderr(&format!(
            "error: {taken}hint: choose another project with `-p NAME`, or share this one with `-p \
             api`; nothing was written\n"
        ));
        assert!(!sandbox.path(directory).join(".secrets.toml").exists());
    }

    // A project that is named explicitly is shared, with a message.
    at(&sandbox, "two/api", &["-p", "api", "template", ".env"]).run().succeeds().stderr_has(&taken);
    at(&sandbox, "three/api", &["-p", "mine", "setup", "--new", "-q"]).run().succeeds();

    // From then on the directory is known.
    write(&sandbox, "two/api/b.env", "B=value-of-b-1234\n");
    at(&sandbox, "two/api", &["template", "b.env", "-q"]).run().succeeds();
}

#[test]
fn a_manifest_with_another_directory_s_project_is_not_consent_to_share_it() {
    let sandbox = Sandbox::new();
    write(&sandbox, "one/.env", DEV);
    at(&sandbox, "one", &["-p", "web", "template", ".env", "-q"]).run().succeeds();
    write(&sandbox, "two/.secrets.toml", "# another one\nproject = \"web\"\n");
    write(&sandbox, "two/b.env", "B=value-of-b-1234\n");

    for line in [["template", "b.env"], ["import", "b.env"]] {
        let run = stderr!(at(&sandbox, "two", &line).run().fails_with(4), @"
        error: project `web` is also used by `[dir]/one`
        hint: change `project` in `.secrets.toml`, or share this one with `-p web`; nothing was written
        ");

        stderr!(run, @"
        error: project `web` is also used by `[dir]/one`
        hint: change `project` in `.secrets.toml`, or share this one with `-p web`; nothing was written
        ");
    }

    stderr!(at(&sandbox, "two", &["-p", "web", "import", "b.env"]).run().succeeds(), @"
    project `web` is also used by `[dir]/one`
    imported into project `web`: 1 created
    ");
}

#[test]
fn a_moved_directory_and_a_worktree_are_one_owner() {
    let sandbox = Sandbox::new();
    write(&sandbox, "one/api/.env", DEV);
    let git = |arguments: &[&str]| {
        let directory = sandbox.path("one/api");
        let done = support::git(&directory, &sandbox.path(""), arguments).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    };

    git(&["init", "-q"]);
    at(&sandbox, "one/api", &["template", ".env", "-q"]).run().succeeds();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x"]);
    git(&["worktree", "add", "-q", "../../tree"]);

    // The manifest is a different file, but the repository is the same.
    write(&sandbox, "tree/b.env", "B=value-of-b-1234\n");
    at(&sandbox, "tree", &["template", "b.env", "-q"]).run().succeeds();
    write(&sandbox, "tree/c.env", "C=value-of-c-1234\n");
    at(&sandbox, "tree", &["template", "c.env", "-q"]).run().succeeds();

    fs::remove_dir_all(sandbox.path("tree")).unwrap();
    fs::create_dir(sandbox.path("two")).unwrap();
    fs::rename(sandbox.path("one/api"), sandbox.path("two/api")).unwrap();
    write(&sandbox, "two/api/b.env", "B=value-of-b-1234\n");
    at(&sandbox, "two/api", &["template", "b.env", "-q"]).run().succeeds();

    // The same manifest in another place means a second clone.
    fs::create_dir_all(sandbox.path("three/api")).unwrap();
    fs::copy(sandbox.path("two/api/.secrets.toml"), sandbox.path("three/api/.secrets.toml"))
        .unwrap();
    write(&sandbox, "three/api/x.env", "X=value-of-x-1234\n");
    at(&sandbox, "three/api", &["template", "x.env", "-q"]).run().succeeds();
    assert!(Path::new(&sandbox.path("three/api/x.env.tmpl")).exists());
}

#[test]
fn on_a_terminal_a_separate_tag_and_a_separate_project_are_offered() {
    let sandbox = two_files();
    sandbox.write("pass", PASSPHRASE);
    let script = "cd api; \"$secrets\" --passphrase-file ../pass template .env.production --keep X_UNUSED 2>&1; \"$secrets\" --passphrase-file ../pass template .env.production";
    let mut terminal = Terminal::shell(&sandbox, script);

    terminal.waits_for("has no variable `X_UNUSED`");
    terminal
        .waits_for("Which programs read ")
        .types("\n")
        .waits_for("Is `API_KEY` a secret?")
        .types("\n");

    terminal.waits_for("used by `.env.development`");
    terminal.waits_for("Store the new value as `API_KEY-production`? [Y/n] ").types("\n");
    terminal.waits_for("wrote `.env.production.tmpl`").ends_with(0);
    assert_eq!(value(&sandbox, "API_KEY"), "dev-key-aaaa1111");

    write(&sandbox, "two/api/.env", DEV);
    let script = "cd two/api; \"$secrets\" --passphrase-file ../../pass template .env";
    let mut terminal = Terminal::shell(&sandbox, script);
    terminal
        .waits_for("Which programs read ")
        .types("\n")
        .waits_for("Is `API_KEY` a secret?")
        .types("\n");

    terminal.waits_for("project `api` is also used by `");
    terminal.waits_for("Use a separate project `api-2`? [Y/n] ").types("\n");
    terminal.waits_for("imported into project `api-2`: 1 created").ends_with(0);

    write(&sandbox, "three/api/.env", DEV);
    let script = "cd three/api; \"$secrets\" --passphrase-file ../../pass template .env";
    let mut terminal = Terminal::shell(&sandbox, script);
    terminal
        .waits_for("Which programs read ")
        .types("\n")
        .waits_for("Is `API_KEY` a secret?")
        .types("\n");

    terminal.waits_for("Use a separate project `api-3`? [Y/n] ").types("n\n");
    terminal.waits_for("Share project `api`? [y/N] ").types("\n");
    terminal.waits_for("nothing was written").ends_with(4);
    assert!(!sandbox.path("three/api/.secrets.toml").exists());
}
