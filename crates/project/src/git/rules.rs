//! Decides which files git ignores, by the `.gitignore` of each directory, `info/exclude` and the
//! user's own file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::files::read;
use super::index::{EntryKind, IndexEntry};
use super::object::{Id, Kind};
use super::repository::Repository;
use super::{GitEnvironment, GitError};

/// The maximum size of a file with rules in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// The rule that decides whether a path is ignored.
pub(super) struct Verdict {
    /// True if the path is ignored, false if a rule includes it again
    pub(super) ignored: bool,
    /// The file with the rule, as an absolute path or relative to the working tree
    pub(super) file: PathBuf,
}

/// The ignore rules of a working tree, which are read when they are needed.
pub(super) struct Rules<'r> {
    repository: &'r Repository,
    ignore_case: bool,
    /// Rules for the whole tree, in descending precedence
    general: Vec<(PathBuf, Gitignore)>,
    directories: HashMap<PathBuf, Option<Rc<Gitignore>>>,
    /// `.gitignore` files that a sparse checkout leaves out of the working tree
    left_out: HashMap<PathBuf, Id>,
}

impl<'r> Rules<'r> {
    pub(super) fn open(
        repository: &'r Repository,
        environment: &GitEnvironment,
    ) -> Result<Self, GitError> {
        let ignore_case = repository.config.is_true("core.ignorecase");
        let users =
            repository.config.path("core.excludesfile").or_else(|| environment.excludes.clone());
        let mut general = Vec::new();

        for path in [Some(repository.common_dir.join("info/exclude")), users].into_iter().flatten()
        {
            // If a file cannot be read, fewer files count as ignored, which is the safe side.
            if let Ok(Some(text)) = read(&path, MAX_SIZE) {
                general.push((path, rules(&text, ignore_case)));
            }
        }

        let mut left_out = HashMap::new();
        repository.each_entry(&mut |entry: &IndexEntry<'_>| {
            let path = Path::new(OsStr::from_bytes(entry.path));
            let is_rules =
                entry.kind() == EntryKind::File && path.file_name() == Some(".gitignore".as_ref());
            if is_rules && entry.skip_worktree {
                left_out.insert(path.to_owned(), entry.id);
            }
        })?;

        Ok(Self { repository, ignore_case, general, directories: HashMap::new(), left_out })
    }

    /// Returns the rule that decides about a file, which is given by its path below the working
    /// tree. A file in an ignored directory is ignored, whatever the rules in that directory say.
    pub(super) fn of(&mut self, file: &Path) -> Result<Option<Verdict>, GitError> {
        let mut directories: Vec<&Path> =
            file.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        while let Some(directory) = directories.pop() {
            if let Some(verdict) = self.at(directory, true)?.filter(|verdict| verdict.ignored) {
                return Ok(Some(verdict));
            }
        }

        self.at(file, false)
    }

    /// Returns the rule for one path, from the nearest file that has one.
    fn at(&mut self, path: &Path, is_dir: bool) -> Result<Option<Verdict>, GitError> {
        for directory in path.ancestors().skip(1) {
            let Some(rules) = self.directory_rules(directory)? else { continue };
            let below = path.strip_prefix(directory).unwrap_or(path);
            if let Some(ignored) = decision(&rules, below, is_dir) {
                return Ok(Some(Verdict { ignored, file: directory.join(".gitignore") }));
            }
        }

        let general = self.general.iter();
        let mut decided =
            general.filter_map(|(file, rules)| Some((decision(rules, path, is_dir)?, file)));
        Ok(decided.next().map(|(ignored, file)| Verdict { ignored, file: file.clone() }))
    }

    fn directory_rules(&mut self, directory: &Path) -> Result<Option<Rc<Gitignore>>, GitError> {
        if let Some(known) = self.directories.get(directory) {
            return Ok(known.clone());
        }

        let relative = directory.join(".gitignore");
        let path = self.repository.work_tree.join(&relative);
        let text = match path.symlink_metadata() {
            // Git does not follow a link here.
            Ok(found) if found.is_file() => read(&path, MAX_SIZE)?,
            Ok(_) => None,
            Err(_) => self.left_out(&relative)?,
        };

        let rules = text.map(|text| Rc::new(rules(&text, self.ignore_case)));
        self.directories.insert(directory.to_owned(), rules.clone());
        Ok(rules)
    }

    /// Returns the text of a `.gitignore` that a sparse checkout leaves out. Nothing is fetched, so
    /// a file that a partial clone lacks counts as empty.
    fn left_out(&self, relative: &Path) -> Result<Option<Vec<u8>>, GitError> {
        let Some(id) = self.left_out.get(relative) else { return Ok(None) };
        match self.repository.objects()?.whole(id, Kind::Blob, MAX_SIZE) {
            Ok(text) => Ok(Some(text)),
            Err(GitError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Parses rules. Invalid ones are skipped, as in git.
fn rules(text: &[u8], ignore_case: bool) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);

    // This option cannot fail, whatever the text is.
    let _ = builder.case_insensitive(ignore_case);
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let _ = builder.add_line(None, &String::from_utf8_lossy(line));
    }

    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

fn decision(rules: &Gitignore, path: &Path, is_dir: bool) -> Option<bool> {
    let found = rules.matched(path, is_dir);
    if found.is_none() { None } else { Some(found.is_ignore()) }
}
