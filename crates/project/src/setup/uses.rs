//! Finds out which secrets other directories use, from the present state of their manifests and
//! templates.
//!
//! Nothing in these directories is trusted. The result only names users of a value, and the work is
//! bounded.

use std::fs;
use std::path::{Path, PathBuf};

use secrets_core::model::{ProjectName, TagKey};

use super::manifest::Manifest;
use super::output_records::{Directories, manifest_of};
use super::tree::{Reference, Tree};

/// The maximum number of directories that are searched.
const DIRECTORIES: usize = 64;
/// The maximum number of templates that are read per manifest, and the maximum size of one in
/// bytes.
const TEMPLATES: usize = 64;
const MAX_SIZE: u64 = 1024 * 1024;

/// What another directory's manifest says about its secrets.
pub struct OtherUses {
    manifest: Manifest,
    references: Vec<Reference>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// The template of this output refers to the secret
    Output(PathBuf),
    /// `[run.env]` of this manifest refers to the secret
    RunEnv(PathBuf),
    /// This manifest declares the secret but does not use it otherwise
    Declared(PathBuf),
}

impl OtherUses {
    /// Reads the manifests of the other directories that are known to use a project.
    pub fn of(directories: &Directories, project: &ProjectName, here: &Path) -> Vec<Self> {
        let mut others = Vec::new();
        for directory in directories.others(project, here).into_iter().take(DIRECTORIES) {
            let Some(mut manifest) = manifest_of(&directory, project) else { continue };
            manifest.render.truncate(TEMPLATES);
            let is_small = |path: PathBuf| {
                let real = path.canonicalize().ok().filter(|real| real.starts_with(&directory));
                real.and_then(|real| fs::metadata(real).ok())
                    .is_some_and(|f| f.is_file() && f.len() <= MAX_SIZE)
            };

            let kept: Vec<bool> =
                manifest.render.iter().map(|one| is_small(manifest.at(&one.template))).collect();
            let mut kept = kept.into_iter();
            manifest.render.retain(|_| kept.next().unwrap_or(false));

            let references = Tree::of(&manifest).references;
            others.push(Self { manifest, references });
        }

        others
    }

    pub fn of_tag(&self, tag: &TagKey) -> Vec<Use> {
        let found: Vec<&Reference> =
            self.references.iter().filter(|found| found.tag.key() == *tag).collect();
        let own = self.manifest.path();
        let refers =
            |path: &Path| found.iter().any(|found| found.is_placeholder() && found.file == path);

        let mut uses = Vec::new();
        for rendering in &self.manifest.render {
            if refers(&self.manifest.at(&rendering.template)) {
                uses.push(Use::Output(self.manifest.at(&rendering.output)));
            }
        }

        if refers(&own) {
            uses.push(Use::RunEnv(own.clone()));
        }

        if uses.is_empty() && !found.is_empty() {
            uses.push(Use::Declared(own));
        }

        uses
    }
}
