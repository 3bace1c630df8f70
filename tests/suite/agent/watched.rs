//! An agent that holds the fixture's key, and the rows that a client sends to it.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use terminal_secrets::agent::{Answer, ChangeKind, Client, Request};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::ids::{DIRECTORY, ProjectId};
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::ProjectRow;
use terminal_secrets::store::{RowSet, SqliteStore, Store};
use terminal_secrets::vault::{
    Directory, KeyServiceError, Locked, OpenedProject, Vault, VaultAccess, VaultError,
};

use crate::support::specimen::{self, Specimen, VAULT_ID};
use crate::support::{Sandbox, project};

use super::{HOUR, Home, ask, decoded, program};

/// An agent that holds the fixture's key.
pub(super) struct Watched {
    pub(super) home: Home,
    pub(super) specimen: Specimen,
}

impl Watched {
    /// Creates an agent that has seen the vault.
    pub(super) fn new(specimen: Specimen) -> Self {
        let watched = Self::unseen(specimen);
        watched.look().unwrap();
        watched
    }

    /// Creates an agent that has not seen the vault yet.
    pub(super) fn unseen(specimen: Specimen) -> Self {
        let vault = specimen.path().canonicalize().unwrap();
        let watched = Self { home: Home { sandbox: Sandbox::empty(), vault }, specimen };
        watched.start();
        watched
    }

    /// Starts an agent, which replaces an earlier one.
    pub(super) fn start(&self) {
        self.client().start(program(), VAULT_ID, &specimen::root(), (HOUR, HOUR)).unwrap();
    }

    pub(super) fn client(&self) -> Client {
        self.home.client()
    }

    /// Returns the path by which the agent knows the vault.
    pub(super) fn path(&self) -> &[u8] {
        self.home.vault.as_os_str().as_bytes()
    }

    /// Opens the vault through the agent.
    pub(super) fn vault(&self) -> Vault {
        Locked::open(&self.specimen.path()).unwrap().unlocked(self.client())
    }

    /// Does what the command `list` does.
    pub(super) fn look(&self) -> Result<usize, VaultError> {
        self.vault().list(None, |_| true).map(|all| all.len())
    }

    pub(super) fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.specimen.path()).unwrap()
    }

    /// Finds a project through the agent.
    pub(super) fn find(&self, name: &str) -> OpenedProject {
        let (store, client, name) = (self.store(), self.client(), project(name));
        let snapshot = store.read().unwrap();
        client.directory(&VAULT_ID, &*snapshot).unwrap();
        let found = client.find(&VAULT_ID, &*snapshot, &[&name]).unwrap();
        found.into_iter().next().flatten().unwrap()
    }

    /// Returns the row of a project, or of the directory.
    pub(super) fn row(&self, pid: &ProjectId) -> ProjectRow {
        let store = self.store();
        let row = store.read().unwrap().project(pid).unwrap();
        row.unwrap()
    }

    /// Returns a project's present head.
    pub(super) fn head(&self, found: &OpenedProject) -> Head {
        let pid = &found.entry.pid;
        Head::open(&found.keys.head_key(pid), &VAULT_ID, &self.row(pid)).unwrap()
    }

    /// Returns the encoded rows that a request about these projects needs.
    pub(super) fn rows(&self, names: &[&str]) -> Vec<u8> {
        let store = self.store();
        let snapshot = store.read().unwrap();
        let mut rows = RowSet::read(&*snapshot).unwrap();
        for name in names {
            rows.add(&*snapshot, &index(name)).unwrap();
        }

        rows.encode()
    }

    /// Asks for a change of the directory, on the rows of the vault. Returns the answer.
    pub(super) fn ask_change(
        &self,
        stream: &UnixStream,
        kind: ChangeKind,
        names: &[&str],
    ) -> Vec<u8> {
        let rows = self.rows(names);
        self.ask_change_of(stream, kind, names, &rows)
    }

    /// Asks for a change of the directory on given rows. Returns the answer.
    pub(super) fn ask_change_of(
        &self,
        stream: &UnixStream,
        kind: ChangeKind,
        names: &[&str],
        rows: &[u8],
    ) -> Vec<u8> {
        let names = names.iter().map(|name| name.as_bytes()).collect();
        ask(stream, &Request::Change { path: self.path(), vault_id: VAULT_ID, rows, kind, names })
    }

    /// Asserts that the agent refuses the state as an earlier or diverged one.
    #[track_caller]
    pub(super) fn notices_a_rollback(&self) {
        match self.look() {
            Err(VaultError::KeyService(KeyServiceError::RolledBack(None))) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Returns the index of a project's name in the fixture.
pub(super) fn index(name: &str) -> [u8; 16] {
    specimen::root().directory_keys().tag_ix(name)
}

/// Returns the rows that an answer to a change wants to be written, as they are encoded.
#[track_caller]
pub(super) fn changes(answer: &[u8]) -> Vec<u8> {
    match decoded(answer) {
        Answer::Changed { changes, .. } => changes.to_vec(),
        _ => panic!("not changed: {answer:02x?}"),
    }
}

/// Returns the keys that no answer may contain: those of the owner and of the directory, and the
/// keys of every project that open values.
pub(super) fn kept_keys(path: &Path, root: &RootKey) -> Vec<(&'static str, [u8; 32])> {
    let own = root.directory_keys();
    let seed = Key::copy_of(root.expose()).expand("owner-sign", &[]);
    let mut keys = vec![
        ("the root key", *root.expose()),
        ("the owner's seed", *seed.expose()),
        ("PMK of the directory", *own.metadata.expose()),
        ("PVK of the directory", *own.values.as_ref().unwrap().expose()),
        ("TIK of the directory", *own.index.expose()),
    ];

    keys.extend(project_keys(path, root).into_iter().filter(|(name, _)| *name != "PMK"));
    keys
}

/// Returns the keys of every project: PMK, which opens metadata, PVK and PRK.
pub(super) fn project_keys(path: &Path, root: &RootKey) -> Vec<(&'static str, [u8; 32])> {
    let store = SqliteStore::open(path).unwrap();
    let snapshot = store.read().unwrap();
    let directory = Directory::new(root, snapshot.vault().unwrap().vault_id);
    let state = directory.read(&*snapshot).unwrap();
    let leaves = (0..=u8::MAX).flat_map(|bucket| snapshot.leaves(&DIRECTORY, bucket).unwrap());
    let indexes: Vec<[u8; 16]> = leaves.map(|leaf| leaf.tag_ix).collect();

    let mut keys = Vec::new();
    for found in directory.projects(&state, &*snapshot, &indexes).unwrap().into_iter().flatten() {
        keys.push(("PMK", *found.ring().unwrap().metadata.expose()));
        keys.push(("PVK", *found.ring().unwrap().values.as_ref().unwrap().expose()));
        keys.push(("PRK", *found.ring().unwrap().restricted.as_ref().unwrap().expose()));
    }

    assert!(!keys.is_empty());
    keys
}
