//! Finds out what git knows about files: whether they are staged, tracked or ignored. This module
//! reads git's files itself and starts no program, because the author of a repository may have
//! configured one: hooks, filters, `fsmonitor`, a transport (docs/design/git.md).
//!
//! * `repository`: finds the git directory of a working tree
//! * `credential`: reads what git sends to a credential helper
//! * `config`: reads the few keys that say where things are
//! * `index`: reads the contents of the next commit
//! * `rules`: decides which files are ignored
//! * `objects`, `pack`: read loose and packed objects
//! * `staged`: compares the index with the last commit
//! * `hook`: installs our pre-commit hook
//! * `files`: opens files that may come from a stranger

mod config;
mod credential;
mod files;
mod hook;
mod index;
mod object;
mod objects;
mod pack;
mod repository;
mod rules;
mod staged;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

pub use credential::{CredentialError, CredentialRequest, MAX_SIZE as MAX_CREDENTIAL_REQUEST};
pub use hook::{Hook, HookError};
pub use index::{EntryKind, IndexEntry, visit_entries};
pub use object::{Hash, Id};
pub use pack::apply as apply_delta;
pub use repository::{is_in_git_directory, leads_into_git_directory};
pub use staged::{Staged, entries as tree_entries};

use object::Kind;
use objects::Objects;
use repository::Repository;
use rules::Rules;
use staged::{Trees, is_below};

/// Returns every `section.key` of a configuration with its value.
pub fn config_values(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    config::parse(text)
}

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("`{}` is not in the working tree of a git repository", .0.display())]
    NoRepository(PathBuf),
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot read `{}`: {why}", path.display())]
    Invalid {
        path: PathBuf,
        /// A phrase that says what is wrong
        why: &'static str,
    },
    #[error("git object {id} {why}")]
    Object {
        id: Id,
        /// A phrase that says what is wrong
        why: String,
    },
    #[error("git object {0} is missing from this clone")]
    Missing(Id),
}

impl GitError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn invalid(path: &Path, why: &'static str) -> Self {
        Self::Invalid { path: path.to_owned(), why }
    }
}

/// Git's settings from the user's environment. They come from the user, or from git when it runs us
/// as a hook, but never from the repository.
#[derive(Debug, Clone, Default)]
pub struct GitEnvironment {
    /// `GIT_DIR`
    pub git_dir: Option<PathBuf>,
    /// `GIT_COMMON_DIR`
    pub common_dir: Option<PathBuf>,
    /// `GIT_WORK_TREE`
    pub work_tree: Option<PathBuf>,
    /// `GIT_INDEX_FILE`, because `git commit -a` uses a separate index
    pub index_file: Option<PathBuf>,
    /// `GIT_OBJECT_DIRECTORY`
    pub object_directory: Option<PathBuf>,
    /// `GIT_ALTERNATE_OBJECT_DIRECTORIES`
    pub alternates: Vec<PathBuf>,
    /// `GIT_CEILING_DIRECTORIES`. The search for a repository stops before these
    pub ceilings: Vec<PathBuf>,
    /// The home directory, for paths that begin with `~/`
    pub home: Option<PathBuf>,
    /// The configuration files of the system and the user. Later files take precedence
    pub configs: Vec<PathBuf>,
    /// The user's ignore file if the configuration names none
    pub excludes: Option<PathBuf>,
}

/// How git treats a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitStatus {
    NoRepository,
    /// The file is ignored and not tracked, so nobody commits it by accident
    Ignored,
    /// The file is neither ignored nor tracked, so `git add .` would add it
    Exposed,
    /// The file is part of the next commit
    Tracked,
}

/// The repository of one directory, if it has one.
pub struct Git {
    directory: PathBuf,
    environment: GitEnvironment,
    repository: OnceCell<Option<Repository>>,
}

impl Git {
    /// Creates a handle for the repository whose working tree contains a directory. The repository
    /// is searched for when it is first needed.
    pub fn at(directory: &Path, environment: GitEnvironment) -> Self {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        Self { directory: directory.to_owned(), environment, repository: OnceCell::new() }
    }

    fn repository(&self) -> Result<Option<&Repository>, GitError> {
        if let Some(known) = self.repository.get() {
            return Ok(known.as_ref());
        }

        let found = Repository::find(&self.directory, &self.environment)?;
        Ok(self.repository.get_or_init(|| found).as_ref())
    }

    fn needed(&self) -> Result<&Repository, GitError> {
        self.repository()?.ok_or_else(|| {
            let directory =
                std::path::absolute(&self.directory).unwrap_or_else(|_| self.directory.clone());
            GitError::NoRepository(directory)
        })
    }

    /// Returns an error outside of a working tree.
    pub fn require_repository(&self) -> Result<(), GitError> {
        self.needed().map(drop)
    }

    /// Returns the root of the working tree, without links. Returns `None` if there is no
    /// repository.
    pub fn work_tree(&self) -> Result<Option<&Path>, GitError> {
        Ok(self.repository()?.map(|repository| repository.work_tree.as_path()))
    }

    /// Returns a path relative to the working tree, or `None` if it leads out of it.
    fn below(&self, repository: &Repository, path: &Path) -> Option<PathBuf> {
        let whole = without_links(&self.directory.join(path))?;
        whole.strip_prefix(&repository.work_tree).map(Path::to_owned).ok()
    }

    /// Returns how git treats files, in their order. Paths are relative to the directory.
    pub fn statuses(&self, paths: &[&Path]) -> Result<Vec<GitStatus>, GitError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }

        let Some(repository) = self.repository()? else {
            return Ok(vec![GitStatus::NoRepository; paths.len()]);
        };

        let below: Vec<_> = paths.iter().map(|path| self.below(repository, path)).collect();
        let tracked = tracked(repository, &below)?;
        let mut rules = Rules::open(repository, &self.environment)?;

        let mut standing = Vec::with_capacity(paths.len());
        for path in &below {
            standing.push(match path {
                None => GitStatus::NoRepository,
                Some(path) if tracked.contains(path) => GitStatus::Tracked,
                Some(path) if rules.of(path)?.is_some_and(|verdict| verdict.ignored) => {
                    GitStatus::Ignored
                }
                Some(_) => GitStatus::Exposed,
            });
        }

        Ok(standing)
    }

    /// Returns the first of these files that a `.gitignore` below the directory includes again, and
    /// that `.gitignore`. The directory's own `.gitignore` does not count. All paths are relative
    /// to the directory.
    pub fn reincluded(&self, paths: &[&Path]) -> Result<Option<(PathBuf, PathBuf)>, GitError> {
        let Some(repository) = self.repository()?.filter(|_| !paths.is_empty()) else {
            return Ok(None);
        };

        let here = std::fs::canonicalize(&self.directory)
            .map_err(|source| GitError::io(&self.directory, source))?;
        let Ok(here) = here.strip_prefix(&repository.work_tree) else { return Ok(None) };
        let mut rules = Rules::open(repository, &self.environment)?;

        for path in paths {
            let Some(below) = self.below(repository, path) else { continue };
            let Some(verdict) = rules.of(&below)?.filter(|verdict| !verdict.ignored) else {
                continue;
            };

            let file =
                verdict.file.strip_prefix(here).ok().filter(|file| file.components().count() > 1);
            if let Some(file) = file.filter(|file| file.file_name() == Some(".gitignore".as_ref()))
            {
                return Ok(Some(((*path).to_owned(), file.to_owned())));
            }
        }

        Ok(None)
    }

    /// Returns the tracked files and links of the working tree that `wanted` accepts, as paths
    /// without links in their directories. Returns nothing if there is no repository.
    pub fn tracked(&self, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, GitError> {
        let Some(repository) = self.repository()? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        repository.each_entry(&mut |entry| {
            let path = repository.work_tree.join(OsStr::from_bytes(entry.path));
            if matches!(entry.kind(), EntryKind::File | EntryKind::Link)
                && found.last() != Some(&path)
                && wanted(&path)
            {
                found.push(path);
            }
        })?;

        Ok(found)
    }

    /// Returns the files that the next commit would add or change. If `paths` is not empty, only
    /// files below these paths count. `paths` are relative to the directory, and the returned paths
    /// are relative to the working tree.
    pub fn staged(&self, paths: &[PathBuf]) -> Result<(Vec<Staged>, Blobs), GitError> {
        let repository = self.needed()?;
        let roots: Vec<PathBuf> =
            paths.iter().filter_map(|path| self.below(repository, path)).collect();
        let objects = repository.objects()?;

        // A path that leads out of the working tree selects no file.
        let wanted = |path: &[u8]| is_below(Path::new(OsStr::from_bytes(path)), &roots);
        let is_nothing = roots.is_empty() && !paths.is_empty();
        let found =
            if is_nothing { Vec::new() } else { staged::staged(repository, &objects, &wanted)? };
        Ok((found, Blobs(objects)))
    }
}

/// The contents of files in a repository.
pub struct Blobs(Objects);

impl Blobs {
    /// Opens a file's content, or a link's target.
    pub fn open(&self, id: &Id) -> Result<Box<dyn Read + '_>, GitError> {
        let object = self.0.get(id)?;
        if object.kind != Kind::Blob {
            return Err(GitError::Object { id: *id, why: "is not the content of a file".into() });
        }

        Ok(object.content)
    }
}

/// Returns those of the paths that the next commit contains.
fn tracked(
    repository: &Repository,
    paths: &[Option<PathBuf>],
) -> Result<HashSet<PathBuf>, GitError> {
    let ignore_case = repository.config.is_true("core.ignorecase");
    let key = |path: &[u8]| if ignore_case { path.to_ascii_lowercase() } else { path.to_vec() };
    let asked: HashMap<Vec<u8>, &PathBuf> =
        paths.iter().flatten().map(|path| (key(path.as_os_str().as_bytes()), path)).collect();
    let mut found = HashSet::new();

    // These directories of a sparse index may contain one of the paths.
    let mut sparse: Vec<(Vec<u8>, Id)> = Vec::new();

    repository.each_entry(&mut |entry| {
        let known = if ignore_case { asked.get(&key(entry.path)) } else { asked.get(entry.path) };
        found.extend(known.map(|path| (*path).clone()));
        let is_above = |path: &PathBuf| path.as_os_str().as_bytes().starts_with(entry.path);
        if entry.kind() == EntryKind::Directory && paths.iter().flatten().any(is_above) {
            sparse.push((entry.path.to_vec(), entry.id));
        }
    })?;

    if sparse.is_empty() {
        return Ok(found);
    }

    let objects = repository.objects()?;
    for (directory, id) in sparse {
        let mut tree = Trees::new(&objects, Some(id));
        for path in paths.iter().flatten() {
            let Some(below) = path.as_os_str().as_bytes().strip_prefix(&directory[..]) else {
                continue;
            };

            // If the lookup fails, the file may be there.
            if !matches!(tree.get(below), Ok(None)) {
                found.insert(path.clone());
            }
        }
    }

    Ok(found)
}

/// Returns true if the files that say what git ignores in a directory are safe to read:
/// `.gitignore` and `info/exclude` must be regular files of at most 1 MiB. A link may lead to a
/// device without an end, and git itself follows none.
pub fn has_plain_rules(directory: &Path) -> bool {
    const LINE: u64 = 8 * 1024;
    let is_plain = |path: &Path, most: u64| match path.symlink_metadata() {
        Ok(found) => found.is_file() && found.len() <= most,
        Err(_) => true,
    };

    let excludes = |git: &Path| is_plain(&git.join("info/exclude"), files::RULES);
    if !is_plain(&directory.join(".gitignore"), files::RULES) {
        return false;
    }

    let git = directory.join(".git");
    match git.symlink_metadata() {
        // In a linked working tree, `.git` is a file that names the tree's own git directory. The
        // file `commondir` in there names the shared one.
        Ok(found) if found.is_file() => {
            let read_path = |path: &Path| -> Option<PathBuf> {
                let text = files::read(path, LINE).ok()??;
                let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                Some(PathBuf::from(OsStr::from_bytes(
                    line.strip_prefix(b"gitdir: ").unwrap_or(line),
                )))
            };

            let Some(git_dir) = read_path(&git) else { return false };

            // From here on, paths are resolved as the `ignore` crate resolves them, because that
            // crate reads the files.
            let file = git_dir.join("commondir");
            let resolved = |path: PathBuf| {
                let is_relative = path.as_os_str().as_bytes().starts_with(b".");
                if is_relative { git_dir.join(path) } else { path }
            };

            is_plain(&file, LINE) && read_path(&file).is_none_or(|path| excludes(&resolved(path)))
        }
        Ok(_) => excludes(&git),
        Err(_) => true,
    }
}

/// Returns the absolute path by which git knows a file. Links in its directories are followed as
/// far as the directories exist. A link in the last part is not followed, because git looks at the
/// link itself.
pub fn without_links(path: &Path) -> Option<PathBuf> {
    let real = |path: &Path| {
        std::fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path })
    };

    if path.file_name().is_none() {
        return real(path).ok().or_else(|| Some(plain(&std::path::absolute(path).ok()?)));
    }

    let (above, real) =
        path.ancestors().skip(1).find_map(|above| Some((above, real(above).ok()?)))?;
    Some(plain(&real.join(path.strip_prefix(above).ok()?)))
}

/// Removes `.` and `..` from a path without looking at the file system.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }

    plain
}

/// Returns the line of a `.gitignore` that matches exactly one file. `path` is relative to the
/// directory of the `.gitignore`.
pub fn ignoring(path: &Path) -> Vec<u8> {
    let mut line = vec![b'/'];
    for byte in OsStr::as_bytes(path.as_os_str()) {
        match byte {
            // A line cannot contain a line break, so a wildcard replaces it.
            b'\n' | b'\r' => line.push(b'?'),
            _ if b"*?[]\\! #".contains(byte) => line.extend([b'\\', *byte]),
            _ => line.push(*byte),
        }
    }

    line
}
