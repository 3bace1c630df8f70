//! The checkpoint: a vault that does not descend from the state last seen here is refused, and the
//! error names the difference.

use std::fs;
use std::path::{Path, PathBuf};

use secrets_files::Records;
use tempfile::TempDir;
use terminal_secrets::crypto::ids::ProjectId;
use terminal_secrets::store::{CheckpointStore, Location};
use terminal_secrets::vault::{Divergence, Locked, SecretChanges, Vault, VaultError};

use crate::support::specimen::{Specimen, VAULT_ID, root};
use crate::support::{project, value};

mod copies;
mod files;
mod reports;
mod rollback;

/// Returns the checkpoints in a directory, without the lock.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| !path.ends_with("lock")).collect()
}

/// A vault with checkpoints that belong to this test.
struct Seen {
    specimen: Specimen,
    state: TempDir,
}

impl Seen {
    fn new() -> Self {
        let seen = Self { specimen: Specimen::new(), state: TempDir::new().unwrap() };
        seen.look().unwrap();
        seen
    }

    fn checkpoints(&self, path: &Path) -> CheckpointStore {
        CheckpointStore::new(&self.state.path().join("anchors"), &Location::of_file(path).unwrap())
    }

    fn vault(&self) -> Vault {
        let path = self.specimen.path();
        let anchors = self.state.path().join("anchors");
        Locked::open(&path).unwrap().with_checkpoints(&anchors).unlocked(root())
    }

    fn look(&self) -> Result<(), VaultError> {
        self.vault().projects().map(drop)
    }

    fn departure(&self) -> Divergence {
        match self.look() {
            Err(VaultError::Diverged(departure)) => *departure,
            other => panic!("{other:?}"),
        }
    }

    /// Changes secret `one` of project `alpha` `times` times.
    fn change(&self, times: u64) {
        for number in 0..times {
            let changes = SecretChanges {
                value: Some(value(format!("value {number}").as_bytes())),
                ..SecretChanges::default()
            };

            self.vault().update(&project("alpha"), &"one".parse().unwrap(), None, changes).unwrap();
        }
    }

    /// Does the same as somebody without our checkpoint.
    fn change_elsewhere(&self, times: u64) {
        for number in 0..times {
            let changes = SecretChanges {
                value: Some(value(format!("other {number}").as_bytes())),
                ..SecretChanges::default()
            };

            let vault = self.specimen.vault().unwrap();
            vault.update(&project("alpha"), &"one".parse().unwrap(), None, changes).unwrap();
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        files_in(&self.state.path().join("anchors"))
    }

    /// Returns the checkpoint of a project, or of the directory.
    fn file_of(&self, pid: &ProjectId) -> PathBuf {
        let checkpoints = self.checkpoints(&self.specimen.path());
        let name = Records::name_of(&[&VAULT_ID, &checkpoints.path_hashes()[0], pid]);
        checkpoints.directory().join(name)
    }

    fn alpha(&self) -> ProjectId {
        let sql =
            "SELECT pid FROM records WHERE pid <> zeroblob(16) GROUP BY pid HAVING count(*) = 2";
        let pid = self.specimen.connection().query_row(sql, [], |row| row.get::<_, Vec<u8>>(0));
        pid.unwrap().try_into().unwrap()
    }
}
