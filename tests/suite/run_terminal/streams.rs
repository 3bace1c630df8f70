//! All three streams are a terminal, and values are masked on it.

use std::process::Command;

use crate::support::programs::has;

use super::Unlocked;

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
