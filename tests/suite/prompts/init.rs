//! `init` asks for a new passphrase twice and warns of a weak one.

use crate::support::files::passphrase_file;
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

#[test]
fn init_asks_twice_and_shows_nothing() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::run(&sandbox, "init --kdf-memory 19 --kdf-iterations 1");
    terminal.waits_for("New passphrase: ").types("first try\n");
    terminal.waits_for("Repeat passphrase: ").types("second try\n");
    terminal.waits_for("the passphrases differ, try again");
    terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Repeat passphrase: ").types(PASSPHRASE).types("\n");

    let screen = terminal.ends_with(0);
    assert!(screen.contains("created the vault"), "{screen}");
    for typed in ["first", "second", "horse"] {
        assert!(!screen.contains(typed), "{screen}");
    }

    sandbox.run(["list", "-q"]).succeeds(); // with the typed passphrase
}

#[test]
fn init_suggests_six_random_words() {
    let suggested = |typed: &str| {
        let sandbox = Sandbox::empty();
        let mut terminal =
            Terminal::run(&sandbox, "init --suggest --kdf-memory 19 --kdf-iterations 1 >out 2>err");
        let screen = terminal
            .waits_for("New passphrase (press Enter to use these words): ")
            .screen()
            .to_owned();
        let (_, words) = screen.split_once("Write down these six random words:\r\n  ").unwrap();
        let words = words.lines().next().unwrap().to_owned();
        let passphrase = if typed.is_empty() { words.clone() } else { typed.to_owned() };

        terminal
            .types(typed)
            .types("\n")
            .waits_for("Repeat passphrase: ")
            .types(&passphrase)
            .types("\n")
            .ends_with(0);

        // The passphrase appears only on the terminal, not in redirected output.
        let text = [sandbox.read("out"), sandbox.read("err")].concat();
        assert!(!String::from_utf8(text).unwrap().contains(words.split(' ').next().unwrap()));
        sandbox.command(["list", "-q"]).env("SECRETS_PASSPHRASE", passphrase).run().succeeds();
        words
    };

    let (one, other) = (suggested(""), suggested("a passphrase of my own, not theirs"));
    assert_eq!(one.split(' ').count(), 6);
    assert_ne!(one, other);
}

#[test]
fn a_slow_key_derivation_is_announced() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    passphrase_file(&sandbox, "p", "a passphrase of the export, and long");

    // The test does not wait for the key derivation itself.
    let mut terminal =
        Terminal::run(&sandbox, "export --encrypted out.age --export-passphrase-file p");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("deriving the file's key from the passphrase");

    // This file asks for the least work, and nothing opens it.
    let key = "A".repeat(43);
    let header =
        format!("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 1\n{key}\n--- {key}\n");
    sandbox.write("in.age", header + &"x".repeat(100));
    let mut terminal =
        Terminal::run(&sandbox, "import in.age --import-passphrase-file p --dry-run");
    terminal
        .waits_for("deriving the file's key from the passphrase")
        .waits_for("wrong passphrase")
        .ends_with(5);
}

#[test]
fn init_gives_up_after_three_mismatches() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::run(&sandbox, "init");
    for _ in 0..3 {
        terminal.waits_for("New passphrase: ").types("one\n");
        terminal.waits_for("Repeat passphrase: ").types("other\n");
    }

    terminal.waits_for("error: the passphrase was not typed the same way twice").ends_with(5);
    assert!(!sandbox.vault_path().exists());
}

#[test]
fn init_refuses_an_empty_passphrase_and_warns_of_a_weak_one() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::run(&sandbox, "init");
    terminal.waits_for("New passphrase: ").types("\n");
    terminal.waits_for("error: invalid passphrase: it is empty").ends_with(5);
    assert!(!sandbox.vault_path().exists());

    let mut terminal = Terminal::run(&sandbox, "init --kdf-memory 19 --kdf-iterations 1");
    terminal.waits_for("New passphrase: ").types("hunter2\n");
    terminal.waits_for("Repeat passphrase: ").types("hunter2\n");
    let screen = terminal.waits_for("this passphrase is weak").ends_with(0);

    assert!(!screen.contains("hunter2"), "{screen}");
}
