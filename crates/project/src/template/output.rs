//! Writes a template's text to an output file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use secrets_core::store::looks_like_a_vault;
use secrets_files::{
    FileId, Output, OutputChange, OutputError, PendingOutput, ProtectedFiles, StagedOutput,
};

use super::TemplateError;
use super::plan::ExpandError;

/// A function that writes the whole content of an output, each time the same.
pub type Content<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), ExpandError>;

/// Checks the output at `path`. `mode` holds the requested permission bits. The `known` files are
/// never overwritten, for the reason next to them, and neither is a vault.
pub fn open(
    path: &Path,
    mode: Option<u32>,
    known: &[(FileId, &'static str)],
) -> Result<Output, OutputError> {
    let by_content = |file: &File| looks_like_a_vault(file).then_some("is a vault");
    Output::new(path, mode, &ProtectedFiles { known, by_content })
}

/// Returns whether the output has exactly this content. Returns false if the file is missing.
/// Writes nothing.
pub fn is_current(output: &Output, content: Content<'_>) -> Result<bool, TemplateError> {
    let Some(mut comparison) = output.compare()? else { return Ok(false) };
    match content(&mut comparison) {
        Ok(()) => comparison.finish().map_err(|source| output.failed(source).into()),
        Err(ExpandError::Output(_)) if !comparison.is_same() => Ok(false),
        Err(error) => Err(failed(output, error)),
    }
}

/// Replaces the output's content. Changes nothing if that fails.
pub fn replace(output: &Output, content: Content<'_>) -> Result<OutputChange, TemplateError> {
    Ok(prepare(output, content)?.publish()?)
}

/// Writes new content to a temporary file, unless the output already has it.
pub fn prepare<'o>(
    output: &'o Output,
    content: Content<'_>,
) -> Result<PendingOutput<'o>, TemplateError> {
    if is_current(output, content)? {
        return Ok(output.unchanged());
    }

    let mut staged: StagedOutput<'o> = output.stage()?;
    content(&mut staged).map_err(|error| failed(output, error))?;
    Ok(staged.finish()?)
}

fn failed(output: &Output, error: ExpandError) -> TemplateError {
    match error {
        ExpandError::Template(error) => error,
        ExpandError::Output(source) => output.failed(source).into(),
    }
}
