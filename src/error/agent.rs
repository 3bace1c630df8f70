//! What the agent and its place have to say.

use super::{Error, Kind};
use crate::agent::PlaceError;
use crate::vault::HolderError;

const RESTART: &str = "`secrets lock --all` ends it; then `secrets unlock` again";

impl From<HolderError> for Error {
    fn from(error: HolderError) -> Self {
        let message = error.to_string();
        match error {
            HolderError::Locked | HolderError::OtherSlots => {
                Self::new(Kind::Locked, message).hint("unlock it with `secrets unlock`")
            }
            HolderError::OtherKey => Self::new(Kind::Locked, message).hint(
                "its keys were changed elsewhere, or it is damaged: `secrets unlock` asks for the passphrase again",
            ),
            HolderError::Replaced => {
                Self::new(Kind::Damaged, message).hint("if that was you, `secrets unlock` takes this one")
            }
            // Nothing but the agent says so. What was last seen is remembered on the disk as well, and has been compared.
            HolderError::RolledBack(_) => Self::new(Kind::Damaged, message)
                .hint("put the newest copy back; to take an older one: `secrets restore --accept`")
                .hint("if this is the newest one, `secrets lock` ends the agent; then `secrets unlock` again"),
            HolderError::OtherVersion | HolderError::Nonsense => Self::new(Kind::Failure, message).hint(RESTART),
            HolderError::Silent => Self::new(Kind::Failure, message)
                .hint("`pkill -KILL -x -u $(id -u) secrets-agent` ends it; then `secrets unlock` again"),
            HolderError::Impostor => Self::new(Kind::Refused, message),
            HolderError::Failed | HolderError::NotStarted | HolderError::Io(_) => Self::new(Kind::Failure, message),
        }
    }
}

impl From<PlaceError> for Error {
    fn from(error: PlaceError) -> Self {
        let message = error.to_string();
        match error {
            PlaceError::Unsafe { path, .. } => Self::new(Kind::Refused, message)
                .hint(format!("the agent needs a directory of your own, mode 700: `{}`", path.display())),
            PlaceError::TooLong(_) => {
                Self::usage(message).hint("set XDG_RUNTIME_DIR to a directory with a shorter path")
            }
            PlaceError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}
