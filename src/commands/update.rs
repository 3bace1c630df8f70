//! `secrets update`: changes only the given properties of a secret.

use std::ffi::OsString;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{Description, Name, SecretRef};
use secrets_core::vault::SecretChanges;

use super::shared::expiry::{self, ExpiryArgs};
use super::shared::label::label;
use super::shared::updated;
use super::shared::value_source::{ValueArgs, never_from_an_argument};
use crate::completion;
use crate::context::Context;
use crate::error::Error;
use crate::output::StoredSecret;

const EXAMPLES: &str = "\
Examples:
  secrets update api-key                        ask for a new value
  secrets update api-key --generate
  secrets update api-key --name 'Stripe, live'
  secrets update api-key --name ''              clear the name
  secrets update api-key --generate --expires 90d
  secrets update api-key --expires never  keep the value, clear its date";

/// Change a secret's value, name, description, expiry date or source
///
/// Without options, asks for a new value, or reads all of stdin if it is not a terminal. With only
/// --name, --description, --expires or --source, the value stays and stdin is not read. The tag and
/// the id never change. An expiry date belongs to a value: a new value gets the date of --expires
/// or of `expires-after` in .secrets.toml, and otherwise none.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpdateArgs {
    /// Change this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
    /// Set the label; '' clears it
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Set the description; '' clears it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    value: ValueArgs,
    /// Arguments that may be a value; refused without being shown
    #[arg(hide = true)]
    positional_attempt: Vec<OsString>,
}

pub(crate) fn run(args: &UpdateArgs, cx: &Context) -> Result<(), Error> {
    args.value.check()?;
    if !args.positional_attempt.is_empty() {
        return Err(never_from_an_argument().hint("usage: secrets update TAG"));
    }

    let mut changes = SecretChanges {
        name: args.name.as_ref().map(|text| label("name", Some(text), Name::parse)).transpose()?,
        description: args
            .description
            .as_ref()
            .map(|text| label("description", Some(text), Description::parse))
            .transpose()?,
        value: None,
        expires: args.expiry.expires()?,
        source: args.expiry.source()?,
    };

    let labels_only = args.name.is_some() || args.description.is_some() || args.expiry.is_given();
    let with_value = args.value.names_a_source() || !labels_only;
    if with_value && args.value.is_stdin() {
        cx.credentials.keep_stdin()?;
    }

    if with_value {
        args.value.check_file()?;
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let current = vault.get(project, &args.secret)?;

    let mut public = None;
    if with_value {
        let read = args.value.read("New value", &current.metadata.tag, &cx.ui)?;
        changes.value = Some(read.value);
        if let Some(line) = read.public {
            // The description of a key pair is its public half, unless the user wrote another one.
            let is_ours = current.metadata.description.as_ref().is_none_or(is_public_half);
            if changes.description.is_none() && is_ours {
                changes.description = Description::parse(&line).ok();
            }

            public = Some(line);
        } else if changes.description.is_none()
            && current.metadata.description.as_ref().is_some_and(is_public_half)
        {
            cx.ui.warn(
                "the description is the public half of the old key; `--key-pair` draws a new pair",
            );
        }

        if changes.expires.is_none() {
            let declared = expiry::declared(cx, &current.project, &current.metadata.tag)?;
            changes.expires = Some(declared);
        }
    }

    let is_dated = changes.expires.is_some();

    // The version from before the prompt ensures that a change made in the meantime is not
    // overwritten.
    let secret =
        cx.written(vault, vault.update(project, &args.secret, Some(current.version), changes)?);
    updated::report(cx, &current, &secret, with_value, is_dated);
    cx.ui.print(&StoredSecret { secret: &secret, public: public.as_deref() })
}

/// Returns true for a description that is the public half of a key pair.
fn is_public_half(text: &Description) -> bool {
    ["ssh-ed25519 ", "ssh-rsa ", "age1"].iter().any(|start| text.as_str().starts_with(start))
}
