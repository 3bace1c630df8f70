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
    #[error("no tag begins with that prefix")]
    Prefix,
    /// `.env`
    #[error(transparent)]
    Dotenv(dotenv::Why),
    /// Neither UTF-8 nor one of its subsets
    #[error("it is not UTF-8")]
    Utf8,
    /// An item's value
    #[error("the value of `{0}` is larger than 1 MiB")]
    TooLarge(String),
    /// JSON's grammar
    #[error("what stands there is not JSON")]
    Json,
    /// JSON, but a list, a string, …
    #[error("it is not one JSON object")]
    NotAnObject,
    /// An object or a list in a flat object
    #[error("the value of `{0}` is an object or a list, and only a flat object can be read")]
    Nested(String),
    /// `"encrypted": true`
    #[error("it is encrypted; export it as `.json`, not as `.json (Encrypted)`")]
    Encrypted,
    /// No `items`
    #[error("it has no list of `items`, which Bitwarden's export has")]
    NoItems,
    /// A part of Bitwarden's JSON that is of another type
    #[error("`{0}` is not of the type that Bitwarden gives it")]
    Shape(&'static str),
    /// The first row of a table
    #[error("the first row does not name the columns of this format")]
    Columns,
    /// Two variables whose names are one tag
    #[error(
        "`{0}` and `{1}` are two variables, but they would get one tag: tags do not tell upper from lower case, nor `-` and `.` from `_`"
    )]
    OneTag(String, String),
    /// A row with more cells than columns, or fewer
    #[error("this row has not as many cells as the first")]
    Row,
    /// A cell that is still open at the end of the file
    #[error("a double quote is never closed")]
    Quote,
    /// A double quote inside a cell
    #[error(
        "a double quote inside a cell is not doubled, so it is not certain where the cell ends"
    )]
    BareQuote,
    /// XML's grammar
    #[error("what stands there is not well-formed XML")]
    Xml,
    /// `&name;` that XML does not define itself
    #[error("only the five entities of XML itself are known")]
    Entity,
    /// Another root element
    #[error("it is not the XML of KeePass")]
    NotKeePass,
    /// `Protected="True"`
    #[error(
        "a value in it is encrypted; export it as `KeePass XML (2.x)` or by `keepassxc-cli export`"
    )]
    Protected,
    /// Something else in an age file
    #[error("what is in it is no export of `secrets`")]
    NotAnExport,
    /// An export of a later version
    #[error("it is an export of a version that is not known")]
    Version,
    /// An export that is not as the format has it
    #[error("{0} is not as an export has it")]
    Document(String),
}
