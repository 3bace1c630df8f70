//! A repository starts no program, wherever git or its configuration comes from.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{PATH, Sandbox, TOKEN};

use super::git_in;

/// A program that leaves a mark when it runs.
struct Trap {
    program: PathBuf,
    mark: PathBuf,
}

impl Trap {
    fn at(sandbox: &Sandbox, program: &str) -> Self {
        let mark = sandbox.path("it-ran");
        let text = format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\nexit 1\n", mark.display());
        let program = sandbox.write(program, text);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();

        Self { program, mark }
    }

    fn ran(&self) -> bool {
        std::fs::remove_file(&self.mark).is_ok()
    }
}

/// Runs every command that reads git's data in a project's directory, and checks for the mark after
/// each.
fn every_command(sandbox: &Sandbox, directory: &str, trap: &Trap) {
    let manifest = "[[render]]\ntemplate = \"app.tmpl\"\noutput = \"app.env\"\n";
    sandbox
        .write(&format!("{directory}/.secrets.toml"), format!("project = \"default\"\n{manifest}"));
    sandbox.write(&format!("{directory}/app.tmpl"), "A={{ secrets.api-token }}\n");

    let commands: [&[&str]; 13] = [
        &["check"],
        &["setup", "-y"],
        &["render", "--all"],
        &["render", "--stale"],
        &["render", "app.tmpl", "-o", "other"],
        &["refs"],
        &["scan", "."],
        &["scan", "--staged"],
        &["template", ".env", "--all", "-y"],
        &["import", "more.env", "--delete-source"],
        &["update", "api-token", "--generate"],
        &["run", "--", "true"],
        &["list"],
    ];

    for arguments in commands {
        sandbox
            .write(&format!("{directory}/.env"), "KEY=sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6Yc3Hd5Gj0PaS\n");
        sandbox.write(&format!("{directory}/more.env"), "MORE=another-value-that-is-long\n");
        sandbox.trust(&sandbox.path(directory));

        let mut prepared = sandbox.command(arguments);
        prepared.command.current_dir(sandbox.path(directory)).env("PATH", PATH);

        // Other tests check the result. Here the command only has to get as far as looking for a
        // repository.
        let output = prepared.command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code().is_some() && !stderr.contains("secrets trust"),
            "{arguments:?}: {stderr}"
        );

        assert!(!trap.ran(), "{arguments:?} ran a program of the repository's author");
    }
}

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN)])
}

#[test]
fn a_committed_bare_repository_starts_nothing() {
    let sandbox = sandbox();
    let sub = sandbox.path("repo/sub");
    std::fs::create_dir_all(&sub).unwrap();
    let home = sandbox.path("");

    git_in(&sandbox.path("repo"), &home, &["init", "-q"]);

    // Create it in place as a repository and then move it out of its `.git`, as an attacker would
    // commit it.
    git_in(&sub, &home, &["init", "-q"]);
    sandbox.write("repo/sub/.gitignore", "x\n");
    git_in(&sub, &home, &["add", ".gitignore"]);
    git_in(&sub, &home, &["update-index", "--skip-worktree", ".gitignore"]);
    std::fs::remove_file(sub.join(".gitignore")).unwrap();
    std::fs::remove_dir_all(sub.join(".git/objects")).unwrap();
    for name in ["objects", "refs", "HEAD", "index"] {
        let _ = std::fs::rename(sub.join(".git").join(name), sub.join(name));
    }

    std::fs::create_dir_all(sub.join("objects")).unwrap();
    std::fs::remove_dir_all(sub.join(".git")).unwrap();
    let trap = Trap::at(&sandbox, "repo/sub/x.sh");
    let config = "[core]\n repositoryFormatVersion = 1\n bare = false\n worktree = .\n[extensions]\n partialClone = o\n\
        [remote \"o\"]\n url = .\n promisor = true\n uploadpack = ./x.sh\n";

    sandbox.write("repo/sub/config", config);

    // Git itself starts the program, so the trap works.
    let mut control = Command::new("git");
    control
        .args(["check-ignore", "y"])
        .current_dir(&sub)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &home);

    control.output().unwrap();
    assert!(trap.ran(), "git must start the program, or this test proves nothing");
    every_command(&sandbox, "repo/sub", &trap);
}

#[test]
fn a_hostile_git_directory_starts_nothing() {
    let sandbox = sandbox();
    let tree = sandbox.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let home = sandbox.path("");

    git_in(&tree, &home, &["init", "-q"]);
    sandbox.write("tree/a", "a");
    sandbox.write("tree/.gitattributes", "* filter=x diff=x merge=x\n");
    git_in(&tree, &home, &["add", "."]);
    git_in(&tree, &home, &["commit", "-q", "-m", "x"]);
    sandbox.write("tree/a", "b");
    git_in(&tree, &home, &["add", "."]);

    let trap = Trap::at(&sandbox, "tree/x.sh");
    let x = trap.program.to_str().unwrap();
    std::fs::create_dir_all(tree.join(".git/hooks")).unwrap();

    for hook in [
        "pre-commit",
        "post-index-change",
        "fsmonitor-watchman",
        "post-checkout",
        "reference-transaction",
    ] {
        std::fs::copy(x, tree.join(".git/hooks").join(hook)).unwrap();
    }

    sandbox.write("tree/.git/more", format!("[core]\n sshCommand = {x}\n"));
    let mut config = String::from_utf8(sandbox.read("tree/.git/config")).unwrap();
    config += &format!(
        "[core]\n fsmonitor = {x}\n hooksPath = .git/hooks\n pager = {x}\n editor = {x}\n askPass = {x}\n gitProxy = {x}\n\
         excludesFile = more\n attributesFile = more\n[filter \"x\"]\n clean = {x}\n smudge = {x}\n process = {x}\n \
         required = true\n[diff]\n external = {x}\n[diff \"x\"]\n command = {x}\n textconv = {x}\n[merge \"x\"]\n \
         driver = {x}\n[credential]\n helper = !{x}\n[gpg]\n program = {x}\n[commit]\n gpgSign = true\n\
         [include]\n path = more\n[remote \"o\"]\n url = ext::{x}\n promisor = true\n uploadpack = {x}\n vcs = {x}\n\
         [protocol]\n allow = always\n[extensions]\n partialClone = o\n[alias]\n diff = !{x}\n ls-files = !{x}\n\
         [uploadpack]\n packObjectsHook = {x}\n[sequence]\n editor = {x}\n[interactive]\n diffFilter = {x}\n"
    );

    sandbox.write("tree/.git/config", config);

    let mut control = Command::new("git");
    control.arg("status").current_dir(&tree).env_clear().env("PATH", PATH).env("HOME", &home);
    control.output().unwrap();
    assert!(trap.ran(), "git must start the program, or this test proves nothing");
    every_command(&sandbox, "tree", &trap);
}

#[test]
fn no_program_named_git_is_started_from_anywhere() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("tree/bin")).unwrap();
    git_in(&sandbox.path("tree"), &sandbox.path(""), &["init", "-q"]);
    let trap = Trap::at(&sandbox, "tree/bin/git");

    sandbox.write(
        "tree/.secrets.toml",
        "project = \"default\"\n[[render]]\ntemplate = \"t\"\noutput = \"o\"\n",
    );

    sandbox.write("tree/t", "{{ secrets.api-token }}");
    let path = format!("{}:.:{PATH}", sandbox.path("tree/bin").display());
    for arguments in [&["check"][..], &["setup", "-y"], &["scan", "--staged"]] {
        sandbox.trust(&sandbox.path("tree"));
        let mut prepared = sandbox.command(arguments);
        prepared.command.current_dir(sandbox.path("tree")).env("PATH", &path).output().unwrap();
        assert!(!trap.ran(), "{arguments:?}");
    }
}
