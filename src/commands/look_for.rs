//! What `run`, `redact` and `scan` do before they look for values.

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::machine;
use crate::mask::Needles;
use crate::model::{SecretValue, Tag};

/// Bytes of memory that are always there.
const LITTLE: u64 = 64 * 1024 * 1024;

/// What to do where all values of a project are looked for.
pub(super) const ALL: &str = "free some memory, or raise the limit of it";

/// Prepares for values to be masked or found: says which are too short, and fails if there is no memory for the others.
/// Nothing was started yet, so nothing ends in the middle. `way` is what people can do about that.
pub(super) fn look_for(
    values: &[(Tag, SecretValue)],
    protected: &str,
    way: &str,
    cx: &Context,
) -> Result<(), Error> {
    let is_short =
        |value: &SecretValue| !value.expose().is_empty() && Needles::is_short(value.expose());
    let short: Vec<String> = values
        .iter()
        .filter(|(_, value)| is_short(value))
        .map(|(tag, _)| format!("`{tag}`"))
        .collect();

    if !short.is_empty() {
        cx.ui.warn(&format!("values under 8 bytes are not {protected}: {}", short.join(", ")));
    }

    let needed = Needles::memory(values.iter().map(|(_, value)| value.expose()));
    if needed < LITTLE || machine::can_have(needed) {
        return Ok(());
    }

    let largest = values.iter().max_by_key(|(_, value)| value.expose().len());
    let largest = largest.map_or_else(String::new, |(tag, _)| format!("; `{tag}` is the largest"));
    let message =
        format!("not enough memory: looking for these values needs {} MiB", needed / 1024 / 1024);
    Err(Error::new(Kind::Failure, message).hint(format!("{way}{largest}")))
}
