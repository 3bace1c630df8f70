//! `--delete-source`: removes a file once all its values are in the vault.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrets_core::model::SecretBytes;
use secrets_core::vault::{Action, ImportOutcome, ImportResult};
use secrets_project::import::Skipped;

use super::super::shared::git::is_tracked;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::{counted, input};

/// A file to be removed, and what was read from it.
pub(super) struct Removal<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a SecretBytes,
}

impl Removal<'_> {
    /// Removes the file if all its values are in the vault and it has not changed since it was read.
    pub(super) fn remove(
        &self,
        cx: &Context,
        left_out: &[Skipped],
        outcome: &ImportOutcome,
    ) -> Result<(), Error> {
        let name = self.path.display();
        let left_out = left_out.iter().filter(|left| left.has_value).count();
        let skipped = left_out
            + outcome
                .steps
                .iter()
                .filter(|(_, step)| *step == ImportResult::Action(Action::Skip))
                .count();

        let kept =
            |why: String| Error::new(Kind::Conflict, format!("`{name}` was not removed: {why}"));
        if skipped > 0 {
            return Err(kept(format!(
                "{} {} not in the vault",
                counted(skipped, "value"),
                if skipped == 1 { "is" } else { "are" }
            )));
        }

        let found =
            std::fs::symlink_metadata(self.path).map_err(|source| failed(self.path, &source))?;
        if !found.is_file() || found.nlink() > 1 {
            return Err(kept("it is a link or has several names".into()));
        }

        let (current, _) = input::named(self.path)?;
        if current.expose() != self.text.expose() {
            return Err(kept("it was changed in the meantime".into()));
        }

        let tracked = is_tracked(self.path);
        std::fs::remove_file(self.path).map_err(|source| failed(self.path, &source))?;
        cx.ui.status(&format!("removed `{name}`"));

        if tracked {
            cx.ui.warn(&format!(
                "`{name}` is tracked by git: its values are in the history, so change them"
            ));
        }

        Ok(())
    }
}

fn failed(path: &Path, source: &std::io::Error) -> Error {
    Error::new(Kind::Failure, format!("cannot remove `{}`: {source}", path.display()))
}
