//! `copy` puts a value on the clipboard and nowhere else. tests/desktop.sh tries real desktops.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::terminal::Terminal;
use crate::support::{Sandbox, project, secret};

const VALUE: &str = "hunter2-on-the-clipboard";

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("mail", VALUE)]).unlocked()
}

#[test]
fn without_a_desktop_it_says_so() {
    let sandbox = sandbox();
    stderr!(sandbox.run(["copy", "mail"]).fails_with(1).stdout("").without(VALUE), @"
    error: there is no clipboard that programs can use here
    hint: run it on a desktop, or use `--osc52` to ask the terminal
    ");
    stderr!(sandbox.run(["copy", "mail", "--osc52"]).fails_with(2).stdout(""), @"
    error: there is no terminal that could copy the value
    hint: run it on a terminal, or without `--osc52` on a desktop
    ");
    sandbox.run(["copy", "mial"]).fails_with(3).stderr_has("did you mean `mail`?");
}

#[test]
fn a_time_is_between_a_second_and_an_hour() {
    let sandbox = Sandbox::empty();
    for (time, why) in [("0s", "shortest"), ("2h", "longest"), ("never", "a number and a unit")] {
        sandbox.run(["copy", "mail", "--clear-after", time]).fails_with(2).stderr_has(why);
    }

    let both = ["copy", "mail", "--osc52", "--clear-after", "3s"];
    sandbox.run(both).fails_with(2).stderr_has("cannot be used with");
}

#[test]
fn a_value_that_is_not_text_is_refused() {
    let sandbox = Sandbox::new().unlocked();
    for (tag, value) in [("bytes", &b"\xff\xfe"[..]), ("nul", b"a\0b")] {
        sandbox.vault().create(&project("default"), secret(tag, value)).unwrap();
        let run = sandbox.run(["copy", tag]).fails_with(7).stdout("");
        run.stderr_has("the value is not text").stderr_has("secrets render");
    }
}

/// A compositor may let no background program use its clipboard, and then wl-copy does it. This one is of
/// a version that cannot mark the value.
#[test]
fn wl_copy_serves_the_value_until_the_time_is_over() {
    let sandbox = sandbox();
    let directory = sandbox.path("bin");
    std::fs::create_dir(&directory).unwrap();
    let script = "#!/bin/sh\ncd \"$HOME\"\ncase $* in *sensitive*) exit 1 ;; esac\n\
        echo \"$@\" >arguments\nenv | sort >variables\ncat >copied\n\
        trap 'echo gone >end; exit' TERM\nwhile :; do sleep 0.05; done\n";
    std::fs::write(directory.join("wl-copy"), script).unwrap();
    std::fs::set_permissions(directory.join("wl-copy"), PermissionsExt::from_mode(0o700)).unwrap();

    let command = sandbox.command(["copy", "mail", "--clear-after", "2s", "--json"]);
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let command = command.env("PATH", path).env("WAYLAND_DISPLAY", "none");
    let command = command.env("HOME", sandbox.path("")).env("OTHER", "x");
    let json = command.run().succeeds().json();
    assert_eq!((&json["tag"], &json["clearAfterSeconds"]), (&"mail".into(), &2.into()));

    let read = |name: &str| String::from_utf8(sandbox.read(name)).unwrap();
    assert_eq!(read("copied"), VALUE);
    assert_eq!(read("arguments"), "--foreground\n");
    let variables = read("variables");
    for absent in [VALUE, "OTHER", "SECRETS_"] {
        assert!(!variables.contains(absent), "{variables}");
    }

    assert!(!sandbox.path("end").exists());
    let begun = Instant::now();
    while !sandbox.path("end").exists() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }

    assert!(begun.elapsed() > Duration::from_millis(500));
    let log = sandbox.run(["audit", "--kind", "use", "--json"]);
    let log = String::from_utf8(log.succeeds().bytes()).unwrap();
    assert!(log.contains("\"copy\"") && !log.contains(VALUE));
}

#[test]
fn a_terminal_is_asked_only_on_request() {
    let sandbox = sandbox();
    let mut terminal = Terminal::run(&sandbox, "copy mail --osc52");
    let screen = terminal.ends_with(0).to_owned();
    let sequence = "\x1b]52;c;aHVudGVyMi1vbi10aGUtY2xpcGJvYXJk\x07";
    assert!(screen.contains(sequence), "{screen:?}");
    assert!(screen.contains("sent `mail` to the terminal's clipboard, which nothing clears"));
    assert!(!screen.contains(VALUE));
}

/// An untrusted `.secrets.toml` does not choose the project whose value leaves the vault.
#[test]
fn a_stranger_does_not_choose_the_project() {
    let sandbox = Sandbox::with_secrets(&[("mail", VALUE)]).without_trust().unlocked();
    sandbox.write(".secrets.toml", "project = \"default\"\n");
    sandbox.run(["copy", "mail"]).fails_with(7).stderr_has("secrets trust");
    sandbox.run(["copy", "mail", "-p", "default"]).fails_with(1).stderr_has("no clipboard");
}
