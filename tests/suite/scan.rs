//! `scan`: values in trees, and in what git has staged.

use std::path::Path;
use std::process::Command;

use crate::support::{Prepared, Sandbox};

const TOKEN: &str = "t0ken-abcdefghijklmnop";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN), ("key", "first line of it\nsecond line of it\n")])
}

fn scan(sandbox: &Sandbox, arguments: &[&str]) -> Prepared {
    sandbox.command([&["scan"], arguments].concat()).env("PATH", PATH)
}

/// `printf %s TOKEN | base64`
const IN_BASE64: &str = "dDBrZW4tYWJjZGVmZ2hpamtsbW5vcA==";

fn tree(sandbox: &Sandbox) {
    for directory in ["tree/src", "tree/.github", "tree/.git", "tree/node_modules"] {
        std::fs::create_dir_all(sandbox.path(directory)).unwrap();
    }
    sandbox
        .write("tree/src/a.txt", format!("one\ntwo {TOKEN}\nfirst line of it\nsecond line of it\nlast {IN_BASE64}\n"));
    sandbox.write("tree/.github/b.yml", "x: first line of it\r\n");
    sandbox.write("tree/.git/config", TOKEN);
    sandbox.write("tree/.gitignore", ".env\nnode_modules\n");
    sandbox.write("tree/.env", TOKEN);
    // For other tools: git commits what it names.
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
    run.stderr_has("error: 4 values in 5 files\nhint: put a placeholder there");
    let run = scan(&sandbox, &["--no-ignore", "tree/.env", "tree/node_modules", "tree/clean"]).run().fails_with(8);
    run.stdout("tree/.env:1: api-token (raw)\ntree/node_modules/c.js:1: api-token (raw)\n").stderr_has("2 values in 3");
    // What is named is searched, ignored or not.
    scan(&sandbox, &["tree/.env"]).run().fails_with(8).stdout("tree/.env:1: api-token (raw)\n").stderr_has("1 value");
    scan(&sandbox, &["/dev/stdin"]).stdin(TOKEN).run().fails_with(8).stdout_has("/dev/stdin:1").stderr_has("1 value");
    let run = scan(&sandbox, &["tree/clean"]).run().succeeds().stdout("");
    run.stderr("no value in 1 file\n");
}

#[test]
fn a_list_for_programs() {
    let sandbox = sandbox();
    sandbox.write("a", format!("\n{TOKEN}"));
    let found = scan(&sandbox, &["--json", "a"]).run().fails_with(8);
    let found = found.stderr_has("\"type\":\"CONFLICT\"").json();
    let finding = serde_json::json!({ "file": "a", "line": 2, "tag": "api-token", "form": "raw" });
    assert_eq!(found, serde_json::json!({ "findings": [finding], "files": 1 }));
    let found = scan(&sandbox, &["--json", "vault.db"]).run().succeeds().json();
    assert_eq!(found, serde_json::json!({ "findings": [], "files": 1 }));
}

#[test]
fn lines_are_counted_over_pieces() {
    let sandbox = sandbox();
    // A value across the end of what is read at one time, behind many lines.
    let mut text = "line\n".repeat(13_104);
    text += &" ".repeat(65_536 - 6 - text.len());
    text += TOKEN;
    text += &format!("\nx\n{TOKEN}\n");
    sandbox.write("large", &text);
    let run = scan(&sandbox, &["large"]).run().fails_with(8).stderr_has("2 values");
    run.stdout("large:13105: api-token (raw)\nlarge:13107: api-token (raw)\n");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_searched() {
    let sandbox = sandbox();
    scan(&sandbox, &["nowhere"])
        .run()
        .fails_with(1)
        .stderr("error: cannot read `nowhere`: No such file or directory\n");
    scan(&sandbox, &[]).run().fails_with(2).stderr_has("is missing");
    sandbox.write("a", TOKEN);
    std::os::unix::fs::symlink("nowhere", sandbox.path("link")).unwrap();
    let run = scan(&sandbox, &["link", "a"]).run().fails_with(8).stdout("a:1: api-token (raw)\n");
    run.stderr_has("1 value in 1 file");
}

fn git(sandbox: &Sandbox, arguments: &[&str]) -> bool {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments);
    git.current_dir(sandbox.path("repo")).env_clear().env("PATH", PATH).env("HOME", sandbox.path(""));
    git.env("SECRETS_VAULT", sandbox.vault_path()).env("SECRETS_PASSPHRASE", crate::support::PASSPHRASE);
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
fn what_is_staged_counts_not_what_lies_there() {
    let sandbox = sandbox();
    repository(&sandbox);
    staged(&sandbox).run().succeeds().stderr("no value in 0 files\n");
    // Before the first commit; odd names; staged and then mended in the tree only.
    std::fs::create_dir(sandbox.path("repo/sub")).unwrap();
    sandbox.write("repo/sub/a b\nc", format!("x\n{TOKEN}\n"));
    sandbox.write("repo/binary", [b"\0\xff", TOKEN.as_bytes()].concat());
    assert!(git(&sandbox, &["add", "."]));
    sandbox.write("repo/sub/a b\nc", "mended");
    let run = staged(&sandbox).run().fails_with(8).stderr_has("2 values in 2 files");
    run.stdout("binary:1: api-token (raw)\nsub/a b\\nc:2: api-token (raw)\n");
    let run = scan(&sandbox, &["--staged"]).current_dir(sandbox.path("repo/sub")).run();
    run.fails_with(8).stdout_has("binary:1").stderr_has("2 values");
    // In the tree and not staged.
    assert!(git(&sandbox, &["rm", "-q", "--cached", "-f", "binary", "sub/a b\nc"]));
    staged(&sandbox).run().succeeds().stderr("no value in 0 files\n");
    // Deleted is no finding, moved is one.
    assert!(git(&sandbox, &["add", "binary"]) && git(&sandbox, &["commit", "-q", "--no-verify", "-m", "x"]));
    assert!(git(&sandbox, &["mv", "binary", "moved"]));
    staged(&sandbox).run().fails_with(8).stdout("moved:1: api-token (raw)\n").stderr_has("1 value");
    assert!(git(&sandbox, &["rm", "-q", "-f", "moved"]));
    staged(&sandbox).run().succeeds().stderr("no value in 0 files\n");
}

#[test]
fn as_a_hook_it_stops_the_commit() {
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
    assert!(git(&sandbox, &["add", "config"]) && git(&sandbox, &["commit", "-m", "with a placeholder"]));
    // `commit -a` has an index of its own, which git names to the hook.
    sandbox.write("repo/config", format!("token = {TOKEN}"));
    assert!(!git(&sandbox, &["commit", "-a", "-m", "again"]));
}

#[test]
fn without_a_repository_git_says_so() {
    let sandbox = sandbox();
    let run = scan(&sandbox, &["--staged"]).env("GIT_CEILING_DIRECTORIES", "/").run().fails_with(1);
    run.stderr_has("error: cannot ask git what is staged: not a git repository");
}
