//! Dates of expiry.

use secrets_core::model::{Expiry, Timestamp};

use crate::error::Error;
use crate::ui::time;

/// Returns the time that a user asks for, or `None` for never. A date begins in the time zone in
/// which dates are shown.
pub(crate) fn time_of(expiry: Expiry) -> Result<Option<Timestamp>, Error> {
    expiry
        .time(Timestamp::now(), &time::zone())
        .map_err(|why| Error::usage(format!("invalid `--expires`: {why}")))
}
