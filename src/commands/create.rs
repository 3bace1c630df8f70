//! `secrets create`: stores a secret.

use std::ffi::OsString;

use super::init;
use super::value_source::{ValueArgs, never_from_an_argument};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::model::{Description, Name, Tag, resembles_a_key};
use crate::ui::{input, prompt};
use crate::vault::{NewSecret, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets create api-key                         type or paste it, hidden
  pass show api | secrets create api-key         from another program
  secrets create tls-key --value-file key.pem
  secrets create session-key --generate --length 64 --alphabet hex";

/// Store a secret
///
/// On a terminal, asks for the value and does not show it. Elsewhere the value is all of stdin without one newline at its end.
/// Afterwards its hint is shown, so that a mistyped key is noticed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// The secret's identifier in its project: letters, digits, `_` and `-`
    #[arg(value_name = "TAG")]
    tag_argument: Option<OsString>,
    /// The same as an option, which also takes what looks like a key
    #[arg(short, long)]
    tag: Option<Tag>,
    /// A label, at most 256 characters
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Free text, at most 4,096 characters
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    value: ValueArgs,
    /// What people try; refused without being repeated
    #[arg(hide = true)]
    positional_attempt: Vec<OsString>,
}

pub(crate) fn run(args: &CreateArgs, cx: &Context) -> Result<(), Error> {
    args.value.check()?;
    let tag = tag(args)?;
    let name = label("name", args.name.as_deref(), Name::parse)?;
    let description = label("description", args.description.as_deref(), Description::parse)?;

    if args.value.is_stdin() {
        cx.keep_stdin()?;
    }

    args.value.check_file()?;
    needs_vault_unless_offered(cx)?;
    let project = cx.trusted_project()?;
    let is_first = offer_a_vault(cx)?;
    let vault = cx.vault()?;

    if let Some(existing) = vault.find(project, &tag)? {
        return Err(taken(VaultError::Exists(vec![existing])));
    }

    let value = args.value.read(&format!("Value of {tag}"), &cx.ui)?;
    let new = NewSecret { tag, name, description, value };
    let secret = cx.written(vault.create(project, new).map_err(taken)?);
    let (tag, hint) = (&secret.metadata.tag, secret.metadata.hint.as_str());

    cx.ui.status(&format!("created `{tag}` in project `{project}`, hint {hint}"));
    if is_first {
        init::next(
            cx,
            &format!("{} gives a program the secrets of the project", cx.again("run -- CMD")),
        );
    }

    if cx.ui.is_json() { Ok(cx.ui.show(&secret)?) } else { Ok(()) }
}

const USAGE: &str = "usage: secrets create TAG";

/// The tag, as an argument or as an option. A key in its place is not repeated.
fn tag(args: &CreateArgs) -> Result<Tag, Error> {
    let second = args.tag_argument.is_some() && args.tag.is_some();
    if second || !args.positional_attempt.is_empty() {
        return Err(never_from_an_argument().hint(USAGE));
    }

    if let Some(tag) = &args.tag {
        return Ok(tag.clone());
    }

    let word =
        args.tag_argument.as_ref().ok_or_else(|| Error::usage("`TAG` is missing").hint(USAGE))?;
    let word = word.to_string_lossy();
    if resembles_a_key(&word) {
        return Err(Error::usage(
            "that looks like a key, not like a tag (not shown, in case it is a secret)",
        )
        .hint("name the secret and leave the value out to type it hidden: `secrets create TAG`")
        .hint("if it is a tag: `secrets create --tag TAG`"));
    }

    Tag::parse(&word)
        .map_err(|why| Error::usage(format!("the tag is not valid: {why}")).hint(USAGE))
}

/// A label of the command line, checked.
pub(super) fn label<T>(
    option: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<Option<T>, crate::model::Invalid>,
) -> Result<Option<T>, Error> {
    let parsed = text.map(parse).transpose();
    parsed
        .map(Option::flatten)
        .map_err(|why| Error::usage(format!("`--{option}` is not well formed: {why}")))
}

fn taken(error: VaultError) -> Error {
    let update = match &error {
        VaultError::Exists(existing) => existing.first().map(|secret| secret.metadata.tag.clone()),
        _ => None,
    };

    match update {
        Some(tag) => {
            Error::from(error).hint(format!("change its value with `secrets update {tag}`"))
        }
        None => error.into(),
    }
}

/// Fails if there is no vault and [`offer_a_vault`] will not offer one, before anything is asked for.
pub(super) fn needs_vault_unless_offered(cx: &Context) -> Result<(), Error> {
    if input::stdin_is_terminal() { Ok(()) } else { cx.needs_vault() }
}

/// On a terminal without a vault, makes one first if that is wanted. Returns true if it made one.
pub(super) fn offer_a_vault(cx: &Context) -> Result<bool, Error> {
    if !input::stdin_is_terminal() || !cx.vault_is_missing()? {
        return Ok(false);
    }

    let path = cx.vault_path()?;
    if !prompt::confirm(
        &format!("IfExists is no vault yet. Make one at {}?", path.display()),
        true,
    )? {
        return Err(Error::new(Kind::NotFound, "there is no vault")
            .hint("make one with `secrets init`")
            .as_answer());
    }

    cx.adopt(init::make(cx, &path, Context::default_kdf(), false)?);
    Ok(true)
}
