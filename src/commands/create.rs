//! `secrets create`: stores a secret.

use std::ffi::OsString;

use secrets_core::model::{Class, Description, Name, Tag, looks_like_api_key};
use secrets_core::vault::{NewSecret, VaultError};

use super::shared::expiry::{self, ExpiryArgs};
use super::shared::label::{described, label};
use super::shared::new_vault::{next, offer_a_vault, require_vault_unless_offered};
use super::shared::value_source::{ReadValue, ValueArgs, never_from_an_argument};
use crate::context::Context;
use crate::error::{Error, hint};
use crate::output::StoredSecret;
use crate::ui::{input, time};

const EXAMPLES: &str = "\
Examples:
  secrets create api-key                  type or paste the value, hidden
  pass show api | secrets create api-key  read it from another program
  secrets create tls-key --value-file key.pem
  secrets create session-key --generate --length 64 --alphabet hex
  secrets create wifi --words 6
  secrets create api-key --expires 90d --source https://example.com/keys
  secrets create signing-key --restricted --value-file key.pem";

/// Store a secret
///
/// On a terminal, prompts for the value without showing it. Otherwise reads all of stdin, without
/// one trailing newline. Afterwards it prints the hint, so that you notice a mistyped key.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// Store the secret under this tag: letters, digits, `_` and `-`
    #[arg(value_name = "TAG")]
    tag_argument: Option<OsString>,
    /// Same as TAG, but also accepts a tag that looks like a key
    #[arg(short, long)]
    tag: Option<Tag>,
    /// Set a label, at most 256 characters
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Set a free text, at most 4,096 characters
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Make the secret restricted: it has no hint, and only tokens with `--restricted` can use it
    #[arg(long)]
    restricted: bool,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    value: ValueArgs,
    /// Arguments that may be a value; refused without being shown
    #[arg(hide = true)]
    positional_attempt: Vec<OsString>,
}

pub(crate) fn run(args: &CreateArgs, cx: &Context) -> Result<(), Error> {
    args.value.check()?;
    let tag = tag(args)?;
    let name = label("name", args.name.as_deref(), Name::parse)?;
    let description = label("description", args.description.as_deref(), Description::parse)?;
    let (expires, source) = (args.expiry.expires()?, args.expiry.source()?.flatten());

    if args.value.is_stdin() {
        cx.credentials.keep_stdin()?;
    }

    args.value.check_file()?;
    require_vault_unless_offered(cx)?;
    let project = cx.trusted_project()?;
    let is_first = offer_a_vault(cx)?;
    let vault = cx.vault()?;

    // Nobody types a value for a tag that is taken. Without a prompt, this would cost a server one trip
    // more, and the change itself finds it out.
    let is_typed = args.value.is_stdin() && input::stdin_is_terminal();
    if (is_typed || !vault.is_remote())
        && let Some(existing) = vault.find(project, &tag)?
    {
        return Err(exists_error(VaultError::Exists(vec![existing])));
    }

    let ReadValue { value, public } = args.value.read("Value", &tag, &cx.ui)?;
    let description = description.or_else(|| Description::parse(public.as_deref()?).ok().flatten());
    let class = if args.restricted { Class::Restricted } else { Class::Team };
    let expires = match expires {
        Some(expires) => expires,
        None => expiry::declared(cx, project, &tag)?,
    };

    let new = NewSecret { name, description, class, expires, source, ..NewSecret::new(tag, value) };
    let secret = cx.written(vault, vault.create(project, new).map_err(exists_error)?);
    let date = expires.map_or_else(String::new, |at| format!(", expires {}", time::local_date(at)));
    cx.ui.status(&format!("created {}{date}", described(&secret)));
    if is_first {
        next(cx, "use `secrets run -- CMD` to run a program with the project's secrets");
    }

    cx.ui.print(&StoredSecret { secret: &secret, public: public.as_deref() })
}

const USAGE: &str = "usage: secrets create TAG";

/// Returns the tag from the argument or the option. Does not show a key that was given in its
/// place.
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
    if looks_like_api_key(&word) {
        return Err(Error::usage(
            "the argument looks like a key, not like a tag (not shown, in case it is a secret)",
        )
        .hint("run `secrets create TAG` and type the value when asked")
        .hint("if it is a tag, pass it with `secrets create --tag TAG`"));
    }

    Tag::parse(&word).map_err(|why| Error::usage(format!("invalid tag: {why}")).hint(USAGE))
}

fn exists_error(error: VaultError) -> Error {
    let update = match &error {
        VaultError::Exists(existing) => existing.first().map(|secret| secret.metadata.tag.clone()),
        _ => None,
    };

    match update {
        Some(tag) => {
            Error::from(error).hint(hint!("change its value with `secrets update {}`", tag))
        }
        None => error.into(),
    }
}
