//! Attacks on tokens by somebody who has a token's keys and writes any row of the file. The numbers in
//! comments are those of the review of format 3.
//!
//! Other tests cover these: `agent/message_keys.rs` and `agent/directory.rs` A5 and B3 (no value key
//! and no key of the directory leaves the agent), `agent/signing.rs` A6 and B4 (it signs no head that
//! it did not check), `crypto/history.rs` A4 and B13 (ancestors of zero, numbers far ahead),
//! `attacks/` B12, `checkpoint/` B14 for the owner, `token/restored.rs` A13 and B9,
//! `token/change.rs` a rollback that a token has seen.

use terminal_secrets::crypto::audit::{Action, AuditChange};
use terminal_secrets::crypto::grant::{Grant, GrantedKeys};
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::ids::ProjectId;
use terminal_secrets::crypto::rows::ProjectRow;
use terminal_secrets::crypto::token::{Token, TokenKeys};
use terminal_secrets::model::{Level, SecretBytes, SecretRef, Tag, TokenName};
use terminal_secrets::store::{Change, SqliteStore, Store};
use terminal_secrets::vault::{HeadPlace, Locked, NewToken, TokenAccess, Vault, VaultError, sign};

use crate::support::project;
use crate::support::specimen::{Specimen, VAULT_ID, code};

mod audit;
mod grants;
mod signing;

/// The string of a token, which its holder keeps.
pub struct Held(SecretBytes);

impl Held {
    pub fn token(&self) -> Token {
        Token::parse(&self.0).unwrap()
    }

    pub fn keys(&self) -> TokenKeys {
        self.token().keys(&VAULT_ID)
    }

    /// Opens the grant, as code that has the token does.
    fn grant(&self, specimen: &Specimen) -> Grant {
        let store = SqliteStore::open(&specimen.path()).unwrap();
        let row = store.read().unwrap().grant(&self.keys().id).unwrap().unwrap();
        Grant::open(&self.keys().kek, &VAULT_ID, &row).unwrap()
    }

    fn vault(&self, specimen: &Specimen) -> Vault {
        Locked::open(&specimen.path()).unwrap().unlocked(TokenAccess::new(self.token(), VAULT_ID))
    }

    /// Opens the vault with the token's checkpoints in the specimen's directory.
    fn remembering(&self, specimen: &Specimen) -> Vault {
        let path = specimen.path();
        let state = specimen.directory().join("state/anchors");
        let locked = Locked::open(&path).unwrap().with_checkpoints(&state);
        locked.unlocked(TokenAccess::new(self.token(), VAULT_ID))
    }
}

pub fn name(text: &str) -> TokenName {
    TokenName::parse(text).unwrap()
}

pub fn tags(words: &[&str]) -> Vec<Tag> {
    words.iter().map(|word| Tag::parse(word).unwrap()).collect()
}

/// Creates a token of project `alpha`.
pub fn create(specimen: &Specimen, of: &str, level: Level, only: Option<&[&str]>) -> Held {
    try_create(specimen, of, level, only).unwrap()
}

fn try_create(
    specimen: &Specimen,
    of: &str,
    level: Level,
    only: Option<&[&str]>,
) -> Result<Held, VaultError> {
    let (alpha, only) = (project("alpha"), only.map(tags));
    let new = NewToken {
        name: name(of),
        level,
        project: &alpha,
        only: only.as_deref(),
        is_restricted_allowed: false,
        is_strict: false,
        expires: None,
    };
    Ok(Held(specimen.vault()?.create_token(&new)?.0.text()))
}

pub fn list(vault: &Vault) -> Result<usize, VaultError> {
    vault.list(Some(&project("alpha")), |_| true).map(|secrets| secrets.len())
}

pub fn get(vault: &Vault, tag: &str) -> Result<(), VaultError> {
    vault.get(&project("alpha"), &SecretRef::Tag(Tag::parse(tag).unwrap())).map(drop)
}

#[track_caller]
pub fn fails<T>(outcome: Result<T, VaultError>, expected: u8) {
    match outcome {
        Ok(_) => panic!("the attack succeeded"),
        Err(error) => assert_eq!(code(&error), expected, "{error}"),
    }
}

/// Signs the next head of the grant's project with a token's key and writes it, whoever may sign.
fn forge(specimen: &Specimen, held: &Held, grant: &Grant, edit: impl FnOnce(&mut Head)) {
    let GrantedKeys::Project(ring) = &grant.project.keys else { panic!("a set") };
    let (pid, keys) = (grant.project.pid, held.keys());
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let mut rows = store.write().unwrap();
    let row = rows.project(&pid).unwrap().unwrap();
    let before = Head::open(&ring.head_key(&pid), &VAULT_ID, &row).unwrap();
    let hash = before.hash(&VAULT_ID, &pid, row.epoch);
    let ancestors = before.ancestors.then(&hash);
    let mut forged = Head { seq: before.seq + 1, signer_id: keys.id, ancestors, ..before };
    edit(&mut forged);

    let place = HeadPlace { vault_id: &VAULT_ID, pid: &pid, epoch: row.epoch };
    let signed = sign(place, forged, AuditChange::new(Action::Update), &keys.signer);
    let sealed = signed.head.seal(&ring.head_key(&pid), &VAULT_ID, &pid, row.epoch).unwrap();
    let next = ProjectRow { head: sealed, sig: signed.sig.to_vec(), ..row };
    rows.apply(Change::Project(&next)).unwrap();
    let (seq, epoch) = (signed.head.seq, next.epoch);
    let entry = signed.entry.seal(&ring.audit_key(&pid), &VAULT_ID, &pid, seq, epoch).unwrap();
    rows.apply(Change::Audit(&pid, &entry)).unwrap();
    rows.commit().unwrap();
}

/// Puts back a project's policy from another copy of the vault, and returns its hash.
fn put_back_policy(from: &Specimen, to: &Specimen, grant: &Grant) -> [u8; 32] {
    let pid: ProjectId = grant.project.pid;
    let (old, new) = [from, to].map(|of| SqliteStore::open(&of.path()).unwrap()).into();
    let row = old.read().unwrap().policy(&pid).unwrap().unwrap();
    let mut rows = new.write().unwrap();
    rows.apply(Change::Policy(&pid, &row)).unwrap();
    rows.commit().unwrap();

    let key = grant.project.keys.policy_key(&pid);
    let policy =
        terminal_secrets::crypto::policy::Policy::open(&key, &grant.owner, &VAULT_ID, &pid, &row);
    policy.unwrap().hash(&VAULT_ID, &pid)
}
