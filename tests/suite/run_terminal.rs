//! `run` on a real pseudo-terminal: programs behave as if started directly, and their output is
//! masked.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::programs::{has, is_alive, until};
use crate::support::terminal::Terminal;
use crate::support::{Sandbox, TOKEN};

/// A vault that is unlocked until this is dropped.
struct Unlocked(Sandbox);

impl Unlocked {
    fn new() -> Self {
        let sandbox = Sandbox::with_secrets(&[("api-token", TOKEN)]);
        sandbox.run(["unlock", "-q"]).succeeds();
        Self(sandbox)
    }

    /// Starts a shell that is not interactive.
    fn shell(&self, script: &str) -> Terminal {
        Terminal::shell(&self.0, script)
    }

    /// Starts a program with `run`. It is one word of a shell.
    fn run(&self, program: &str) -> Terminal {
        self.shell(&format!("\"$secrets\" run -- {program}"))
    }

    /// Starts a shell with job control, like a user's.
    fn interactive(&self) -> Terminal {
        let mut terminal = self.shell("PS1='ready> ' exec bash --norc --noediting -i");
        terminal.waits_for("ready> ");
        terminal
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        let _ = self.0.run(["lock", "--all", "-q"]).everything();
    }
}

#[test]
fn all_three_streams_are_a_terminal_of_the_program() {
    let home = Unlocked::new();
    let line =
        "sh -c 'test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo \"<$API_TOKEN>\"'";
    let mut terminal = home.shell(&format!("stty rows 33 cols 77\n\"$secrets\" run -- {line}"));
    terminal.waits_for("/dev/pts/").waits_for("33 77").waits_for("<‹api-token›>");

    let screen = terminal.ends_with(0);
    assert!(!screen.contains("t0ken"), "{screen}");
}

#[test]
fn exit_codes_pass_through() {
    let home = Unlocked::new();
    home.run("sh -c 'exit 7'").ends_with(7);
    home.run("sh -c 'kill -TERM $$'").ends_with(143);
    let mut terminal = home.run("no-such-program");
    let screen = terminal.waits_for("program `no-such-program` not found").ends_with(127);

    assert!(!screen.contains('\x1b'), "NO_COLOR is ignored: {screen:?}");
    home.run("/etc/passwd").waits_for("Permission denied").ends_with(126);
}

#[test]
fn a_value_in_pieces_is_masked_and_a_prompt_with_the_same_prefix_is_shown() {
    let home = Unlocked::new();
    let line = "sh -c 'printf t0ken-abc; sleep 0.01; printf \"defghijklmnop\\n\"; printf \"t0ken-? \"; read x; echo \"$x\"'";
    let mut terminal = home.run(line);
    terminal.waits_for("‹api-token›").waits_for("t0ken-? ").types("t0ken-abcdefghijklmnop\n");

    // The program's terminal echoes the input and masks it there too, like the program's own
    // output.
    terminal.waits_for("‹api-token›").waits_for("‹api-token›").ends_with(0);
}

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

#[test]
fn variables_name_the_new_terminal() {
    let home = Unlocked::new();
    let line =
        "sh -c 'test \"$GPG_TTY $SSH_TTY\" = \"$(tty) $(tty)\" && echo same; echo ${GPG_TTY-none}'";
    home.shell(&format!("GPG_TTY=/dev/pts/old SSH_TTY=$(tty) \"$secrets\" run -- {line}"))
        .waits_for("same")
        .ends_with(0);
    home.run(line).waits_for("none").ends_with(0);
}

#[test]
fn a_pager_behind_a_pipe_has_the_keyboard() {
    let home = Unlocked::new();
    if !has("less") {
        return;
    }

    for pager in
        ["seq 1000 | \"$secrets\" run -- less", "\"$secrets\" run --stdin api-token -- less -"]
    {
        let mut terminal = home.shell(&format!("export TERM=xterm LESS=\n{pager}; echo back"));

        // The pager sends this when it reads keys.
        terminal.waits_for("\x1b[?1h").shell_is_up().types("q").waits_for("back").ends_with(0);
    }
}

#[test]
fn background_output_is_masked_on_the_terminal() {
    let home = Unlocked::new();
    let line = "mkfifo go\n\"$secrets\" run -- sh -c '(read go <go; echo \"<$API_TOKEN>\"; echo last) & echo first'\n\
                echo between; echo >go; sleep 0.3";
    let mut terminal = home.shell(line);

    terminal
        .waits_for("first")
        .waits_for("between")
        .waits_for("<‹api-token›>")
        .waits_for("last")
        .ends_with(0);
}

#[test]
fn run_works_without_proc() {
    let home = Unlocked::new();
    let unshare = "unshare --mount sh -c 'mount -t tmpfs none /proc";
    let may = Command::new("sh")
        .args(["-c", &format!("{unshare}'")])
        .output()
        .is_ok_and(|o| o.status.success());

    if !may {
        return;
    }

    let line = "\"$secrets\" run -- sh -c \"test -t 0 && tty && exit 4\"";
    let mut terminal = home.shell(&format!("{unshare} && {line}'"));
    terminal.waits_for("/dev/pts/").ends_with(4);
}

impl Terminal {
    /// Waits until `run` has made the terminal raw, so that keys reach the program.
    fn shell_is_up(&mut self) -> &mut Self {
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

#[test]
fn hidden_input_is_not_shown() {
    let home = Unlocked::new();
    let mut terminal =
        home.run("bash -c 'read -rsp \"Password: \" x; echo; echo \"${#x} characters\"'");
    let screen =
        terminal.waits_for("Password: ").types("hunter2\n").waits_for("7 characters").ends_with(0);
    assert!(!screen.contains("hunter2"), "{screen}");

    let line = "sh -c 'printf \"Name: \" >/dev/tty; read x </dev/tty; echo \"hello $x\"'";
    home.run(line).waits_for("Name: ").types("you\n").waits_for("hello you").ends_with(0);
}

#[test]
fn size_changes_reach_the_program() {
    let home = Unlocked::new();
    let line =
        "bash -c 'trap \"stty size\" WINCH; echo up; for i in {1..1000}; do sleep 0.01; done'";
    for redirection in ["", " </dev/null"] {
        let mut terminal = home.run(&format!("{line}{redirection}"));
        terminal.waits_for("up");
        terminal.session.get_process_mut().set_window_size(91, 47).unwrap();
        if redirection.is_empty() {
            terminal.waits_for("47 91");
        }
    }
}

#[test]
fn a_large_paste_arrives_while_the_program_prints() {
    let home = Unlocked::new();
    let line = "sh -c 'stty raw -echo; printf up; (while :; do echo noise; done) & head -c 100000 >pasted; kill $!; echo; \
                wc -c <pasted'";
    let mut terminal = home.run(line);

    terminal.waits_for("up");
    for _ in 0..100 {
        terminal.types(&"x".repeat(1000));
        terminal.waits_for("noise");
    }

    terminal.waits_for("100000").ends_with(0);
}

#[test]
fn each_stream_is_handled_separately() {
    let home = Unlocked::new();
    let mut terminal =
        home.run("sh -c 'test -t 0 && test ! -t 1 && test -t 2 && echo \"<$API_TOKEN>\" | tee /dev/stderr' | cat");
    terminal.waits_for("<‹api-token›>").waits_for("<‹api-token›>").ends_with(0);
    let mut terminal =
        home.run("sh -c 'test -t 0 && test -t 1 && test ! -t 2 && echo \"<$API_TOKEN>\" >&2' 2>errors; cat errors");
    terminal.waits_for("<‹api-token›>").ends_with(0);

    let mut terminal = home.shell(
        "echo piped | \"$secrets\" run -- sh -c 'test ! -t 0 && test -t 1 && test -t 2 && cat'",
    );
    terminal.waits_for("piped").ends_with(0);
}

#[test]
fn a_pager_after_run_keeps_the_keyboard() {
    let home = Unlocked::new();
    if !has("less") {
        return;
    }

    let mut terminal =
        home.shell("export TERM=xterm LESS=; \"$secrets\" run -- sh -c 'seq 1000; echo $API_TOKEN' | less; echo back");
    terminal
        .waits_for("10\r\n")
        .types("G")
        .waits_for("api-token")
        .types("q")
        .waits_for("back")
        .ends_with(0);

    let mut terminal = home
        .shell("export TERM=xterm LESS=; \"$secrets\" run -- sh -c 'seq 1000 | less'; echo back");
    terminal
        .waits_for("10\r\n")
        .types("G")
        .waits_for("1000")
        .types("q")
        .waits_for("back")
        .ends_with(0);
}

#[test]
fn an_editor_works_inside_run() {
    let home = Unlocked::new();
    if !has("vim") {
        return;
    }

    let mut terminal = home.interactive();
    terminal
        .types("export TERM=xterm; \"$secrets\" run -- vim -u NONE -i NONE page\n")
        .waits_for("[New")
        .types("ihello\x1b");

    terminal
        .waits_for("hello")
        .types("\x1a")
        .waits_for("Stopped")
        .waits_for("ready> ")
        .types("fg\n")
        .waits_for("hello");

    terminal
        .types(":wq\r")
        .waits_for("ready> ")
        .types("cat page\n")
        .waits_for("hello\r\n")
        .types("exit\n");

    assert_eq!(home.0.read("page"), b"hello\n");
}

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
