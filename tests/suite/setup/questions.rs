//! `setup` asks for missing values without an echo, and stores each answer at once.

use crate::support::PASSPHRASE;
use crate::support::repository::{MARKER, Project};
use crate::support::terminal::Terminal;

const TWO: &str = "project = \"web\"\n[secrets.first]\ndescription = \"the first\"\n[secrets.second]\n[secrets.made]\n\
    generate = {}\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \".env\"\n";

/// Returns a project with two questions.
fn two() -> Project {
    Project::in_git(&[
        (".secrets.toml", TWO),
        ("t.tmpl", "{{ secrets.first }} {{ secrets.second }}\n"),
        (".gitignore", "x\n"),
    ])
}

/// Runs `setup` on a terminal and unlocks the vault.
fn on_a_terminal(project: &Project, script: &str) -> Terminal {
    let mut terminal = Terminal::shell(&project.0, &format!("cd repo; {script}"));
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal
}

#[test]
fn setup_asks_for_what_is_missing_hidden_and_stores_it_at_once() {
    let project = two();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("created `made` in project `web`");
    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("created `first` in project `web`, hint ");
    terminal.waits_for("Value of second: ").types("other\n");
    terminal
        .waits_for("added `/.env` to .gitignore")
        .waits_for("wrote `.env`")
        .waits_for("is set up: 3 secrets, 1 output");

    let screen = terminal.ends_with(0);
    assert!(!screen.contains(MARKER) && !screen.contains("other"), "{screen}");
    assert_eq!(project.read(".env"), format!("{MARKER} other\n"));
    project.changes_nothing(&["setup", "-q"]).succeeds();
    assert_eq!(project.0.vault().list(None, |_| true).unwrap().len(), 3);
}

#[test]
fn no_to_the_question_leaves_every_file_and_keeps_what_was_typed() {
    let project = two();
    project.write(".env", "by hand");
    let before = project.files();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");

    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("Value of second: ").types("other\n");

    // This question comes last, so that nobody types a value while the terminal echoes. Enter means
    // no if something would be lost.
    terminal.waits_for("Replace `.env`? [y/N] ").types("\n");
    terminal.waits_for("\r\n`.env` was not replaced").ends_with(7);
    assert_eq!(
        (before, project.0.vault().list(None, |_| true).unwrap().len()),
        (project.files(), 3)
    );

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Replace `.env`? [y/N] ").types("y\n").waits_for("is set up").ends_with(0);
}

#[test]
fn a_value_of_several_lines_is_left_for_later() {
    let project = two();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Value of first: ").types("-----BEGIN\nabc\n-----END\n");
    terminal.waits_for("skipped; store it with\r\n`secrets create first --value-file PATH`");
    terminal.waits_for("Value of second: ").types("a\x1b[Db\n").waits_for("try again");
    terminal.waits_for("Value of second: ").types(MARKER).types("\n");

    let screen = terminal.waits_for("error: `first` is missing in project `web`").ends_with(3);
    assert!(!screen.contains(MARKER) && !screen.contains("BEGIN"), "{screen}");
}

#[test]
fn enter_leaves_a_secret_for_later() {
    let project = two();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of first: ").types("\n");
    terminal.waits_for("Value of second: ").types(MARKER).types("\n");

    let screen = terminal.waits_for("error: `first` is missing in project `web`").ends_with(3);
    assert!(!screen.contains(MARKER), "{screen}");
    assert!(!project.path(".env").exists() && project.read(".gitignore") == "x\n");
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");

    terminal.waits_for("Value of first: ").types("1\n");
    let screen = terminal.waits_for("is set up").ends_with(0);
    assert!(!screen.contains("Value of second"), "{screen}");
    assert_eq!(project.read(".env"), format!("1 {MARKER}\n"));
}

#[test]
fn ctrl_c_at_the_second_question_keeps_the_first_answer_and_a_second_run_resumes() {
    let project = two();
    let before = project.files();
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("Value of second: ").types("half\x03");

    let screen = terminal.ends_with(130);
    assert!(!screen.contains(MARKER) && !screen.contains("half"), "{screen}");
    assert_eq!(before, project.files());
    let made = project.stored("web", "made").unwrap();

    assert_eq!(
        (project.stored("web", "first").as_deref(), project.stored("web", "second")),
        (Some(MARKER), None)
    );

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of second: ").types("2\n").waits_for("is set up");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("Value of first"), "{screen}");
    assert_eq!(project.read(".env"), format!("{MARKER} 2\n"));
    assert_eq!(project.stored("web", "made").unwrap(), made);
}

#[test]
fn a_kill_at_the_second_question_keeps_the_first_answer_and_a_second_run_resumes() {
    use rustix::process::{Pid, Signal, kill_process};
    let project = two();
    let before = project.files();

    // A killed process leaves the terminal in the state of the question.
    let script =
        "sh -c 'echo $$ > ../pid; exec \"$secrets\" setup --yes'; code=$?; stty sane; (exit $code)";
    let mut terminal = on_a_terminal(&project, script);
    terminal.waits_for("Value of first: ").types(MARKER).types("\n");
    terminal.waits_for("Value of second: ");

    let pid = String::from_utf8(project.0.read("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    terminal.ends_with(137);
    assert_eq!(before, project.files());
    stderr!(project.changes_nothing(&["setup"]).fails_with(3), @"
    error: `second` is missing in project `web`
      second
    hint: run `secrets setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    ");

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup --yes");
    terminal.waits_for("Value of second: ").types("2\n").waits_for("is set up").ends_with(0);
    assert_eq!(project.read(".env"), format!("{MARKER} 2\n"));
}

#[test]
fn a_description_cannot_control_the_terminal() {
    let manifest = "[secrets.a]\ndescription = \"x\\u202Ey\\nz\\u200B\"\n";
    let project = Project::new(&[(".secrets.toml", manifest)]);
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("`.secrets.toml` says: \"x\\u{202e}y z").waits_for("Value of a: ");

    let screen = terminal.types("\x03").ends_with(130);
    assert!(!screen.contains('\u{202e}') && !screen.contains('\u{200b}'), "{screen}");
    let (_, stdout, stderr) = project.run(&["check"]).everything();
    let all = String::from_utf8(stdout).unwrap() + &stderr;

    assert!(
        !all.contains('\u{202e}') && !all.contains('\u{200b}') && all.contains("x\\u{202e}y"),
        "{all}"
    );
}

#[test]
fn a_description_cannot_imitate_a_question() {
    // With enough blanks, its end would appear where our questions begin, on a terminal of any
    // width.
    let hostile = format!("x{}Passphrase for /home/you/vault.db: ", "  ".repeat(2000));
    let manifest = format!("[secrets.a]\ndescription = \"{hostile}\"\n[secrets.b]\n");
    let project = Project::new(&[(".secrets.toml", &manifest), ("t", "")]);
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");

    terminal.waits_for("`.secrets.toml` says: \"x…\"\r\nValue of a: ");
    terminal.types("1\n").waits_for("Value of b: ").types("\x03").ends_with(130);

    let long = format!("[secrets.a]\ndescription = \"{}\"\n", "word \\\" ".repeat(500));
    project.write(".secrets.toml", &long);
    stderr!(project.run(&["-p", "other", "setup"]).fails_with(3), @r#"
    error: `a` is missing in project `other`
      a: "word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word ' word '…"
    hint: run `secrets -p other setup` on a terminal to enter missing secrets, or read them from a file with `--from FILE.env`
    "#);

    stderr!(project.run(&["-p", "other", "check"]).fails_with(3).stdout_has("…\"\n"), @"
    error: a secret is missing
    hint: enter missing secrets with `secrets -p other setup`
    ");

    let key = format!("[{}]\n", "k".repeat(4000));
    project.write(".secrets.toml", &key);
    let (_, _, stderr) = project.run(&["check"]).everything();
    assert!(
        stderr.starts_with("error: .secrets.toml:1:2: unknown key `kkk") && stderr.len() < 600,
        "{stderr}"
    );
}

#[test]
fn enter_at_an_optional_secret_skips_it_or_stores_an_empty_value() {
    let manifest = "project = \"web\"\n[secrets.o]\noptional = true\n[secrets.r]\n\
        [[render]]\ntemplate = \"t.tmpl\"\noutput = \".env\"\n";
    let project = Project::new(&[
        (".secrets.toml", manifest),
        ("t.tmpl", "O={{ secrets.o }}\nR={{ secrets.r }}\n"),
    ]);

    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Value of o: ").types("\n");
    terminal.waits_for("Store an empty value for `o`? [y/N] ").types("\n");
    terminal.waits_for("Value of r: ").types("\n");

    let screen = terminal.waits_for("error: 2 secrets are missing").ends_with(3);
    assert!(!screen.contains("for `r`?"), "{screen}");
    let mut terminal = on_a_terminal(&project, "\"$secrets\" setup");
    terminal.waits_for("Value of o: ").types("\n");
    terminal.waits_for("Store an empty value for `o`? [y/N] ").types("y\n");
    terminal.waits_for("Value of r: ").types("x\n").waits_for("is set up").ends_with(0);
    assert_eq!(project.read(".env"), "O=\nR=x\n");
}
