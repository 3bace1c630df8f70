//! Git's data is read without git: no command starts a program that a repository's author chose,
//! and honest repositories of every kind are read as git itself reads them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use terminal_secrets::git::{Git, GitEnvironment, GitStatus};

use crate::support;

mod ignored;
mod index;
mod no_programs;

fn git_in(directory: &Path, home: &Path, arguments: &[&str]) -> Vec<u8> {
    let allowed = [&["-c", "protocol.file.allow=always"], arguments].concat();
    let mut git = support::git(directory, home, &allowed);

    let output = git.output().unwrap();
    let code = output.status.code();

    // `check-ignore` exits with 1 if nothing is ignored.
    assert!(
        matches!(code, Some(0 | 1)),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    output.stdout
}

/// A repository, and git's answers about it.
struct World {
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { home: TempDir::new().unwrap() };
        std::fs::create_dir(world.path("r")).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn git(&self, arguments: &[&str]) -> Vec<u8> {
        git_in(&self.path("r"), self.home.path(), arguments)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path("r").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn ours(&self, directory: &str) -> Git {
        let environment = GitEnvironment {
            home: Some(self.home.path().to_owned()),
            configs: vec![self.path(".config/git/config"), self.path(".gitconfig")],
            excludes: Some(self.path(".config/git/ignore")),
            ..GitEnvironment::default()
        };

        Git::at(&self.path(directory), environment)
    }

    /// Compares our answers about paths with git's. The paths are relative to a directory.
    fn agree(&self, directory: &str, paths: &[&str]) -> Vec<GitStatus> {
        let there = self.path(directory);
        let expected: Vec<GitStatus> = paths
            .iter()
            .map(|path| {
                let ask = |words: &[&str]| !git_in(&there, self.home.path(), words).is_empty();
                if ask(&["--literal-pathspecs", "ls-files", "--sparse", "-z", "--", path]) {
                    GitStatus::Tracked
                } else if ask(&["check-ignore", "--", path]) {
                    GitStatus::Ignored
                } else {
                    GitStatus::Exposed
                }
            })
            .collect();

        let asked: Vec<&Path> = paths.iter().map(Path::new).collect();
        let found = self.ours(directory).statuses(&asked).unwrap();
        for ((path, expected), found) in paths.iter().zip(&expected).zip(&found) {
            assert_eq!(expected, found, "{path} in {directory}");
        }

        found
    }

    /// Compares the paths that we find staged with `git diff --cached`, and every content with `git
    /// cat-file`.
    fn agree_on_staged(&self, directory: &str) -> BTreeSet<PathBuf> {
        let there = self.path(directory);
        let ask = |words: &[&str]| git_in(&there, self.home.path(), words);
        let names = ask(&[
            "diff",
            "--cached",
            "--name-only",
            "--no-renames",
            "-z",
            "--diff-filter=AMT",
            "--ignore-submodules",
        ]);

        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let expected: BTreeSet<PathBuf> =
            names.map(|name| OsStr::from_bytes(name).into()).collect();
        let (found, blobs) = self.ours(directory).staged(&[]).unwrap();

        for file in &found {
            let mut content = Vec::new();
            blobs.open(&file.id).unwrap().read_to_end(&mut content).unwrap();
            assert!(
                content == ask(&["cat-file", "blob", &file.id.to_string()]),
                "{}",
                file.path.display()
            );
        }

        let found: BTreeSet<PathBuf> = found.into_iter().map(|file| file.path).collect();
        assert_eq!(expected, found, "staged in {directory}");
        found
    }
}
