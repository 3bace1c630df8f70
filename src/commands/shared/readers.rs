//! The programs that read a rendered file, as `render` and `template` take them.

use secrets_project::dotenv::readers::{Reader, Readers};

/// Returns the readers given with `--readers`, if any.
pub(crate) fn named_readers(names: &[String]) -> Option<Readers> {
    let readers: Readers = names.iter().filter_map(|name| name.parse::<Reader>().ok()).collect();
    (!readers.is_empty()).then_some(readers)
}
