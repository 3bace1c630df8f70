//! Writes a pre-commit hook to the place where git looks for it, unless another hook exists there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrets_files::public;

use super::files::read;
use super::repository::Repository;
use super::{Git, GitError};

/// The result of installing the hook.
#[derive(Debug, PartialEq, Eq)]
pub enum Hook {
    Written(PathBuf),
    /// The existing hook already runs the command
    Current(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("`{}` already exists and is a different hook", .0.display())]
    Taken(PathBuf),
    /// `core.hooksPath` leads out of the git directory. Files there may be committed, or may serve
    /// other repositories
    #[error("the hooks directory `{}` is outside of the git directory", .0.display())]
    Elsewhere(PathBuf),
    #[error("cannot write `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The maximum size in bytes of an existing hook that is inspected.
const MAX_SIZE: u64 = 1024 * 1024;

impl Git {
    /// Writes a pre-commit hook that runs a shell command. An existing hook keeps its text.
    pub fn install_hook(&self, command: &str) -> Result<Hook, HookError> {
        let repository = self.needed()?;
        let path = hooks(repository)?.join("pre-commit");
        if path.symlink_metadata().is_ok() {
            return existing(path, command);
        }

        let failed = |source| HookError::Io { path: path.clone(), source };
        let text = format!(
            "#!/bin/sh\n\
             # Written by `secrets scan --install-hook`. It stops commits that contain a value.\n\
             exec {command}\n"
        );

        public::create(&path, text.as_bytes(), 0o777).map_err(failed)?;
        Ok(Hook::Written(path))
    }
}

/// Returns the directory of the repository's hooks, which all its working trees share.
fn hooks(repository: &Repository) -> Result<PathBuf, HookError> {
    let configured =
        repository.config.path("core.hookspath").map(|path| repository.work_tree.join(path));
    let hooks = configured.unwrap_or_else(|| repository.common_dir.join("hooks"));
    let is_inside = |path: &Path| {
        let existing = path.ancestors().find_map(|above| above.canonicalize().ok());
        existing.is_some_and(|real| real.starts_with(&repository.common_dir))
    };

    if hooks.components().any(|part| part.as_os_str() == "..") && !hooks.exists()
        || !is_inside(&hooks)
    {
        return Err(HookError::Elsewhere(hooks));
    }

    fs::create_dir_all(&hooks).map_err(|source| HookError::Io { path: hooks.clone(), source })?;
    Ok(hooks)
}

/// Checks whether an existing hook runs the command in a line of its own, and makes it executable
/// if it does.
fn existing(path: PathBuf, command: &str) -> Result<Hook, HookError> {
    let text = match read(&path, MAX_SIZE) {
        Ok(text) => text.unwrap_or_default(),
        Err(_) => return Err(HookError::Taken(path)),
    };

    let text = String::from_utf8_lossy(&text);
    let runs = text.lines().map(str::trim).any(|line| {
        let line = line.strip_prefix("exec ").unwrap_or(line);
        line.strip_prefix(command)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ';', '|', '&']))
    });

    let mode = fs::metadata(&path).map(|found| found.permissions().mode()).unwrap_or_default();

    if !runs {
        return Err(HookError::Taken(path));
    }

    if mode & 0o111 == 0 {
        // Git skips a hook that is not executable. Everyone who may read the hook gets the right to
        // execute it.
        let executable = fs::Permissions::from_mode(mode | (mode & 0o444) >> 2);
        fs::set_permissions(&path, executable)
            .map_err(|source| HookError::Io { path: path.clone(), source })?;
    }

    Ok(Hook::Current(path))
}
