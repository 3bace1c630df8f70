//! The age keys of `export` and `import`, as given by options and files.

use std::path::PathBuf;

use secrets_age::{Identity, MAX_RECIPIENTS, Recipient};

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::{UiError, input};

/// The maximum size of a file of recipients, in bytes.
const MAX_SIZE: usize = 1024 * 1024;

/// Parses the recipients that options and files give. An invalid recipient is not shown, because it
/// may be an identity.
pub(crate) fn recipients(given: &[String], files: &[PathBuf]) -> Result<Vec<Recipient>, Error> {
    let mut recipients = Vec::new();
    for (text, number) in given.iter().zip(1..) {
        recipients.push(
            Recipient::parse(text).ok_or_else(|| {
                invalid_recipient(text, &format!("`--recipient` number {number}"))
            })?,
        );
    }

    for path in files {
        let name = path.display();

        // The file holds nothing secret, so other users may be able to read it.
        let read = input::file(path, MAX_SIZE)
            .map_err(|source| UiError::Input { name: name.to_string(), source });
        let (text, _) = read?;
        let before = recipients.len();

        for (line, number) in text.expose().split(|byte| *byte == b'\n').zip(1..) {
            let line = std::str::from_utf8(line.trim_ascii()).unwrap_or("?");
            if !line.is_empty() && !line.starts_with('#') {
                recipients.push(
                    Recipient::parse(line)
                        .ok_or_else(|| invalid_recipient(line, &format!("{name}:{number}")))?,
                );
            }
        }

        if recipients.len() == before {
            return Err(Error::usage(format!("`{name}` contains no recipients"))
                .hint("nothing was written"));
        }
    }

    if recipients.len() > MAX_RECIPIENTS {
        return Err(Error::usage(format!(
            "{} recipients are too many; an age file can have at most {MAX_RECIPIENTS}",
            recipients.len()
        )));
    }

    Ok(recipients)
}

fn invalid_recipient(text: &str, place: &str) -> Error {
    let error = Error::usage(format!("{place} is not a recipient of the form `age1…`"));
    if text.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return error.hint(
            "it is an identity, which decrypts files; print its recipient with \
             `age-keygen -y FILE`",
        );
    }

    error.hint("create a key with `age-keygen`; SSH keys and plugins are not supported")
}

pub(crate) fn identities(files: &[PathBuf], cx: &Context) -> Result<Vec<Identity>, Error> {
    let mut identities = Vec::new();
    for path in files {
        let name = path.display();
        let found = Identity::parse_all(&cx.credentials.identity_file(path)?).map_err(|line| {
            Error::new(
                Kind::Locked,
                format!("{name}:{line} is not an identity of the form `AGE-SECRET-KEY-1…`"),
            )
            .hint("if the identity itself is encrypted, decrypt it first with `age`")
        })?;

        if found.is_empty() {
            return Err(Error::new(Kind::Locked, format!("`{name}` contains no identities")));
        }

        identities.extend(found);
    }

    Ok(identities)
}
