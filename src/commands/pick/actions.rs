//! The changes that keys of the list make. Each asks its questions on the ordinary screen.

use secrets_core::model::Level;
use secrets_core::model::{ProjectName, Secret, SecretRef, SecretValue, Tag};
use secrets_core::vault::{CopyRequest, NewSecret, OnConflict, SecretChanges, Vault, VaultError};
use secrets_picker::Wish;

use super::super::shared::clipboard::{self, CLEAR_AFTER};
use super::super::shared::expiry;
use super::super::shared::label::described;
use super::super::shared::references::refuse_referenced;
use super::super::shared::renaming::Places;
use super::super::shared::updated;
use super::rows::Listed;
use crate::context::{Context, Right};
use crate::error::Error;
use crate::ui::counted;
use crate::ui::prompt;

/// Carries out a wish. Returns what was done, or `None` if the user has thought better of it.
pub(super) fn act(
    cx: &Context,
    vault: &Vault,
    listed: &Listed,
    wish: Wish,
) -> Result<Option<String>, Error> {
    let level = if matches!(wish, Wish::Copy(_)) { Level::Use } else { Level::Manage };
    cx.use_token(Right::Level(level), "pick")?;

    // A manifest that chose the project must be trusted.
    let project = cx.trusted_project()?;
    let one = |at: usize| listed.get(at).ok_or_else(|| Error::usage("the list has changed"));
    match wish {
        Wish::Create => create(cx, vault, project),
        Wish::Replace(at) => replace(cx, vault, one(at)?),
        Wish::Rename(at) => rename(cx, vault, one(at)?),
        Wish::Clone(at) => clone(cx, vault, one(at)?),
        Wish::Copy(at) => copy(cx, vault, one(at)?),
        Wish::Delete(at) => delete(cx, vault, &listed.pick(&at)),
        Wish::Choose(_) | Wish::Quit => Ok(None),
    }
}

/// Asks for a tag; nothing means that the user does not want to go on.
fn ask_tag(question: &str) -> Result<Option<Tag>, Error> {
    let answer = prompt::text(question)?;
    if answer.is_empty() {
        return Ok(None);
    }

    Tag::parse(&answer).map(Some).map_err(|why| Error::usage(format!("invalid tag: {why}")))
}

fn ask_value(question: &str) -> Result<SecretValue, Error> {
    SecretValue::new(prompt::value(question)?, false)
        .map_err(|why| Error::usage(format!("{why}; nothing was stored")))
}

fn create(cx: &Context, vault: &Vault, project: &ProjectName) -> Result<Option<String>, Error> {
    let question = format!("Tag of the new secret in project `{project}` (Enter: none)");
    let Some(tag) = ask_tag(&question)? else { return Ok(None) };
    if let Some(existing) = vault.find(project, &tag)? {
        return Err(VaultError::Exists(vec![existing]).into());
    }

    let value = ask_value(&format!("Value of {tag}"))?;
    let expires = expiry::declared(cx, project, &tag)?;
    let new = NewSecret { expires, ..NewSecret::new(tag, value) };
    let secret = cx.written(vault, vault.create(project, new)?);
    Ok(Some(said(cx, format!("created {}", described(&secret)))))
}

fn replace(cx: &Context, vault: &Vault, secret: &Secret) -> Result<Option<String>, Error> {
    let tag = &secret.metadata.tag;
    let value = ask_value(&format!("New value of {tag}"))?;
    let declared = expiry::declared(cx, &secret.project, tag)?;
    let changes =
        SecretChanges { value: Some(value), expires: Some(declared), ..SecretChanges::default() };
    let id = SecretRef::Id(secret.id);
    let new = cx.written(vault, vault.update(&secret.project, &id, Some(secret.version), changes)?);
    updated::report(cx, secret, &new, true, true);
    Ok(Some(format!("replaced the value of `{tag}`")))
}

fn rename(cx: &Context, vault: &Vault, secret: &Secret) -> Result<Option<String>, Error> {
    let from = &secret.metadata.tag;
    let Some(to) = ask_tag(&format!("New tag of `{from}` (Enter: keep it)"))? else {
        return Ok(None);
    };

    let places = Places::search(cx, &secret.project, false)?;
    let number = places.tree.references.iter().filter(|it| it.tag.key() == from.key()).count();
    let rewrites = number > 0 && {
        let refer = if number == 1 { "place refers" } else { "places refer" };
        prompt::confirm(&format!("{number} {refer} to `{from}`. Rewrite them, too?"), true)?
    };

    let rename = |secrets: &[Secret]| vault.rename(secrets, &to).map_err(Error::from);
    let renamed = if rewrites {
        let (renaming, secrets) = (places.plan(from, &to)?, places.secrets(vault, secret)?);
        places.write(cx, &renaming, || rename(&secrets))?
    } else {
        rename(std::slice::from_ref(secret))?
    };

    cx.written(vault, renamed);
    let rewritten =
        if rewrites { format!(", and {}", counted(number, "reference")) } else { String::new() };
    Ok(Some(said(cx, format!("renamed `{from}` to `{to}`{rewritten}"))))
}

fn clone(cx: &Context, vault: &Vault, secret: &Secret) -> Result<Option<String>, Error> {
    let tag = &secret.metadata.tag;
    let question = format!("Project for the copy of `{tag}` (Enter: `{}`)", secret.project);
    let answer = prompt::text(&question)?;
    let to = if answer.is_empty() {
        secret.project.clone()
    } else {
        ProjectName::parse(&answer)
            .map_err(|why| Error::usage(format!("invalid name of a project: {why}")))?
    };

    let other = if to == secret.project {
        let Some(other) = ask_tag("Tag of the copy (Enter: no copy)")? else { return Ok(None) };
        Some(other)
    } else {
        None
    };

    let request = CopyRequest {
        secrets: Some(&[SecretRef::Id(secret.id)]),
        from: &secret.project,
        to: &to,
        tag: other.as_ref(),
        on_conflict: OnConflict::Fail,
    };
    cx.written(vault, vault.copy(&request)?);
    let copied = other.as_ref().unwrap_or(tag);
    Ok(Some(said(cx, format!("copied `{tag}` to `{copied}` in project `{to}`"))))
}

fn copy(cx: &Context, vault: &Vault, secret: &Secret) -> Result<Option<String>, Error> {
    clipboard::copy(cx, vault, secret, CLEAR_AFTER)?;
    let (tag, seconds) = (&secret.metadata.tag, CLEAR_AFTER.as_secs());
    Ok(Some(said(cx, format!("copied `{tag}`; the clipboard is cleared in {seconds}s"))))
}

fn delete(cx: &Context, vault: &Vault, secrets: &[&Secret]) -> Result<Option<String>, Error> {
    let found: Vec<Secret> = secrets.iter().copied().cloned().collect();
    refuse_referenced(cx, &found)?;
    let what = match &found[..] {
        [only] => format!("`{}` of project `{}`", only.metadata.tag, only.project),
        all => counted(all.len(), "secret"),
    };
    if !prompt::confirm(&format!("Delete {what} for good?"), false)? {
        return Ok(None);
    }

    let doomed: Vec<SecretRef> = found.iter().map(|secret| SecretRef::Id(secret.id)).collect();
    cx.written(vault, vault.delete(cx.target.project()?, &doomed)?);
    Ok(Some(said(cx, format!("deleted {what}"))))
}

/// Prints the message, too. It can then be read on the ordinary screen.
fn said(cx: &Context, done: String) -> String {
    cx.ui.status(&done);
    done
}
