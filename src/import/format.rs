//! The formats by name, and which of them a file has. Never reads more of a value than it takes to step over it.

use super::json::{Document, Object};
use super::{begins_with, keepass, table};
use crate::crypto::age_file::is_age;
use crate::dotenv::BOM;

/// A format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.env`
    Dotenv,
    /// One flat object
    Json,
    /// 1Password's CSV
    OnePassword,
    /// Bitwarden's JSON or CSV
    Bitwarden,
    /// KeePass's XML or KeePassXC's CSV
    KeePass,
    /// `secrets export`: an age file
    Age,
}

impl Format {
    /// What [`Self::named`] takes.
    pub const NAMES: [&str; 6] = ["dotenv", "json", "1password", "bitwarden", "keepass", "age"];

    const ALL: [Self; 6] = [Self::Dotenv, Self::Json, Self::OnePassword, Self::Bitwarden, Self::KeePass, Self::Age];

    /// The format of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Json => "json",
            Self::OnePassword => "1password",
            Self::Bitwarden => "bitwarden",
            Self::KeePass => "keepass",
            Self::Age => "age",
        }
    }

    /// The format of a file, by its content, and by its name where that says more. `None` where it is CSV, XML or JSON
    /// that is no known export; what is none of the three is taken for a `.env` file.
    pub fn of(name: Option<&str>, text: &[u8]) -> Option<Self> {
        if is_age(text) {
            return Some(Self::Age);
        }
        let name = name.and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or_default().to_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let exported = matches!(ending, "csv" | "json" | "xml");
        if !exported && (name.starts_with(".env") || ending == "env") {
            return Some(Self::Dotenv);
        }
        let text = text.strip_prefix(BOM).unwrap_or(text);
        let Ok(text) = std::str::from_utf8(text) else {
            return (!exported).then_some(Self::Dotenv);
        };
        if begins_with(text, '{') {
            Some(if is_bitwarden(text) { Self::Bitwarden } else { Self::Json })
        } else if begins_with(text, '<') {
            keepass::is_root_of(text).then_some(Self::KeePass)
        } else if begins_with(text, '[') || matches!(ending, "json" | "xml") {
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

/// True for a list of items and word about their encryption; for what is encrypted as a whole there are no items.
fn is_bitwarden(text: &str) -> bool {
    let Ok(Object(members)) = Document::new(text).object() else { return false };
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, part)| part.get());
    let listed = member("items").is_some_and(|items| items.starts_with('['));
    member("encrypted").is_some() && (listed || member("passwordProtected").is_some())
}
