//! Why an export is refused, and where. Never holds a byte of a value; no library's message is passed on, they quote.

use thiserror::Error;

use crate::dotenv;

/// Why a file is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct ImportError {
    /// Line and column, counted from 1, columns in bytes; a byte order mark has none
    pub at: Option<(u64, u64)>,
    /// What is wrong there
    pub why: Why,
}

impl ImportError {
    pub(super) fn at(at: (u64, u64), why: Why) -> Self {
        Self { at: Some(at), why }
    }

    pub(super) fn nowhere(why: Why) -> Self {
        Self { at: None, why }
    }
}

/// What is wrong in a file. The names in it are labels.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// A tag cannot begin with what was asked for, or has no room behind it
    #[error("no tag can begin with that prefix")]
    Prefix,
    /// `.env`
    #[error(transparent)]
    Dotenv(dotenv::Why),
    /// Neither UTF-8 nor one of its subsets
    #[error("the file is not UTF-8")]
    Utf8,
    /// An item's value
    #[error("the value of `{0}` is larger than 1 MiB")]
    TooLarge(String),
    /// JSON's grammar
    #[error("invalid JSON")]
    Json,
    /// JSON, but a list, a string, …
    #[error("the file is not a single JSON object")]
    NotAnObject,
    /// An object or a list in a flat object
    #[error("the value of `{0}` is an object or a list; only flat objects are supported")]
    Nested(String),
    /// `"encrypted": true`
    #[error("the file is encrypted; export it as `.json`, not as `.json (Encrypted)`")]
    Encrypted,
    /// No `items`
    #[error("the file has no `items` list, so it is not a Bitwarden export")]
    NoItems,
    /// A part of Bitwarden's JSON that is of another type
    #[error("`{0}` does not have the type that Bitwarden uses for it")]
    Shape(&'static str),
    /// The first row of a table
    #[error("the first row does not contain the column names of this format")]
    Columns,
    /// Two variables whose names are one tag
    #[error(
        "the variables `{0}` and `{1}` would get the same tag: tags ignore case and treat `-` and `.` like `_`"
    )]
    OneTag(String, String),
    /// A row with more cells than columns, or fewer
    #[error("this row does not have as many cells as the first row")]
    Row,
    /// A cell that is still open at the end of the file
    #[error("a double quote is never closed")]
    Quote,
    /// A double quote inside a cell
    #[error(
        "a double quote inside a cell is not doubled, so the end of the cell is ambiguous"
    )]
    BareQuote,
    /// XML's grammar
    #[error("invalid XML")]
    Xml,
    /// `&name;` that XML does not define itself
    #[error("unknown entity; only XML's five predefined entities are supported")]
    Entity,
    /// Another root element
    #[error("the file is not a KeePass XML export")]
    NotKeePass,
    /// `Protected="True"`
    #[error(
        "a value in the file is encrypted; export it as `KeePass XML (2.x)` or with `keepassxc-cli export`"
    )]
    Protected,
    /// Something else in an age file
    #[error("the file does not contain a `secrets` export")]
    NotAnExport,
    /// An export of a later version
    #[error("the export has a version that is not supported")]
    Version,
    /// An export that is not as the format has it
    #[error("{0} is not valid in a `secrets` export")]
    Document(String),
}
