//! The reasons why an export is rejected. Errors never contain a byte of a value. Messages of
//! libraries are not passed on, because they may quote values.

use thiserror::Error;

use crate::dotenv;

/// The reason why a file is rejected, and its position.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct ImportError {
    /// The line and column, counted from 1; columns count bytes, without the byte order mark
    pub at: Option<(u64, u64)>,
    /// The reason
    pub why: Why,
}

impl ImportError {
    pub(super) fn at(at: (u64, u64), why: Why) -> Self {
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
    #[error("no tag begins with that prefix")]
    Prefix,
    /// The `.env` file is invalid
    #[error(transparent)]
    Dotenv(dotenv::Why),
    /// The text is not UTF-8
    #[error("it is not UTF-8")]
    Utf8,
    /// An item's value is too large
    #[error("the value of `{0}` is larger than 1 MiB")]
    TooLarge(String),
    /// The JSON is invalid
    #[error("what stands there is not JSON")]
    Json,
    /// The JSON is not an object
    #[error("it is not one JSON object")]
    NotAnObject,
    /// A flat object contains an object or a list
    #[error("the value of `{0}` is an object or a list, and only a flat object can be read")]
    Nested(String),
    /// The export says `"encrypted": true`
    #[error("it is encrypted; export it as `.json`, not as `.json (Encrypted)`")]
    Encrypted,
    /// The list `items` is missing
    #[error("it has no list of `items`, which Bitwarden's export has")]
    NoItems,
    /// A part of Bitwarden's JSON has an unexpected type
    #[error("`{0}` is not of the type that Bitwarden gives it")]
    Shape(&'static str),
    /// The first row does not name the columns of this format
    #[error("the first row does not name the columns of this format")]
    Columns,
    /// Two variables would get the same tag
    #[error(
        "`{0}` and `{1}` are two variables, but they would get one tag: tags do not tell upper from lower case, nor `-` and `.` from `_`"
    )]
    OneTag(String, String),
    /// A row has more or fewer cells than columns
    #[error("this row has not as many cells as the first")]
    Row,
    /// A quoted cell is still open at the end of the file
    #[error("a double quote is never closed")]
    Quote,
    /// A cell contains a double quote that is not doubled
    #[error(
        "a double quote inside a cell is not doubled, so it is not certain where the cell ends"
    )]
    BareQuote,
    /// The XML is invalid
    #[error("what stands there is not well-formed XML")]
    Xml,
    /// The file uses an entity `&name;` that XML does not predefine
    #[error("only the five entities of XML itself are known")]
    Entity,
    /// The root element is not KeePass's
    #[error("it is not the XML of KeePass")]
    NotKeePass,
    /// A value has `Protected="True"`
    #[error(
        "a value in it is encrypted; export it as `KeePass XML (2.x)` or by `keepassxc-cli export`"
    )]
    Protected,
    /// The age file contains something other than an export
    #[error("what is in it is no export of `secrets`")]
    NotAnExport,
    /// The export has a newer version
    #[error("it is an export of a version that is not known")]
    Version,
    /// The export's document is invalid
    #[error("{0} is not as an export has it")]
    Document(String),
}
