//! The document of `secrets export`, out of its age file (docs/export.md). Takes what it knows to the letter: another member,
//! or a tag that is none, is refused, so that nothing is lost in silence.

use std::collections::{HashMap, HashSet};

use base64ct::{Base64, Encoding};
use serde_json::value::RawValue;

use super::json::{Document, Object};
use super::{ImportError, Item, Items, Source, Why};
use crate::export::{FORMAT, VERSION};
use crate::model::{
    Description, Name, ProjectName, SecretBytes, SecretValue, Tag, TagKey, Timestamp,
};

pub(super) fn read(text: &str, prefix: &str) -> Result<Items, ImportError> {
    let document = Document::new(text);

    // Whatever else lies in an age file is not shown by its places.
    let Ok(Object(members)) = document.object() else { return Err(other()) };
    let members = Members::of(members, "the document")?;
    if members
        .string(&document, "format")?
        .is_none_or(|format| format.expose() != FORMAT.as_bytes())
    {
        return Err(other());
    }

    if members.get("version").is_none_or(|version| version.get() != VERSION.to_string()) {
        return Err(ImportError::nowhere(Why::Version));
    }

    members.only(&["format", "version", "projects"], "the document")?;
    let projects = members.list(&document, "projects")?.ok_or_else(|| bad("`projects`"))?;
    let mut reader = Reader { document: &document, prefix, items: Items::default() };
    let mut names = HashSet::new();

    for project in projects {
        let name = reader.project(project)?;
        if let Some(again) = names.replace(name) {
            return Err(bad(format!("a second project `{again}`")));
        }
    }

    Ok(reader.items)
}

struct Reader<'d, 'a> {
    document: &'d Document<'a>,
    prefix: &'d str,
    items: Items,
}

impl<'a> Reader<'_, 'a> {
    fn project(&mut self, part: &'a RawValue) -> Result<ProjectName, ImportError> {
        let members = self.members(part, "a project")?;
        members.only(&["name", "secrets"], "a project")?;
        let name =
            members.text(self.document, "name")?.ok_or_else(|| bad("the name of a project"))?;
        let name = ProjectName::parse(&name).map_err(|_| bad("the name of a project"))?;
        let secrets = members.list(self.document, "secrets")?;
        let mut tags: HashSet<TagKey> = HashSet::new();

        for secret in secrets.ok_or_else(|| bad(format!("the `secrets` of project `{name}`")))? {
            let item = self.secret(secret, &name)?;
            if !tags.insert(item.tag.key()) {
                return Err(bad(format!("a second `{}` in project `{name}`", item.tag)));
            }

            self.items.items.push(item);
        }

        Ok(name)
    }

    fn secret(&self, part: &'a RawValue, project: &ProjectName) -> Result<Item, ImportError> {
        let whose = format!("a secret of project `{project}`");
        let members = self.members(part, &whose)?;
        let tag = members.text(self.document, "tag")?.and_then(|tag| Tag::parse(&tag).ok());
        let plain = tag.ok_or_else(|| bad(format!("the tag of {whose}")))?;
        let source = format!("{project}/{plain}");
        let odd = |what: &str| bad(format!("the {what} of `{source}`"));

        members.only(
            &["tag", "name", "description", "value", "valueBase64", "createdAt", "updatedAt"],
            &source,
        )?;

        let tag = Tag::parse(&format!("{}{plain}", self.prefix))
            .map_err(|_| ImportError::nowhere(Why::Prefix))?;
        let name = members.text(self.document, "name")?.unwrap_or_default();
        let description = members.text(self.document, "description")?.unwrap_or_default();
        let time = |key| {
            let text = members.text(self.document, key)?;
            text.and_then(|text| Timestamp::parse(&text)).ok_or_else(|| odd("times"))
        };

        let value = match (
            members.string(self.document, "value")?,
            members.string(self.document, "valueBase64")?,
        ) {
            (Some(value), None) => value,
            (None, Some(encoded)) => decoded(&encoded).ok_or_else(|| odd("value"))?,
            _ => return Err(odd("value")),
        };

        Ok(Item {
            tag,
            name: Name::parse(&name).map_err(|_| odd("name"))?,
            description: Description::parse(&description).map_err(|_| odd("description"))?,
            value: SecretValue::new(value, true)
                .map_err(|_| ImportError::nowhere(Why::TooLarge(source.clone())))?,
            origin: Some(Source {
                project: project.clone(),
                created: time("createdAt")?,
                updated: time("updatedAt")?,
            }),
            source,
        })
    }

    fn members(&self, part: &'a RawValue, what: &str) -> Result<Members<'a>, ImportError> {
        let members = self.document.members(part, "projects").ok().flatten();
        Members::of(members.ok_or_else(|| bad(what))?.0, what)
    }
}

/// The members of one object, none of them twice.
struct Members<'a>(HashMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn of(members: Vec<(String, &'a RawValue)>, what: &str) -> Result<Self, ImportError> {
        let count = members.len();
        let members: HashMap<_, _> = members.into_iter().collect();
        if members.len() == count {
            Ok(Self(members))
        } else {
            Err(bad(format!("a member of {what}")))
        }
    }

    fn only(&self, known: &[&str], what: &str) -> Result<(), ImportError> {
        if self.0.keys().all(|key| known.contains(&key.as_str())) {
            return Ok(());
        }

        Err(bad(format!("a member of {what} that this version does not know")))
    }

    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.get(key).copied()
    }

    fn list(
        &self,
        document: &Document<'a>,
        key: &'static str,
    ) -> Result<Option<Vec<&'a RawValue>>, ImportError> {
        match self.get(key) {
            Some(part) => document.elements(part, key).map_err(|_| bad(format!("`{key}`"))),
            None => Ok(None),
        }
    }

    /// A string; anything else is none.
    fn string(
        &self,
        document: &Document<'a>,
        key: &str,
    ) -> Result<Option<SecretBytes>, ImportError> {
        match self.get(key) {
            Some(part) if part.get().starts_with('"') => {
                document.scalar(part).map_err(|_| bad(format!("`{key}`")))
            }
            Some(_) => Err(bad(format!("a `{key}`"))),
            None => Ok(None),
        }
    }

    /// A string that is no secret.
    fn text(&self, document: &Document<'a>, key: &str) -> Result<Option<String>, ImportError> {
        let text = self.string(document, key)?;
        Ok(text.map(|text| String::from_utf8_lossy(text.expose()).into_owned()))
    }
}

fn decoded(encoded: &SecretBytes) -> Option<SecretBytes> {
    let mut bytes = SecretBytes::zeroed(encoded.len().div_ceil(4) * 3);
    let length = Base64::decode(encoded.expose(), bytes.expose_mut()).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

fn other() -> ImportError {
    ImportError::nowhere(Why::NotAnExport)
}

fn bad(what: impl Into<String>) -> ImportError {
    ImportError::nowhere(Why::Document(what.into()))
}
