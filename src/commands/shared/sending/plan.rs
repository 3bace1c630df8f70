//! A request that is only judged, and refusals as errors of the command line.

use secrets_core::model::Origin;
use secrets_proxy::client::{Checked, Outgoing};
use secrets_proxy::policy::Policy;
use secrets_proxy::refusal::Refusal;

use crate::error::{Error, Hint, Kind};
use crate::output::{PlannedRequest, described};

/// Returns a refusal as an error of the command line.
pub(crate) fn refused(refusal: &Refusal) -> Error {
    let kind = match refusal.status {
        400 | 405 | 413 => Kind::Usage,
        502 | 508 => Kind::Failure,
        _ => Kind::Refused,
    };
    let error = Error::new(kind, refusal.message.clone());
    match &refusal.hint {
        Some(hint) => error.hint(Hint::in_project(Hint::parse(hint, &[]))),
        None => error,
    }
}

/// Describes a request that was judged and not sent.
pub(crate) fn planned(
    policy: &Policy,
    origin: &Origin,
    outgoing: &Outgoing,
    checked: Checked,
    is_explained: bool,
) -> PlannedRequest {
    let reasons = checked
        .rules
        .iter()
        .filter_map(|number| policy.rules.get(*number))
        .filter_map(|rule| {
            let tag = policy.tag(rule.secret)?;
            Some(format!("`{tag}` may be sent to {}", described(&rule.destination)))
        })
        .collect();
    PlannedRequest {
        method: outgoing.method.to_string(),
        url: format!("{origin}{}", checked.target),
        headers: checked.headers,
        body: checked.body,
        reasons,
        is_explained,
    }
}
