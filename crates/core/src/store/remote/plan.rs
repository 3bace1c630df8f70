//! Decides what to ask a server for, given the rows that the cache has.

use super::super::sqlite::SqliteTransaction;
use super::super::{Extent, Snapshot, StoreError, Want};
use super::message::{Ask, KnownHead, Scope};
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId};

/// The number of projects whose heads are confirmed before it is known which of them is wanted.
const FEW: usize = 8;

/// Rows to ask for.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) scope: Scope,
    pub(super) asks: Vec<Ask>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.scope == Scope::default() && self.asks.is_empty()
    }

    /// Returns true if the cache probably has everything, and the server only has to confirm that.
    pub(super) fn confirms_heads(&self) -> bool {
        self.asks.is_empty()
            && self.scope.is_known()
            && self.scope.known.iter().all(|known| !known.sig.is_empty())
    }

    /// Returns true if the caller has a head of the project.
    pub(super) fn knows(&self, pid: &ProjectId) -> bool {
        self.scope.known.iter().any(|known| known.pid == *pid && !known.sig.is_empty())
    }

    /// Adds a project's head.
    pub(super) fn head(
        &mut self,
        cache: &SqliteTransaction<'_>,
        pid: &ProjectId,
        extent: Extent,
    ) -> Result<(), StoreError> {
        if let Some(known) = self.scope.known.iter_mut().find(|known| known.pid == *pid) {
            known.extent = known.extent.max(extent);
            return Ok(());
        }

        let sig = cache.project(pid)?.map(|row| row.sig).unwrap_or_default();

        // The hashes of its buckets show first which part of a large project has changed.
        let extent = if sig.is_empty() { extent } else { extent.min(Extent::IfSmall) };
        let last_entry = cache.last_entry(pid)?;
        self.scope.known.push(KnownHead { pid: *pid, sig, last_entry, extent });
        Ok(())
    }

    /// Adds what a caller wants and the cache may not have.
    pub(super) fn want(
        &mut self,
        cache: &SqliteTransaction<'_>,
        want: &Want<'_>,
    ) -> Result<(), StoreError> {
        match want {
            Want::Directory => self.head(cache, &DIRECTORY, Extent::IfSmall)?,
            Want::Entries(indexes, extent) => {
                self.head(cache, &DIRECTORY, Extent::IfSmall)?;
                for index in *indexes {
                    self.entry(cache, index, *extent)?;
                }
            }
            Want::AllProjects(extent) => self.all(cache, *extent)?,
            Want::Projects(pids, extent) => {
                for pid in *pids {
                    self.head(cache, pid, *extent)?;
                }
            }
            Want::Records { pid, indexes, values } => {
                self.head(cache, pid, Extent::IfSmall)?;
                self.indexes(cache, pid, indexes, *values)?;
            }
            Want::Ids(rids) => self.ids(cache, rids)?,
            Want::Values(rids) => self.values(cache, rids)?,
            Want::Grants => self.asks.push(Ask::Grants),
            Want::Grant(token_id) => {
                self.asks.push(Ask::Grant(**token_id));

                // A token has one project, which its grant names. It is probably one of these.
                let pids = cache.cached_projects()?;
                if pids.len() <= FEW {
                    pids.iter().try_for_each(|pid| self.head(cache, pid, Extent::IfSmall))?;
                }
            }
        }

        Ok(())
    }

    /// Adds an entry of the directory, and its project.
    fn entry(
        &mut self,
        cache: &SqliteTransaction<'_>,
        index: &[u8; 16],
        extent: Extent,
    ) -> Result<(), StoreError> {
        let pid = match cache.record(&DIRECTORY, index)? {
            Some(record) => cache.project_of(record.rid)?,
            None => None,
        };

        match pid {
            Some(pid) if extent >= Extent::Head => self.head(cache, &pid, extent)?,
            Some(_) => {}
            None => {
                self.scope.entries.push((*index, extent));
                self.indexes(cache, &DIRECTORY, &[*index], true)?;
            }
        }

        Ok(())
    }

    fn all(&mut self, cache: &SqliteTransaction<'_>, extent: Extent) -> Result<(), StoreError> {
        // The directory is wanted whole, because its records are the projects.
        let extent_of = |pid: &ProjectId| if *pid == DIRECTORY { Extent::Values } else { extent };
        for pid in cache.cached_projects()? {
            self.head(cache, &pid, extent_of(&pid))?;
        }

        if extent == Extent::Everything {
            let logs = cache.cached_projects()?.into_iter();
            self.asks.extend(logs.map(|pid| Ask::Audit(pid, 0)));
        }

        self.head(cache, &DIRECTORY, Extent::Values)?;
        self.scope.all = Some(self.scope.all.map_or(extent, |before| before.max(extent)));
        Ok(())
    }

    /// Adds the buckets of these indexes, and the values of the records there, if the cache does not
    /// have them.
    fn indexes(
        &mut self,
        cache: &SqliteTransaction<'_>,
        pid: &ProjectId,
        indexes: &[[u8; 16]],
        values: bool,
    ) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for index in indexes {
            let has_value = || match cache.record(pid, index)? {
                Some(record) => cache.has_value(record.rid),
                None => Ok(true),
            };

            // Without a head, the cache has no hashes either, and every bucket would be complete.
            let is_known = cache.project(pid)?.is_some() && cache.is_complete(pid, index[0])?;
            if !is_known || values && !has_value()? {
                missing.push(*index);
            }
        }

        if !missing.is_empty() {
            self.asks.push(Ask::Indexes { pid: *pid, indexes: missing, values });
        }

        Ok(())
    }

    fn ids(&mut self, cache: &SqliteTransaction<'_>, rids: &[RecordId]) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for rid in rids {
            match cache.locate(rid)? {
                Some((pid, index)) => {
                    self.head(cache, &pid, Extent::IfSmall)?;
                    self.indexes(cache, &pid, &[index], true)?;
                }
                None => missing.push(*rid),
            }
        }

        if !missing.is_empty() {
            self.scope.ids.extend(&missing);
            self.asks.push(Ask::Ids(missing));
        }

        Ok(())
    }

    fn values(
        &mut self,
        cache: &SqliteTransaction<'_>,
        rids: &[RecordId],
    ) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for rid in rids {
            if !cache.has_value(*rid)? {
                missing.push(*rid);
            }
        }

        if !missing.is_empty() {
            self.asks.push(Ask::Values(missing));
        }

        Ok(())
    }
}
