//! Outputs that were rendered, and the results of the commands that set up a project.

use std::path::PathBuf;

use secrets_core::model::Secret;
use secrets_files::OutputChange;
use serde::Serialize;

use super::secret::SortedSecrets;

/// The result of `render -o`, `render --all` and `render --stale`.
#[derive(Serialize)]
pub(crate) struct Rendered {
    outputs: Vec<OutputInfo>,
}

#[derive(Serialize)]
struct OutputInfo {
    output: String,
    state: &'static str,
}

impl Rendered {
    pub(crate) fn of(written: &[(PathBuf, OutputChange)]) -> Self {
        Self { outputs: outputs(written) }
    }
}

fn outputs(written: &[(PathBuf, OutputChange)]) -> Vec<OutputInfo> {
    let output = |(path, change): &(PathBuf, OutputChange)| OutputInfo {
        output: path.to_string_lossy().into_owned(),
        state: match change {
            OutputChange::Replaced => "written",
            OutputChange::Same => "current",
            OutputChange::ModeChanged => "modeChanged",
        },
    };

    written.iter().map(output).collect()
}

/// The result of `setup`.
#[derive(Serialize)]
pub(crate) struct SetUp<'a> {
    gitignore: Vec<String>,
    outputs: Vec<OutputInfo>,
    project: &'a str,
    secrets: SortedSecrets<'a>,
}

impl<'a> SetUp<'a> {
    /// Describes the new secrets, the outputs, and the new lines of .gitignore.
    pub(crate) fn new(
        project: &'a str,
        created: &'a [Secret],
        written: &[(PathBuf, OutputChange)],
        gitignore: Vec<String>,
    ) -> Self {
        Self { gitignore, outputs: outputs(written), project, secrets: SortedSecrets(created) }
    }
}

/// The result of `init --project-file` and `setup --new`.
#[derive(Serialize)]
pub(crate) struct NewManifest<'a> {
    pub(crate) manifest: &'static str,
    pub(crate) project: &'a str,
    /// The tags that it declares
    pub(crate) secrets: Vec<&'a str>,
}

/// The result of `template`.
#[derive(Serialize)]
pub(crate) struct NewTemplate<'a> {
    pub(crate) project: &'a str,
    /// The tags that it refers to
    pub(crate) secrets: Vec<&'a str>,
    pub(crate) template: String,
}

/// The result of `adopt`.
#[derive(Serialize)]
pub(crate) struct Adopted<'a> {
    /// The names of plain settings
    pub(crate) kept: &'a [String],
    pub(crate) output: String,
    pub(crate) project: &'a str,
    /// The tags of the new secrets
    pub(crate) secrets: Vec<&'a str>,
    pub(crate) template: String,
}
