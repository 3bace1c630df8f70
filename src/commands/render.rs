//! `secrets render`: replaces placeholders, all or none, and writes the result to a file or stdout.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use rustix::termios::isatty;
use secrets_core::model::Tag;
use secrets_core::store::quoted;
use secrets_core::vault::{Reveal, Revealed, VaultError};
use secrets_files::{FileId, Output, OutputChange, OutputError, permission_bits};
use secrets_project::dotenv::readers::Reader;
use secrets_project::git::{GitStatus, leads_into_git_directory};
use secrets_project::setup::{
    DigestingWriter, OutputState, ProtectedFile, foreign, is_dotenv, meaning, note,
};
use secrets_project::template::filter::Filter;
use secrets_project::template::grammar::{Delimiters, Grammar};
use secrets_project::template::output;
use secrets_project::template::{ExpandError, Plan, Resolved, Template, TemplateError};

use super::shared::readers::named_readers;
use super::shared::{additions, git, outputs, suspects};
use crate::context::{Context, Target, Used};
use crate::error::{self, Error, Hint, Kind};
use crate::output::{ReferenceInfo, Rendered};
use crate::ui::{UiError, input, raw};

const EXAMPLES: &str = "\
Examples:
  secrets render app.env.tmpl -o .env
  secrets render config.json.tmpl --escape json | jq .
  secrets render -e 'https://:{{ secrets.token | url }}@example.org'
  secrets render app.env.tmpl -o .env --check   exit 8 if .env is stale
  secrets render app.env.tmpl --list            needs no passphrase
  secrets render --all                          render every output
  secrets render --stale                        render outdated outputs

Placeholders: {{ secrets.my-secret }}, {{MY_SECRET}}; filters follow:
  {{ secrets.key | trim | json }}     json, shell, url, base64, trim
  {{ secrets.key | dotenv }}          a dotenv file's value, with quotes
A backslash before a placeholder copies it unchanged; two give one
backslash and the value. ${{ ... }} is left alone.";

/// Replace placeholders in a template
///
/// Copies every other byte unchanged. Either all placeholders are resolved or nothing is written.
/// With --all or --stale this applies to all outputs of .secrets.toml together.
///
/// A terminal shows each value as ‹tag›; `--reveal` prints the values. Files and pipes get the
/// values. `ssh -tt` and `docker run -t` give a program a terminal even if a file or pipe reads the
/// output: use `ssh -T`, omit `-t`, or write to a file with `-o OUT`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenderArgs {
    /// Read the template from FILE; `-` or none is stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Use this text as the template
    #[arg(
        short = 'e',
        long,
        value_name = "TEMPLATE",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    text: Option<String>,
    /// Write to a file instead of stdout; `-` is stdout
    #[arg(short, long, value_name = "OUT", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Set the permission bits of OUT, in octal [default: 600, or the bits of 600 that OUT has]
    #[arg(long, value_name = "OCTAL", requires = "output", value_parser = octal)]
    mode: Option<u32>,
    /// Write OUT even if git tracks it
    #[arg(long, requires = "output", conflicts_with = "check")]
    force: bool,
    /// Write nothing; exit 8 if OUT is missing or differs
    #[arg(long, conflicts_with = "list")]
    check: bool,
    /// Print the references with line and column; needs no vault
    #[arg(long, conflicts_with = "output")]
    list: bool,
    /// Keep placeholders that are invalid or whose secret does not exist
    #[arg(long)]
    keep_unknown: bool,
    /// Print values on a terminal too
    #[arg(long, conflicts_with = "list")]
    reveal: bool,
    /// Apply this filter to placeholders that have no filter of their own
    #[arg(long, value_name = "FILTER", value_parser = clap::builder::PossibleValuesParser::new(Filter::NAMES))]
    escape: Option<String>,
    /// Set the text that opens and closes a placeholder
    #[arg(long, value_name = "OPEN,CLOSE", default_value = "{{,}}")]
    delimiters: Delimiters,
    /// Replace only {{ secrets.tag }}, not the bare {{NAME}}
    #[arg(long)]
    namespaced: bool,
    /// With --all or --stale, replace outputs without asking, even if `secrets` did not write them
    #[arg(short, long)]
    yes: bool,
    /// Format values for these programs, which read OUT, with the filter `dotenv`
    #[arg(long, value_name = "READER,...", value_delimiter = ',',
          value_parser = clap::builder::PossibleValuesParser::new(Reader::NAMES))]
    readers: Vec<String>,
    /// Render every output of .secrets.toml
    #[arg(long, conflicts_with_all = OF_ONE)]
    all: bool,
    /// Render the outputs of .secrets.toml that are missing or out of date
    #[arg(long, conflicts_with_all = OF_ONE, conflicts_with_all = ["all", "check"])]
    stale: bool,
}

/// The options that apply to a single template.
const OF_ONE: [&str; 11] = [
    "file",
    "text",
    "output",
    "mode",
    "force",
    "list",
    "keep_unknown",
    "escape",
    "delimiters",
    "namespaced",
    "readers",
];

fn octal(text: &str) -> Result<u32, String> {
    permission_bits(text)
        .ok_or_else(|| "permission bits are three octal digits, such as 640".into())
}

pub(crate) fn run(args: RenderArgs, cx: &Context) -> Result<(), Error> {
    if args.all || args.stale {
        return render_manifest(&args, cx);
    }

    if args.yes {
        return Err(Error::usage("`--yes` requires `--all` or `--stale`")
            .hint("remove `--yes`; `-o OUT` replaces its file without asking"));
    }

    let file = args.output.as_ref().filter(|path| path.as_os_str() != "-");
    if file.is_none() && (args.check || args.mode.is_some()) {
        return Err(
            Error::usage("`--check` and `--mode` require a file").hint("set it with `-o OUT`")
        );
    }

    let template = open(&args)?;
    let mut protected: Vec<_> = cx
        .credentials
        .passphrase_file_identity()
        .map(|id| (id, "is the passphrase file"))
        .into_iter()
        .collect();

    protected.extend(template.identity().map(|id| (id, "is the template itself")));
    let output = file.map(|path| output_at(path, args.mode, &protected)).transpose()?;
    let grammar = Grammar {
        delimiters: args.delimiters.clone(),
        namespaced: args.namespaced,
        escape: args.escape.as_deref().and_then(|name| Filter::named(name.as_bytes())),
        readers: named_readers(&args.readers).unwrap_or_default(),
    };

    let plan = Plan::new(template, grammar)?;
    if let Some(findings) = plan.malformed()? {
        let name = plan.template().name();
        if !args.keep_unknown {
            return Err(error::malformed(&[(name, &findings)])
                .hint("fix it, keep it with `--keep-unknown`, or use other `--delimiters`"));
        }

        suspects::warn(cx, name, &findings, |why| format!("kept unchanged: {why}"));
    }

    if args.list {
        return list(cx, &plan);
    }

    if let Some(output) = output.as_ref().filter(|_| !args.check) {
        output.check_directory()?;
    }

    if let Some(path) = file.filter(|_| !args.check && !plan.is_empty()) {
        check_git(cx, path, args.force)?;
    }

    let tags = plan.tags();
    let resolved = resolve(cx, &args, plan)?;
    suspects::warn_of_suspects(cx, resolved.template(), resolved.suspects())?;

    match output {
        None => to_stdout(cx, &resolved, args.reveal),
        Some(output) if args.check => check(&resolved, &output, &args),
        Some(output) => {
            let path = args.output.unwrap_or_default();
            for warning in meaning::warnings(&path, &resolved, named_readers(&args.readers))? {
                cx.ui.warn(&format!("`{}`: {warning}", path.display()));
            }

            let written = replace(cx, &path, &output, &resolved, &tags)?;
            if output.is_exposed() {
                let name = path.display();
                cx.ui.warn(&format!(
                    "the file system of `{name}` does not support Unix modes: other users may be \
                     able to read it"
                ));
            }

            cx.ui.status(&outputs::describe_change(&path.display().to_string(), written));
            cx.ui.document(|| Ok(Rendered::of(&[(path, written)])))
        }
    }
}

/// Writes one output and records it. Refuses if variables that somebody added to a dotenv file
/// would be lost.
fn replace(
    cx: &Context,
    path: &Path,
    output: &Output,
    resolved: &Resolved,
    tags: &[Tag],
) -> Result<OutputChange, Error> {
    let memory = outputs::memory(cx, !tags.is_empty())?;
    let failed = |error| match cx.target.project() {
        Ok(project) => error::setup(error, project),
        Err(error) => error,
    };

    if is_dotenv(path) {
        let found = foreign(&memory, path, output, resolved).map_err(failed)?;
        additions::refuse_added(cx, found.map(|found| (path.to_owned(), found)).as_slice())?;
    }

    let mut content = DigestingWriter::new(&memory, tags);
    let written = output::replace(output, &mut |out| resolved.expand(&mut content.tee(out)))?;
    note(&memory, path, content, resolved, tags).map_err(failed)?;
    Ok(written)
}

/// Renders the outputs of `.secrets.toml`. All are resolved before the first is written.
fn render_manifest(args: &RenderArgs, cx: &Context) -> Result<(), Error> {
    let manifest = cx.target.require_manifest()?;
    outputs::require_vault(cx, manifest, |_| true)?;
    cx.require_trust(manifest)?;
    let files = outputs::open(cx, manifest)?;

    if !args.check {
        git::untracked(manifest)?;
    }

    let mut resolved = outputs::resolve(cx, files)?;
    let project = cx.target.project()?;

    // Rendering everything compares the outputs anyway, so they are not compared here.
    let states = if args.check || args.stale { resolved.states() } else { Ok(Vec::new()) };
    let states = states.map_err(|error| error::setup(error, project))?;
    let stale: Vec<_> = states.iter().filter(|(_, state)| *state != OutputState::Current).collect();

    if args.check {
        let Some((one, found)) = stale.first() else { return Ok(()) };
        let name = manifest.at(&one.output);
        let what = match (stale.len(), found) {
            (1, OutputState::Missing) => format!("`{}` is missing", name.display()),
            (1, OutputState::Exposed(mode)) => {
                format!("`{}` has mode {mode:o}, which allows too much access", name.display())
            }
            (1, _) => format!("`{}` is out of date", name.display()),
            (n, _) => format!("{n} outputs are out of date"),
        };

        let notes = stale.iter().filter(|_| stale.len() > 1);
        let notes =
            notes.map(|(rendering, _)| format!("  {}", manifest.at(&rendering.output).display()));
        return Err(Error::new(Kind::Differs, what)
            .with_notes(notes.collect())
            .hint(Hint::in_project("render outdated outputs with `secrets render --stale`")));
    }

    let memory = outputs::memory(cx, resolved.have_secrets())?;
    additions::protect(cx, &resolved, &memory, args.yes)?;
    if args.stale {
        resolved.remember_current(&memory).map_err(|error| error::setup(error, project))?;
        resolved
            .retain(|rendering| stale.iter().any(|(other, _)| other.output == rendering.output));
        if stale.is_empty() {
            cx.ui.status("every output is up to date");
        }
    }

    let written = outputs::write(cx, resolved, &memory)?;
    cx.ui.document(|| Ok(Rendered::of(&written)))
}

/// Refuses a path that a symbolic link leads into a git directory, because git could run what is
/// written there, and existing files there may contain credentials.
fn no_link_into_git(path: &Path) -> Result<(), OutputError> {
    if leads_into_git_directory(path) {
        let why = "leads into a git directory by a symbolic link";
        return Err(OutputError::Unsafe { path: path.to_owned(), why });
    }

    Ok(())
}

fn output_at(
    path: &Path,
    mode: Option<u32>,
    protected: &[ProtectedFile],
) -> Result<Output, OutputError> {
    no_link_into_git(path)?;
    output::open(path, mode, protected)
}

/// Refuses an output that git tracks, because the next commit would publish it. Warns if git does
/// not ignore the output.
fn check_git(cx: &Context, path: &Path, force: bool) -> Result<(), Error> {
    let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else { return Ok(()) };
    let known = git::git_path(path);
    let standing = match Target::git(directory).statuses(&[Path::new(name)]) {
        Ok(standing) => standing,
        Err(_) if force => return Ok(()),
        Err(error) => {
            return Err(
                Error::from(error).hint("use `--force` to write the file without checking git")
            );
        }
    };

    match standing[..] {
        [GitStatus::Tracked] if !force => Err(git::tracked(path, &known).with_only_hint(format!(
            "remove it from git with `git rm --cached {}`, or write it anyway with `--force`",
            quoted(&known)
        ))),
        [GitStatus::Exposed] => {
            let known = known.display();
            cx.ui.warn(&format!(
                "git does not ignore `{known}`: add it to .gitignore before the next commit"
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn open(args: &RenderArgs) -> Result<Template, Error> {
    if let Some(text) = &args.text {
        return Ok(Template::from_text("--text", text.clone().into_bytes()));
    }

    match args.file.as_deref() {
        Some(path) if path != Path::new("-") => {
            no_link_into_git(path)?;
            Ok(Template::from_file(path)?)
        }
        _ => {
            input::take_stdin()?;

            // std's stdin has a small buffer, which is slow for a template of gigabytes.
            let stdin = rustix::io::dup(rustix::stdio::stdin()).map_err(|errno| {
                Error::new(Kind::Failure, format!("cannot read stdin: {errno}"))
            })?;

            let stdin = File::from(stdin);
            let metadata = stdin.metadata().ok().filter(Metadata::is_file);
            let identity = metadata.as_ref().map(FileId::of);
            Ok(Template::from_reader("stdin", stdin)?.with_identity(identity))
        }
    }
}

/// The source of values for a template without references. No vault is opened and no passphrase is
/// asked for.
struct NoSecrets;

impl Reveal for NoSecrets {
    fn reveal(&self, _: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        Ok(Vec::new())
    }
}

fn resolve(cx: &Context, args: &RenderArgs, plan: Plan) -> Result<Resolved, Error> {
    if plan.is_empty() {
        return Ok(plan.resolve(&NoSecrets)?);
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let tags = plan.tags();
    let resolved = plan.resolve(&cx.vault()?.scope(project))?;

    if let Some(findings) = resolved.unknown()? {
        let name = resolved.template().name();
        if !args.keep_unknown {
            return Err(error::unknown(&[(name, &findings)], project));
        }

        suspects::warn(cx, name, &findings, |what| {
            format!("`{}` is kept unchanged: the secret does not exist", what.tag)
        });
    }

    cx.record_use(&Used::of(cx.vault()?, project, &tags))?;
    Ok(resolved)
}

/// Prints each reference when it is found, because the references may not fit into memory.
fn list(cx: &Context, plan: &Plan) -> Result<(), Error> {
    let file = plan.template().name();
    let mut printer = cx.ui.print_list("references")?;
    let mut failure = None;
    let done = plan.each_reference(|placeholder, at| {
        let reference = ReferenceInfo::in_template(file, placeholder, at);
        printer.item(&reference).map_err(|error| {
            failure = Some(error);
            TemplateError::Stopped
        })
    });

    match failure {
        Some(error) => return Err(error.into()),
        None => done?,
    }

    Ok(printer.finish()?)
}

/// Writes to stdout. A terminal shows values only on request, because it may be recorded, shared or
/// watched.
fn to_stdout(cx: &Context, resolved: &Resolved, reveal: bool) -> Result<(), Error> {
    let is_masked = !reveal && resolved.has_values() && isatty(rustix::stdio::stdout());
    if is_masked {
        cx.ui.warn(
            "a terminal shows \u{2039}tag\u{203a} for each value; use `--reveal` to print the \
             values",
        );
    }

    let expanded = if is_masked {
        resolved.expand_masked(&mut raw::Stdout)
    } else {
        resolved.expand(&mut raw::Stdout)
    };

    match expanded {
        Ok(()) => Ok(()),
        Err(ExpandError::Template(error)) => Err(error.into()),
        Err(ExpandError::Output(error)) => Err(UiError::Stdout(error).into()),
    }
}

fn check(resolved: &Resolved, output: &Output, args: &RenderArgs) -> Result<(), Error> {
    if output::is_current(output, &mut |out| resolved.expand(out))? {
        return Ok(());
    }

    let path = args.output.clone().unwrap_or_default();
    let what = if output.exists() { "is out of date" } else { "is missing" };
    Err(Error::new(Kind::Differs, format!("`{}` {what}", path.display()))
        .hint("render it without `--check`"))
}
