//! Secrets whose value has expired or expires soon, as `check` and `setup` report them.

use secrets_core::model::{Metadata, Period, Secret, Source, Timestamp};
use secrets_project::setup::Manifest;

use crate::context::Context;
use crate::error::hint;
use crate::ui::escape::visible;
use crate::ui::{counted, time};

/// A value is due from this long before it expires.
pub(crate) const DUE: Period = Period::of_days(14);

/// The number of secrets that are named one by one.
const NAMED: usize = 10;

/// A secret whose value has expired or expires soon.
pub(crate) struct DueSecret<'a> {
    pub(crate) metadata: &'a Metadata,
    pub(crate) expires: Timestamp,
    pub(crate) is_expired: bool,
    /// The place where a new value can be had: the secret's own, or else the manifest's
    pub(crate) source: Option<&'a Source>,
}

/// Returns the secrets that are due, in the order of `secrets`. The manifest has to be trusted.
pub(crate) fn due<'a>(
    manifest: &'a Manifest,
    secrets: impl IntoIterator<Item = &'a Secret>,
) -> Vec<DueSecret<'a>> {
    let now = Timestamp::now();
    let found = |secret: &'a Secret| {
        let metadata = &secret.metadata;
        let declaration = manifest.declaration(&metadata.tag.key());
        let declared = declaration.and_then(|declaration| declaration.source.as_ref());
        let expires = metadata.expires.filter(|expires| *expires <= DUE.after(now))?;
        let source = metadata.source.as_ref().or(declared);
        Some(DueSecret { metadata, expires, is_expired: expires <= now, source })
    };

    secrets.into_iter().filter_map(found).collect()
}

/// Warns of each secret that is due, and of the number of others if they are many.
pub(crate) fn warn(cx: &Context, due: &[DueSecret<'_>]) {
    for secret in due.iter().take(NAMED) {
        let DueSecret { metadata, expires, is_expired, source } = secret;
        let verb = if *is_expired { "expired" } else { "expires" };
        let date = time::local_date(*expires);
        let store =
            cx.target.hint_text(hint!("store a new value with `secrets update {}`", metadata.tag));

        // The address comes last, so that it can be copied from the end of the line.
        let get =
            source.map_or_else(String::new, |url| format!(", from {}", visible(url.as_str())));
        cx.ui.warn(&format!("`{}` {verb} on {date}; {store}{get}", metadata.tag));
    }

    if due.len() > NAMED {
        let others = counted(due.len() - NAMED, "other secret");
        cx.ui.warn(&cx.target.hint_text(hint!(
            "{} expired or will expire within 14 days; list them with \
             `secrets list --expiring 14d`",
            others
        )));
    }
}
