//! Only its passphrase or its recipient opens an export.

use crate::support::files::{passphrase_file, write_private};
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

use super::{MARKER, key};

#[test]
fn only_its_passphrase_opens_the_file() {
    let sandbox = Sandbox::with_secrets(&[("key", "old")]);
    write_private(&sandbox.path("pass"), "the export's own passphrase\n");
    write_private(&sandbox.path("wrong"), "another one\n");
    let line = ["export", "--encrypted", "f.age", "--export-passphrase-file", "pass"];
    let output = sandbox.run(line).succeeds();

    stderr!(output, @"
    exported 1 secret of 1 project to `f.age`
    the file was read back and decrypted, and is complete
    ");

    let run = sandbox.run(["import", "f.age", "--import-passphrase-file", "wrong"]);
    stderr!(run.fails_with(5).stdout(""), @"
    error: cannot open `f.age`: wrong passphrase
    hint: enter the passphrase of the file, not that of the vault
    ");

    let run = sandbox.run(["import", "f.age", "--import-passphrase-file", "pass"]);
    stderr!(run.succeeds(), @"imported into project `default`: 1 unchanged");
    key(&sandbox, "identity");
    let run = sandbox.run(["import", "f.age", "-i", "identity"]);

    stderr!(run.fails_with(5), @"
    error: cannot open `f.age`: it is encrypted with a passphrase, not to a key
    hint: remove `--identity` and enter the passphrase; nothing was stored
    ");
}

#[test]
fn without_a_terminal_a_passphrase_must_be_given() {
    let sandbox = Sandbox::with_secrets(&[("key", "old")]);
    stderr!(sandbox.run(["export", "--encrypted", "f.age"]).fails_with(5).stdout(""), @"
    error: no passphrase for the export was given and there is no terminal to ask on
    hint: use `--export-passphrase-file PATH`, or encrypt to a key with `--recipient age1…`
    ");

    assert!(!sandbox.path("f.age").exists());
    let header = format!(
        "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n{}\n--- {}\n",
        "A".repeat(43),
        "A".repeat(43)
    );

    sandbox.write("f.age", header + &"x".repeat(99));
    stderr!(sandbox.run(["import", "f.age"]).fails_with(5), @"
    error: no passphrase for `f.age` was given and there is no terminal to ask on
    hint: use `--import-passphrase-file PATH`
    ");
}

#[test]
fn the_passphrase_is_asked_for_twice_and_hidden() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER)]);
    passphrase_file(&sandbox, "vault-pass", PASSPHRASE);
    let script = "\"$secrets\" --passphrase-file vault-pass export --encrypted f.age && \
                  \"$secrets\" --passphrase-file vault-pass import f.age";
    let mut terminal = Terminal::shell(&sandbox, script);

    terminal.waits_for("Passphrase for the export: ").types("one of some length\n");
    terminal
        .waits_for("Repeat passphrase: ")
        .types("another of some length\n")
        .waits_for("the passphrases differ, try again");

    terminal.waits_for("Passphrase for the export: ").types("one of some length\n");
    terminal
        .waits_for("Repeat passphrase: ")
        .types("one of some length\n")
        .waits_for("and is complete");

    terminal
        .waits_for("Passphrase for f.age: ")
        .types("not that one\n")
        .waits_for("wrong passphrase, try again");

    terminal
        .waits_for("Passphrase for f.age: ")
        .types("one of some length\n")
        .waits_for("1 unchanged");

    let screen = terminal.ends_with(0);
    assert!(!screen.contains("some length") && !screen.contains(&MARKER[..8]), "{screen}");
}

#[test]
fn recipients_are_checked_and_an_identity_is_not_repeated() {
    let sandbox = Sandbox::with_secrets(&[("key", "1")]);
    let (one, two) = (key(&sandbox, "one"), key(&sandbox, "two"));
    sandbox.write("list", format!("# ours\n\n{two}\n"));
    stderr!(sandbox.run(["export", "--encrypted", "f", "-r", &one, "-R", "list"]).succeeds(), @"
    exported 1 secret of 1 project to `f`
    the file was read back byte for byte; only a recipient's key can show that it decrypts
    ");

    for identity in ["one", "two"] {
        sandbox.run(["import", "f", "-i", identity, "-q"]).succeeds();
    }

    key(&sandbox, "three");
    stderr!(sandbox.run(["import", "f", "-i", "three"]).fails_with(5), @"
    error: cannot open `f`: none of the identities can decrypt it
    hint: pass the matching identity with `--identity FILE`
    ");

    sandbox.run(["import", "f", "-i", "three", "-i", "two", "-q"]).succeeds();
    stderr!(sandbox.run(["import", "f"]).fails_with(5), @"
    error: cannot open `f`: it is encrypted to a key, not with a passphrase
    hint: pass the key's file with `--identity FILE`
    ");

    stderr!(sandbox.run(["import", "f", "-i", "list"]).fails_with(5), @"
    warning: other users can read the identity file `list`
    error: list:3 is not an identity of the form `AGE-SECRET-KEY-1…`
    hint: if the identity itself is encrypted, decrypt it first with `age`
    ");

    let identity = String::from_utf8(sandbox.read("one")).unwrap();
    let identity = identity.lines().nth(1).unwrap();
    let run = sandbox.run(["export", "--encrypted", "g", "-r", identity]);
    stderr!(run.fails_with(2).without(&identity[20..40]), @"
    error: `--recipient` number 1 is not a recipient of the form `age1…`
    hint: it is an identity, which decrypts files; print its recipient with `age-keygen -y FILE`
    ");

    for bad in ["ssh-ed25519 AAAA", "age1xyz", ""] {
        stderr!(sandbox.run(["export", "--encrypted", "g", "-r", bad]).fails_with(2), @"
        error: `--recipient` number 1 is not a recipient of the form `age1…`
        hint: create a key with `age-keygen`; SSH keys and plugins are not supported
        ");
    }

    sandbox.write("empty", "# none\n");
    stderr!(sandbox.run(["export", "--encrypted", "g", "-R", "empty"]).fails_with(2), @"
    error: `empty` contains no recipients
    hint: nothing was written
    ");

    assert!(!sandbox.path("g").exists());
}
