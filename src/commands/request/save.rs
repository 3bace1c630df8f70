//! `--save`: stores strings of a JSON answer as secrets, without showing them.

use secrets_core::model::{Level, ProjectName, SecretBytes, SecretRef, SecretValue, Tag};
use secrets_core::vault::{NewSecret, SecretChanges, TokenView, Vault};

use super::super::shared::label::described;
use crate::context::Context;
use crate::error::{Error, Kind};

/// A string to store: the tag, and where the string is in the answer.
pub(super) struct Saved {
    tag: Tag,
    pointer: String,
}

/// A value that was found.
pub(super) struct Value {
    tag: Tag,
    value: SecretValue,
}

impl Value {
    /// Returns the value with its tag.
    pub(super) fn named(&self) -> (&Tag, &SecretValue) {
        (&self.tag, &self.value)
    }
}

/// Parses `TAG=/POINTER`.
pub(super) fn parse(options: &[String]) -> Result<Vec<Saved>, Error> {
    let mut saves: Vec<Saved> = Vec::new();
    for option in options {
        let (tag, pointer) =
            option.split_once('=').filter(|(_, pointer)| pointer.starts_with('/')).ok_or_else(
                || Error::usage("`--save` needs `TAG=/POINTER`, for example `token=/access_token`"),
            )?;
        let tag = Tag::parse(tag)
            .map_err(|why| Error::usage(format!("invalid tag in `--save`: {why}")))?;
        if saves.iter().any(|other| other.tag.key() == tag.key()) {
            return Err(Error::usage(format!("`--save` names `{tag}` twice")));
        }

        saves.push(Saved { tag, pointer: pointer.to_owned() });
    }

    Ok(saves)
}

/// Fails before anything is sent if a secret exists that may not be replaced.
pub(super) fn check(
    saves: &[Saved],
    replaces: bool,
    vault: &Vault,
    project: &ProjectName,
) -> Result<(), Error> {
    if !saves.is_empty()
        && let Some(token) = vault.token()?.filter(|token| token.level < Level::Manage)
    {
        let TokenView { name, level, .. } = token;
        let message = format!(
            "`request --save` needs a token with level `manage`; `{name}` has level `{level}`"
        );
        return Err(Error::new(Kind::Refused, message)
            .hint("nothing was sent; use a token with level `manage`, or the passphrase"));
    }

    for Saved { tag, .. } in saves.iter().filter(|_| !replaces) {
        if vault.find(project, tag)?.is_some() {
            return Err(exists(tag, project).hint(
                "nothing was sent; replace its value with `--replace`, or choose another tag",
            ));
        }
    }

    Ok(())
}

fn exists(tag: &Tag, project: &ProjectName) -> Error {
    Error::new(Kind::Conflict, format!("`{tag}` already exists in project `{project}`"))
}

/// The error for an answer without a string to store.
fn unsaved(message: String) -> Error {
    Error::new(Kind::Failure, message).hint(
        "the request was sent; leave out `--save` to see the response, or use `--fail` to see its status",
    )
}

/// Takes the strings from an answer.
pub(super) fn take(saves: &[Saved], answer: &[u8]) -> Result<Vec<Value>, Error> {
    if saves.is_empty() {
        return Ok(Vec::new());
    }

    let document: serde_json::Value = serde_json::from_slice(answer)
        .map_err(|_| unsaved("the response is not JSON, so nothing was stored".into()))?;
    let mut values = Vec::with_capacity(saves.len());
    for Saved { tag, pointer } in saves {
        let text = match document.pointer(pointer) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            Some(_) => {
                let message =
                    format!("`{pointer}` of the response is not a string, so nothing was stored");
                return Err(unsaved(message));
            }
            None => {
                let message = format!("the response has no `{pointer}`, so nothing was stored");
                return Err(unsaved(message));
            }
        };
        let value =
            SecretValue::new(SecretBytes::from_vec(text.into_bytes()), false).map_err(|why| {
                Error::new(Kind::Failure, format!("`{pointer}` cannot be stored: {why}"))
            })?;
        values.push(Value { tag: tag.clone(), value });
    }

    Ok(values)
}

/// Stores values.
pub(super) fn store(
    values: Vec<Value>,
    replaces: bool,
    vault: &Vault,
    project: &ProjectName,
    cx: &Context,
) -> Result<(), Error> {
    for Value { tag, value } in values {
        let secret = match vault.find(project, &tag)? {
            Some(existing) if replaces => {
                let changes = SecretChanges { value: Some(value), ..SecretChanges::default() };
                let wanted = SecretRef::Id(existing.id);
                cx.written(vault, vault.update(project, &wanted, Some(existing.version), changes)?)
            }
            // It was created while the request was under way.
            Some(_) => return Err(exists(&tag, project).hint("the response was not stored")),
            None => cx.written(vault, vault.create(project, NewSecret::new(tag, value))?),
        };
        cx.ui.status(&format!("stored {}", described(&secret)));
    }

    Ok(())
}
