//! A wrong answer can be corrected, and Ctrl-C and signals restore the echo.

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

use super::CTRL_C;

#[test]
fn a_wrong_passphrase_can_be_corrected_twice() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::run(&sandbox, "get key");
    for typed in ["wrong\n", "\n"] {
        terminal.waits_for("Passphrase for ").types(typed).waits_for(", try again");
    }

    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("tag          key").ends_with(0);
}

#[test]
fn three_wrong_passphrases_are_enough() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::run(&sandbox, "get key");
    for _ in 0..3 {
        terminal.waits_for("Passphrase for ").types("hunter2\n");
    }

    let screen = terminal.waits_for("error: wrong passphrase").ends_with(5);
    assert_eq!(screen.matches("wrong passphrase, try again").count(), 2, "{screen}");
    assert!(!screen.contains("hunter2"), "{screen}");
}

#[test]
fn ctrl_c_at_any_prompt_exits_with_130_and_restores_the_echo() {
    let unlocked: &[(&str, &str)] = &[("Passphrase for ", PASSPHRASE)];
    for (arguments, answers, prompt) in [
        ("init", &[][..], "New passphrase: "),
        ("init", &[("New passphrase: ", PASSPHRASE)], "Repeat passphrase: "),
        ("--vault full.db list", &[], "Passphrase for "),
        ("--vault full.db create --tag new", unlocked, "Value of new: "),
        ("--vault full.db update key", unlocked, "New value of key: "),
        ("--vault full.db delete key", unlocked, "[y/N] "),
        ("--vault full.db project delete default", unlocked, "[y/N] "),
        ("create --tag key", &[], "[Y/n] "),
    ] {
        let sandbox = Sandbox::with_secrets(&[("key", "x")]);
        std::fs::rename(sandbox.vault_path(), sandbox.path("full.db")).unwrap();
        let mut terminal = Terminal::run(&sandbox, arguments);
        for (question, answer) in answers {
            terminal.waits_for(question).types(answer).types("\n");
        }
        terminal.waits_for(prompt);
        if prompt.ends_with(": ") {
            terminal.types("half of it");
        }
        let screen = terminal.types(CTRL_C).ends_with(130);
        assert!(!screen.contains("half"), "{screen}");
        assert!(!sandbox.vault_path().exists(), "{arguments}");
        let left = sandbox.run(["list", "--vault", "full.db"]).succeeds().bytes();
        assert!(
            left.starts_with(b"key\t") && left.split(|b| *b == b'\n').count() == 2,
            "{arguments}"
        );
    }
}

#[test]
fn input_is_hidden_from_the_moment_a_question_appears() {
    // A terminal that disables the echo after the question would sometimes show this.
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let five = || {
        for _ in 0..5 {
            let mut terminal = Terminal::run(&sandbox, "list");
            let screen =
                terminal.waits_for("Passphrase for ").types("MARKER").types(CTRL_C).ends_with(130);
            assert!(!screen.contains("MARKER"), "{screen}");
        }
    };

    // Each run mostly waits.
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(five);
        }
    });
}

#[test]
fn a_signal_ends_a_prompt_and_restores_the_echo() {
    use rustix::process::{Pid, Signal, kill_process};
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let sandbox = Sandbox::with_secrets(&[("key", "x")]);
        let mut terminal =
            Terminal::shell(&sandbox, "sh -c 'echo \"pid=$$,\"; exec \"$secrets\" list'");
        let screen = terminal.waits_for("Passphrase for ").screen();
        let (_, rest) = screen.split_once("pid=").unwrap();
        let pid = rest.split(',').next().unwrap().parse().unwrap();

        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        terminal.ends();
        assert!(terminal.screen().contains("echo=on"), "{signal:?}: {}", terminal.screen());
        assert!(!terminal.screen().contains("code=0"), "{signal:?}: {}", terminal.screen());
    }
}
