//! `secrets run`: runs a program with secrets in its environment and masks their values in its
//! output.

mod proxied;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{STACK_DEPTH, SecretValue, Tag, overwrite_stack};
use secrets_project::template::grammar::Grammar;
use secrets_project::template::{Plan, Template};
use secrets_project::variables;
use secrets_runtime::process::terminate_by;
use secrets_runtime::run::{Job, Outcome, Streams, become_program, run as run_job};

use super::shared::look_for::look_for;
use super::shared::variables::{Inherited, Request, VariableRequests};
use crate::completion;
use crate::config::Environment;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::PlannedVariables;
use crate::ui::raw;

const EXAMPLES: &str = "\
Examples:
  secrets run -- npm start                  pass every secret, as TAG_KEY
  secrets run --only database-url -- psql   pass only DATABASE_URL
  secrets run --env 'PGPASSWORD={{ secrets.db-password }}' -- psql -h db
  secrets run --env-file app.env -- ./server     read lines NAME=TEMPLATE
  secrets run --file KEY=tls-key -- sh -c 'openssl rsa -noout -in \"$KEY\"'
  secrets run --proxy --lock -- ./agent    pass placeholders, not values
  secrets run --stdin registry-token -- docker login --password-stdin
  secrets run --dry-run                     list variables and sources

The program's output is masked: a value is shown as \u{2039}my-secret\u{203a}.
Arguments cannot contain a secret, because every process can see them.
Run a shell instead and let it expand a variable.";

/// Run a program with secrets in its environment, masked in its output
///
/// By default the program gets the variables listed in [run.env] of the nearest .secrets.toml. With
/// a .secrets.toml that has no such table, it gets the secrets that the file declares or refers to,
/// each under its tag in upper case. Without a .secrets.toml, it gets every secret of the project.
/// --only, --env and --env-file replace this default.
///
/// A variable that is already set is expanded if its whole value is the placeholder of the secret
/// with the same name, as in STRIPE_KEY='{{ secrets.stripe-key }}'. Other variables are expanded
/// only with --expand-env. With --only, nothing is expanded by default.
///
/// With --proxy the program never has a value. It gets placeholders, and the variables that make it
/// send its requests through a proxy in this process. The proxy puts the values into requests to the
/// destinations of `secrets allow`, and takes them out of the responses. Programs of the same user can
/// still ask an unlocked agent for values; --lock locks the vault before the program starts.
///
/// Output of background processes is masked even after the program has ended. The program's exit
/// code is passed through (128+n for a signal; Ctrl-C ends `secrets` the same way as the program).
/// Exit code 125 is an error of `secrets` itself, 126 means that the program could not be run, and
/// 127 that it was not found.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "secrets run [OPTIONS] -- CMD [ARGS]...")]
pub(crate) struct RunArgs {
    /// Pass only these secrets, each under its tag in upper case
    #[arg(long, value_name = "TAG,...", value_delimiter = ',', add = ArgValueCompleter::new(completion::tags_with_commas))]
    only: Vec<Tag>,
    /// Set a variable from a template
    #[arg(long, value_name = "NAME=TEMPLATE")]
    env: Vec<OsString>,
    /// Set variables from a dotenv file whose values are templates; `$` is kept as it is
    #[arg(long = "env-file", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_files: Vec<PathBuf>,
    /// Expand placeholders in these variables, which are already set
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    expand_env: Vec<OsString>,
    /// Write a value to a private file while the program runs, and its path to a variable
    #[arg(long = "file", value_name = "NAME=TAG", add = ArgValueCompleter::new(completion::tag_of_variable))]
    files: Vec<String>,
    /// Pass a value to the program as its stdin
    #[arg(long, value_name = "TAG", add = ArgValueCompleter::new(completion::tags))]
    stdin: Option<Tag>,
    /// Pass on only basic variables of the environment, such as PATH, HOME, TERM and LANG
    #[arg(long)]
    clean_env: bool,
    /// Do not mask values in the program's output
    #[arg(long)]
    no_mask: bool,
    /// Pass placeholders instead of values, and put the values into requests to their destinations
    #[arg(long)]
    proxy: bool,
    /// Lock the vault before the program starts
    #[arg(long, requires = "proxy")]
    lock: bool,
    /// List the variables and their sources without running anything
    #[arg(long)]
    dry_run: bool,
    /// Run this program with its arguments
    #[arg(
        trailing_var_arg = true,
        required_unless_present = "dry_run",
        value_name = "CMD",
        value_hint = clap::ValueHint::CommandWithArguments,
        add = ArgValueCompleter::new(completion::program_or_file)
    )]
    command: Vec<OsString>,
}

impl RunArgs {
    fn request(&self) -> Request<'_> {
        Request {
            only: &self.only,
            env: &self.env,
            env_files: &self.env_files,
            inherited: Some(Inherited { expanded: &self.expand_env, is_clean: self.clean_env }),
            files: &self.files,
            stdin: self.stdin.as_ref(),
            is_proxied: self.proxy,
            is_dry_run: self.dry_run,
            command: &self.command,
        }
    }
}

pub(crate) fn run(args: &RunArgs, cx: &Context) -> Result<u8, Error> {
    let outcome = run_program(args, cx).map_err(Error::in_run)?;
    if let Some(signal) = outcome.interrupted() {
        cx.ui.finish();
        terminate_by(signal);
    }

    Ok(outcome.code())
}

fn run_program(args: &RunArgs, cx: &Context) -> Result<Outcome, Error> {
    refuse_placeholders(&args.command)?;
    let requests = VariableRequests::new(args.request(), cx)?;
    requests.check_program()?;
    requests.check_vault_and_trust(cx)?;
    if args.proxy {
        return proxied::run_proxied(args, &requests, cx);
    }

    let opened = requests.open(cx)?;
    cx.credentials.forget_passphrase();
    let mut variables = requests.variables(&opened, &[], cx)?;
    let files = requests.files(&opened, &mut variables, args.dry_run, cx)?;

    if args.dry_run {
        cx.ui.print(&PlannedVariables::of(&variables, args.stdin.as_ref()))?;
        return Ok(Outcome::Code(0));
    }

    let stdin = args
        .stdin
        .as_ref()
        .map(|tag| opened.value(tag).map(|(_, value)| value.duplicate()))
        .transpose()?;

    if args.no_mask && files.is_none() && stdin.is_none() {
        return Err(become_program(&args.command, variables.into_pairs()).into());
    }

    let given = opened.into_values_except(&variables.left_out);
    let masked = (!args.no_mask).then_some(given);
    start(args, variables.into_pairs(), stdin, masked, cx)
}

/// Starts the program and masks these values in its output.
fn start(
    args: &RunArgs,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<SecretValue>,
    masked: Option<Vec<(Tag, SecretValue)>>,
    cx: &Context,
) -> Result<Outcome, Error> {
    let fix = "select fewer values with `--only`";
    masked.iter().try_for_each(|given| look_for(given, "masked", fix, cx))?;

    let command = args.command.clone();
    let [input, output, errors] =
        raw::streams().map_err(|source| Error::new(Kind::Failure, source.to_string()))?;
    let mut options = vec![if cx.ui.is_colored_err() { "--color=always" } else { "--color=never" }];

    options.extend(cx.ui.is_json().then_some("--json"));
    let job =
        Job { command, environment, stdin, masked, executable: Environment::executable(), options };

    // The program may run for a long time, so copies of values on the stack are overwritten first.
    overwrite_stack::<STACK_DEPTH>();
    Ok(run_job(job, &Streams { input, output, errors })?)
}

/// Refuses placeholders in arguments, because every process of the machine can see arguments.
fn refuse_placeholders(command: &[OsString]) -> Result<(), Error> {
    for (number, argument) in command.iter().enumerate() {
        let template = Template::from_text("an argument", argument.as_bytes().to_vec());
        let plan = Plan::new(template, Grammar::default())?;
        if let Some(tag) = plan.tags().first() {
            let name = variables::name_of(tag);
            let message = format!(
                "argument {number} of the program contains a placeholder for `{tag}`, but every \
                 process can see arguments"
            );

            return Err(Error::new(Kind::Refused, message).hint(format!(
                "let a shell expand it: secrets run --only {tag} -- sh -c 'CMD \"${name}\"'; or \
                 pass it with `--file` or `--stdin`"
            )));
        }
    }

    Ok(())
}
