//! Many processes use one vault: nothing is lost, no reader sees a false alarm, a killed writer
//! leaves the old state or the new one, and deleted bytes disappear from the file.

use std::path::Path;
use std::process::{Child, Stdio};

use terminal_secrets::model::ProjectName;
use terminal_secrets::vault::{Locked, Vault};

use crate::support::specimen::{create, root};
use crate::support::{Sandbox, project};

mod crowds;
mod dead_bytes;
mod kills;

/// Returns a vault whose root key is known, so a thread opens it without a key derivation.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    create(&sandbox.vault_path());
    sandbox
}

fn open(path: &Path) -> Vault {
    Locked::open(path).unwrap().unlocked(root())
}

fn default() -> ProjectName {
    project("default")
}

fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = sandbox.command(arguments).command;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}
