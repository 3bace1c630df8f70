//! What the agent and its place have to say.

use super::{Error, Kind};
use crate::agent::RuntimeDirError;
use crate::vault::KeyServiceError;

const RESTART: &str = "`secrets lock --all` ends it; then `secrets unlock` again";

impl From<KeyServiceError> for Error {
    fn from(error: KeyServiceError) -> Self {
        let message = error.to_string();
        match error {
            KeyServiceError::Locked | KeyServiceError::OtherSlots => {
                Self::new(Kind::Locked, message).hint("unlock it with `secrets unlock`")
            }
            KeyServiceError::OtherKey => Self::new(Kind::Locked, message).hint(
                "its keys were changed elsewhere, or it is damaged: `secrets unlock` asks for the passphrase again",
            ),
            KeyServiceError::Replaced => {
                Self::new(Kind::Damaged, message).hint("if that was you, `secrets unlock` takes this one")
            }
            // Nothing but the agent says so. What was last seen is remembered on the disk as well, and has been compared.
            KeyServiceError::RolledBack(_) => Self::new(Kind::Damaged, message)
                .hint("put the newest copy back; to take an older one: `secrets restore --accept`")
                .hint("if this is the newest one, `secrets lock` ends the agent; then `secrets unlock` again"),
            KeyServiceError::OtherVersion | KeyServiceError::Nonsense => Self::new(Kind::Failure, message).hint(RESTART),
            KeyServiceError::Silent => Self::new(Kind::Failure, message)
                .hint("`pkill -KILL -x -u $(id -u) secrets-agent` ends it; then `secrets unlock` again"),
            KeyServiceError::Impostor => Self::new(Kind::Refused, message),
            KeyServiceError::Failed | KeyServiceError::NotStarted | KeyServiceError::Io(_) => Self::new(Kind::Failure, message),
        }
    }
}

impl From<RuntimeDirError> for Error {
    fn from(error: RuntimeDirError) -> Self {
        let message = error.to_string();
        match error {
            RuntimeDirError::Unsafe { path, .. } => Self::new(Kind::Refused, message).hint(
                format!("the agent needs a directory of your own, mode 700: `{}`", path.display()),
            ),
            RuntimeDirError::TooLong(_) => {
                Self::usage(message).hint("set XDG_RUNTIME_DIR to a directory with a shorter path")
            }
            RuntimeDirError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}
