//! The files that refer to a secret, and another tag in them.

use std::path::Path;

use secrets_core::model::{ProjectName, Secret, Tag};
use secrets_core::vault::Vault;
use secrets_files::Replacements;
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::{Manifest, Renaming, Tree};

use crate::context::{Context, Trust};
use crate::error::{Error, Kind};

/// The places in the files of the working directory's tree that refer to secrets.
pub(crate) struct Places<'c> {
    manifest: Option<&'c Manifest>,
    /// The projects that the places refer to: one, and those of the environments
    pub(crate) projects: Vec<ProjectName>,
    pub(crate) tree: Tree,
}

impl<'c> Places<'c> {
    /// Searches the tree if it belongs to a project. Without a manifest, the working directory is
    /// searched only if the places are `wanted`.
    pub(crate) fn search(
        cx: &'c Context,
        project: &ProjectName,
        wanted: bool,
    ) -> Result<Self, Error> {
        let manifest = cx.target.base_manifest()?;
        let mut projects = Vec::new();
        if let Some(manifest) = manifest {
            projects.push(cx.target.base_project()?);
            projects.extend(manifest.environments.iter().map(|it| it.project.clone()));
        } else if wanted {
            projects.push(cx.target.project()?.clone());
        }

        let mut places = Self { manifest, projects, tree: Tree::default() };
        if places.projects.contains(project) {
            let root = manifest.map_or(Path::new(""), |manifest| &manifest.directory);
            let progress = cx.ui.progress("files searched");
            places.tree = Tree::search(root, manifest, &|number| progress.on_progress(number));
            drop(progress);
            places.tree.unread.iter().for_each(|why| cx.ui.warn(why));
        } else {
            places.projects.clear();
        }

        Ok(places)
    }

    /// Returns the new texts.
    pub(crate) fn plan(&self, from: &Tag, to: &Tag) -> Result<Renaming, Error> {
        Renaming::plan(&self.tree, self.manifest, &from.key(), to).map_err(|error| {
            Error::new(Kind::Refused, error.to_string())
                .hint("rewrite this file by hand; nothing was renamed")
        })
    }

    /// Returns a secret, and those with its tag in the other projects that the places refer to.
    pub(crate) fn secrets(&self, vault: &Vault, secret: &Secret) -> Result<Vec<Secret>, Error> {
        let mut secrets = vec![secret.clone()];
        secrets.extend(self.others(vault, &secret.project, &secret.metadata.tag)?);
        Ok(secrets)
    }

    /// Returns the secrets with a tag in the projects that the places refer to, except one project.
    pub(crate) fn others(
        &self,
        vault: &Vault,
        project: &ProjectName,
        tag: &Tag,
    ) -> Result<Vec<Secret>, Error> {
        let mut secrets = Vec::new();
        for other in self.projects.iter().filter(|other| *other != project) {
            secrets.extend(vault.find(other, tag)?);
        }

        Ok(secrets)
    }

    /// Puts the new texts in place together with another change, and trusts the manifest again.
    pub(crate) fn write<T>(
        &self,
        cx: &Context,
        renaming: &Renaming,
        change: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let was_trusted = match self.manifest {
            Some(manifest) => Context::coverage(manifest)
                .is_ok_and(|coverage| matches!(cx.trust_of(&coverage), Trust::Trusted(_))),
            None => false,
        };
        let mut replacements = Replacements::default();
        for file in &renaming.files {
            replacements.add(&file.path, file.before.expose(), file.after.expose())?;
        }

        let done = replacements.apply(change)?;
        if let (Some(manifest), true) = (self.manifest, was_trusted) {
            match std::fs::read_to_string(manifest.path()) {
                Ok(text) => cx.trust_as_written(&manifest.directory, &text),
                Err(error) => cx.ui.warn(&format!("cannot read `{MANIFEST}`: {error}")),
            }
        }

        Ok(done)
    }
}
