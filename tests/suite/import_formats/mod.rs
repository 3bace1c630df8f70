//! Files of other programs: which values are read, under which tags, and what is left out with a
//! reason.

use std::fs;

use terminal_secrets::Position;
use terminal_secrets::import::{Format, ImportError, ImportOptions, Items, Skipped, Why, read};
use terminal_secrets::model::{Description, Name};

use crate::support::files::root;

mod dotenv_and_json;
mod keepass;
mod managers;
mod recognition;
mod services;
mod titles;

const SAMPLES: [(Format, &str); 18] = [
    (Format::Dotenv, "values.env"),
    (Format::Json, "values.json"),
    (Format::OnePassword, "1password.csv"),
    (Format::Bitwarden, "bitwarden.json"),
    (Format::Bitwarden, "bitwarden.csv"),
    (Format::KeePass, "keepass.xml"),
    (Format::KeePass, "keepassxc.xml"),
    (Format::KeePass, "keepassxc.csv"),
    (Format::OnePassword, "op.json"),
    (Format::LastPass, "lastpass.csv"),
    (Format::LastPass, "lastpass-escaped.csv"),
    (Format::Vault, "vault.json"),
    (Format::Vault, "vault-1.json"),
    (Format::Aws, "aws.json"),
    (Format::Doppler, "doppler.json"),
    (Format::Json, "doppler-download.json"),
    (Format::Infisical, "infisical.json"),
    (Format::Infisical, "infisical-secrets.json"),
];

pub(crate) fn sample(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/fixtures/import").join(name)).unwrap()
}

fn taken(format: Format, text: &[u8]) -> Items {
    read(format, text, ImportOptions::default()).unwrap_or_else(|error| panic!("{error:?}"))
}

fn refused(format: Format, text: &[u8]) -> ImportError {
    read(format, text, ImportOptions::default())
        .err()
        .unwrap_or_else(|| panic!("{format:?} took {:?}", String::from_utf8_lossy(text)))
}

/// Returns the error at a line and column.
fn error_at(at: Option<(u64, u64)>, why: Why) -> ImportError {
    ImportError { at: at.map(|(line, column)| Position { line, column }), why }
}

/// Returns the tag, value and source of each item.
fn rows(items: &Items) -> Vec<(&str, &str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    items
        .items
        .iter()
        .map(|item| (item.tag.as_str(), text(item.value.expose()), item.source.as_str()))
        .collect()
}

fn skipped(items: &Items) -> Vec<(&str, Option<u64>, &str)> {
    items
        .skipped
        .iter()
        .map(|Skipped { source, line, why, .. }| (source.as_str(), *line, *why))
        .collect()
}

/// Returns the name and description of an item.
fn labels<'a>(items: &'a Items, tag: &str) -> (Option<&'a str>, Option<&'a str>) {
    let item = items.items.iter().find(|item| item.tag.as_str() == tag).unwrap();
    (item.name.as_ref().map(Name::as_str), item.description.as_ref().map(Description::as_str))
}
