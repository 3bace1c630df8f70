//! The tables and keys of the file, each checked when it is read. Their comments are the
//! descriptions of the JSON Schema.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use secrets_core::crypto::witness::Witness;
use secrets_core::model::{Description, Period, ProjectName, Source};
use secrets_files::permission_bits;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::proxy::ProxyTable;
use crate::dotenv::readers::{Reader, Readers};
use crate::template::filter::Filter;
use crate::template::grammar::Delimiters;

/// The names of projects, for the JSON Schema.
#[cfg(test)]
const PROJECT: &str = "^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,127}$";

/// The file that declares which secrets a project's directory needs. It never holds a value
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = ".secrets.toml"))]
pub(super) struct File {
    /// The project whose secrets the placeholders name
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = PROJECT)))]
    pub(super) project: Option<Text<ProjectName>>,
    /// A state that the project must follow; `secrets check --witness` writes it
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) witness: Option<Text<Witness>>,
    /// The secrets that the project needs, each under its tag
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, SecretTable>"))]
    pub(super) secrets: BTreeMap<Spanned<String>, StrictTable<SecretTable>>,
    /// The files that are rendered from templates
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<RenderTable>"))]
    pub(super) render: Vec<Spanned<StrictTable<RenderTable>>>,
    /// What `secrets run` passes to a program
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "RunTable"))]
    pub(super) run: Option<StrictTable<RunTable>>,
    /// How programs use secrets through `secrets proxy` and `secrets run --proxy`
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "ProxyTable"))]
    pub(super) proxy: Option<StrictTable<ProxyTable>>,
    /// Other sets of values for the same set-up, each under a name that `-E` selects
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, EnvironmentTable>"))]
    pub(super) environments: BTreeMap<Spanned<String>, StrictTable<EnvironmentTable>>,
}

/// A set of values of its own
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "environment"))]
pub(super) struct EnvironmentTable {
    /// The project with the values; by default the file's project, a dot and the name
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = PROJECT)))]
    pub(super) project: Option<Text<ProjectName>>,
    /// A state that this project must follow; `secrets check --witness` writes it
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) witness: Option<Text<Witness>>,
    /// Other paths for outputs: the path of an output, and its path in this environment
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) outputs: BTreeMap<Spanned<String>, Text<RelativePath>>,
    /// Variables for `secrets run` that are added, or replace one of run.env
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "RunTable"))]
    pub(super) run: Option<StrictTable<RunTable>>,
}

/// A secret that the project needs
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "secret"))]
pub(super) struct SecretTable {
    /// The purpose of the secret, shown when its value is asked for
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", length(max = 4096)))]
    pub(super) description: Option<Words>,
    /// How `secrets setup` generates a value if the secret has none
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "GenerateTable"))]
    pub(super) generate: Option<StrictTable<GenerateTable>>,
    /// Whether the project works without the secret
    #[serde(default)]
    pub(super) optional: bool,
    /// The web page where a new value can be had, shown when the value is asked for or expires. It
    /// is never opened
    #[serde(default)]
    #[cfg_attr(
        test,
        schemars(with = "String", length(max = 2048), regex(pattern = r"^(https?://[^/].*)?$"))
    )]
    pub(super) source: Option<Address>,
    /// The time after which a new value expires: a number and h, d, w, m (30 days) or y (365 days)
    #[serde(default, rename = "expires-after")]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^[0-9]+[hdwmy]$")))]
    pub(super) expires_after: Option<Text<Period>>,
}

/// How to generate a value
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "generate"))]
pub(super) struct GenerateTable {
    /// The number of characters
    #[serde(default = "default_length")]
    #[cfg_attr(test, schemars(with = "u16", range(min = 4, max = 1024)))]
    pub(super) length: GeneratedLength,
    /// The characters to draw from
    #[serde(default)]
    pub(super) alphabet: AlphabetWord,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "alphabet"))]
pub(super) enum AlphabetWord {
    /// Letters and digits
    #[default]
    Alnum,
    /// The digits 0-9 and the letters a-f
    Hex,
    /// Letters, digits, `-` and `_`
    Base64url,
    /// The 94 visible ASCII characters
    Ascii,
}

/// A file that is rendered from a template
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "render"))]
pub(super) struct RenderTable {
    /// The template's path, relative to this file
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) template: Text<RelativePath>,
    /// The path of the rendered file, relative to this file
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) output: Text<RelativePath>,
    /// The permission bits of the output in octal, without execute bits; "600" by default
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", regex(pattern = "^0?[0246]{3}$")))]
    pub(super) mode: Option<Text<FileMode>>,
    /// The filter for placeholders that name none
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String", extend("enum" = Filter::NAMES)))]
    pub(super) escape: Option<Text<Filter>>,
    /// The opening and closing delimiter of a placeholder; "{{,}}" by default
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) delimiters: Option<Text<Delimiters>>,
    /// Whether only {{ secrets.tag }} is a placeholder, and not the bare {{NAME}}
    #[serde(default)]
    pub(super) namespaced: bool,
    /// The programs that read the output, if it is a dotenv file. The filter `dotenv` writes values
    /// that all of them read in the same way
    #[serde(default)]
    #[cfg_attr(test, schemars(schema_with = "super::tests::readers_schema"))]
    pub(super) readers: Option<ReaderList>,
}

/// What `secrets run` passes to a program
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "run"))]
pub(super) struct RunTable {
    /// The variables and their templates
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(super) env: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
}

/// Deserializes only a table. By default, serde also accepts a list and assigns its items to the
/// keys in their order.
pub(super) struct StrictTable<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for StrictTable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrictTableVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for StrictTableVisitor<T> {
            type Value = StrictTable<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(StrictTable)
            }
        }

        deserializer.deserialize_map(StrictTableVisitor(std::marker::PhantomData))
    }
}

/// A value that is parsed from a string.
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The readers of a dotenv file, at least one.
pub(super) struct ReaderList(pub(super) Readers);

impl<'de> Deserialize<'de> for ReaderList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = ReaderList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of readers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
                let mut readers = Vec::new();
                while let Some(Text(reader)) = names.next_element::<Text<Reader>>()? {
                    readers.push(reader);
                }

                if readers.is_empty() {
                    return Err(serde::de::Error::custom("the list of readers is empty"));
                }

                Ok(ReaderList(readers.into_iter().collect()))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// A description, or `None` if it is empty.
pub(super) struct Words(pub(super) Option<Description>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Description::parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The address of a web page, or `None` if it is empty.
pub(super) struct Address(pub(super) Option<Source>);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Source::parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

pub(super) struct GeneratedLength(pub(super) u16);

pub(super) fn default_length() -> GeneratedLength {
    GeneratedLength(32)
}

impl<'de> Deserialize<'de> for GeneratedLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match i64::deserialize(deserializer).map(u16::try_from)? {
            Ok(length @ 4..=1024) => Ok(Self(length)),
            _ => Err(serde::de::Error::custom("a generated value must have 4 to 1024 characters")),
        }
    }
}

pub(super) struct FileMode(pub(super) u32);

impl FromStr for FileMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bits = permission_bits(text)
            .ok_or("`mode` must be three octal digits in quotes, for example \"640\"")?;
        if bits & 0o111 != 0 {
            return Err("`mode` cannot set an execute bit; use \"600\", \"640\" or \"644\"");
        }

        Ok(Self(bits))
    }
}

/// A normalized path of a file inside the manifest's directory.
pub(super) struct RelativePath(pub(super) PathBuf);

impl FromStr for RelativePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut path = PathBuf::new();
        for part in Path::new(text).components() {
            match part {
                Component::Normal(name) if name.eq_ignore_ascii_case(".git") => {
                    return Err("the path is inside a `.git` directory");
                }
                Component::Normal(name) => path.push(name),
                Component::CurDir => {}
                _ => return Err("the path leads out of the directory of this file"),
            }
        }

        if path.as_os_str().is_empty() || text.ends_with('/') || text.contains('\0') {
            return Err("this is not the path of a file");
        }

        Ok(Self(path))
    }
}
