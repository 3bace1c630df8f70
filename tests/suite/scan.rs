//! `scan` finds values in trees and in git's index.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::support::programs::environment;
use crate::support::{self, PASSPHRASE, PATH, Prepared, Sandbox, TOKEN, wrapped_in};

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN), ("key", "first line of it\nsecond line of it\n")])
}

fn scan(sandbox: &Sandbox, arguments: &[&str]) -> Prepared {
    sandbox.command([&["scan"], arguments].concat()).env("PATH", PATH)
}

/// The output of `printf %s TOKEN | base64`
const IN_BASE64: &str = "dDBrZW4tYWJjZGVmZ2hpamtsbW5vcA==";

fn tree(sandbox: &Sandbox) {
    for directory in ["tree/src", "tree/.github", "tree/.git", "tree/node_modules"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }

    sandbox.write(
        "tree/src/a.txt",
        format!("one\ntwo {TOKEN}\nfirst line of it\nsecond line of it\nlast {IN_BASE64}\n"),
    );

    sandbox.write("tree/.github/b.yml", "x: first line of it\r\n");
    sandbox.write("tree/.git/config", TOKEN);
    sandbox.write("tree/.gitignore", ".env\nnode_modules\n");
    sandbox.write("tree/.env", TOKEN);

    // `.ignore` files are for other tools. git commits the files that they list.
    sandbox.write("tree/.ignore", "src\n");
    sandbox.write("tree/node_modules/c.js", TOKEN);
    sandbox.write("tree/clean", "nothing here");
}

const FOUND: &str = "tree/.github/b.yml:1: key (line)\n\
                     tree/src/a.txt:2: api-token (raw)\n\
                     tree/src/a.txt:3: key (raw)\n\
                     tree/src/a.txt:5: api-token (base64)\n";

#[test]
fn a_tree_is_searched_as_git_sees_it() {
    let sandbox = sandbox();
    tree(&sandbox);
    let run = scan(&sandbox, &["tree"]).run().fails_with(8).stdout(FOUND);
    stderr!(run, @"
    error: 4 values in 5 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let run = scan(&sandbox, &["--no-ignore", "tree/.env", "tree/node_modules", "tree/clean"])
        .run()
        .fails_with(8);
    stderr!(run.stdout("tree/.env:1: api-token (raw)\ntree/node_modules/c.js:1: api-token (raw)\n"), @"
    error: 2 values in 3 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // A path that is given is searched even if it is ignored.
    stderr!(scan(&sandbox, &["tree/.env"]).run().fails_with(8).stdout("tree/.env:1: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    stderr!(scan(&sandbox, &["/dev/stdin"]).stdin(TOKEN).run().fails_with(8).stdout_has("/dev/stdin:1"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let run = scan(&sandbox, &["tree/clean"]).run().succeeds().stdout("");
    stderr!(run, @"no values found in 1 file");
}

#[test]
fn json_lists_the_findings() {
    let sandbox = sandbox();
    sandbox.write("a", format!("\n{TOKEN}"));
    let found = scan(&sandbox, &["--json", "a"]).run().fails_with(8);
    let found = stderr!(found, @r#"{"type":"CONFLICT","message":"1 value in 1 file","details":{"hints":["replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published"]}}"#)
        .json();
    let finding = serde_json::json!({ "file": "a", "place": "line", "line": 2, "tag": "api-token", "form": "raw" });

    assert_eq!(found, serde_json::json!({ "findings": [finding], "files": 1 }));
    let found = scan(&sandbox, &["--json", "vault.db"]).run().succeeds().json();
    assert_eq!(found, serde_json::json!({ "findings": [], "files": 1 }));
}

#[test]
fn lines_are_counted_across_reads() {
    let sandbox = sandbox();

    // The value crosses a read boundary, after many lines.
    let mut text = "line\n".repeat(13_104);
    text += &" ".repeat(65_536 - 6 - text.len());
    text += TOKEN;
    text += &format!("\nx\n{TOKEN}\n");
    sandbox.write("large", &text);

    let run = stderr!(scan(&sandbox, &["large"]).run().fails_with(8), @"
    error: 2 values in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    run.stdout("large:13105: api-token (raw)\nlarge:13107: api-token (raw)\n");
}

#[test]
fn unreadable_files_are_reported_and_the_rest_is_searched() {
    let sandbox = sandbox();
    let output = scan(&sandbox, &["nowhere"]).run().fails_with(1);
    stderr!(output, @"error: cannot read `nowhere`: No such file or directory");
    sandbox.write("a", TOKEN);
    std::os::unix::fs::symlink("nowhere", sandbox.path("link")).unwrap();

    let run = scan(&sandbox, &["link", "a"]).run().fails_with(8).stdout("a:1: api-token (raw)\n");
    stderr!(run, @"
    error: 1 value in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // The default is the working directory.
    stderr!(scan(&sandbox, &[]).run().fails_with(8).stdout("a:1: api-token (raw)\n"), @"
    error: 1 value in 3 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

fn git(sandbox: &Sandbox, arguments: &[&str]) -> bool {
    let mut git = support::git(&sandbox.path("repo"), &sandbox.path(""), arguments);
    git.env("SECRETS_VAULT", sandbox.vault_path()).env("SECRETS_PASSPHRASE", PASSPHRASE);
    git.output().unwrap().status.success()
}

fn staged(sandbox: &Sandbox) -> Prepared {
    scan(sandbox, &["--staged"]).current_dir(sandbox.path("repo"))
}

fn repository(sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path("repo")).unwrap();
    assert!(git(sandbox, &["init", "-q"]));
}

#[test]
fn the_index_counts_and_not_the_working_tree() {
    let sandbox = sandbox();
    repository(&sandbox);
    stderr!(staged(&sandbox).run().succeeds(), @"no values found in 0 files");

    // There is no commit yet. The names are odd, and one file is fixed in the tree only.
    std::fs::create_dir(sandbox.path("repo/sub")).unwrap();
    sandbox.write("repo/sub/a b\nc", format!("x\n{TOKEN}\n"));
    sandbox.write("repo/binary", [b"\0\xff", TOKEN.as_bytes()].concat());
    assert!(git(&sandbox, &["add", "."]));
    sandbox.write("repo/sub/a b\nc", "mended");

    let run = stderr!(staged(&sandbox).run().fails_with(8), @"
    error: 2 values in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    run.stdout("binary:1: api-token (raw)\nsub/a b\\nc:2: api-token (raw)\n");
    let run = scan(&sandbox, &["--staged"]).current_dir(sandbox.path("repo/sub")).run();
    stderr!(run.fails_with(8).stdout_has("binary:1"), @"
    error: 2 values in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // The files are in the tree but not staged.
    assert!(git(&sandbox, &["rm", "-q", "--cached", "-f", "binary", "sub/a b\nc"]));
    stderr!(staged(&sandbox).run().succeeds(), @"no values found in 0 files");

    // A deleted file is not a finding, but a moved one is.
    assert!(
        git(&sandbox, &["add", "binary"])
            && git(&sandbox, &["commit", "-q", "--no-verify", "-m", "x"])
    );

    assert!(git(&sandbox, &["mv", "binary", "moved"]));
    stderr!(staged(&sandbox).run().fails_with(8).stdout("moved:1: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    assert!(git(&sandbox, &["rm", "-q", "-f", "moved"]));
    stderr!(staged(&sandbox).run().succeeds(), @"no values found in 0 files");
}

#[test]
fn the_hook_stops_the_commit() {
    let sandbox = sandbox();
    repository(&sandbox);
    let binary = Path::new(env!("CARGO_BIN_EXE_secrets"));
    let hook = format!("#!/bin/sh\nexec {} scan --staged\n", binary.display());

    sandbox.write("repo/.git/hooks/pre-commit", hook);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(sandbox.path("repo/.git/hooks/pre-commit"), executable).unwrap();
    sandbox.write("repo/config", format!("token = {TOKEN}"));
    assert!(git(&sandbox, &["add", "config"]) && !git(&sandbox, &["commit", "-m", "with a value"]));
    sandbox.write("repo/config", "token = {{ secrets.api-token }}");
    assert!(
        git(&sandbox, &["add", "config"]) && git(&sandbox, &["commit", "-m", "with a placeholder"])
    );

    // `commit -a` has its own index, and git passes its name to the hook.
    sandbox.write("repo/config", format!("token = {TOKEN}"));
    assert!(!git(&sandbox, &["commit", "-a", "-m", "again"]));
}

#[test]
fn staged_needs_a_repository() {
    let sandbox = sandbox();
    let run = scan(&sandbox, &["--staged"]).env("GIT_CEILING_DIRECTORIES", "/").run().fails_with(1);
    stderr!(run, @"
    error: `[dir]` is not in the working tree of a git repository
    hint: change to the working tree of a repository, or create one with `git init`
    ");
}

#[test]
fn all_staged_files_are_found_with_any_git_configuration() {
    let sandbox = sandbox();
    repository(&sandbox);
    std::fs::create_dir(sandbox.path("repo/sub")).unwrap();
    sandbox.write("repo/top", TOKEN);
    sandbox.write("repo/sub/clean", "x");
    assert!(git(&sandbox, &["add", "."]));

    for (key, value) in [
        ("diff.relative", "true"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.external", "false"),
        ("diff.renames", "copies"),
        ("diff.orderFile", "nowhere-else"),
        ("diff.ignoreSubmodules", "all"),
        ("color.ui", "always"),
        ("color.diff", "always"),
        ("core.quotePath", "true"),
        ("core.pager", "false"),
    ] {
        let set = git(&sandbox, &["config", key, value]);
        sandbox.write("repo/nowhere-else", "");
        let run = scan(&sandbox, &["--staged"]).current_dir(sandbox.path("repo/sub")).run();
        assert!(set && git(&sandbox, &["config", "--unset", key]));
        stderr!(run.fails_with(8).stdout("top:1: api-token (raw)\n"), @"
        error: 1 value in 2 files
        hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
        ");
    }
}

#[test]
fn git_replacements_do_not_hide_staged_content() {
    let sandbox = sandbox();
    repository(&sandbox);
    sandbox.write("repo/a", TOKEN);
    sandbox.write("repo/b", "clean");
    assert!(git(&sandbox, &["add", "."]) && git(&sandbox, &["replace", ":a", ":b"]));
    stderr!(staged(&sandbox).run().fails_with(8).stdout("a:1: api-token (raw)\n"), @"
    error: 1 value in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn staged_paths_can_be_given_and_have_any_name() {
    let sandbox = sandbox();
    repository(&sandbox);
    let odd = std::ffi::OsStr::from_bytes(b"\xff and\na \xe2\x80\xaeb");
    std::fs::write(sandbox.path("repo").join(odd), TOKEN).unwrap();
    std::fs::create_dir(sandbox.path("repo/-d")).unwrap();
    sandbox.write("repo/-d/-f", TOKEN);
    assert!(git(&sandbox, &["add", "."]));

    let run = stderr!(staged(&sandbox).run().fails_with(8), @"
    error: 2 values in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // The names add neither a line break nor reversed text.
    let shown = String::from_utf8(run.bytes()).unwrap();
    assert!(
        shown.starts_with("-d/-f:1: ") && shown.lines().count() == 2 && !shown.contains('\u{202e}'),
        "{shown}"
    );

    let json = scan(&sandbox, &["--staged", "--json"])
        .current_dir(sandbox.path("repo"))
        .run()
        .fails_with(8);

    let json = stderr!(json, @r#"{"type":"CONFLICT","message":"2 values in 2 files","details":{"hints":["replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published"]}}"#)
        .json();
    assert_eq!(json["findings"][1]["file"], "\u{fffd} and\na \u{202e}b");
    let run = scan(&sandbox, &["--staged", "--", "-d"])
        .current_dir(sandbox.path("repo"))
        .run()
        .fails_with(8);

    stderr!(run.stdout("-d/-f:1: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let run = scan(&sandbox, &["--staged", "--", "-f"])
        .current_dir(sandbox.path("repo/-d"))
        .run()
        .fails_with(8);

    stderr!(run.stdout("-d/-f:1: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn only_the_staged_part_of_a_file_is_searched() {
    let sandbox = sandbox();
    repository(&sandbox);
    sandbox.write("repo/a", "one\ntwo\n");
    assert!(
        git(&sandbox, &["add", "."]) && git(&sandbox, &["commit", "-q", "--no-verify", "-m", "x"])
    );

    // The staged file holds a value and the file in the tree does not, and the other way round.
    sandbox.write("repo/a", format!("one\ntwo\n{TOKEN}\n"));
    assert!(git(&sandbox, &["add", "a"]));
    sandbox.write("repo/a", "one\ntwo\n");
    stderr!(staged(&sandbox).run().fails_with(8).stdout("a:3: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    sandbox.write("repo/a", "one\ntwo\nthree\n");
    assert!(git(&sandbox, &["add", "a"]));
    sandbox.write("repo/a", format!("one\ntwo\nthree\n{TOKEN}\n"));
    stderr!(staged(&sandbox).run().succeeds(), @"no values found in 1 file");

    // A file that was added with `-N` is not staged yet.
    sandbox.write("repo/later", TOKEN);
    assert!(git(&sandbox, &["add", "-N", "later"]));
    stderr!(staged(&sandbox).run().succeeds(), @"no values found in 1 file");
}

#[test]
fn other_indexes_submodules_links_and_conflicts_are_handled() {
    let sandbox = sandbox();
    repository(&sandbox);
    sandbox.write("repo/a", "clean");
    assert!(
        git(&sandbox, &["add", "."]) && git(&sandbox, &["commit", "-q", "--no-verify", "-m", "x"])
    );
    sandbox.write("repo/a", TOKEN);
    std::fs::copy(sandbox.path("repo/.git/index"), sandbox.path("index")).unwrap();
    assert!(git(&sandbox, &["add", "a"]));
    stderr!(staged(&sandbox).env("GIT_INDEX_FILE", sandbox.path("index")).run().succeeds(), @"no values found in 0 files");
    stderr!(staged(&sandbox).run().fails_with(8).stdout_has("a:1"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // A submodule is another repository and is not searched.
    let module =
        ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./.git", "module"];
    assert!(git(&sandbox, &module));
    std::os::unix::fs::symlink("a", sandbox.path("repo/link")).unwrap();
    assert!(git(&sandbox, &["add", "."]));
    stderr!(staged(&sandbox).run().fails_with(8).stdout("a:1: api-token (raw)\n"), @"
    error: 1 value in 3 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // A conflict cannot be committed.
    assert!(
        git(&sandbox, &["commit", "-q", "-m", "ours"])
            && git(&sandbox, &["checkout", "-q", "-b", "other", "HEAD~"])
    );

    sandbox.write("repo/a", "theirs");
    assert!(
        git(&sandbox, &["commit", "-q", "-a", "-m", "theirs"])
            && !git(&sandbox, &["merge", "main"])
    );

    stderr!(staged(&sandbox).run().succeeds(), @"no values found in 2 files");
    sandbox.write("repo/a", TOKEN);
    assert!(git(&sandbox, &["add", "a"]));
    stderr!(staged(&sandbox).run().fails_with(8).stdout_has("a:1: api-token (raw)\n"), @"
    error: 1 value in 3 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn a_staged_file_that_git_has_lost_is_an_error() {
    let sandbox = sandbox();
    repository(&sandbox);
    sandbox.write("repo/a", "lost");
    assert!(git(&sandbox, &["add", "."]));

    let objects = std::fs::read_dir(sandbox.path("repo/.git/objects")).unwrap().flatten();
    objects
        .filter(|entry| entry.file_name().len() == 2)
        .for_each(|entry| std::fs::remove_dir_all(entry.path()).unwrap());

    let run = stderr!(staged(&sandbox).run().fails_with(1), @"
    warning: cannot read the staged version of `a`: git object 3f16b27dc5e7e9dab6a2ebc9de174654cd0f209d is missing from this clone
    error: 1 file could not be searched
    ");

    stderr!(run, @"
    warning: cannot read the staged version of `a`: git object 3f16b27dc5e7e9dab6a2ebc9de174654cd0f209d is missing from this clone
    error: 1 file could not be searched
    ");

    // The rest is searched anyway, with or without a `git` program.
    sandbox.write("repo/b", TOKEN);
    assert!(git(&sandbox, &["add", "b"]));
    let output = staged(&sandbox).env("PATH", "/nowhere").command.output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(8), &b"b:1: api-token (raw)\n"[..])
    );
}

#[test]
fn the_hook_sees_each_kind_of_commit() {
    let sandbox = sandbox();
    repository(&sandbox);
    let hook = format!("#!/bin/sh\nexec {} scan --staged\n", env!("CARGO_BIN_EXE_secrets"));
    sandbox.write("repo/.git/hooks/pre-commit", hook);

    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(sandbox.path("repo/.git/hooks/pre-commit"), executable).unwrap();
    std::fs::create_dir(sandbox.path("repo/sub")).unwrap();
    sandbox.write("repo/sub/a", "clean");
    sandbox.write("repo/b", "clean");
    assert!(git(&sandbox, &["add", "."]) && git(&sandbox, &["commit", "-m", "x"]));

    // Commits of some paths, from a subdirectory, amended, and in another working tree of the same
    // repository.
    sandbox.write("repo/b", TOKEN);
    sandbox.write("repo/sub/a", "still clean");
    assert!(
        !git(&sandbox, &["commit", "-m", "x", "b"])
            && git(&sandbox, &["commit", "-m", "x", "sub/a"])
    );

    assert!(git(&sandbox, &["add", "b"]) && !git(&sandbox, &["-C", "sub", "commit", "-m", "x"]));
    assert!(!git(&sandbox, &["commit", "--amend", "-m", "x"]));
    assert!(
        git(&sandbox, &["reset", "-q", "--hard"])
            && git(&sandbox, &["worktree", "add", "-q", "../tree"])
    );

    sandbox.write("tree/b", TOKEN);
    assert!(
        git(&sandbox, &["-C", "../tree", "add", "b"])
            && !git(&sandbox, &["-C", "../tree", "commit", "-m", "x"])
    );
}

#[test]
fn ignore_rules_apply_and_neither_links_nor_pipes_are_followed() {
    let sandbox = sandbox();
    for directory in ["tree/.git/info", "tree/sub/deep", "tree/module"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }

    sandbox.write("outside", TOKEN);
    sandbox.write("tree/.gitignore", "*.log\n/top\n!kept.log\n");
    sandbox.write("tree/.git/info/exclude", "excluded\n");
    sandbox.write("tree/sub/.gitignore", "deep/\n");
    for name in ["a.log", "kept.log", "top", "sub/top", "excluded", "sub/deep/x", "module/x"] {
        sandbox.write(&format!("tree/{name}"), TOKEN);
    }

    sandbox.write("tree/module/.git", format!("gitdir: {TOKEN}"));
    std::os::unix::fs::symlink("../outside", sandbox.path("tree/link")).unwrap();
    std::os::unix::fs::symlink("..", sandbox.path("tree/up")).unwrap();
    assert!(Command::new("mkfifo").arg(sandbox.path("tree/pipe")).status().unwrap().success());

    let files = |arguments: &[&str]| {
        let found = scan(&sandbox, arguments).run().fails_with(8).stderr_has("values in").bytes();
        let found = String::from_utf8(found).unwrap();
        found
            .lines()
            .map(|line| line.trim_start_matches("tree/").split(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };

    assert_eq!(files(&["tree"]), ["kept.log", "module/x", "sub/top"]);
    let all = ["a.log", "excluded", "kept.log", "module/x", "sub/deep/x", "sub/top", "top"];
    assert_eq!(files(&["tree", "--no-ignore"]), all);
    let run =
        scan(&sandbox, &["--json", "."]).current_dir(sandbox.path("tree")).run().fails_with(8);

    let json = run.stderr_has("CONFLICT").json();
    assert_eq!(json["findings"][0]["file"], "kept.log");
}

#[test]
fn line_numbers_are_right_at_every_offset() {
    let sandbox = sandbox();

    // Each file has one more byte before the read boundary.
    let names: Vec<String> = (0..24).map(|n| format!("at-{n:02}")).collect();
    for (n, name) in names.iter().enumerate() {
        let mut text = "line\n".repeat(13_000);
        text += &".".repeat(65_536 - 23 + n - text.len());
        text += &format!("{TOKEN}\nfirst line of it\nsecond line of it\n\n{TOKEN}");
        sandbox.write(name, text);
    }

    let arguments: Vec<&str> = names.iter().map(String::as_str).collect();
    let lines = |name: &String| {
        [(13_001, "api-token"), (13_002, "key"), (13_005, "api-token")]
            .map(|(line, tag)| format!("{name}:{line}: {tag} (raw)\n"))
    };

    let expected: String = names.iter().flat_map(lines).collect();
    stderr!(scan(&sandbox, &arguments).run().fails_with(8).stdout(expected), @"
    error: 72 values in 24 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // Adjacent and interrupted values, line endings of other systems, and a missing newline at the
    // end.
    sandbox.write(
        "small",
        format!("{TOKEN}{TOKEN}\r\n{TOKEN}\rx\nfirst line of it\nno second\nsecond line of it"),
    );

    let run = stderr!(scan(&sandbox, &["small"]).run().fails_with(8), @"
    error: 5 values in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let small = "small:1: api-token (raw)\nsmall:1: api-token (raw)\nsmall:2: api-token (raw)\n\
                 small:3: key (line)\nsmall:5: key (line)\n";
    run.stdout(small);
}

#[test]
fn files_without_permission_are_reported_and_the_rest_is_searched() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("tree/closed")).unwrap();
    sandbox.write("tree/a", "clean");
    sandbox.write("tree/locked", TOKEN);
    sandbox.write("tree/closed/x", TOKEN);
    sandbox.write("tree/z", TOKEN);

    let nobody = Some(65_534);
    let program = sandbox.path("program");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_secrets")).arg(&program).status();
    assert!(copied.unwrap().success()); // a program written by this process may be busy

    for path in ["", "vault.db", "tree", "tree/a", "tree/locked", "tree/closed", "tree/z"] {
        if std::os::unix::fs::chown(sandbox.path(path), nobody, nobody).is_err() {
            return; // only root can switch to another user
        }
    }

    for path in ["tree/locked", "tree/closed"] {
        std::fs::set_permissions(
            sandbox.path(path),
            std::os::unix::fs::PermissionsExt::from_mode(0o0),
        )
        .unwrap();
    }

    let as_nobody = |arguments: &[&str]| {
        let prepared = sandbox.command(["x"]);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .arg("scan")
            .args(arguments);

        command.env_clear().envs(environment(&prepared.command));
        let output = command.env("PATH", PATH).current_dir(sandbox.path("")).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();

        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    let (code, stdout, stderr) = as_nobody(&["tree"]);
    assert_eq!((code, &*stdout), (Some(8), "tree/z:1: api-token (raw)\n"), "{stderr}");
    assert!(
        stderr.contains("locked")
            && stderr.contains("closed")
            && stderr.contains("Permission denied"),
        "{stderr}"
    );

    // Without a finding this is a failure, not a success.
    let (code, stdout, stderr) = as_nobody(&["--json", "tree/a", "tree/locked"]);
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let unread = ["cannot read `tree/locked`: Permission denied (os error 13)"];
    assert_eq!(
        (code, found),
        (Some(1), serde_json::json!({ "findings": [], "files": 1, "unread": unread })),
        "{stderr}"
    );

    assert!(stderr.contains("1 file could not be searched"), "{stderr}");
    let (code, stdout, _) = as_nobody(&["--json", "tree/z", "tree/locked"]);
    assert!(code == Some(8) && stdout.contains("\"unread\":["), "{stdout}");
}

#[test]
fn tracked_files_are_searched_even_if_they_are_ignored() {
    let sandbox = sandbox();
    repository(&sandbox);
    std::fs::create_dir_all(sandbox.path("repo/kept/deep")).unwrap();
    for name in [".env", "kept/deep/x", "kept/gone", "clean"] {
        sandbox.write(&format!("repo/{name}"), TOKEN);
    }

    std::os::unix::fs::symlink(TOKEN, sandbox.path("repo/kept/link")).unwrap();
    assert!(git(&sandbox, &["add", "."]));
    sandbox.write("repo/.gitignore", ".env\n/kept\n/other\n");
    sandbox.write("repo/clean", "clean");

    // Files that are neither tracked nor still in the tree do not count.
    sandbox.write("repo/other", TOKEN);
    sandbox.write("repo/kept/untracked", TOKEN);
    std::fs::remove_file(sandbox.path("repo/kept/gone")).unwrap();
    let found = ".env:1: api-token (raw)\nkept/deep/x:1: api-token (raw)\nkept/link:link: api-token (raw)\n";
    let run =
        scan(&sandbox, &[]).current_dir(sandbox.path("repo")).run().fails_with(8).stdout(found);
    stderr!(run, @"
    error: 3 values in 5 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // From the parent directory, from a subdirectory, and in a nested repository.
    let from_above = found.replace(".env", "repo/.env").replace("kept", "repo/kept");
    stderr!(scan(&sandbox, &["repo"]).run().fails_with(8).stdout(from_above), @"
    error: 3 values in 5 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let run = scan(&sandbox, &["deep"]).current_dir(sandbox.path("repo/kept")).run().fails_with(8);
    stderr!(run.stdout("deep/x:1: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    std::fs::create_dir(sandbox.path("outer")).unwrap();
    std::fs::rename(sandbox.path("repo"), sandbox.path("outer/repo")).unwrap();
    let run = stderr!(scan(&sandbox, &["outer"]).run().fails_with(8), @"
    error: 3 values in 5 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    run.stdout(found.replace(".env", "outer/repo/.env").replace("kept", "outer/repo/kept"));

    // A directory was replaced by a link that leads elsewhere. Its target is not part of the
    // repository.
    std::fs::rename(sandbox.path("outer/repo/kept"), sandbox.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", sandbox.path("outer/repo/kept")).unwrap();
    let run = scan(&sandbox, &[]).current_dir(sandbox.path("outer/repo")).run().fails_with(8);
    stderr!(run.stdout(".env:1: api-token (raw)\n"), @"
    error: 1 value in 3 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn names_and_targets_of_links_are_searched_and_never_shown() {
    let sandbox = sandbox();
    repository(&sandbox);
    std::fs::create_dir_all(sandbox.path(&format!("repo/d-{TOKEN}/sub"))).unwrap();
    sandbox.write(&format!("repo/d-{TOKEN}/a"), "x");
    sandbox.write(&format!("repo/d-{TOKEN}/sub/b"), format!("\n{TOKEN}"));
    sandbox.write(&format!("repo/{TOKEN}.txt"), "x");
    std::os::unix::fs::symlink(format!("/tmp/{TOKEN}"), sandbox.path("repo/link")).unwrap();

    let found = "d-‹api-token›:name: api-token (raw)\nd-‹api-token›/sub/b:2: api-token (raw)\n\
                 link:link: api-token (raw)\n‹api-token›.txt:name: api-token (raw)\n";
    let run =
        scan(&sandbox, &[]).current_dir(sandbox.path("repo")).run().fails_with(8).without(TOKEN);
    stderr!(run.stdout(found), @"
    error: 4 values in 4 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    assert!(git(&sandbox, &["add", "."]));
    stderr!(staged(&sandbox).run().fails_with(8).without(TOKEN).stdout(found), @"
    error: 4 values in 4 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let json = scan(&sandbox, &["--staged", "--json"])
        .current_dir(sandbox.path("repo"))
        .run()
        .fails_with(8)
        .without(TOKEN);

    let json = stderr!(json, @r#"{"type":"CONFLICT","message":"4 values in 4 files","details":{"hints":["replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published"]}}"#)
        .json();
    let named = serde_json::json!({ "file": "d-‹api-token›", "place": "name", "tag": "api-token", "form": "raw" });
    assert_eq!(json["findings"][0], named);
    assert_eq!(json["findings"][2]["place"], "link");

    // The path of a given directory is not searched for values, but that of a given file is.
    let run = scan(&sandbox, &["sub"])
        .current_dir(sandbox.path(&format!("repo/d-{TOKEN}")))
        .run()
        .fails_with(8);

    stderr!(run.stdout("sub/b:2: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    let typed = format!("d-{TOKEN}/a");
    stderr!(scan(&sandbox, &[&typed]).current_dir(sandbox.path("repo")).run().succeeds(), @"no values found in 1 file");
    let typed = format!("{TOKEN}.txt");
    let run = scan(&sandbox, &[&typed]).current_dir(sandbox.path("repo")).run().fails_with(8);

    stderr!(run.stdout("‹api-token›.txt:name: api-token (raw)\n"), @"
    error: 1 value in 1 file
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn findings_are_listed_by_path_whichever_thread_has_them_first() {
    let sandbox = sandbox();

    // In the order in which they are expected: a directory's files come behind its name, not behind a longer name.
    let directories = (0..40).map(|n| format!("tree/d{n:02}"));
    let mut files: Vec<String> = directories
        .flat_map(|d| [format!("{d}/a"), format!("{d}/z/b"), format!("{d}.x")])
        .collect();

    files.push("tree/large".to_owned());
    for (n, file) in files.iter().enumerate().rev() {
        std::fs::create_dir_all(sandbox.path(file).parent().unwrap()).unwrap();

        // Some take longer than others.
        let before = "x\n".repeat(n * 7919 % 5 * 20_000);
        sandbox.write(file, format!("{before}{TOKEN}\n{TOKEN}"));
    }

    let line = |(n, file): (usize, &String)| {
        let line = n * 7919 % 5 * 20_000 + 1;
        format!("{file}:{line}: api-token (raw)\n{file}:{}: api-token (raw)\n", line + 1)
    };

    let expected: String = files.iter().enumerate().map(line).collect();
    for _ in 0..2 {
        stderr!(scan(&sandbox, &["tree"]).run().fails_with(8).stdout(&expected), @"
        error: 242 values in 121 files
        hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
        ");
    }
}

#[test]
fn a_link_to_a_directory_is_followed_if_it_is_named() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("real/below")).unwrap();
    sandbox.write("real/below/a", TOKEN);
    std::os::unix::fs::symlink("real", sandbox.path("link")).unwrap();
    std::os::unix::fs::symlink("below", sandbox.path("real/inner")).unwrap();

    let run =
        scan(&sandbox, &["link"]).run().fails_with(8).stdout("link/below/a:1: api-token (raw)\n");
    stderr!(run, @"
    error: 1 value in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn without_threads_a_tree_is_searched_all_the_same() {
    let sandbox = sandbox();
    sandbox.write("a", format!("{TOKEN} {{{{ secrets.api-token }}}}"));
    let places = [sandbox.path(""), sandbox.state()];
    let changed =
        Command::new("chown").args(["-R", "4444"]).args(&places).status().unwrap().success();

    let wrapper = ["setpriv", "--reuid", "4444", "--regid", "4444", "--clear-groups", "bash", "-c"];
    let limited = |arguments: &[&str]| {
        let wrapper = [&wrapper[..], &["ulimit -u 1; exec \"$0\" \"$@\""]].concat();
        wrapped_in(&wrapper, &sandbox.command(arguments)).output()
    };

    for (arguments, code, found) in [
        (["scan", "a", "."], 8, "a:1: api-token (raw)\na:1: api-token (raw)\n"),
        (["refs", "-q", "api-token"], 0, "a:1:24: api-token\n"),
    ] {
        // Who is not root cannot try it.
        let Ok(output) = limited(&arguments) else { return };
        let errors = String::from_utf8(output.stderr).unwrap();
        if changed && !errors.contains("setpriv") && !errors.contains("Permission denied") {
            assert_eq!(
                (output.status.code(), &*String::from_utf8_lossy(&output.stdout)),
                (Some(code), found),
                "{errors}"
            );
        }
    }
}

fn install(sandbox: &Sandbox, directory: &str) -> Prepared {
    // Installing the hook needs no vault.
    scan(sandbox, &["--install-hook"])
        .current_dir(sandbox.path(directory))
        .without_env("SECRETS_PASSPHRASE")
}

#[test]
fn a_hook_is_written_once_and_stops_a_commit() {
    let sandbox = sandbox();
    repository(&sandbox);
    let hook = sandbox.path("repo/.git/hooks/pre-commit");
    let shown = hook.canonicalize().unwrap_or_else(|_| hook.clone());

    std::fs::create_dir(sandbox.path("repo/sub")).unwrap();
    install(&sandbox, "repo/sub")
        .run()
        .succeeds()
        .stderr(&format!("wrote `{}`\n", shown.display()));

    let text = std::fs::read_to_string(&hook).unwrap();
    assert!(
        text.starts_with("#!/bin/sh\n") && text.ends_with("\nexec secrets scan --staged\n"),
        "{text}"
    );

    install(&sandbox, "repo")
        .run()
        .succeeds()
        .stderr(&format!("`{}` already runs it\n", shown.display()));

    assert_eq!(std::fs::read_to_string(&hook).unwrap(), text);

    // git runs the hook in another directory.
    std::fs::remove_file(&hook).unwrap();
    let options = ["--vault", "../../other.db", "-p", "web", "scan", "--install-hook"];
    stderr!(sandbox.command(options).current_dir(sandbox.path("repo/sub")).run().succeeds(), @"wrote `[dir]/repo/.git/hooks/pre-commit`");
    let other = std::fs::read_to_string(&hook).unwrap();
    let vault = sandbox.path("repo/sub/../../other.db");

    assert!(
        other.ends_with(&format!(
            "\nexec secrets --vault {} -p web scan --staged\n",
            vault.display()
        )),
        "{other}"
    );

    std::fs::write(&hook, &text).unwrap();

    // The program is found in PATH, as after an installation.
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_secrets"), sandbox.path("bin/secrets")).unwrap();
    let commit = |tree: &str, name: &str, text: &str| {
        sandbox.write(&format!("{tree}/{name}"), text);
        let path = format!("{}:{PATH}", sandbox.path("bin").display());
        let run = |arguments: &[&str]| {
            let mut git = support::git(&sandbox.path(tree), &sandbox.path(""), arguments);
            git.env("PATH", &path).env("SECRETS_VAULT", sandbox.vault_path());
            git.env("SECRETS_PASSPHRASE", PASSPHRASE);
            git.output().unwrap().status.success()
        };

        run(&["add", name]) && run(&["commit", "-q", "-m", "x"])
    };

    assert!(
        commit("repo", "a", "clean") && !commit("repo", "b", TOKEN) && commit("repo", "b", "clean")
    );

    // A working tree of the same repository has the same hook.
    assert!(git(&sandbox, &["worktree", "add", "-q", "../tree"]));
    stderr!(install(&sandbox, "tree").run().succeeds(), @"`[dir]/repo/.git/hooks/pre-commit` already runs it");
    assert!(!commit("tree", "b", TOKEN) && commit("tree", "b", "other"));

    // The hook becomes executable again.
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    stderr!(install(&sandbox, "repo").run().succeeds(), @"`[dir]/repo/.git/hooks/pre-commit` already runs it");
    assert!(!commit("repo", "c", TOKEN));
}

#[test]
fn a_hook_of_somebody_else_is_left_alone() {
    let sandbox = sandbox();
    repository(&sandbox);
    let hook = "repo/.git/hooks/pre-commit";
    sandbox.write(hook, "#!/bin/sh\n# secrets scan --staged is not run here\nmake lint\n");

    let run = stderr!(install(&sandbox, "repo").run().fails_with(7), @"
    error: `[dir]/repo/.git/hooks/pre-commit` already exists and is a different hook
    hint: add the line `secrets scan --staged || exit 1` to your own hook
    ");

    stderr!(run, @"
    error: `[dir]/repo/.git/hooks/pre-commit` already exists and is a different hook
    hint: add the line `secrets scan --staged || exit 1` to your own hook
    ");

    assert!(sandbox.read(hook).ends_with(b"make lint\n"));
    sandbox.write(hook, "#!/bin/sh\nsecrets scan --staged || exit 1\nmake lint\n");
    stderr!(install(&sandbox, "repo").run().succeeds(), @"`[dir]/repo/.git/hooks/pre-commit` already runs it");
    std::fs::remove_file(sandbox.path(hook)).unwrap();

    // The configured hooks directory may be committed, or serve other repositories.
    assert!(git(&sandbox, &["config", "core.hooksPath", ".husky"]));
    let run = stderr!(install(&sandbox, "repo").run().fails_with(7), @"
    error: the hooks directory `[dir]/repo/.husky` is outside of the git directory
    hint: add the line `secrets scan --staged || exit 1` to your own hook
    ");

    stderr!(run, @"
    error: the hooks directory `[dir]/repo/.husky` is outside of the git directory
    hint: add the line `secrets scan --staged || exit 1` to your own hook
    ");

    assert!(!sandbox.path("repo/.husky").exists());
    assert!(git(&sandbox, &["config", "core.hooksPath", ".git/mine"]));
    stderr!(install(&sandbox, "repo").run().succeeds(), @"wrote `[dir]/repo/.git/mine/pre-commit`");
    assert!(git(&sandbox, &["config", "--unset", "core.hooksPath"]));
    std::fs::remove_dir_all(sandbox.path("repo/.git/hooks")).unwrap();
    std::os::unix::fs::symlink(sandbox.path(""), sandbox.path("repo/.git/hooks")).unwrap();
    stderr!(install(&sandbox, "repo").run().fails_with(7), @"
    error: the hooks directory `[dir]/repo/.git/hooks` is outside of the git directory
    hint: add the line `secrets scan --staged || exit 1` to your own hook
    ");

    stderr!(scan(&sandbox, &["--install-hook", "--staged"]).run().fails_with(2), @"
    error: `--install-hook` cannot be used with `--staged`
    hint: usage: secrets scan [OPTIONS] [PATH]...
    ");

    stderr!(scan(&sandbox, &["--install-hook"]).run().fails_with(1), @"
    error: `[dir]` is not in the working tree of a git repository
    hint: change to the working tree of a repository, or create one with `git init`
    ");
}
