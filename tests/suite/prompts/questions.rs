//! Only a typed `yes` deletes, and piped input is not an answer.

use crate::support::terminal::Terminal;
use crate::support::values::revealed;
use crate::support::{PASSPHRASE, Sandbox};

#[test]
fn delete_asks_and_only_yes_deletes() {
    let sandbox = Sandbox::with_secrets(&[("key", "x"), ("other", "x")]);
    for no in ["\n", "n\n", "no\n"] {
        let mut terminal = Terminal::run(&sandbox, "delete KEY other");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal
            .waits_for(
                "Delete `key` of project `default`, `other` of project `default` for good? [y/N] ",
            )
            .types(no);

        terminal.waits_for("\r\nnothing was changed").ends_with(7);
    }

    // Neither unrecognized text nor the end of input counts as an answer.
    for (typed, shown) in [("yse\n", "Answer `y` or `n`.\r\nDelete `key` of project "), ("", "")] {
        let mut terminal = Terminal::run(&sandbox, "delete KEY other");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal.waits_for("for good? [y/N] ").types(typed).waits_for(shown);
        terminal.types("\x04").ends_with(130);
    }

    let mut terminal = Terminal::run(&sandbox, "delete key");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("[y/N] ").types("y\n");
    terminal.waits_for("deleted `key` of project `default`").ends_with(0);
    sandbox.run(["list"]).succeeds().stdout_has("other\t");
    stderr!(sandbox.run(["get", "key"]).fails_with(3), @"
    error: no secret `key` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");
}

#[test]
fn project_delete_asks_and_only_yes_deletes() {
    let sandbox = Sandbox::with_secrets(&[("key", "x"), ("other", "x")]);
    for (answer, code) in [("\n", 7), ("y\n", 0)] {
        let mut terminal = Terminal::run(&sandbox, "project delete default");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal
            .waits_for("Delete project `default` with its 2 secrets for good? [y/N] ")
            .types(answer);
        terminal.ends_with(code);
    }

    sandbox.run(["project", "list"]).succeeds().stdout("");
}

#[test]
fn the_passphrase_is_asked_for_while_stdin_and_stdout_are_pipes() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::shell(
        &sandbox,
        "printf 'piped value\\n' | \"$secrets\" create --tag key --json | cat",
    );

    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    let screen = terminal.waits_for("\"tag\":\"key\"").ends_with(0);
    assert!(!screen.contains("Value of") && !screen.contains("piped"), "{screen}");
    assert_eq!(revealed(&sandbox, "key"), b"piped value");
}

#[test]
fn piped_input_is_not_an_answer_to_a_question() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::shell(&sandbox, "echo y | \"$secrets\" delete key");
    terminal.waits_for("error: deleting requires `--yes`").ends_with(7);
    sandbox.run(["get", "key"]).succeeds().stdout_has("tag ");
}

#[test]
fn a_list_on_a_terminal_is_a_table_that_fits() {
    let sandbox = Sandbox::new();
    let name = "a name that is quite long and not to be shown in full on every terminal";
    for (tag, name) in [
        ("a-tag-of-twenty-char", name),
        ("short", "漢字のとても長い名前はどこでも折り返される"),
        ("x", ""),
    ] {
        let line = ["create", "--tag", tag, "--name", name, "-q"];
        sandbox.command(line).stdin("abcdefghijklmnopqrstuvwxyz012345").run().succeeds();
    }

    sandbox.write("passphrase", PASSPHRASE);
    for (width, columns) in [
        (40, &["TAG", "HINT"][..]),
        (80, &["TAG", "HINT", "NAME"]),
        (120, &["TAG", "HINT", "NAME", "ID"]),
    ] {
        let list = "NO_COLOR= \"$secrets\" list --passphrase-file passphrase 2>/dev/null";
        let script = format!("stty cols {width} rows 24; {list}");
        let mut terminal = Terminal::shell(&sandbox, &script);
        let screen = terminal.ends_with(0);
        // The epilogue's lines are not part of the table.
        let table: Vec<&str> = screen.split("code=").next().unwrap().lines().collect();
        for line in &table {
            let line = plain(line);
            assert!(
                unicode_width::UnicodeWidthStr::width(&*line) <= width,
                "{width}: {line}\n{screen}"
            );
        }
        let header = plain(table[0]);
        for column in columns {
            assert!(header.contains(column), "{width}: {header}");
        }
        assert!(
            table[0].starts_with("\x1b[1m"),
            "the header is bold on a terminal: {:?}",
            table[0]
        );
        for tag in ["a-tag-of-twenty-char", "short", "x"] {
            assert!(
                table.iter().any(|line| line.split_whitespace().next() == Some(tag)),
                "{width}: {screen}"
            );
        }
    }
}

/// Returns a line without its colours.
fn plain(line: &str) -> String {
    line.replace("\x1b[1m", "").replace("\x1b[0m", "")
}
