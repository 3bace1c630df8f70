//! Templates: arbitrary bytes with placeholders, which are all resolved or none is.
//!
//! * `grammar`: the syntax of placeholders; pure
//! * `filter`: transformations of a value before it is written; pure
//! * `source`: a template of any size that can be read twice
//! * `scan`: one pass over a template in constant memory
//! * `plan`: resolves every reference before the first byte is written
//! * `output`: writes the output file safely
//!
//! Nothing here prints, prompts or reads the environment. A template is not secret, but its
//! expansion is.

pub mod filter;
pub mod grammar;
pub mod output;
mod plan;
mod scan;
mod source;

use std::io;

use secrets_core::model::Tag;
use secrets_core::vault::VaultError;
use secrets_files::OutputError;

pub use plan::{ExpandError, Plan, Resolved, SuspectTexts, Suspicion};
pub use scan::{Event, Location, ScanDetails, ScanError, WINDOW, each_event, scan};
pub use source::Template;

use crate::position::Position;
use filter::FilterError;

/// A finding about one placeholder, with its position.
#[derive(Debug)]
pub struct TemplateFinding<T> {
    /// The number of bytes before its opening delimiter
    pub offset: u64,
    /// The position of its opening delimiter
    pub position: Position,
    /// The surrounding part of its line with control characters replaced, and the caret's column in
    /// that text
    pub excerpt: Option<(String, usize)>,
    pub what: T,
}

/// The findings of one kind: the first thousand of them, and their total number.
#[derive(Debug)]
pub struct TemplateFindings<T> {
    /// The first findings, at most a thousand
    pub listed: Vec<TemplateFinding<T>>,
    /// The number of all findings
    pub total: u64,
}

/// A tag that names no secret.
#[derive(Debug, Clone)]
pub struct UnknownTag {
    /// The tag as spelled in the template
    pub tag: Tag,
    /// The stored tag that is most similar, if any is
    pub nearest: Option<Tag>,
}

/// The reason why a template was not rendered. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("`{tag}`: {why}")]
    Filter { tag: Tag, why: FilterError },
    /// The filtered values are too large. Without this limit, a template's author could make us use
    /// any amount of memory.
    #[error("the filtered values of this template exceed 64 MiB in total")]
    FilteredTooLarge,
    /// The template has too many different references, which would use too much memory
    #[error("the template has more than 100,000 different references")]
    TooManyReferences,
    #[error("`{}` is UTF-16 text, in which placeholders cannot be found", .0)]
    Utf16(String),
    /// The template changed between its first and its second reading
    #[error("`{}` changed while it was being read", .0)]
    Moved(String),
    /// The callback that receives the references asked to stop
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot {action} `{name}`: {source}")]
    Io {
        /// The failed action as a verb: "read", "write"
        action: &'static str,
        /// A path, or "stdin"
        name: String,
        source: io::Error,
    },
    #[error(transparent)]
    Vault(#[from] VaultError),
}
