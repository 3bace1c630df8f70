//! The records of which directories use a project.

use std::path::Path;

use secrets_core::crypto::ids::VaultId;
use secrets_core::model::ProjectName;
use secrets_core::vault::Vault;
use secrets_project::setup::output_records::Directories;

use crate::context::Context;
use crate::error::Error;

/// Records that a directory uses a project.
pub(crate) fn remember_directory(cx: &Context, project: &ProjectName, directory: &Path) {
    if let Some(directories) = directories(cx) {
        directories.note(project, directory);
    }
}

/// Records that the manifest's directory uses a project, if its variables were used. For a vault
/// that the context does not keep.
pub(crate) fn remember_run(
    vault: &Vault,
    cx: &Context,
    project: &ProjectName,
    is_used: bool,
) -> Result<(), Error> {
    let manifest = cx.target.manifest()?.filter(|_| is_used);
    let directories = vault.id().ok().and_then(|id| directories_of(cx, &id));
    if let (Some(manifest), Some(directories)) = (manifest, directories) {
        directories.note(project, &manifest.directory);
    }

    Ok(())
}

/// Returns the records of directories, or `None` without a vault or a state directory.
pub(crate) fn directories(cx: &Context) -> Option<Directories> {
    directories_of(cx, &cx.vault_id()?)
}

fn directories_of(cx: &Context, vault: &VaultId) -> Option<Directories> {
    Some(Directories::new(&cx.state_directory("directories")?, vault))
}
