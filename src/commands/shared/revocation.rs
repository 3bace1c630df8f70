//! Reports what was taken from a token.

use std::collections::BTreeSet;

use secrets_core::vault::Revoked;
use secrets_project::setup::output_records::IntactOutputs;

use crate::context::Context;
use crate::error::hint;
use crate::ui::counted;
use crate::ui::escape::visible;

/// The number of exposed secrets that are named.
const SHOWN: usize = 20;

/// Says what the holder of a token may still have, and what to change.
pub(crate) fn report(revoked: &Revoked, outputs: Option<IntactOutputs>, cx: &Context) {
    if let Some(outputs) = outputs {
        outputs.renew(&revoked.output_keys);
    }

    if revoked.is_damaged {
        cx.ui.warn(&cx.target.hint_text(
            "the project is damaged, so it did not get new keys; run `secrets verify` for details, \
             or restore a backup with `secrets restore PATH`",
        ));
    } else if let Some(secrets) = revoked.renewed {
        let others = "; the other tokens of the project work as before";
        cx.ui.status(&format!(
            "re-encrypted {} under new keys{}",
            counted(secrets, "secret"),
            if revoked.is_last { "" } else { others }
        ));
    } else {
        let projects: BTreeSet<&str> =
            revoked.tokens.iter().map(|token| token.project.as_str()).collect();
        for project in projects {
            cx.ui.status(&cx.target.hint_text(hint!(
                "project `{}` kept its keys: whoever kept a token and a copy of the vault can still \
                 read it; `secrets rekey --project {}` ends that for everything stored from then on",
                project,
                project
            )));
        }
    }

    if !revoked.dropped.is_empty() {
        let count = counted(revoked.dropped.len() as u64, "token");
        cx.ui.warn(&format!(
            "also removed {count} whose project was deleted or whose entry is damaged"
        ));
    }

    if revoked.exposed.is_empty() {
        return;
    }

    cx.ui.status(
        "its holder may have kept these values; replace them at the services that issued them:",
    );
    let has_one_project = revoked.exposed.windows(2).all(|pair| pair[0].project == pair[1].project);
    for secret in revoked.exposed.iter().take(SHOWN) {
        let metadata = &secret.metadata;
        let place = if has_one_project { String::new() } else { format!("{}/", secret.project) };
        let source = metadata.source.as_ref().map(|source| visible(source.as_str()));
        let source = source.map_or_else(String::new, |source| format!("  {source}"));
        cx.ui.status(&format!("  {place}{}{source}", metadata.tag));
    }

    if revoked.exposed.len() > SHOWN {
        cx.ui.status(&format!("  and {} more", revoked.exposed.len() - SHOWN));
    }
}
