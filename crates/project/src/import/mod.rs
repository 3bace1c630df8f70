//! Reads exports of other tools into items that can be stored. Never reads files or opens a vault.
//! Errors never contain a byte of a value, but only labels: a key, a title or the name of a field.
//!
//! | format | what is read |
//! |---|---|
//! | dotenv | the dialect of `crate::dotenv` |
//! | json, yaml | one object or map; the names in nested ones are joined |
//! | 1password | the `.1pux` and CSV of 1Password 8, the items that `op` prints |
//! | bitwarden | the unencrypted JSON and the CSV |
//! | keepass | the XML of KeePass 2 and KeePassXC, the CSV of KeePassXC |
//! | lastpass | the CSV |
//! | vault, aws, doppler, infisical | the JSON that the service's own program prints |
//! | age | the document of `secrets export`, decrypted |
//!
//! Nothing is lost silently: [`Items::skipped`] lists everything that does not become an item. The
//! exceptions are previous passwords (history), data that only organizes entries (folders, tags,
//! icons, times), and the parts of addresses that may be secret but would be shown (credentials,
//! the query).

mod collector;
mod dotenvx;
mod entry;
mod exported;
mod fault;
mod foreign;
mod format;
mod managers;
mod pairs;
mod services;
mod tags;
mod tree;

use secrets_core::model::{
    self, Class, Description, Name, ProjectName, SecretValue, Tag, Timestamp,
};

pub use dotenvx::{DotenvxKeys, PRIVATE_KEY};
pub use fault::{ImportError, Why};
pub use format::{Container, Format, is_of_sops};
pub use managers::pass::{StoreEntry, read_store};
use managers::{bitwarden, keepass, one_password, table};
use tree::Node;

/// The reason why an item without a value is skipped.
pub const EMPTY: &str = "it is empty";

/// A secret to be stored. It does not implement `Debug`, because the value is secret.
pub struct Item {
    /// The tag, unique within the project
    pub tag: Tag,
    /// The entry's title
    pub name: Option<Name>,
    /// User names and addresses
    pub description: Option<Description>,
    /// The value; only our own exports contain empty ones
    pub value: SecretValue,
    /// The readers who may use the value; only our own exports contain restricted secrets
    pub class: Class,
    /// The label in the source, such as `DATABASE_URL` or `GitHub, password`
    pub source: String,
    /// The project and times in the exporting vault, if the format contains them
    pub origin: Option<Source>,
}

/// A secret's project, times and source in the vault from which it was exported.
pub struct Source {
    pub project: ProjectName,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub expires: Option<Timestamp>,
    /// The place where a new value can be had
    pub address: Option<model::Source>,
}

/// A part of the file that does not become an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The label in the source
    pub source: String,
    /// The line in the file, counted from 1
    pub line: Option<u64>,
    /// The reason, as a phrase
    pub why: &'static str,
    /// Whether [`ImportOptions::as_is`] would store it
    pub as_is: bool,
    /// Whether a value is lost with the file
    pub has_value: bool,
}

#[derive(Clone, Copy, Default)]
pub struct ImportOptions<'p> {
    pub prefix: &'p str,
    /// Whether ciphertexts and references of other tools, and values with placeholders, are stored
    /// unchanged
    pub as_is: bool,
    /// The keys for values that dotenvx encrypted; without `as_is`, they are decrypted
    pub dotenvx: Option<&'p DotenvxKeys>,
}

/// The contents of a file, in the file's order.
#[derive(Default)]
pub struct Items {
    pub items: Vec<Item>,
    pub skipped: Vec<Skipped>,
    /// The variables of a `.env` file that refer to another variable, and their lines
    pub referring: Vec<(String, u64)>,
}

impl Items {
    /// Adds entries of a store that could not be read.
    pub fn skip_unreadable(&mut self, names: Vec<String>, why: &'static str) {
        self.skipped.extend(names.into_iter().map(|name| Skipped {
            source: entry::label(&name),
            line: None,
            why,
            as_is: false,
            has_value: true,
        }));
    }
}

/// Reads a whole file. For [`Format::Age`], `text` is the decrypted document.
///
/// The caller has to wipe `text`, and the copies of the libraries that read CSV, JSON and XML
/// (`with_freed_memory_wiped`).
///
/// # Errors
/// Reports the first violation of the format. The values before it are wiped.
pub fn read(format: Format, text: &[u8], options: ImportOptions<'_>) -> Result<Items, ImportError> {
    let found = collector::Collector::new(tags::Tags::new(options.prefix)?, options.as_is);
    let text = text.strip_prefix(crate::dotenv::BOM).unwrap_or(text);
    match format {
        Format::Age => {
            let text =
                fault::utf8(text).map_err(|_| ImportError::without_position(Why::NotAnExport))?;
            exported::read(text, options.prefix)
        }
        Format::Dotenv => pairs::dotenv(text, options.dotenvx.filter(|_| !options.as_is), found),
        Format::Json => {
            let mut nodes = tree::json::read(fault::utf8(text)?)?;
            match (nodes.pop(), nodes.is_empty()) {
                (Some(node), true) if node.map().is_some() => values(node, found),
                _ => Err(ImportError::without_position(Why::NotAnObject)),
            }
        }
        Format::Yaml => {
            let node = tree::yaml::read(fault::utf8(text)?)?;
            if node.map().is_none() {
                return Err(ImportError::at(node.at, Why::NoMap("YAML")));
            }

            values(node, found)
        }
        Format::Vault | Format::Aws | Format::Doppler | Format::Infisical => {
            let nodes = tree::json::read(fault::utf8(text)?)?;
            services::read(format, nodes, found)
        }
        Format::LastPass => table::read(format, fault::utf8(text)?, found),
        Format::OnePassword if one_password::is_1pux(text) => one_password::read_1pux(text, found),
        Format::OnePassword => {
            let text = fault::utf8(text)?;
            if begins_with(text, '{') || begins_with(text, '[') {
                one_password::read_op(tree::json::read(text)?, found)
            } else {
                table::read(format, text, found)
            }
        }
        Format::Bitwarden => {
            let text = fault::utf8(text)?;
            if begins_with(text, '{') {
                bitwarden::read(text, found)
            } else {
                table::read(format, text, found)
            }
        }
        Format::KeePass => {
            let text = fault::utf8(text)?;
            if begins_with(text, '<') {
                keepass::read(text, found)
            } else {
                table::read(format, text, found)
            }
        }
    }
}

/// Adds all values below a node.
fn values(node: Node, found: collector::Collector<'_>) -> Result<Items, ImportError> {
    pairs::named(node.flattened("")?, found)
}

fn begins_with(text: &str, first: char) -> bool {
    text.trim_start().starts_with(first)
}
