//! Reads git's configuration files, for the few keys that say where things are. No value is ever
//! run as a program.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::GitError;
use super::files::read;

/// The maximum size of a configuration file in bytes.
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// The maximum nesting depth of `include.path`, as in git.
const DEPTH: usize = 10;
/// The maximum number of files that are read in total, however they include each other.
const FILES: usize = 200;

/// The configuration: the last value of each `section.key`. Sections with a subsection and
/// `includeIf` are left out, because none of their keys matters here.
#[derive(Debug, Default)]
pub(super) struct Config {
    values: HashMap<String, Vec<u8>>,
    home: Option<PathBuf>,
    files: usize,
}

impl Config {
    /// Creates an empty configuration. Paths that begin with `~/` refer to `home`.
    pub(super) fn new(home: Option<&Path>) -> Self {
        Self { values: HashMap::new(), home: home.map(Path::to_owned), files: 0 }
    }

    /// Adds a file's values, if the file exists. They replace earlier values.
    pub(super) fn load(&mut self, path: &Path) -> Result<(), GitError> {
        self.load_nested(path, 0)
    }

    fn load_nested(&mut self, path: &Path, depth: usize) -> Result<(), GitError> {
        self.files += 1;
        if self.files > FILES {
            return Err(GitError::invalid(path, "the configuration includes too many files"));
        }

        let Some(text) = read(path, MAX_SIZE)? else { return Ok(()) };

        for (key, value) in parse(&text) {
            if key == "include.path" && depth < DEPTH {
                let directory = path.parent().unwrap_or(Path::new("."));
                let included = directory.join(self.expanded(&value));
                self.load_nested(&included, depth + 1)?;
            }

            self.values.insert(key, value);
        }

        Ok(())
    }

    /// Adds only the values of a file that `keep` accepts.
    pub(super) fn load_if(
        &mut self,
        path: &Path,
        keep: impl Fn(&str) -> bool,
    ) -> Result<(), GitError> {
        let mut other = Self::new(self.home.as_deref());
        other.load(path)?;
        self.values.extend(other.values.into_iter().filter(|(key, _)| keep(key)));
        Ok(())
    }

    /// Returns a value. Keys are in lower case.
    pub(super) fn text(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// Returns a value as a path, or `None` if it is empty.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).filter(|value| !value.is_empty()).map(|value| self.expanded(value))
    }

    /// Returns true if a value means yes. A key without a value does too.
    pub(super) fn is_true(&self, key: &str) -> bool {
        let Some(value) = self.text(key) else { return false };
        let value = value.to_ascii_lowercase();
        value == b"true"
            || value == b"yes"
            || value == b"on"
            || value.iter().any(|digit| (b'1'..=b'9').contains(digit))
    }

    fn expanded(&self, value: &[u8]) -> PathBuf {
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        match (value.strip_prefix(b"~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(path(rest)),
            _ => path(value),
        }
    }
}

/// Returns every `section.key` with its value, in order. Invalid lines are skipped. Git refuses to
/// work with such a file, and nothing here depends on a line that git refuses.
pub(super) fn parse(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut section = None;
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);

    while let Some(first) = rest.first() {
        match first {
            b'[' => {
                let end = rest
                    .iter()
                    .position(|byte| *byte == b']' || *byte == b'\n')
                    .unwrap_or(rest.len() - 1);

                section = (rest[end] == b']').then(|| section_name(&rest[1..end])).flatten();
                rest = &rest[end + 1..];
            }
            b'#' | b';' => rest = after_line(rest),
            byte if byte.is_ascii_alphabetic() => {
                let (key, value, after) = variable(rest);
                if let (Some(section), Some(value)) = (&section, value) {
                    found.push((format!("{section}.{key}"), value));
                }

                rest = after;
            }
            byte if byte.is_ascii_whitespace() => rest = &rest[1..],
            _ => rest = after_line(rest),
        }
    }

    found
}

/// Returns a section's name in lower case. Returns `None` if it has a subsection.
fn section_name(text: &[u8]) -> Option<String> {
    let is_plain =
        !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    is_plain.then(|| String::from_utf8_lossy(text).to_ascii_lowercase())
}

fn after_line(text: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', text).map_or(&[], |end| &text[end + 1..])
}

/// Reads a line of the form `key` or `key = value`. Returns the key, the value if it is valid, and
/// the text after the line.
fn variable(text: &[u8]) -> (String, Option<Vec<u8>>, &[u8]) {
    let length = text
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
        .unwrap_or(text.len());

    let key = String::from_utf8_lossy(&text[..length]).to_ascii_lowercase();
    let blanks = text[length..]
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .unwrap_or(text.len() - length);

    let rest = &text[length + blanks..];

    match rest.first() {
        Some(b'=') => {
            let (value, after) = value(&rest[1..]);
            (key, value, after)
        }
        None | Some(b'\n' | b'\r' | b'#' | b';') => (key, Some(b"true".to_vec()), after_line(rest)),
        Some(_) => (key, None, after_line(rest)),
    }
}

/// Reads a value with its quotes, escapes, comments and lines that a backslash continues. Returns
/// the value if it is valid, and the text after it.
fn value(text: &[u8]) -> (Option<Vec<u8>>, &[u8]) {
    let (mut value, mut quoted, mut kept, mut at) = (Vec::new(), false, 0, 0);

    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'\n' if quoted => return (None, &text[at..]),
            b'\n' => break,
            b'\r' if text.get(at) == Some(&b'\n') => {}
            b'#' | b';' if !quoted => {
                at = text.len() - after_line(&text[at..]).len();
                break;
            }
            b'"' => {
                quoted = !quoted;
                kept = value.len();
            }
            b'\\' => {
                let escaped = text.get(at).copied();
                at += 1;
                match escaped {
                    Some(b'\n') => continue,
                    Some(b'\r') if text.get(at) == Some(&b'\n') => {
                        at += 1;
                        continue;
                    }
                    Some(b'n') => value.push(b'\n'),
                    Some(b't') => value.push(b'\t'),
                    Some(b'b') => value.push(8),
                    Some(byte @ (b'"' | b'\\')) => value.push(byte),
                    _ => return (None, after_line(text.get(at..).unwrap_or_default())),
                }

                kept = value.len();
            }
            b' ' | b'\t' if !quoted && value.is_empty() && kept == 0 => {}
            byte => {
                value.push(*byte);
                if quoted || !matches!(byte, b' ' | b'\t') {
                    kept = value.len();
                }
            }
        }
    }

    // Trailing blanks are not part of a value.
    value.truncate(kept);
    ((!quoted).then_some(value), text.get(at..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_git_reads_them() {
        let text = b"; c\n[core]\n\tbare = false ; c\n excludesFile = \"~/a b\"  \n[Core] WorkTree=../x\\\n y\n\
            [remote \"o\"]\n url = z\n[a.b]\n c = d\n[extensions] partialClone\n[x]\n k = a \" b \" c # d\n bad = \"\n l=\\q\n m = \\\"\\t\n";
        let found = parse(text);
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
        let expected: [(&str, &[u8]); 6] = [
            ("core.bare", b"false"),
            ("core.excludesfile", b"~/a b"),
            ("core.worktree", b"../x y"),
            ("extensions.partialclone", b"true"),
            ("x.k", b"a  b  c"),
            ("x.m", b"\"\t"),
        ];

        assert_eq!(found, expected);
    }

    #[test]
    fn files_include_others_and_paths_begin_at_home() {
        let directory = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("one", "[core]\n excludesFile = a\n ignoreCase\n[include]\n path = two\n");
        write("two", "[include]\n path = one\n[core]\n excludesFile = ~/b\n");

        let mut config = Config::new(Some(Path::new("/home/me")));
        config.load(&directory.path().join("one")).unwrap();
        assert_eq!(config.path("core.excludesfile"), Some("/home/me/b".into()));
        assert!(config.is_true("core.ignorecase") && !config.is_true("core.bare"));
        config.load(&directory.path().join("none")).unwrap();

        // A file that includes itself many times is read a bounded number of times.
        write("many", &"[include]\n path = many\n".repeat(1000));
        let error = Config::new(None).load(&directory.path().join("many")).unwrap_err();
        assert!(error.to_string().contains("includes too many files"), "{error}");
        config.load_if(&directory.path().join("one"), |key| key == "core.bare").unwrap();
        assert_eq!(config.path("core.excludesfile"), Some("/home/me/b".into()));
    }
}
