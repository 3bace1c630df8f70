//! Passphrases, secrets and vaults as the library takes them, and values as it returns them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::ids::VaultId;
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase, SlotKeys};
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::crypto::slot::Credential;
use terminal_secrets::model::{ProjectName, SecretBytes, SecretValue, Tag};
use terminal_secrets::vault::{NewSecret, Reveal, Revealed, Vault, VaultError};

use super::Sandbox;
use super::files::passphrase_file;

/// The passphrase of every sandbox.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// The passphrase that replaces it.
pub const NEW_PASSPHRASE: &str = "a quite different battery staple";

/// A value that is long enough to be masked.
pub const TOKEN: &str = "t0ken-abcdefghijklmnop";

/// The message under which `recovery create` prints its code.
pub const SHOWN: &str = "write this recovery code down: it unlocks the vault like the passphrase does \
                     and is not shown again\n";

/// Returns the passphrase as the library takes it.
pub fn passphrase() -> Passphrase {
    Passphrase::new(&SecretBytes::copy_of(PASSPHRASE.as_bytes())).unwrap()
}

/// A passphrase whose keys are derived once for each slot, because the derivation always gives the
/// same keys. The commitment and the seal of the slot are checked each time.
pub struct Remembered(pub Passphrase);

impl Credential for Remembered {
    fn opens(&self, kind: u32) -> bool {
        self.0.opens(kind)
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError> {
        type Input = (Vec<u8>, [Vec<u8>; 3], VaultId);
        type KekAndCommitment = ([u8; 32], [u8; 32]);
        static KEYS: Mutex<BTreeMap<Input, KekAndCommitment>> = Mutex::new(BTreeMap::new());
        let of_slot = [&slot.slot_id, &slot.params, &slot.salt].map(Vec::clone);
        let input = (self.0.expose().to_vec(), of_slot, *vault_id);
        let known = KEYS.lock().unwrap().get(&input).copied();

        if let Some((kek, commitment)) = known {
            return Ok(SlotKeys { kek: Key::copy_of(&kek), commitment });
        }

        let keys = self.0.slot_keys(slot, vault_id)?;
        KEYS.lock().unwrap().insert(input, (*keys.kek.expose(), keys.commitment));
        Ok(keys)
    }

    fn wrong(&self) -> CryptoError {
        self.0.wrong()
    }
}

/// Returns the file of an empty vault, a different one for each call in a test. The next test gets
/// the same files, so a vault is not created for every test.
pub fn empty_vault() -> Arc<[u8]> {
    static MADE: Mutex<Vec<Arc<[u8]>>> = Mutex::new(Vec::new());
    thread_local! {
        /// The number of vaults that this test has taken. Every test has its own thread
        static TAKEN: Cell<usize> = const { Cell::new(0) };
    }

    let number = TAKEN.replace(TAKEN.get() + 1);
    let mut made = MADE.lock().unwrap();
    while made.len() <= number {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("vault.db");
        Vault::init(&path, &passphrase(), KdfParams::LEAST).unwrap();
        made.push(std::fs::read(path).unwrap().into());
    }

    Arc::clone(&made[number])
}

/// Returns a value as the library takes it.
pub fn value(bytes: &[u8]) -> SecretValue {
    SecretValue::new(SecretBytes::copy_of(bytes), true).unwrap()
}

/// Returns a secret that has only a tag and a value.
pub fn secret(tag: &str, bytes: &[u8]) -> NewSecret {
    NewSecret::new(Tag::parse(tag).unwrap(), value(bytes))
}

/// Returns a project's name.
pub fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).unwrap()
}

/// Returns the value of a tag, or `None` if the secret does not exist.
pub fn reveal(vault: &Vault, name: &str, tag: &str) -> Result<Option<Vec<u8>>, VaultError> {
    let name = project(name);
    let revealed = vault.scope(&name).reveal(&[Tag::parse(tag).unwrap()])?;
    Ok(revealed.into_iter().next().and_then(|answer| match answer {
        Revealed::Value { value, .. } => Some(value.expose().to_vec()),
        Revealed::Missing { .. } => None,
    }))
}

/// Returns the value of a tag in project `default`, read by the library.
#[track_caller]
pub fn revealed(sandbox: &Sandbox, tag: &str) -> Vec<u8> {
    reveal(&sandbox.vault(), "default", tag).unwrap().unwrap_or_else(|| panic!("no secret {tag}"))
}

/// Stores forty secrets in project `web`, `key-0` to `key-39`.
pub fn store_forty(sandbox: &Sandbox) {
    let many = (0..40)
        .map(|number| secret(&format!("key-{number}"), format!("web value {number}").as_bytes()));
    sandbox.vault().create_all(&project("web"), many).unwrap();
}

/// Creates a code and writes it to the file `code`.
pub fn recovery_code(sandbox: &Sandbox, options: &[&str]) -> String {
    let run = sandbox.run([&["recovery", "create"][..], options].concat()).succeeds().stderr(SHOWN);
    let code = String::from_utf8(run.bytes()).unwrap();
    passphrase_file(sandbox, "code", code.trim_end());
    code.trim_end().to_owned()
}
