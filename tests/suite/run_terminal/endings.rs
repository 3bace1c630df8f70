//! A signal ends only the program, and no ending leaves a program or a raw terminal.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::programs::{is_alive, until};

use super::Unlocked;

#[test]
fn the_monitor_has_none_of_the_programs_environment() {
    let home = Unlocked::new();
    let line = "\"$secrets\" run --env LD_PRELOAD=/nonexistent.so -- sh -c 'tr \"\\0\" \"\\n\" </proc/$PPID/environ; echo end' 2>errors";
    let screen = home.shell(line).waits_for("end").ends_with(0).to_owned();
    assert!(!screen.contains("LD_PRELOAD") && !screen.contains("HOME="), "{screen}");

    // The error has our format.
    let mut terminal = home.shell(
        "\"$secrets\" --json run -- no-such-program 2>errors; code=$?; cat errors; (exit $code)",
    );
    terminal
        .waits_for("{\"type\":\"NOT_FOUND\",\"message\":\"program `no-such-program` not found\"}")
        .ends_with(127);
}

#[test]
fn run_inside_run_works() {
    let home = Unlocked::new();
    let mut terminal =
        home.run("\"$secrets\" run -- sh -c 'read x; echo \"$x <$API_TOKEN>\"; exit 6'");
    terminal.shell_is_up().types("deep\n").waits_for("deep <‹api-token›>").ends_with(6);
}

/// Returns the process ids of a program and of the `run` above it.
fn ids(home: &Unlocked) -> (String, String) {
    until("the program does not start", || {
        home.0.path("pid").exists() && home.0.read("pid").ends_with(b"\n")
    });

    let program = String::from_utf8(home.0.read("pid")).unwrap();

    // On a pseudo-terminal the monitor is between the two.
    let parent = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().to_owned()
    };

    let run = parent(&parent(&program));
    (program, run)
}

const PROGRAM: &str = "sh -c 'trap \"\" TERM; echo $$ >pid; while :; do sleep 0.1; done'";

#[test]
fn a_signal_from_another_process_reaches_only_the_program() {
    let home = Unlocked::new();
    let script =
        "trap 'echo got' USR1 TERM; echo $$ >pid; sleep 1; echo \"sleep ended with $?\"; sleep 0.1";
    home.0.write("script", script);

    for signal in [Signal::USR1, Signal::TERM] {
        let mut terminal = home.run("sh script");
        let (_, run) = ids(&home);
        kill_process(Pid::from_raw(run.parse().unwrap()).unwrap(), signal).unwrap();

        // The command that it waits for continues.
        let screen = terminal.waits_for("got\r\n").waits_for("sleep ended with 0\r\n").ends_with(0);
        assert_eq!(screen.matches("got").count(), 1, "{screen}");
        std::fs::remove_file(home.0.path("pid")).unwrap();
    }
}

#[test]
fn a_run_that_starts_while_another_has_the_terminal_gets_default_modes() {
    let home = Unlocked::new();
    home.0.write("first", "echo first up; while [ ! -e go ]; do sleep 0.01; done");
    home.0.write("second", "stty -a <&1 >modes; echo \"second up\"; sleep 1000");
    let run = "\"$secrets\" run -- sh";
    let script = format!(
        "(while [ ! -e there ]; do sleep 0.01; done; exec {run} second) & {run} first; echo first ended; wait; echo code=$?"
    );
    let mut terminal = home.shell(&script);

    terminal.waits_for("first up\r\n");
    home.0.write("there", "");
    terminal.waits_for("second up\r\n");
    let modes = String::from_utf8(home.0.read("modes")).unwrap();

    for mode in ["isig", "icanon", "iexten", "echo", "icrnl", "opost", "onlcr"] {
        assert!(modes.split([' ', '\n', ';']).any(|word| word == mode), "{mode} in {modes}");
    }

    // When the first one ends, the second gets the keyboard, and Ctrl-C ends it.
    home.0.write("go", "");
    terminal.waits_for("first ended\r\n").shell_is_up().types("\x03");
    terminal.ends();
}

#[test]
fn a_kill_or_a_hangup_leaves_no_program() {
    let home = Unlocked::new();
    let mut terminal = home.shell(&format!("\"$secrets\" run -- {PROGRAM}; stty sane"));
    let (program, run) = ids(&home);
    kill_process(Pid::from_raw(run.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    until("the program is still running", || !is_alive(&program));
    terminal.ends();
    std::fs::remove_file(home.0.path("pid")).unwrap();

    let terminal = home.run(PROGRAM);
    let (program, _) = ids(&home);
    drop(terminal); // the terminal hangs up
    until("the program is still running", || !is_alive(&program));
}

#[test]
fn a_terminated_run_restores_the_terminal() {
    let home = Unlocked::new();
    let mut terminal =
        home.run("sh -c 'echo $$ >pid; stty raw -echo; while :; do sleep 0.1; done'");
    let (_, run) = ids(&home);
    kill_process(Pid::from_raw(run.parse().unwrap()).unwrap(), Signal::TERM).unwrap();
    terminal.ends_with(143);
}
