//! A project's directory: what its `.secrets.toml` declares, what in its tree refers to secrets, what is rendered there.
//!
//! * `manifest`: the committed file, which never holds a value
//! * `additions`: what an output has that its template does not give
//! * `adoption`: new variables of an output taken into its template
//! * `draft`: a manifest written or added to
//! * `detect`: which programs read the dotenv files, guessed from the project's other files
//! * `given`: values of a dotenv file for what a manifest needs
//! * `tree`: every reference in the tree, with its place
//! * `outputs`: all files of the manifest rendered, or none started
//! * `memory`: what was last written, and which directories use a project
//! * `uses`: which secrets other directories use
//! * `gitignore`: what git must not take
//! * `migration`: a dotenv file turned into a template
//! * `trust`: what a manifest is trusted with, and the record of it
//! * `settings`: which variables of a dotenv file are plain settings
//! * `meaning`, `structure`: whether an output means to its readers what its template means
//! * `needs`: what the project asks for, held against what there is
//!
//! Nothing here prints, prompts or opens a vault; values pass through on their way into the outputs.

mod additions;
mod adoption;
mod comments;
pub mod detect;
mod draft;
pub mod gitignore;
pub mod manifest;
pub mod meaning;
pub mod migration;
mod needs;
pub mod output_records;
mod outputs;
mod provided;
pub mod settings;
mod structure;
mod tree;
pub mod trust;
mod uses;

use std::path::{Path, PathBuf};

pub use adoption::Adoption;
pub use draft::{Draft, add, name_readers, output_of};
pub use manifest::{Declaration, Manifest, ManifestError, RenderEntry, TextPosition, Variable};
pub use needs::{Need, needs};
pub use outputs::{
    AdoptableOutput, DigestingWriter, ModifiedOutput, OutputState, Outputs, ProtectedFile,
    ResolvedOutputs, foreign, is_dotenv, note,
};
pub use provided::ProvidedValues;
pub use tree::{Reference, Tree};
pub use uses::{OtherUses, Use};

use crate::git::GitError;
use crate::template::grammar::Malformed;
use crate::template::{TemplateError, TemplateFindings, UnknownTag};

/// Why a project was not set up. Where it names outputs none was written.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Placeholders that are not well formed, by template
    #[error("invalid placeholders")]
    Malformed(Vec<(String, TemplateFindings<Malformed>)>),
    /// Placeholders that name no secret, by template
    #[error("placeholders refer to secrets that do not exist")]
    Unknown(Vec<(String, TemplateFindings<UnknownTag>)>),
    /// A link leads a template or an output elsewhere
    #[error("`{}` leads outside the directory of `.secrets.toml`", .0.display())]
    Outside(PathBuf),
    /// A template, an output
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// git
    #[error(transparent)]
    Git(#[from] GitError),
}

/// The empty path as one that can be opened.
fn relative(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}
