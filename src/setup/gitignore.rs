//! `.gitignore` beside the manifest: outputs that git would take are added to it, a line each. Nothing else in it changes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::{SetupError, relative};
use crate::git::{Git, GitError, GitStatus, ignoring, is_in_git_directory, without_links};
use crate::template::TemplateError;

/// What git would take.
pub struct Unignored {
    directory: PathBuf,
    /// Outputs that git has taken, as seen from the working directory
    pub tracked: Vec<PathBuf>,
    /// Outputs that it does not ignore, relative to the directory
    exposed: Vec<PathBuf>,
    /// Of these, one that a `.gitignore` further down takes back, and that file: what is added up here would not count
    pub taken_back: Option<(PathBuf, PathBuf)>,
}

/// Asks git what it makes of a manifest's outputs.
pub fn unignored(manifest: &Manifest, git: &Git) -> Result<Unignored, GitError> {
    let paths: Vec<PathBuf> =
        manifest.render.iter().map(|rendering| as_git_knows(manifest, &rendering.output)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut found = Unignored {
        directory: manifest.directory.clone(),
        tracked: Vec::new(),
        exposed: Vec::new(),
        taken_back: None,
    };

    for (path, standing) in paths.iter().zip(git.standing(&paths)?) {
        match standing {
            GitStatus::Tracked => found.tracked.push(manifest.at(path)),
            GitStatus::Exposed => found.exposed.push((*path).to_owned()),
            GitStatus::Ignored | GitStatus::NoRepository => {}
        }
    }

    let exposed: Vec<&Path> = found.exposed.iter().map(PathBuf::as_path).collect();
    let taken_back = git.taken_back(&exposed)?;
    found.taken_back = taken_back.map(|(path, rule)| (manifest.at(&path), manifest.at(&rule)));
    Ok(found)
}

/// Returns an output's path relative to the manifest's directory, without links in its directories: git tracks and ignores
/// files by no other path.
pub fn as_git_knows(manifest: &Manifest, output: &Path) -> PathBuf {
    let inside = || {
        let root = fs::canonicalize(relative(&manifest.directory)).ok()?;
        Some(without_links(&manifest.at(output))?.strip_prefix(root).ok()?.to_owned())
    };

    inside().unwrap_or_else(|| output.to_owned())
}

impl Unignored {
    /// Refuses what cannot be added to.
    pub fn check(&self) -> Result<(), SetupError> {
        let path = self.directory.join(".gitignore");
        if self.exposed.is_empty() {
            return Ok(());
        }

        let refuse = |why| Err(TemplateError::UnsafeOutput { path: path.clone(), why }.into());

        // git reads no link there either.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return refuse("is no regular file");
        }

        let directory = fs::canonicalize(relative(&self.directory));
        if directory.is_ok_and(|directory| is_in_git_directory(&directory.join(".gitignore"))) {
            return refuse("lies in a git directory");
        }

        Ok(())
    }

    /// The lines that are added.
    pub fn lines(&self) -> Vec<String> {
        self.exposed
            .iter()
            .map(|path| String::from_utf8_lossy(&ignoring(path)).into_owned())
            .collect()
    }

    /// Adds them. What ends without a newline gets one first; lines end as the last one does.
    pub fn apply(&self) -> Result<(), SetupError> {
        if self.exposed.is_empty() {
            return Ok(());
        }

        let path = self.directory.join(".gitignore");
        let failed = |source: io::Error| TemplateError::Io {
            action: "add to",
            name: path.display().to_string(),
            source,
        };

        self.check()?;
        let before = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error).into()),
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

        // In one piece behind what is there, whoever else writes to it.
        let opened =
            crate::process::as_before(|| OpenOptions::new().append(true).create(true).open(&path));
        opened.and_then(|mut file| file.write_all(&addition)).map_err(failed)?;
        Ok(())
    }
}
