//! What the targets share: a real vault that is checked in, its root key, and fixed keys.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::ids::{ProjectId, RecordId, VaultId};
use terminal_secrets::crypto::kdf::Passphrase;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::ProjectRow;
use terminal_secrets::model::{ProjectName, SecretBytes};
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::Locked;

/// A vault's file. `just generate` creates a new one if this one has an older format.
pub(super) const VAULT: &[u8] = include_bytes!("../fixtures/vault.db");
/// The passphrase of [`VAULT`].
pub(super) const PASSPHRASE: &str = "correct horse battery staple";

pub(super) const VAULT_ID: VaultId = *b"vault of targets";
pub(super) const PID: ProjectId = *b"project of these";
pub(super) const RID: RecordId = *b"a record";
pub(super) const EPOCH: u32 = 1;

/// Returns the keys of a project that is in no vault.
pub(super) fn keyring() -> Keyring {
    let key = |byte| Key::copy_of(&[byte; 32]);
    Keyring::new(&PID, key(1), key(2), key(3), ProjectName::parse("web").expect("it is a name"))
}

/// Returns `pid ‖ epoch`, the context of key rings and heads.
pub(super) fn project_context(pid: &ProjectId, epoch: u32) -> Vec<u8> {
    [&pid[..], &epoch.to_be_bytes()].concat()
}

/// A private copy of a vault's file at its own path, with the mode that a vault needs. Dropping it
/// removes the file.
pub(super) struct Copy(TempDir);

impl Copy {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let copy = Self(tempfile::tempdir().expect("a directory for the copy"));
        copy.put("vault.db", bytes);
        copy
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.0.path().join(name));

        file.and_then(|mut file| file.write_all(bytes)).expect("room for the copy");
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("vault.db")
    }
}

/// Returns the root key of [`VAULT`].
pub(super) fn root() -> &'static [u8; 32] {
    static ROOT: OnceLock<[u8; 32]> = OnceLock::new();
    ROOT.get_or_init(|| {
        let passphrase =
            Passphrase::new(&SecretBytes::copy_of(PASSPHRASE.as_bytes())).expect("it is one");
        let copy = Copy::of(VAULT);
        *Locked::open(&copy.path())
            .and_then(|vault| vault.root_key(&passphrase))
            .expect("the vault opens")
            .expose()
    })
}

/// Returns the vault's id and its projects' rows, with their keys.
pub(super) fn projects(path: &Path) -> (VaultId, Vec<(ProjectRow, Keyring)>) {
    let store = SqliteStore::open(path).expect("the vault opens");
    let snapshot = store.read().expect("it is read");
    let vault_id = snapshot.vault().expect("it has a row").vault_id;
    let root = RootKey::from_bytes(root()).expect("there is memory");
    let rows = snapshot.projects().expect("it has projects");
    let open = |row: ProjectRow| {
        let keyring = root.open_keyring(&vault_id, &row).expect("the key ring opens");
        (row, keyring)
    };

    (vault_id, rows.into_iter().map(open).collect())
}
