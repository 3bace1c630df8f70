//! What a wrong command line is answered with: one sentence, and the command that was probably meant.
//!
//! An argument that was not understood is never repeated: it may be a value that somebody tried to pass.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{Error, Kind};

/// Returns what clap reports about `arguments`, in our words. `root` is the whole command line's description.
pub(super) fn failure(error: &clap::Error, root: &mut Command, arguments: &[OsString]) -> Error {
    let path = subcommands(root, arguments);
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let failure = Error::new(Kind::Usage, message(error));

    let typed = typed(error);
    if let Some(hint) = typed.as_deref().and_then(|typed| elsewhere(&words, typed, arguments)) {
        return failure.hint(hint);
    }

    let failure = possible_values(error, failure);
    let failure = near_miss(error, typed.as_deref(), command_at(root, &words), failure);
    match usage_of(root, &words) {
        Some(usage) if error.get(ContextKind::Usage).is_some() => {
            failure.hint(format!("usage: {usage}"))
        }
        _ if failure.hints().is_empty() => {
            failure.hint("see `secrets help` or `secrets COMMAND --help`")
        }
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

/// The subcommands that `arguments` name, from the outermost on.
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
    // Global options belong to every command only once the tree is built.
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

/// The one sentence.
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
            "a command is missing".into()
        }
        ErrorKind::UnknownArgument => match option {
            Some(name) if looks_like_an_option(&name) => {
                format!("there is no option `{name}` here")
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
            format!("{named} needs a value")
        }
        ErrorKind::TooManyValues => format!("{named} takes no such value"),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".into(),
        ErrorKind::InvalidValue
            if text(error, ContextKind::InvalidValue).is_some_and(|value| value.is_empty()) =>
        {
            format!("{} needs a value", backticked(&argument))
        }
        _ => invalid_value(error, &argument),
    }
}

fn invalid_value(error: &clap::Error, argument: &str) -> String {
    match std::error::Error::source(error) {
        Some(why) if why.is::<std::num::ParseIntError>() => {
            format!("{} is not a number", backticked(argument))
        }
        // clap repeats a number that is out of its range, which may be a PIN.
        Some(why) => match why.to_string().split_once(" is not in ") {
            Some((_, range)) => {
                format!("{} takes {}", backticked(argument), range.replace("..=", " to "))
            }
            None => format!("{} is not well formed: {why}", backticked(argument)),
        },
        None => format!("{} is not one of its possible values", backticked(argument)),
    }
}

/// The option that an argument begins with. `--token=hunter2`, `-khunter2` or a bare `hunter2`: what could be a value is
/// left out.
fn option_name(argument: &str) -> Option<String> {
    match argument.split('=').next().unwrap_or_default() {
        long if long.starts_with("--") => long.split_whitespace().next().map(str::to_owned),
        short if short.starts_with('-') => Some(short.chars().take(2).collect()),
        bare if bare.starts_with('<') || bare.starts_with('[') => Some(bare.to_owned()),
        _ => None,
    }
}

/// A mistyped option is repeated, unless it looks like something else: a value may begin with `--`, as a PEM key does.
fn looks_like_an_option(word: &str) -> bool {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
    name.len() <= 16 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// A mistyped command is repeated, unless it looks like something else.
fn unknown_command(word: &str) -> String {
    let harmless = word.len() <= 16 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if harmless {
        format!("there is no command `{word}`")
    } else {
        "there is no such command".into()
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

/// Options that exist to be refused, see `commands/value_source.rs`.
const VALUE_ATTEMPTS: [&str; 4] = ["--value", "--secret", "--password", "--token"];

/// Adds what was probably meant. clap's idea of similar is generous, and it offers hidden commands as well.
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

/// True for a slip of the keyboard: one letter in three differs at most.
fn is_similar(typed: &str, near: &str) -> bool {
    let (typed, near) = (typed.trim_start_matches('-'), near.trim_start_matches('-'));
    let is_cut_short = typed.len() >= 3 && near.starts_with(typed);
    is_cut_short || strsim::osa_distance(typed, near) <= (near.len() / 3).max(1)
}

/// The word that was not understood: a subcommand, the name of an option, or nothing for a bare argument.
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

/// What people type who know another tool, or who expect a command that does not exist. `typed` is empty for a bare
/// argument.
fn elsewhere(path: &[&str], typed: &str, arguments: &[OsString]) -> Option<&'static str> {
    match path {
        ["get"] => of_get(typed),
        ["list"] => of_list(typed),
        ["render"] => of_render(typed),
        ["unlock"] if typed.is_empty() => {
            Some("give the time with `--ttl`, as in `secrets unlock --ttl 8h`")
        }
        ["project"] => of_project(typed),
        ["recovery"] => of_recovery(typed),
        [] | ["help"] => of_program(typed, arguments),
        _ => None,
    }
}

fn of_get(typed: &str) -> Option<&'static str> {
    match typed {
        "--reveal" | "--value" | "--show" | "--plain" | "--raw" | "--print" | "-r" | "-v"
        | "-s" => Some(
            "`get` never shows a value; `secrets render --reveal -e '{{ secrets.TAG }}'` prints one, \
             `secrets run` gives it to a program",
        ),
        "--copy" | "--clip" | "--clipboard" | "-c" => Some(
            "there is no clipboard command; pipe the value: `secrets render -e '{{ secrets.TAG }}' | wl-copy`",
        ),
        "" => Some("`get` takes one tag or id; `secrets list --filter TEXT` finds several"),
        _ => None,
    }
}

fn of_list(typed: &str) -> Option<&'static str> {
    match typed {
        "--tag" | "-t" | "--name" | "--search" | "--grep" => {
            Some("`secrets get TAG` shows one secret, `secrets list --filter TEXT` finds several")
        }
        "" => Some(
            "`secrets list --filter TEXT` finds secrets, `secrets list --project NAME` lists a project",
        ),
        _ => None,
    }
}

fn of_render(typed: &str) -> Option<&'static str> {
    match typed {
        "" | "--out-file" => Some("`secrets render TEMPLATE -o OUT` writes to a file"),
        "-i" | "--in-file" | "--input" => {
            Some("the template is an argument: `secrets render TEMPLATE -o OUT`")
        }
        "--text <TEMPLATE>" | "[FILE]" => Some(
            "`-e TEXT` is a template by itself; leave it out to render a file: `secrets render FILE`",
        ),
        _ => None,
    }
}

fn of_project(typed: &str) -> Option<&'static str> {
    match typed {
        "new" | "create" | "add" | "init" => {
            Some("a project is created with its first secret: `secrets --project NAME create TAG`")
        }
        "use" | "switch" | "select" | "set" => Some(
            "name the project with `--project NAME`, SECRETS_PROJECT or `project = \"NAME\"` in .secrets.toml",
        ),
        "rm" | "remove" | "del" => Some("did you mean `delete`?"),
        "mv" | "move" => Some("did you mean `rename`?"),
        "ls" | "show" | "get" => Some("did you mean `list`?"),
        _ => None,
    }
}

fn of_recovery(typed: &str) -> Option<&'static str> {
    match typed {
        "new" | "add" | "make" | "generate" | "init" => Some("did you mean `create`?"),
        "rm" | "remove" | "del" | "revoke" => Some("did you mean `delete`?"),
        "replace" | "reset" | "rotate" | "renew" => {
            Some("`secrets recovery create --replace` makes another code")
        }
        "show" | "print" | "get" | "list" | "ls" => Some(
            "a recovery code is shown once; `secrets recovery create --replace` makes another one",
        ),
        "use" | "unlock" | "restore" => {
            Some("`secrets passwd --recovery` sets a new passphrase by the recovery code")
        }
        _ => None,
    }
}

fn of_program(typed: &str, arguments: &[OsString]) -> Option<&'static str> {
    let has_input = || arguments.iter().any(|argument| argument == "-i" || argument == "--in-file");
    Some(match typed {
        "-v" | "version" => "`secrets --version` prints the version",
        "show" | "read" | "reveal" | "cat" | "print" => {
            "a value is never shown: `secrets get` shows its hint, `secrets render` uses it"
        }
        "add" | "set" | "new" | "put" | "insert" | "store" => {
            "store a secret with `secrets create TAG`"
        }
        "generate" | "gen" => "`secrets create TAG --generate` stores a generated value",
        "rm" | "remove" | "del" | "unset" => "did you mean `delete`?",
        "ls" => "did you mean `list`?",
        "find" | "search" | "grep" => {
            "`secrets list --filter TEXT` finds secrets, `secrets scan` finds values in files"
        }
        "edit" | "rotate" | "change" => "did you mean `update`?",
        "cp" | "copy" => "did you mean `clone`?",
        "rename" | "mv" | "move" => {
            "`secrets clone OLD --tag NEW` copies a secret, then `secrets delete OLD`; \
             `secrets project rename` renames a project"
        }
        "inject" if has_input() => "the template is an argument: `secrets render TEMPLATE -o OUT`",
        "inject" | "substitute" => "did you mean `render`?",
        "exec" | "env" | "start" | "shell" => "did you mean `run`?",
        "mask" | "filter" => "did you mean `redact`?",
        "login" | "signin" | "open" => "did you mean `unlock`?",
        "logout" | "signout" | "close" => "did you mean `lock`?",
        "password" | "passphrase" => "did you mean `passwd`?",
        "info" | "whoami" => "did you mean `status`?",
        "doctor" | "diagnose" => {
            "`secrets status` tells about the agent, `secrets check` about the project, `secrets verify` about the vault"
        }
        "upgrade" | "self-update" => {
            "`secrets` does not update itself; install the new version as you installed this one"
        }
        "upload" | "download" | "push" | "pull" | "sync" | "share" => {
            "nothing leaves this machine; `secrets backup FILE` copies the vault, \
             `secrets export --encrypted FILE` writes secrets for other programs"
        }
        "log" | "logs" | "history" | "audit" => {
            "no history is kept; `secrets list` shows when each secret was last changed"
        }
        "undo" | "revert" | "rollback" => {
            "changes cannot be undone; `secrets restore BACKUP --dry-run` compares with a backup"
        }
        "man" | "manual" | "docs" => {
            "`man secrets` shows the manual, `secrets COMMAND --help` the options of a command"
        }
        "config" | "configure" | "settings" => {
            "there is no configuration file; `secrets --help` lists options and environment variables"
        }
        _ => return None,
    })
}
