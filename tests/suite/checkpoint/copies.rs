//! A copy at another path has its own checkpoint.

use std::fs;

use terminal_secrets::vault::Locked;

use crate::support::{Sandbox, passphrase, project, secret};

#[test]
fn a_copy_at_another_path_has_its_own_checkpoint() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    fs::copy(sandbox.vault_path(), sandbox.path("copy.db")).unwrap();
    sandbox.command(["update", "key", "-q"]).stdin("another value").run().succeeds();

    // Looking at an older copy is not a rollback.
    let newer = format!(
        "warning: this copy is older than the vault that was used at `{}`\n",
        sandbox.vault_path().display()
    );

    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("key").stderr(&newer);
    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("key");
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");

    // The rollback is noticed even if a link leads to the directory.
    std::os::unix::fs::symlink(sandbox.path(""), sandbox.path("link")).unwrap();
    fs::copy(sandbox.path("copy.db"), sandbox.vault_path()).unwrap();
    stderr!(sandbox.run(["--vault", "link/vault.db", "list"]).fails_with(6), @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets --vault link/vault.db restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets --vault link/vault.db restore --accept`
    ");
}

#[test]
fn a_link_that_leads_to_an_older_copy_is_refused() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let (old, new) = (sandbox.path("vault.old"), sandbox.path("vault"));
    for directory in [&old, &new] {
        fs::create_dir(directory).unwrap();
        fs::copy(sandbox.vault_path(), directory.join("v.db")).unwrap();
    }

    let on = |line: &[&str]| sandbox.run([&["--vault", "vault/v.db"][..], line].concat());
    on(&["create", "--tag", "new", "--generate", "-q"]).succeeds();

    // The typed path is the same as before. The canonical path was never seen.
    fs::rename(&new, sandbox.path("current")).unwrap();
    std::os::unix::fs::symlink("vault.old", &new).unwrap();
    for line in [&["list"][..], &["get", "key"], &["create", "--tag", "x", "--generate"]] {
        stderr!(on(line).fails_with(6).stdout(""), @"
        error: the vault was rolled back to a state before its last checkpoint here
          project `default`: 1 change behind
        hint: put the right file back, or restore a backup with `secrets --vault vault/v.db restore PATH`; nothing was used
        hint: if you want this state, accept it with `secrets --vault vault/v.db restore --accept`
        ");
    }

    // The same holds for a link that existed from the start and now leads elsewhere.
    fs::remove_file(&new).unwrap();
    std::os::unix::fs::symlink("current", &new).unwrap();
    on(&["list", "-q"]).succeeds().stdout_has("new");
    fs::remove_file(&new).unwrap();
    std::os::unix::fs::symlink("vault.old", &new).unwrap();
    stderr!(on(&["list"]).fails_with(6).stdout(""), @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets --vault vault/v.db restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets --vault vault/v.db restore --accept`
    ");

    on(&["restore", "--accept", "-y", "-q"]).succeeds();
    on(&["list", "-q"]).succeeds().stdout_has("key");
}

#[test]
fn a_fork_is_a_warning_at_a_new_path_and_refused_at_a_known_one() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    fs::copy(sandbox.vault_path(), sandbox.path("copy.db")).unwrap();
    fs::copy(sandbox.vault_path(), sandbox.path("same.db")).unwrap();
    Locked::open(&sandbox.path("copy.db"))
        .unwrap()
        .unlock(&passphrase())
        .unwrap()
        .create(&project("default"), secret("theirs", b"value"))
        .unwrap();

    // A copy with the same state is not reported.
    sandbox.run(["--vault", "same.db", "list", "-q"]).succeeds().stdout_has("key");
    sandbox.run(["create", "--tag", "ours", "--generate", "-q"]).succeeds();

    let text = format!(
        "warning: this copy has diverged from the vault that was used at `{}`\n",
        sandbox.vault_path().display()
    );

    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("theirs").stderr(&text);
    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("theirs");
    sandbox.run(["list", "-q"]).succeeds().stdout_has("ours");
    fs::copy(sandbox.path("copy.db"), sandbox.vault_path()).unwrap();
    stderr!(sandbox.run(["list"]).fails_with(6).stdout(""), @"
    error: the vault has diverged from its last checkpoint here
      project `default`: diverged
    hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets restore --accept`
    ");
}

#[test]
fn a_copy_from_before_rekey_is_a_warning_at_a_new_path() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    fs::copy(sandbox.vault_path(), sandbox.path("copy.db")).unwrap();
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    let text = "warning: this vault was used at another path with different keys; this copy may be older\n";

    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("key").stderr(text);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
}
