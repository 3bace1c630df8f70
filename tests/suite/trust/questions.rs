//! On a terminal the question comes once, before the passphrase, about what is used later.

use crate::support::PASSPHRASE;
use crate::support::terminal::Terminal;

use super::{MANIFEST, record, usual};

#[test]
fn on_a_terminal_the_question_comes_once_before_the_passphrase() {
    let project = usual();
    let asked = |typed: &str| {
        let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" render --all");
        terminal.waits_for("`.secrets.toml` is not trusted yet. It asks for:\r\n");
        terminal.waits_for(
            "  project   `web`, number of secrets unknown while the vault is locked\r\n",
        );
        terminal.waits_for("  output    `.env` (mode 600) from `t.tmpl`: key\r\n");
        terminal.waits_for("  variable  KEY={{ secrets.key }}\r\n");
        terminal.waits_for(
            "  variable  HTTPS_PROXY=http://proxy (redirects connections or configuration)\r\n",
        );
        terminal.waits_for("Trust it with 1 output, 2 variables and 1 secret? [y/N] ").types(typed);
        terminal
    };

    for typed in ["n\n", "\n", "maybe\n"] {
        let mut terminal = asked(typed);
        if typed == "maybe\n" {
            terminal
                .waits_for("Answer `y` or `n`.\r\nTrust it with ")
                .waits_for("[y/N] ")
                .types("no\n");
        }

        let screen = terminal
            .waits_for("\r\n`.secrets.toml` was not trusted; nothing was changed\r\n")
            .ends_with(7);
        assert!(!screen.contains("Passphrase") && !screen.contains("error:"), "{screen}");
    }

    asked("\x04").ends_with(130);
    let mut terminal = asked("y\n");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("wrote `.env`").ends_with(0);
    assert_eq!(record(&project)["bindings"].as_array().unwrap().len(), 1);

    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" render --all");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("up to date");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("Trust it"), "{screen}");

    // After a change the question is asked again, and it shows the change.
    let hostile = "\\u001b[2J".to_owned() + &"x".repeat(4000);
    project.write(".secrets.toml", MANIFEST.replace("http://proxy", &hostile));
    project.run(&["unlock", "-q"]).succeeds();
    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" check");

    terminal.waits_for("`.secrets.toml` asks for something other than what you trusted:\r\n");
    terminal
        .waits_for("  variable HTTPS_PROXY=\\u{1b}[2Jxxx")
        .waits_for("… (with no secret), previously http://proxy\r\n");
    terminal.waits_for("It asks for:\r\n");
    terminal.waits_for("  project   `web`, 2 secrets\r\n");
    terminal.waits_for("Trust it with ").types("y\n").waits_for("has everything it needs");
    terminal.ends_with(0);
    project.run(&["lock", "-q"]).succeeds();
}

#[test]
fn a_template_that_changes_while_a_question_waits_is_refused() {
    // The change happens during the question for trust.
    let project = usual();
    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" render --all");
    terminal.waits_for("Trust it with ");
    project.write("t.tmpl", "KEY={{ secrets.key }}\nX={{ secrets.other }}\n");
    terminal
        .types("y\n")
        .waits_for("error: `.secrets.toml` asks for something other than what you trusted");
    terminal.waits_for("  output `.env` from `t.tmpl` also uses: other").ends_with(7);
    assert!(!project.path(".env").exists());

    // The change happens while a missing value is asked for.
    project.write("t.tmpl", "KEY={{ secrets.key }}\nNEW={{ secrets.new }}\n");
    project.run(&["trust", "-q"]).succeeds().stdout_has("new");
    let mut terminal = Terminal::shell(&project.0, "cd repo; \"$secrets\" setup");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("Value of new: ");
    project.write("t.tmpl", "KEY={{ secrets.key }}\nNEW={{ secrets.new }}{{ secrets.other }}\n");
    terminal
        .types("value-of-new\n")
        .waits_for("  output `.env` from `t.tmpl` also uses: other")
        .ends_with(7);

    assert!(!project.path(".env").exists());

    // The typed value is stored, and the command works once the change is trusted.
    project.run(&["trust", "-q"]).succeeds().stdout_has("other");
    project.run(&["setup", "-q"]).succeeds();
    assert_eq!(project.read(".env"), "KEY=value-of-key\nNEW=value-of-newvalue-of-other\n");
}
