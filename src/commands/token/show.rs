//! The rights of tokens: `token list`, `token show` and `token check`.

use secrets_core::model::TokenName;
use secrets_core::vault::VaultError;

use crate::context::Context;
use crate::error::Error;
use crate::output::{GivenToken, TokenDetails, TokenList};

pub(super) fn list(all_projects: bool, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = if all_projects { None } else { Some(cx.trusted_project()?) };
    let mut tokens = cx.unlock_with_credential()?.tokens()?;
    if let Some(project) = project {
        tokens.retain(|token| token.project == *project);
    }

    cx.ui.print(&TokenList::new(&tokens, all_projects))
}

pub(super) fn show(name: &TokenName, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let tokens = cx.unlock_with_credential()?.tokens()?;
    let found = tokens.into_iter().find(|token| token.name == *name && !token.is_replaced);
    let token = found.ok_or_else(|| VaultError::NoToken(name.clone()))?;
    cx.ui.print(&TokenDetails::new(&token))
}

pub(super) fn check(cx: &Context) -> Result<(), Error> {
    let view = cx.given_token()?;
    cx.ui.print(&GivenToken::new(&view))
}
