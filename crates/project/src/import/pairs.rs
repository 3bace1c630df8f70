//! Formats that consist of names and values: `.env` files, JSON, YAML and what services print. No pair
//! is dropped silently. If a name occurs twice, the later value counts, as in all tools, and the earlier one
//! is reported as skipped. Two names that would get the same tag, such as `http_proxy` and
//! `HTTP_PROXY`, are an error, because programs would get only one variable.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use secrets_core::model::TagKey;

use super::collector::Collector;
use super::dotenvx::DotenvxKeys;
use super::entry::label;
use super::foreign::ToolMetadata;
use super::tree::Named;
use super::{ImportError, Items, Why};
use crate::dotenv;
use crate::position::Position;

const DUPLICATE: &str = "a later entry has the same name";

pub(super) fn dotenv(
    text: &[u8],
    keys: Option<&DotenvxKeys>,
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    let entries = dotenv::parse(text)
        .map_err(|error| ImportError::at(error.position, Why::Dotenv(error.why)))?;
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();

    for entry in &entries {
        if dotenv::refers_to_a_variable(&text[entry.span.clone()], |name| names.contains(name)) {
            found.add_reference(&entry.name, entry.line);
        }
    }

    let metadata = ToolMetadata::of(entries.iter().map(|entry| entry.value.expose()));
    let pair = |entry: dotenv::Entry| Named {
        value: keys.and_then(|keys| keys.decrypt(entry.value.expose())).unwrap_or(entry.value),
        name: entry.name,
        at: Position { line: entry.line, column: 1 },
        is_tagged: false,
    };
    add(entries.into_iter().map(pair).collect(), metadata, found)
}

/// Adds names and values.
pub(super) fn named(pairs: Vec<Named>, found: Collector<'_>) -> Result<Items, ImportError> {
    let metadata = ToolMetadata::of(pairs.iter().map(|pair| pair.value.expose()));
    add(pairs, metadata, found)
}

fn add(
    pairs: Vec<Named>,
    metadata: ToolMetadata,
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    let last = last_indices(pairs.iter().map(|pair| pair.name.clone()));
    let metadata = metadata.with_names(pairs.iter().map(|pair| pair.name.as_str()));
    let mut tags: HashMap<TagKey, String> = HashMap::new();

    for (index, Named { name, value, at, is_tagged }) in pairs.into_iter().enumerate() {
        if last.get(&name) != Some(&index) {
            found.skip(&name, Some(at), DUPLICATE);
            continue;
        }

        if found.skip_metadata(&metadata, &name, value.expose(), at)
            || is_tagged && found.skip_tagged(&name, at)
        {
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
