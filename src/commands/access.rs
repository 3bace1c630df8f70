//! `secrets access`: shows who may do what with a project's secrets, and makes a secret restricted
//! or a team secret.

use clap_complete::ArgValueCompleter;
use secrets_core::model::{Class, Level, ProjectName, Secret, SecretRef, TokenName};
use secrets_core::vault::{TokenChanges, TokenInfo};

use super::shared::revocation;
use crate::completion;
use crate::context::Context;
use crate::error::{Error, hint};
use crate::output::{AccessReport, TokenAccess};

const EXAMPLES: &str = "\
Examples:
  secrets access                        list who may do what
  secrets access api-key                list who may use one secret
  secrets access signing-key --restricted
  secrets access signing-key --team     make it a team secret again
  secrets access api-key --allow ci     add it to a token for some secrets
  secrets list --access restricted";

/// Show or change who may use a secret
///
/// Prints one line for each secret and each reader: what the reader may do (read, use or manage)
/// and the secret's access, team or restricted. Read means to see the tag, name, description and
/// hint, use to put the value to work, and manage to change and delete the secret.
///
/// A team secret can be used by everybody who may use the project's values. A restricted secret can
/// be used only by tokens with --restricted, because its value is encrypted with another key. It has
/// no hint, but its tag, name and description stay readable. A new secret is a team secret, unless
/// `create --restricted` made it.
///
/// The owner may do everything. The other readers are tokens. People and groups will come with
/// teams.
///
/// The list of tokens, and every change, takes the passphrase even if the vault is unlocked. The
/// holder of a token may have kept what it could read before. Replace such a value at the service
/// that issued it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AccessArgs {
    /// Show or change this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: Option<SecretRef>,
    /// Make the secret restricted
    #[arg(long, requires = "secret", conflicts_with = "team")]
    restricted: bool,
    /// Make the secret a team secret
    #[arg(long, requires = "secret")]
    team: bool,
    /// Add the secret to a token that has only some secrets
    #[arg(long, value_name = "TOKEN", requires = "secret", conflicts_with_all = ["restricted", "team", "deny"])]
    allow: Option<TokenName>,
    /// Take the secret away from a token that has only some secrets; the project gets new keys
    #[arg(long, value_name = "TOKEN", requires = "secret", conflicts_with_all = ["restricted", "team"])]
    deny: Option<TokenName>,
}

pub(crate) fn run(args: &AccessArgs, cx: &Context) -> Result<(), Error> {
    if let Some(secret) = &args.secret {
        if let Some(token) = &args.allow {
            return grant(secret, token, true, cx);
        }

        if let Some(token) = &args.deny {
            return grant(secret, token, false, cx);
        }
    }

    match (&args.secret, args.restricted, args.team) {
        (Some(secret), true, _) => change(secret, Class::Restricted, cx),
        (Some(secret), _, true) => change(secret, Class::Team, cx),
        (secret, ..) => show(secret.as_ref(), cx),
    }
}

fn show(secret: Option<&SecretRef>, cx: &Context) -> Result<(), Error> {
    let project = cx.target.project()?;
    let vault = cx.vault()?;
    let secrets = match secret {
        Some(secret) => vec![vault.get(project, secret)?],
        None => vault.list(Some(project), |_| true)?,
    };

    if secrets.is_empty() {
        cx.require_named_project()?;
        cx.ui.status(&format!("no secrets in project `{project}`"));
    }

    // An id may name a secret of another project.
    let project = secrets.first().map_or(project, |secret| &secret.project);
    let tokens = if vault.has_tokens()? { tokens(project, cx)? } else { Vec::new() };
    let tokens = tokens.iter().map(|token| TokenAccess::of(token, &secrets)).collect();
    cx.ui.print(&AccessReport::new(project, &secrets, tokens))
}

/// Returns the tokens of a project. Only the root key opens their list.
fn tokens(project: &ProjectName, cx: &Context) -> Result<Vec<TokenInfo>, Error> {
    let mut tokens = cx.with_root_key()?.tokens()?;
    tokens.retain(|token| token.project == *project);
    Ok(tokens)
}

/// Adds a secret to a token, or takes it away.
fn grant(secret: &SecretRef, token: &TokenName, allows: bool, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.unlock_with_credential()?;
    let secret = vault.get(project, secret)?;
    let tag = &secret.metadata.tag;
    let known = vault.token_named(token)?;
    let Some(tags) = known.secrets.as_ref().filter(|_| known.project == secret.project) else {
        return Err(whole_project(&known, &secret, allows));
    };

    if tags.iter().any(|known| known.key() == tag.key()) == allows {
        let has = if allows { "has" } else { "does not have" };
        cx.ui.status(&format!("token `{token}` already {has} `{tag}`"));
        return Ok(());
    }

    let tags = std::slice::from_ref(tag);
    let (add, remove) = if allows { (tags, &[][..]) } else { (&[][..], tags) };
    let changes = TokenChanges { add, remove, ..TokenChanges::default() };
    let outputs = cx.intact_outputs(&vault)?;
    let progress = cx.ui.progress("secrets re-encrypted");
    let updated =
        vault.update_token(token, &changes, false, &|number| progress.on_progress(number))?;
    drop(progress);

    let (_, revoked) = cx.written(&vault, updated);
    let what = if allows { "now has" } else { "no longer has" };
    cx.ui.status(&format!("token `{token}` {what} `{tag}`"));
    if allows && !known.may_use_class(secret.metadata.class) {
        cx.ui.status(&cx.target.hint_text(hint!(
            "it cannot use its value, because the secret is restricted; `secrets token update {} \
             --restricted` lets it",
            token
        )));
    }

    if let Some(revoked) = &revoked {
        revocation::report(revoked, outputs, cx);
    }

    Ok(())
}

/// The error for a token that does not have only some secrets of the secret's project.
fn whole_project(token: &TokenInfo, secret: &Secret, allows: bool) -> Error {
    let (name, project, tag) = (&token.name, &token.project, &secret.metadata.tag);
    if token.project != secret.project {
        let message = format!("token `{name}` opens project `{project}` only");
        return Error::usage(message).hint(hint!(
            "create a token for `{}` with `secrets token create NAME --level {} --project {}`",
            secret.project,
            token.level,
            secret.project
        ));
    }

    let error = Error::usage(format!("token `{name}` has the whole project `{project}`"));
    match token.level {
        Level::Manage if !allows => error.hint(
            "whoever manages some secrets signs for all of them: move the secret to a project of \
             its own",
        ),
        _ if !allows => error.hint(hint!(
            "limit it to the other secrets that exist now with `secrets token update {} --only -{}`",
            name,
            tag
        )),
        _ if token.may_use_class(secret.metadata.class) => error,
        _ => error.hint(hint!(
            "let it use restricted secrets with `secrets token update {} --restricted`",
            name
        )),
    }
}

fn change(secret: &SecretRef, class: Class, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let current = cx.vault()?.get(project, secret)?;
    if current.metadata.class == class {
        return report(&current, "already", cx);
    }

    // The class of a secret changes only with the root key itself.
    let vault = cx.with_root_key()?;
    match vault.set_class(project, secret, Some(current.version), class)? {
        Some(written) => report(&cx.written(&vault, written), "now", cx),
        None => report(&current, "already", cx),
    }
}

/// Reports the class that a secret has `already` or `now`.
fn report(secret: &Secret, when: &str, cx: &Context) -> Result<(), Error> {
    let Secret { project, metadata, .. } = secret;
    let what = match metadata.class {
        Class::Team => "a team secret",
        Class::Restricted => "restricted",
    };

    cx.ui.status(&format!("`{}` in project `{project}` is {when} {what}", metadata.tag));
    let secrets = std::slice::from_ref(secret);
    cx.ui.document(|| Ok(AccessReport::new(project, secrets, Vec::new())))
}
