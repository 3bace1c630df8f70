//! `secrets git-credential`: gives git a password, as a credential helper.

use std::fmt::Display;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{BasicPart, Description, Destination, Place, SecretBytes, Tag};
use secrets_core::vault::{Sendable, Vault};
use secrets_project::git::{CredentialRequest, MAX_CREDENTIAL_REQUEST};

use crate::completion;
use crate::config::Environment;
use crate::context::{Context, Used};
use crate::error::{Error, Kind};
use crate::ui::{input, prompt, raw};

const EXAMPLES: &str = "\
Examples:
  secrets allow github-token --to https://github.com
  git config --global credential.https://github.com.helper \\
    '!secrets -p default git-credential --username me'";

/// Give git a password, as a credential helper
///
/// First allow a secret for the server: `secrets allow TAG --to https://HOST`. When git needs a password
/// for that server, it starts this command, which answers with the secret. For any other server it
/// answers with nothing, so that git asks. The user name is that of the
/// address, else --username, else the line `user: NAME` of the secret's description.
///
/// A secret that may only be sent to some paths of the server is used only if git says the path: `git
/// config credential.useHttpPath true`. What git wants to store or erase is ignored.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GitCredentialArgs {
    /// Do what git asks for: `get`, `store` or `erase`
    #[arg(value_name = "OPERATION")]
    operation: String,
    /// Use only this secret
    #[arg(long, value_name = "TAG", add = ArgValueCompleter::new(completion::tags))]
    secret: Option<Tag>,
    /// Set the user name if the address has none
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
}

pub(crate) fn run(args: &GitCredentialArgs, cx: &Context) -> Result<(), Error> {
    let text = input::stdin(MAX_CREDENTIAL_REQUEST)?;
    if args.operation != "get" {
        // git may learn to ask for more, and a helper ignores what it does not know.
        return Ok(());
    }

    if cx.ui.stdout_is_terminal() {
        return Err(Error::new(
            Kind::Refused,
            "git starts this command, and a terminal would show the password",
        )
        .hint("print a value with `secrets render --reveal -e '{{ secrets.TAG }}'`"));
    }

    let request = CredentialRequest::parse(text.expose()).map_err(refused)?;
    if !may_ask() {
        prompt::forbid();
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = if may_ask() { Some(cx.vault()?) } else { cx.vault_without_asking()? };
    let Some(vault) = vault else {
        cx.ui.warn(
            "the vault is locked, and GIT_TERMINAL_PROMPT forbids asking; run `secrets unlock`",
        );
        return Ok(());
    };

    let mut found = candidates(args, &request, vault, cx)?;
    let Some(chosen) = found.pop() else { return Ok(()) };
    if !found.is_empty() {
        let tags: Vec<String> = found
            .iter()
            .chain([&chosen])
            .map(|one| format!("`{}`", one.secret.metadata.tag))
            .collect();
        let message =
            format!("{} can be sent to {}, and git takes one", tags.join(" and "), request.origin);
        return Err(refused(message).hint("choose one with `--secret TAG`"));
    }

    let metadata = &chosen.secret.metadata;
    let value = chosen.value.expose();
    if value.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(refused(format!(
            "the value of `{}` has a line break or a NUL byte",
            metadata.tag
        )));
    }

    cx.record_use(&Used::of(vault, project, std::iter::once(&metadata.tag)))?;
    let mut answer = SecretBytes::with_capacity(value.len() + 128);
    if let Some(user) = user_of(args, &request, &chosen) {
        answer.extend(format!("username={user}\n").as_bytes());
    }

    answer.extend(b"password=");
    answer.extend(value);
    answer.extend(b"\n");
    Ok(raw::print(answer.expose())?)
}

/// Returns false if the variable that keeps git from asking is false in one of git's words.
fn may_ask() -> bool {
    let Some(text) = Environment::text_of("GIT_TERMINAL_PROMPT") else { return true };
    !["0", "false", "no", "off"].contains(&text.to_ascii_lowercase().as_str())
}

/// Returns the secrets that may answer.
fn candidates(
    args: &GitCredentialArgs,
    request: &CredentialRequest,
    vault: &Vault,
    cx: &Context,
) -> Result<Vec<Sendable>, Error> {
    let paths = request.paths().map_err(refused)?;
    let place = Place::Basic(BasicPart::Password);
    let is_for_git = |destination: &&Destination| {
        destination.origin.contains(&request.origin) && place.is_within(&destination.place)
    };
    let permits = |destination: &Destination| match &paths {
        Some(paths) => {
            paths.iter().all(|(method, path)| destination.permits(method, &request.origin, path))
        }
        None => {
            let methods = ["GET", "POST"];
            destination.path.is_any()
                && methods.iter().all(|method| destination.methods.contains(method))
        }
    };

    let mut found = vault.scope(cx.target.project()?).sendable()?;
    found.retain(|one| {
        let metadata = &one.secret.metadata;
        args.secret.as_ref().is_none_or(|tag| tag.key() == metadata.tag.key())
            && metadata.destinations.iter().any(|destination| is_for_git(&destination))
    });

    let is_for_a_path = |one: &Sendable| {
        !one.secret.metadata.destinations.iter().filter(is_for_git).any(|it| it.path.is_any())
    };
    let needs_path = paths.is_none() && found.iter().any(is_for_a_path);
    found.retain(|one| {
        one.secret.metadata.destinations.iter().filter(is_for_git).any(permits)
            && match (&request.user, described_user(one)) {
                (Some(wanted), Some(known)) => *wanted == known,
                _ => true,
            }
    });

    if found.is_empty() && needs_path {
        cx.ui.warn(&format!(
            "git does not say which repository of {} it is; `git config credential.useHttpPath true` \
             changes that",
            request.origin
        ));
    }

    Ok(found)
}

/// Returns the user name for git.
fn user_of(
    args: &GitCredentialArgs,
    request: &CredentialRequest,
    chosen: &Sendable,
) -> Option<String> {
    let is_line = |text: &String| !text.is_empty() && !text.contains(char::is_control);
    let known = request.user.clone().or_else(|| args.username.clone());
    known.or_else(|| described_user(chosen)).filter(is_line)
}

/// Returns the user in the description, which imports write there.
fn described_user(one: &Sendable) -> Option<String> {
    let text = one.secret.metadata.description.as_ref().map(Description::as_str)?;
    text.lines().find_map(|line| line.strip_prefix("user: ")).map(|user| user.trim().to_owned())
}

fn refused(why: impl Display) -> Error {
    Error::new(Kind::Refused, why.to_string()).hint("nothing was given to git")
}
