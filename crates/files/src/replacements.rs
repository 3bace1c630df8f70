//! Replaces files together with another change: all of them, or none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::{DeferSignals, directory, public};

/// New contents, written next to their files.
#[derive(Default)]
pub struct Replacements(Vec<Replacement>);

struct Replacement {
    path: PathBuf,
    new: TempPath,
    /// The old file under another name
    old: TempPath,
}

/// Why files were not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    #[error("cannot replace `{}`: {source}", path.display())]
    Failed { path: PathBuf, source: io::Error },
    #[error("`{}` has changed in the meantime", path.display())]
    Changed { path: PathBuf },
    #[error("cannot put back `{}`, whose old text is in `{}`: {source}", path.display(), kept.display())]
    NotPutBack { path: PathBuf, kept: PathBuf, source: io::Error },
}

impl Replacements {
    /// Writes a new content next to a file, and keeps the file under another name. Fails if the file no
    /// longer has the content `before`. Follows a symbolic link to its target, and keeps the mode.
    pub fn add(&mut self, path: &Path, before: &[u8], after: &[u8]) -> Result<(), ReplaceError> {
        let failed = |source| ReplaceError::Failed { path: path.to_owned(), source };
        let target = fs::canonicalize(path).map_err(failed)?;
        let prepare = || {
            let new = public::next_to(&target, after)?;

            // A link keeps the file itself. A file system without links gets a copy.
            let old = tempfile::NamedTempFile::new_in(directory::of(&target))?.into_temp_path();
            fs::remove_file(&old)?;
            if fs::hard_link(&target, &old).is_err() {
                fs::copy(&target, &old)?;
            }

            Ok((new, old))
        };
        let (new, old) = prepare().map_err(failed)?;

        if *zeroize::Zeroizing::new(fs::read(&old).map_err(failed)?) != before {
            return Err(ReplaceError::Changed { path: path.to_owned() });
        }

        self.0.push(Replacement { path: target, new, old });
        Ok(())
    }

    /// Puts the new contents in place and then makes the other change. If anything fails, the old files
    /// are put back. A signal that would end the process waits.
    pub fn apply<T, E: From<ReplaceError>>(
        self,
        change: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _held = DeferSignals::new();
        let mut placed: Vec<(PathBuf, TempPath)> = Vec::with_capacity(self.0.len());
        let mut failure = None;
        for Replacement { path, new, old } in self.0 {
            match new.persist(&path) {
                Ok(()) => placed.push((path, old)),
                Err(error) => {
                    failure = Some(ReplaceError::Failed { path, source: error.error });
                    break;
                }
            }
        }

        let done = match failure {
            Some(error) => Err(error.into()),
            None => change(),
        };
        if done.is_ok() {
            return done;
        }

        for (path, old) in placed {
            let kept = old.to_path_buf();
            if let Err(error) = old.persist(&path) {
                let _ = error.path.keep();
                return Err(ReplaceError::NotPutBack { path, kept, source: error.error }.into());
            }
        }

        done
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn two() -> (tempfile::TempDir, Replacements) {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Replacements::default();
        for name in ["a", "b"] {
            let path = directory.path().join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            files.add(&path, name.as_bytes(), b"new").unwrap();
        }

        (directory, files)
    }

    #[test]
    fn all_files_are_replaced_and_keep_their_modes() {
        let (directory, files) = two();
        files.apply(|| Ok::<_, ReplaceError>(())).unwrap();
        assert_eq!(names(directory.path()), ["a", "b"]);
        for name in ["a", "b"] {
            let path = directory.path().join(name);
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
    }

    #[test]
    fn nothing_is_replaced_if_the_other_change_fails() {
        let (directory, files) = two();
        let path = directory.path().join("a");
        let failed = files.apply(|| {
            assert_eq!(fs::read(&path).unwrap(), b"new");
            Err::<(), _>(ReplaceError::Changed { path: PathBuf::new() })
        });
        assert!(failed.is_err());
        assert_eq!(names(directory.path()), ["a", "b"]);
        for name in ["a", "b"] {
            assert_eq!(fs::read(directory.path().join(name)).unwrap(), name.as_bytes());
        }
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_the_others_as_they_were() {
        let (directory, files) = two();
        let path = directory.path().join("b");
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("inside")).unwrap();
        let failed = files.apply(|| Ok::<_, ReplaceError>(()));
        assert!(matches!(failed, Err(ReplaceError::Failed { .. })));
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"a");
        assert_eq!(names(directory.path()), ["a", "b"]);
    }

    #[test]
    fn a_file_that_was_changed_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "other").unwrap();
        let refused = Replacements::default().add(&path, b"a", b"new");
        assert!(matches!(refused, Err(ReplaceError::Changed { .. })));
        assert_eq!(names(directory.path()), ["a"]);
    }
}
