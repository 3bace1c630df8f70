//! A checkpoint is a private file that reveals nothing, and a damaged one is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use terminal_secrets::crypto::ids::DIRECTORY;
use terminal_secrets::vault::VaultError;

use crate::support::Sandbox;

use super::{Seen, files_in};

#[test]
fn commands_work_without_a_state_directory() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let list = |state: &str| sandbox.command(["list", "-q"]).env("XDG_STATE_HOME", state).run();
    sandbox.write("file", "no directory");
    for state in [sandbox.path("file"), "/proc/no/such".into(), "/dev/null".into()] {
        list(state.to_str().unwrap()).succeeds().stdout_has("key");
    }

    // A relative path is ignored, as the XDG specification requires, and the default is used.
    list("relative").succeeds().stdout_has("key");
    assert!(!sandbox.path("relative").exists());
    assert!(sandbox.path(".local/state/secrets/anchors").exists());
}

#[test]
fn a_checkpoint_is_private_and_reveals_nothing() {
    let sandbox = Sandbox::with_secrets(&[("a-telling-tag", "value")]);
    sandbox.run(["-p", "default", "list", "-q"]).succeeds().stdout_has("a-telling-tag");
    let directory = sandbox.state().join("secrets/anchors");
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o7777, 0o700);

    // One of the directory, one of the project.
    let files = files_in(&directory);
    assert_eq!(files.len(), 2);
    for file in files.iter().chain([&directory.join("lock")]) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        let bytes = fs::read(file).unwrap();
        for word in ["default", "telling", "vault.db", "secrets"] {
            assert!(memchr::memmem::find(&bytes, word.as_bytes()).is_none(), "{word}");
        }
    }
}

#[test]
fn a_garbled_checkpoint_is_refused_and_an_empty_one_counts_as_missing() {
    let seen = Seen::new();
    let file = &seen.file_of(&DIRECTORY);
    let whole = fs::read(file).unwrap();

    for at in (0..whole.len()).step_by(41) {
        let mut garbled = whole.clone();
        garbled[at] ^= 1;
        fs::write(file, &garbled).unwrap();
        assert_eq!(seen.departure().vault, None, "{at}");
    }

    // After a power cut the file may be empty or missing.
    fs::write(file, "").unwrap();
    seen.look().unwrap();
    assert_eq!(fs::read(file).unwrap().len(), whole.len());
    fs::remove_file(file).unwrap();
    seen.look().unwrap();
}

#[test]
fn a_checkpoint_of_another_vault_or_path_is_refused() {
    let (one, other) = (Seen::new(), Seen::new());
    other.change(3);

    // The vault id and the root key are the same, but the path differs.
    fs::copy(other.file_of(&DIRECTORY), one.file_of(&DIRECTORY)).unwrap();
    assert!(matches!(one.look(), Err(VaultError::Diverged(_))));
}

#[test]
fn a_checkpoint_replaces_anything_that_is_not_a_file() {
    let seen = Seen::new();
    let file = &seen.file_of(&DIRECTORY);
    fs::remove_file(file).unwrap();
    fs::create_dir(file).unwrap();
    seen.look().unwrap();
    assert!(file.metadata().unwrap().is_file());
    fs::remove_file(file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    seen.look().unwrap();
    assert!(file.metadata().unwrap().is_file());
}

#[test]
fn verify_reports_that_no_checkpoint_can_be_stored() {
    let sandbox = Sandbox::with_secrets(&[("one", "value one")]);
    let checkpoints = sandbox.state().join("secrets/anchors");
    fs::create_dir_all(checkpoints.parent().unwrap()).unwrap();
    fs::write(&checkpoints, "").unwrap();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("one");

    let text = format!(
        "the vault is intact\nwarning: cannot write the vault's checkpoint in `{}`: a rollback \
         would not be detected\n",
        checkpoints.display()
    );

    sandbox.run(["verify"]).succeeds().stdout_has("secrets      1\n").stderr(&text);
    fs::remove_file(&checkpoints).unwrap();
    stderr!(sandbox.run(["verify"]).succeeds().stdout_has("secrets      1\n"), @"the vault is intact");

    // An unreadable checkpoint does not disable the check.
    for file in files_in(&checkpoints) {
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
    }

    let run = sandbox
        .run(["list"])
        .fails_with(1)
        .stderr_has("error: cannot read the vault's checkpoint `");

    run.stderr_has("\nhint: fix or delete that file; deleting it skips rollback detection once\n");
}
