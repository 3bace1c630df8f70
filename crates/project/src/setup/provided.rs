//! Finds the values that a manifest needs in a dotenv file: by the tag, or by the name under which
//! the manifest's files use the tag.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use secrets_core::model::{SecretBytes, Tag, TagKey};

use super::manifest::Manifest;
use super::needs::Need;
use super::outputs::Outputs;
use crate::dotenv::{self, Entry};
use crate::template::filter::Filter;
use crate::template::grammar::Grammar;
use crate::template::{Event, ScanDetails, ScanError, TemplateError, WINDOW, scan};

/// The maximum size of a template in bytes that is searched.
const MAX_SIZE: u64 = 1024 * 1024;

/// The values of a dotenv file by the keys of their names. An empty value counts as a value.
#[derive(Default)]
pub struct ProvidedValues {
    values: BTreeMap<TagKey, FileVariable>,
    usage: ManifestUsage,
}

/// A variable of the dotenv file.
struct FileVariable {
    name: String,
    /// The tag that `template` would choose for it
    tag: Tag,
    bytes: SecretBytes,
}

impl ProvidedValues {
    /// Collects a file's entries, and what the manifest and its opened templates say about their
    /// names. If a name occurs twice, the later entry wins, as in every other tool.
    pub fn of(
        entries: Vec<Entry>,
        manifest: &Manifest,
        outputs: &Outputs<'_>,
    ) -> Result<Self, TemplateError> {
        let mut provided = Self { usage: ManifestUsage::of(manifest, outputs)?, ..Self::default() };
        for Entry { name, value: bytes, .. } in entries {
            // A name that is not a valid tag cannot match a need.
            if let Some(tag) = tag_of(&name) {
                provided.values.insert(tag.key(), FileVariable { name, tag, bytes });
            }
        }

        Ok(provided)
    }

    /// Removes and returns the value for a need.
    pub fn take(&mut self, need: &Need<'_>) -> Option<SecretBytes> {
        let key = need.tag.key();
        self.values
            .remove(&key)
            .or_else(|| self.values.remove(self.usage.names.get(&key)?))
            .map(|value| value.bytes)
    }

    /// Returns the variables that were not taken and are not empty: the name, the tag that the
    /// manifest's files use for it, and the value. A variable is left out if a template has the
    /// same literal value for it.
    pub fn rest(&self) -> impl Iterator<Item = (&str, &Tag, &SecretBytes)> {
        let is_literal = |key: &TagKey, value: &SecretBytes| {
            self.usage.literals.get(key).is_some_and(|text| text == value.expose())
        };

        let rest = self
            .values
            .iter()
            .filter(move |(key, value)| !value.bytes.is_empty() && !is_literal(key, &value.bytes));

        rest.map(|(key, value)| {
            (&value.name[..], self.usage.uses.get(key).unwrap_or(&value.tag), &value.bytes)
        })
    }
}

/// How `[run.env]` and the templates of dotenv files use names.
#[derive(Default)]
struct ManifestUsage {
    /// The name of the variable whose whole value is the secret with this tag
    names: HashMap<TagKey, TagKey>,
    /// The same the other way round: the tag by the name
    uses: HashMap<TagKey, Tag>,
    /// Values without a placeholder, by name
    literals: HashMap<TagKey, Vec<u8>>,
}

impl ManifestUsage {
    fn of(manifest: &Manifest, outputs: &Outputs<'_>) -> Result<Self, TemplateError> {
        let mut usage = Self::default();
        for variable in manifest.run.iter().flatten() {
            usage.note(&variable.name, variable.text.as_bytes(), &Grammar::default());
        }

        for (rendering, text) in outputs.texts(MAX_SIZE)? {
            for entry in dotenv::parse(&text).unwrap_or_default() {
                usage.note(&entry.name, entry.value.expose(), &rendering.grammar);
            }
        }

        Ok(usage)
    }

    fn note(&mut self, name: &str, text: &[u8], grammar: &Grammar) {
        let Some(name) = tag_of(name) else { return };
        if let Some(tag) = single_secret(text, grammar) {
            self.names.entry(tag.key()).or_insert(name.key());
            self.uses.entry(name.key()).or_insert(tag);
        } else {
            self.literals.entry(name.key()).or_insert_with(|| text.to_vec());
        }
    }
}

/// Returns the tag for a variable, as `template` chooses it. Dots in the name become `_`.
fn tag_of(name: &str) -> Option<Tag> {
    Tag::parse(&name.replace('.', "_")).ok()
}

/// Returns the secret if a text is exactly one placeholder, without the filters `url` and `base64`.
fn single_secret(text: &[u8], grammar: &Grammar) -> Option<Tag> {
    let (mut tags, mut has_more) = (Vec::new(), false);
    let window = text.len() + 1;
    let done: Result<(), ScanError<Infallible>> =
        scan(&mut &*text, grammar, window.min(WINDOW), ScanDetails::NONE, |event| {
            match event {
                Event::Placeholder(placeholder, ..) => {
                    has_more |= placeholder
                        .filters
                        .iter()
                        .any(|filter| matches!(filter, Filter::Url | Filter::Base64));

                    tags.push(placeholder.tag.clone());
                }
                Event::Literal(bytes) => has_more |= !bytes.is_empty(),
                Event::Malformed(..) => has_more = true,
                Event::NearMiss(..) | Event::Backslashes(..) => {}
            }

            Ok(())
        });

    tags.pop().filter(|_| done.is_ok() && tags.is_empty() && !has_more)
}
