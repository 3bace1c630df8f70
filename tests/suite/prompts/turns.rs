//! Processes ask one after the other, and a background question blocks nobody.

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

/// In `a | b` on one terminal both processes are locked. Without taking turns, each would read a
/// part of both answers.
#[test]
fn two_processes_ask_one_after_the_other() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" list | \"$secrets\" redact");
    for _ in 0..2 {
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    }

    terminal.waits_for("key\t").waits_for("\r\n");
    let screen = terminal.ends_with(0);
    assert_eq!(screen.matches("Passphrase for ").count(), 2, "{screen}");
    assert!(!screen.contains("horse") && !screen.contains(": Passphrase"), "{screen}");
}

/// A process in the background stops before it can block the others.
#[test]
fn a_background_question_blocks_nobody() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let script = "set -m; \"$secrets\" list & sleep 0.5; \"$secrets\" list; code=$?; kill -KILL %1; (exit $code)";
    let mut terminal = Terminal::shell(&sandbox, script);
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("key  ");
    terminal.ends();
    assert_eq!(terminal.screen().matches("Passphrase for ").count(), 1, "{}", terminal.screen());
}

#[test]
fn ctrl_c_ends_the_wait_for_a_turn() {
    use rustix::process::{Pid, Signal, kill_process};
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let script = "sh -c 'echo \"pid=$$,\"; exec \"$secrets\" list' | cat; echo first";
    let both = format!("\"$secrets\" list >/dev/null | {{ sleep 0.3; {script}; }}");
    let mut terminal = Terminal::shell(&sandbox, &both);
    let screen = terminal.waits_for("Passphrase for ").waits_for("pid=").waits_for(",").screen();
    let (_, rest) = screen.split_once("pid=").unwrap();
    let pid = rest.split(',').next().unwrap().parse().unwrap();

    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    terminal.waits_for("first").types(PASSPHRASE).types("\n").ends();
    assert_eq!(terminal.screen().matches("Passphrase for ").count(), 1, "{}", terminal.screen());
}
