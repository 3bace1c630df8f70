//! The help of the program itself, which lists its commands in groups. clap prints the help of each
//! command.

use std::ffi::OsString;
use std::fmt::Write;

use clap::Command;

/// Every visible command, in the order in which a reader needs them.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Store secrets",
        &[
            "create", "list", "get", "pick", "update", "edit", "rename", "delete", "clone",
            "import", "export",
        ],
    ),
    (
        "Use secrets",
        &[
            "render",
            "run",
            "copy",
            "code",
            "env",
            "hook",
            "git-credential",
            "request",
            "proxy",
            "serve",
            "mcp",
            "redact",
            "scan",
        ],
    ),
    ("Give access", &["allow", "token", "access", "audit"]),
    ("Set up a project", &["trust", "setup", "check", "refs", "template", "adopt", "project"]),
    (
        "Manage the vault",
        &[
            "init", "unlock", "lock", "status", "passwd", "keychain", "key-file", "recovery",
            "rekey", "remote",
        ],
    ),
    ("Protect the vault", &["doctor", "verify", "backup", "restore", "salvage", "compact"]),
];
const REST: (&str, &[&str]) = ("Other commands", &["completions", "help"]);

/// Returns the help that `arguments` request, as clap reports it.
pub(super) fn requested(root: Command, arguments: &[OsString]) -> Option<clap::Error> {
    let commands = groups(&super::command());
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} \
         {{usage}}\n\n{commands}{{all-args}}{{after-help}}"
    );

    let grouped = root
        .override_usage("secrets [OPTIONS] <COMMAND>")
        .help_template(template)
        // The groups above list the commands. Their own help still works.
        .mut_subcommands(|command| command.hide(true));

    grouped.try_get_matches_from(arguments).err()
}

fn groups(root: &Command) -> String {
    let styles = root.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let width = GROUPS
        .iter()
        .chain([&REST])
        .flat_map(|(_, names)| *names)
        .map(|name| name.len())
        .max()
        .unwrap_or(0);

    let mut text = String::new();
    for (title, names) in GROUPS.iter().chain([&REST]) {
        let _ = writeln!(text, "{header}{title}:{header:#}");
        for name in *names {
            let about = match root.find_subcommand(name).and_then(Command::get_about) {
                Some(about) => about.to_string(),
                None => "Print this message or the help of a command".to_owned(),
            };

            let _ = writeln!(text, "  {literal}{name:<width$}{literal:#}  {about}");
        }

        text.push('\n');
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let root = super::super::command();
        let visible =
            root.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
        let mut expected: Vec<&str> = visible.chain(["help"]).collect();
        let mut listed: Vec<&str> =
            GROUPS.iter().chain([&REST]).flat_map(|(_, names)| *names).copied().collect();
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }
}
