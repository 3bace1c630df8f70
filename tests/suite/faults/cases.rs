//! The commands that get faults, each with its start.

use std::path::PathBuf;

use terminal_secrets::model::{Description, Level, TokenName};
use terminal_secrets::vault::{Locked, NewToken, SecretChanges};

use crate::support::files::passphrase_file;
use crate::support::specimen::root;
use crate::support::{PASSPHRASE, Sandbox, project};

use super::states::{base, restore};
use super::trace::{Call, Fault, What, traced};

/// The stored value, the one that replaces it, and the text that no message may contain a piece of.
pub const OLD: &str = "0ldV4lue-qWmZrTbXnKcLpHsJdFgVyUiOeAaSxCvBn";
pub const NEW: &str = "n3wV4lue-MzLaKsJdHfGqPwOeIrUtYvXcBnQmWnEbT";

/// A command that is faulted. To add one, add a line to [`CASES`].
pub struct Case {
    /// Its arguments. The file `value` holds the new value, and `@` stands for the sandbox
    pub line: &'static str,
    /// Creates the files that the sandbox holds in addition to the vault
    pub prepare: fn(&Sandbox),
}

impl Case {
    pub fn words(&self, sandbox: &Sandbox) -> Vec<String> {
        let path = |word: &str| {
            word.strip_prefix('@').map(|name| sandbox.path(name).display().to_string())
        };

        self.line.split(' ').map(|word| path(word).unwrap_or_else(|| word.to_owned())).collect()
    }
}

pub const CASES: &[Case] = &[
    Case { line: "create --tag new --value-file value", prepare: nothing },
    Case { line: "update key --value-file value", prepare: nothing },
    Case { line: "update key --description words", prepare: nothing },
    Case { line: "access key --restricted", prepare: nothing },
    Case { line: "token create ci --level manage", prepare: nothing },
    Case { line: "token update ci --level read", prepare: token },
    Case { line: "token rotate ci", prepare: token },
    Case { line: "token revoke ci --yes --keep-keys", prepare: token },
    Case { line: "token revoke --all --yes", prepare: token },
    Case { line: "token bundle ci @copy.db", prepare: token },
    Case { line: "rename key other-key", prepare: nothing },
    Case { line: "delete key --yes", prepare: nothing },
    Case { line: "clone --all --to other", prepare: nothing },
    Case { line: "clone key --to web --on-conflict overwrite", prepare: nothing },
    Case { line: "import given.env --on-conflict overwrite", prepare: given },
    Case { line: "project rename web site", prepare: nothing },
    Case { line: "project delete web --yes", prepare: nothing },
    Case { line: "compact", prepare: nothing },
    Case {
        line: "init --vault deep/er/vault.db --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1",
        prepare: nothing,
    },
    Case { line: "render template -o @out", prepare: template },
    Case { line: "render template -o @out", prepare: template_over_an_output },
    Case { line: "passwd --new-passphrase-file same --kdf-iterations 2", prepare: same_passphrase },
    Case { line: "recovery create", prepare: nothing },
    Case { line: "rekey --yes", prepare: nothing },
    Case { line: "rekey --project web --yes", prepare: nothing },
    Case { line: "backup @copy.db", prepare: nothing },
    Case { line: "backup @copy.db --replace", prepare: backup },
    Case { line: "restore @copy.db --yes", prepare: backup },
    Case { line: "salvage @copy.db", prepare: nothing },
    // A killed writer left a journal. Reading rolls it back first.
    Case { line: "list --all-projects", prepare: half_written },
    Case { line: "update key --value-file value", prepare: half_written },
];

fn nothing(_: &Sandbox) {}

/// Returns the sandbox's directory without a slash at its end.
pub fn directory(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("").components().collect()
}

fn given(sandbox: &Sandbox) {
    sandbox.write("given.env", format!("KEY={NEW}\nANOTHER={NEW}\n"));
}

fn same_passphrase(sandbox: &Sandbox) {
    passphrase_file(sandbox, "same", PASSPHRASE);
}

/// Creates a copy of the vault as it was before its last change.
fn backup(sandbox: &Sandbox) {
    let vault = Locked::open(&sandbox.vault_path()).unwrap().unlocked(root());
    vault.backup(&sandbox.path("copy.db"), false, &|_| {}).unwrap();
    let changes = SecretChanges {
        description: Some(Description::parse("later").unwrap()),
        ..SecretChanges::default()
    };

    vault.update(&project("web"), &"port".parse().unwrap(), None, changes).unwrap();
}

fn token(sandbox: &Sandbox) {
    let vault = Locked::open(&sandbox.vault_path()).unwrap().unlocked(root());
    let web = project("web");
    let new = NewToken::new(TokenName::parse("ci").unwrap(), Level::Use, &web);
    vault.create_token(&new).unwrap();
}

fn template(sandbox: &Sandbox) {
    sandbox.write("template", "K={{ KEY }}\n");
}

fn template_over_an_output(sandbox: &Sandbox) {
    template(sandbox);
    sandbox.write("out", "what was rendered before");
}

/// Leaves the vault as a writer does that was killed when half of its pages were written.
fn half_written(sandbox: &Sandbox) {
    let case = Case { line: "update key --value-file value", prepare: nothing };
    let trace = traced(sandbox, &case, None);
    restore(sandbox, &base(case.prepare));
    let synced =
        |call: &Call| call.name == "fsync" && call.on().is_some_and(|on| on.ends_with("vault.db"));

    let at = trace.calls.iter().find(|call| synced(call)).unwrap();
    let trace = traced(
        sandbox,
        &case,
        Some(&Fault { call: at.name.clone(), when: at.ordinal, what: What::Kill }),
    );

    assert!(
        trace.killed && sandbox.path("vault.db-journal").exists(),
        "{:?} {:?} {:?}",
        trace.killed,
        trace.code,
        trace.calls.last()
    );
}
