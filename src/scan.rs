//! Finding values in files and in what git has staged: the same needles as in masking, with line numbers.
//!
//! It reads only, follows no symbolic link, and never prints what it found.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ignore::WalkBuilder;

use crate::git::{Git, GitError};
use crate::mask::{Form, Masker, Match, Needles, Sink};
use crate::model::{SecretBytes, Tag};

/// A value that was found.
#[derive(Debug)]
pub struct Finding {
    /// Line where it begins, from 1
    pub line: u64,
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
    /// git
    #[error("cannot ask git what is staged: {0}")]
    Git(#[from] GitError),
}

const PIECE: usize = 64 * 1024;

/// Finds values in a stream.
pub fn stream(needles: &Needles, mut from: impl Read) -> io::Result<Vec<Finding>> {
    let mut masker = Masker::new(needles);
    let mut found = Found { line: 1, newlines: VecDeque::new(), findings: Vec::new() };
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
struct Found {
    line: u64,
    newlines: VecDeque<u64>,
    findings: Vec<Finding>,
}

impl Found {
    /// Counts the lines before an offset.
    fn pass(&mut self, offset: u64) {
        while self.newlines.front().is_some_and(|at| *at < offset) {
            self.newlines.pop_front();
            self.line += 1;
        }
    }
}

impl Sink for Found {
    type Error = Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn masked(&mut self, found: &Match<'_>) -> Result<(), Infallible> {
        if !found.complete {
            return Ok(());
        }

        self.pass(found.start);
        self.findings.push(Finding { line: self.line, tag: found.tag.clone(), form: found.form });
        Ok(())
    }
}

/// Finds values in a file.
pub fn file(needles: &Needles, path: &Path) -> Result<Vec<Finding>, ScanError> {
    let failed = |source| ScanError::Io { path: path.to_owned(), source };
    stream(needles, File::open(path).map_err(failed)?).map_err(failed)
}

/// A walk through `paths` as git sees them: hidden files too, but for `.git` and, unless `everything`, for what it ignores.
pub(crate) fn walk(paths: &[PathBuf], everything: bool) -> WalkBuilder {
    let mut builder = WalkBuilder::new(paths.first().map_or(Path::new("."), PathBuf::as_path));
    paths.iter().skip(1).for_each(|path| {
        builder.add(path);
    });
    // `.ignore` files are for other tools: git commits what they name.
    builder.standard_filters(!everything).ignore(false).hidden(false).require_git(false);
    builder.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
    builder
}

/// The regular files of such a walk, in order.
pub fn files(paths: &[PathBuf], everything: bool) -> impl Iterator<Item = Result<PathBuf, ScanError>> {
    walk(paths, everything).sort_by_file_name(Ord::cmp).build().filter_map(|entry| match entry {
        // A named file is searched whatever it is; of a tree, what is regular.
        Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => Some(Ok(entry.into_path())),
        Ok(entry) if entry.depth() == 0 && !entry.path().is_dir() => Some(Ok(entry.into_path())),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    })
}

/// Finds values in what git has staged, as it is staged: hands over each file's path and findings.
pub fn staged(
    needles: &Needles,
    paths: &[PathBuf],
    git: &Git,
    mut visit: impl FnMut(String, Vec<Finding>),
) -> Result<u64, ScanError> {
    let blobs = staged_blobs(paths, git)?;
    let failed = |source: io::Error| ScanError::Git(source.into());
    if blobs.is_empty() {
        return Ok(0);
    }
    let mut git = git.command();
    let mut git =
        git.args(["cat-file", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let (Some(mut asks), Some(answers)) = (git.stdin.take(), git.stdout.take()) else {
        return Err(ScanError::Git(GitError("it has no streams".into())));
    };
    let mut answers = BufReader::new(answers);
    for (id, path) in &blobs {
        writeln!(asks, "{id}").map_err(failed)?;
        // `ID blob SIZE`, the content, a newline.
        let mut header = String::new();
        answers.read_line(&mut header).map_err(failed)?;
        let size = header.split_whitespace().nth(2).and_then(|size| size.parse().ok());
        let size: u64 = size.ok_or_else(|| ScanError::Git(GitError(format!("it does not have `{path}`"))))?;
        let found = stream(needles, (&mut answers).take(size)).map_err(failed)?;
        answers.read_exact(&mut [0]).map_err(failed)?;
        visit(path.clone(), found);
    }
    drop(asks);
    git.wait().map_err(failed)?;
    Ok(blobs.len() as u64)
}

/// Ids and paths of the files that the next commit would change.
fn staged_blobs(paths: &[PathBuf], git: &Git) -> Result<Vec<(String, String)>, ScanError> {
    // Outside of a repository `diff` is another command, with other complaints.
    git.answer(["rev-parse", "--git-dir"])?;
    let question = ["diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff"];
    let question = question.into_iter().chain(["--ignore-submodules", "--diff-filter=d", "--"]).map(OsStr::new);
    let raw = git.answer(question.chain(paths.iter().map(|path| path.as_os_str())))?;
    let mut fields = raw.split(|byte| *byte == 0);
    let mut blobs = Vec::new();
    while let (Some(change), Some(path)) = (fields.next(), fields.next()) {
        // `:OLDMODE NEWMODE OLDID NEWID STATUS`
        let change = String::from_utf8_lossy(change).into_owned();
        let words: Vec<&str> = change.split(' ').collect();
        if let [_, mode, _, id, _] = words[..]
            && mode.starts_with("10")
        {
            blobs.push((id.to_owned(), String::from_utf8_lossy(path).into_owned()));
        }
    }
    Ok(blobs)
}
