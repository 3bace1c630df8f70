//! The desktop's keychain: the Secret Service (GNOME Keyring, KWallet, KeePassXC) on Linux, Keychain Services on macOS.
//!
//! The library waits for as long as the desktop asks its user, so it runs on a thread of its own, with a
//! time limit. It copies the key, so all memory that is freed
//! during a call is wiped.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use keyring::{Entry, Error};
use secrets_core::crypto::with_freed_memory_wiped;
use secrets_core::model::SecretBytes;

/// The name under which a keychain shows our entries.
const SERVICE: &str = "secrets";
/// The time for which a keychain may ask its user.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a keychain did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeychainError {
    #[error("there is no keychain in this session")]
    Unavailable,
    #[error("the keychain is locked, or refuses access")]
    Refused,
    #[error("the keychain did not answer in two minutes")]
    Late,
    #[error("the keychain failed")]
    Failed,
}

/// Returns the bytes that are stored under a name, or nothing.
pub fn get(name: &str) -> Result<Option<SecretBytes>, KeychainError> {
    let found = with_entry(name, |entry| entry.get_secret().map(SecretBytes::from_vec));
    match found {
        Ok(bytes) => Ok(Some(bytes)),
        Err(None) => Ok(None),
        Err(Some(error)) => Err(error),
    }
}

/// Stores bytes under a name. Earlier ones are replaced.
pub fn set(name: &str, bytes: &SecretBytes) -> Result<(), KeychainError> {
    let bytes = SecretBytes::copy_of(bytes.expose());
    let stored = with_entry(name, move |entry| entry.set_secret(bytes.expose()));
    stored.map_err(|error| error.unwrap_or(KeychainError::Failed))
}

/// Removes what is stored under a name, if anything is.
pub fn delete(name: &str) -> Result<(), KeychainError> {
    match with_entry(name, Entry::delete_credential) {
        Ok(()) | Err(None) => Ok(()),
        Err(Some(error)) => Err(error),
    }
}

/// Runs `work` on another thread. `Err(None)` says that the entry does not exist.
fn with_entry<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static,
) -> Result<T, Option<KeychainError>> {
    let (sender, receiver) = channel();
    let name = name.to_owned();
    thread::spawn(move || {
        let done =
            with_freed_memory_wiped(|| Entry::new(SERVICE, &name).and_then(|entry| work(&entry)));
        let _ = sender.send(done);
    });

    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Error::NoEntry)) => Err(None),
        Ok(Err(Error::NoStorageAccess(_))) => Err(Some(KeychainError::Refused)),
        Ok(Err(Error::NoDefaultStore)) => Err(Some(KeychainError::Unavailable)),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err(Some(KeychainError::Failed)),
        Err(RecvTimeoutError::Timeout) => Err(Some(KeychainError::Late)),
    }
}
