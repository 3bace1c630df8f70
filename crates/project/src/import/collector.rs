//! Collects the items of a file, and what is left out of it with the reason.

use secrets_core::model::{Class, Description, Name, SecretBytes, SecretValue, Tag, TagKey};

use super::entry::{Entry, FoundEntry, MAX_NAME, displayable, label};
use super::foreign::ToolMetadata;
use super::tags::Tags;
use super::{ImportError, Item, Items, Skipped, Why, foreign, managers};
use crate::position::Position;

const TAGGED: &str = "its tag (`!`) has a meaning that only another program knows";

pub(super) struct Collector<'p> {
    tags: Tags<'p>,
    as_is: bool,
    found: Items,
}

impl<'p> Collector<'p> {
    /// Creates a collector. With `as_is`, it also accepts ciphertexts and references of other
    /// tools.
    pub(super) fn new(tags: Tags<'p>, as_is: bool) -> Self {
        Self { tags, as_is, found: Items::default() }
    }

    pub(super) fn finish(mut self) -> Items {
        self.found.skipped.sort_by_key(|skipped| skipped.line);
        self.found
    }

    pub(super) fn skip(&mut self, source: &str, at: Option<Position>, why: &'static str) {
        self.found.skipped.push(Skipped {
            source: label(source),
            line: at.map(|at| at.line),
            why,
            as_is: false,
            has_value: why != super::EMPTY,
        });
    }

    /// Skips a value that is metadata of another tool, unless `as_is` is set. Returns whether it
    /// was skipped.
    pub(super) fn skip_metadata(
        &mut self,
        metadata: &ToolMetadata,
        name: &str,
        value: &[u8],
        at: Position,
    ) -> bool {
        let why = metadata.why(name).filter(|_| !self.as_is);
        if let Some(why) = why {
            // A name alone does not prove that nothing is lost with the file.
            let has_value = !foreign::is_public(name, value);
            self.skip_foreign(label(name), Some(at), why, has_value);
        }

        why.is_some()
    }

    /// Skips a value with a tag of YAML that another program gives a meaning, unless `as_is` is set. Returns
    /// whether it was skipped.
    pub(super) fn skip_tagged(&mut self, name: &str, at: Position) -> bool {
        if !self.as_is {
            self.skip_foreign(label(name), Some(at), TAGGED, true);
        }

        !self.as_is
    }

    /// Records a variable whose value refers to another variable.
    pub(super) fn add_reference(&mut self, name: &str, line: u64) {
        self.found.referring.push((label(name), line));
    }

    /// Returns the key of the tag that a variable gets, to find variables with the same tag.
    pub(super) fn tag_key(&self, name: &str) -> Option<TagKey> {
        self.tags.key_of(name)
    }

    fn skip_foreign(
        &mut self,
        source: String,
        at: Option<Position>,
        why: &'static str,
        has_value: bool,
    ) {
        let line = at.map(|at| at.line);
        self.found.skipped.push(Skipped { source, line, why, as_is: true, has_value });
    }

    /// Adds a name and its value. Skips an empty value.
    pub(super) fn pair(
        &mut self,
        name: &str,
        value: SecretBytes,
        at: Option<Position>,
    ) -> Result<(), ImportError> {
        if value.is_empty() {
            self.skip(name, at, super::EMPTY);
            return Ok(());
        }

        let tag = self.tags.spelled(name)?;
        self.push(Labels { tag, name: None, description: None, source: label(name) }, value, at)
    }

    /// Adds the entries of a KeePass file after resolving their references.
    pub(super) fn entries(&mut self, mut all: Vec<FoundEntry>) -> Result<(), ImportError> {
        managers::resolve(&mut all, self.as_is);
        for FoundEntry { entry, skip_reason, .. } in all {
            match skip_reason {
                Some(why) => self.skip(&entry.title, entry.at, why),
                None => self.entry(entry)?,
            }
        }

        Ok(())
    }

    /// Adds an entry. The tag of its password is made from the title alone. If the entry has no
    /// password, the notes get that tag. The tags of all other values include the field's name.
    pub(super) fn entry(&mut self, entry: Entry) -> Result<(), ImportError> {
        let title = entry.label();
        let description = entry.description();
        for (part, why) in &entry.dropped {
            self.skip(&format!("{title}, {part}"), entry.at, why);
        }

        let non_empty = |value: Option<SecretBytes>| value.filter(|value| !value.is_empty());
        let (password, notes) = (non_empty(entry.password), non_empty(entry.notes));
        let (main, notes) = match (password, notes) {
            (Some(password), notes) => (Some(("password", password)), notes),
            (None, notes) => (notes.map(|notes| ("notes", notes)), None),
        };

        let mut rest: Vec<(String, SecretBytes)> = Vec::new();
        rest.extend(non_empty(entry.totp).map(|totp| ("totp".into(), totp)));
        rest.extend(notes.map(|notes| ("notes".into(), notes)));
        rest.extend(entry.fields.into_iter().filter(|(_, value)| !value.is_empty()));
        if main.is_none() && rest.is_empty() {
            self.skip(&title, entry.at, "it holds no secret");
            return Ok(());
        }

        let stem = self.tags.stem(&entry.title)?;
        let name = Name::parse(&displayable(&entry.title, MAX_NAME)).ok().flatten();
        let labels = |tag: Tag, part: &str| {
            let source = format!("{title}, {}", label(part));
            Labels { tag, name: name.clone(), description: description.clone(), source }
        };

        if let Some((part, value)) = main {
            self.push(labels(stem.tag(), part), value, entry.at)?;
        }

        for (part, value) in rest {
            let tag = self.tags.field(&stem, &part)?;
            self.push(labels(tag, &part), value, entry.at)?;
        }

        Ok(())
    }

    fn push(
        &mut self,
        labels: Labels,
        value: SecretBytes,
        at: Option<Position>,
    ) -> Result<(), ImportError> {
        let Labels { tag, name, description, source } = labels;
        if let Some(why) = foreign::why(value.expose()).filter(|_| !self.as_is) {
            self.skip_foreign(source, at, why, true);
            return Ok(());
        }

        match SecretValue::new(value, false) {
            Ok(value) => {
                self.found.items.push(Item {
                    tag,
                    name,
                    description,
                    value,
                    class: Class::Team,
                    source,
                    origin: None,
                });
            }
            Err(_) => return Err(ImportError { at, why: Why::TooLarge(source) }),
        }

        Ok(())
    }
}

/// The parts of an item other than its value.
struct Labels {
    tag: Tag,
    name: Option<Name>,
    description: Option<Description>,
    source: String,
}
