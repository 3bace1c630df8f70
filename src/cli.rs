//! From argv to an exit code: parses, runs one command, tells what went wrong.
//!
//! An argument that was not understood is never repeated: it may be a value that somebody tried to pass.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::config::Environment;
use crate::context::{Context, GlobalArgs};
use crate::error::{Error, Kind};
use crate::model::{DEEP, overwrite_stack};
use crate::ui::{ColorWhen, Ui};

const EXAMPLES: &str = "\
Examples:
  secrets init                          make the vault
  secrets create --tag api-key          store a secret, typed unseen
  secrets list                          what is there, never a value
  secrets render app.env.tmpl -o .env   a file of placeholders, filled in
  secrets run -- npm start              a program with secrets, masked
  secrets setup                         all that a .secrets.toml asks for
  secrets import .env                   a dotenv file into the vault
  secrets unlock                        no more passphrases for a while
  secrets create --help                 options and examples of a command";

/// Write-only secrets on your own machine
///
/// A value goes in once, is never shown again, and comes out only where a placeholder, `{{ secrets.my-secret }}` or
/// `{{MY_SECRET}}`, uses it, or a program is run with it. Everything is kept in one encrypted file; nothing leaves the machine.
#[derive(Parser)]
#[command(name = "secrets", bin_name = "secrets", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: GlobalArgs,
}

/// The command tree: help, completions and man pages are made from it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the process's arguments and streams; returns its exit code.
pub fn main() -> ExitCode {
    harden_process();
    let code = std::panic::catch_unwind(run).unwrap_or_else(|_| ExitCode::from(Kind::Failure.exit_code()));
    overwrite_stack::<DEEP>();
    code
}

fn run() -> ExitCode {
    if let Ok(true) = clap_complete::CompleteEnv::with_factory(command)
        .bin("secrets")
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
    {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read();
    let (ui, outcome) = match parse(&arguments) {
        Ok(Cli { command, options }) => {
            let ui = Ui::new(options.json, options.quiet, color(options.color, &environment));
            let context = Context::new(options, environment, ui);
            let outcome = command.run(&context).map_err(|error| error.for_vault(context.vault_option()));
            (context.ui, outcome)
        }
        Err(error) => {
            let json = arguments.iter().take_while(|a| *a != "--").any(|a| a == "--json");
            let ui = Ui::new(json, false, color(ColorWhen::Auto, &environment));
            let outcome = told(&error, &ui).map(|()| 0);
            (ui, if is_run(&arguments) { outcome.map_err(Error::in_run) } else { outcome })
        }
    };
    match outcome {
        Ok(code) => {
            ui.finish();
            ExitCode::from(code)
        }
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            if ui.is_json() {
                ui.json_failure(&error.json());
            } else {
                ui.failure(error.message(), error.notes(), error.hints());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// `--color` wins over `NO_COLOR`, which wins over `CLICOLOR_FORCE`.
fn color(option: ColorWhen, environment: &Environment) -> ColorWhen {
    match option {
        ColorWhen::Auto if environment.no_color => ColorWhen::Never,
        ColorWhen::Auto if environment.force_color => ColorWhen::Always,
        chosen => chosen,
    }
}

/// Before anything secret is in memory: no core dumps, no ptrace by the same user, files for us alone, and a panic that
/// tells its place and not its words.
fn harden_process() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        let ui = Ui::new(false, false, ColorWhen::Never);
        ui.failure(&format!("internal error{place}"), &[], &["this is a bug of `secrets`; please report it".into()]);
    }));
    crate::process::harden();
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// True for a command line of `run`, whose failures have a code of their own.
fn is_run(arguments: &[OsString]) -> bool {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(arguments);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("run"))
}

/// Help and version are results; everything else becomes a failure in our words.
fn told(error: &clap::Error, ui: &Ui) -> Result<(), Error> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let text = error.render();
            let text = if ui.is_colored() { text.ansi().to_string() } else { text.to_string() };
            Ok(ui.text(&text)?)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !ui.is_json() => {
            let _ = error.print();
            Err(Error::usage("a command is missing"))
        }
        _ => Err(translated(error)),
    }
}

fn translated(error: &clap::Error) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    // `--token=hunter2`, `-khunter2` or a bare `hunter2`: what could be a value is left out.
    let option = match argument.split('=').next().unwrap_or_default() {
        long if long.starts_with("--") => long.split_whitespace().next().map(str::to_owned),
        short if short.starts_with('-') => Some(short.chars().take(2).collect()),
        bare if bare.starts_with('<') || bare.starts_with('[') => Some(bare.to_owned()),
        _ => None,
    };
    let named = option.as_deref().map_or_else(|| "an argument".to_owned(), |name| format!("`{name}`"));
    let message = match error.kind() {
        ErrorKind::InvalidSubcommand => unknown_command(&text(ContextKind::InvalidSubcommand).unwrap_or_default()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "a command is missing".into()
        }
        ErrorKind::UnknownArgument => match option {
            Some(name) if looks_like_an_option(&name) => format!("there is no option `{name}` here"),
            Some(_) => "there is no such option here (not repeated: it may be a value)".into(),
            None => "there is an argument too many (not repeated here: it may be a value)".into(),
        },
        ErrorKind::MissingRequiredArgument => format!("{} is missing", backticked(&argument)),
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg).map_or_else(|| "another option".to_owned(), |a| backticked(&a));
            format!("{named} cannot be used with {other}")
        }
        ErrorKind::NoEquals | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{named} needs a value")
        }
        ErrorKind::TooManyValues => format!("{named} takes no such value"),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".into(),
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_some_and(|value| value.is_empty()) => {
            format!("{} needs a value", backticked(&argument))
        }
        _ => match std::error::Error::source(error) {
            Some(why) if why.is::<std::num::ParseIntError>() => format!("{} is not a number", backticked(&argument)),
            // clap repeats a number that is out of its range, which may be a PIN.
            Some(why) => match why.to_string().split_once(" is not in ") {
                Some((_, range)) => format!("{} takes {}", backticked(&argument), range.replace("..=", " to ")),
                None => format!("{} is not well formed: {why}", backticked(&argument)),
            },
            None => format!("{} is not one of its possible values", backticked(&argument)),
        },
    };
    let mut told = Error::new(Kind::Usage, message);
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue)
        && !valid.is_empty()
    {
        told = told.hint(format!("possible values: {}", valid.join(", ")));
    }
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg] {
        let near = match error.get(kind) {
            Some(ContextValue::String(near)) => Some(near.as_str()),
            Some(ContextValue::Strings(several)) => several.last().map(String::as_str), // the most alike comes last
            _ => None,
        };
        if let Some(near) = near.filter(|near| !VALUE_ATTEMPTS.contains(near)) {
            told = told.hint(format!("did you mean `{near}`?"));
        }
    }
    if let Some(known) = text(ContextKind::InvalidSubcommand).and_then(|word| elsewhere(&word)) {
        return Error::new(Kind::Usage, told.message()).hint(known);
    }
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let usage = usage.to_string();
        let usage = usage.trim_start_matches("Usage:").trim().lines().next().unwrap_or_default().to_owned();
        told = told.hint(format!("usage: {usage}"));
    } else if told.hints().is_empty() {
        told = told.hint("see `secrets help` or `secrets COMMAND --help`");
    }
    told
}

/// Options that exist to be refused, see `commands/value_source.rs`.
const VALUE_ATTEMPTS: [&str; 4] = ["--value", "--secret", "--password", "--token"];

/// A mistyped option is repeated, unless it looks like something else: a value may begin with `--`, as a PEM key does.
fn looks_like_an_option(word: &str) -> bool {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
    name.len() <= 16 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// What other tools call our commands.
fn elsewhere(word: &str) -> Option<&'static str> {
    Some(match word {
        "show" | "read" | "reveal" | "cat" | "print" => {
            "a value is never shown: `secrets get` shows its hint, `secrets render` uses it"
        }
        "add" | "set" | "new" | "put" | "insert" | "store" => "store a secret with `secrets create --tag TAG`",
        "rm" | "remove" | "del" | "unset" => "did you mean `delete`?",
        "ls" => "did you mean `list`?",
        "edit" | "rotate" | "change" => "did you mean `update`?",
        "cp" | "copy" => "did you mean `clone`?",
        "inject" | "substitute" => "did you mean `render`?",
        "exec" | "env" | "start" => "did you mean `run`?",
        "mask" | "filter" => "did you mean `redact`?",
        "login" | "signin" | "open" => "did you mean `unlock`?",
        "logout" | "signout" | "close" => "did you mean `lock`?",
        _ => return None,
    })
}

/// A mistyped command is repeated, unless it looks like something else.
fn unknown_command(word: &str) -> String {
    let harmless = word.len() <= 16 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if harmless { format!("there is no command `{word}`") } else { "there is no such command".into() }
}

fn backticked(arguments: &str) -> String {
    if arguments.is_empty() { "an argument".into() } else { format!("`{arguments}`") }
}
