//! `secrets passwd`: the new passphrase opens the vault, the old one does not, and no byte of the
//! old slot remains.

use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::model::SecretBytes;
use terminal_secrets::vault::{Locked, Vault, VaultError};

use crate::support::files::{is_left, passphrase_file};
use crate::support::specimen::slot;
use crate::support::terminal::Terminal;
use crate::support::values::{NEW_PASSPHRASE, revealed};
use crate::support::{PASSPHRASE, Sandbox, passphrase, project, secret};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("key", "the value stays")]);
    passphrase_file(&sandbox, "new", NEW_PASSPHRASE);
    sandbox
}

#[test]
fn the_new_passphrase_opens_and_the_old_one_does_not() {
    let sandbox = sandbox();
    let run = sandbox.run(["passwd", "--new-passphrase-file", "new"]).succeeds().stdout("");
    let run = stderr!(run, @"
    guessing this passphrase takes about a million years or more on one graphics card (1 TB/s)
    warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`
    changed the passphrase of `[dir]/vault.db`
    earlier copies of the vault open with the old passphrase; if somebody else may know it, run `secrets rekey`
    ");

    run.stderr_has(&format!(
        "warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations \
         3`\nchanged the passphrase of `{}`\nearlier copies of the vault open with the old \
         passphrase; if somebody else may know it, run `secrets rekey`\n",
        sandbox.vault_path().display()
    ));

    stderr!(sandbox.run(["list"]).fails_with(5).stdout(""), @"
    error: wrong passphrase
    hint: enter the one last set with `secrets init` or `secrets passwd`, or use a recovery code with `--recovery`
    ");

    let run = sandbox
        .command(["render", "-e", "{{ KEY }}"])
        .env("SECRETS_PASSPHRASE", NEW_PASSPHRASE)
        .run();
    run.succeeds().stdout("the value stays");

    // Change it back, with JSON output.
    passphrase_file(&sandbox, "old", PASSPHRASE);
    let back = sandbox
        .command(["passwd", "--passphrase-file", "new", "--new-passphrase-file", "old", "--json"])
        .run();
    let found = stderr!(back.succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`")
        .json();

    assert_eq!(
        found["kdf"],
        serde_json::json!({ "memory": 19, "iterations": 1, "parallelism": 1 })
    );

    assert_eq!(revealed(&sandbox, "key"), b"the value stays");
}

#[test]
fn no_bytes_of_the_old_slot_are_left() {
    let sandbox = sandbox();
    let before = slot(&sandbox);
    assert!(before.iter().all(|bytes| is_left(&sandbox, bytes)));
    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");
    assert!(!before.iter().any(|bytes| is_left(&sandbox, bytes)));
    assert!(slot(&sandbox).iter().all(|bytes| is_left(&sandbox, bytes)));
}

#[test]
fn no_bytes_of_the_old_slot_are_left_in_a_large_vault() {
    let sandbox = sandbox();
    let large = (0..9).map(|number| secret(&format!("large-{number}"), &vec![b'x'; 1024 * 1024]));
    sandbox.vault().create_all(&project("default"), large).unwrap();
    let before = slot(&sandbox);

    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");
    assert!(!before.iter().any(|bytes| is_left(&sandbox, bytes)));
}

#[test]
fn a_raised_cost_is_kept() {
    let sandbox = sandbox();
    let kdf = ["--kdf-memory", "64", "--kdf-iterations", "3"];
    let same = passphrase_file(&sandbox, "same", PASSPHRASE);
    let line =
        [&["passwd", "-q", "--new-passphrase-file", same.to_str().unwrap()][..], &kdf].concat();
    stderr!(sandbox.run(line).succeeds().stdout(""), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");
    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");

    let vault = Locked::open(&sandbox.vault_path()).unwrap();
    let new = Passphrase::new(&SecretBytes::copy_of(NEW_PASSPHRASE.as_bytes())).unwrap();
    let params = vault.unlock(&new).unwrap().kdf_params().unwrap();
    assert_eq!(params, KdfParams { memory: 64 * 1024, iterations: 3, parallelism: 1 });
}

/// The vault is from version 0.1.0, and the machine has a gigabyte or more.
#[test]
fn an_old_default_is_mentioned_once_and_raised() {
    let sandbox = Sandbox::empty();
    Vault::init(&sandbox.vault_path(), &passphrase(), KdfParams::SMALL).unwrap();
    let quiet = sandbox.run(["unlock", "-q"]).succeeds();
    drop(quiet);

    let mention = "guessing its passphrase costs 64 MiB, 3 passes, 4 lanes; raise that to";
    sandbox.run(["unlock"]).succeeds().stderr_has(mention);
    stderr!(sandbox.run(["unlock"]).succeeds().without("passwd"), @"unlocked `[dir]/vault.db` for 15m, or 5m without use");
    let upgraded = sandbox.run(["passwd", "--upgrade-kdf", "--json"]).succeeds().json();

    assert_eq!(
        upgraded["kdf"],
        serde_json::json!({ "memory": 256, "iterations": 3, "parallelism": 4 })
    );

    stderr!(sandbox.run(["passwd", "--upgrade-kdf"]).succeeds(), @"guessing the passphrase of `[dir]/vault.db` already costs as much as with the default: 256 MiB, 3 passes, 4 lanes");
    sandbox.run(["lock", "--all", "-q"]).succeeds();
}

#[test]
fn a_chosen_cost_is_not_mentioned() {
    let sandbox = sandbox();
    let chosen = ["init", "-q", "--vault", "chosen.db", "--kdf-memory", "64"];
    sandbox.run(chosen).succeeds().stderr_has("cheaper than the default");
    for line in [&["unlock"][..], &["unlock", "--vault", "chosen.db"]] {
        sandbox.run(line).succeeds().without("passwd").stderr_has("unlocked");
    }

    // A higher cost is not lowered either.
    let dearer = [
        "passwd",
        "-q",
        "--new-passphrase-file",
        "new",
        "--kdf-memory",
        "19",
        "--kdf-iterations",
        "41",
    ];

    sandbox.run(dearer).succeeds().stderr("");
    let run = sandbox
        .command(["passwd", "--upgrade-kdf"])
        .env("SECRETS_PASSPHRASE", NEW_PASSPHRASE)
        .run();
    run.succeeds().stderr_has(
        "already costs as much as with the default: 19 MiB, 41 passes, 1 \
                               lane\n",
    );

    sandbox.run(["lock", "--all", "-q"]).succeeds();
}

#[test]
fn upgrade_kdf_accepts_no_other_option() {
    let sandbox = sandbox();
    for more in [&["--kdf-memory", "64"][..], &["--new-passphrase-file", "new"], &["--recovery"]] {
        sandbox
            .run([&["passwd", "--upgrade-kdf"], more].concat())
            .fails_with(2)
            .stderr_has("cannot be used with");
    }
}

#[test]
fn errors_are_reported_before_any_question() {
    let sandbox = sandbox();
    let before = sandbox.read("vault.db");
    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();
    let output = bare(&["passwd", "--kdf-memory", "18"]).fails_with(2);

    stderr!(output, @"
    error: the key derivation's memory is outside 19 MiB to 2 GiB
    hint: remove the `--kdf` options
    ");

    stderr!(bare(&["passwd"]).fails_with(5), @"
    error: no new passphrase was given and there is no terminal to ask on
    hint: use `--new-passphrase-file PATH`
    ");

    let output = bare(&["passwd", "--new-passphrase-file", "new"]).fails_with(5);
    stderr!(output, @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    ");

    let output = sandbox.run(["passwd", "--new-passphrase-file", "none"]).fails_with(5);
    stderr!(output, @"error: cannot read the passphrase file `none`: No such file or directory");
    sandbox.write("empty", "\n");
    let run = sandbox.run(["passwd", "--new-passphrase-file", "empty"]).fails_with(5);

    stderr!(run, @"
    warning: other users can read the passphrase file `empty`
    error: invalid passphrase: it is empty
    ");

    sandbox.write("weak", "hunter2");
    assert_eq!(sandbox.read("vault.db"), before);
    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "weak"]).succeeds(), @"
    warning: other users can read the passphrase file `weak`
    warning: this passphrase is weak: guessing it takes less than a second on one graphics card (1 TB/s); use six random words instead
    warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`
    ");
}

#[test]
fn the_current_passphrase_is_needed_even_while_unlocked() {
    let sandbox = sandbox();
    sandbox.run(["unlock", "-q"]).succeeds();
    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();
    bare(&["list"]).succeeds().stdout_has("key");
    stderr!(bare(&["passwd", "--new-passphrase-file", "new"]).fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    ");

    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");

    // The root key is the same, so the agent's key still opens the vault.
    bare(&["list"]).succeeds().stdout_has("key");
    bare(&["lock", "--all", "-q"]).succeeds();
}

#[test]
fn the_old_passphrase_is_asked_for_once_and_the_new_one_twice() {
    let sandbox = sandbox();
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" passwd");
    terminal.waits_for("Passphrase for ").types("wrong\n").waits_for("wrong passphrase, try again");

    terminal.waits_for("Passphrase for ").types(&format!("{PASSPHRASE}\n"));
    terminal.waits_for("New passphrase: ").types(&format!("{NEW_PASSPHRASE}\n"));
    terminal
        .waits_for("Repeat passphrase: ")
        .types("another\n")
        .waits_for("the passphrases differ, try again");

    terminal.waits_for("New passphrase: ").types(&format!("{NEW_PASSPHRASE}\n"));
    terminal
        .waits_for("Repeat passphrase: ")
        .types(&format!("{NEW_PASSPHRASE}\n"))
        .waits_for("changed the passphrase of");

    let screen = terminal.ends_with(0);
    assert!(!screen.contains(NEW_PASSPHRASE) && !screen.contains(PASSPHRASE), "{screen}");
    sandbox
        .command(["list"])
        .env("SECRETS_PASSPHRASE", NEW_PASSPHRASE)
        .run()
        .succeeds()
        .stdout_has("key");
}

#[test]
fn ctrl_c_at_the_new_passphrase_changes_nothing() {
    let sandbox = sandbox();
    let before = sandbox.read("vault.db");
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" passwd");
    terminal.waits_for("Passphrase for ").types(&format!("{PASSPHRASE}\n"));
    terminal.waits_for("New passphrase: ").types(NEW_PASSPHRASE).types("\x03");
    terminal.ends_with(130);
    assert_eq!(sandbox.read("vault.db"), before);
    assert!(Locked::open(&sandbox.vault_path()).unwrap().unlock(&passphrase()).is_ok());
}

#[test]
fn the_second_of_two_concurrent_changes_is_refused() {
    let sandbox = sandbox();
    let open = || Locked::open(&sandbox.vault_path()).unwrap().unlock(&passphrase()).unwrap();
    let (one, other) = (open(), open());
    let new = Passphrase::new(&SecretBytes::copy_of(NEW_PASSPHRASE.as_bytes())).unwrap();
    let params = one.kdf_params().unwrap();

    other.has_recovery().unwrap();
    one.set_passphrase(&new, params).unwrap();

    // The change was authorised with a passphrase that is no longer valid.
    assert!(matches!(other.set_passphrase(&passphrase(), params), Err(VaultError::SlotsChanged)));
    assert!(Locked::open(&sandbox.vault_path()).unwrap().unlock(&new).is_ok());

    // Two changes in sequence are allowed.
    one.set_passphrase(&passphrase(), params).unwrap();
    one.set_passphrase(&new, params).unwrap();
}
