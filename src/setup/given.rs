//! Values of a dotenv file, found for what a manifest needs: by the tag, or by the name under which its own files use it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;

use super::manifest::Manifest;
use super::needs::Need;
use crate::dotenv::{self, Entry};
use crate::model::{SecretBytes, Tag, TagKey};
use crate::template::filter::Filter;
use crate::template::grammar::Grammar;
use crate::template::{Event, ScanError, WINDOW, scan};

/// Bytes of a template that are looked at.
const LARGEST: u64 = 1024 * 1024;

/// Values by the key of the tag that they are for.
#[derive(Default)]
pub struct Given {
    values: BTreeMap<TagKey, (Tag, SecretBytes)>,
    /// Under which names the manifest's own files use a tag
    names: HashMap<TagKey, TagKey>,
    empty: Vec<Tag>,
}

impl Given {
    /// Takes a file's entries. Of a name that stands there twice the later counts, as for every tool.
    pub fn of(entries: Vec<Entry>, manifest: &Manifest) -> Self {
        let mut given = Self { names: names(manifest), ..Self::default() };
        for entry in entries {
            // What is no tag is nobody's here.
            let Ok(tag) = entry.name.parse::<Tag>() else { continue };
            given.empty.retain(|name| name.key() != tag.key());
            if entry.value.is_empty() {
                given.values.remove(&tag.key());
                given.empty.push(tag);
            } else {
                given.values.insert(tag.key(), (tag, entry.value));
            }
        }
        given
    }

    /// The value for a need, once.
    pub fn take(&mut self, need: &Need<'_>) -> Option<SecretBytes> {
        let key = need.tag.key();
        self.values.remove(&key).or_else(|| self.values.remove(self.names.get(&key)?)).map(|(_, value)| value)
    }

    /// What was not taken.
    pub fn rest(&self) -> impl Iterator<Item = (&Tag, &SecretBytes)> {
        self.values.values().map(|(tag, value)| (tag, value))
    }

    /// Names without a value.
    pub fn empty(&self) -> &[Tag] {
        &self.empty
    }
}

/// The names that variables have in `[run.env]` and in templates of dotenv files, where their whole value is one secret.
fn names(manifest: &Manifest) -> HashMap<TagKey, TagKey> {
    let mut names = HashMap::new();
    let mut note = |name: &str, text: &[u8], grammar: &Grammar| {
        if let (Some(tag), Ok(name)) = (only(text, grammar), name.parse::<Tag>()) {
            names.entry(tag.key()).or_insert(name.key());
        }
    };
    for variable in manifest.run.iter().flatten() {
        note(&variable.name, variable.text.as_bytes(), &Grammar::default());
    }
    for rendering in &manifest.render {
        let mut text = Vec::new();
        let read =
            File::open(manifest.at(&rendering.template)).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
        if read.is_err() {
            continue;
        }
        for entry in dotenv::parse(&text).unwrap_or_default() {
            note(&entry.name, entry.value.expose(), &rendering.grammar);
        }
    }
    names
}

/// The secret that a text is, all of it and as it is: not a part of a longer one, nor encoded.
fn only(text: &[u8], grammar: &Grammar) -> Option<Tag> {
    let (mut tags, mut is_more) = (Vec::new(), false);
    let window = text.len() + 1;
    let done: Result<(), ScanError<Infallible>> = scan(&mut &*text, grammar, window.min(WINDOW), true, |event| {
        match event {
            Event::Placeholder(placeholder, ..) => {
                is_more |= placeholder.filters.iter().any(|filter| matches!(filter, Filter::Url | Filter::Base64));
                tags.push(placeholder.tag.clone());
            }
            Event::Literal(bytes) => is_more |= !bytes.is_empty(),
            Event::Malformed(..) => is_more = true,
        }
        Ok(())
    });
    tags.pop().filter(|_| done.is_ok() && tags.is_empty() && !is_more)
}
