//! Finds out what the next commit would change, by comparing the index with the commit that is
//! checked out.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::GitError;
use super::index::{EntryKind, IndexEntry, is_safe_name};
use super::object::{Hash, Id, Kind};
use super::objects::Objects;
use super::repository::Repository;

/// A file or a link that the next commit would add or change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The path below the working tree
    pub path: PathBuf,
    /// The id of its content, or of a link's target
    pub id: Id,
    pub is_link: bool,
}

/// The maximum total size in bytes of the directories and commits that are read.
const BUDGET: u64 = 512 * 1024 * 1024;
/// The maximum size of one directory in bytes.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// Returns what is staged, in the order of the index. `wanted` selects entries by path.
pub(super) fn staged(
    repository: &Repository,
    objects: &Objects,
    wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<Staged>, GitError> {
    let mut head = Trees::of_head(repository, objects)?;
    let (mut found, mut failure) = (Vec::new(), None);

    repository.each_entry(&mut |entry| {
        if failure.is_none() && entry.stage == 0 && !entry.intent_to_add {
            failure = head.compare(entry, wanted, &mut found).err();
        }
    })?;

    failure.map_or(Ok(found), Err)
}

/// A directory of a commit: the mode and id of each name.
type Directory = HashMap<Vec<u8>, (u32, Id)>;

/// The directories of a commit, which are read when they are needed.
pub(super) struct Trees<'o> {
    objects: &'o Objects,
    root: Option<Id>,
    /// The directories that lead to the last path that was looked up
    open: Vec<(Vec<u8>, Option<Rc<Directory>>)>,
    budget: u64,
}

impl<'o> Trees<'o> {
    pub(super) fn new(objects: &'o Objects, root: Option<Id>) -> Self {
        Self { objects, root, open: Vec::new(), budget: BUDGET }
    }

    /// Opens the directories of the commit that is checked out. If the repository stores references
    /// in tables (`reftable`), that commit is unknown, and everything counts as staged.
    fn of_head(repository: &Repository, objects: &'o Objects) -> Result<Self, GitError> {
        let is_table =
            repository.config.text("extensions.refstorage").is_some_and(|kind| kind != b"files");
        let commit = if is_table { None } else { repository.head()? };
        let root = commit.map(|commit| root_of(&commit, objects)).transpose()?;
        Ok(Self::new(objects, root))
    }

    /// Adds what an entry would change.
    fn compare(
        &mut self,
        entry: &IndexEntry<'_>,
        wanted: &dyn Fn(&[u8]) -> bool,
        found: &mut Vec<Staged>,
    ) -> Result<(), GitError> {
        let path = entry.path.strip_suffix(b"/").unwrap_or(entry.path);
        let before = self.get(path)?;

        if before == Some((entry.mode, entry.id)) {
            return Ok(());
        }

        match entry.kind() {
            EntryKind::File | EntryKind::Link if wanted(path) => found.push(Staged {
                path: OsStr::from_bytes(path).into(),
                id: entry.id,
                is_link: entry.kind() == EntryKind::Link,
            }),
            EntryKind::Directory => self.compare_directory(path, &entry.id, wanted, found)?,
            _ => {}
        }

        Ok(())
    }

    /// Adds what a directory of a sparse index would change.
    fn compare_directory(
        &mut self,
        path: &[u8],
        id: &Id,
        wanted: &dyn Fn(&[u8]) -> bool,
        found: &mut Vec<Staged>,
    ) -> Result<(), GitError> {
        if path.len() > 4096 {
            return Err(GitError::Object { id: *id, why: "is nested too deeply".into() });
        }

        let directory = self.read(id)?;
        let mut names: Vec<_> = directory.iter().collect();
        names.sort_unstable_by(|one, other| one.0.cmp(other.0));

        for (name, (mode, id)) in names {
            let path = [path, b"/", name].concat();
            let kind = EntryKind::of(*mode);
            let mut entry = IndexEntry {
                mode: *mode,
                id: *id,
                stage: 0,
                intent_to_add: false,
                skip_worktree: true,
                path: &path,
            };

            match kind {
                EntryKind::Directory if self.get(&path)? != Some((*mode, *id)) => {
                    self.compare_directory(&path, id, wanted, found)?;
                }
                EntryKind::File => {
                    // Older commits contain modes that the index never has.
                    entry.mode = if mode & 0o111 == 0 { 0o100_644 } else { 0o100_755 };
                    self.compare(&entry, wanted, found)?;
                }
                EntryKind::Link => self.compare(&entry, wanted, found)?,
                _ => {}
            }
        }

        Ok(())
    }

    /// Returns the mode and id that the commit has at a path.
    pub(super) fn get(&mut self, path: &[u8]) -> Result<Option<(u32, Id)>, GitError> {
        let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let Some(last) = names.pop() else { return Ok(None) };
        let same = self
            .open
            .iter()
            .skip(1)
            .zip(&names)
            .take_while(|(open, name)| open.0 == **name)
            .count();

        if self.open.is_empty() {
            let root = self.root.map(|root| self.read(&root)).transpose()?;
            self.open.push((Vec::new(), root));
        }

        self.open.truncate(same + 1);

        for name in &names[same..] {
            let here =
                self.open.last().and_then(|(_, directory)| directory.as_ref()?.get(*name).copied());
            let below = here.filter(|(mode, _)| EntryKind::of(*mode) == EntryKind::Directory);
            let directory = below.map(|(_, id)| self.read(&id)).transpose()?;
            self.open.push((name.to_vec(), directory));
        }

        let found =
            self.open.last().and_then(|(_, directory)| directory.as_ref()?.get(last).copied());

        // Older commits contain modes that the index never has.
        Ok(found.map(|(mode, id)| match EntryKind::of(mode) {
            EntryKind::File => (if mode & 0o111 == 0 { 0o100_644 } else { 0o100_755 }, id),
            _ => (mode, id),
        }))
    }

    fn read(&mut self, id: &Id) -> Result<Rc<Directory>, GitError> {
        let text = self.objects.whole(id, Kind::Tree, MAX_SIZE.min(self.budget))?;
        self.budget = self.budget.saturating_sub(text.len() as u64);
        let directory = entries(&text, self.objects.hash());
        directory.map(Rc::new).ok_or_else(|| GitError::Object { id: *id, why: "is damaged".into() })
    }
}

/// Returns the id of a commit's root directory.
fn root_of(commit: &Id, objects: &Objects) -> Result<Id, GitError> {
    let text = objects.whole(commit, Kind::Commit, MAX_SIZE)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let id = line.strip_prefix(b"tree ").and_then(|id| Id::from_hex(id, objects.hash()));
    id.ok_or_else(|| GitError::Object { id: *commit, why: "has no tree".into() })
}

/// Parses a directory, whose entries consist of mode, name, a zero byte and id.
pub fn entries(text: &[u8], hash: Hash) -> Option<HashMap<Vec<u8>, (u32, Id)>> {
    let (mut found, mut rest) = (HashMap::new(), text);
    while !rest.is_empty() {
        let end = memchr::memchr(0, rest)?;
        let blank = memchr::memchr(b' ', &rest[..end])?;
        let mode = u32::from_str_radix(std::str::from_utf8(&rest[..blank]).ok()?, 8).ok()?;
        let name = &rest[blank + 1..end];

        if !is_safe_name(name) || name.contains(&b'/') {
            return None;
        }

        found.insert(name.to_vec(), (mode, Id::from_bytes(&rest[end + 1..], hash)?));
        rest = &rest[end + 1 + hash.length()..];
    }

    Some(found)
}

/// Returns true if a path is at or below one of the roots, or if there are no roots.
pub(super) fn is_below(path: &Path, roots: &[PathBuf]) -> bool {
    roots.is_empty() || roots.iter().any(|root| path.starts_with(root))
}
