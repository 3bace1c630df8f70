//! Finds the repository of a directory, and recognises git directories. A repository is found only
//! through `.git`. A directory that merely looks like a bare repository may be part of what
//! somebody committed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::files::read;
use super::index::{Index, IndexEntry};
use super::object::{Hash, Id};
use super::objects::Objects;
use super::{GitEnvironment, GitError};

/// The maximum size in bytes of a small file in a git directory: `.git`, `HEAD`, `commondir`.
const SMALL: u64 = 64 * 1024;
/// The maximum size in bytes of `packed-refs`, which may list millions of references.
const REFS: u64 = 256 * 1024 * 1024;

/// A repository with a working tree.
pub(super) struct Repository {
    /// The working tree, without links
    pub(super) work_tree: PathBuf,
    /// The git directory of this working tree, with `HEAD` and `index`
    pub(super) git_dir: PathBuf,
    /// The directory that all working trees of the repository share, with `objects` and `refs`
    pub(super) common_dir: PathBuf,
    pub(super) config: Config,
    index: PathBuf,
    objects: Vec<PathBuf>,
    hash: Hash,
}

impl Repository {
    /// Finds the repository whose working tree contains a directory.
    pub(super) fn find(
        directory: &Path,
        environment: &GitEnvironment,
    ) -> Result<Option<Self>, GitError> {
        let directory = absolute(directory)?;
        let found = match &environment.git_dir {
            Some(git_dir) => Some((absolute(git_dir)?, None)),
            None => discover(&directory, &environment.ceilings)?,
        };

        let Some((git_dir, parent)) = found else { return Ok(None) };
        if !is_complete(&git_dir) {
            return Ok(None);
        }

        let named = environment.common_dir.clone().or_else(|| common_dir(&git_dir));
        let common_dir = named.map_or_else(|| Ok(git_dir.clone()), |common| absolute(&common))?;
        let config = configuration(&git_dir, &common_dir, environment)?;

        let configured = config.path("core.worktree").map(|path| git_dir.join(path));
        let work_tree = match environment.work_tree.clone().or(configured) {
            Some(path) => path,
            None if config.is_true("core.bare") => return Ok(None),
            None => parent.unwrap_or_else(|| ".".into()),
        };

        let Ok(work_tree) = absolute(&work_tree) else { return Ok(None) };
        if !directory.starts_with(&work_tree) || directory.starts_with(&git_dir) {
            return Ok(None);
        }

        let hash =
            match config.text("extensions.objectformat").map(<[u8]>::to_ascii_lowercase).as_deref()
            {
                None | Some(b"sha1") => Hash::Sha1,
                Some(b"sha256") => Hash::Sha256,
                Some(_) => return Err(GitError::invalid(&git_dir, "its object format is unknown")),
            };

        let index = environment.index_file.clone().unwrap_or_else(|| git_dir.join("index"));
        let mut objects = vec![
            environment.object_directory.clone().unwrap_or_else(|| common_dir.join("objects")),
        ];

        objects.extend(environment.alternates.iter().cloned());
        Ok(Some(Self { work_tree, git_dir, common_dir, config, index, objects, hash }))
    }

    /// Visits every entry of the index.
    pub(super) fn each_entry(
        &self,
        visit: &mut dyn FnMut(&IndexEntry<'_>),
    ) -> Result<(), GitError> {
        Index::open(&self.index, &self.git_dir, self.hash)?.each(&self.index, visit)
    }

    pub(super) fn objects(&self) -> Result<Objects, GitError> {
        Objects::open(&self.objects, self.hash)
    }

    /// Returns the commit that is checked out, or `None` before the first commit.
    pub(super) fn head(&self) -> Result<Option<Id>, GitError> {
        let mut name: PathBuf = "HEAD".into();
        for _ in 0..5 {
            let path = self.git_dir.join(&name);
            let text = match read(&path, SMALL)? {
                Some(text) => Some(text),
                None => read(&self.common_dir.join(&name), SMALL)?,
            };

            let Some(text) = text else { return self.packed(&name) };
            let text = text.trim_ascii();
            let Some(target) = text.strip_prefix(b"ref:") else {
                let id = Id::from_hex(text, self.hash);
                return id.map(Some).ok_or_else(|| GitError::invalid(&path, "it names no commit"));
            };

            let target = target.trim_ascii();
            let is_safe = target.starts_with(b"refs/")
                && target.split(|byte| *byte == b'/').all(super::index::is_safe_name);
            if !is_safe {
                return Err(GitError::invalid(&path, "it names no branch"));
            }

            name = OsStr::from_bytes(target).into();
        }

        Err(GitError::invalid(&self.git_dir.join("HEAD"), "it leads through too many branches"))
    }

    /// Looks up a branch in `packed-refs`.
    fn packed(&self, name: &Path) -> Result<Option<Id>, GitError> {
        let path = self.common_dir.join("packed-refs");
        let Some(text) = read(&path, REFS)? else { return Ok(None) };
        let name = name.as_os_str().as_bytes();
        let digits = self.hash.length() * 2;

        let found =
            text.split(|byte| *byte == b'\n').find(|line| line.get(digits + 1..) == Some(name));
        Ok(found.and_then(|line| Id::from_hex(&line[..digits], self.hash)))
    }
}

/// Returns an absolute path without links. It is an error if the path does not exist.
fn absolute(path: &Path) -> Result<PathBuf, GitError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::canonicalize(path).map_err(|source| GitError::io(path, source))
}

/// Looks for `.git` in a directory and the directories above it. Returns the git directory, and the
/// directory that contains `.git`.
fn discover(
    directory: &Path,
    ceilings: &[PathBuf],
) -> Result<Option<(PathBuf, Option<PathBuf>)>, GitError> {
    for above in directory.ancestors() {
        if above != directory && ceilings.iter().any(|ceiling| ceiling == above) {
            return Ok(None);
        }

        let dot_git = above.join(".git");
        let Ok(found) = std::fs::metadata(&dot_git) else { continue };
        if found.is_dir() {
            let git_dir = absolute(&dot_git)?;

            // Git also skips a `.git` that is not a repository.
            if is_complete(&git_dir) {
                return Ok(Some((git_dir, Some(above.to_owned()))));
            }
        } else {
            let target = target_of(&dot_git)?
                .ok_or_else(|| GitError::invalid(&dot_git, "it names no repository"))?;
            return Ok(absolute(&target).ok().map(|git_dir| (git_dir, Some(above.to_owned()))));
        }
    }

    Ok(None)
}

/// Returns the git directory that a `.git` file names in the form `gitdir: PATH`.
fn target_of(dot_git: &Path) -> Result<Option<PathBuf>, GitError> {
    let text = read(dot_git, SMALL)?.unwrap_or_default();
    let line = text.strip_prefix(b"gitdir: ").map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    let line = line.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(line
        .filter(|line| !line.is_empty())
        .map(|line| dot_git.with_file_name(OsStr::from_bytes(line))))
}

/// Returns the directory that a working tree's git directory shares with others.
fn common_dir(git_dir: &Path) -> Option<PathBuf> {
    let text = read(&git_dir.join("commondir"), SMALL).ok()??;
    Some(git_dir.join(OsStr::from_bytes(text.trim_ascii_end())))
}

/// Returns true if git would accept a directory as a git directory.
fn is_complete(directory: &Path) -> bool {
    let common = common_dir(directory).unwrap_or_else(|| directory.to_owned());
    let exists = |path: PathBuf| path.symlink_metadata().is_ok();
    exists(directory.join("HEAD"))
        && common.join("objects").is_dir()
        && common.join("refs").is_dir()
}

/// Loads the configuration of the system, the user, the repository and the working tree.
fn configuration(
    git_dir: &Path,
    common_dir: &Path,
    environment: &GitEnvironment,
) -> Result<Config, GitError> {
    let mut config = Config::new(environment.home.as_deref());
    for path in &environment.configs {
        // If the user's file cannot be read, fewer files count as ignored, which is the safe side.
        let _ = config.load(path);
    }

    // In a linked working tree, the shared file's values of these keys do not apply.
    let is_shared = git_dir != common_dir;
    let worktree_keys = ["core.worktree", "core.bare"];
    config
        .load_if(&common_dir.join("config"), |key| !(is_shared && worktree_keys.contains(&key)))?;
    if config.is_true("extensions.worktreeconfig") {
        config.load(&git_dir.join("config.worktree"))?;
    }

    Ok(config)
}

/// Returns true if a path without links is inside a git directory, whatever the name of that
/// directory. A git directory is recognised by its contents, or by the `.git` file that leads to
/// it.
pub fn is_in_git_directory(real: &Path) -> bool {
    for above in real.ancestors().skip(1) {
        let is_named = above.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".git"));
        let has = |name: &str| above.join(name).symlink_metadata().is_ok();
        if is_named || is_complete(above) || has("HEAD") && has("commondir") {
            return true;
        }

        let dot_git = above.join(".git");
        if dot_git.symlink_metadata().is_ok() {
            // This is a working tree. Its repository may be anywhere, even inside the working tree.
            // A bare repository may be around it.
            let target =
                if dot_git.is_dir() { Some(dot_git) } else { target_of(&dot_git).ok().flatten() };
            return target
                .and_then(|target| target.canonicalize().ok())
                .is_some_and(|target| real.starts_with(target));
        }
    }

    false
}

/// Returns true if a symbolic link leads a path into a git directory. A user who types such a path
/// means it, but a link is the choice of the repository's author.
pub fn leads_into_git_directory(path: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else { return false };
    let mut links = path
        .ancestors()
        .filter(|part| part.is_symlink())
        .filter_map(|link| link.canonicalize().ok());

    links.any(|target| is_in_git_directory(&target.join("x")))
}
