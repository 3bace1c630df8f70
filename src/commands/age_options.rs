//! What `export` and `import` share: keys of age files, as options and files name them.

use std::path::PathBuf;

use crate::context::Context;
use crate::crypto::age_file::{Identity, MOST_RECIPIENTS, Recipient};
use crate::error::{Error, Kind};
use crate::ui::{UiError, input};

/// Bytes of a file of recipients at most.
const LARGEST: usize = 1024 * 1024;

/// The recipients that options name. What is none is not repeated: it may be an identity.
pub(super) fn recipients(given: &[String], files: &[PathBuf]) -> Result<Vec<Recipient>, Error> {
    let mut recipients = Vec::new();
    for (text, number) in given.iter().zip(1..) {
        recipients.push(
            Recipient::parse(text)
                .ok_or_else(|| none(text, &format!("`--recipient` number {number}")))?,
        );
    }

    for path in files {
        let name = path.display();

        // Nothing secret is in it: others may read it.
        let read = input::file(path, LARGEST)
            .map_err(|source| UiError::Input { name: name.to_string(), source });
        let (text, _) = read?;
        let before = recipients.len();

        for (line, number) in text.expose().split(|byte| *byte == b'\n').zip(1..) {
            let line = std::str::from_utf8(line.trim_ascii()).unwrap_or("?");
            if !line.is_empty() && !line.starts_with('#') {
                recipients.push(
                    Recipient::parse(line)
                        .ok_or_else(|| none(line, &format!("{name}:{number}")))?,
                );
            }
        }

        if recipients.len() == before {
            return Err(Error::usage(format!("there is no recipient in `{name}`"))
                .hint("nothing was written"));
        }
    }

    if recipients.len() > MOST_RECIPIENTS {
        return Err(Error::usage(format!(
            "{} recipients, at most {MOST_RECIPIENTS} fit",
            recipients.len()
        )));
    }

    Ok(recipients)
}

fn none(text: &str, place: &str) -> Error {
    let error = Error::usage(format!("{place} is no recipient of the form `age1…`"));
    if text.trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return error.hint(
            "that is an identity, which opens files: `age-keygen -y FILE` tells its recipient",
        );
    }

    error.hint("`age-keygen` makes one; keys of SSH and of plugins are not taken")
}

/// The identities of files.
pub(super) fn identities(files: &[PathBuf], cx: &Context) -> Result<Vec<Identity>, Error> {
    let mut identities = Vec::new();
    for path in files {
        let name = path.display();
        let found = Identity::parse_all(&cx.identity_file(path)?).map_err(|line| {
            Error::new(
                Kind::Locked,
                format!("{name}:{line} is no identity of the form `AGE-SECRET-KEY-1…`"),
            )
            .hint("one that is encrypted itself is decrypted first, with `age`")
        })?;

        if found.is_empty() {
            return Err(Error::new(Kind::Locked, format!("there is no identity in `{name}`")));
        }

        identities.extend(found);
    }

    Ok(identities)
}
