//! Searches files, names, link targets and git's staged files for values, with the same needles as
//! in masking, and for tokens.
//!
//! It only reads, follows no symbolic links, and never prints what it found.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ignore::{DirEntry, WalkState};
use secrets_core::model::{Level, STACK_DEPTH, SecretBytes, Tag, overwrite_stack};
use secrets_mask::{Form, MaskedSpan, Masker, Needles, Sink};

use crate::git::{Blobs, Git, GitError, Id, Staged};

mod regions;
mod tokens;
mod walk;

pub use regions::masked_path;
pub use walk::{Directories, Visitor, Walk, is_directory_below};

use regions::names;
use tokens::TokenSearch;

/// The place in a file where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// The content, in the line where it begins, from 1
    Line(u64),
    /// The name of the file or of a directory
    Name,
    /// The target of a symbolic link
    Target,
}

/// What was found. Its text has no secret in it.
#[derive(Debug, Clone)]
pub enum Found {
    /// A value of the project
    Value { tag: Tag, form: Form },
    /// A token of any vault
    Token(Level),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { tag, .. } => write!(f, "{tag}"),
            Self::Token(level) => write!(f, "{level} token"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Finding {
    pub location: Location,
    pub found: Found,
}

/// The reason why something was not searched.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Walk(#[from] ignore::Error),
    #[error("cannot read the staged version of `{}`: {why}", path.display())]
    Staged { path: PathBuf, why: GitError },
    #[error("{0}")]
    Git(#[from] GitError),
}

/// The number of bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Searches one file after the other.
struct Searcher<'n> {
    needles: &'n Needles,
    /// The read buffer; a file's content may be a value, so it is wiped on drop
    piece: SecretBytes,
}

impl<'n> Searcher<'n> {
    fn new(needles: &'n Needles) -> Self {
        Self { needles, piece: SecretBytes::zeroed(PIECE) }
    }

    /// Finds values and tokens in a stream.
    fn stream(&mut self, mut from: impl Read) -> io::Result<Vec<Finding>> {
        let mut masker = Masker::new(self.needles);
        let mut lines = Lines::default();
        let (mut findings, mut tokens) = (Vec::new(), Vec::new());
        let mut search = TokenSearch::new();

        loop {
            let length = match from.read(self.piece.expose_mut()) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };

            let bytes = &self.piece.expose()[..length];
            let Ok(()) = masker
                .push(bytes, &mut FoundSoFar { lines: &mut lines, bytes, findings: &mut findings });
            lines.next(bytes, masker.settled());
            search.push(bytes, &mut tokens);
        }

        let Ok(()) = masker.finish(&mut FoundSoFar {
            lines: &mut lines,
            bytes: &[],
            findings: &mut findings,
        });

        if !tokens.is_empty() {
            findings.append(&mut tokens);
            findings.sort_by_key(|finding| finding.location);
        }

        Ok(findings)
    }

    /// Searches a file or the target of a symbolic link, and the part of the path that the user did
    /// not type.
    fn entry(&mut self, entry: Entry) -> Searched {
        let Entry { path, is_link, named_from } = entry;
        let content = if is_link { self.link(&path) } else { self.file(&path) };
        let content = content.map_err(|source| ScanError::Io { path: path.clone(), source });
        Searched { names: names(self.needles, &path, named_from), path, content }
    }

    fn file(&mut self, path: &Path) -> io::Result<Vec<Finding>> {
        self.stream(File::open(path)?)
    }

    fn link(&mut self, path: &Path) -> io::Result<Vec<Finding>> {
        let target = std::fs::read_link(path)?;
        self.target(target.as_os_str().as_bytes())
    }

    fn staged(&mut self, file: &Staged, blobs: &Blobs) -> Result<Vec<Finding>, ScanError> {
        let content = blobs
            .open(&file.id)
            .map_err(|why| ScanError::Staged { path: file.path.clone(), why })?;
        let found = if file.is_link { self.target(content) } else { self.stream(content) };

        found.map_err(|source| ScanError::Io { path: file.path.clone(), source })
    }

    /// Finds values and tokens in the target of a symbolic link.
    fn target(&mut self, target: impl Read) -> io::Result<Vec<Finding>> {
        let findings = self.stream(target)?;
        Ok(findings
            .into_iter()
            .map(|finding| Finding { location: Location::Target, ..finding })
            .collect())
    }
}

impl Drop for Searcher<'_> {
    fn drop(&mut self) {
        overwrite_stack::<STACK_DEPTH>();
    }
}

/// Counts lines. Offsets must be queried in ascending order, and only those before the end of the
/// current piece.
struct Lines {
    /// The line of the last queried offset
    line: u64,
    /// The newlines of earlier pieces that are not counted in `line`
    earlier: VecDeque<u64>,
    /// The offset of the current piece
    base: u64,
    /// The position in the current piece up to which newlines are counted
    counted: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { line: 1, earlier: VecDeque::new(), base: 0, counted: 0 }
    }
}

impl Lines {
    /// Returns the line of an offset. `bytes` is the current piece.
    fn at(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        while self.earlier.front().is_some_and(|newline| *newline < offset) {
            self.earlier.pop_front();
            self.line += 1;
        }

        let within = usize::try_from(offset.saturating_sub(self.base))
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if within > self.counted {
            self.line += memchr::memchr_iter(b'\n', &bytes[self.counted..within]).count() as u64;
            self.counted = within;
        }

        self.line
    }

    /// Moves on to the next piece. No offset before `settled` will be queried any more.
    fn next(&mut self, bytes: &[u8], settled: u64) {
        self.at(settled, bytes);
        let behind = self.base + self.counted as u64;
        self.earlier.extend(
            memchr::memchr_iter(b'\n', &bytes[self.counted..]).map(|at| behind + at as u64),
        );
        self.base += bytes.len() as u64;
        self.counted = 0;
    }
}

/// A sink that collects the values found in one piece.
struct FoundSoFar<'f> {
    lines: &'f mut Lines,
    bytes: &'f [u8],
    findings: &'f mut Vec<Finding>,
}

impl Sink for FoundSoFar<'_> {
    type Error = Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        if found.complete {
            let location = Location::Line(self.lines.at(found.start, self.bytes));
            let found = Found::Value { tag: found.tag.clone(), form: found.form };
            self.findings.push(Finding { location, found });
        }

        Ok(())
    }
}

/// What was found in one file and in its path.
pub struct InFile {
    /// The path as seen from the working directory
    pub path: PathBuf,
    /// Findings in names, each with the part of the path that ends with the name
    pub names: Vec<(PathBuf, Finding)>,
    /// Findings in the content
    pub content: Vec<Finding>,
}

/// The result of a search.
#[derive(Default)]
pub struct Report {
    /// The number of searched files
    pub files: u64,
    /// The files in which something was found, in an order that does not depend on threads
    pub found: Vec<InFile>,
    /// The reasons why something was not searched; everything else was searched anyway
    pub unread: Vec<ScanError>,
}

impl Report {
    fn add(&mut self, searched: Searched) {
        let Searched { path, names, content } = searched;
        let content = match content {
            Ok(content) => {
                self.files += 1;
                content
            }
            Err(error) => {
                self.unread.push(error);
                Vec::new()
            }
        };

        if !names.is_empty() || !content.is_empty() {
            self.found.push(InFile { path, names, content });
        }
    }

    fn sort(&mut self) {
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
        self.unread.sort_by_cached_key(ToString::to_string);
    }
}

/// The result for one file. Unlike [`InFile`], it may be empty.
struct Searched {
    path: PathBuf,
    names: Vec<(PathBuf, Finding)>,
    content: Result<Vec<Finding>, ScanError>,
}

/// A file or link to search.
struct Entry {
    /// The path as seen from the working directory
    path: PathBuf,
    /// Whether it is a symbolic link; only the name of its target is searched
    is_link: bool,
    /// The start of the part of the path that the user did not type
    named_from: usize,
}

/// Searches the regular files and links at and below a path, and the files that git tracks although
/// it ignores them. With `everything`, also searches everything that git ignores. `git` returns the
/// repository of a directory.
pub fn tree(
    needles: &Needles,
    path: &Path,
    everything: bool,
    git: &dyn Fn(&Path) -> Git,
) -> Report {
    let named_from = path.as_os_str().len() - path.file_name().map_or(0, OsStr::len);
    let tree = Tree { needles, path, named_from };
    if path.is_symlink() && !path.exists() {
        let mut report = Report::default();
        report.add(Searcher::new(needles).entry(tree.entry(path.to_owned(), true)));
        return report;
    }

    let repositories = Directories::default();
    let mut walked = tree.walk(everything, &repositories);
    if let Some(real) = path.canonicalize().ok().filter(|real| !everything && real.is_dir()) {
        let directories = std::iter::once(path.to_owned()).chain(repositories.take());
        tree.add_tracked(&real, directories.map(|directory| git(&directory)), &mut walked);
    }

    walked.report.sort();
    walked.report
}

/// A search of a path and everything below it.
struct Tree<'s> {
    needles: &'s Needles,
    path: &'s Path,
    /// The start of the part of paths that the user did not type
    named_from: usize,
}

/// The combined results of all threads of a walk.
#[derive(Default)]
struct Walked {
    report: Report,
    /// The searched paths, relative to the path of the search
    below: HashSet<PathBuf>,
}

impl Tree<'_> {
    fn entry(&self, path: PathBuf, is_link: bool) -> Entry {
        Entry { path, is_link, named_from: self.named_from }
    }

    /// Searches every entry of a walk, and adds the repositories that it finds.
    fn walk(&self, everything: bool, repositories: &Directories) -> Walked {
        let repositories = repositories.clone();
        let enters = move |entry: &DirEntry| {
            if is_directory_below(entry) && entry.path().join(".git").symlink_metadata().is_ok() {
                repositories.add(entry.path());
            }

            true
        };

        let walked = Mutex::new(Walked::default());
        Walk { root: self.path, everything, one_file_system: false }.run(enters, || {
            let (mut searcher, walked) = (Searcher::new(self.needles), &walked);
            Box::new(move |found| {
                self.visit(found, &mut searcher, walked);
                WalkState::Continue
            })
        });

        walked.into_inner().unwrap_or_default()
    }

    fn visit(
        &self,
        found: Result<DirEntry, ignore::Error>,
        searcher: &mut Searcher<'_>,
        walked: &Mutex<Walked>,
    ) {
        let file = match found {
            Ok(found) if is_searched(&found) => {
                let is_link = found.path_is_symlink() && found.depth() > 0;
                Ok(searcher.entry(self.entry(found.into_path(), is_link)))
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };

        let Ok(mut walked) = walked.lock() else { return };
        match file {
            Ok(file) => {
                let below = file.path.strip_prefix(self.path).unwrap_or(&file.path).to_owned();
                walked.below.insert(below);
                walked.report.add(file);
            }
            Err(error) => walked.report.unread.push(error.into()),
        }
    }

    /// Searches the files that git tracks and the walk skipped. `real` is the path without symbolic
    /// links.
    fn add_tracked(
        &self,
        real: &Path,
        repositories: impl Iterator<Item = Git>,
        walked: &mut Walked,
    ) {
        let mut searcher = Searcher::new(self.needles);
        for git in repositories {
            let found = match tracked(&git, real, &mut walked.below) {
                Ok(found) => found,
                Err(error) => {
                    walked.report.unread.push(error.into());
                    continue;
                }
            };

            for (below, is_link) in found {
                walked.report.add(searcher.entry(self.entry(self.path.join(below), is_link)));
            }
        }
    }
}

/// Returns true for regular files and links. The path that the user named may be of any kind but a
/// directory.
fn is_searched(found: &DirEntry) -> bool {
    let is_file = found.file_type().is_some_and(|kind| kind.is_file());
    if found.depth() == 0 { !found.path().is_dir() } else { is_file || found.path_is_symlink() }
}

/// Returns the files that git tracks below a directory and the walk skipped, relative to the
/// directory, and whether each is a link.
fn tracked(
    git: &Git,
    real: &Path,
    walked: &mut HashSet<PathBuf>,
) -> Result<Vec<(PathBuf, bool)>, GitError> {
    let is_new = |path: &Path| path.strip_prefix(real).is_ok_and(|below| !walked.contains(below));
    let mut found = Vec::new();

    for path in git.tracked(&is_new)? {
        let Ok(below) = path.strip_prefix(real) else { continue };

        // A file in the index need not exist, and a link on the way would lead elsewhere.
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

/// Searches git's staged files in their staged version.
pub fn staged(needles: &Needles, paths: &[PathBuf], git: &Git) -> Result<Report, ScanError> {
    let (files, blobs) = git.staged(paths)?;
    let (mut searcher, mut report) = (Searcher::new(needles), Report::default());

    // Files with the same content are searched once.
    let mut known: HashMap<(Id, bool), Vec<Finding>> = HashMap::new();
    for file in files {
        let key = (file.id, file.is_link);
        let content = match known.get(&key) {
            Some(findings) => Ok(findings.clone()),
            None => searcher.staged(&file, &blobs),
        };

        if let Ok(findings) = &content {
            known.entry(key).or_insert_with(|| findings.clone());
        }

        report.add(Searched { names: names(needles, &file.path, 0), path: file.path, content });
    }

    Ok(report)
}
