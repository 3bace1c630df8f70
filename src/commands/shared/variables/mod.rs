//! The variables, files and stdin that a command line of `run` or `env` asks for, with their values.

mod names;
mod opening;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use secrets_core::model::{ProjectName, SecretValue, Tag, TagKey};
use secrets_core::vault::RevealedValues;
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::{Manifest, Tree, needs};
use secrets_project::variables;
use secrets_runtime::run::environment::{Assignment, InheritedVariable, Variables, check_value};
use secrets_runtime::run::{PrivateFiles, check_program};

use self::names::{check_allowed, check_name, reason_to_skip, split, with_environment};
use super::outputs::dotenv_entries;
use super::{directories, suspects};
use crate::config::Environment;
use crate::context::Context;
use crate::error::{self, Error, Hint, Kind};
use crate::ui::escape::visible;
use crate::ui::input;

/// The variables, files and stdin of a command line.
#[derive(Clone, Copy, Default)]
pub(crate) struct Request<'a> {
    /// Tags of secrets. Each becomes the variable of its name
    pub(crate) only: &'a [Tag],
    /// Texts `NAME=TEMPLATE`
    pub(crate) env: &'a [OsString],
    /// Dotenv files whose values are templates
    pub(crate) env_files: &'a [PathBuf],
    /// Whether our own variables are passed on, and how
    pub(crate) inherited: Option<Inherited<'a>>,
    /// Texts `NAME=TAG`, for variables with the path of a private file
    pub(crate) files: &'a [String],
    /// The secret that becomes the program's stdin
    pub(crate) stdin: Option<&'a Tag>,
    /// True if the program gets placeholders
    pub(crate) is_proxied: bool,
    /// True if nothing is used
    pub(crate) is_dry_run: bool,
    /// The program and its arguments
    pub(crate) command: &'a [OsString],
}

/// How our own variables are passed on.
#[derive(Clone, Copy)]
pub(crate) struct Inherited<'a> {
    /// The variables whose placeholders are expanded
    pub(crate) expanded: &'a [OsString],
    /// True if only basic variables are passed on
    pub(crate) is_clean: bool,
}

/// The variables and files requested by the command line, the files it names and our environment.
pub(crate) struct VariableRequests<'a> {
    args: Request<'a>,
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

impl<'a> VariableRequests<'a> {
    pub(crate) fn new(args: Request<'a>, cx: &'a Context) -> Result<Self, Error> {
        let named = !args.only.is_empty() || !args.env.is_empty() || !args.env_files.is_empty();
        let manifest = if named {
            None
        } else {
            cx.target.manifest()?.filter(|manifest| manifest.run.is_some())
        };
        let by_default = !args.is_proxied
            && !named
            && manifest.is_none()
            && args.files.is_empty()
            && args.stdin.is_none();
        let declaring = if by_default { cx.target.manifest()? } else { None };
        let project = cx.target.project()?;
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

        if let Some(inherited) = args.inherited {
            requests.inherit(inherited, cx)?;
        }

        if let Some(manifest) = manifest {
            requests.variables_of(manifest)?;
        }

        for tag in args.only {
            check_name(&variables::name_of(tag), "--only", false)?;
        }

        for path in args.env_files {
            requests.env_file(path)?;
        }

        for text in args.env {
            let (name, template) = split(text.as_bytes(), "--env NAME=TEMPLATE")
                .map_err(|error| with_environment(error, text, cx))?;
            check_name(name, "--env", true)?;
            let place = format!("--env {name}");
            requests.assign(name.into(), template.to_vec(), &place, "--env")?;
        }

        for text in args.files {
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
    fn inherit(&mut self, how: Inherited<'_>, cx: &Context) -> Result<(), Error> {
        let all = Environment::inherited();
        for requested in how.expanded {
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

        for (name, value) in all.into_iter().filter(|(name, _)| !variables::is_credential(name)) {
            let requested = how.expanded.contains(&name);
            if requested || !how.is_clean || variables::is_kept(&name) {
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
            let source = format!("{}:{}", manifest.path().display(), variable.position.line);
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
        const MAX_SIZE: usize = 64 * 1024 * 1024;
        let shown = path.display().to_string();
        let failed = |source| Error::new(Kind::Failure, format!("cannot read `{shown}`: {source}"));
        let (text, _) = input::file(path, MAX_SIZE).map_err(failed)?;

        for entry in dotenv_entries(text.expose(), &shown)? {
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
    pub(crate) fn check_program(&self) -> Result<(), Error> {
        let path = OsStr::new("PATH");
        let is_overridden = self.assignments.iter().any(|assignment| assignment.name() == path);
        let Some(program) =
            self.args.command.first().filter(|_| !self.args.is_dry_run && !is_overridden)
        else {
            return Ok(());
        };

        let path =
            self.plain.iter().find(|(name, _)| name == path).map(|(_, value)| value.as_os_str());
        Ok(check_program(program, path)?)
    }

    /// Requires the vault, if it is needed, and trust in the manifest. Trust comes second because
    /// it may ask a question.
    pub(crate) fn check_vault_and_trust(&self, cx: &Context) -> Result<(), Error> {
        let needs_vault = self.all || self.args.is_proxied || !self.wanted().is_empty();
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
    pub(crate) fn wanted(&self) -> Vec<Tag> {
        let mut wanted: Vec<Tag> = self
            .inherited
            .iter()
            .chain(&self.assignments)
            .flat_map(|assignment| assignment.tags().to_vec())
            .collect();

        wanted.extend(self.declared.iter().map(|(tag, _)| tag.clone()));
        wanted.extend_from_slice(self.args.only);
        wanted.extend(self.files.iter().map(|(_, tag)| tag.clone()));
        wanted.extend(self.args.stdin.cloned());

        wanted
    }

    /// Returns the project whose secrets the program gets.
    pub(crate) fn project(&self) -> &'a ProjectName {
        self.project
    }

    /// Returns the program's environment. If a variable is set several times, the last one wins.
    /// `proxied` are variables with the placeholders of secrets.
    pub(crate) fn variables(
        &self,
        opened: &RevealedValues,
        proxied: &[(String, Tag)],
        cx: &Context,
    ) -> Result<Variables, Error> {
        let mut variables = Variables::default();
        for (name, value) in &self.plain {
            variables.set(name.clone(), value.clone(), None, Vec::new());
        }

        if self.all {
            for (tag, value) in opened.values() {
                set_by_tag(&mut variables, tag, value, "project", cx);
            }
        }

        self.refuse_missing(opened)?;
        for (tag, _) in self.declared.iter().filter(|(tag, _)| opened.has(tag)) {
            let (stored, value) = opened.value(tag)?;
            set_by_tag(&mut variables, stored, value, MANIFEST, cx);
        }

        for (name, tag) in proxied {
            let (stored, value) = opened.value(tag)?;
            let bytes = OsString::from_vec(value.expose().to_vec());
            variables.set(name.into(), bytes, Some("--proxy"), vec![stored.clone()]);
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

        for tag in self.args.only {
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
    fn refuse_missing(&self, opened: &RevealedValues) -> Result<(), Error> {
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
        Err(Error::new(Kind::NotFound, what).with_notes(notes).hint(Hint::in_project(
            "enter missing secrets with `secrets setup`, or select the secrets that the program \
             needs with `--only`",
        )))
    }

    /// Writes the private files and sets variables to their paths.
    pub(crate) fn files(
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
            let place = cx.agents.private_directory()?;
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
