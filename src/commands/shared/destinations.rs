//! Checks of a destination before it is added to a secret.

use public_suffix::{DEFAULT_PROVIDER, EffectiveTLDProvider};
use secrets_core::model::{Destination, HostPattern, Place, SecretValue, Tag};

use crate::error::{Error, Kind};

/// Fails for a host pattern that covers hosts of many owners, such as `*.co.uk` or `*.github.io`. A
/// signature tells its receiver nothing, so it may go to all of them.
pub(crate) fn check_width(destination: &Destination) -> Result<(), Error> {
    let HostPattern::Below(parent) = &destination.origin.host else { return Ok(()) };
    let is_shared = DEFAULT_PROVIDER.effective_tld_plus_one(parent)
        == Err(public_suffix::Error::CannotDeriveETldPlus1);
    if is_shared && destination.place != Place::Signature {
        let message = format!("anybody can get a host below `{parent}`");
        return Err(Error::usage(message).hint("name the host itself"));
    }

    Ok(())
}

/// Fails if a value cannot stand in a place: a header ends at a line break, and has no NUL (RFC 9110,
/// section 5.5).
pub(crate) fn check_fits(tag: &Tag, value: &SecretValue, place: &Place) -> Result<(), Error> {
    if !place.is_in_header() {
        return Ok(());
    }

    let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let reason = if value.expose().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        "it contains a line break or a NUL byte"
    } else if !value.expose().iter().all(is_visible) {
        "it contains characters outside of ASCII"
    } else {
        return Ok(());
    };

    Err(Error::new(Kind::Usage, format!("the value of `{tag}` cannot stand in a header: {reason}"))
        .hint("store it again without the line break, or choose another place with `--in`"))
}
