//! Changes that may take something from a token: `token update` and `token revoke`.

use std::ffi::OsString;

use secrets_core::model::TokenName;
use secrets_core::vault::{TokenChanges, VaultError};

use super::super::shared::confirm::{require_confirmation, require_terminal};
use super::super::shared::expiry::time_of;
use super::super::shared::revocation::report;
use super::UpdateArgs;
use super::create::{described, tags};
use crate::context::Context;
use crate::error::Error;
use crate::output::{ChangedToken, RevokedTokens, end};
use crate::ui::listed;

pub(super) fn update(args: &UpdateArgs, cx: &Context) -> Result<(), Error> {
    let (add, remove) = signed_tags(&args.only)?;
    let changes = TokenChanges {
        level: args.level,
        add: &add,
        remove: &remove,
        is_restricted_allowed: args.restricted,
        is_strict: args.strict,
        expires: args.expires.map(time_of).transpose()?,
    };

    let is_empty = changes.level.is_none()
        && add.is_empty()
        && remove.is_empty()
        && changes.is_restricted_allowed.is_none()
        && changes.is_strict.is_none()
        && changes.expires.is_none();
    if is_empty {
        return Err(Error::usage("there is nothing to change")
            .hint("see `secrets token update --help` for what can be changed"));
    }

    cx.require_vault()?;
    let vault = cx.unlock_with_credential()?;
    let outputs = cx.intact_outputs(&vault)?;
    let progress = cx.ui.progress("secrets re-encrypted");
    let updated = vault.update_token(&args.name, &changes, args.keep_keys, &|number| {
        progress.on_progress(number);
    })?;
    drop(progress);

    let (info, revoked) = cx.written(&vault, updated);
    cx.ui.status(&format!(
        "changed token `{}` ({}), {}",
        info.name,
        described(&info),
        end(info.expires)
    ));
    if let Some(revoked) = &revoked {
        report(revoked, outputs, cx);
    }

    cx.ui.document(|| Ok(ChangedToken::new(&info, revoked.as_ref())))
}

/// Revokes tokens, or all of them without `names`.
pub(super) fn revoke(
    names: Option<&Vec<TokenName>>,
    yes: bool,
    keep_keys: bool,
    cx: &Context,
) -> Result<(), Error> {
    cx.require_vault()?;
    let vault = cx.unlock_with_credential()?;
    if let Some(names) = names {
        let known = vault.tokens()?;
        let missing = names.iter().find(|name| known.iter().all(|token| token.name != **name));
        missing.map_or(Ok(()), |name| Err(VaultError::NoToken(name.clone())))?;
    }

    if !yes {
        require_terminal("revoking a token")?;
        let what = match names {
            Some(names) => format!("token {}", listed(names)),
            None => "every token of the vault".into(),
        };
        require_confirmation(&format!("Revoke {what} for good?"))?;
    }

    let outputs = cx.intact_outputs(&vault)?;
    let progress = cx.ui.progress("secrets re-encrypted");
    let on_progress = |number| progress.on_progress(number);
    let revoked = match names {
        Some(names) => vault.revoke_tokens(names, keep_keys, &on_progress)?,
        None => vault.revoke_all_tokens(keep_keys, &on_progress)?,
    };
    drop(progress);
    let revoked = cx.written(&vault, revoked);
    if revoked.tokens.is_empty() && revoked.dropped.is_empty() {
        cx.ui.status("there are no tokens");
        return cx.ui.document(|| Ok(RevokedTokens::new(&revoked)));
    }

    for token in &revoked.tokens {
        let old = if token.is_replaced { "the old string of " } else { "" };
        cx.ui.status(&format!("revoked {old}token `{}` ({})", token.name, described(token)));
    }

    report(&revoked, outputs, cx);
    cx.ui.document(|| Ok(RevokedTokens::new(&revoked)))
}

/// Splits `+TAG` and `-TAG`.
fn signed_tags(
    words: &[OsString],
) -> Result<(Vec<secrets_core::model::Tag>, Vec<secrets_core::model::Tag>), Error> {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for word in words {
        let text = word.to_string_lossy();
        let (list, tag) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(tag), _) => (&mut add, tag),
            (None, Some(tag)) => (&mut remove, tag),
            (None, None) => {
                return Err(Error::usage("each tag of `--only` begins with `+` or `-`")
                    .hint("add secrets with `--only +TAG` and take them away with `--only -TAG`"));
            }
        };

        list.push(OsString::from(tag));
    }

    Ok((tags(&add)?, tags(&remove)?))
}
