//! `secrets create`: stores a secret.

use std::ffi::OsString;

use super::init;
use super::value_source::{ValueArgs, never_from_an_argument};
use crate::context::Context;
use crate::crypto::kdf::KdfParams;
use crate::error::{Error, Kind};
use crate::model::{Description, Name, Tag};
use crate::ui::{input, prompt};
use crate::vault::{NewSecret, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets create --tag api-key                   type or paste it, unseen
  pass show api | secrets create --tag api-key   from another program
  secrets create --tag tls-key --value-file key.pem
  secrets create --tag session-key --generate --length 64 --alphabet hex";

/// Store a secret
///
/// On a terminal the value is asked for and not shown; elsewhere it is all of stdin, without one newline at its end.
/// Afterwards its hint is shown, so that a mistyped key is noticed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// The secret's identifier in its project: letters, digits, `_` and `-`
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

pub(crate) fn run(args: CreateArgs, cx: &Context) -> Result<(), Error> {
    args.value.check()?;
    if !args.positional_attempt.is_empty() {
        return Err(never_from_an_argument().hint("usage: secrets create --tag TAG"));
    }
    let tag = args.tag.ok_or_else(|| Error::usage("`--tag TAG` is missing").hint("usage: secrets create --tag TAG"))?;
    let name = label("name", args.name.as_deref(), Name::parse)?;
    let description = label("description", args.description.as_deref(), Description::parse)?;
    let project = cx.project()?;
    offer_a_vault(cx)?;
    let vault = cx.vault()?;
    if let Some(existing) = vault.find(project, &tag)? {
        return Err(taken(VaultError::Exists(vec![existing])));
    }
    let value = args.value.read(&format!("Value of {tag}"))?;
    let new = NewSecret { tag, name, description, value };
    let secret = cx.written(vault.create(project, new).map_err(taken)?);
    let (tag, hint) = (&secret.metadata.tag, secret.metadata.hint.as_str());
    cx.ui.status(&format!("created `{tag}` in project `{project}`, hint {hint}"));
    if cx.ui.is_json() { Ok(cx.ui.show(&secret)?) } else { Ok(()) }
}

/// A label of the command line, checked.
pub(super) fn label<T>(
    option: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<Option<T>, crate::model::Invalid>,
) -> Result<Option<T>, Error> {
    let parsed = text.map(parse).transpose();
    parsed.map(Option::flatten).map_err(|why| Error::usage(format!("`--{option}` is not well formed: {why}")))
}

fn taken(error: VaultError) -> Error {
    let update = match &error {
        VaultError::Exists(existing) => existing.first().map(|secret| secret.metadata.tag.clone()),
        _ => None,
    };
    match update {
        Some(tag) => Error::from(error).hint(format!("change its value with `secrets update {tag}`")),
        None => error.into(),
    }
}

/// On a terminal without a vault, makes one first if that is wanted.
pub(super) fn offer_a_vault(cx: &Context) -> Result<(), Error> {
    if !input::stdin_is_terminal() || !cx.vault_is_missing()? {
        return Ok(());
    }
    let path = cx.vault_path()?;
    if !prompt::confirm(&format!("There is no vault yet. Make one at {}?", path.display()), true)? {
        return Err(Error::new(Kind::NotFound, "there is no vault").hint("make one with `secrets init`"));
    }
    cx.adopt(init::make(cx, &path, KdfParams::DEFAULT)?);
    Ok(())
}
