//! Reads the document of `secrets export` from its age file (docs/export.md). Reading is strict: an
//! unknown member or an invalid tag is an error, so that nothing is lost silently.

use std::collections::{HashMap, HashSet};

use secrets_core::model::{
    self, Class, Description, Name, ProjectName, SecretBytes, SecretValue, Tag, TagKey, Timestamp,
};
use serde_json::value::RawValue;

use super::tree::decode_base64;
use super::tree::json::{Document, Object};
use super::{ImportError, Item, Items, Source, Why};
use crate::export::{FORMAT, VERSION};

pub(super) fn read(text: &str, prefix: &str) -> Result<Items, ImportError> {
    let document = Document::new(text);

    // If the age file contains something else, the error reports no positions in it.
    let Ok(Object(members)) = document.object() else { return Err(not_an_export()) };
    let members = Members::of(members, "the document")?;
    if members
        .string(&document, "format")?
        .is_none_or(|format| format.expose() != FORMAT.as_bytes())
    {
        return Err(not_an_export());
    }

    if members.get("version").is_none_or(|version| version.get() != VERSION.to_string()) {
        return Err(ImportError::without_position(Why::Version));
    }

    members.only(&["format", "version", "projects"], "the document")?;
    let projects = members.list(&document, "projects")?.ok_or_else(|| invalid("`projects`"))?;
    let mut reader = Reader { document: &document, prefix, items: Items::default() };
    let mut names = HashSet::new();

    for project in projects {
        let name = reader.project(project)?;
        if let Some(again) = names.replace(name) {
            return Err(invalid(format!("a second project `{again}`")));
        }
    }

    Ok(reader.items)
}

/// The members of a secret.
const MEMBERS: [&str; 10] = [
    "tag",
    "name",
    "description",
    "access",
    "value",
    "valueBase64",
    "createdAt",
    "updatedAt",
    "expiresAt",
    "source",
];

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
            members.text(self.document, "name")?.ok_or_else(|| invalid("the name of a project"))?;
        let name = ProjectName::parse(&name).map_err(|_| invalid("the name of a project"))?;
        let secrets = members.list(self.document, "secrets")?;
        let mut tags: HashSet<TagKey> = HashSet::new();

        let secrets =
            secrets.ok_or_else(|| invalid(format!("the `secrets` of project `{name}`")))?;

        for secret in secrets {
            let item = self.secret(secret, &name)?;
            if !tags.insert(item.tag.key()) {
                return Err(invalid(format!("a second `{}` in project `{name}`", item.tag)));
            }

            self.items.items.push(item);
        }

        Ok(name)
    }

    fn secret(&self, part: &'a RawValue, project: &ProjectName) -> Result<Item, ImportError> {
        let owner = format!("a secret of project `{project}`");
        let members = self.members(part, &owner)?;
        let tag = members.text(self.document, "tag")?.and_then(|tag| Tag::parse(&tag).ok());
        let plain = tag.ok_or_else(|| invalid(format!("the tag of {owner}")))?;
        let source = format!("{project}/{plain}");
        let invalid_field = |what: &str| invalid(format!("the {what} of `{source}`"));

        members.only(&MEMBERS, &format!("`{source}`"))?;

        let tag = Tag::parse(&format!("{}{plain}", self.prefix))
            .map_err(|_| ImportError::without_position(Why::Prefix))?;
        let name = members.text(self.document, "name")?.unwrap_or_default();
        let description = members.text(self.document, "description")?.unwrap_or_default();
        let class = match members.text(self.document, "access")? {
            Some(word) => Class::of_word(&word).ok_or_else(|| invalid_field("access"))?,
            None => Class::Team,
        };

        let address = members.text(self.document, "source")?.unwrap_or_default();
        let time = |key| {
            let text = members.text(self.document, key)?;
            text.and_then(|text| Timestamp::parse(&text)).ok_or_else(|| invalid_field("times"))
        };

        let expires = members.get("expiresAt").map(|_| time("expiresAt")).transpose()?;

        let value = match (
            members.string(self.document, "value")?,
            members.string(self.document, "valueBase64")?,
        ) {
            (Some(value), None) => value,
            (None, Some(encoded)) => {
                decode_base64(encoded.expose()).ok_or_else(|| invalid_field("value"))?
            }
            _ => return Err(invalid_field("value")),
        };

        Ok(Item {
            tag,
            name: Name::parse(&name).map_err(|_| invalid_field("name"))?,
            description: Description::parse(&description)
                .map_err(|_| invalid_field("description"))?,
            value: SecretValue::new(value, true)
                .map_err(|_| ImportError::without_position(Why::TooLarge(source.clone())))?,
            class,
            origin: Some(Source {
                project: project.clone(),
                created: time("createdAt")?,
                updated: time("updatedAt")?,
                expires,
                address: model::Source::parse(&address).map_err(|_| invalid_field("source"))?,
            }),
            source,
        })
    }

    fn members(&self, part: &'a RawValue, what: &str) -> Result<Members<'a>, ImportError> {
        let members = self.document.members(part, "projects").ok().flatten();
        Members::of(members.ok_or_else(|| invalid(what))?.0, what)
    }
}

/// The members of an object, without duplicates.
struct Members<'a>(HashMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn of(members: Vec<(String, &'a RawValue)>, what: &str) -> Result<Self, ImportError> {
        let count = members.len();
        let members: HashMap<_, _> = members.into_iter().collect();
        if members.len() == count {
            Ok(Self(members))
        } else {
            Err(invalid(format!("a repeated member of {what}")))
        }
    }

    fn only(&self, known: &[&str], what: &str) -> Result<(), ImportError> {
        if self.0.keys().all(|key| known.contains(&key.as_str())) {
            return Ok(());
        }

        Err(invalid(format!("an unknown member of {what}")))
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
            Some(part) => document.elements(part, key).map_err(|_| invalid(format!("`{key}`"))),
            None => Ok(None),
        }
    }

    /// Returns a string member. Any other type is an error.
    fn string(
        &self,
        document: &Document<'a>,
        key: &str,
    ) -> Result<Option<SecretBytes>, ImportError> {
        match self.get(key) {
            Some(part) if part.get().starts_with('"') => {
                document.scalar(part).map_err(|_| invalid(format!("`{key}`")))
            }
            Some(_) => Err(invalid(format!("a `{key}`"))),
            None => Ok(None),
        }
    }

    /// Returns a string member that is not secret.
    fn text(&self, document: &Document<'a>, key: &str) -> Result<Option<String>, ImportError> {
        let text = self.string(document, key)?;
        Ok(text.map(|text| String::from_utf8_lossy(text.expose()).into_owned()))
    }
}

fn not_an_export() -> ImportError {
    ImportError::without_position(Why::NotAnExport)
}

fn invalid(what: impl Into<String>) -> ImportError {
    ImportError::without_position(Why::Document(what.into()))
}
