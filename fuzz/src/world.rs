//! What the targets share: a real vault that is checked in, its root key, and fixed keys.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::input::Input;
use tempfile::TempDir;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::ids::{ProjectId, RecordId, VaultId};
use terminal_secrets::crypto::kdf::Passphrase;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::ProjectRow;
use terminal_secrets::crypto::tree::value_hash;
use terminal_secrets::model::{ProjectName, SecretBytes};
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::{Directory, Locked, OpenedProject};

/// A vault's file. `just generate` creates a new one if this one has an older format.
pub(super) const VAULT: &[u8] = include_bytes!("../fixtures/vault.db");
/// The projects of [`VAULT`].
const PROJECTS: [&str; 2] = ["default", "web.api"];
/// The passphrase of [`VAULT`].
pub(super) const PASSPHRASE: &str = "correct horse battery staple";

pub(super) const VAULT_ID: VaultId = *b"vault of targets";
pub(super) const PID: ProjectId = *b"project of these";
pub(super) const RID: RecordId = *b"a record";
pub(super) const EPOCH: u32 = 1;

/// Returns the keys of a project that is in no vault.
pub(super) fn keyring() -> Keyring {
    let key = |byte| Key::copy_of(&[byte; 32]);
    Keyring::new(key(1), Some(key(2)), Some(key(3)), key(4))
}

/// Returns `pid ‖ epoch`, the context of heads.
pub(super) fn project_context(pid: &ProjectId, epoch: u32) -> Vec<u8> {
    [&pid[..], &epoch.to_be_bytes()].concat()
}

/// Returns the context of the first value of a team secret: its record, generation, class, and the
/// hash of its tag's key.
pub(super) fn value_context(pid: &ProjectId, key: &str) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    let target = value_hash(&[&length[..], key.as_bytes()].concat());
    let (epoch, version) = (EPOCH.to_be_bytes(), 1_u64.to_be_bytes());
    [&pid[..], &RID, &epoch, &version, &[0; 5], &target].concat()
}

/// Applies a patch: an offset and new bytes. An empty one cuts or extends to the offset.
pub(super) fn patch(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let (at, piece) = (input.u16() % 1024, input.piece());
    if piece.is_empty() {
        bytes.resize(at, 0);
        return;
    }

    for (place, new) in bytes.iter_mut().skip(at).zip(piece) {
        *place = *new;
    }
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
pub(super) fn root_key() -> RootKey {
    RootKey::from_bytes(root()).expect("there is memory")
}

/// Returns the bytes of the root key of [`VAULT`].
fn root() -> &'static [u8; 32] {
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
    let root = root_key();
    let directory = Directory::new(&root, vault_id);
    let state = directory.read(&*snapshot).expect("the directory opens");

    let name = |name| ProjectName::parse(name).expect("it is a name");
    let indexes = PROJECTS.map(|project| directory.index(&name(project)));
    let found = directory.projects(&state, &*snapshot, &indexes).expect("they open");
    let open = |project: OpenedProject| {
        let row = snapshot.project(&project.entry.pid).expect("it is read").expect("it is there");
        let ring = project.ring().expect("it is the whole ring");
        let keys = Keyring::decode(ring.encode().expose()).expect("it is a key ring");
        (row, keys)
    };

    (vault_id, found.into_iter().flatten().map(open).collect())
}
