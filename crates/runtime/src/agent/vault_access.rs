//! The client of an agent as the owner: it asks the agent for what only the root key can do.
//!
//! What the agent answers is checked against the vault's rows before anything is written, see
//! `answers`.

use std::rc::Rc;
use std::thread::sleep;
use std::time::Instant;

use secrets_core::codec::Reader;
use secrets_core::crypto::CryptoError;
use secrets_core::crypto::aead::{Key, MessageKey, SALT};
use secrets_core::crypto::head::Head;
use secrets_core::crypto::ids::{DIRECTORY, VaultId};
use secrets_core::crypto::keyring::Keyring;
use secrets_core::crypto::project_entry::ProjectEntry;
use secrets_core::crypto::rows::ProjectRow;
use secrets_core::crypto::signing::PublicKey;
use secrets_core::model::ProjectName;
use secrets_core::store::{Extent, RowSet, Snapshot, Transaction, Want, decode_changes};
use secrets_core::vault::{
    ChangedDirectory, DIRECTORY_NAME, DirectoryChange, KeyServiceError, OpenedDirectory,
    OpenedProject, SignRequest, SignedHead, VaultAccess, VaultError, WantedKey,
};

use super::answers::{AskedChange, ChangeCheck, KnownDirectory, is_at, signed};
use super::client::Client;
use super::connection::PAUSE;
use super::protocol::{
    AgentFault, Answer, ChangeKind, MAX_FRAME, MAX_NAMES, ProjectFrame, Request, SignFrame,
};

/// The number of bytes of a request that its rows may take.
const ROOM: usize = MAX_FRAME - 8 * 1024;

/// The number of values whose keys are asked for at once, so that request and answer fit into frames.
const KEYS_AT_ONCE: usize = 800;

impl From<Client> for Rc<dyn VaultAccess> {
    fn from(client: Client) -> Self {
        Rc::new(client)
    }
}

impl VaultAccess for Client {
    fn directory(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
    ) -> Result<OpenedDirectory, VaultError> {
        let known = self.ask_for_directory(vault_id, &RowSet::read(rows)?)?;
        let KnownDirectory { head, epoch, owner } = known.clone();
        self.known.replace(Some(known));
        Ok(OpenedDirectory { head, epoch, owner })
    }

    fn directory_of_copy(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
    ) -> Result<OpenedDirectory, VaultError> {
        let known = self.ask_for_directory(vault_id, &RowSet::read_copy(rows)?)?;
        let KnownDirectory { head, epoch, owner } = known;
        Ok(OpenedDirectory { head, epoch, owner })
    }

    fn indexes(&self, names: &[&ProjectName]) -> Result<Vec<[u8; 16]>, VaultError> {
        let mut indexes = Vec::with_capacity(names.len());
        for names in names.chunks(MAX_NAMES) {
            let bytes = names.iter().map(|name| name.as_str().as_bytes()).collect();
            let request = Request::Index { path: &self.vault, names: bytes };
            self.ask(&request, |answer| match answer {
                Answer::Bytes(bytes) if bytes.len() == 16 * names.len() => {
                    indexes.extend(bytes.as_chunks().0);
                    Ok(())
                }
                other => Err(failed(other)),
            })?;
        }

        Ok(indexes)
    }

    fn at(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
        indexes: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        rows.fetch(&[Want::Entries(indexes, Extent::Entry)])?;
        let empty = RowSet::read(rows)?;
        let mut found = Vec::with_capacity(indexes.len());
        let mut rest = indexes;
        while !rest.is_empty() {
            // As many projects are opened at once as fit into a frame.
            let (mut request, mut count) = (empty.clone(), 0);
            for index in rest.iter().take(MAX_NAMES) {
                let mut larger = request.clone();
                larger.add(rows, index)?;
                if count > 0 && larger.size() > ROOM {
                    break;
                }

                (request, count) = (larger, count + 1);
            }

            let (now, later) = rest.split_at(count);
            found.extend(self.open(vault_id, &request, now)?);
            rest = later;
        }

        Ok(found)
    }

    fn message_keys(
        &self,
        _: &VaultId,
        project: &OpenedProject,
        wanted: &[WantedKey],
    ) -> Result<Vec<MessageKey>, VaultError> {
        let mut keys = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(KEYS_AT_ONCE) {
            let (path, ticket) = (&self.vault, &project.ticket);
            let request = Request::MessageKeys { path, ticket, wanted: wanted.to_vec() };
            self.ask(&request, |answer| match answer {
                Answer::MessageKeys(bytes) => {
                    let first = keys.len();
                    let (pairs, _) = bytes.as_chunks::<{ SALT + MessageKey::SIZE }>();
                    keys.extend(pairs.iter().filter_map(message_key));
                    let given = keys.iter().skip(first).zip(wanted);
                    let is_right = |(key, wanted): (&MessageKey, &WantedKey)| {
                        wanted.salt.is_none_or(|salt| salt == *key.salt())
                    };

                    let all = keys.len() - first == wanted.len();
                    if all && given.clone().all(is_right) { Ok(()) } else { Err(invalid()) }
                }
                other => Err(failed(other)),
            })?;
        }

        Ok(keys)
    }

    fn sign(&self, vault_id: &VaultId, request: SignRequest<'_>) -> Result<SignedHead, VaultError> {
        let SignRequest { project, previous, policy, head, change } = &request;
        let entry = &project.entry;
        let (head, change) = (head.encode(vault_id, &entry.pid, entry.epoch), change.encode());
        let frame = Request::Sign(Box::new(SignFrame {
            path: &self.vault,
            ticket: &project.ticket,
            previous: (*previous).clone(),
            policy: policy.cloned(),
            head: &head,
            change: &change,
        }));

        let owner = self.known()?.owner;
        self.ask(&frame, |answer| match answer {
            Answer::Signed { .. } => signed(&owner, vault_id, &request, answer).ok_or_else(invalid),
            Answer::Failed(AgentFault::ProjectRolledBack) => {
                Err(KeyServiceError::RolledBack(Some(entry.name.clone())).into())
            }
            other => Err(failed(other)),
        })
    }

    fn change(
        &self,
        vault_id: &VaultId,
        rows: &mut dyn Transaction,
        change: DirectoryChange<'_>,
    ) -> Result<ChangedDirectory, VaultError> {
        let (kind, names) = match change {
            DirectoryChange::Add(names) => (ChangeKind::Add, names.to_vec()),
            DirectoryChange::Rename { from, to } => (ChangeKind::Rename, vec![from, to]),
            DirectoryChange::Delete(names) => (ChangeKind::Delete, names.to_vec()),
        };

        let mut outcome: Option<ChangedDirectory> = None;
        let mut rest = names.as_slice();
        while !rest.is_empty() || outcome.is_none() {
            let (indexes, request) = self.part(rows, kind, rest)?;
            let (now, later) = rest.split_at(indexes.len());
            let asked = AskedChange { kind, names: now, indexes: &indexes };
            let changed = self.change_some(vault_id, rows, asked, &request)?;
            outcome = Some(match outcome {
                None => changed,
                Some(mut all) => {
                    all.head = changed.head;
                    all.added.extend(changed.added);
                    all
                }
            });

            rest = later;
        }

        outcome.ok_or_else(|| KeyServiceError::Internal("nothing was changed").into())
    }

    fn show_head(
        &self,
        _: &VaultId,
        project: &OpenedProject,
        row: &ProjectRow,
    ) -> Result<(), VaultError> {
        let (path, ticket) = (&self.vault, &project.ticket);
        let request = Request::Head { path, ticket, row: row.clone() };
        self.ask(&request, |answer| match answer {
            Answer::Done(true) => Ok(()),
            Answer::Failed(AgentFault::ProjectRolledBack) => {
                let name = Some(project.entry.name.clone());
                Err(KeyServiceError::RolledBack(name).into())
            }
            other => Err(failed(other)),
        })
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        if let Some(key) = self.checkpoint_key.get() {
            return Ok(Key::copy_of(key.expose()));
        }

        let key =
            self.ask(&Request::CheckpointKey { path: &self.vault }, |answer| match answer {
                Answer::Bytes(key) => (*key).try_into().map(Key::copy_of).map_err(|_| invalid()),
                other => Err(failed(other)),
            })?;

        let _ = self.checkpoint_key.set(Key::copy_of(key.expose()));
        Ok(key)
    }
}

impl Client {
    fn ask_for_directory(
        &self,
        vault_id: &VaultId,
        rows: &RowSet,
    ) -> Result<KnownDirectory, VaultError> {
        let (row, rows) = (rows.project(&DIRECTORY)?, rows.encode());
        let request = Request::Directory { path: &self.vault, vault_id: *vault_id, rows: &rows };
        self.ask(&request, |answer| match (answer, &row) {
            (Answer::Directory { epoch, owner, head }, Some(row)) => {
                let known = KnownDirectory::of(vault_id, row, *epoch, PublicKey::new(*owner), head);
                known.ok_or_else(invalid)
            }
            (other, _) => Err(failed(other)),
        })
    }

    /// Asks one question on the connection, which is made again if the agent has closed it.
    fn ask<T>(
        &self,
        request: &Request<'_>,
        mut take: impl FnMut(&Answer<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let kept = self.connection.take();
        let mut is_kept = kept.is_some();
        let deadline = Instant::now() + self.timeout;
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect(deadline)?,
        };

        let mut frame = connection.ask(request);
        while frame.is_err() && connection.closed && (is_kept || Instant::now() + PAUSE < deadline)
        {
            // The agent closes a connection that is idle, so the first attempt follows at once.
            if !is_kept {
                sleep(PAUSE);
            }

            is_kept = false;
            connection = self.connect(deadline)?;
            frame = connection.ask(request);
        }

        let frame = frame?;
        let taken = take(&frame.decoded()?);
        self.connection.replace(Some(connection));
        taken
    }

    fn open(
        &self,
        vault_id: &VaultId,
        rows: &RowSet,
        indexes: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        let (path, encoded) = (&self.vault, rows.encode());
        let request = Request::Open {
            path,
            vault_id: *vault_id,
            rows: &encoded,
            indexes: indexes.as_flattened(),
        };

        self.ask(&request, |answer| match answer {
            Answer::Projects(all) if all.len() == indexes.len() => {
                let mut projects = Vec::with_capacity(all.len());
                for (frame, index) in all.iter().zip(indexes) {
                    let project = frame.as_ref().map(opened).transpose()?;
                    if !is_at(rows, index, project.as_ref())? {
                        return Err(invalid());
                    }

                    projects.push(project);
                }

                Ok(projects)
            }
            other => Err(failed(other)),
        })
    }

    /// Returns the indexes of the names that fit into one request, and the rows that it needs.
    fn part(
        &self,
        rows: &dyn Snapshot,
        kind: ChangeKind,
        names: &[&ProjectName],
    ) -> Result<(Vec<[u8; 16]>, RowSet), VaultError> {
        let mut indexes = self.indexes(&names[..names.len().min(MAX_NAMES)])?;
        rows.fetch(&[Want::Entries(&indexes, Extent::Entry)])?;
        let (mut request, mut count) = (RowSet::read(rows)?, 0);
        for index in &indexes {
            let mut larger = request.clone();
            larger.add(rows, index)?;
            if count > 0 && kind != ChangeKind::Rename && larger.size() > ROOM / 2 {
                break;
            }

            (request, count) = (larger, count + 1);
        }

        indexes.truncate(count);
        Ok((indexes, request))
    }

    fn change_some(
        &self,
        vault_id: &VaultId,
        rows: &mut dyn Transaction,
        asked: AskedChange<'_>,
        request: &RowSet,
    ) -> Result<ChangedDirectory, VaultError> {
        let (encoded, names, before) = (request.encode(), asked.names, self.known()?);
        let frame = Request::Change {
            path: &self.vault,
            vault_id: *vault_id,
            rows: &encoded,
            kind: asked.kind,
            names: names.iter().map(|name| name.as_str().as_bytes()).collect(),
        };

        let name = || names.first().copied().cloned();
        self.ask(&frame, |answer| match (answer, name()) {
            (Answer::Changed { head, added, changes }, _) => {
                let head = Head::decode_for(head, vault_id, &DIRECTORY, before.epoch);
                let head = head.ok_or_else(invalid)?;
                let added = added.iter().flatten().map(opened).collect::<Result<Vec<_>, _>>()?;
                let mut reader = Reader::new(changes);
                let changes = decode_changes(&mut reader).and_then(|all| reader.finish(all));
                let changes = changes.ok_or_else(invalid)?;

                ChangeCheck::new(vault_id, &before, asked, request, &head, &added)?
                    .apply(&changes, rows)?;
                self.known.replace(Some(KnownDirectory { head: head.clone(), ..before.clone() }));
                Ok(ChangedDirectory { head, added })
            }
            (Answer::Failed(AgentFault::NoProject), Some(name)) => {
                Err(VaultError::NoProject { name, nearest: None })
            }
            (Answer::Failed(AgentFault::ProjectExists), _) => Err(VaultError::ProjectExists(
                names.last().copied().cloned().ok_or(KeyServiceError::InvalidResponse)?,
            )),
            (Answer::Failed(AgentFault::TooManyProjects), _) => Err(VaultError::TooManyProjects),
            (other, _) => Err(failed(other)),
        })
    }

    /// Returns the directory that was read last.
    fn known(&self) -> Result<KnownDirectory, VaultError> {
        let unread = KeyServiceError::Internal("the list of projects was not read before a change");
        self.known.borrow().clone().ok_or_else(|| unread.into())
    }
}

/// Returns the error for an answer that does not match the request.
fn failed(answer: &Answer<'_>) -> VaultError {
    match answer {
        Answer::Failed(AgentFault::Directory) => CryptoError::Damaged(DIRECTORY_NAME).into(),
        Answer::Failed(AgentFault::Newer) => CryptoError::Newer(DIRECTORY_NAME).into(),
        other => other.unexpected().into(),
    }
}

fn invalid() -> VaultError {
    KeyServiceError::InvalidResponse.into()
}

fn opened(frame: &ProjectFrame<'_>) -> Result<OpenedProject, VaultError> {
    let entry = ProjectEntry::from_bytes(frame.entry).map_err(|_| invalid())?;
    let keys = Keyring::decode(frame.keys).map_err(|_| invalid())?;
    Ok(OpenedProject { ticket: frame.ticket.into(), ..OpenedProject::new(entry, keys) })
}

fn message_key(pair: &[u8; SALT + MessageKey::SIZE]) -> Option<MessageKey> {
    let (salt, key) = pair.split_first_chunk()?;
    Some(MessageKey::copy_of(*salt, key.try_into().ok()?))
}
