//! `secrets update`: changes what is named and nothing else.

use std::ffi::OsString;

use super::create::label;
use super::outputs;
use super::value_source::{ValueArgs, never_from_an_argument};
use clap_complete::ArgValueCompleter;

use crate::completion;
use crate::context::Context;
use crate::error::Error;
use crate::model::{Description, Name, Secret, SecretRef};
use crate::vault::SecretChanges;

const EXAMPLES: &str = "\
Examples:
  secrets update api-key                        asks for a new value
  secrets update api-key --generate
  secrets update api-key --name 'Stripe, live'
  secrets update api-key --name ''              clears the name";

/// Change a secret's value, name or description
///
/// With no option, asks for a new value (all of stdin where it is no terminal). With --name or --description alone the
/// value stays and stdin is not read. The tag and the id never change.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpdateArgs {
    /// Tag in the current project, or id in any
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
    /// Another label; '' clears it
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Another description; '' clears it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    value: ValueArgs,
    /// What people try; refused without being repeated
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
    };

    let labels_only = args.name.is_some() || args.description.is_some();
    let with_value = args.value.names_a_source() || !labels_only;
    if with_value && args.value.is_stdin() {
        cx.keep_stdin()?;
    }

    if with_value {
        args.value.check_file()?;
    }

    cx.needs_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let current = vault.get(project, &args.secret)?;

    if with_value {
        changes.value =
            Some(args.value.read(&format!("New value of {}", current.metadata.tag), &cx.ui)?);
    }

    // The version seen before the prompt: who else has changed it meanwhile is not written over.
    let secret = cx.written(vault.update(project, &args.secret, Some(current.version), changes)?);
    let (tag, hint) = (&secret.metadata.tag, secret.metadata.hint.as_str());
    let shown = if with_value { format!(", hint {hint}") } else { String::new() };
    cx.ui.status(&format!("updated `{tag}` in project `{}`{shown}", secret.project));
    if with_value {
        tell_stale(cx, &secret);
    }

    if cx.ui.is_json() { Ok(cx.ui.show(&secret)?) } else { Ok(()) }
}

/// Names the outputs that the new value has made stale. The value is stored: what cannot be told is only warned of.
fn tell_stale(cx: &Context, secret: &Secret) {
    match outputs::made_stale(cx, &secret.project, &secret.metadata.tag) {
        Ok(stale) if stale.is_empty() => {}
        Ok(stale) => {
            let names: Vec<String> =
                stale.iter().map(|path| format!("`{}`", path.display())).collect();
            let (are, they) = if names.len() == 1 { ("is", "it") } else { ("are", "them") };
            let names = names.join(", ");
            cx.ui.status(&format!(
                "{names} {are} out of date now; `secrets render --stale` renders {they} anew"
            ));
        }
        Err(error) => cx
            .ui
            .warn(&format!("which outputs are out of date now is not known: {}", error.message())),
    }
}
