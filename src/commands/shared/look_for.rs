//! The checks of `run`, `redact` and `scan` before they search for values.

use secrets_core::machine;
use secrets_core::model::{SecretValue, Tag};
use secrets_mask::Needles;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::listed;

/// The memory that is always assumed to be available, in bytes.
const ALWAYS_AVAILABLE: u64 = 64 * 1024 * 1024;

/// The hint if all values of a project are searched for.
pub(crate) const ALL: &str = "free some memory, or raise the memory limit";

/// Warns about values that are too short to be searched for.
pub(crate) fn warn_of_short<'v>(
    values: impl Iterator<Item = (&'v Tag, &'v SecretValue)>,
    protected: &str,
    cx: &Context,
) {
    let is_short =
        |value: &SecretValue| !value.expose().is_empty() && Needles::is_short(value.expose());
    let short: Vec<&Tag> =
        values.filter(|(_, value)| is_short(value)).map(|(tag, _)| tag).collect();
    if !short.is_empty() {
        cx.ui.warn(&format!("values shorter than 8 bytes are not {protected}: {}", listed(short)));
    }
}

/// Prepares to mask or find values: warns about values that are too short, and fails if there is
/// not enough memory for the others. This happens before anything is started, so nothing ends
/// halfway. `fix` is the hint for missing memory.
pub(crate) fn look_for(
    values: &[(Tag, SecretValue)],
    protected: &str,
    fix: &str,
    cx: &Context,
) -> Result<(), Error> {
    warn_of_short(values.iter().map(|(tag, value)| (tag, value)), protected, cx);
    let needed = Needles::memory(values.iter().map(|(_, value)| value.expose()));
    if needed < ALWAYS_AVAILABLE || machine::can_allocate(needed) {
        return Ok(());
    }

    let largest = values.iter().max_by_key(|(_, value)| value.expose().len());
    let largest = largest.map_or_else(String::new, |(tag, _)| format!("; `{tag}` is the largest"));
    let message =
        format!("not enough memory: searching for these values needs {} MiB", needed / 1024 / 1024);
    Err(Error::new(Kind::Failure, message).hint(format!("{fix}{largest}")))
}
