//! Parses the command line, runs one command, reports errors and returns the exit code.
//!
//! It never shows an argument that was not understood, because it may be a secret.

mod global;
mod help;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use rustix::process::Signal;
use secrets_core::model::{STACK_DEPTH, overwrite_stack};
use secrets_runtime::process::terminate_by;

use crate::commands::Command;
use crate::completion;
use crate::config::Environment;
use crate::context::Context;
use crate::error::{Error, Kind, Selection};
use crate::ui::{ColorWhen, Ui};
use global::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  secrets init                          create the vault
  secrets create api-key                store a secret, typed hidden
  secrets list                          list the secrets, never a value
  secrets render app.env.tmpl -o .env   fill in the placeholders of a file
  secrets run -- npm start              run a program with secrets, masked
  secrets setup                         set up what .secrets.toml needs
  secrets import .env                   store the secrets of a dotenv file
  secrets unlock                        skip the passphrase for a while
  secrets create --help                 show the options of a command";

/// Write-only secrets on your own machine
///
/// A value is stored once and never shown again. It is used only by a placeholder, `{{
/// secrets.my-secret }}` or `{{MY_SECRET}}`, or by a program that you run with it. All secrets are
/// kept in one encrypted file on this machine. A value is sent only to the services that you allow.
#[derive(Parser)]
#[command(name = "secrets", bin_name = "secrets", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    options: GlobalArgs,
}

/// Returns the whole command tree without clap's `help` command, to generate help and man pages.
pub fn command() -> clap::Command {
    let mut command = Cli::command().disable_help_subcommand(true);

    // Without this, a command has no options until its name has been parsed, which makes starting
    // faster.
    command.build();
    command
}

/// Runs the program with the process's arguments and streams, and returns its exit code.
pub fn main() -> ExitCode {
    harden_process();
    let code =
        std::panic::catch_unwind(run).unwrap_or_else(|_| ExitCode::from(Kind::Failure.exit_code()));
    overwrite_stack::<STACK_DEPTH>();
    code
}

fn run() -> ExitCode {
    if let Ok(true) = clap_complete::CompleteEnv::with_factory(|| {
        completion::without_global_options(Cli::command())
    })
    .bin("secrets")
    .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
    {
        return ExitCode::SUCCESS;
    }

    let arguments: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read();
    let (ui, selection, outcome) = match parse(&arguments) {
        Ok((name, Cli { command, options })) => {
            let ui = Ui::new(options.json, options.quiet, color(options.color, &environment));
            let context = Context::new(options.into_context(), environment, ui).of_command(name);
            let outcome = command.run(&context).map_err(|error| context.with_explanation(error));
            if outcome.as_ref().is_err_and(Error::is_refusal) {
                context.record_refusal();
            }

            (context.ui, context.target.selection().clone(), outcome)
        }
        Err(error) => {
            let json = arguments.iter().take_while(|a| *a != "--").any(|a| a == "--json");
            let ui = Ui::new(json, false, color(ColorWhen::Auto, &environment));
            let outcome = handle_clap_error(error, &arguments, &ui).map(|()| 0);
            let outcome = if is_run(&arguments) { outcome.map_err(Error::in_run) } else { outcome };
            (Arc::new(ui), Selection::default(), outcome)
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
                ui.json_failure(&error.json(&selection));
            } else {
                let hints = error.hints(&selection);
                ui.failure(error.is_answer(), error.message(), error.notes(), &hints);
            }

            if error.is_interrupted() {
                overwrite_stack::<STACK_DEPTH>();

                // A prompt reads Ctrl-C from the keyboard, but scripts and loops that run us should
                // end as if it were a signal.
                terminate_by(Signal::INT);
            }

            ExitCode::from(error.exit_code())
        }
    }
}

/// Decides about colour: `--color` overrides `NO_COLOR`, which overrides `CLICOLOR_FORCE`.
fn color(option: ColorWhen, environment: &Environment) -> ColorWhen {
    match option {
        ColorWhen::Auto if environment.no_color => ColorWhen::Never,
        ColorWhen::Auto if environment.force_color => ColorWhen::Always,
        chosen => chosen,
    }
}

/// Hardens the process before it has secrets in memory: no core dumps, no ptrace by the same user,
/// private new files, and a panic message with a position but without text.
fn harden_process() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
        let ui = Ui::new(false, false, ColorWhen::Never);

        ui.failure(
            false,
            &format!("internal error{place}"),
            &[],
            &["this is a bug of `secrets`; please report it".into()],
        );
    }));

    secrets_runtime::process::harden();
}

/// Returns the name of the command, and its arguments.
fn parse(arguments: &[OsString]) -> Result<(String, Cli), clap::Error> {
    let mut command = Cli::command();
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let parsed = Cli::from_arg_matches_mut(&mut matches);
    let parsed = parsed.map_err(|error| error.format(&mut command))?;

    // clap finds no conflict between an option before the command and one after it.
    if parsed.options.selects_twice() {
        let mut error = clap::Error::new(ErrorKind::ArgumentConflict).with_cmd(&command);
        let names =
            [(ContextKind::InvalidArg, "--project"), (ContextKind::PriorArg, "--environment")];
        for (kind, name) in names {
            error.insert(kind, ContextValue::String(name.into()));
        }

        return Err(error);
    }

    Ok((name, parsed))
}

/// Returns true for a command line of `run`, whose errors have their own exit code.
fn is_run(arguments: &[OsString]) -> bool {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(arguments);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some("run"))
}

/// Prints help and version as results, and converts every other clap error.
fn handle_clap_error(error: clap::Error, arguments: &[OsString], ui: &Ui) -> Result<(), Error> {
    match error.kind() {
        ErrorKind::DisplayVersion => print(&error, ui),
        ErrorKind::DisplayHelp => {
            print(&help::requested(Cli::command(), arguments).unwrap_or(error), ui)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !ui.is_json() => {
            let _ = help::requested(Cli::command(), arguments).unwrap_or(error).print();
            Err(Error::usage("no command given"))
        }
        _ => Err(usage::failure(&error, &mut Cli::command(), arguments)),
    }
}

fn print(text: &clap::Error, ui: &Ui) -> Result<(), Error> {
    let text = text.render();
    let text = if ui.is_colored() { text.ansi().to_string() } else { text.to_string() };
    Ok(ui.text(&text)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrets_runtime::helper::Helper;

    use super::*;

    #[test]
    fn helper_processes_understand_their_command_lines() {
        let directory = Path::new("/run/-d");
        let program = ["program".into(), "--json".into(), "agent".into()];
        for (helper, name) in [
            (Helper::Agent { directory }, "agent"),
            (Helper::Guard { directory }, "guard"),
            (Helper::Linger, "linger"),
            (Helper::Offer { seconds: "45" }, "offer"),
            (
                Helper::Monitor { options: &["--json", "--color=never"], command: &program },
                "monitor",
            ),
        ] {
            let arguments = [OsString::from("secrets")].into_iter();
            let line = arguments.chain(helper.arguments().into_iter().map(Into::into));
            let matches = Cli::command().try_get_matches_from(line).unwrap();
            assert_eq!(matches.subcommand_name(), Some(name));
        }
    }
}
