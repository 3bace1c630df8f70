//! Adds outputs that git would commit to the `.gitignore` next to the manifest, one line each.
//! Nothing else in that file changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrets_files::OutputError;
use secrets_files::public;

use super::manifest::Manifest;
use super::{SetupError, relative};
use crate::git::{Git, GitError, GitStatus, ignoring, is_in_git_directory, without_links};

/// The outputs that git tracks or does not ignore.
pub struct Unignored {
    directory: PathBuf,
    /// Outputs that git tracks, relative to the working directory
    pub tracked: Vec<PathBuf>,
    /// Outputs that git does not ignore, relative to the manifest's directory
    exposed: Vec<PathBuf>,
    /// One of the exposed outputs that a `.gitignore` in a lower directory includes again, and that
    /// file. A line added to the upper file would have no effect
    pub reincluded: Option<(PathBuf, PathBuf)>,
}

impl Unignored {
    /// Returns the outputs that git does not ignore, relative to the manifest's directory.
    pub fn exposed(&self) -> &[PathBuf] {
        &self.exposed
    }
}

/// Finds out which of a manifest's outputs git tracks or does not ignore.
pub fn unignored(manifest: &Manifest, git: &Git) -> Result<Unignored, GitError> {
    let paths: Vec<PathBuf> =
        manifest.render.iter().map(|rendering| git_path(manifest, &rendering.output)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut found = Unignored {
        directory: manifest.directory.clone(),
        tracked: Vec::new(),
        exposed: Vec::new(),
        reincluded: None,
    };

    for (path, standing) in paths.iter().zip(git.statuses(&paths)?) {
        match standing {
            GitStatus::Tracked => found.tracked.push(manifest.at(path)),
            GitStatus::Exposed => found.exposed.push((*path).to_owned()),
            GitStatus::Ignored | GitStatus::NoRepository => {}
        }
    }

    let exposed: Vec<&Path> = found.exposed.iter().map(PathBuf::as_path).collect();
    let reincluded = git.reincluded(&exposed)?;
    found.reincluded = reincluded.map(|(path, rule)| (manifest.at(&path), manifest.at(&rule)));
    Ok(found)
}

/// Returns an output's path relative to the manifest's directory, without links in its directories.
/// Git tracks and ignores files only by this path.
pub fn git_path(manifest: &Manifest, output: &Path) -> PathBuf {
    let inside = || {
        let root = fs::canonicalize(relative(&manifest.directory)).ok()?;
        Some(without_links(&manifest.at(output))?.strip_prefix(root).ok()?.to_owned())
    };

    inside().unwrap_or_else(|| output.to_owned())
}

impl Unignored {
    /// Returns an error if `.gitignore` cannot be extended.
    pub fn check(&self) -> Result<(), SetupError> {
        let path = self.directory.join(".gitignore");
        if self.exposed.is_empty() {
            return Ok(());
        }

        let refuse = |why| Err(OutputError::Unsafe { path: path.clone(), why }.into());

        // Git does not read a link there either.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return refuse("is not a regular file");
        }

        let directory = fs::canonicalize(relative(&self.directory));
        if directory.is_ok_and(|directory| is_in_git_directory(&directory.join(".gitignore"))) {
            return refuse("is inside a git directory");
        }

        Ok(())
    }

    /// Returns the lines to add.
    pub fn lines(&self) -> Vec<String> {
        self.exposed
            .iter()
            .map(|path| String::from_utf8_lossy(&ignoring(path)).into_owned())
            .collect()
    }

    /// Adds the lines. If the file does not end with a newline, it gets one first. New lines get
    /// the line ending of the last line.
    pub fn apply(&self) -> Result<(), SetupError> {
        if self.exposed.is_empty() {
            return Ok(());
        }

        let path = self.directory.join(".gitignore");
        let failed = |source| SetupError::Gitignore { path: path.clone(), source };

        self.check()?;
        let before = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };

        let last = memchr::memrchr(b'\n', &before).map_or(&[][..], |at| &before[..=at]);
        let ending: &[u8] = if last.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
        let mut addition = Vec::new();
        if !before.is_empty() && !before.ends_with(b"\n") {
            addition.extend_from_slice(ending);
        }

        for path in &self.exposed {
            addition.extend_from_slice(&ignoring(path));
            addition.extend_from_slice(ending);
        }

        public::append(&path, &addition).map_err(failed)
    }
}
