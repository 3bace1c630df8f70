//! `pick` on a real terminal: a list to search, references to print, and changes.

use crate::support::repository::Project;
use crate::support::terminal::Terminal;
use crate::support::{Sandbox, secret};
use terminal_secrets::model::{Name, Timestamp};
use terminal_secrets::vault::{NewSecret, SecretChanges};

const SECRETS: [(&str, &str); 3] =
    [("api-key", "hunter2-0123456789"), ("db-url", "postgres://x"), ("stripe-live", "sk_live_x")];

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&SECRETS).unlocked()
}

/// Opens a list. The shell takes the result from stdout, as `$(…)` and editors do.
fn list(sandbox: &Sandbox, arguments: &str) -> Terminal {
    let script = format!(
        "export TERM=xterm; x=$(\"$secrets\" pick {arguments}); set -- $?; echo \"<$x>\"; (exit $1)"
    );
    Terminal::shell(sandbox, &script)
}

#[test]
fn a_few_letters_and_enter_print_a_reference() {
    let sandbox = sandbox();
    let mut terminal = list(&sandbox, "");
    terminal.shows("all 3").shows("api-key").shows("stripe-live");
    terminal.types("strlv").shows("1/3").types("\r");
    terminal.waits_for("<{{ secrets.stripe-live }}>");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("hunter2") && !screen.contains("sk_live_x"), "{screen:?}");
}

/// What is typed at once concerns the list that it leads to.
#[test]
fn keys_may_be_typed_ahead() {
    let sandbox = sandbox();
    let mut terminal = list(&sandbox, "--format tag");
    terminal.shows("api-key").types("db\x15stripe\r").waits_for("<stripe-live>").ends_with(0);
    let mut terminal = list(&sandbox, "zzz");
    terminal.shows("0/3").types("\r\x15\t\t\x05\r").waits_for("<{{API_KEY}}\r\n{{DB_URL}}>");
    terminal.ends_with(0);
}

#[test]
fn leaving_chooses_nothing() {
    let sandbox = sandbox();
    for key in ["\x1b", "\x03"] {
        let mut terminal = list(&sandbox, "");
        terminal.shows("api-key").types(key).waits_for("nothing was chosen").waits_for("<>");
        terminal.ends_with(130);
    }
}

#[test]
fn tabs_list_a_part() {
    let sandbox = sandbox();
    let vault = sandbox.vault();
    let project = "default".parse().unwrap();
    let restricted = NewSecret {
        class: terminal_secrets::model::Class::Restricted,
        name: Name::parse("\u{202e}Hostile").unwrap(),
        ..secret("tls-key", b"0123456789abcdef")
    };
    vault.create(&project, restricted).unwrap();
    let soon = SecretChanges {
        expires: Some(Some(Timestamp(Timestamp::now().0 + 86_400_000))),
        ..SecretChanges::default()
    };
    vault.update(&project, &"db-url".parse().unwrap(), None, soon).unwrap();
    sandbox.run(["render", "-e", "{{ secrets.api-key }}"]).succeeds().stdout("hunter2-0123456789");

    let mut terminal = list(&sandbox, "");
    terminal.shows("all 4  team 3  restricted 1  expiring 1  unused 3");
    terminal.types("\x1b[C\x1b[C").shows("1/1").types("\r");
    terminal.waits_for("<{{ secrets.tls-key }}>");
    let screen = terminal.ends_with(0).to_owned();
    assert!(screen.contains("Hostile") && !screen.contains('\u{202e}'), "{screen:?}");

    let mut terminal = list(&sandbox, "");
    terminal.shows("api-key").types("\x1b[D\x1b[D").shows("1/1").types("\r");
    terminal.waits_for("<{{ secrets.db-url }}>").ends_with(0);
}

#[test]
fn a_secret_is_created_replaced_renamed_cloned_and_deleted() {
    let sandbox = sandbox();
    let mut terminal = list(&sandbox, "");
    terminal.shows("3/3").types("\x0e").waits_for("Tag of the new secret");
    terminal.types("NEW-one\n").waits_for("Value of NEW-one").types("first value\n");
    terminal.shows("4/4").shows("created `NEW-one`");

    terminal.types("NEW").shows("1/4").types("\x12").waits_for("New value of NEW-one");
    terminal.types("second value\n").shows("> NEW").shows("replaced the value of `NEW-one`");

    terminal.types("\x0f").waits_for("New tag of `NEW-one`").types("other-one\n");
    terminal.shows("> NEW").shows("renamed `NEW-one` to `other-one`");

    terminal.types("\x15other").shows("1/4").types("\x0c").waits_for("Project for the copy");
    terminal.types("web\n").shows("> other");
    terminal.shows("copied `other-one` to `other-one` in project `web`");

    terminal.types("\x04").waits_for("Delete `other-one` of project `default` for good?");
    terminal.types("y\n").shows("deleted `other-one`").shows("0/3");

    terminal.types("\x15\x0e").waits_for("Tag of the new secret").types("api-key\n");
    terminal.shows("secret `api-key` already exists").types("\x0e").waits_for("Tag of");
    terminal.types("\n").shows("3/3").types("\x1b").waits_for("<>").ends_with(130);

    let rendered = sandbox.run(["render", "-p", "web", "-e", "{{ secrets.other-one }}"]);
    rendered.succeeds().stdout("second value");
    sandbox.run(["get", "other-one"]).fails_with(3).stderr_has("no secret");
}

#[test]
fn references_guard_a_secret_and_follow_a_new_tag() {
    let project = Project::in_git(&[
        (".secrets.toml", "project = \"web\"\n[secrets.api-key]\n"),
        ("app.tmpl", "{{ secrets.api-key }}\n"),
    ]);
    project.store("web", "api-key", "hunter2-0123456789");
    let sandbox = Project(project.0.unlocked());
    let script = "cd repo; export TERM=xterm; \"$secrets\" pick";
    let mut terminal = Terminal::shell(&sandbox.0, script);
    terminal.shows("1/1").types("\x04").shows("2 places refer to `api-key`");
    terminal.types("\x0f").waits_for("New tag of `api-key`").types("stripe-key\n");
    terminal.waits_for("2 places refer to `api-key`. Rewrite them, too? [Y/n]").types("\n");
    terminal.shows("renamed `api-key` to `stripe-key`").shows("stripe-key");
    terminal.types("\r").waits_for("{{ secrets.stripe-key }}").ends_with(0);
    assert_eq!(sandbox.read("app.tmpl"), "{{ secrets.stripe-key }}\n");
    assert_eq!(sandbox.read(".secrets.toml"), "project = \"web\"\n[secrets.stripe-key]\n");
}

#[test]
fn secrets_of_another_project_have_no_placeholder() {
    let sandbox = sandbox();
    sandbox.vault().create(&"web".parse().unwrap(), secret("web-key", b"x")).unwrap();
    let mut terminal = list(&sandbox, "--all-projects web-");
    terminal.shows("1/4").types("\r").shows("`web-key` is in project `web`");
    terminal.types("\x14\r").waits_for("<web-key>").ends_with(0);
}

#[test]
fn without_a_terminal_it_names_the_way_to_search() {
    let sandbox = sandbox();
    let missing = |run: crate::support::Run| {
        stderr!(run.fails_with(2).stdout(""), @"
        error: `secrets pick` needs a terminal
        hint: use `secrets list --filter TEXT` to search without one
        ");
    };
    missing(sandbox.command(["pick"]).env("TERM", "xterm").run());
    missing(sandbox.command(["pick"]).env("TERM", "dumb").run());
}

#[test]
fn a_signal_restores_the_terminal() {
    let sandbox = sandbox();
    let mut terminal = Terminal::shell(
        &sandbox,
        "export TERM=xterm; (sleep 1; pkill -TERM -P $$ -f pick) & \"$secrets\" pick",
    );
    terminal.shows("api-key").waits_for("\x1b[?1049l");
    terminal.ends_with(143);
}
