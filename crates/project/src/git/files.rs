//! Reads files of a repository whose author may be a stranger. It reads only regular files, up to a
//! size limit.

use std::io::Read;
use std::path::Path;

use secrets_files::open;

use super::GitError;

/// The maximum size of a file with ignore rules in bytes.
pub(super) const RULES: u64 = 1024 * 1024;

/// Returns a file's bytes, or `None` if the file does not exist. A file of more than `most` bytes
/// is an error.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, GitError> {
    let file = match open::regular(path) {
        Ok(file) => file,
        Err(error) if open::is_absent(&error) => return Ok(None),
        Err(source) => return Err(GitError::io(path, source)),
    };

    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|source| GitError::io(path, source))?;

    if bytes.len() as u64 > most {
        return Err(GitError::invalid(path, "it is too large"));
    }

    Ok(Some(bytes))
}
