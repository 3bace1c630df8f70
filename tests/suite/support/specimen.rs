//! A small vault whose root key the test knows, so that thousands of damaged copies open without a
//! key derivation each.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rusqlite::Connection;
use tempfile::TempDir;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::ids::VaultId;
use terminal_secrets::crypto::kdf::KdfParams;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::store::{ServerError, SqliteStore, StoreError, Transaction};
use terminal_secrets::vault::{
    KeyServiceError, Locked, SecretChanges, Vault, VaultError, begin_vault,
};

use super::{Sandbox, passphrase, project, secret, value};

/// The secrets of the fixture: project, tag, value.
pub const SECRETS: [(&str, &str, &str); 3] = [
    ("alpha", "one", "m4rker-one-9f2c71d0"),
    ("alpha", "two", "m4rker-two-51be88a3"),
    ("beta", "three", "m4rker-3"),
];

const ROOT: [u8; 32] = [7; 32];
/// The fixture's id.
pub const VAULT_ID: VaultId = [9; 16];

/// Returns the fixture's root key.
pub fn root() -> RootKey {
    RootKey::from_bytes(&ROOT).unwrap()
}

/// Writes the rows of an empty vault with that root key and the tests' passphrase.
pub fn begin(rows: &mut dyn Transaction) -> Result<(), VaultError> {
    let slot = Slot::create(&passphrase(), false, KdfParams::LEAST, &VAULT_ID, &root())?;
    begin_vault(rows, VAULT_ID, &root(), std::slice::from_ref(&slot))
}

/// Creates such a vault in a file.
pub fn create(path: &Path) -> SqliteStore {
    SqliteStore::create(path, begin).unwrap()
}

/// The file before `one` got its present value, the present file, and the file with a different
/// value of the same version.
static FILES: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.db");
    let vault = Locked::with_store(Box::new(create(&path))).unlocked(root());
    for (name, tag, text) in SECRETS {
        let text = if tag == "one" { "m4rker-old" } else { text };
        vault.create(&project(name), secret(tag, text.as_bytes())).unwrap();
    }

    let before = fs::read(&path).unwrap();
    let updated = |text: &str| {
        fs::write(&path, &before).unwrap();
        let changes =
            SecretChanges { value: Some(value(text.as_bytes())), ..SecretChanges::default() };
        let vault = Locked::open(&path).unwrap().unlocked(root());
        vault.update(&project("alpha"), &"one".parse().unwrap(), None, changes).unwrap();
        fs::read(&path).unwrap()
    };

    let (now, fork) = (updated(SECRETS[0].2), updated("m4rker-fork"));
    [before, now, fork]
});

/// A copy of the fixture in its own directory.
pub struct Specimen {
    directory: TempDir,
}

impl Specimen {
    pub fn new() -> Self {
        Self::of(&FILES[1])
    }

    /// Returns the vault from before `one` got its present value.
    pub fn earlier() -> Self {
        Self::of(&FILES[0])
    }

    /// Returns a copy that diverged: `one` has a different value of the same version.
    pub fn fork() -> Self {
        Self::of(&FILES[2])
    }

    pub fn of(bytes: &[u8]) -> Self {
        let specimen = Self { directory: TempDir::new().unwrap() };
        specimen.overwrite(bytes);
        specimen
    }

    /// Replaces the file's bytes and removes every file next to it.
    pub fn overwrite(&self, bytes: &[u8]) {
        for name in ["vault.db-journal", "vault.db-wal", "vault.db-shm", "vault.db-compact"] {
            let _ = fs::remove_file(self.directory.path().join(name));
        }

        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path());
        file.unwrap().write_all(bytes).unwrap();
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("vault.db")
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Opens the vault with the known root key, without reading a slot.
    pub fn vault(&self) -> Result<Vault, VaultError> {
        Ok(Locked::open(&self.path())?.unlocked(root()))
    }

    /// Does what somebody with a database shell can do to the file.
    pub fn sql(&self, statements: &str) {
        self.connection().execute_batch(statements).unwrap();
    }

    pub fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();

        // An attacker needs a writable schema. The bundled SQLite refuses it only in defensive
        // mode.
        connection
            .execute_batch("PRAGMA writable_schema = ON; PRAGMA trusted_schema = ON")
            .unwrap();
        connection
    }
}

/// Returns the exit code that `src/error.rs` gives a failure of the vault.
pub fn code(error: &VaultError) -> u8 {
    match error {
        VaultError::Store(
            StoreError::Missing(_)
            | StoreError::NoDirectory(_)
            | StoreError::Server(ServerError::NoVault),
        )
        | VaultError::NoSecret { .. }
        | VaultError::NoToken(_)
        | VaultError::NoProject { .. } => 3,
        VaultError::Store(StoreError::Exists(_) | StoreError::Server(ServerError::HasVault))
        | VaultError::Exists(_)
        | VaultError::ProjectExists(_)
        | VaultError::TokenExists(_)
        | VaultError::Changed(_)
        | VaultError::VaultChanged
        | VaultError::SlotsChanged
        | VaultError::SameTarget(..) => 4,
        VaultError::RekeyedElsewhere
        | VaultError::Crypto(
            CryptoError::WrongPassphrase
            | CryptoError::WrongRecoveryCode
            | CryptoError::WrongTicket
            | CryptoError::NoRecoveryCode,
        )
        | VaultError::KeyService(
            KeyServiceError::Locked | KeyServiceError::PassphraseNeeded | KeyServiceError::WrongKey,
        )
        | VaultError::NoGrant
        | VaultError::TokenRevoked(_)
        | VaultError::TokenExpired { .. }
        | VaultError::TokenReplaced { .. }
        | VaultError::OtherKeys => 5,
        VaultError::Store(
            StoreError::NotAVault(_)
            | StoreError::Format(_)
            | StoreError::Damaged(_)
            | StoreError::Server(
                ServerError::OtherTables | ServerError::OtherVault | ServerError::NoAddress,
            ),
        )
        | VaultError::Crypto(
            CryptoError::Damaged(_) | CryptoError::Unsupported(_) | CryptoError::Newer(_),
        )
        | VaultError::KeyService(KeyServiceError::Replaced | KeyServiceError::RolledBack(_))
        | VaultError::Diverged(_)
        | VaultError::DamagedVault(_)
        | VaultError::NothingToSave(_)
        | VaultError::Record { .. }
        | VaultError::AuditLog { .. }
        | VaultError::NotOfWitness(_)
        | VaultError::Project { .. } => 6,
        VaultError::Store(
            StoreError::Unsafe { .. }
            | StoreError::ForeignJournal(_)
            | StoreError::Server(ServerError::Forbidden | ServerError::TooOld(..)),
        )
        | VaultError::AnotherVault(_)
        | VaultError::KeyService(KeyServiceError::Refused)
        | VaultError::NoBundle(_)
        | VaultError::IsBundle
        | VaultError::Forbidden(_)
        | VaultError::TooOld(..)
        | VaultError::FromTheFuture(_)
        | VaultError::NoEarlierCopy(_) => 7,
        VaultError::Store(StoreError::BadPath(_) | StoreError::Server(ServerError::Offline))
        | VaultError::OntoItself(_)
        | VaultError::TooManyTokens
        | VaultError::TooManyWriters
        | VaultError::ManageOfSome
        | VaultError::HasWholeProject(_)
        | VaultError::BundleOfManager
        | VaultError::TokensOfProjects
        | VaultError::NotRemote
        | VaultError::TooManyProjects => 2,
        VaultError::Store(_)
        | VaultError::Crypto(_)
        | VaultError::KeyService(_)
        | VaultError::Internal(_) => 1,
    }
}

/// Returns the bytes of the only passphrase slot: salt, commitment, sealed root key.
pub fn slot(sandbox: &Sandbox) -> [Vec<u8>; 3] {
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    let sql = "SELECT salt, commitment, wrap FROM slots WHERE type = 1";
    connection.query_row(sql, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap()
}
