//! Man pages and completions are generated from the command tree, checked in, and current.
//!
//! `just generate` (`SECRETS_GENERATE=1 cargo test --locked generated`) writes them again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap_mangen::Man;

use crate::support::files::root;

/// The date on the man pages until there is a release. A page without a date is invalid.
const BEFORE_RELEASES: &str = "2026-11-26";

/// Returns the date on the man pages, which is the last release date in CHANGELOG.md.
fn date() -> String {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let heading = changelog.lines().find(|line| line.starts_with("## [") && line.contains("] - "));

    heading.and_then(|line| line.rsplit(' ').next()).unwrap_or(BEFORE_RELEASES).to_owned()
}

/// Compares with the file that is checked in, or writes it.
fn check(path: &Path, content: &[u8]) {
    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("SECRETS_GENERATE").is_some() {
        fs::write(path, content).unwrap();
    }

    let found = fs::read(path).unwrap_or_default();
    assert!(found == content, "{} is stale: run `just generate`", path.display());
}

/// Refuses files that are no longer generated.
fn check_no_others(folder: &str, known: &[PathBuf]) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        assert!(known.contains(&path), "{} is no longer generated", path.display());
    }
}

#[test]
fn man_pages_are_current() {
    let mut command = terminal_secrets::command();
    command.build();
    let sections = root().join("man/sections.roff");
    let mut pages = vec![sections.clone()];
    let by_hand = fs::read_to_string(&sections).unwrap();

    write_page(&command, &by_hand, &mut pages);
    check_no_others("man", &pages);
}

/// Returns the commands for people. Clap's own `help` and internal commands are excluded.
fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
}

fn write_page(command: &clap::Command, by_hand: &str, pages: &mut Vec<PathBuf>) {
    let name = command.get_display_name().unwrap_or("secrets").to_owned();
    let source = format!("secrets {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(date())
        .source(source)
        .manual("Secrets Manual");

    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();

    let subcommands: Vec<_> = visible(command).collect();
    if !subcommands.is_empty() {
        man.render_subcommands_section(&mut page).unwrap();
    }

    let mut text = String::from_utf8(page).unwrap();
    if let Some(examples) = command.get_after_help() {
        text += &examples_section(&examples.to_string());
    }

    if name == "secrets" {
        text += by_hand;
    } else {
        text += ".SH \"EXIT STATUS\"\nAs listed in\n.BR secrets (1).\n.SH \"SEE ALSO\"\n.BR secrets (1)\n";
    }

    let path = root().join(format!("man/{name}.1"));
    check(&path, tidy(&text).as_bytes());
    pages.push(path);
    for subcommand in subcommands {
        write_page(subcommand, by_hand, pages);
    }
}

/// Returns the help's examples, with their lines unchanged.
fn examples_section(help: &str) -> String {
    let mut text = String::from(".SH EXAMPLES\n.EX\n");
    for line in help.lines().filter(|line| !line.starts_with("Example")) {
        let line = line.strip_prefix("  ").unwrap_or(line).replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        text += &format!("{guard}{line}\n");
    }

    text + ".EE\n"
}

/// Drops what mandoc's linter finds superfluous: the test for groff, doubled breaks, trailing
/// blanks.
fn tidy(page: &str) -> String {
    let page = page.replace("\\*(Aq", "\\(aq");
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines().map(str::trim_end) {
        let doubled = line == ".br" && lines.last() == Some(&".br");
        if !line.is_empty() && !line.starts_with(".ie") && !line.starts_with(".el") && !doubled {
            lines.push(line);
        }
    }

    // Clap's own `help` command has no page.
    if let Some(at) = lines.iter().position(|line| line.ends_with("help(1)")) {
        lines.drain(at - 1..at + 2);
    }

    lines.join("\n") + "\n"
}

#[test]
fn completions_are_current() {
    let mut known = Vec::new();
    let shells = [
        ("bash", "secrets.bash"),
        ("zsh", "_secrets"),
        ("fish", "secrets.fish"),
        ("elvish", "secrets.elv"),
        ("powershell", "secrets.ps1"),
    ];

    for (shell, file) in shells {
        let output = Command::new(env!("CARGO_BIN_EXE_secrets"))
            .args(["completions", shell])
            .output()
            .unwrap();

        assert!(output.status.success() && !output.stdout.is_empty(), "{shell}");
        let path = root().join("completions").join(file);
        check(&path, &output.stdout);
        known.push(path);
    }

    check_no_others("completions", &known);
}

#[test]
fn every_command_has_examples() {
    fn check(command: &clap::Command) {
        for subcommand in visible(command) {
            let help = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example"), "`{}` has no examples", subcommand.get_name());

            // Examples are printed unwrapped, in a terminal and in the manual.
            let long = help.lines().find(|line| line.chars().count() > 74);
            assert!(long.is_none(), "`{}`: {long:?}", subcommand.get_name());
            check(subcommand);
        }
    }

    check(&clap::Command::new("all").subcommand(terminal_secrets::command()));
}
