//! Questions to git: what is staged, tracked, ignored. It changes nothing in a repository, and git gets none of the
//! variables that unlock a vault.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why git did not answer: half a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GitError(pub String);

impl From<io::Error> for GitError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self("there is no program `git`".into()),
            _ => Self(error.to_string()),
        }
    }
}

/// What git makes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no repository
    NoRepository,
    /// Ignored and not tracked: it is committed by no accident
    Ignored,
    /// Neither: `git add .` would take it
    Exposed,
    /// The next commit has it
    Tracked,
}

/// git in one directory.
pub struct Git {
    directory: PathBuf,
    /// Variables that it does not get
    hidden: Vec<OsString>,
}

impl Git {
    /// git as it answers in `directory`, without the variables of these names.
    pub fn at(directory: &Path, hidden: &[OsString]) -> Self {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        Self { directory: directory.to_owned(), hidden: hidden.to_owned() }
    }

    /// A command of its own: all of the repository from wherever one stands, and no other program.
    pub(crate) fn command(&self) -> Command {
        let mut git = Command::new("git");
        // Its complaints are told apart by their words.
        git.current_dir(&self.directory).env("LC_ALL", "C");
        git.args(["--no-replace-objects", "-c", "diff.relative=false", "-c", "core.fsmonitor=false"]);
        for name in &self.hidden {
            git.env_remove(name);
        }
        git
    }

    fn ask(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> Result<Output, GitError> {
        let mut git = self.command();
        let mut git = git.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let asks = git.stdin.take();
        // Beside the reading: it answers before it has heard everything.
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if let Some(mut asks) = asks {
                    // What it does not read it has refused already, and says so.
                    let _ = asks.write_all(input);
                }
            });
            Ok(git.wait_with_output()?)
        })
    }

    /// What git prints; where it fails, what it says.
    pub(crate) fn answer(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Vec<u8>, GitError> {
        let output = self.ask(words, b"")?;
        if output.status.success() { Ok(output.stdout) } else { Err(complaint(&output)) }
    }

    /// True in a working tree. Where nothing above looks like a repository git is not even needed.
    pub fn is_repository(&self) -> Result<bool, GitError> {
        let here = std::path::absolute(&self.directory)?;
        if !here.ancestors().any(|above| above.join(".git").exists()) {
            return Ok(false);
        }
        let output = self.ask(["rev-parse", "--is-inside-work-tree"], b"")?;
        // One that it does not trust, as it belongs to another user, is a repository all the same.
        if !output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("not a git repository") {
            return Err(complaint(&output));
        }
        Ok(output.status.success() && output.stdout.starts_with(b"true"))
    }

    /// The first of these files that a rule of a `.gitignore` below the directory takes back, with that `.gitignore`; what
    /// the directory's own says of it does not count.
    pub fn taken_back(&self, paths: &[&Path]) -> Result<Option<(PathBuf, PathBuf)>, GitError> {
        if paths.is_empty() {
            return Ok(None);
        }
        let mut prefix = self.answer(["rev-parse", "--show-prefix"])?;
        prefix.truncate(prefix.trim_ascii_end().len());
        let output = self.ask(["check-ignore", "-z", "-v", "--stdin"], &zero_terminated(paths))?;
        let fields: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        // The rule's file, line, the rule, the path.
        Ok(fields.chunks_exact(4).find_map(|rule| {
            let file = Path::new(OsStr::from_bytes(rule[0].strip_prefix(&prefix[..])?));
            let is_below = file.file_name() == Some(".gitignore".as_ref()) && file.components().count() > 1;
            let path = Path::new(OsStr::from_bytes(rule[3]));
            let takes_back = rule[2].starts_with(b"!") && is_below && file.is_relative();
            takes_back.then(|| (path.to_owned(), file.to_owned()))
        }))
    }

    /// What git makes of files, in their order; paths are relative to the directory.
    pub fn standing(&self, paths: &[&Path]) -> Result<Vec<Standing>, GitError> {
        if paths.is_empty() || !self.is_repository()? {
            return Ok(vec![Standing::NoRepository; paths.len()]);
        }
        let question = ["--literal-pathspecs", "ls-files", "-z", "--"].into_iter().map(OsStr::new);
        let question = question.chain(paths.iter().map(|path| path.as_os_str()));
        let tracked = names(&self.answer(question)?);
        let output = self.ask(["check-ignore", "-z", "--stdin"], &zero_terminated(paths))?;
        // 1 says that it ignores none of them.
        let ignored = match output.status.code() {
            Some(0 | 1) => names(&output.stdout),
            _ => return Err(complaint(&output)),
        };
        let standing = |path: &&Path| match path.as_os_str() {
            path if tracked.contains(path) => Standing::Tracked,
            path if ignored.contains(path) => Standing::Ignored,
            _ => Standing::Exposed,
        };
        Ok(paths.iter().map(standing).collect())
    }
}

fn zero_terminated(paths: &[&Path]) -> Vec<u8> {
    paths.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect()
}

fn names(answer: &[u8]) -> HashSet<OsString> {
    let names = answer.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| OsString::from_vec(name.to_vec())).collect()
}

fn complaint(output: &Output) -> GitError {
    let said = String::from_utf8_lossy(&output.stderr);
    GitError(said.lines().next().unwrap_or("it failed").trim_start_matches("fatal: ").to_owned())
}

/// The line of a `.gitignore` that means just this file, relative to that file's directory.
pub fn ignoring(path: &Path) -> Vec<u8> {
    let mut line = vec![b'/'];
    for byte in OsStr::as_bytes(path.as_os_str()) {
        match byte {
            // A line cannot hold them.
            b'\n' | b'\r' => line.push(b'?'),
            _ if b"*?[]\\! #".contains(byte) => line.extend([b'\\', *byte]),
            _ => line.push(*byte),
        }
    }
    line
}
