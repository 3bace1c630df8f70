//! Reports what was taken from a token.

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
        cx.ui.status(&format!(
            "re-encrypted {} under new keys; the other tokens of the project work as before",
            counted(secrets, "secret")
        ));
    } else {
        let project = revoked.tokens.first().map(|token| token.project.to_string());
        let project = project.unwrap_or_default();
        cx.ui.status(&cx.target.hint_text(hint!(
            "the project kept its keys: whoever kept the token and a copy of the vault can still \
             read it; `secrets rekey --project {}` ends that for everything stored from then on",
            project
        )));
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
    for secret in revoked.exposed.iter().take(SHOWN) {
        let metadata = &secret.metadata;
        let source = metadata.source.as_ref().map(|source| visible(source.as_str()));
        let source = source.map_or_else(String::new, |source| format!("  {source}"));
        cx.ui.status(&format!("  {}{source}", metadata.tag));
    }

    if revoked.exposed.len() > SHOWN {
        cx.ui.status(&format!("  and {} more", revoked.exposed.len() - SHOWN));
    }
}
