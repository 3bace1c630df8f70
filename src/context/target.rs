//! What a command works on: the vault, the project and the manifest that the options, the
//! environment and the current directory select.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use secrets_core::model::ProjectName;
use secrets_core::store::{self, StoreError};
use secrets_project::git::Git;
use secrets_project::setup::Manifest;
use secrets_project::setup::manifest::MANIFEST;

use crate::config::Environment;
use crate::error::{Error, Hint, Kind, Selection};
use crate::ui::Ui;

/// Where the name of the current project comes from.
pub(crate) enum ProjectSource {
    Option(ProjectName),
    Environment(ProjectName),
    Manifest { project: ProjectName, path: PathBuf },
    Default,
}

impl ProjectSource {
    /// Describes the source for status lines.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Option(_) => "set by --project".into(),
            Self::Environment(_) => "set by SECRETS_PROJECT".into(),
            Self::Manifest { path, .. } => format!("set by {}", path.display()),
            Self::Default => "the default".into(),
        }
    }

    /// Returns the word for `--json`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Option(_) => "option",
            Self::Environment(_) => "environment",
            Self::Manifest { .. } => "manifest",
            Self::Default => "default",
        }
    }
}

/// The vault, the project and the manifest of a command.
pub(crate) struct Target {
    ui: Rc<Ui>,
    environment: Rc<Environment>,
    selection: Selection,
    project: OnceCell<ProjectName>,
    /// The project of a token
    fallback: OnceCell<ProjectName>,
    manifest: OnceCell<Option<Manifest>>,
}

impl Target {
    pub(super) fn new(ui: Rc<Ui>, environment: Rc<Environment>, selection: Selection) -> Self {
        let (project, fallback) = (OnceCell::new(), OnceCell::new());
        let manifest = OnceCell::new();
        Self { ui, environment, selection, project, fallback, manifest }
    }

    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Returns the path of the vault, whether it exists or not.
    pub(crate) fn vault_path(&self) -> Result<PathBuf, Error> {
        Ok(self.environment.vault_path(self.vault_option())?)
    }

    /// Returns the vault's path in the form that the agent uses.
    pub(crate) fn canonical_vault_path(&self) -> Result<PathBuf, Error> {
        let path = self.vault_path()?;
        match store::absolute(&path) {
            // The directory may be on an unmounted disk, but the agent can still be locked.
            Err(StoreError::Missing(_) | StoreError::Io { .. }) => {
                std::path::absolute(&path).map_err(|_| StoreError::BadPath(path).into())
            }
            canonical => Ok(canonical?),
        }
    }

    pub(crate) fn vault_option(&self) -> Option<&Path> {
        self.selection.vault.as_deref()
    }

    pub(crate) fn project(&self) -> Result<&ProjectName, Error> {
        if let Some(project) = self.project.get() {
            return Ok(project);
        }

        let project = match self.project_source()? {
            ProjectSource::Option(project)
            | ProjectSource::Environment(project)
            | ProjectSource::Manifest { project, .. } => project,
            ProjectSource::Default => match self.fallback.get() {
                Some(project) => project.clone(),
                None => Environment::default_project()?,
            },
        };

        Ok(self.project.get_or_init(|| project))
    }

    /// Returns the project, if it was needed before.
    pub(crate) fn known_project(&self) -> Option<&ProjectName> {
        self.project.get().or_else(|| self.project_option())
    }

    pub(crate) fn project_source(&self) -> Result<ProjectSource, Error> {
        if let Some(project) = self.project_option() {
            return Ok(ProjectSource::Option(project.clone()));
        }

        if let Some(project) = self.environment.project()? {
            return Ok(ProjectSource::Environment(project));
        }

        let manifest = self.manifest()?;
        let named =
            manifest.and_then(|manifest| Some((manifest.project.clone()?, manifest.path())));
        Ok(named.map_or(ProjectSource::Default, |(project, path)| ProjectSource::Manifest {
            project,
            path,
        }))
    }

    /// Takes a project for commands that name none.
    pub(super) fn default_to(&self, project: &ProjectName) {
        let _ = self.fallback.set(project.clone());
    }

    /// Returns the project that an option or the environment names.
    pub(crate) fn named_project(&self) -> Result<Option<ProjectName>, Error> {
        match self.project_option() {
            Some(project) => Ok(Some(project.clone())),
            None => Ok(self.environment.project()?),
        }
    }

    pub(crate) fn project_option(&self) -> Option<&ProjectName> {
        self.selection.project.as_ref()
    }

    /// Returns the nearest `.secrets.toml`, if there is one.
    pub(crate) fn manifest(&self) -> Result<Option<&Manifest>, Error> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest.as_ref());
        }

        let manifest = Environment::manifest(&|warning| self.ui.warn(warning))?;
        Ok(self.manifest.get_or_init(|| manifest).as_ref())
    }

    /// Returns the manifest, or an error if it does not exist.
    pub(crate) fn require_manifest(&self) -> Result<&Manifest, Error> {
        self.manifest()?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("no `{MANIFEST}` in this directory or above"))
                .hint("create one with `secrets init --project-file`")
        })
    }

    /// Returns the project whose secrets the placeholders in the manifest's tree refer to.
    pub(crate) fn tree_project(&self) -> Result<Option<&ProjectName>, Error> {
        let Some(manifest) = self.manifest()? else { return Ok(None) };
        manifest.project.as_ref().map_or_else(|| self.project(), Ok).map(Some)
    }

    /// Returns the text of a hint for a status line or a warning. Its commands repeat the vault and
    /// project options of this command.
    pub(crate) fn hint_text(&self, hint: impl Into<Hint>) -> String {
        Hint::in_project(hint).render(&self.selection)
    }

    pub(crate) fn git(directory: &Path) -> Git {
        Git::at(directory, Environment::git())
    }
}
