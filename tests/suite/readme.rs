//! README.md's blocks do what they show.
//!
//! `console` blocks run in order in one sandbox, each command on a pseudo-terminal of 80 columns,
//! as a reader would see it. Only the shape of text that changes from run to run is compared (hints
//! of generated values, ids, dates).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::files::root;
use crate::support::{PASSPHRASE, Sandbox};

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// Returns the blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let opening = format!("```{language}\n");
    text.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the command lines, each with the output below it.
fn steps(block: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("a block begins with output: {line}"),
        }
    }

    steps
}

/// Replaces text that differs in every run.
fn shape(output: &str) -> String {
    let word = |word: &str| {
        let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
        if word.strip_prefix("se").is_some_and(|rest| rest.len() == 16 && hex(rest)) {
            "ID".to_owned()
        } else if word.len() == 10 && word.chars().filter(|c| *c == '-').count() == 2 {
            "DATE".to_owned()
        } else if word
            .split_once('…')
            .is_some_and(|(start, end)| start.len() == 4 && hex(start) && hex(end))
        {
            "HINT".to_owned()
        } else {
            word.to_owned()
        }
    };

    // The estimate depends on the vault's cost, which differs here.
    let estimate = "guessing this passphrase takes about";
    let lines = output.lines().map(|line| if line.starts_with(estimate) { estimate } else { line });
    lines.map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn on_a_terminal(sandbox: &Sandbox, command: &str) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_secrets")).parent().unwrap();
    let mut script = Command::new("script")
        .args(["-qec", &format!("stty cols 80; {command}"), "/dev/null"])
        .current_dir(sandbox.path(""))
        .env_clear()
        .env("HOME", sandbox.path(""))
        .env("XDG_RUNTIME_DIR", sandbox.path(""))
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", binary.display()))
        .env("SECRETS_PASSPHRASE", PASSPHRASE)
        .env("SHELL", "/bin/sh")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    // The input stays open, because closing it would type an end of input.
    let keyboard = script.stdin.take();
    let output = script.wait_with_output().unwrap();
    drop(keyboard);
    let home = format!("{}/", sandbox.path("").display());

    String::from_utf8(output.stdout)
        .unwrap()
        .replace('\r', "")
        .replace(&home.replace("//", "/"), "/home/you/")
}

#[test]
fn the_tour_matches_the_output() {
    let sandbox = Sandbox::empty();
    let mut count = 0;
    for block in blocks("console") {
        for (command, expected) in steps(&block) {
            // The tour is about the texts, so the key derivation is the cheapest.
            let cheap = " init --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1";
            let found = on_a_terminal(
                &sandbox,
                &command.replace("secrets init", &format!("secrets{cheap}")),
            );

            let found = found
                .replace(
                    "warning: these key derivation parameters make guessing cheaper than the \
                          defaults\n",
                    "",
                )
                .replace("(19 MiB, 1 pass, 1 lane)", "(256 MiB, 3 passes, 4 lanes)");

            assert_eq!(shape(&found), shape(&expected), "$ {command}");
            count += 1;
        }
    }

    assert!(count >= 16, "only {count} commands were run");
}

#[test]
fn the_demo_ends_as_shown() {
    let root = root();

    // The demo is about the output, so the key derivation is the cheapest.
    let sandbox = Sandbox::empty();
    let cheap = "--kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1";
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = init ] && set -- \"$@\" {cheap}\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_secrets")
    );

    let program = sandbox.write("secrets", script);
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("sh")
        .arg("-c")
        .arg("sh examples/demo.sh 2>&1")
        .current_dir(root)
        .env("SECRETS", program)
        .output()
        .unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let shown = blocks("text").remove(0);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.ends_with(&shown), "{printed}");
}

#[test]
fn the_exit_codes_match_the_man_page() {
    let sections = fs::read_to_string(root().join("man/sections.roff")).unwrap();
    let status = sections.split(".SH ENVIRONMENT").next().unwrap();
    let manual: Vec<&str> = status.lines().filter_map(|line| line.strip_prefix(".B ")).collect();
    let manual: Vec<&str> = manual.into_iter().filter(|word| word.parse::<u8>().is_ok()).collect();

    assert!(
        status.contains(".BR 125 \", \" 126 \", \" 127") && readme().contains("| 125, 126, 127 |")
    );
    let text = readme();
    let table = text.split("| exit code | |").nth(1).unwrap().split("\n\n").next().unwrap();
    let shown: Vec<&str> =
        table.lines().filter_map(|row| row.split('|').nth(1)).map(str::trim).collect();

    let shown: Vec<&str> = shown.into_iter().filter(|word| word.parse::<u8>().is_ok()).collect();
    assert_eq!(shown, manual);
    assert_eq!(manual, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "130"]);
}

#[test]
fn every_linked_file_exists() {
    let root = root();
    let mut checked = 0;
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/format.md",
        "docs/release.md",
    ] {
        let path = root.join(page);
        for link in fs::read_to_string(&path).unwrap().split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.contains("://") && !target.is_empty() {
                assert!(path.parent().unwrap().join(target).exists(), "{page} links to {target}");
                checked += 1;
            }
        }
    }

    assert!(checked > 10);
}
