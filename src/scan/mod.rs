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
use std::sync::Mutex;

use ignore::{DirEntry, WalkState};

use crate::git::{Blobs, Git, GitError, Id, Staged};
use crate::mask::{Form, MaskedSpan, Masker, Needles, Sink};
use crate::model::{DEEP, SecretBytes, Tag, overwrite_stack};

mod walk;

pub(crate) use walk::{Directories, Walk, is_directory_below};

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

/// Bytes that are read at one time.
const PIECE: usize = 64 * 1024;

/// Searches one file after the other.
struct Searcher<'n> {
    needles: &'n Needles,
    /// What a file holds may be values: it is wiped in the end
    piece: SecretBytes,
}

impl<'n> Searcher<'n> {
    fn new(needles: &'n Needles) -> Self {
        Self { needles, piece: SecretBytes::zeroed(PIECE) }
    }

    /// Finds values in a stream.
    fn stream(&mut self, mut from: impl Read) -> io::Result<Vec<FoundValue>> {
        let mut masker = Masker::new(self.needles);
        let mut lines = Lines::default();
        let mut findings = Vec::new();

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
        }

        let Ok(()) = masker.finish(&mut FoundSoFar {
            lines: &mut lines,
            bytes: &[],
            findings: &mut findings,
        });

        Ok(findings)
    }

    /// Searches a file, or the target of a symbolic link, and the part of the path that was not typed.
    fn entry(&mut self, entry: Entry) -> Searched {
        let Entry { path, is_link, named_from } = entry;
        let content = if is_link { self.link(&path) } else { self.file(&path) };
        let content = content.map_err(|source| ScanError::Io { path: path.clone(), source });
        Searched { names: names(self.needles, &path, named_from), path, content }
    }

    fn file(&mut self, path: &Path) -> io::Result<Vec<FoundValue>> {
        self.stream(File::open(path)?)
    }

    fn link(&mut self, path: &Path) -> io::Result<Vec<FoundValue>> {
        let target = std::fs::read_link(path)?;
        self.target(target.as_os_str().as_bytes())
    }

    fn staged(&mut self, file: &Staged, blobs: &Blobs) -> Result<Vec<FoundValue>, ScanError> {
        let content = blobs
            .open(&file.id)
            .map_err(|why| ScanError::Staged { path: file.path.clone(), why })?;
        let found = if file.is_link { self.target(content) } else { self.stream(content) };

        found.map_err(|source| ScanError::Io { path: file.path.clone(), source })
    }

    /// Finds values in the target of a symbolic link.
    fn target(&mut self, target: impl Read) -> io::Result<Vec<FoundValue>> {
        let findings = self.stream(target)?;
        Ok(findings
            .into_iter()
            .map(|finding| FoundValue { place: Location::Target, ..finding })
            .collect())
    }
}

impl Drop for Searcher<'_> {
    fn drop(&mut self) {
        overwrite_stack::<DEEP>();
    }
}

/// Counts lines. Places come in order, and only those before the current piece's end are asked for.
struct Lines {
    /// The line of the place that was asked for last
    line: u64,
    /// Newlines of earlier pieces that are not counted in `line`
    earlier: VecDeque<u64>,
    /// Offset of the current piece
    base: u64,
    /// Bytes of it before which the newlines are counted
    counted: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { line: 1, earlier: VecDeque::new(), base: 0, counted: 0 }
    }
}

impl Lines {
    /// Returns the line of an offset; `bytes` is the current piece.
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

    /// Takes the next piece. No place before `settled` is asked for any more.
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

/// Takes what a masker finds in one piece.
struct FoundSoFar<'f> {
    lines: &'f mut Lines,
    bytes: &'f [u8],
    findings: &'f mut Vec<FoundValue>,
}

impl Sink for FoundSoFar<'_> {
    type Error = Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        if found.complete {
            let place = Location::Line(self.lines.at(found.start, self.bytes));
            self.findings.push(FoundValue { place, tag: found.tag.clone(), form: found.form });
        }

        Ok(())
    }
}

/// Finds values in the part of a path that begins at a byte; returns each with the path up to the name that holds it.
fn names(needles: &Needles, path: &Path, from: usize) -> Vec<(PathBuf, FoundValue)> {
    let bytes = path.as_os_str().as_bytes();
    let from = from.min(bytes.len());
    let complete = regions(needles, &bytes[from..]).into_iter().filter(|found| found.complete);

    let named = complete.map(|ScanRegion { end, tag, form, .. }| {
        // To the end of the name in which the value ends.
        let last = from + end - 1;
        let length = bytes[last..]
            .iter()
            .position(|byte| *byte == b'/')
            .map_or(bytes.len(), |more| last + more);

        (
            PathBuf::from(OsStr::from_bytes(&bytes[..length])),
            FoundValue { place: Location::Name, tag, form },
        )
    });

    named.collect()
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

/// What was found in one file and in its path.
pub struct InFile {
    /// As seen from the working directory
    pub path: PathBuf,
    /// In names: each with the part of the path that ends with the name
    pub names: Vec<(PathBuf, FoundValue)>,
    /// In the content
    pub content: Vec<FoundValue>,
}

/// What a search has found.
#[derive(Default)]
pub struct Report {
    /// How many files were searched
    pub files: u64,
    /// Those in which something was found, in an order that does not depend on threads
    pub found: Vec<InFile>,
    /// Why something was not searched; the rest is searched anyway
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

/// One file after its search: like [`InFile`], whether something was found or not.
struct Searched {
    path: PathBuf,
    names: Vec<(PathBuf, FoundValue)>,
    content: Result<Vec<FoundValue>, ScanError>,
}

/// Something that is to be searched.
struct Entry {
    /// As seen from the working directory
    path: PathBuf,
    /// A symbolic link, of which only the target's name is searched
    is_link: bool,
    /// Where in the path the part begins that was not typed
    named_from: usize,
}

/// Finds values in the regular files and the links at and below a path, and in those that git tracks although it ignores
/// them; with `everything`, in all that git ignores. `git` gives the repository of a directory.
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

/// A search of a path and of what is below it.
struct Tree<'s> {
    needles: &'s Needles,
    path: &'s Path,
    /// Where in paths the part begins that was not typed
    named_from: usize,
}

/// What the threads of a walk found together.
#[derive(Default)]
struct Walked {
    report: Report,
    /// What was searched, from the path of the search on
    below: HashSet<PathBuf>,
}

impl Tree<'_> {
    fn entry(&self, path: PathBuf, is_link: bool) -> Entry {
        Entry { path, is_link, named_from: self.named_from }
    }

    /// Searches what a walk hands over, and adds the repositories on its way.
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

    /// Searches what git tracks and the walk has passed over. `real` is the path without links.
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

/// Returns true for a named file, whatever it is, and of a tree for what is regular, and for links.
fn is_searched(found: &DirEntry) -> bool {
    let is_file = found.file_type().is_some_and(|kind| kind.is_file());
    if found.depth() == 0 { !found.path().is_dir() } else { is_file || found.path_is_symlink() }
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

/// Finds values in what git has staged, as it is staged.
pub fn staged(needles: &Needles, paths: &[PathBuf], git: &Git) -> Result<Report, ScanError> {
    let (files, blobs) = git.staged(paths)?;
    let (mut searcher, mut report) = (Searcher::new(needles), Report::default());

    // Files of one content are searched once.
    let mut known: HashMap<(Id, bool), Vec<FoundValue>> = HashMap::new();
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
