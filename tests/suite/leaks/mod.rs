//! A value and a passphrase never come out except through `render`: not in any output, not in a
//! file, not in a process that another process of the same user could inspect.

use std::path::Path;

use crate::support::traces::forms;
use crate::support::{PASSPHRASE, Run, Sandbox};

mod left;
mod printed;

/// A value that can be found in any form. Its hint is `mRk7…9wLs`.
const VALUE: &str = "mRk7vQz2TgXe8NbHc4YdUf6PjAo1KiSx5WlVr3ZtBnGqEhCy0MaDuFpJ9wLs";
const OTHER: &str = "Zk3nWq8RtYv5HbJm1XcLs7PfGd4AeUo9KiNz2TgVx6QlCr0MhByEwSaDuFj";

#[track_caller]
fn clean(what: &str, content: &[u8]) {
    for secret in [VALUE, OTHER, PASSPHRASE] {
        for form in forms(secret) {
            let found = memchr::memmem::find(content, &form).is_some();
            assert!(!found, "{what} holds {:?}", String::from_utf8_lossy(&form));
        }
    }
}

/// Asserts that neither stream of a run holds a secret, and returns the code.
#[track_caller]
fn silent(run: Run) -> Option<i32> {
    let (code, stdout, stderr) = run.everything();
    clean("stdout", &stdout);
    clean("stderr", stderr.as_bytes());
    code
}

/// Asserts that no file in a directory holds a secret, in its name or in its bytes.
#[track_caller]
fn clean_directory(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        clean("a file's name", entry.file_name().as_encoded_bytes());
        if entry.file_type().unwrap().is_dir() {
            clean_directory(&entry.path());
        } else if let Ok(content) = std::fs::read(entry.path()) {
            clean(&entry.path().display().to_string(), &content);
        }
    }
}

/// Returns a vault whose `key` holds the value, and an empty directory for temporary files.
fn with_value() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("key", VALUE), ("other", OTHER)]);
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    sandbox
}
