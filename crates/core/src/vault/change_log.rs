//! The audit log of changes as the rest of the program sees it: reads verified entries, and prunes old
//! ones (docs/format.md, section 5).

use super::audit_log::{AuditLog, VerifiedEntry};
use super::directory::{Directory, DirectoryEdit};
use super::state::State;
use super::{Vault, VaultError};
use crate::crypto::audit::{Action, Admitted, AuditChange, PruneMark};
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, Hash, OWNER, ProjectId, TokenId, VaultId};
use crate::crypto::signing::SIGNATURE;
use crate::model::{ProjectName, Timestamp};
use crate::store::Snapshot;

/// The logs that are read or pruned.
#[derive(Debug, Clone, Copy)]
pub enum LogScope<'a> {
    /// That of one project
    Project(&'a ProjectName),
    /// The vault's own, and those of all projects. It needs the root key, because an agent gives out
    /// no key of the vault's own log.
    All,
    /// Those with these ids. Ids that the vault does not have are passed over. The id of the vault's
    /// own log, zeros, needs the root key.
    Ids(&'a [ProjectId]),
}

/// The one who made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// The owner of the root key
    Owner,
    /// A token
    Token {
        /// Its id
        id: TokenId,
        /// Its name, if the log still has it
        name: Option<String>,
    },
}

/// A verified entry of an audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedChange {
    /// The project, zeros for the vault's own log
    pub pid: ProjectId,
    /// The project's present name; `None` for the vault's own log
    pub project: Option<ProjectName>,
    /// The number of the change, from 1
    pub seq: u64,
    /// The hash by which the next entry names this one
    pub hash: Hash,
    /// The writer's signature
    pub signature: [u8; SIGNATURE],
    /// The one who signed
    pub writer: Writer,
    /// The time that the writer gave
    pub time: Timestamp,
    /// The change
    pub change: AuditChange,
}

/// An audit log that was read up to its end, or up to the first entry that does not verify.
#[derive(Debug)]
pub struct ChangeLog {
    /// The vault
    pub vault_id: VaultId,
    /// The project, zeros for the vault's own log
    pub pid: ProjectId,
    /// The project's name; `None` for the vault's own log
    pub project: Option<ProjectName>,
    /// The number of the first entry: 1, or the one after those that were pruned
    pub begins: u64,
    /// The hash of the last pruned entry
    pub pruned_hash: Option<Hash>,
    /// The last verified entry
    pub last: Option<LoggedChange>,
    /// The number of the first entry that is missing or does not verify
    pub fault: Option<u64>,
    /// The number of the entry that this machine has seen last, if the log does not have it
    pub lost: Option<u64>,
    /// The entries that the caller wanted
    pub entries: Vec<LoggedChange>,
}

/// The result of pruning one log.
#[derive(Debug)]
pub struct PrunedLog {
    /// The project; `None` for the vault's own log
    pub project: Option<ProjectName>,
    /// The number of removed entries, at least 1
    pub removed: u64,
}

impl ChangeLog {
    /// Fails if an entry does not verify.
    pub fn check(&self) -> Result<(), VaultError> {
        match self.fault.or(self.lost) {
            Some(seq) => Err(VaultError::AuditLog { project: self.project.clone(), seq }),
            None => Ok(()),
        }
    }
}

impl Vault {
    /// Reads and verifies audit logs: first the vault's own, then those of projects sorted by name.
    /// Passes each verified entry to `keep`, and returns those for which it is true.
    pub fn change_logs(
        &self,
        scope: LogScope<'_>,
        keep: &mut dyn FnMut(&LoggedChange) -> bool,
    ) -> Result<Vec<ChangeLog>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let mut logs = Vec::new();
        let with_directory = match scope {
            LogScope::Project(_) => false,
            LogScope::All => true,
            LogScope::Ids(pids) => pids.contains(&DIRECTORY),
        };

        if with_directory {
            let directory = Directory::new(self.root_key()?, *state.vault_id());
            let log = directory.audit_log();
            logs.push(read_log(&*snapshot, &log, None, &state.directory, &[], keep)?);
        }

        let projects = match scope {
            LogScope::Project(name) => vec![state.require(&*snapshot, name)?],
            LogScope::All => state.all(&*snapshot)?,
            LogScope::Ids(pids) => {
                let mut all = state.all(&*snapshot)?;
                all.retain(|project| pids.contains(&project.entry.pid));
                all
            }
        };

        for project in projects {
            // Opening a project remembers its present state, so what was seen before is read first.
            let seen = self.seen_entries(&state, &project.entry.pid)?;
            let project = state.open(&*snapshot, project)?;
            let log = AuditLog::of(&project, state.owner)?;
            let name = Some(project.name());
            logs.push(read_log(&*snapshot, &log, name, &project.head, &seen, keep)?);
        }

        Ok(logs)
    }

    /// Returns number and hash of the entries that this machine's checkpoints name.
    fn seen_entries(&self, state: &State, pid: &ProjectId) -> Result<Vec<(u64, Hash)>, VaultError> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(Vec::new()) };
        let seen = checkpoints.last_seen(&state.vault, &*self.access, pid)?;
        Ok(seen.into_iter().map(|seen| (seen.head.seq, seen.audit_head)).collect())
    }

    /// Removes the entries before a time from audit logs, and leaves a signed mark in each. A log
    /// without such entries stays as it is. Needs the root key. Fails if a log does not verify.
    pub fn prune_logs(
        &self,
        scope: LogScope<'_>,
        before: Timestamp,
    ) -> Result<Vec<PrunedLog>, VaultError> {
        let root = self.root_key()?;
        let mut writing = self.writing(|_| ())?;
        let directory = Directory::new(root, *writing.state.vault_id());
        let mut pruned = Vec::new();

        if matches!(scope, LogScope::All) {
            let state = directory.read(&*writing.transaction)?;
            let log = directory.audit_log();
            if let Some(cut) = cut(&*writing.transaction, &log, None, &state.head, before)? {
                let transaction = &mut *writing.transaction;
                let mut edit = DirectoryEdit::new(&directory, state, transaction, Action::Prune);
                edit.prune(cut.mark, cut.removed)?;
                let head = edit.sign()?;
                writing.set_directory(head);
                pruned.push(PrunedLog { project: None, removed: cut.removed });
            }
        }

        let projects = match scope {
            LogScope::Project(name) => vec![writing.state.require(&*writing.transaction, name)?],
            LogScope::All => writing.state.all(&*writing.transaction)?,
            LogScope::Ids(_) => Vec::new(),
        };

        for project in projects {
            let project = writing.state.open(&*writing.transaction, project)?;
            let log = AuditLog::of(&project, writing.state.owner)?;
            let name = project.name().clone();
            let cut = cut(&*writing.transaction, &log, Some(&name), &project.head, before)?;
            if let Some(Cut { mark, removed }) = cut {
                writing.edit(project, Action::Prune, |edit| edit.prune(mark, removed))?;
                pruned.push(PrunedLog { project: Some(name), removed });
            }
        }

        if pruned.is_empty() {
            return Ok(pruned);
        }

        writing.commit()?;
        Ok(pruned)
    }
}

fn read_log(
    snapshot: &dyn Snapshot,
    log: &AuditLog<'_>,
    project: Option<&ProjectName>,
    head: &Head,
    seen: &[(u64, Hash)],
    keep: &mut dyn FnMut(&LoggedChange) -> bool,
) -> Result<ChangeLog, VaultError> {
    let (mut entries, mut last) = (Vec::new(), None);
    let mut found = vec![false; seen.len()];
    let verified = log.verify(snapshot, head, |entry| {
        for (found, seen) in found.iter_mut().zip(seen) {
            *found |= *seen == (entry.seq, entry.hash);
        }

        let change = logged(log.pid, project, &entry);
        if keep(&change) {
            entries.push(change.clone());
        }

        last = Some(change);
    })?;

    // The owner who signed the mark has verified the entries before it.
    let begins = verified.begins();
    let pruned_hash = verified.mark.map(|mark| mark.hash);
    let is_pruned = |(seq, hash): &(u64, Hash)| match begins - 1 {
        last if *seq == last => pruned_hash == Some(*hash),
        last => *seq < last,
    };

    let missing = seen.iter().zip(found).filter(|(seen, found)| !found && !is_pruned(seen));
    Ok(ChangeLog {
        vault_id: *log.vault_id,
        pid: *log.pid,
        project: project.cloned(),
        begins,
        pruned_hash,
        last,
        fault: verified.fault,
        lost: missing.map(|((seq, _), _)| *seq).min(),
        entries,
    })
}

fn logged(
    pid: &ProjectId,
    project: Option<&ProjectName>,
    entry: &VerifiedEntry<'_>,
) -> LoggedChange {
    let VerifiedEntry { seq, signed, hash, signers } = entry;
    let writer = match signed.entry.signer_id {
        OWNER => Writer::Owner,
        id => {
            let name = signers.get(&id).map(|token| token.name.clone());
            Writer::Token { id, name: name.filter(|name| !name.is_empty()) }
        }
    };

    LoggedChange {
        pid: *pid,
        project: project.cloned(),
        seq: *seq,
        hash: *hash,
        signature: signed.sig,
        writer,
        time: Timestamp(signed.entry.time),
        change: signed.entry.change.clone(),
    }
}

/// The beginning of a log that a prune removes.
struct Cut {
    mark: PruneMark,
    removed: u64,
}

/// Returns the longest beginning of a log with entries before a time only, or `None` if it is empty.
/// Entries stay if one before them is later, because only a beginning can be removed.
fn cut(
    snapshot: &dyn Snapshot,
    log: &AuditLog<'_>,
    project: Option<&ProjectName>,
    head: &Head,
    before: Timestamp,
) -> Result<Option<Cut>, VaultError> {
    let mut last: Option<(u64, Hash, Vec<Admitted>)> = None;
    let mut is_old = true;
    let verified = log.verify(snapshot, head, |entry| {
        is_old &= entry.signed.entry.time < before.0;
        if is_old {
            last = Some((entry.seq, entry.hash, entry.signers.values().cloned().collect()));
        }
    })?;

    if let Some(seq) = verified.fault {
        return Err(VaultError::AuditLog { project: project.cloned(), seq });
    }

    Ok(last.map(|(seq, hash, signers)| Cut {
        removed: seq + 1 - verified.begins(),
        mark: PruneMark::new(seq, hash, signers),
    }))
}
