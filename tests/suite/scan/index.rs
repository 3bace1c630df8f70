//! `scan --staged` searches what the next commit adds, in any state of the index.

use std::os::unix::ffi::OsStrExt;

use crate::support::TOKEN;

use super::{git, repository, sandbox, scan, staged};

#[test]
fn the_index_counts_and_not_the_working_tree() {
    let sandbox = sandbox();
    repository(&sandbox);
    stderr!(staged(&sandbox).run().succeeds(), @"no values or tokens found in 0 files");

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
    stderr!(staged(&sandbox).run().succeeds(), @"no values or tokens found in 0 files");

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
    stderr!(staged(&sandbox).run().succeeds(), @"no values or tokens found in 0 files");
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
    stderr!(staged(&sandbox).run().succeeds(), @"no values or tokens found in 1 file");

    // A file that was added with `-N` is not staged yet.
    sandbox.write("repo/later", TOKEN);
    assert!(git(&sandbox, &["add", "-N", "later"]));
    stderr!(staged(&sandbox).run().succeeds(), @"no values or tokens found in 1 file");
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
    stderr!(staged(&sandbox).env("GIT_INDEX_FILE", sandbox.path("index")).run().succeeds(), @"no values or tokens found in 0 files");
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

    stderr!(staged(&sandbox).run().succeeds(), @"no values or tokens found in 2 files");
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
