//! The rights of tokens: `token list`, `token show` and `token check`.

use secrets_core::model::TokenName;

use crate::context::Context;
use crate::error::Error;
use crate::output::{GivenToken, TokenDetails, TokenList};

pub(super) fn list(all_projects: bool, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = if all_projects { None } else { Some(cx.trusted_project()?) };
    let mut tokens = cx.unlock_with_credential()?.tokens()?;
    if let Some(project) = project {
        tokens.retain(|token| token.project == *project);
        if tokens.is_empty() {
            cx.require_named_project()?;
            cx.ui.status(&format!("no tokens in project `{project}`"));
        }
    } else if tokens.is_empty() {
        cx.ui.status("no tokens in the vault");
    }

    cx.ui.print(&TokenList::new(&tokens, all_projects))
}

pub(super) fn show(name: &TokenName, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let token = cx.unlock_with_credential()?.token_named(name)?;
    cx.ui.print(&TokenDetails::new(&token))
}

pub(super) fn check(cx: &Context) -> Result<(), Error> {
    let view = cx.given_token()?;
    cx.ui.print(&GivenToken::new(view))
}
