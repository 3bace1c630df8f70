//! Ctrl-C, Ctrl-Z and the other keys reach who they would reach without `run`.

use std::time::Duration;

use crate::support::programs::{has, until};
use crate::support::terminal::Terminal;

use super::Unlocked;

#[test]
fn one_ctrl_c_is_one_signal() {
    let home = Unlocked::new();
    let count = "trap 'n=$((n + 1))' INT; n=0; echo up; i=0; while [ $i -lt 60 ]; do sleep 0.01; i=$((i + 1)); done; \
                 echo \"count $n\"";
    let line = count.replace('\'', "'\\''");

    for pipe in ["", " | (trap '' INT; cat)"] {
        let mut terminal =
            home.shell(&format!("line='{line}'\n\"$secrets\" run -- sh -c \"$line\"{pipe}"));
        terminal.waits_for("up").types("\x03").waits_for("count 1").ends_with(0);
    }

    home.run("sleep 1000").shell_is_up().types("\x03").ends_with(130);
}

#[test]
fn ctrl_c_ends_the_script_around_it() {
    let home = Unlocked::new();

    // One shell waits to see how the program ended, the other does not.
    for shell in ["dash", "bash"].into_iter().filter(|shell| has(shell)) {
        let line = format!(
            "{shell} -c '\"$secrets\" run -- sleep 1000; echo af\"\"ter'; echo \"script $?\""
        );
        let mut terminal = home.shell(&line);
        let screen = terminal.shell_is_up().types("\x03").waits_for("script 130").ends_with(0);

        assert!(!screen.contains("after"), "{screen}");
    }
}

#[test]
fn ctrl_c_ends_a_loop_and_the_shell_goes_on() {
    let home = Unlocked::new();
    let mut terminal = home.interactive();
    terminal
        .types("for i in 1 2 3; do \"$secrets\" run -- sleep 1000; done\n")
        .shell_is_up()
        .types("\x03");

    terminal.waits_for("ready> ").types("echo \"alive $((1 + 1))\"\n").waits_for("alive 2\r\n");
    terminal.waits_for("ready> ").types("exit\n");
}

#[test]
fn ctrl_c_at_a_prompt_ends_the_loop_around_it() {
    let home = Unlocked::new();
    home.0.run(["lock", "-q"]).succeeds();
    let mut terminal = home.interactive();
    terminal
        .types("for i in 1 2 3; do \"$secrets\" list; done; echo af\"\"ter\n")
        .waits_for("Passphrase for ");
    terminal
        .types("\x03")
        .waits_for("ready> ")
        .types("echo \"code $?\"\n")
        .waits_for("code 130\r\n");

    let screen = terminal.waits_for("ready> ").types("exit\n").screen().to_owned();
    assert_eq!(screen.matches("Passphrase for ").count(), 1, "{screen}");
}

#[test]
fn ctrl_c_reaches_all_jobs_of_make() {
    let home = Unlocked::new();
    if !has("make") {
        return;
    }

    let server = "trap 'n=$((n + 1))' INT\necho \"$1 up\"\ni=0\n\
                  while [ $i -lt 20 ]; do sleep 0.01; [ -z \"$n\" ] || i=$((i + 1)); done\necho \"$1 got $n\"\nexit 130\n";
    home.0.write("server", server);

    // The third job's output is not a terminal, so it stays in the process group that the others
    // signal.
    let run = "@\"$$secrets\" run -- sh server";
    let jobs = format!(
        "all: api web log\napi: ; {run} api\nweb: ; {run} web\nlog: ; {run} log >out 2>&1\n"
    );

    home.0.write("Makefile", jobs);
    let mut terminal = home.shell("make -j3; echo \"made with $?\"");
    terminal.waits_for(" up").waits_for(" up").shell_is_up();
    until("the third job does not start", || {
        home.0.path("out").exists() && home.0.read("out") == b"log up\n"
    });

    terminal.types("\x03");
    let screen = terminal.waits_for("made with ").ends_with(0);
    assert!(screen.contains("api got 1") && screen.contains("web got 1"), "{screen}");
    until("the third job continues", || home.0.read("out") == b"log up\nlog got 1\n");
}

#[test]
fn ctrl_c_at_the_prompt_of_an_inner_shell_reaches_only_that_shell() {
    let home = Unlocked::new();
    let line = "sh -c 'PS1=\"inner> \" \"$secrets\" run -- bash --norc --noediting -i; echo \"script goes on\"'";
    let mut terminal = home.shell(line);
    terminal.waits_for("inner> ").types("\x03").waits_for("inner> ").types("exit 3\n");
    terminal.waits_for("script goes on").ends_with(0);
}

#[test]
fn ctrl_c_reaches_a_program_with_its_own_process_group() {
    let home = Unlocked::new();
    let program = "timeout 1000 sh -c 'echo up; exec sleep 1000'";
    let mut terminal =
        home.shell(&format!("\"$secrets\" run -- {program} | (trap '' INT; cat); echo over"));
    terminal.waits_for("up").types("\x03").waits_for("over").ends_with(0);
}

impl Terminal {
    /// Waits until `run` has made the terminal raw, so that keys reach the program.
    pub fn shell_is_up(&mut self) -> &mut Self {
        std::thread::sleep(Duration::from_millis(700));
        self
    }
}

#[test]
fn ctrl_backslash_and_ctrl_d_reach_the_program() {
    let home = Unlocked::new();
    home.shell("trap : QUIT\n\"$secrets\" run -- sleep 1000")
        .shell_is_up()
        .types("\x1c")
        .ends_with(131);

    let mut terminal = home.run("cat");
    terminal.shell_is_up().types("hello\n").waits_for("hello\r\nhello").types("\x04").ends_with(0);
}

#[test]
fn ctrl_z_stops_and_fg_continues() {
    let home = Unlocked::new();
    let mut terminal = home.interactive();
    terminal.types(
        "\"$secrets\" run -- sh -c 'echo first; read x; echo \"second $x\"'; echo \"ended $?\"\n",
    );
    terminal.waits_for("first\r\n").types("\x1a").waits_for("Stopped").waits_for("ready> ");

    // The shell's terminal has its old settings.
    terminal
        .types("stty -a | grep -c -- ' icanon'; jobs\n")
        .waits_for("1\r\n")
        .waits_for("Stopped")
        .waits_for("ready> ");

    terminal.types("fg\n").waits_for("read x").types("words\n").waits_for("second words");
    terminal.waits_for("ready> ").types("exit\n");
}

#[test]
fn ctrl_z_stops_the_whole_script_around_it() {
    let home = Unlocked::new();
    home.0.write(
        "script",
        "\"$secrets\" run -- sh -c 'echo first; read x; echo \"second $x\"'\necho script goes on\n",
    );

    let mut terminal = home.interactive();
    terminal
        .types("sh script\n")
        .waits_for("first\r\n")
        .types("\x1a")
        .waits_for("Stopped")
        .waits_for("ready> ");

    terminal
        .types("fg\n")
        .waits_for("sh script")
        .types("words\n")
        .waits_for("second words")
        .waits_for("script goes on");

    terminal.waits_for("ready> ").types("exit\n");
}

#[test]
fn a_background_run_prints_and_can_come_to_the_foreground() {
    let home = Unlocked::new();
    let mut terminal = home.interactive();
    terminal.types("\"$secrets\" run -- sh -c 'sleep 0.1; echo \"<$API_TOKEN>\"; sleep 1000' &\n");
    terminal.waits_for("<‹api-token›>").types("fg\n").waits_for("run -- sh");
    terminal.shell_is_up().types("\x03").waits_for("ready> ").types("exit\n");
}

#[test]
fn an_inner_shell_controls_its_own_jobs() {
    let home = Unlocked::new();
    let mut terminal = home.shell("PS1='inner> ' \"$secrets\" run -- bash --norc --noediting -i");
    terminal
        .waits_for("inner> ")
        .types("sleep 1000\n")
        .shell_is_up()
        .types("\x1a")
        .waits_for("Stopped");

    terminal
        .waits_for("inner> ")
        .types("jobs\n")
        .waits_for("Stopped")
        .waits_for("inner> ")
        .types("fg\n")
        .waits_for("sleep 1000");

    terminal.shell_is_up().types("\x03").waits_for("inner> ").types("exit 5\n").ends_with(5);
}

#[test]
fn a_program_may_leave_its_terminal_raw() {
    let home = Unlocked::new();
    let line =
        "sh -c 'stty raw -echo; printf up; dd bs=1 count=3 2>/dev/null | od -An -tx1; exit 3'";
    let mut terminal = home.run(line);
    terminal.waits_for("up").types("\x03\x1a\r").waits_for("03 1a 0d").ends_with(3);
}
