//! The names of variables that are set, and those that are refused.

use std::ffi::OsStr;

use secrets_project::setup::manifest::EnvironmentName;
use secrets_project::variables;
use secrets_runtime::run::environment::is_too_large;

use crate::context::Context;
use crate::error::{Error, Kind, hint};
use crate::ui::escape::visible;

/// Splits `NAME=REST`. The error does not show the rest, because it may be a value.
pub(super) fn split<'t>(text: &'t [u8], form: &str) -> Result<(&'t str, &'t [u8]), Error> {
    let at = memchr::memchr(b'=', text)
        .ok_or_else(|| Error::usage(format!("`{form}` requires a name and a `=`")))?;
    let name = std::str::from_utf8(&text[..at]).ok().filter(|name| variables::is_name(name));
    let name = name.ok_or_else(|| {
        Error::usage(format!(
            "`{form}` requires the name of a variable: letters, digits and `_`, not starting with \
             a digit"
        ))
    })?;

    Ok((name, &text[at + 1..]))
}

/// Adds a hint to the error if an environment of the manifest was given as a variable.
pub(super) fn with_environment(error: Error, given: &OsStr, cx: &Context) -> Error {
    let name = given.to_str().and_then(|name| name.parse::<EnvironmentName>().ok());
    let manifest = cx.target.base_manifest().ok().flatten();
    let is_environment = manifest.is_some_and(|manifest| {
        manifest.environments.iter().any(|known| Some(&known.name) == name.as_ref())
    });
    match name.filter(|_| is_environment) {
        Some(name) => error.hint(hint!("select the environment with `secrets run -E {}`", name)),
        None => error,
    }
}

/// Refuses names that shells cannot use, and names that [`check_allowed`] refuses.
pub(super) fn check_name(name: &str, place: &str, explicit: bool) -> Result<(), Error> {
    if !variables::is_name(name) {
        return Err(Error::usage(format!(
            "{place}: `{}` is not a valid variable name",
            visible(name)
        ))
        .hint("choose a name with `--env NAME='{{ secrets.TAG }}'`"));
    }

    check_allowed(name, place, explicit)
}

/// Refuses names that cannot be set at all, or only explicitly.
pub(super) fn check_allowed(name: &str, place: &str, explicit: bool) -> Result<(), Error> {
    if variables::is_credential(OsStr::new(name)) {
        return Err(Error::new(
            Kind::Refused,
            format!("{place}: `{name}` is never passed to a program"),
        ));
    }

    if !explicit && variables::is_dangerous(name) {
        let message = format!(
            "{place}: `{name}` can change how programs behave and needs an explicit `--env`"
        );
        return Err(Error::new(Kind::Refused, message)
            .hint(format!("if you want to set it, use `--env {name}=TEMPLATE`")));
    }

    Ok(())
}

/// Returns why a secret is skipped when every secret is passed.
pub(super) fn reason_to_skip(name: &str, value: &[u8]) -> Option<&'static str> {
    if variables::is_credential(OsStr::new(name)) {
        Some("its variable is never passed to a program")
    } else if variables::is_setting(name) {
        Some("its variable would be a setting of `secrets`")
    } else if !variables::is_name(name) {
        Some("its tag is not a valid variable name; use `--env NAME=TEMPLATE`")
    } else if variables::is_dangerous(name) {
        Some("its variable can change how programs behave and needs an explicit `--env`")
    } else if value.contains(&0) {
        Some("its value has a NUL byte; use `--file NAME=TAG`")
    } else if is_too_large(OsStr::new(name), value) {
        Some("its value is too large for an environment variable; use `--file NAME=TAG`")
    } else {
        None
    }
}
