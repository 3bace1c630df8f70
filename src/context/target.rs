//! What a command works on: the vault, the project and the manifest that the options, the
//! environment and the current directory select.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use secrets_core::model::ProjectName;
use secrets_core::store::{self, StoreError};
use secrets_project::git::Git;
use secrets_project::setup::Manifest;
use secrets_project::setup::manifest::{EnvironmentName, MANIFEST};

use crate::config::Environment;
use crate::error::{Error, Hint, Kind, Selection, hint};
use crate::ui::{Ui, listed};

/// Where the name of the current project comes from.
pub(crate) enum ProjectSource {
    Option(ProjectName),
    Environment(ProjectName),
    Manifest {
        project: ProjectName,
        path: PathBuf,
        /// The environment that has the project
        environment: Option<EnvironmentName>,
    },
    /// `secrets project use`
    Used(ProjectName),
    Default,
}

impl ProjectSource {
    /// Describes the source for status lines.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Option(_) => "set by --project".into(),
            Self::Environment(_) => "set by SECRETS_PROJECT".into(),
            Self::Manifest { path, environment: None, .. } => format!("set by {}", path.display()),
            Self::Manifest { path, environment: Some(name), .. } => {
                format!("environment {name} of {}", path.display())
            }
            Self::Used(_) => "set by `secrets project use`".into(),
            Self::Default => "the default".into(),
        }
    }

    /// Returns the word for `--json`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Option(_) => "option",
            Self::Environment(_) => "environment",
            Self::Manifest { .. } => "manifest",
            Self::Used(_) => "use",
            Self::Default => "default",
        }
    }
}

/// The vault, the project and the manifest of a command.
pub(crate) struct Target {
    ui: Arc<Ui>,
    pub(super) environment: Rc<Environment>,
    selection: Selection,
    project: OnceCell<ProjectName>,
    /// The project of a token
    fallback: OnceCell<ProjectName>,
    /// The manifest without an environment
    base: OnceCell<Option<Manifest>>,
    /// The manifest in the environment that is selected
    manifest: OnceCell<Option<Manifest>>,
}

impl Target {
    pub(super) fn new(ui: Arc<Ui>, environment: Rc<Environment>, selection: Selection) -> Self {
        let (project, fallback) = (OnceCell::new(), OnceCell::new());
        let (base, manifest) = (OnceCell::new(), OnceCell::new());
        Self { ui, environment, selection, project, fallback, base, manifest }
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
            | ProjectSource::Manifest { project, .. }
            | ProjectSource::Used(project) => project,
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

        if let Some(project) = self.named_project()? {
            return Ok(ProjectSource::Environment(project));
        }

        let manifest = self.manifest()?;
        let named =
            manifest.and_then(|manifest| Some((manifest.project.clone()?, manifest.path())));
        if let Some((project, path)) = named {
            return Ok(ProjectSource::Manifest { project, path, environment: self.environment()? });
        }

        // A token names its project, so the user's default is not for it.
        let used = if self.fallback.get().is_some() { None } else { self.used_project()? };
        Ok(used.map_or(ProjectSource::Default, ProjectSource::Used))
    }

    /// Returns the environment that `-E` or SECRETS_ENVIRONMENT selects. `-p` and SECRETS_PROJECT come
    /// before SECRETS_ENVIRONMENT.
    pub(crate) fn environment(&self) -> Result<Option<EnvironmentName>, Error> {
        match &self.selection.environment {
            Some(name) => Ok(Some(name.clone())),
            None if self.named_project()?.is_some() => Ok(None),
            None => Ok(self.environment.environment()?),
        }
    }

    /// Takes a project for commands that name none.
    pub(super) fn default_to(&self, project: &ProjectName) {
        let _ = self.fallback.set(project.clone());
    }

    /// Returns the project that an option or a variable names.
    pub(crate) fn named_project(&self) -> Result<Option<ProjectName>, Error> {
        match self.project_option() {
            Some(project) => Ok(Some(project.clone())),
            None if self.selection.environment.is_some() => Ok(None),
            None => Ok(self.environment.project()?),
        }
    }

    pub(crate) fn project_option(&self) -> Option<&ProjectName> {
        self.selection.project.as_ref()
    }

    /// Returns the nearest `.secrets.toml`, if there is one, in the environment that is selected.
    pub(crate) fn manifest(&self) -> Result<Option<&Manifest>, Error> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest.as_ref());
        }

        let base = self.base_manifest()?;
        let Some(name) = self.environment()? else { return Ok(base) };
        let base = base.ok_or_else(|| no_manifest(&name))?;
        let manifest = base.in_environment(&name).ok_or_else(|| no_environment(base, &name))?;
        Ok(self.manifest.get_or_init(|| Some(manifest)).as_ref())
    }

    /// Returns the nearest `.secrets.toml`, if there is one, without an environment.
    pub(crate) fn base_manifest(&self) -> Result<Option<&Manifest>, Error> {
        if let Some(manifest) = self.base.get() {
            return Ok(manifest.as_ref());
        }

        let manifest = Environment::manifest(&|warning| self.ui.warn(warning))?;
        Ok(self.base.get_or_init(|| manifest).as_ref())
    }

    /// Returns true if `-E` selects an environment.
    pub(crate) fn selects_environment(&self) -> bool {
        self.selection.environment.is_some()
    }

    /// Returns the project of the manifest without an environment.
    pub(crate) fn base_project(&self) -> Result<ProjectName, Error> {
        let base = self.base_manifest()?.and_then(|manifest| manifest.project.clone());
        Ok(base.map_or_else(Environment::default_project, Ok)?)
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

fn no_manifest(name: &EnvironmentName) -> Error {
    let message = format!("no `{MANIFEST}` in this directory or above has environment `{name}`");
    Error::new(Kind::NotFound, message)
        .hint("choose a project with `-p NAME` instead of `-E` or SECRETS_ENVIRONMENT")
}

fn no_environment(manifest: &Manifest, name: &EnvironmentName) -> Error {
    let message = format!("`{}` has no environment `{name}`", manifest.path().display());
    let error = Error::new(Kind::NotFound, message);
    if manifest.environments.is_empty() {
        error.hint(hint!("add it with `secrets setup --new -E {}`", name))
    } else {
        let names = listed(manifest.environments.iter().map(|one| &one.name));
        error.hint(format!("its environments: {names}"))
    }
}
