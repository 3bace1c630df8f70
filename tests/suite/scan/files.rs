//! A tree is searched as git sees it, with a position for every finding.

use std::process::Command;

use crate::support::{Sandbox, TOKEN, wrapped_in};

use super::{git, repository, sandbox, scan, staged};

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
    stderr!(run, @"no values or tokens found in 1 file");
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
    stderr!(scan(&sandbox, &[&typed]).current_dir(sandbox.path("repo")).run().succeeds(), @"no values or tokens found in 1 file");
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

    // In the order in which they are expected: a directory's files come behind its name, not behind
    // a longer name.
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
