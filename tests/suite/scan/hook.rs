//! A hook stops a commit that adds a value, and no other hook is replaced.

use std::path::Path;

use crate::support::{self, PASSPHRASE, PATH, Prepared, Sandbox, TOKEN};

use super::{git, repository, sandbox, scan};

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
