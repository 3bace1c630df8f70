//! `secrets run`: runs a program with secrets in its environment and masks their values in its
//! output.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap_complete::ArgValueCompleter;

use super::dry_run::list;
use super::look_for::look_for;
use super::outputs;
use crate::completion;
use crate::config::Environment;
use crate::context::Context;
use crate::error::{self, Error, Kind};
use crate::model::{ProjectName, STACK_DEPTH, SecretValue, Tag, TagKey, overwrite_stack};
use crate::process::die_of;
use crate::run::environment::{
    Assignment, InheritedVariable, Variables, check_value, is_too_large,
};
use crate::run::{
    Job, Outcome, PrivateFiles, Streams, become_program, check_program, run as run_job, variables,
};
use crate::setup::manifest::MANIFEST;
use crate::setup::{Manifest, Tree, needs};
use crate::template::grammar::Grammar;
use crate::template::{Plan, Template};
use crate::ui::escape::visible;
use crate::ui::{input, raw};
use crate::vault::{RevealedValues, Vault};

const EXAMPLES: &str = "\
Examples:
  secrets run -- npm start                  pass every secret, as TAG_KEY
  secrets run --only database-url -- psql   pass only DATABASE_URL
  secrets run --env 'PGPASSWORD={{ secrets.db-password }}' -- psql -h db
  secrets run --env-file app.env -- ./server     read lines NAME=TEMPLATE
  secrets run --file KEY=tls-key -- sh -c 'openssl rsa -noout -in \"$KEY\"'
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

pub(crate) fn run(args: &RunArgs, cx: &Context) -> Result<u8, Error> {
    let outcome = run_program(args, cx).map_err(Error::in_run)?;
    if let Some(signal) = outcome.interrupted() {
        cx.ui.finish();
        die_of(signal);
    }

    Ok(outcome.code())
}

fn run_program(args: &RunArgs, cx: &Context) -> Result<Outcome, Error> {
    refuse_placeholders(&args.command)?;
    let requests = RunRequests::new(args, cx)?;
    requests.check_program()?;
    requests.check_vault_and_trust(cx)?;

    let opened = requests.open(cx)?;
    cx.forget_passphrase();
    let mut variables = requests.variables(&opened, cx)?;
    let files = requests.files(&opened, &mut variables, args.dry_run, cx)?;

    if args.dry_run {
        return list(&variables, args.stdin.as_ref(), cx).map(|()| Outcome::Code(0));
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
    let fix = "select fewer values with `--only`";
    masked.iter().try_for_each(|given| look_for(given, "masked", fix, cx))?;

    let environment = variables.into_pairs();
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

/// The variables and files requested by the command line, the files it names and our environment.
struct RunRequests<'a> {
    args: &'a RunArgs,
    project: &'a ProjectName,
    /// Variables of our environment without placeholders to expand
    plain: Vec<(OsString, OsString)>,
    /// Variables of our environment with placeholders to expand
    inherited: Vec<Assignment>,
    assignments: Vec<Assignment>,
    files: Vec<(String, Tag)>,
    /// The optional secrets, without which a variable of the manifest is omitted
    optional: HashSet<TagKey>,
    /// True if the program gets every secret of the project, which is the default without a
    /// manifest
    all: bool,
    /// The secrets that a manifest without `[run.env]` declares or refers to, and whether each is
    /// required
    declared: Vec<(Tag, bool)>,
    /// The manifest whose `[run.env]` is used
    manifest: Option<&'a Manifest>,
}

impl<'a> RunRequests<'a> {
    fn new(args: &'a RunArgs, cx: &'a Context) -> Result<Self, Error> {
        let named = !args.only.is_empty() || !args.env.is_empty() || !args.env_files.is_empty();
        let manifest =
            if named { None } else { cx.manifest()?.filter(|manifest| manifest.run.is_some()) };
        let by_default =
            !named && manifest.is_none() && args.files.is_empty() && args.stdin.is_none();
        let declaring = if by_default { cx.manifest()? } else { None };
        let project = cx.project()?;
        let mut requests = Self {
            args,
            project,
            plain: Vec::new(),
            inherited: Vec::new(),
            assignments: Vec::new(),
            files: Vec::new(),
            optional: HashSet::new(),
            all: by_default && declaring.is_none(),
            declared: declaring.map(declared).unwrap_or_default(),
            manifest,
        };

        if declaring.is_some() && requests.declared.is_empty() {
            cx.ui.warn(&format!(
                "`{MANIFEST}` declares no secrets, so the program gets none; select some with \
                 `--only`"
            ));
        }

        requests.inherit(cx)?;
        if let Some(manifest) = manifest {
            requests.variables_of(manifest)?;
        }

        for tag in &args.only {
            check_name(&variables::name_of(tag), "--only", false)?;
        }

        for path in &args.env_files {
            requests.env_file(path)?;
        }

        for text in &args.env {
            let (name, template) = split(text.as_bytes(), "--env NAME=TEMPLATE")?;
            check_name(name, "--env", true)?;
            let place = format!("--env {name}");
            requests.assign(name.into(), template.to_vec(), &place, "--env")?;
        }

        for text in &args.files {
            let (name, tag) = split(text.as_bytes(), "--file NAME=TAG")?;
            check_name(name, "--file", false)?;
            let tag = std::str::from_utf8(tag).ok().and_then(|tag| Tag::parse(tag).ok());
            let tag =
                tag.ok_or_else(|| Error::usage("`--file NAME=TAG` requires the tag of a secret"))?;
            requests.files.push((name.to_owned(), tag));
        }

        // An inherited variable that is set again is not expanded.
        let assignments = &requests.assignments;
        requests.inherited.retain(|inherited| {
            assignments.iter().all(|assignment| assignment.name() != inherited.name())
        });

        Ok(requests)
    }

    /// Takes over our own environment, except variables that unlock vaults. A placeholder is
    /// expanded only if the variable has the name of the secret or `--expand-env` names it, because
    /// a stranger may have written the text.
    fn inherit(&mut self, cx: &Context) -> Result<(), Error> {
        let all = Environment::inherited();
        for requested in &self.args.expand_env {
            let shown = requested.to_string_lossy();
            check_allowed(&shown, "--expand-env", false)?;
            if !all.iter().any(|(name, _)| name == requested) {
                let message =
                    format!("`--expand-env` names `{}`, which is not set", visible(&shown));

                return Err(
                    Error::usage(message).hint(format!("set it with `--env {shown}=TEMPLATE`"))
                );
            }
        }

        for (name, value) in all.into_iter().filter(|(name, _)| !variables::is_ours(name)) {
            let requested = self.args.expand_env.contains(&name);
            if requested || !self.args.clean_env || variables::is_kept(&name) {
                self.inherit_one(name, value, requested, cx)?;
            }
        }

        Ok(())
    }

    fn inherit_one(
        &mut self,
        name: OsString,
        value: OsString,
        requested: bool,
        cx: &Context,
    ) -> Result<(), Error> {
        let shown = name.to_string_lossy().into_owned();
        let found = InheritedVariable::of(&name, value.as_bytes());
        let is_dangerous = variables::is_dangerous(&shown);

        match found {
            InheritedVariable::Malformed => {
                let what =
                    if requested { "the placeholder is kept" } else { "it is passed on unchanged" };
                cx.ui.warn(&format!("`{shown}` contains an invalid placeholder; {what}"));
            }
            InheritedVariable::OwnPlaceholder if is_dangerous => {
                cx.ui.warn(&format!(
                    "`{shown}` is passed on unchanged; set it explicitly with `--env`"
                ));
            }
            InheritedVariable::OwnPlaceholder | InheritedVariable::Placeholders
                if !requested && !self.args.only.is_empty() =>
            {
                cx.ui.warn(&format!(
                    "`{shown}` contains a placeholder and is passed on unchanged; with `--only`, \
                     expand it with `--expand-env`"
                ));
            }
            InheritedVariable::Placeholders if !requested => cx.ui.warn(&format!(
                "`{shown}` contains a placeholder and is passed on unchanged; expand it with \
                 `--expand-env {shown}`"
            )),
            _ => {}
        }

        let own = found == InheritedVariable::OwnPlaceholder
            && self.args.only.is_empty()
            && !is_dangerous;
        if !requested && !own {
            self.plain.push((name, value));
            return Ok(());
        }

        let place = format!("environment {shown}");
        let assignment = Assignment::inherited(name, value.into_vec(), &place, requested);
        self.inherited.push(assignment.map_err(|error| error::assignment(error, self.project))?);
        Ok(())
    }

    /// Adds the variables of `[run.env]`.
    fn variables_of(&mut self, manifest: &Manifest) -> Result<(), Error> {
        for variable in manifest.run.iter().flatten() {
            let source = format!("{}:{}", manifest.path().display(), variable.place.line);
            check_name(&variable.name, &source, false)?;
            let place = format!("{source} {}", variable.name);
            self.assign(
                variable.name.clone().into(),
                variable.text.clone().into_bytes(),
                &place,
                &source,
            )?;
        }

        let optional = manifest.secrets.iter().filter(|declaration| declaration.optional);
        self.optional = optional.map(|declaration| declaration.tag.key()).collect();
        Ok(())
    }

    /// Returns true for a variable that is omitted because its optional secret does not exist.
    fn is_left_out(&self, assignment: &Assignment, opened: &RevealedValues) -> bool {
        let mut missing = assignment.tags().iter().filter(|tag| !opened.has(tag)).peekable();
        missing.peek().is_some() && missing.all(|tag| self.optional.contains(&tag.key()))
    }

    fn env_file(&mut self, path: &std::path::Path) -> Result<(), Error> {
        const MOST: usize = 64 * 1024 * 1024;
        let shown = path.display().to_string();
        let failed = |source| Error::new(Kind::Failure, format!("cannot read `{shown}`: {source}"));
        let (text, _) = input::file(path, MOST).map_err(failed)?;

        for entry in outputs::dotenv_entries(text.expose(), &shown)? {
            let place = format!("{shown}:{} {}", entry.line, entry.name);
            check_allowed(&entry.name, &format!("{shown}:{}", entry.line), false)?;
            let source = format!("{shown}:{}", entry.line);
            let value = entry.value.expose().to_vec();

            self.assign(entry.name.into(), value, &place, &source)?;
        }

        Ok(())
    }

    fn assign(
        &mut self,
        name: OsString,
        template: Vec<u8>,
        place: &str,
        source: &str,
    ) -> Result<(), Error> {
        let assignment = Assignment::new(name, template, place, source);
        self.assignments.push(assignment.map_err(|error| error::assignment(error, self.project))?);
        Ok(())
    }

    /// Fails before a passphrase is asked for if the program cannot be found.
    fn check_program(&self) -> Result<(), Error> {
        let path = OsStr::new("PATH");
        let is_overridden = self.assignments.iter().any(|assignment| assignment.name() == path);
        let Some(program) =
            self.args.command.first().filter(|_| !self.args.dry_run && !is_overridden)
        else {
            return Ok(());
        };

        let path =
            self.plain.iter().find(|(name, _)| name == path).map(|(_, value)| value.as_os_str());
        Ok(check_program(program, path)?)
    }

    /// Requires the vault, if it is needed, and trust in the manifest. Trust comes second because
    /// it may ask a question.
    fn check_vault_and_trust(&self, cx: &Context) -> Result<(), Error> {
        let needs_vault = self.all || !self.wanted().is_empty();
        if needs_vault {
            cx.require_vault()?;
        }

        if let Some(manifest) = self.manifest {
            cx.require_trust(manifest)?;
        }

        if needs_vault {
            cx.trusted_project()?;
        }

        Ok(())
    }

    /// Returns every requested tag, with repetitions.
    fn wanted(&self) -> Vec<Tag> {
        let mut wanted: Vec<Tag> = self
            .inherited
            .iter()
            .chain(&self.assignments)
            .flat_map(|assignment| assignment.tags().to_vec())
            .collect();

        wanted.extend(self.declared.iter().map(|(tag, _)| tag.clone()));
        wanted.extend(self.args.only.clone());
        wanted.extend(self.files.iter().map(|(_, tag)| tag.clone()));
        wanted.extend(self.args.stdin.clone());

        wanted
    }

    /// Resolves the requested values from one state of the vault. Without requests, the vault is
    /// not opened.
    fn open(&self, cx: &Context) -> Result<RevealedValues, Error> {
        let wanted = self.wanted();
        if wanted.is_empty() && !self.all {
            let has_near_misses =
                self.assignments.iter().any(|assignment| assignment.suspects().has_near_misses());
            let vault = if has_near_misses {
                cx.unkept_vault_without_asking().ok().flatten()
            } else {
                None
            };

            self.warn_of_suspects(vault.as_ref(), cx)?;
            return Ok(RevealedValues::none(self.project));
        }

        // The context does not keep the vault, because the program may run for days.
        let vault = cx.unlock()?;
        self.warn_of_suspects(Some(&vault), cx)?;
        outputs::remember_run(
            &vault,
            cx,
            self.project,
            self.manifest.is_some() || !self.declared.is_empty(),
        )?;

        Ok(RevealedValues::open(self.project, &vault.scope(self.project), wanted, self.all)?)
    }

    /// Warns about text that may not do what the author of a variable expects, as `render` does for
    /// a template.
    fn warn_of_suspects(&self, vault: Option<&Vault>, cx: &Context) -> Result<(), Error> {
        for assignment in &self.assignments {
            outputs::warn_of_suspects_in(vault, cx, &assignment.template(), assignment.suspects())?;
        }

        Ok(())
    }

    /// Returns the program's environment. If a variable is set several times, the last one wins.
    fn variables(&self, opened: &RevealedValues, cx: &Context) -> Result<Variables, Error> {
        let mut variables = Variables::default();
        for (name, value) in &self.plain {
            variables.set(name.clone(), value.clone(), None, Vec::new());
        }

        if self.all {
            for (tag, value) in opened.values() {
                set_by_tag(&mut variables, tag, value, "project", cx);
            }
        }

        self.refuse_missing(opened, cx)?;
        for (tag, _) in self.declared.iter().filter(|(tag, _)| opened.has(tag)) {
            let (stored, value) = opened.value(tag)?;
            set_by_tag(&mut variables, stored, value, MANIFEST, cx);
        }

        let assign = |variables: &mut Variables, assignment: &Assignment| {
            variables
                .assign(assignment, opened)
                .map_err(|error| error::assignment(error, self.project))
        };

        for assignment in &self.inherited {
            for tag in assignment.foreign(opened) {
                let name = assignment.name().to_string_lossy();
                cx.ui.warn(&format!(
                    "`{{{{{tag}}}}}` in `{name}` is kept unchanged: the secret does not exist"
                ));
            }

            assign(&mut variables, assignment)?;
        }

        for tag in &self.args.only {
            let (stored, value) = opened.value(tag)?;
            let name = variables::name_of(tag);
            check_value(OsStr::new(&name), value.expose())
                .map_err(|error| error::assignment(error, self.project))?;

            let bytes = OsString::from_vec(value.expose().to_vec());
            variables.set(name.into(), bytes, Some("--only"), vec![stored.clone()]);
        }

        let mut given =
            self.assignments.iter().filter(|assignment| !self.is_left_out(assignment, opened));
        given.try_for_each(|assignment| assign(&mut variables, assignment))?;
        Ok(variables)
    }

    /// Refuses to run without a secret that the manifest requires.
    fn refuse_missing(&self, opened: &RevealedValues, cx: &Context) -> Result<(), Error> {
        let is_missing = |(tag, is_required): &&(Tag, bool)| *is_required && !opened.has(tag);
        let missing: Vec<String> =
            self.declared.iter().filter(is_missing).map(|(tag, _)| format!("`{tag}`")).collect();
        let what = match &missing[..] {
            [] => return Ok(()),
            [only] => format!("{only} is missing in project `{}`", self.project),
            all => format!("{} secrets are missing in project `{}`", all.len(), self.project),
        };

        let notes =
            missing.iter().filter(|_| missing.len() > 1).map(|tag| format!("  {tag}")).collect();
        let hint = format!(
            "enter missing secrets with {}, or select the secrets that the program needs with \
             `--only`",
            cx.hint_command("setup")
        );

        Err(Error::new(Kind::NotFound, what).with_notes(notes).hint(hint))
    }

    /// Writes the private files and sets variables to their paths.
    fn files(
        &self,
        opened: &RevealedValues,
        variables: &mut Variables,
        dry_run: bool,
        cx: &Context,
    ) -> Result<Option<PrivateFiles>, Error> {
        if self.files.is_empty() {
            return Ok(None);
        }

        let failed =
            |source| Error::new(Kind::Failure, format!("cannot create a private file: {source}"));
        let files = if dry_run {
            None
        } else {
            let place = cx.private_place()?;
            Some(PrivateFiles::new(place.directory(), &Environment::executable()).map_err(failed)?)
        };

        for (name, tag) in &self.files {
            let (tag, value) = opened.value(tag)?;
            let path =
                files.as_ref().map(|files| files.put(tag, value)).transpose().map_err(failed)?;
            variables.set(
                name.into(),
                path.unwrap_or_default().into(),
                Some("--file"),
                vec![tag.clone()],
            );
        }

        Ok(files)
    }
}

/// Returns the tags that a manifest declares or refers to, and whether each is required.
fn declared(manifest: &Manifest) -> Vec<(Tag, bool)> {
    let needs = needs(manifest, &Tree::of(manifest));
    needs.iter().map(|need| (need.tag.clone(), need.is_required())).collect()
}

/// Sets the variable for a tag, or warns why it cannot be set.
fn set_by_tag(
    variables: &mut Variables,
    tag: &Tag,
    value: &SecretValue,
    source: &str,
    cx: &Context,
) {
    let name = variables::name_of(tag);
    match reason_to_skip(&name, value.expose()) {
        Some(why) => {
            cx.ui.warn(&format!("`{tag}` is skipped: {why}"));
            variables.left_out.insert(tag.key());
        }
        None => {
            let bytes = OsString::from_vec(value.expose().to_vec());
            variables.set(name.into(), bytes, Some(source), vec![tag.clone()]);
        }
    }
}

/// Splits `NAME=REST`. The error does not show the rest, because it may be a value.
fn split<'t>(text: &'t [u8], form: &str) -> Result<(&'t str, &'t [u8]), Error> {
    let at = memchr::memchr(b'=', text)
        .ok_or_else(|| Error::usage(format!("`{form}` requires a name and a `=`")))?;
    let name = std::str::from_utf8(&text[..at]).ok().filter(|name| variables::is_name(name));
    let name = name.ok_or_else(|| {
        Error::usage(format!(
            "`{form}` requires the name of a variable: letters, digits and `_`, not starting with \
             a digit"
        ))
    })?;

    Ok((name, &text[at + 1..]))
}

/// Refuses names that shells cannot use, and names that [`check_allowed`] refuses.
fn check_name(name: &str, place: &str, explicit: bool) -> Result<(), Error> {
    if !variables::is_name(name) {
        return Err(Error::usage(format!(
            "{place}: `{}` is not a valid variable name",
            visible(name)
        ))
        .hint("choose a name with `--env NAME='{{ secrets.TAG }}'`"));
    }

    check_allowed(name, place, explicit)
}

/// Refuses names that cannot be set at all, or only explicitly.
fn check_allowed(name: &str, place: &str, explicit: bool) -> Result<(), Error> {
    if variables::is_ours(OsStr::new(name)) {
        return Err(Error::new(
            Kind::Refused,
            format!("{place}: `{name}` is never passed to a program"),
        ));
    }

    if !explicit && variables::is_dangerous(name) {
        let message = format!(
            "{place}: `{name}` can change how programs behave and needs an explicit `--env`"
        );
        return Err(Error::new(Kind::Refused, message)
            .hint(format!("if you want to set it, use `--env {name}=TEMPLATE`")));
    }

    Ok(())
}

/// Returns why a secret is skipped when every secret is passed.
fn reason_to_skip(name: &str, value: &[u8]) -> Option<&'static str> {
    if variables::is_ours(OsStr::new(name)) {
        Some("its variable is never passed to a program")
    } else if !variables::is_name(name) {
        Some("its tag is not a valid variable name; use `--env NAME=TEMPLATE`")
    } else if variables::is_dangerous(name) {
        Some("its variable can change how programs behave and needs an explicit `--env`")
    } else if value.contains(&0) {
        Some("its value has a NUL byte; use `--file NAME=TAG`")
    } else if is_too_large(OsStr::new(name), value) {
        Some("its value is too large for an environment variable; use `--file NAME=TAG`")
    } else {
        None
    }
}
