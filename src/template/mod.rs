//! Templates: placeholders in any bytes, resolved all together or not at all.
//!
//! * `grammar`: what a placeholder is; pure
//! * `filter`: what may be done to a value on its way out; pure
//! * `source`: a template that can be read twice, of any size
//! * `scan`: one pass over it in constant memory
//! * `plan`: everything is resolved before the first byte is written
//! * `output`: the safe file
//!
//! Nothing here prints, prompts or reads the environment. A template is no secret; what it is expanded with is.

pub mod filter;
pub mod grammar;
pub mod output;
mod plan;
mod scan;
mod source;

use std::io;
use std::path::PathBuf;

pub use plan::{ExpandError, Plan, Resolved, SuspectTexts, Suspicion};
pub use scan::{Event, Position, ScanDetails, ScanError, WINDOW, scan};
pub use source::Template;

use crate::model::Tag;
use crate::vault::VaultError;
use filter::FilterError;

/// Something about one placeholder, and where it stands.
#[derive(Debug)]
pub struct TemplateFinding<T> {
    /// Where its `{{` begins
    pub position: Position,
    /// Its line, cut to what surrounds it, and the caret's column in that; characters are made visible
    pub excerpt: Option<(String, usize)>,
    /// What there is to say
    pub what: T,
}

/// TemplateFindings of one kind: the first thousand, and how many there are.
#[derive(Debug)]
pub struct TemplateFindings<T> {
    /// At most a thousand
    pub listed: Vec<TemplateFinding<T>>,
    /// All of them
    pub total: u64,
}

/// A tag that names no secret.
#[derive(Debug, Clone)]
pub struct UnknownTag {
    /// As spelled in the template
    pub tag: Tag,
    /// What was perhaps meant
    pub nearest: Option<Tag>,
}

/// Why a template was not rendered. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A filter that cannot take a value; the tag says whose
    #[error("`{tag}`: {why}")]
    Filter {
        /// Whose value
        tag: Tag,
        /// What is in the way
        why: FilterError,
    },
    /// A bound on memory: the author of a template could ask for any number of large values
    #[error("the filtered values of this template exceed 64 MiB in total")]
    FilteredTooLarge,
    /// Another bound on memory
    #[error("the template has more than 100,000 different references")]
    TooManyReferences,
    /// The template is UTF-16 text, in which no placeholder can be found
    #[error("`{}` is UTF-16 text, in which placeholders cannot be found", .0)]
    Utf16(String),
    /// The template changed between its two readings
    #[error("`{}` changed while it was being read", .0)]
    Moved(String),
    /// Whoever was handed the references wants no more of them
    #[error("stopped")]
    Stopped,
    /// The output may not be replaced
    #[error("`{}` {why}", path.display())]
    UnsafeOutput {
        /// The output
        path: PathBuf,
        /// Half a sentence: "is a symbolic link"
        why: &'static str,
    },
    /// The directory of an output is missing
    #[error("the directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The system failed
    #[error("cannot {action} `{name}`: {source}")]
    Io {
        /// "read", "write"
        action: &'static str,
        /// A path, or "stdin"
        name: String,
        /// The system's word
        source: io::Error,
    },
    /// The vault
    #[error(transparent)]
    Vault(#[from] VaultError),
}
