//! Reports an invalid command line in one sentence, and suggests the command that was probably
//! meant.
//!
//! It never shows an argument that was not understood, because it may be a secret.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{Error, Kind};

/// Converts clap's error about `arguments`. `root` describes the whole command line.
pub(super) fn failure(error: &clap::Error, root: &mut Command, arguments: &[OsString]) -> Error {
    let path = subcommands(root, arguments);
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let failure = Error::new(Kind::Usage, message(error));

    let typed = typed(error);
    if let Some(hint) = typed.as_deref().and_then(|typed| hint_for(&words, typed, arguments)) {
        return failure.hint(hint);
    }

    let failure = possible_values(error, failure);
    let failure = near_miss(error, typed.as_deref(), command_at(root, &words), failure);
    match usage_of(root, &words) {
        Some(usage) if error.get(ContextKind::Usage).is_some() => {
            failure.hint(format!("usage: {usage}"))
        }
        _ if !failure.has_hints() => failure.hint("see `secrets help` or `secrets COMMAND --help`"),
        _ => failure,
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    }
}

/// Returns the subcommands in `arguments`, from the outermost on.
fn subcommands(root: &Command, arguments: &[OsString]) -> Vec<String> {
    let mut path = Vec::new();
    let lenient = root.clone().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(arguments) else { return path };

    let mut matches = &matches;
    while let Some((name, inner)) = matches.subcommand() {
        path.push(name.to_owned());
        matches = inner;
    }

    path
}

fn command_at<'c>(root: &'c mut Command, path: &[&str]) -> &'c mut Command {
    // Only a built tree has the global options in every command.
    root.build();
    let mut command = root;
    for name in path {
        if command.find_subcommand(name).is_none() {
            break;
        }

        command = command.find_subcommand_mut(name).expect("it was found just now");
    }

    command
}

fn usage_of(root: &mut Command, path: &[&str]) -> Option<String> {
    let usage = command_at(root, path).render_usage().to_string();
    let line = usage.trim_start_matches("Usage:").trim().lines().next()?.to_owned();
    Some(line)
}

/// Returns the message for a clap error.
fn message(error: &clap::Error) -> String {
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let option = option_name(&argument);
    let named =
        option.as_deref().map_or_else(|| "an argument".to_owned(), |name| format!("`{name}`"));

    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            unknown_command(&text(error, ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "no command given".into()
        }
        ErrorKind::UnknownArgument => match option {
            Some(name) if looks_like_an_option(&name) => {
                format!("unknown option `{name}`")
            }
            Some(_) => "unknown option (not shown, in case it is a secret)".into(),
            None => "unexpected argument (not shown, in case it is a secret)".into(),
        },
        ErrorKind::MissingRequiredArgument => format!("{} is missing", backticked(&argument)),
        ErrorKind::ArgumentConflict => {
            let other = text(error, ContextKind::PriorArg)
                .map_or_else(|| "another option".to_owned(), |a| backticked(&a));
            format!("{named} cannot be used with {other}")
        }
        ErrorKind::NoEquals | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{named} requires a value")
        }
        ErrorKind::TooManyValues => format!("{named} does not take this value"),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".into(),
        ErrorKind::InvalidValue
            if text(error, ContextKind::InvalidValue).is_some_and(|value| value.is_empty()) =>
        {
            format!("{} requires a value", backticked(&argument))
        }
        _ => invalid_value(error, &argument),
    }
}

fn invalid_value(error: &clap::Error, argument: &str) -> String {
    match std::error::Error::source(error) {
        Some(why) if why.is::<std::num::ParseIntError>() => {
            format!("{} is not a number", backticked(argument))
        }
        // clap's text contains the number, which may be a PIN.
        Some(why) => match why.to_string().split_once(" is not in ") {
            Some((_, range)) => {
                format!(
                    "{} must be in the range {}",
                    backticked(argument),
                    range.replace("..=", " to ")
                )
            }
            None => format!("invalid {}: {why}", backticked(argument)),
        },
        None => format!("{} is not one of its possible values", backticked(argument)),
    }
}

/// Returns the option at the beginning of an argument such as `--token=hunter2`, `-khunter2` or a
/// bare `hunter2`, without anything that may be a value.
fn option_name(argument: &str) -> Option<String> {
    match argument.split('=').next().unwrap_or_default() {
        long if long.starts_with("--") => long.split_whitespace().next().map(str::to_owned),
        short if short.starts_with('-') => Some(short.chars().take(2).collect()),
        bare if bare.starts_with('<') || bare.starts_with('[') => Some(bare.to_owned()),
        _ => None,
    }
}

/// Returns true if a mistyped option can be shown. A value can begin with `--` too, for example a
/// PEM key.
fn looks_like_an_option(word: &str) -> bool {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
    name.len() <= 16 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// Reports a mistyped command, and shows it only if it looks like a command.
fn unknown_command(word: &str) -> String {
    let harmless = word.len() <= 16 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if harmless {
        format!("unknown command `{word}`")
    } else {
        "unknown command (not shown, in case it is a secret)".into()
    }
}

fn backticked(arguments: &str) -> String {
    if arguments.is_empty() { "an argument".into() } else { format!("`{arguments}`") }
}

fn possible_values(error: &clap::Error, failure: Error) -> Error {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
            failure.hint(format!("possible values: {}", valid.join(", ")))
        }
        _ => failure,
    }
}

/// Options that exist only to be refused, see `commands/value_source.rs`.
const VALUE_ATTEMPTS: [&str; 4] = ["--value", "--secret", "--password", "--token"];

/// Adds a hint with a similar name. clap's own suggestions are too generous and include hidden
/// commands.
fn near_miss(error: &clap::Error, typed: Option<&str>, command: &Command, failure: Error) -> Error {
    let mut failure = failure;
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg] {
        let offered = match error.get(kind) {
            Some(ContextValue::String(near)) => vec![near.clone()],
            Some(ContextValue::Strings(several)) => several.clone(),
            _ => Vec::new(),
        };

        // The most similar one comes last.
        let near = offered.iter().rev().find(|near| {
            let is_hidden =
                command.find_subcommand(near.as_str()).is_some_and(Command::is_hide_set);
            let is_similar = typed.is_none_or(|typed| is_similar(typed, near));
            is_similar && !is_hidden && !VALUE_ATTEMPTS.contains(&near.as_str())
        });

        if let Some(near) = near {
            failure = failure.hint(format!("did you mean `{near}`?"));
        }
    }

    failure
}

/// Returns true for a likely typing error: at most one letter in three differs.
fn is_similar(typed: &str, near: &str) -> bool {
    let (typed, near) = (typed.trim_start_matches('-'), near.trim_start_matches('-'));
    let is_cut_short = typed.len() >= 3 && near.starts_with(typed);
    is_cut_short || strsim::osa_distance(typed, near) <= (near.len() / 3).max(1)
}

/// Returns the word that was not understood: a subcommand, the name of an option, or an empty word
/// for a bare argument.
fn typed(error: &clap::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => text(error, ContextKind::InvalidSubcommand),
        ErrorKind::UnknownArgument => {
            let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
            Some(option_name(&argument).unwrap_or_default())
        }
        ErrorKind::ArgumentConflict => text(error, ContextKind::InvalidArg),
        _ => None,
    }
}

/// Returns a hint for what people type if they know another tool or expect a command that does not
/// exist. `typed` is empty for a bare argument.
fn hint_for(path: &[&str], typed: &str, arguments: &[OsString]) -> Option<&'static str> {
    match path {
        ["get"] => get_hint(typed),
        ["list"] => list_hint(typed),
        ["render"] => render_hint(typed),
        ["unlock"] if typed.is_empty() => {
            Some("set the time with `--ttl`, as in `secrets unlock --ttl 8h`")
        }
        ["project"] => project_hint(typed),
        ["recovery"] => recovery_hint(typed),
        [] | ["help"] => program_hint(typed, arguments),
        _ => None,
    }
}

fn get_hint(typed: &str) -> Option<&'static str> {
    match typed {
        "--reveal" | "--value" | "--show" | "--plain" | "--raw" | "--print" | "-r" | "-v"
        | "-s" => Some(
            "use `secrets render --reveal -e '{{ secrets.TAG }}'` to print a value, or \
             `secrets run` to pass it to a program; `get` never shows a value",
        ),
        "--copy" | "--clip" | "--clipboard" | "-c" => Some(
            "pipe the value to a clipboard program: \
             `secrets render -e '{{ secrets.TAG }}' | wl-copy`",
        ),
        "" => Some(
            "use `secrets list --filter TEXT` to find several secrets; `get` takes one tag or id",
        ),
        _ => None,
    }
}

fn list_hint(typed: &str) -> Option<&'static str> {
    match typed {
        "--tag" | "-t" | "--name" | "--search" | "--grep" => Some(
            "use `secrets get TAG` to show one secret, or `secrets list --filter TEXT` to find \
             several",
        ),
        "" => Some(
            "use `secrets list --filter TEXT` to find secrets, or `secrets list --project NAME` \
             for a project",
        ),
        _ => None,
    }
}

fn render_hint(typed: &str) -> Option<&'static str> {
    match typed {
        "" | "--out-file" => Some("use `secrets render TEMPLATE -o OUT` to write to a file"),
        "-i" | "--in-file" | "--input" => {
            Some("pass the template as an argument: `secrets render TEMPLATE -o OUT`")
        }
        "--text <TEMPLATE>" | "[FILE]" => Some(
            "remove `-e TEXT`, which is a template itself, to render a file: `secrets render FILE`",
        ),
        _ => None,
    }
}

fn project_hint(typed: &str) -> Option<&'static str> {
    match typed {
        "new" | "create" | "add" | "init" => {
            Some("create a project with its first secret: `secrets --project NAME create TAG`")
        }
        "switch" | "select" | "set" => Some("did you mean `use`?"),
        "rm" | "remove" | "del" => Some("did you mean `delete`?"),
        "mv" | "move" => Some("did you mean `rename`?"),
        "ls" | "show" | "get" => Some("did you mean `list`?"),
        _ => None,
    }
}

fn recovery_hint(typed: &str) -> Option<&'static str> {
    match typed {
        "new" | "add" | "make" | "generate" | "init" => Some("did you mean `create`?"),
        "rm" | "remove" | "del" | "revoke" => Some("did you mean `delete`?"),
        "replace" | "reset" | "rotate" | "renew" => {
            Some("use `secrets recovery create --replace` to create another code")
        }
        "show" | "print" | "get" | "list" | "ls" => Some(
            "use `secrets recovery create --replace` to create another code; a code is shown only \
             once",
        ),
        "use" | "unlock" | "restore" => {
            Some("use `secrets passwd --recovery` to set a new passphrase with the recovery code")
        }
        _ => None,
    }
}

fn program_hint(typed: &str, arguments: &[OsString]) -> Option<&'static str> {
    let has_input = || arguments.iter().any(|argument| argument == "-i" || argument == "--in-file");
    Some(match typed {
        "-v" | "version" => "use `secrets --version` to print the version",
        "show" | "read" | "reveal" | "cat" | "print" => {
            "use `secrets get` to show the hint, or `secrets render` to use the value; a value is \
             never shown"
        }
        "add" | "set" | "new" | "put" | "insert" | "store" => {
            "store a secret with `secrets create TAG`"
        }
        "generate" | "gen" => "use `secrets create TAG --generate` to store a generated value",
        "rm" | "remove" | "del" | "unset" => "did you mean `delete`?",
        "ls" => "did you mean `list`?",
        "find" | "search" | "grep" => {
            "use `secrets list --filter TEXT` to find secrets, or `secrets scan` to find values \
             in files"
        }
        "rotate" | "change" => "did you mean `update`?",
        "cp" => "did you mean `clone`?",
        "mv" | "move" => "did you mean `rename`?",
        "inject" if has_input() => {
            "pass the template as an argument: `secrets render TEMPLATE -o OUT`"
        }
        "inject" | "substitute" => "did you mean `render`?",
        "exec" | "start" | "shell" => "did you mean `run`?",
        "mask" | "filter" => "did you mean `redact`?",
        "login" | "signin" | "open" => "did you mean `unlock`?",
        "logout" | "signout" | "close" => "did you mean `lock`?",
        "password" | "passphrase" => "did you mean `passwd`?",
        "info" | "whoami" => "did you mean `status`?",
        "diagnose" | "health" => "did you mean `doctor`?",
        "upgrade" | "self-update" => {
            "install the new version in the same way as this one; `secrets` does not update itself"
        }
        "upload" | "download" | "push" | "pull" | "sync" | "share" => {
            "use `secrets backup FILE` to copy the vault, or `secrets export --encrypted FILE` to \
             write secrets for other programs; `secrets` sends neither anywhere"
        }
        "log" | "logs" | "history" | "audit" => {
            "use `secrets list` to see when each secret was last changed; no other history is kept"
        }
        "undo" | "revert" | "rollback" => {
            "use `secrets restore BACKUP --dry-run` to compare with a backup; changes cannot be \
             undone"
        }
        "man" | "manual" | "docs" => {
            "use `man secrets` for the manual, or `secrets COMMAND --help` for the options of a \
             command"
        }
        "config" | "configure" | "settings" => {
            "see `secrets --help` for options and environment variables; there is no \
             configuration file"
        }
        _ => return None,
    })
}
