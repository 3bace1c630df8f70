//! The observable state before and after a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use terminal_secrets::model::{Class, Level};
use terminal_secrets::vault::Locked;

use crate::support::specimen::{create, root};
use crate::support::values::reveal;
use crate::support::{Sandbox, passphrase, project, secret};

use super::cases::{NEW, OLD};

/// Everything in a directory: names, modes and contents. A directory has no content.
pub type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

pub fn tree(directory: &Path) -> Tree {
    fn walk(directory: &Path, below: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(directory.join(below)).unwrap().map(Result::unwrap) {
            let (name, metadata) = (below.join(entry.file_name()), entry.metadata().unwrap());
            let content = metadata.is_file().then(|| fs::read(entry.path()).unwrap());
            if content.is_none() {
                walk(directory, &name, tree);
            }

            tree.insert(name, (metadata.permissions().mode() & 0o7777, content));
        }
    }

    let mut found = Tree::new();
    walk(directory, Path::new(""), &mut found);
    found
}

/// Restores a directory to an earlier tree.
pub fn restore(sandbox: &Sandbox, tree: &Tree) {
    let directory = sandbox.path("");
    for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
        let remove =
            if entry.file_type().unwrap().is_dir() { fs::remove_dir_all } else { fs::remove_file };
        remove(entry.path()).unwrap();
    }

    for (name, (mode, content)) in tree {
        let path = directory.join(name);
        match content {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }

        fs::set_permissions(path, PermissionsExt::from_mode(*mode)).unwrap();
    }
}

/// Returns the sandbox that a command starts in. The root key of its vault is known, so that checks
/// need no key derivation.
pub fn base(prepare: fn(&Sandbox)) -> Tree {
    let sandbox = Sandbox::with_state_inside();
    let store = create(&sandbox.vault_path());
    let vault = Locked::with_store(Box::new(store)).unlocked(root());

    for (name, tag) in [("default", "key"), ("default", "steady"), ("web", "key"), ("web", "port")]
    {
        vault
            .create(&project(name), secret(tag, format!("{OLD}/{name}/{tag}").as_bytes()))
            .unwrap();
    }

    drop(vault);
    sandbox.write("value", NEW);
    prepare(&sandbox);
    tree(&sandbox.path(""))
}

/// A secret's project, tag, description, class and value.
type StoredSecret = (String, String, Option<String>, Class, Vec<u8>);

/// The observable state: each secret with its metadata and value, and each file that is not a
/// vault's.
#[derive(PartialEq, Debug)]
pub struct State {
    pub secrets: BTreeSet<StoredSecret>,
    /// Each token's name and level, and whether its string was replaced
    pub tokens: Vec<(String, Level, bool)>,
    pub vaults: Vec<PathBuf>,
    pub files: Tree,
}

/// Returns true for files that nobody reads and the next command removes: a journal, the mark that
/// a VACUUM is due, the staged file of an output.
pub fn is_left_behind(name: &Path) -> bool {
    if is_staged(name) {
        return true;
    }

    let name = name.file_name().unwrap().to_str().unwrap();
    [".db-journal", ".db-compact", ".secrets-new"].iter().any(|end| name.ends_with(end))
}

/// Returns true for what a killed command leaves of a new file next to the vault, under a separate
/// name: an `init`'s empty vault, or a copy from before a journal was replayed. The next command
/// that creates such a file removes it if it is an hour old.
pub fn is_staged(name: &Path) -> bool {
    let name = name.file_name().unwrap().to_str().unwrap();
    let made = [
        "-vault.db",
        "-vault.db-journal",
        "-copy.db",
        "-copy.db-journal",
        "-vault.db.before-recovery",
        "-vault.db.before-recovery.journal",
    ];

    name.starts_with('.') && made.iter().any(|end| name.ends_with(end))
}

/// Returns true for checkpoints: they differ with every run, and they are never flushed.
pub fn is_checkpoint(name: &Path) -> bool {
    name.starts_with("state")
}

/// Returns true for a copy of the vault. It differs with every run, and other tests verify it.
fn is_copy(name: &Path) -> bool {
    name.ends_with("copy.db")
}

/// Returns true for a file that `restore` kept because it could not be read as a vault.
pub fn is_kept(name: &Path) -> bool {
    name.to_str().unwrap().starts_with("vault.db.replaced-")
}

pub fn state(sandbox: &Sandbox) -> State {
    let files = tree(&sandbox.path(""));
    let locked = Locked::open(&sandbox.vault_path()).unwrap();

    // After `rekey` the test does not know the root key.
    let known = locked.check_root_key(&root()).is_ok();
    let vault = if known { locked.unlocked(root()) } else { locked.unlock(&passphrase()).unwrap() };
    let tokens = vault.tokens().unwrap().into_iter();
    let tokens = tokens.map(|token| (token.name.to_string(), token.level, token.is_replaced));
    let tokens = tokens.collect();
    let secrets = vault.list(None, |_| true).unwrap().into_iter().map(|found| {
        let (name, tag) =
            (found.project.as_str().to_owned(), found.metadata.tag.as_str().to_owned());
        let value = reveal(&vault, &name, &tag).unwrap().unwrap();
        let description = found.metadata.description.map(|words| words.as_str().to_owned());
        (name, tag, description, found.metadata.class, value)
    });

    let is_vault = |name: &Path| name.ends_with("vault.db");
    State {
        secrets: secrets.collect(),
        tokens,
        vaults: files.keys().filter(|name| is_vault(name)).cloned().collect(),
        files: files
            .into_iter()
            .filter(|(name, (_, content))| {
                content.is_some() && !is_vault(name) && !is_left_behind(name)
            })
            .filter(|(name, _)| !is_checkpoint(name) && !is_copy(name) && !is_kept(name))
            .collect(),
    }
}

/// Returns the names in a directory.
pub fn names(tree: &Tree) -> Vec<&Path> {
    tree.keys().map(PathBuf::as_path).collect()
}
