//! Reports a changed secret: its date, and the files that use its old value.

use secrets_core::model::Secret;

use super::label::described;
use super::outputs;
use crate::context::Context;
use crate::error::hint;
use crate::ui::listed;
use crate::ui::time;

/// Reports the change of a secret. With a new value, also the outputs that it made stale. The date of
/// expiry is shown if the change concerned it.
pub(crate) fn report(
    cx: &Context,
    before: &Secret,
    secret: &Secret,
    with_value: bool,
    is_dated: bool,
) {
    let date = match secret.metadata.expires.filter(|_| is_dated) {
        Some(at) => format!(", expires {}", time::local_date(at)),
        None => String::new(),
    };

    if with_value {
        cx.ui.status(&format!("updated {}{date}", described(secret)));
        report_stale(cx, secret);
    } else {
        let Secret { project, metadata, .. } = secret;
        cx.ui.status(&format!("updated `{}` in project `{project}`{date}", metadata.tag));
    }

    report_cleared(cx, before, secret);
}

/// Reports that a secret no longer has a date of expiry.
fn report_cleared(cx: &Context, before: &Secret, secret: &Secret) {
    let tag = &secret.metadata.tag;
    if let (Some(date), None) = (before.metadata.expires, secret.metadata.expires) {
        let date = time::local_date(date);
        let set = hint!("set another one with `secrets update {} --expires 90d`", tag);
        cx.ui.status(&format!("its expiry date {date} was cleared; {}", cx.target.hint_text(set)));
    }
}

/// Lists the outputs that the new value made stale. Errors are only warnings, because the value is
/// already stored.
fn report_stale(cx: &Context, secret: &Secret) {
    match outputs::outdated_by(cx, &secret.project, &secret.metadata.tag) {
        Ok(stale) if stale.is_empty() => {}
        Ok(stale) => {
            let (are, they) = if stale.len() == 1 { ("is", "it") } else { ("are", "them") };
            let names = listed(stale.iter().map(|path| path.display()));
            let render = cx.target.hint_text("`secrets render --stale`");
            cx.ui.status(&format!("{names} {are} now out of date; render {they} with {render}"));
        }
        Err(error) => cx.ui.warn(&format!(
            "cannot determine which outputs are now out of date: {}",
            error.message()
        )),
    }
}
