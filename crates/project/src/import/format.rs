//! The formats by name, and their detection in a file. Never reads more of a value than is
//! necessary to skip it.

use secrets_age::is_age;

use super::managers::{keepass, one_password, table};
use super::tree::json::{self, Document, Object};
use super::{begins_with, services};
use crate::dotenv::BOM;

/// A file format that is recognized by its bytes and is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The database of KeePass 2 and KeePassXC
    Kdbx,
    /// The database of KeePass 1
    Kdb,
    /// 1Password's `.1pux`, a ZIP archive
    OnePux,
    /// Another ZIP archive
    Zip,
    Gzip,
    /// A SQLite database, possibly a vault
    Sqlite,
    Utf16,
}

impl Container {
    /// Detects the format from a file's first bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x03, 0xd9, 0xa2, 0x9a, 0x67 | 0x66, 0xfb, 0x4b, 0xb5, ..] => Self::Kdbx,
            [0x03, 0xd9, 0xa2, 0x9a, 0x65, 0xfb, 0x4b, 0xb5, ..] => Self::Kdb,
            [b'P', b'K', 3, 4, ..] if one_password::is_1pux(bytes) => Self::OnePux,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, _, 0, ..] | [0, _, 0, _, ..] => {
                Self::Utf16
            }
            _ if bytes.starts_with(b"SQLite format 3\0") => Self::Sqlite,
            _ => return None,
        })
    }

    /// Returns a description with its article.
    pub fn what(self) -> &'static str {
        match self {
            Self::Kdbx => "a KeePass database (.kdbx), which is encrypted",
            Self::Kdb => "a KeePass 1 database (.kdb), which is encrypted",
            Self::OnePux => "a 1Password export (.1pux)",
            Self::Zip => "a ZIP archive",
            Self::Gzip => "a gzip file",
            Self::Sqlite => "an SQLite database",
            Self::Utf16 => "UTF-16 text, but only UTF-8 can be read",
        }
    }

    /// Returns a hint on how to import such a file. `file` is the file's name, quoted for a shell.
    pub fn fix(self, file: &str) -> String {
        match self {
            Self::Kdbx | Self::OnePux => format!("run `secrets import {file}`"),
            Self::Kdb => {
                "open it in KeePassXC or KeePass 2, export it as XML, and import that file".into()
            }
            Self::Zip => {
                format!("run `unzip {file}`, then import the .json or .csv file from it")
            }
            Self::Gzip => format!("run `gunzip <{file} | secrets import -`"),
            Self::Sqlite => "if it is a vault, use `--vault FILE` or `secrets restore FILE`".into(),
            Self::Utf16 => format!("run `iconv -f UTF-16 -t UTF-8 {file} | secrets import -`"),
        }
    }
}

/// A format that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Dotenv,
    /// An object of JSON
    Json,
    Yaml,
    /// 1Password's `.1pux` or CSV, or the items that `op` prints
    OnePassword,
    /// Bitwarden's JSON or CSV
    Bitwarden,
    /// KeePass's XML or KeePassXC's CSV
    KeePass,
    /// LastPass's CSV
    LastPass,
    /// The answer of `vault kv get -format=json`
    Vault,
    /// The answer of AWS Secrets Manager
    Aws,
    /// The output of `doppler secrets --json`
    Doppler,
    /// The output of `infisical export --format json`
    Infisical,
    /// An age file of `secrets export`
    Age,
}

impl Format {
    /// The names that [`Self::named`] accepts.
    pub const NAMES: [&str; 12] = [
        "dotenv",
        "json",
        "yaml",
        "1password",
        "bitwarden",
        "keepass",
        "lastpass",
        "vault",
        "aws",
        "doppler",
        "infisical",
        "age",
    ];

    const ALL: [Self; 12] = [
        Self::Dotenv,
        Self::Json,
        Self::Yaml,
        Self::OnePassword,
        Self::Bitwarden,
        Self::KeePass,
        Self::LastPass,
        Self::Vault,
        Self::Aws,
        Self::Doppler,
        Self::Infisical,
        Self::Age,
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::OnePassword => "1password",
            Self::Bitwarden => "bitwarden",
            Self::KeePass => "keepass",
            Self::LastPass => "lastpass",
            Self::Vault => "vault",
            Self::Aws => "aws",
            Self::Doppler => "doppler",
            Self::Infisical => "infisical",
            Self::Age => "age",
        }
    }

    /// Detects the format of a file from its content, and from its name if that is more specific.
    /// Returns `None` for CSV, XML or JSON that is not a known export. Any other file counts as a
    /// `.env` file.
    pub fn of(name: Option<&str>, text: &[u8]) -> Option<Self> {
        if is_age(text) {
            return Some(Self::Age);
        }

        if Container::of(text) == Some(Container::OnePux) {
            return Some(Self::OnePassword);
        }

        let name = name
            .and_then(|name| name.rsplit(['/', '\\']).next())
            .unwrap_or_default()
            .to_lowercase();

        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let exported = matches!(ending, "csv" | "json" | "xml");
        if !exported && (name.starts_with(".env") || ending == "env") {
            return Some(Self::Dotenv);
        }

        let text = text.strip_prefix(BOM).unwrap_or(text);
        let Ok(text) = std::str::from_utf8(text) else {
            return (!exported).then_some(Self::Dotenv);
        };

        if matches!(ending, "yaml" | "yml") || text.starts_with("---\n") {
            Some(Self::Yaml)
        } else if begins_with(text, '{') || begins_with(text, '[') {
            of_json(text)
        } else if begins_with(text, '<') {
            keepass::is_root_of(text).then_some(Self::KeePass)
        } else if matches!(ending, "json" | "xml") {
            None
        } else if let Some(format) = table::format_of(text) {
            Some(format)
        } else {
            let first = text.trim_start().lines().next().unwrap_or_default();
            let table = first.contains(',') && !first.contains('=') && !first.starts_with('#');
            (ending != "csv" && !table).then_some(Self::Dotenv)
        }
    }
}

/// Returns true for a file whose values sops encrypted.
pub fn is_of_sops(format: Format, text: &[u8]) -> bool {
    let has = |part: &[u8]| memchr::memmem::find(text, part).is_some();
    matches!(format, Format::Dotenv | Format::Json | Format::Yaml)
        && has(b"ENC[AES256_GCM,")
        && has(b"sops")
}

/// Detects what a JSON text is. Invalid JSON counts as JSON, so that its error is reported.
fn of_json(text: &str) -> Option<Format> {
    if is_bitwarden(text) {
        return Some(Format::Bitwarden);
    }

    let Ok(nodes) = json::read(text) else { return Some(Format::Json) };
    if one_password::is_from_op(&nodes) {
        return Some(Format::OnePassword);
    }

    let is_object = || nodes.first().is_some_and(|node| node.map().is_some());
    services::format_of(&nodes).or_else(|| is_object().then_some(Format::Json))
}

/// Returns true for an object with a list of items and a statement about encryption. An export that
/// is encrypted as a whole has no items.
fn is_bitwarden(text: &str) -> bool {
    let Ok(Object(members)) = Document::new(text).object() else { return false };
    let member =
        |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, part)| part.get());
    let listed = member("items").is_some_and(|items| items.starts_with('['));
    member("encrypted").is_some() && (listed || member("passwordProtected").is_some())
}
