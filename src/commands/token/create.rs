//! New token strings: `token create`, `token rotate` and `token bundle`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use secrets_core::crypto::token::Token;
use secrets_core::model::{Level, SecretRef, Tag, Timestamp, TokenName, looks_like_api_key};
use secrets_core::vault::{BundleScope, NewToken, TokenInfo, Vault, VaultError};
use secrets_files::{Output, StagedOutput};
use secrets_project::template::output;

use super::super::shared::expiry::time_of;
use super::super::shared::outputs::protected;
use super::super::shared::revocation::report;
use super::{CreateArgs, RotateArgs};
use crate::context::Context;
use crate::error::{Error, Kind, hint};
use crate::output::{Bundle, ChangedToken, end};
use crate::ui::{counted, listed};

pub(super) fn create(args: &CreateArgs, cx: &Context) -> Result<(), Error> {
    let only = tags(&args.only)?;
    if args.level == Level::Manage && !only.is_empty() {
        return Err(VaultError::ManageOfSome.into());
    }

    if args.level == Level::Manage && args.bundle.is_some() {
        return Err(VaultError::BundleOfManager.into());
    }

    let expires = time_of(args.expires)?;
    let file = args.output.as_deref().map(|path| new_file(path, cx)).transpose()?;
    let staged = file.as_ref().map(Output::stage).transpose()?;
    if let Some(path) = &args.bundle {
        if args.output.as_ref() == Some(path) {
            return Err(Error::usage("`--output` and `--bundle` name the same file"));
        }

        new_file(path, cx)?.stage()?;
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.unlock_with_credential()?;
    let new = NewToken {
        name: args.name.clone(),
        level: args.level,
        project,
        only: (!only.is_empty()).then_some(&only[..]),
        is_restricted_allowed: args.restricted,
        is_strict: args.strict,
        expires,
    };
    let (token, info) = cx.written(&vault, vault.create_token(&new)?);

    cx.ui.status(&format!(
        "created token `{}` ({}), {}",
        info.name,
        described(&info),
        end(info.expires)
    ));
    report_restricted(&vault, &info, cx)?;
    let document = ChangedToken::new(&info, None);
    hand_out((&token, &info), document, staged, args.output.as_deref(), cx)?;
    match &args.bundle {
        Some(path) => write(&vault, &vault.bundle_scope_of(&args.name)?, path, cx).map(drop),
        None => Ok(()),
    }
}

pub(super) fn rotate(args: &RotateArgs, cx: &Context) -> Result<(), Error> {
    let expires = time_of(args.expires)?;
    let until = args.grace.map(|grace| grace.after(Timestamp::now()));
    let file = args.output.as_deref().map(|path| new_file(path, cx)).transpose()?;
    let staged = file.as_ref().map(Output::stage).transpose()?;
    cx.require_vault()?;
    let vault = cx.unlock_with_credential()?;
    let outputs = cx.intact_outputs(&vault)?;
    let progress = cx.ui.progress("secrets re-encrypted");
    let rotated = vault.rotate_token(&args.name, expires, until, args.keep_keys, &|number| {
        progress.on_progress(number);
    })?;
    drop(progress);

    let (token, info, revoked) = cx.written(&vault, rotated);
    cx.ui.status(&format!("replaced token `{}`, {}", info.name, end(info.expires)));
    match (&revoked, until) {
        (Some(revoked), _) => report(revoked, outputs, cx),
        (None, until) => cx.ui.status(&format!("its old string {}", end(until))),
    }

    let document = ChangedToken::new(&info, revoked.as_ref());
    hand_out((&token, &info), document, staged, args.output.as_deref(), cx)
}

pub(super) fn bundle(name: &TokenName, path: &Path, cx: &Context) -> Result<(), Error> {
    if cx.credentials.use_a_token() {
        let view = cx.given_token()?;
        if view.name != *name {
            let message = format!("the given token is `{}`, not `{name}`", view.name);
            return Err(Error::new(Kind::Refused, message)
                .hint(format!("use the token `{name}` or the passphrase")));
        }

        if view.level == Level::Manage {
            return Err(VaultError::BundleOfManager.into());
        }

        let vault = cx.vault()?;
        let scope = vault.own_bundle_scope()?;
        let scope = scope.ok_or_else(|| Error::internal("the vault was not opened with a token"));
        let secrets = write(vault, &scope?, path, cx)?;
        return cx.ui.document(|| Ok(Bundle::new(path, secrets)));
    }

    // An earlier bundle does not prove what the token may open.
    let vault = cx.unlock_with_credential()?;
    let secrets = write(&vault, &vault.bundle_scope_of(name)?, path, cx)?;
    cx.ui.document(|| Ok(Bundle::new(path, secrets)))
}

fn write(vault: &Vault, scope: &BundleScope, path: &Path, cx: &Context) -> Result<u64, Error> {
    let secrets = vault.write_bundle(scope, path, true)?;
    let path = path.display();
    cx.ui.status(&format!("wrote a bundle with {} to `{path}`", counted(secrets, "secret")));
    Ok(secrets)
}

/// Names the secrets of a new token whose values it cannot use.
fn report_restricted(vault: &Vault, info: &TokenInfo, cx: &Context) -> Result<(), Error> {
    let Some(tags) = info.secrets.as_ref().filter(|_| info.level >= Level::Use) else {
        return Ok(());
    };
    let wanted: Vec<SecretRef> = tags.iter().cloned().map(SecretRef::Tag).collect();
    let secrets = vault.get_all(&info.project, &wanted)?;
    let metadata = secrets.iter().map(|secret| &secret.metadata);
    let unusable: Vec<&Tag> = metadata.filter(|it| !info.may_use(it)).map(|it| &it.tag).collect();
    if !unusable.is_empty() {
        let unusable = listed(unusable);
        cx.ui.status(&cx.target.hint_text(hint!(
            "it cannot use the value of {}, which needs `secrets token update {} --restricted`",
            unusable,
            info.name
        )));
    }

    Ok(())
}

/// Checks the file for a token before anything is created.
fn new_file(path: &Path, cx: &Context) -> Result<Output, Error> {
    let file = output::open(path, None, &protected(cx))?;
    if file.exists() {
        return Err(Error::new(Kind::Conflict, format!("`{}` already exists", path.display()))
            .hint("choose another file; no token was created"));
    }

    file.check_directory()?;
    Ok(file)
}

/// Prints a token or writes it to its file. Nobody has it if that fails.
fn hand_out(
    (token, info): (&Token, &TokenInfo),
    document: ChangedToken,
    staged: Option<StagedOutput<'_>>,
    path: Option<&Path>,
    cx: &Context,
) -> Result<(), Error> {
    let text = token.text();
    let lost = |why: String| {
        Error::new(Kind::Failure, format!("the token could not be handed out: {why}"))
            .hint(hint!("get another string with `secrets token rotate {}`", info.name))
    };

    let Some(mut staged) = staged else {
        return cx.ui.print_token(&text, &document).map_err(|why| lost(why.to_string()));
    };

    let written = staged.write_all(text.expose()).and_then(|()| staged.write_all(b"\n"));
    written.map_err(|why| lost(why.to_string()))?;
    if !staged.finish()?.publish_new()? {
        return Err(lost("the file appeared in the meantime".into()));
    }

    let path = path.map(PathBuf::from).unwrap_or_default();
    cx.ui.status(&format!("wrote the token to `{}`", path.display()));
    cx.ui.document(|| Ok(document))
}

/// Describes what a token opens, as in `use, 3 secrets of project web`.
pub(super) fn described(info: &TokenInfo) -> String {
    let place = match &info.secrets {
        Some(secrets) => format!("{} of project", counted(secrets.len() as u64, "secret")),
        None => "project".into(),
    };

    let restricted = if info.is_restricted_allowed { ", with restricted secrets" } else { "" };
    let strict = if info.is_strict { ", strict" } else { "" };
    format!("{}, {place} `{}`{restricted}{strict}", info.level, info.project)
}

/// Parses tags without showing an argument that looks like a key.
pub(super) fn tags(words: &[OsString]) -> Result<Vec<Tag>, Error> {
    let tag = |word: &OsString| {
        let word = word.to_string_lossy();
        if looks_like_api_key(&word) {
            return Err(Error::usage(
                "an argument looks like a key, not like a tag (not shown, in case it is a secret)",
            ));
        }

        Tag::parse(&word).map_err(|why| Error::usage(format!("invalid tag: {why}")))
    };

    words.iter().map(tag).collect()
}
