//! Values of a dotenv file, found for what a manifest needs: by the tag, or by the name under which its own files use it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use super::manifest::Manifest;
use super::needs::Need;
use super::outputs::Outputs;
use crate::dotenv::{self, Entry};
use crate::model::{SecretBytes, Tag, TagKey};
use crate::template::filter::Filter;
use crate::template::grammar::Grammar;
use crate::template::{Event, ScanDetails, ScanError, TemplateError, WINDOW, scan};

/// Bytes of a template that are looked at.
const LARGEST: u64 = 1024 * 1024;

/// Values by the key of their names. An empty value is a value.
#[derive(Default)]
pub struct ProvidedValues {
    values: BTreeMap<TagKey, FileVariable>,
    own: ManifestUsage,
}

/// A variable of the file.
struct FileVariable {
    name: String,
    /// The tag that `template` gives it
    tag: Tag,
    bytes: SecretBytes,
}

impl ProvidedValues {
    /// Takes a file's entries, and what the manifest and its opened templates say of their names. Of a name that stands there
    /// twice the later counts, as for every tool.
    pub fn of(
        entries: Vec<Entry>,
        manifest: &Manifest,
        outputs: &mut Outputs<'_>,
    ) -> Result<Self, TemplateError> {
        let mut given = Self { own: ManifestUsage::of(manifest, outputs)?, ..Self::default() };
        for Entry { name, value: bytes, .. } in entries {
            // What is no tag is nobody's here.
            if let Some(tag) = tag_of(&name) {
                given.values.insert(tag.key(), FileVariable { name, tag, bytes });
            }
        }

        Ok(given)
    }

    /// The value for a need, once.
    pub fn take(&mut self, need: &Need<'_>) -> Option<SecretBytes> {
        let key = need.tag.key();
        self.values
            .remove(&key)
            .or_else(|| self.values.remove(self.own.names.get(&key)?))
            .map(|value| value.bytes)
    }

    /// What was not taken and is not empty: the name, the tag that the manifest's files have for it, the value. What a
    /// template says itself, in the same words, is left out.
    pub fn rest(&self) -> impl Iterator<Item = (&str, &Tag, &SecretBytes)> {
        let is_said = |key: &TagKey, value: &SecretBytes| {
            self.own.literals.get(key).is_some_and(|text| text == value.expose())
        };

        let rest = self
            .values
            .iter()
            .filter(move |(key, value)| !value.bytes.is_empty() && !is_said(key, &value.bytes));

        rest.map(|(key, value)| {
            (&value.name[..], self.own.uses.get(key).unwrap_or(&value.tag), &value.bytes)
        })
    }
}

/// What `[run.env]` and templates of dotenv files say of names.
#[derive(Default)]
struct ManifestUsage {
    /// Under which name a tag is used, where the variable's whole value is that one secret
    names: HashMap<TagKey, TagKey>,
    /// The other way round
    uses: HashMap<TagKey, Tag>,
    /// Values without a placeholder
    literals: HashMap<TagKey, Vec<u8>>,
}

impl ManifestUsage {
    fn of(manifest: &Manifest, outputs: &mut Outputs<'_>) -> Result<Self, TemplateError> {
        let mut own = Self::default();
        for variable in manifest.run.iter().flatten() {
            own.note(&variable.name, variable.text.as_bytes(), &Grammar::default());
        }

        for (rendering, text) in outputs.texts(LARGEST)? {
            for entry in dotenv::parse(&text).unwrap_or_default() {
                own.note(&entry.name, entry.value.expose(), &rendering.grammar);
            }
        }

        Ok(own)
    }

    fn note(&mut self, name: &str, text: &[u8], grammar: &Grammar) {
        let Some(name) = tag_of(name) else { return };
        if let Some(tag) = only(text, grammar) {
            self.names.entry(tag.key()).or_insert(name.key());
            self.uses.entry(name.key()).or_insert(tag);
        } else {
            self.literals.entry(name.key()).or_insert_with(|| text.to_vec());
        }
    }
}

/// The tag of a variable, as `template` makes it: a name may have dots.
fn tag_of(name: &str) -> Option<Tag> {
    Tag::parse(&name.replace('.', "_")).ok()
}

/// The secret that a text is, all of it and as it is: not a part of a longer one, nor encoded.
fn only(text: &[u8], grammar: &Grammar) -> Option<Tag> {
    let (mut tags, mut is_more) = (Vec::new(), false);
    let window = text.len() + 1;
    let done: Result<(), ScanError<Infallible>> =
        scan(&mut &*text, grammar, window.min(WINDOW), ScanDetails::NONE, |event| {
            match event {
                Event::Placeholder(placeholder, ..) => {
                    is_more |= placeholder
                        .filters
                        .iter()
                        .any(|filter| matches!(filter, Filter::Url | Filter::Base64));

                    tags.push(placeholder.tag.clone());
                }
                Event::Literal(bytes) => is_more |= !bytes.is_empty(),
                Event::Malformed(..) => is_more = true,
                Event::NearMiss(..) | Event::Backslashes(..) => {}
            }

            Ok(())
        });

    tags.pop().filter(|_| done.is_ok() && tags.is_empty() && !is_more)
}
