//! Finds values in files, names and targets of links, and in what git has staged: the same needles as in masking.
//!
//! It reads only, follows no symbolic link, and never prints what it found.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ignore::{DirEntry, WalkBuilder};

use crate::git::{Blobs, Git, GitError, Id, Staged, has_plain_rules};
use crate::mask::{Form, MaskedSpan, Masker, Needles, Sink};
use crate::model::{SecretBytes, Tag};

/// Where in a file a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the content: the line where it begins, from 1
    Line(u64),
    /// In the file's name, or that of a directory
    Name,
    /// In the target of a symbolic link
    Target,
}

/// A value that was found.
#[derive(Debug, Clone)]
pub struct FoundValue {
    /// Where
    pub place: Location,
    /// Whose
    pub tag: Tag,
    /// In which form
    pub form: Form,
}

/// Why something was not searched.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file or a directory
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// Which
        path: PathBuf,
        /// The system's word
        source: io::Error,
    },
    /// A walk went wrong
    #[error("{0}")]
    Walk(#[from] ignore::Error),
    /// A staged file
    #[error("cannot read the staged version of `{}`: {why}", path.display())]
    Staged {
        /// Which
        path: PathBuf,
        /// Why
        why: GitError,
    },
    /// The repository
    #[error("{0}")]
    Git(#[from] GitError),
}

const PIECE: usize = 64 * 1024;

/// Finds values in a stream.
pub fn stream(needles: &Needles, mut from: impl Read) -> io::Result<Vec<FoundValue>> {
    let mut masker = Masker::new(needles);
    let mut found = FoundSoFar { line: 1, newlines: VecDeque::new(), findings: Vec::new() };
    let mut piece = SecretBytes::zeroed(PIECE);
    let mut offset = 0;

    loop {
        let length = match from.read(piece.expose_mut()) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };

        let bytes = &piece.expose()[..length];
        found.newlines.extend(memchr::memchr_iter(b'\n', bytes).map(|at| offset + at as u64));
        offset += length as u64;
        let Ok(()) = masker.push(bytes, &mut found);

        found.pass(masker.settled());
    }

    let Ok(()) = masker.finish(&mut found);
    Ok(found.findings)
}

/// What was found so far. Matches come in the order of their places, so lines are counted as one goes.
struct FoundSoFar {
    line: u64,
    newlines: VecDeque<u64>,
    findings: Vec<FoundValue>,
}

impl FoundSoFar {
    /// Counts the lines before an offset.
    fn pass(&mut self, offset: u64) {
        while self.newlines.front().is_some_and(|at| *at < offset) {
            self.newlines.pop_front();
            self.line += 1;
        }
    }
}

impl Sink for FoundSoFar {
    type Error = Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        if !found.complete {
            return Ok(());
        }

        self.pass(found.start);
        self.findings.push(FoundValue {
            place: Location::Line(self.line),
            tag: found.tag.clone(),
            form: found.form,
        });

        Ok(())
    }
}

/// Finds values in a file.
pub fn file(needles: &Needles, path: &Path) -> Result<Vec<FoundValue>, ScanError> {
    let failed = |source| ScanError::Io { path: path.to_owned(), source };
    stream(needles, File::open(path).map_err(failed)?).map_err(failed)
}

/// Finds values in the target of a symbolic link.
pub fn link(needles: &Needles, path: &Path) -> Result<Vec<FoundValue>, ScanError> {
    let failed = |source| ScanError::Io { path: path.to_owned(), source };
    let target = std::fs::read_link(path).map_err(failed)?;
    Ok(in_target(stream(needles, target.as_os_str().as_bytes()).map_err(failed)?))
}

fn in_target(findings: Vec<FoundValue>) -> Vec<FoundValue> {
    findings.into_iter().map(|finding| FoundValue { place: Location::Target, ..finding }).collect()
}

/// Finds values in names of files and directories, each of them once.
#[derive(Default)]
pub struct NameScanner {
    reported: HashSet<(PathBuf, String)>,
}

impl NameScanner {
    /// Finds values in the part of a path that begins at a byte; returns each with the path up to the name that holds it.
    pub fn find(
        &mut self,
        needles: &Needles,
        path: &Path,
        from: usize,
    ) -> Vec<(PathBuf, FoundValue)> {
        let bytes = path.as_os_str().as_bytes();
        let from = from.min(bytes.len());
        let mut found = Vec::new();

        for ScanRegion { end, tag, form, .. } in
            regions(needles, &bytes[from..]).into_iter().filter(|found| found.complete)
        {
            // To the end of the name in which the value ends.
            let last = from + end - 1;
            let length = bytes[last..]
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(bytes.len(), |more| last + more);

            let named = PathBuf::from(OsStr::from_bytes(&bytes[..length]));
            if self.reported.insert((named.clone(), tag.to_string())) {
                found.push((named, FoundValue { place: Location::Name, tag, form }));
            }
        }

        found
    }
}

/// A path as it may be shown: with the name of a secret in the place of its value.
pub fn shown(needles: &Needles, path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let (mut text, mut behind) = (String::new(), 0);
    for ScanRegion { start, end, tag, .. } in regions(needles, bytes) {
        text += &String::from_utf8_lossy(&bytes[behind..start]);
        text += &format!("‹{tag}›");
        behind = end;
    }

    text + &String::from_utf8_lossy(&bytes[behind..])
}

/// Where in some bytes a value stands, or begins without an end.
struct ScanRegion {
    start: usize,
    end: usize,
    tag: Tag,
    form: Form,
    complete: bool,
}

fn regions(needles: &Needles, bytes: &[u8]) -> Vec<ScanRegion> {
    let mut regions = ScanRegions(Vec::new());
    let mut masker = Masker::new(needles);
    let Ok(()) = masker.push(bytes, &mut regions);
    let Ok(()) = masker.finish(&mut regions);

    regions.0
}

struct ScanRegions(Vec<ScanRegion>);

impl Sink for ScanRegions {
    type Error = Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, end) = (at(found.start), at(found.end));
        self.0.push(ScanRegion {
            start,
            end,
            tag: found.tag.clone(),
            form: found.form,
            complete: found.complete,
        });

        Ok(())
    }
}

/// A walk through a tree as git sees it: hidden files too, but, unless `everything`, nothing that git ignores. A root whose rules
/// cannot be read without harm is walked through with everything that is in it. Its filter has to ask [`enters`].
pub(crate) fn walk(root: &Path, everything: bool) -> WalkBuilder {
    let mut builder = WalkBuilder::new(root);
    let real = root.canonicalize();
    let is_safe = real.is_ok_and(|real| real.ancestors().all(has_plain_rules));

    // `.ignore` files are for other tools: git commits what they name.
    builder.standard_filters(!everything && is_safe).ignore(false).hidden(false).require_git(false);
    builder
}

/// Returns true for an entry that a walk is to hand over, and to go down into. A directory whose rules cannot be read without harm
/// is none, and is added to `unread_rules`, to be walked through on its own.
pub(crate) fn enters(entry: &DirEntry, everything: bool, unread_rules: &Directories) -> bool {
    let is_below = entry.depth() > 0;
    if is_below && entry.file_name() == ".git" {
        return false;
    }

    let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
    if is_below && is_directory && !everything && !has_plain_rules(entry.path()) {
        unread_rules.add(entry.path());
        return false;
    }

    true
}

/// Directories that a walk found, shared with the walk.
#[derive(Clone, Default)]
pub(crate) struct Directories(Arc<Mutex<Vec<PathBuf>>>);

impl Directories {
    fn add(&self, directory: &Path) {
        if let Ok(mut directories) = self.0.lock() {
            directories.push(directory.to_owned());
        }
    }

    /// Takes them out, in order.
    pub(crate) fn take(&self) -> Vec<PathBuf> {
        let mut directories =
            self.0.lock().map(|mut found| std::mem::take(&mut *found)).unwrap_or_default();
        directories.sort();
        directories
    }
}

/// Something that is to be searched.
#[derive(Debug)]
pub struct Entry {
    /// As seen from the working directory
    pub path: PathBuf,
    /// A symbolic link, of which only the target's name is searched
    pub is_link: bool,
    /// Where in the path the part begins that was not typed
    pub named_from: usize,
}

/// Hands over the regular files and the links at and below a path, in order; then those that git tracks although it ignores
/// them. `git` gives the repository of a directory.
pub fn entries(
    path: &Path,
    everything: bool,
    git: &dyn Fn(&Path) -> Git,
    visit: &mut dyn FnMut(Result<Entry, ScanError>),
) {
    let typed = path.as_os_str().len() - path.file_name().map_or(0, OsStr::len);
    let entry = |path: PathBuf, is_link| Entry { path, is_link, named_from: typed };
    if path.is_symlink() && !path.exists() {
        return visit(Ok(entry(path.to_owned(), true)));
    }

    let real = path.canonicalize().ok().filter(|real| real.is_dir());
    let (nested, unread_rules) = (Directories::default(), Directories::default());

    // What was walked through, from `path` on.
    let mut walked = HashSet::new();

    let mut roots = vec![path.to_owned()];
    while let Some(root) = roots.pop() {
        let mut walk = walk(&root, everything);
        let (repositories, rules) = (nested.clone(), unread_rules.clone());
        walk.filter_entry(move |entry| {
            let is_below = entry.depth() > 0 && entry.file_type().is_some_and(|kind| kind.is_dir());
            if is_below && entry.path().join(".git").symlink_metadata().is_ok() {
                repositories.add(entry.path());
            }

            enters(entry, everything, &rules)
        });

        for found in walk.sort_by_file_name(Ord::cmp).build() {
            match found {
                // A named file is searched whatever it is; of a tree, what is regular, and links.
                Ok(found) => {
                    let kind = found.file_type();
                    let is_file = kind.is_some_and(|kind| kind.is_file());
                    let is_link = found.path_is_symlink() && found.depth() > 0;
                    let is_named = found.depth() == 0 && !found.path().is_dir();

                    if is_file || is_link || is_named {
                        let below = found.path().strip_prefix(path).unwrap_or(found.path());
                        walked.insert(below.to_owned());
                        visit(Ok(entry(found.into_path(), is_link)));
                    }
                }
                Err(error) => visit(Err(error.into())),
            }
        }

        roots.extend(unread_rules.take());
    }

    let Some(real) = real.filter(|_| !everything) else { return };
    for directory in std::iter::once(path.to_owned()).chain(nested.take()) {
        match tracked(&git(&directory), &real, &mut walked) {
            Ok(found) => found
                .into_iter()
                .for_each(|(below, is_link)| visit(Ok(entry(path.join(below), is_link)))),
            Err(error) => visit(Err(error.into())),
        }
    }
}

/// What git tracks below a directory and was not walked through: relative to the directory, and whether it is a link.
fn tracked(
    git: &Git,
    real: &Path,
    walked: &mut HashSet<PathBuf>,
) -> Result<Vec<(PathBuf, bool)>, GitError> {
    let is_new = |path: &Path| path.strip_prefix(real).is_ok_and(|below| !walked.contains(below));
    let mut found = Vec::new();

    for path in git.tracked(&is_new)? {
        let Ok(below) = path.strip_prefix(real) else { continue };

        // In the index, it need not be there; and a link on the way would lead elsewhere.
        let is_itself = path
            .parent()
            .is_some_and(|parent| parent.canonicalize().is_ok_and(|real| real == parent));
        let kind = path.symlink_metadata().map(|found| found.file_type());

        if let Ok(kind) = kind.as_ref()
            && is_itself
            && (kind.is_file() || kind.is_symlink())
        {
            found.push((below.to_owned(), kind.is_symlink()));
        }
    }

    walked.extend(found.iter().map(|(below, _)| below.clone()));
    Ok(found)
}

/// Finds values in what git has staged, as it is staged: hands over each file's path and findings, or why it was not searched.
pub fn staged(
    needles: &Needles,
    paths: &[PathBuf],
    git: &Git,
    mut visit: impl FnMut(&Path, Result<Vec<FoundValue>, ScanError>),
) -> Result<(), ScanError> {
    let (files, blobs) = git.staged(paths)?;

    // Files of one content are searched once.
    let mut known: HashMap<(Id, bool), Vec<FoundValue>> = HashMap::new();
    for file in files {
        let key = (file.id, file.is_link);
        let findings = match known.get(&key) {
            Some(findings) => Ok(findings.clone()),
            None => staged_file(needles, &file, &blobs),
        };

        if let Ok(findings) = &findings {
            known.entry(key).or_insert_with(|| findings.clone());
        }

        visit(&file.path, findings);
    }

    Ok(())
}

fn staged_file(
    needles: &Needles,
    file: &Staged,
    blobs: &Blobs,
) -> Result<Vec<FoundValue>, ScanError> {
    let content =
        blobs.open(&file.id).map_err(|why| ScanError::Staged { path: file.path.clone(), why })?;
    let found = stream(needles, content)
        .map_err(|source| ScanError::Io { path: file.path.clone(), source })?;
    Ok(if file.is_link { in_target(found) } else { found })
}
