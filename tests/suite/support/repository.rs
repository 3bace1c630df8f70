//! A sandbox with a project's directory, and what a run changes in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::values::reveal;
use super::{PATH, Prepared, Run, Sandbox, project, secret};

/// A value that must never be printed.
pub const MARKER: &str = "MARKER-f3b1c59e07d8";

/// Files by path, with everything that would change if the file or its content were replaced.
pub type Files = BTreeMap<PathBuf, (u64, SystemTime, u32, Vec<u8>)>;

/// A sandbox with a project's directory `repo`.
pub struct Project(pub Sandbox);

impl Project {
    /// Creates a directory with these files, and an empty vault.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Self(Sandbox::new());
        fs::create_dir(project.path("")).unwrap();
        for (name, content) in files {
            project.write(name, content);
        }

        project
    }

    /// Creates the same in a git repository.
    pub fn in_git(files: &[(&str, &str)]) -> Self {
        let project = Self::new(files);
        project.git(&["init", "-q"]);
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path("repo").join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Stores a secret in the vault's project of this name.
    pub fn store(&self, name: &str, tag: &str, value: &str) {
        self.0.vault().create(&project(name), secret(tag, value.as_bytes())).unwrap();
    }

    /// Returns the stored value of a tag.
    pub fn stored(&self, name: &str, tag: &str) -> Option<String> {
        let value = reveal(&self.0.vault(), name, tag).unwrap();
        value.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Prepares the program in the project's directory, with git in PATH.
    pub fn command(&self, arguments: &[&str]) -> Prepared {
        self.0.command(arguments).env("PATH", PATH).current_dir(self.path(""))
    }

    /// Runs the program and asserts that the marker is not printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).run().without(MARKER)
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        self.0.git("repo", arguments)
    }

    /// Returns every file of the directory except git's own.
    pub fn files(&self) -> Files {
        fn walk(directory: &Path, found: &mut Files) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = match metadata.file_type() {
                    _ if path.file_name() == Some(".git".as_ref()) => continue,
                    kind if kind.is_dir() => {
                        walk(&path, found);
                        Vec::new()
                    }
                    kind if kind.is_file() => fs::read(&path).unwrap(),
                    _ => Vec::new(),
                };

                // A directory's time changes if a file is created and removed in it.
                found.insert(
                    path,
                    (metadata.ino(), metadata.modified().unwrap(), metadata.mode(), content),
                );
            }
        }

        let mut found = Files::new();
        walk(&self.path(""), &mut found);
        found
    }

    /// Returns all secrets of the vault, without times.
    pub fn secrets(&self) -> Vec<(String, u64)> {
        let all = self.0.vault().list(None, |_| true).unwrap();
        all.iter().map(|secret| (secret.id.to_string(), secret.version)).collect()
    }

    /// Runs the program and asserts that neither a file nor a secret changes.
    #[track_caller]
    pub fn changes_nothing(&self, arguments: &[&str]) -> Run {
        let before = (self.files(), self.secrets());
        let run = self.run(arguments);
        assert_eq!(differences(&before.0, &self.files()), Vec::<&Path>::new(), "{arguments:?}");
        assert_eq!(before.1, self.secrets(), "{arguments:?}");

        run
    }
}

pub fn differences<'f>(before: &'f Files, after: &'f Files) -> Vec<&'f Path> {
    let paths =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path));
    paths.map(PathBuf::as_path).collect()
}

/// A manifest with `.env.tmpl`, and the output of that template.
pub const MANIFEST: &str = "project = \"web\"\n[secrets.key]\ndescription = \"the key\"\n\
    [[render]]\ntemplate = \".env.tmpl\"\noutput = \".env\"\n";
pub const TEMPLATE: &str = "KEY={{ secrets.key }}\n";

/// Returns a project with one stored secret and one output that does not exist yet.
pub fn simple() -> Project {
    let project = Project::in_git(&[(".secrets.toml", MANIFEST), (".env.tmpl", TEMPLATE)]);
    project.store("web", "key", MARKER);
    project
}
