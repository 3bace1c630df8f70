//! A typed value is hidden, stored unchanged, and refused if the terminal changed it.

use crate::support::terminal::Terminal;
use crate::support::values::revealed;
use crate::support::{PASSPHRASE, Sandbox, project};

use super::CTRL_C;

fn is_empty(sandbox: &Sandbox) -> bool {
    sandbox.vault().list(None, |_| true).unwrap().is_empty()
}

#[test]
fn create_asks_for_the_passphrase_then_for_the_value_and_shows_the_hint() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag key");
    terminal
        .waits_for(&format!("Passphrase for {}: ", sandbox.vault_path().display()))
        .types(PASSPHRASE)
        .types("\n");

    terminal.waits_for("Value of key: ").types("abcdefghijklmnopqrstuvwxyz012345\n");
    terminal.waits_for("created `key` in project `default`, hint abcd…2345");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("horse") && !screen.contains("cdefgh"), "{screen}");
    assert_eq!(revealed(&sandbox, "key"), b"abcdefghijklmnopqrstuvwxyz012345");
}

#[test]
fn create_asks_for_no_value_if_the_tag_exists() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::run(&sandbox, "create --tag KEY");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    let screen = terminal.waits_for("error: secret `key` already exists").ends_with(4);

    assert!(!screen.contains("Value of"), "{screen}");
}

#[test]
fn create_on_a_terminal_without_a_vault_offers_to_create_one() {
    for no in ["n\n", "no\n"] {
        let sandbox = Sandbox::empty();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        let path = sandbox.vault_path().display().to_string();
        terminal
            .waits_for(&format!("There is no vault yet. Create one at {path}? [Y/n] "))
            .types(no);
        terminal
            .waits_for("\r\nthere is no vault")
            .waits_for("hint: create one with `secrets init`")
            .ends_with(3);

        assert!(!sandbox.vault_path().exists());
    }

    for yes in ["y\n", "\n", "YES\n"] {
        let sandbox = Sandbox::empty();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        terminal.waits_for("[Y/n] ").types(yes);
        terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
        terminal.waits_for("Repeat passphrase: ");

        // One case continues to the end. Its vault has the default cost, which takes its time.
        if yes != "\n" {
            terminal.types(CTRL_C).ends_with(130);
            continue;
        }

        terminal.types(PASSPHRASE).types("\n").waits_for("created the vault");

        // The passphrase is known by now, so the value is asked for next.
        terminal.waits_for("Value of key: ").types("1234\n");
        let screen = terminal.waits_for("created `key`").ends_with(0);
        assert!(!screen.contains("Passphrase for"), "{screen}");
        assert_eq!(revealed(&sandbox, "key"), b"1234");
    }
}

#[test]
fn a_typed_value_is_stored_unchanged_and_can_be_edited() {
    let long = "abcdefgh\t".repeat(1000);

    // The input, and the stored value. Backspace removes a character, and Ctrl-U removes the line.
    for (typed, stored) in [
        ("a\tb", "a\tb"),
        ("é漢x\x7f\x7fy", "éy"),
        ("wrong\x15right", "right"),
        (&*long, &*long),
        (" a ", " a "),
    ] {
        let sandbox = Sandbox::new();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal.waits_for("Value of key: ").types(typed).types("\n");
        terminal.waits_for("created `key`").ends_with(0);
        assert_eq!(String::from_utf8_lossy(&revealed(&sandbox, "key")), stored);
    }
}

#[test]
fn a_typed_value_with_a_control_character_is_refused() {
    for typed in ["abc\x1b[Ddef", "new\x1afg"] {
        let sandbox = Sandbox::new();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal.waits_for("Value of key: ").types(typed).types("\n");
        terminal.waits_for("error: the typed value contains a control character").ends_with(2);
        assert!(is_empty(&sandbox));
    }
}

#[test]
fn ctrl_d_at_a_prompt_is_not_an_answer() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag key");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of key: ").types("\x04");
    terminal.ends();
    assert!(is_empty(&sandbox));
}

#[test]
fn a_pasted_value_of_several_lines_is_refused_and_discarded() {
    let sandbox = Sandbox::with_secrets(&[("key", "old")]);
    for (arguments, question) in
        [("create --tag new", "Value of new: "), ("update key", "New value of key: ")]
    {
        let mut terminal = Terminal::run(&sandbox, arguments);
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal
            .waits_for(question)
            .types("-----BEGIN KEY-----\nMARKER\nrm -rf everything\n-----END KEY-----\n");
        terminal.waits_for("error: the value has several lines, but a prompt takes only one");
        terminal
            .waits_for("hint: pipe the value in, or use `--value-file PATH`; nothing was stored");

        let screen = terminal.ends_with(2);
        assert!(
            !screen.contains("BEGIN") && !screen.contains("MARKER") && !screen.contains("END"),
            "{screen}"
        );
    }

    assert_eq!(revealed(&sandbox, "key"), b"old");
    assert!(sandbox.vault().find(&project("default"), &"new".parse().unwrap()).unwrap().is_none());
}

#[test]
fn a_pasted_value_without_a_final_newline_is_discarded_too() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag new");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of new: ").types("first line\nMARKER without an end");

    let screen = terminal.waits_for("error: the value has several lines").ends_with(2);
    assert!(!screen.contains("MARKER"), "{screen}");
    assert!(is_empty(&sandbox));
}

#[test]
fn an_empty_value_is_refused_at_the_prompt_too() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag key");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of key: ").types("\n");
    terminal.waits_for("error: the value is empty; nothing was stored").ends_with(2);
    assert!(is_empty(&sandbox));
}
