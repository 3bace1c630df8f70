//! The name and the description of a secret, as `create` and `update` take them.

use secrets_core::model::Invalid;

use crate::error::Error;

/// Parses a name or description from the command line.
pub(crate) fn label<T>(
    option: &str,
    text: Option<&str>,
    parse: fn(&str) -> Result<Option<T>, Invalid>,
) -> Result<Option<T>, Error> {
    let parsed = text.map(parse).transpose();
    parsed.map(Option::flatten).map_err(|why| Error::usage(format!("invalid `--{option}`: {why}")))
}
