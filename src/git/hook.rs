//! Writes a pre-commit hook, where git looks for it and no other hook is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::files::read;
use super::repository::Repository;
use super::{Git, GitError};

/// What became of the hook.
#[derive(Debug, PartialEq, Eq)]
pub enum Hook {
    /// It was written
    Written(PathBuf),
    /// The existing one runs the command already
    Current(PathBuf),
}

/// Why no hook was written.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The repository could not be read
    #[error(transparent)]
    Git(#[from] GitError),
    /// There is a hook of somebody else's
    #[error("`{}` already exists and is a different hook", .0.display())]
    Taken(PathBuf),
    /// `core.hooksPath` leads out of the git directory: what lies there may be committed, or serve other repositories
    #[error("this repository's hooks are in `{}`, outside its git directory", .0.display())]
    Elsewhere(PathBuf),
    /// It could not be written
    #[error("cannot write `{}`: {source}", path.display())]
    Io {
        /// Which
        path: PathBuf,
        /// The system's word
        source: io::Error,
    },
}

/// Another hook of more bytes is not looked into.
const LARGEST: u64 = 1024 * 1024;

impl Git {
    /// Writes a pre-commit hook that runs a shell command. An existing hook is left alone.
    pub fn install_hook(&self, command: &str) -> Result<Hook, HookError> {
        let repository = self.needed()?;
        let path = hooks(repository)?.join("pre-commit");
        if path.symlink_metadata().is_ok() {
            return existing(path, command);
        }

        let failed = |source| HookError::Io { path: path.clone(), source };
        let text = format!(
            "#!/bin/sh\n# Written by `secrets scan --install-hook`: no commit publishes a value.\nexec {command}\n"
        );
        let opened = crate::process::as_before(|| {
            OpenOptions::new().write(true).create_new(true).mode(0o777).open(&path)
        });

        let mut file = opened.map_err(failed)?;

        if let Err(source) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
            let _ = fs::remove_file(&path);
            return Err(failed(source));
        }

        Ok(Hook::Written(path))
    }
}

/// The directory of the repository's hooks, which all its working trees share.
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

/// An existing hook is ours, or runs the command in a line of its own, or is in the way.
fn existing(path: PathBuf, command: &str) -> Result<Hook, HookError> {
    let text = match read(&path, LARGEST) {
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
        // Git passes over a hook that cannot be executed. Whoever may read it may execute it.
        let executable = fs::Permissions::from_mode(mode | (mode & 0o444) >> 2);
        fs::set_permissions(&path, executable)
            .map_err(|source| HookError::Io { path: path.clone(), source })?;
    }

    Ok(Hook::Current(path))
}
