//! `secrets render`: replaces placeholders, all or none, into a file or onto stdout.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, fstat};
use rustix::termios::isatty;
use serde::Serialize;

use super::outputs;
use crate::context::Context;
use crate::dotenv::readers::{Reader, Readers};
use crate::error::{self, Error, Kind};
use crate::git::{GitStatus, leads_into_git_directory};
use crate::model::Tag;
use crate::setup::{
    DigestingWriter, OutputState, ProtectedFile, foreign, is_dotenv, meaning, note,
};
use crate::store::quoted;
use crate::template::filter::Filter;
use crate::template::grammar::{Delimiters, Grammar};
use crate::template::output::{Output, OutputChange, permission_bits};
use crate::template::{ExpandError, Plan, Resolved, Template, TemplateError};
use crate::ui::escape::visible;
use crate::ui::{UiError, input, raw};
use crate::vault::{Reveal, Revealed, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets render app.env.tmpl -o .env
  secrets render config.json.tmpl --escape json | jq .
  secrets render -e 'https://:{{ secrets.token | url }}@example.org'
  secrets render app.env.tmpl -o .env --check   exit 8 if .env is stale
  secrets render app.env.tmpl --list            needs no passphrase
  secrets render --all                          outputs of .secrets.toml
  secrets render --stale                        those that are out of date

Placeholders: {{ secrets.my-secret }}, {{MY_SECRET}}; filters follow:
  {{ secrets.key | trim | json }}     json, shell, url, base64, trim
  {{ secrets.key | dotenv }}          a dotenv file's value, with quotes
A backslash before one copies it as it is; two give one backslash and the
value. ${{ ... }} is left alone.";

/// Replace placeholders in a template
///
/// Every other byte is copied as it is. Either all placeholders are resolved or nothing is written. With --all or --stale
/// that holds for all outputs of .secrets.toml together.
///
/// On a terminal every value is printed as ‹tag›; `--reveal` prints the values. Files and pipes get the values. `ssh -tt` and
/// `docker run -t` give a program a terminal although a file or pipe reads it: use `ssh -T`, leave out `-t`, or write with
/// `-o OUT`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenderArgs {
    /// The template; `-` or none is stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Take this text as the template
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
    /// Permission bits of OUT, in octal [default: 600, or what OUT has of it]
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
    /// Leave placeholders that name no secret or are not well formed as they are
    #[arg(long)]
    keep_unknown: bool,
    /// Print values on a terminal too
    #[arg(long, conflicts_with = "list")]
    reveal: bool,
    /// The filter of placeholders that have none of their own
    #[arg(long, value_name = "FILTER", value_parser = clap::builder::PossibleValuesParser::new(Filter::NAMES))]
    escape: Option<String>,
    /// What opens and closes a placeholder
    #[arg(long, value_name = "OPEN,CLOSE", default_value = "{{,}}")]
    delimiters: Delimiters,
    /// Only {{ secrets.tag }}, not the bare {{NAME}}
    #[arg(long)]
    namespaced: bool,
    /// With --all or --stale, replace outputs without asking that are not as `secrets` wrote them
    #[arg(short, long)]
    yes: bool,
    /// The programs that read OUT, a dotenv file, for the filter `dotenv`
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

/// Options that speak of one template.
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
    permission_bits(text).ok_or_else(|| "permission bits are three octal digits, as in 640".into())
}

pub(crate) fn run(args: RenderArgs, cx: &Context) -> Result<(), Error> {
    if args.all || args.stale {
        return render_manifest(&args, cx);
    }

    if args.yes {
        return Err(Error::usage("`--yes` needs `--all` or `--stale`")
            .hint("`-o OUT` names the file that is replaced"));
    }

    let file = args.output.as_ref().filter(|path| path.as_os_str() != "-");
    if file.is_none() && (args.check || args.mode.is_some()) {
        return Err(
            Error::usage("`--check` and `--mode` need a file").hint("name it with `-o OUT`")
        );
    }

    let mut template = open(&args)?;
    let mut protected: Vec<_> = cx
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

    let plan = Plan::new(&mut template, grammar)?;
    if let Some(findings) = plan.malformed(&mut template)? {
        if !args.keep_unknown {
            return Err(error::malformed(&[(template.name(), &findings)]).hint(
                "mend it, leave it as it is with `--keep-unknown`, or use other `--delimiters`",
            ));
        }

        outputs::warn(cx, template.name(), &findings, |why| format!("left as it is: {why}"));
    }

    if args.list {
        return list(cx, &plan, &mut template);
    }

    if let Some(output) = output.as_ref().filter(|_| !args.check) {
        output.check_directory()?;
    }

    if let Some(path) = file.filter(|_| !args.check && !plan.is_empty()) {
        respect_git(cx, path, args.force)?;
    }

    let suspects = plan.suspects().clone();
    let tags = plan.tags();
    let resolved = resolve(cx, &args, plan, &mut template)?;
    outputs::warn_of_suspects(cx, &mut template, &suspects)?;

    match output {
        None => to_stdout(cx, &resolved, &mut template, args.reveal),
        Some(output) if args.check => check(&resolved, &mut template, &output, &args),
        Some(output) => {
            let path = args.output.unwrap_or_default();
            for warning in
                meaning::warnings(&path, &mut template, &resolved, named_readers(&args.readers))?
            {
                cx.ui.warn(&format!("`{}`: {warning}", path.display()));
            }

            let written = replace(cx, &path, &output, &resolved, &mut template, &tags)?;
            if output.is_exposed() {
                let name = path.display();
                cx.ui.warn(&format!(
                    "the file system of `{name}` has no Unix modes: other users may be able to read it"
                ));
            }

            cx.ui.status(&outputs::said(&path.display().to_string(), written));
            if cx.ui.is_json() {
                Ok(cx.ui.json(&outputs::json(&[(path, written)]))?)
            } else {
                Ok(())
            }
        }
    }
}

/// Writes one output and remembers it. Variables that somebody added to a dotenv file are not lost.
fn replace(
    cx: &Context,
    path: &Path,
    output: &Output,
    resolved: &Resolved,
    template: &mut Template,
    tags: &[Tag],
) -> Result<OutputChange, Error> {
    let memory = outputs::memory(cx, !tags.is_empty())?;
    let failed = |error| match cx.project() {
        Ok(project) => error::setup(error, project),
        Err(error) => error,
    };

    if is_dotenv(path) {
        let found = foreign(&memory, path, output, resolved, template).map_err(failed)?;
        outputs::refuse_added(cx, found.map(|found| (path.to_owned(), found)).as_slice())?;
    }

    let mut content = DigestingWriter::new(&memory, tags);
    let written = output.replace(&mut |out| resolved.expand(template, &mut content.beside(out)))?;
    note(&memory, path, content, resolved, template, tags).map_err(failed)?;
    Ok(written)
}

/// The readers that `--readers` names, if it is there.
pub(super) fn named_readers(names: &[String]) -> Option<Readers> {
    let readers: Readers = names.iter().filter_map(|name| name.parse::<Reader>().ok()).collect();
    (!readers.is_empty()).then_some(readers)
}

/// The outputs of `.secrets.toml`: all resolved before the first is written.
fn render_manifest(args: &RenderArgs, cx: &Context) -> Result<(), Error> {
    let manifest = cx.needed_manifest()?;
    outputs::needs_vault(cx, manifest, |_| true)?;
    cx.require_trust(manifest)?;
    let files = outputs::open(cx, manifest)?;

    if !args.check {
        outputs::untracked(manifest)?;
    }

    let mut resolved = outputs::resolve(cx, files)?;
    let project = cx.project()?;

    // To render all is to compare all: that is not done twice.
    let states = if args.check || args.stale { resolved.states() } else { Ok(Vec::new()) };
    let states = states.map_err(|error| error::setup(error, project))?;
    let stale: Vec<_> = states.iter().filter(|(_, state)| *state != OutputState::Current).collect();

    if args.check {
        let Some((one, found)) = stale.first() else { return Ok(()) };
        let name = manifest.at(&one.output);
        let what = match (stale.len(), found) {
            (1, OutputState::Missing) => format!("`{}` is missing", name.display()),
            (1, OutputState::Exposed(mode)) => {
                format!("`{}` has the mode {mode:o}, which is too wide", name.display())
            }
            (1, _) => format!("`{}` is out of date", name.display()),
            (n, _) => format!("{n} outputs are out of date"),
        };

        let notes = stale.iter().filter(|_| stale.len() > 1);
        let notes =
            notes.map(|(rendering, _)| format!("  {}", manifest.at(&rendering.output).display()));
        return Err(Error::new(Kind::Differs, what)
            .with_notes(notes.collect())
            .hint(format!("{} renders what is out of date", cx.again("render --stale"))));
    }

    let memory = outputs::memory(cx, resolved.have_secrets())?;
    outputs::protect(cx, &mut resolved, &memory, args.yes)?;
    if args.stale {
        resolved.remember_current(&memory).map_err(|error| error::setup(error, project))?;
        resolved
            .retain(|rendering| stale.iter().any(|(other, _)| other.output == rendering.output));
        if stale.is_empty() {
            cx.ui.status("every output is up to date");
        }
    }

    let written = outputs::write(cx, resolved, &memory)?;
    if cx.ui.is_json() { Ok(cx.ui.json(&outputs::json(&written))?) } else { Ok(()) }
}

/// Refuses a path that a symbolic link leads into a git directory: git would run what is written there, and what it holds
/// may be credentials.
fn no_link_into_git(path: &Path) -> Result<(), TemplateError> {
    if leads_into_git_directory(path) {
        let why = "leads into a git directory by a symbolic link";
        return Err(TemplateError::UnsafeOutput { path: path.to_owned(), why });
    }

    Ok(())
}

fn output_at(
    path: &Path,
    mode: Option<u32>,
    protected: &[ProtectedFile],
) -> Result<Output, TemplateError> {
    no_link_into_git(path)?;
    Output::new(path, mode, protected)
}

/// Refuses an output that git tracks, and warns of one that git does not ignore: the next commit would publish it.
fn respect_git(cx: &Context, path: &Path, force: bool) -> Result<(), Error> {
    let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else { return Ok(()) };
    let known = outputs::as_git_knows(path);
    let standing = match Context::git(directory).standing(&[Path::new(name)]) {
        Ok(standing) => standing,
        Err(_) if force => return Ok(()),
        Err(error) => {
            return Err(Error::from(error).hint("write the file whatever git has with `--force`"));
        }
    };

    match standing[..] {
        [GitStatus::Tracked] if !force => Err(outputs::tracked(path, &known).with_only_hint(format!(
            "take it out with `git rm --cached {}`, or write it anyway with `--force`",
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
            let stat = fstat(rustix::stdio::stdin()).ok();
            let regular =
                stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
            let identity = regular.map(|stat| (stat.st_dev, stat.st_ino));

            // Not through std's stdin, whose buffer is small for a template of gigabytes.
            let stdin = rustix::io::dup(rustix::stdio::stdin()).map_err(|errno| {
                Error::new(Kind::Failure, format!("cannot read stdin: {errno}"))
            })?;

            Ok(Template::from_reader("stdin", File::from(stdin))?.with_identity(identity))
        }
    }
}

/// Where nothing is referred to, nothing is opened and no passphrase is asked for.
struct NoSecrets;

impl Reveal for NoSecrets {
    fn reveal(&self, _: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        Ok(Vec::new())
    }
}

fn resolve(
    cx: &Context,
    args: &RenderArgs,
    plan: Plan,
    template: &mut Template,
) -> Result<Resolved, Error> {
    if plan.is_empty() {
        return Ok(plan.resolve(&NoSecrets)?);
    }

    cx.needs_vault()?;
    let project = cx.trusted_project()?;
    let resolved = plan.resolve(&cx.vault()?.scope(project))?;

    if let Some(findings) = resolved.unknown(template)? {
        if !args.keep_unknown {
            return Err(error::unknown(&[(template.name(), &findings)], project));
        }

        outputs::warn(cx, template.name(), &findings, |what| {
            format!("`{}` left as it is: it names no secret", what.tag)
        });
    }

    Ok(resolved)
}

#[derive(Serialize)]
struct ReferenceJson<'a> {
    tag: &'a str,
    file: &'a str,
    line: u64,
    column: u64,
    filters: Vec<&'a str>,
}

/// Prints each reference as it is found: there may be more of them than fit into memory.
fn list(cx: &Context, plan: &Plan, template: &mut Template) -> Result<(), Error> {
    let file = template.name().to_owned();
    let mut out = cx.ui.results();
    let mut separator = "";
    if cx.ui.is_json() {
        out.text("{\"references\":[")?;
    }

    let mut failure = None;
    let done = plan.each_reference(template, |placeholder, at| {
        let tag = placeholder.tag.as_str();
        let filters: Vec<&str> = placeholder.filters.iter().map(|filter| filter.name()).collect();
        let printed = if cx.ui.is_json() {
            let reference =
                ReferenceJson { tag, file: &file, line: at.line, column: at.column, filters };
            out.text(std::mem::replace(&mut separator, ",")).and_then(|()| out.json(&reference))
        } else {
            let reference = [&[tag], &filters[..]].concat().join(" | ");
            out.text(&format!("{}:{}:{}: {reference}\n", visible(&file), at.line, at.column))
        };

        printed.map_err(|error| {
            failure = Some(error);
            TemplateError::Stopped
        })
    });

    match failure {
        Some(error) => return Err(error.into()),
        None => done?,
    }

    if cx.ui.is_json() {
        out.text("]}\n")?;
    }

    Ok(out.finish()?)
}

/// Writes to stdout. A terminal shows no value that nobody asked for: it may be recorded, shared or looked at.
fn to_stdout(
    cx: &Context,
    resolved: &Resolved,
    template: &mut Template,
    reveal: bool,
) -> Result<(), Error> {
    let is_masked = !reveal && resolved.has_values() && isatty(rustix::stdio::stdout());
    if is_masked {
        cx.ui.warn(
            "a terminal shows \u{2039}tag\u{203a} for each value; `--reveal` prints the values",
        );
    }

    let expanded = if is_masked {
        resolved.expand_masked(template, &mut raw::Stdout)
    } else {
        resolved.expand(template, &mut raw::Stdout)
    };

    match expanded {
        Ok(()) => Ok(()),
        Err(ExpandError::Template(error)) => Err(error.into()),
        Err(ExpandError::Output(error)) => Err(UiError::Stdout(error).into()),
    }
}

fn check(
    resolved: &Resolved,
    template: &mut Template,
    output: &Output,
    args: &RenderArgs,
) -> Result<(), Error> {
    if output.is_current(&mut |out| resolved.expand(template, out))? {
        return Ok(());
    }

    let path = args.output.clone().unwrap_or_default();
    let what = if output.exists() { "is out of date" } else { "is missing" };
    Err(Error::new(Kind::Differs, format!("`{}` {what}", path.display()))
        .hint("render it without `--check`"))
}
