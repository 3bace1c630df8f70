//! The errors of the agent, of its runtime directory and of the desktop's keychain.

use secrets_core::vault::KeyServiceError;
use secrets_runtime::agent::RuntimeDirError;
use secrets_runtime::keychain::KeychainError;

use super::{Error, Kind};

const RESTART: &str = "stop it with `secrets lock --all`, then run `secrets unlock` again";

impl From<KeyServiceError> for Error {
    fn from(error: KeyServiceError) -> Self {
        let message = error.to_string();
        match error {
            KeyServiceError::Locked | KeyServiceError::PassphraseNeeded => {
                Self::new(Kind::Locked, message).hint("unlock it with `secrets unlock`")
            }
            KeyServiceError::WrongKey => Self::new(Kind::Locked, message).hint(
                "the keys were changed elsewhere, or the vault is damaged; run `secrets unlock` \
                 to enter the passphrase again",
            ),
            KeyServiceError::Replaced => Self::new(Kind::Damaged, message)
                .hint("if you replaced it, run `secrets unlock` to use this one"),
            // Only the agent reports this. The checkpoint on the disk was compared before and
            // matched.
            KeyServiceError::RolledBack(_) => Self::new(Kind::Damaged, message)
                .hint(
                    "put the newest copy back, or accept this older one with \
                     `secrets restore --accept`",
                )
                .hint(
                    "if this is the newest copy, stop the agent with `secrets lock`, then run \
                     `secrets unlock` again",
                ),
            KeyServiceError::OtherVersion | KeyServiceError::InvalidResponse => {
                Self::new(Kind::Failure, message).hint(RESTART)
            }
            KeyServiceError::Timeout => Self::new(Kind::Failure, message).hint(
                "stop it with `pkill -KILL -x -u $(id -u) secrets-agent`, then run \
                 `secrets unlock` again",
            ),
            KeyServiceError::ForeignProcess | KeyServiceError::Refused => {
                Self::new(Kind::Refused, message)
            }
            KeyServiceError::Internal(_) => Self::internal(message),
            KeyServiceError::Failed | KeyServiceError::NotStarted | KeyServiceError::Io(_) => {
                Self::new(Kind::Failure, message)
            }
        }
    }
}

impl From<RuntimeDirError> for Error {
    fn from(error: RuntimeDirError) -> Self {
        let message = error.to_string();
        match error {
            RuntimeDirError::Unsafe { path, .. } => Self::new(Kind::Refused, message)
                .hint(format!("make `{}` a directory that you own, with mode 700", path.display())),
            RuntimeDirError::TooLong(_) => {
                Self::usage(message).hint("set XDG_RUNTIME_DIR to a directory with a shorter path")
            }
            RuntimeDirError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

impl From<KeychainError> for Error {
    fn from(error: KeychainError) -> Self {
        let message = error.to_string();
        match error {
            KeychainError::Unavailable => Self::new(Kind::Failure, message).hint(
                "run it on a desktop with GNOME Keyring, KWallet or KeePassXC; elsewhere, \
                 `secrets unlock` asks for the passphrase once",
            ),
            KeychainError::Refused | KeychainError::Late => Self::new(Kind::Failure, message)
                .hint("unlock the keychain on the desktop, then try again"),
            KeychainError::Failed => Self::new(Kind::Failure, message),
        }
    }
}
