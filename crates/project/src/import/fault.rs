//! The reasons why an export is rejected. Errors never contain a byte of a value. Messages of
//! libraries are not passed on, because they may quote values.

use thiserror::Error;

use crate::dotenv;
use crate::position::Lines;
use crate::position::Position;

/// The reason why a file is rejected, and its position.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct ImportError {
    /// The line and column, counted from 1; columns count bytes, without the byte order mark
    pub at: Option<Position>,
    pub why: Why,
}

impl ImportError {
    pub(super) fn at(at: Position, why: Why) -> Self {
        Self { at: Some(at), why }
    }

    pub(super) fn without_position(why: Why) -> Self {
        Self { at: None, why }
    }
}

/// The reason why a file is rejected. Names in it are labels.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// The prefix is not a valid start of a tag, or leaves no room for the rest
    #[error("no tag can begin with that prefix")]
    Prefix,
    #[error(transparent)]
    Dotenv(dotenv::Why),
    #[error("the file is not UTF-8")]
    Utf8,
    #[error("the value of `{0}` is larger than 1 MiB")]
    TooLarge(String),
    #[error("invalid JSON")]
    Json,
    #[error("the file is not a single JSON object")]
    NotAnObject,
    #[error("invalid YAML")]
    Yaml,
    #[error("the file has no {0} map of names and values")]
    NoMap(&'static str),
    #[error("the file has more than one YAML document")]
    Documents,
    #[error("the name of a value is itself a list or a map")]
    KeyNotText,
    #[error("`<<` adds something that is not a map")]
    Merge,
    #[error("lists and maps are nested too deep")]
    TooDeep,
    #[error("the file has too many values, or aliases repeat too much")]
    TooMany,
    #[error("the joined name of a value is longer than 1024 bytes")]
    TooLongName,
    #[error("a value is not valid Base64")]
    Base64,
    /// The values do not have the shape of this format
    #[error("the file does not have the form of `{0}`")]
    NotFrom(&'static str),
    #[error("the archive is damaged or is not a 1Password export")]
    Archive,
    /// The export says `"encrypted": true`
    #[error("the file is encrypted; export it as `.json`, not as `.json (Encrypted)`")]
    Encrypted,
    #[error("the file has no `items` list, so it is not a Bitwarden export")]
    NoItems,
    #[error("`{0}` does not have the type that Bitwarden uses for it")]
    Shape(&'static str),
    #[error("the first row does not contain the column names of this format")]
    Columns,
    #[error(
        "the variables `{0}` and `{1}` would get the same tag: tags ignore case and treat `-` and `.` like `_`"
    )]
    DuplicateTag(String, String),
    #[error("this row does not have as many cells as the first row")]
    Row,
    #[error("a double quote is never closed")]
    Quote,
    #[error("a double quote inside a cell is not doubled, so the end of the cell is ambiguous")]
    BareQuote,
    #[error("invalid XML")]
    Xml,
    #[error("unknown entity; only XML's five predefined entities are supported")]
    Entity,
    /// The root element is not KeePass's
    #[error("the file is not a KeePass XML export")]
    NotKeePass,
    /// A value has `Protected="True"`
    #[error(
        "a value in the file is encrypted; export it as `KeePass XML (2.x)` or with `keepassxc-cli export`"
    )]
    Protected,
    #[error("the file does not contain a `secrets` export")]
    NotAnExport,
    #[error("the export has a version that is not supported")]
    Version,
    #[error("{0} is not valid in a `secrets` export")]
    Document(String),
}

/// Returns the text as a string, or an error with the position of the first invalid byte.
pub(super) fn utf8(text: &[u8]) -> Result<&str, ImportError> {
    std::str::from_utf8(text)
        .map_err(|error| ImportError::at(Lines::of(text).position(error.valid_up_to()), Why::Utf8))
}
