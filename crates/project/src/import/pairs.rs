//! Formats that consist of names and values: `.env` files and flat JSON. No pair is dropped
//! silently. If a name occurs twice, the later value counts, as in all tools, and the earlier one
//! is reported as skipped. Two names that would get the same tag, such as `http_proxy` and
//! `HTTP_PROXY`, are an error, because programs would get only one variable.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use secrets_core::model::{SecretBytes, TagKey};

use super::collector::Collector;
use super::entry::label;
use super::foreign::ToolMetadata;
use super::json::{Document, Object};
use super::{ImportError, Items, Why};
use crate::dotenv;
use crate::position::Position;

const DUPLICATE: &str = "a later entry has the same name";

struct Pair {
    name: String,
    value: SecretBytes,
    at: Position,
}

pub(super) fn dotenv(text: &[u8], mut found: Collector<'_>) -> Result<Items, ImportError> {
    let entries = dotenv::parse(text)
        .map_err(|error| ImportError::at(error.position, Why::Dotenv(error.why)))?;
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();

    for entry in &entries {
        if dotenv::refers_to_a_variable(&text[entry.span.clone()], |name| names.contains(name)) {
            found.add_reference(&entry.name, entry.line);
        }
    }

    let pair = |entry: dotenv::Entry| Pair {
        name: entry.name,
        value: entry.value,
        at: Position { line: entry.line, column: 1 },
    };
    add_pairs(entries.into_iter().map(pair).collect(), found)
}

pub(super) fn json(text: &str, mut found: Collector<'_>) -> Result<Items, ImportError> {
    let document = Document::new(text);
    let Object(members) = document.object()?;
    let mut pairs = Vec::with_capacity(members.len());
    let mut nested = Vec::new();

    for (name, part) in members {
        let at = document.position(part);
        match document.scalar(part)? {
            Some(value) => pairs.push(Pair { name, value, at }),
            None => nested.push((name, at)),
        }
    }

    let metadata = ToolMetadata::of(pairs.iter().map(|pair| pair.value.expose()));
    for (name, at) in nested {
        if !found.skip_metadata(&metadata, &name, at) {
            return Err(ImportError::at(at, Why::Nested(label(&name))));
        }
    }

    add_pairs(pairs, found)
}

fn add_pairs(pairs: Vec<Pair>, mut found: Collector<'_>) -> Result<Items, ImportError> {
    let last = last_indices(pairs.iter().map(|pair| pair.name.clone()));
    let metadata = ToolMetadata::of(pairs.iter().map(|pair| pair.value.expose()));
    let mut tags: HashMap<TagKey, String> = HashMap::new();

    for (index, Pair { name, value, at }) in pairs.into_iter().enumerate() {
        if last.get(&name) != Some(&index) {
            found.skip(&name, Some(at), DUPLICATE);
            continue;
        }

        if found.skip_metadata(&metadata, &name, at) {
            continue;
        }

        if let Some(key) = found.tag_key(&name).filter(|_| !value.is_empty())
            && let Some(other) = tags.insert(key, name.clone())
        {
            return Err(ImportError::at(at, Why::DuplicateTag(label(&other), label(&name))));
        }

        found.pair(&name, value, Some(at))?;
    }

    Ok(found.finish())
}

/// Returns the last index of each name.
fn last_indices<K: Hash + Eq>(names: impl Iterator<Item = K>) -> HashMap<K, usize> {
    names.enumerate().map(|(index, name)| (name, index)).collect()
}
