//! Works on a project's directory: the secrets that its `.secrets.toml` declares, the references to
//! secrets in its files, and the files that are rendered there.
//!
//! * `manifest`: parses the committed file, which never holds a value
//! * `additions`: finds the variables of an output that its template does not produce
//! * `adoption`: moves new variables of an output into its template
//! * `comments`: reads the comments of a dotenv file
//! * `draft`: writes a new manifest, or adds to one
//! * `detect`: guesses which programs read the dotenv files from the project's other files
//! * `provided`: finds the values that a manifest needs in a dotenv file
//! * `tree`: finds every reference in the tree, with its position
//! * `renaming`: writes another tag wherever the files name a secret
//! * `outputs`: renders all files of the manifest, or none
//! * `output_records`: remembers what was last written, and which directories use a project
//! * `uses`: finds the secrets that other directories use
//! * `gitignore`: keeps outputs out of git
//! * `migration`: turns a dotenv file into a template
//! * `trust`: describes what the user trusts a manifest with, and records it
//! * `settings`: decides which variables of a dotenv file are plain settings
//! * `meaning`, `structure`, `warning`: check that an output means to its readers what its template
//!   means
//! * `needs`: lists the secrets that the project needs
//!
//! Nothing here prints, prompts or opens a vault. Values only pass through on their way into the
//! outputs.

mod additions;
mod adoption;
mod comments;
pub mod detect;
mod digesting;
mod draft;
pub mod gitignore;
mod identity;
pub mod manifest;
pub mod meaning;
pub mod migration;
mod modified;
mod needs;
pub mod output_records;
mod outputs;
mod provided;
mod renaming;
pub mod settings;
mod structure;
mod tree;
pub mod trust;
mod uses;
mod warning;

use std::io;
use std::path::{Path, PathBuf};

use secrets_files::OutputError;

pub use adoption::Adoption;
pub use digesting::{DigestingWriter, note};
pub use draft::{Draft, add, name_readers, output_of, set_witness};
pub use manifest::{
    Declaration, Manifest, ManifestError, ProxyRule, ProxySettings, RenderEntry, Variable,
};
pub use modified::{AdoptableOutput, ModifiedOutput, foreign, is_dotenv};
pub use needs::{Need, needs};
pub use outputs::{OutputState, Outputs, ProtectedFile, ResolvedOutputs};
pub use provided::ProvidedValues;
pub use renaming::{RenamedFile, Renaming, RenamingError};
pub use tree::{Reference, ReferenceKind, Tree};
pub use uses::{OtherUses, Use};

use crate::git::GitError;
use crate::template::grammar::Malformed;
use crate::template::{TemplateError, TemplateFindings, UnknownTag};

/// Why a project was not set up. No output was written if the error is about the outputs.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Invalid placeholders, by template
    #[error("templates have invalid placeholders")]
    Malformed(Vec<(String, TemplateFindings<Malformed>)>),
    /// Placeholders that name no secret, by template
    #[error("templates refer to missing secrets")]
    Unknown(Vec<(String, TemplateFindings<UnknownTag>)>),
    /// A link leads a template or an output out of the manifest's directory
    #[error("`{}` leads outside the directory of `.secrets.toml`", .0.display())]
    Outside(PathBuf),
    /// A template or an output failed
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot add to `{}`: {source}", path.display())]
    Gitignore { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Returns a path that can be opened: `.` instead of the empty path.
fn relative(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> SetupError {
    TemplateError::Io { action, name: relative(path).display().to_string(), source }.into()
}
