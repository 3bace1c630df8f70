//! Exports of other tools, read into items that can be stored. Never reads a file, opens a vault or repeats a byte of a
//! value in an error: what it names are labels, a key, a title, the name of a field.
//!
//! | format | what is read |
//! |---|---|
//! | dotenv | `crate::dotenv`'s dialect |
//! | json | one flat object |
//! | 1password | the CSV of 1Password 8 |
//! | bitwarden | the unencrypted JSON and the CSV |
//! | keepass | the XML of KeePass 2 and of KeePassXC, KeePassXC's CSV |
//! | age | the document of `secrets export`, once its age file is open |
//!
//! Nothing is lost in silence: what does not become an item stands in [`Items::skipped`]. Left out without a word are
//! former passwords (history), what only orders entries (folders, tags, icons, times), and of addresses what may be secret and would be
//! shown: credentials, the query.

mod bitwarden;
mod entry;
mod exported;
mod fault;
mod foreign;
mod format;
mod json;
mod keepass;
mod pairs;
mod place;
mod references;
mod table;
mod tags;

pub use fault::{ImportError, Why};
pub use format::{Container, Format};

use crate::model::{Description, Name, ProjectName, SecretValue, Tag, Timestamp};

/// Why something without a value is skipped.
pub const EMPTY: &str = "it is empty";

/// One secret to be stored. It has no `Debug`: the value is secret.
pub struct Item {
    /// Its tag, unlike that of any other item of its project
    pub tag: Tag,
    /// The entry's title
    pub name: Option<Name>,
    /// User names and addresses
    pub description: Option<Description>,
    /// Its value; only an export of ours has empty ones
    pub value: SecretValue,
    /// What the source calls it: `DATABASE_URL`, `GitHub, password`; labels only
    pub source: String,
    /// Where it was before, where the format tells
    pub origin: Option<Source>,
}

/// A secret's project and times in the vault that it was exported from.
pub struct Source {
    /// The project
    pub project: ProjectName,
    /// When it was stored first
    pub created: Timestamp,
    /// When it was changed last
    pub updated: Timestamp,
}

/// Something that does not become an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// What the source calls it
    pub source: String,
    /// Line of the file, counted from 1
    pub line: Option<u64>,
    /// Why, as half a sentence
    pub why: &'static str,
    /// True for what [`ImportOptions::as_is`] stores
    pub as_is: bool,
}

/// How a file is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions<'p> {
    /// What goes before every tag
    pub prefix: &'p str,
    /// Whether other tools' ciphertexts and references, and texts with placeholders, are stored as they are
    pub as_is: bool,
}

/// What a file holds, in its order.
#[derive(Default)]
pub struct Items {
    /// To be stored
    pub items: Vec<Item>,
    /// Not to be stored
    pub skipped: Vec<Skipped>,
    /// Variables of a `.env` file whose value refers to another variable, and their lines
    pub referring: Vec<(String, u64)>,
}

/// Reads a whole file, of [`Format::Age`] what is in it.
///
/// `text` stays the caller's to wipe.
///
/// # Errors
/// The first thing that is not as the format has it; what was read before is wiped.
pub fn read(format: Format, text: &[u8], options: ImportOptions<'_>) -> Result<Items, ImportError> {
    let found = entry::Collector::new(tags::Tags::new(options.prefix)?, options.as_is);
    let text = text.strip_prefix(crate::dotenv::BOM).unwrap_or(text);
    match format {
        Format::Age => {
            let text = place::utf8(text).map_err(|_| ImportError::nowhere(Why::NotAnExport))?;
            exported::read(text, options.prefix)
        }
        Format::Dotenv => pairs::dotenv(text, found),
        Format::Json => pairs::json(place::utf8(text)?, found),
        Format::OnePassword => table::read(format, place::utf8(text)?, found),
        Format::Bitwarden => {
            let text = place::utf8(text)?;
            if begins_with(text, '{') {
                bitwarden::read(text, found)
            } else {
                table::read(format, text, found)
            }
        }
        Format::KeePass => {
            let text = place::utf8(text)?;
            if begins_with(text, '<') {
                keepass::read(text, found)
            } else {
                table::read(format, text, found)
            }
        }
    }
}

fn begins_with(text: &str, first: char) -> bool {
    text.trim_start().starts_with(first)
}
