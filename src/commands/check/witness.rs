//! `secrets check --witness`: the state of the project that `.secrets.toml` remembers.

use secrets_files::Replacements;
use secrets_project::setup::Manifest;
use secrets_project::setup::manifest::MANIFEST;

use crate::context::{Context, Trust};
use crate::error::{Error, Kind};
use crate::output::WitnessInfo;

/// Writes the present state of the project into the manifest. The state before must be followed.
pub(super) fn write(cx: &Context) -> Result<(), Error> {
    let manifest = cx.target.require_manifest()?;
    cx.require_vault()?;
    cx.require_trust(manifest)?;
    let project = cx.target.project()?;
    if manifest.project.as_ref() != Some(project) {
        return Err(Error::usage(format!("`{MANIFEST}` does not name project `{project}`"))
            .hint("leave `--project` out, or name the project in the file"));
    }

    let vault = cx.vault()?;
    cx.check_witness(vault)?;
    let witness = vault.witness(project)?;
    let was_trusted = is_trusted(manifest, cx);
    let path = manifest.path();
    let unreadable = |error: std::io::Error| {
        Error::new(Kind::Failure, format!("cannot read `{}`: {error}", path.display()))
    };
    let before = std::fs::read_to_string(&path).map_err(unreadable)?;
    let environment = cx.target.environment()?;
    let after = secrets_project::setup::set_witness(&before, environment.as_ref(), &witness)
        .ok_or_else(|| {
            let message = format!("cannot add a line to `{}`", path.display());
            Error::new(Kind::Refused, message)
                .hint(format!("add it by hand: witness = \"{witness}\""))
        })?;

    let mut replacements = Replacements::default();
    replacements.add(&path, before.as_bytes(), after.as_bytes())?;
    replacements.apply(|| Ok::<_, Error>(()))?;
    if was_trusted {
        cx.trust_as_written(&manifest.directory, &after);
    }

    cx.ui.status(&format!("`{}` remembers project `{project}` now", path.display()));
    cx.ui.document(|| {
        Ok(WitnessInfo {
            manifest: path.to_string_lossy().into_owned(),
            project: project.to_string(),
            witness: witness.to_string(),
        })
    })
}

fn is_trusted(manifest: &Manifest, cx: &Context) -> bool {
    Context::coverage(manifest)
        .is_ok_and(|coverage| matches!(cx.trust_of(&coverage), Trust::Trusted(_)))
}
