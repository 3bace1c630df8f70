//! Formats of names and values: `.env` files and flat JSON. Never drops a pair in silence: of a name that stands there
//! twice the later one counts, as every tool has it, and the earlier one is skipped with a word.

use std::collections::HashMap;
use std::hash::Hash;

use super::entry::Collector;
use super::json::{Document, Object};
use super::tags::Tags;
use super::{ImportError, Items, Why};
use crate::dotenv;

const AGAIN: &str = "it stands there again further down";

pub(super) fn dotenv(text: &[u8], tags: Tags<'_>) -> Result<Items, ImportError> {
    let entries =
        dotenv::parse(text).map_err(|error| ImportError::at((error.line, error.column), Why::Dotenv(error.why)))?;
    let last = last_of(entries.iter().map(|entry| entry.name.clone()));
    let mut found = Collector::new(tags);
    for (index, entry) in entries.into_iter().enumerate() {
        let at = Some((entry.line, 1));
        if last.get(&entry.name) == Some(&index) {
            found.pair(&entry.name, entry.value, at)?;
        } else {
            found.skip(&entry.name, at, AGAIN);
        }
    }
    Ok(found.finish())
}

pub(super) fn json(text: &str, tags: Tags<'_>) -> Result<Items, ImportError> {
    let document = Document::new(text);
    let Object(members) = document.object()?;
    let last = last_of(members.iter().map(|(name, _)| name.clone()));
    let mut found = Collector::new(tags);
    for (index, (name, part)) in members.into_iter().enumerate() {
        let at = document.place(part);
        let Some(value) = document.scalar(part)? else {
            return Err(ImportError::at(at, Why::Nested(super::entry::label(&name))));
        };
        if last.get(&name) == Some(&index) {
            found.pair(&name, value, Some(at))?;
        } else {
            found.skip(&name, Some(at), AGAIN);
        }
    }
    Ok(found.finish())
}

/// Which place is the last of each name.
fn last_of<K: Hash + Eq>(names: impl Iterator<Item = K>) -> HashMap<K, usize> {
    names.enumerate().map(|(index, name)| (name, index)).collect()
}
