//! The name and the description of a secret, as `create` and `update` take them, and the words that
//! report a stored secret.

use secrets_core::model::{Class, Invalid, Secret};

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

/// Returns a secret's tag, project and hint for a status line. A restricted secret has no hint.
pub(crate) fn described(secret: &Secret) -> String {
    let Secret { project, metadata, .. } = secret;
    let place = format!("`{}` in project `{project}`", metadata.tag);
    match metadata.class {
        Class::Team => format!("{place}, hint {}", metadata.hint.as_str()),
        Class::Restricted => format!("{place} (restricted, no hint)"),
    }
}
