//! Reads of a vault on a server.

use std::sync::Arc;

use super::super::sqlite::{SqliteStore, SqliteTransaction};
use super::super::{Inspection, OrphanRows, Snapshot, StoreError, Want};
use super::ServerError;
use super::confirm::{RECORDS, not_cached};
use super::message::Ask;
use super::plan::Plan;
use super::snapshot::{Mode, RemoteSnapshot};
use crate::crypto::ids::{Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::tree::Leaf;

impl Snapshot for RemoteSnapshot<'_> {
    fn outdated(&self) -> Option<StoreError> {
        match &self.state.borrow().mode {
            Mode::Offline(cause) => Some(not_cached(cause.as_ref())),
            _ => None,
        }
    }

    fn fetch(&self, wants: &[Want<'_>]) -> Result<(), StoreError> {
        if self.everything.get().is_some() || self.is_replaced() {
            return Ok(());
        }

        let plan = |cache: &SqliteTransaction<'_>| {
            let mut plan = Plan::default();
            for want in wants {
                plan.want(cache, want)?;
            }

            Ok(plan)
        };

        match self.ask(plan) {
            Err(error @ StoreError::Server(ServerError::Unreachable(_)))
                if self.may_fall_back() =>
            {
                self.state.borrow_mut().mode = Mode::Offline(Some(Arc::new(error)));
                self.ask(plan)
            }
            asked => asked,
        }
    }

    fn accept(&self, pid: &ProjectId) {
        self.state.borrow().accepted.borrow_mut().insert(*pid);
    }

    #[allow(clippy::redundant_closure_for_method_calls)] // the method has too narrow a lifetime
    fn vault(&self) -> Result<VaultRow, StoreError> {
        self.need_vault()?;
        self.read(|| Ok(true), None, |rows| rows.cached_vault())?
            .ok_or(StoreError::Damaged("own row"))
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.need_vault()?;
        self.read(|| Ok(true), Vec::new(), |rows| rows.slots())
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        self.read(|| self.need_head(pid), None, |rows| rows.project(pid))
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        self.fetch(&[Want::Grants])?;
        self.read(|| Ok(true), Vec::new(), |rows| rows.grants())
    }

    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        self.fetch(&[Want::Grant(token_id)])?;
        self.read(|| Ok(true), None, |rows| rows.grant(token_id))
    }

    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        self.read(|| self.need_head(pid), None, |rows| rows.policy(pid))
    }

    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        let need = || {
            let has_log = self.state.borrow().logs.get(pid).is_some_and(|first| *first <= from);
            if !has_log && !self.is_replaced() && self.need_head(pid)? && !self.is_changing_log(pid)
            {
                self.require_server()?;
                let ask = || Plan { asks: vec![Ask::Audit(*pid, from)], ..Plan::default() };
                self.ask(|_| Ok(ask()))?;
            }

            Ok(true)
        };

        self.read(need, (), |rows| rows.audit(pid, from, visit))
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        self.read(|| self.need_head(pid), Vec::new(), |rows| rows.buckets(pid))
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        let need = || {
            self.need_buckets(pid, &[bucket])?;
            self.need_head(pid)
        };

        self.read(need, Vec::new(), |rows| rows.leaves(pid, bucket))
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        let need = || {
            self.need_buckets(pid, &[tag_ix[0]])?;
            self.need_head(pid)
        };

        self.read(need, None, |rows| rows.record(pid, tag_ix))
    }

    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        let need = || {
            let is_present = self.need_head(pid)?;
            if is_present {
                let missing = self.cache()?.incomplete(pid)?;
                self.need_buckets(pid, &missing)?;
                if self.state.borrow().damaged.iter().any(|(of, _)| of == pid) {
                    return Err(RECORDS);
                }
            }

            Ok(is_present)
        };

        self.read(need, (), |rows| rows.records(pid, visit))
    }

    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        if let Some(everything) = self.everything.get() {
            return everything.reading()?.locate(rid);
        }

        let cached = self.cache()?.locate(rid)?;
        if self.is_replaced() {
            return Ok(cached);
        }

        if let Some((pid, index)) = cached
            && self.need_head(&pid)?
            && self.cache()?.is_complete(&pid, index[0])?
        {
            return Ok(cached);
        }

        if let Some(located) = self.state.borrow().located.get(rid) {
            return Ok(*located);
        }

        self.require_server()?;
        self.ask(|_| Ok(Plan { asks: vec![Ask::Located(vec![*rid])], ..Plan::default() }))?;
        Ok(self.state.borrow().located.get(rid).copied().flatten())
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        let need = || {
            if self.cache()?.has_value(*rid)? || self.is_replaced() {
                return Ok(true);
            }

            self.require_server()?;
            let located = self.cache()?.locate(rid)?;
            match located {
                Some(_) => self
                    .ask(|_| Ok(Plan { asks: vec![Ask::Values(vec![*rid])], ..Plan::default() }))?,
                // Only the record tells whether a value is the right one.
                None => self.fetch(&[Want::Ids(&[*rid])])?,
            }

            Ok(true)
        };

        self.read(need, None, |rows| rows.value(rid))
    }

    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        if self.everything.get().is_none() && !self.is_replaced() {
            self.require_server()?;
            let plan = Plan { asks: vec![Ask::Everything], ..Plan::default() };
            let mut rows = self.answer(&plan)?;
            if rows.vault.is_none() {
                // These came with the first question of the transaction.
                rows.vault = self.cache()?.cached_vault()?;
                rows.slots = self.cache()?.slots()?;
            }

            let _ = self.everything.set(SqliteStore::of_rows(&rows, &self.changes()?)?);
        }

        Ok(self)
    }
}

impl Inspection for RemoteSnapshot<'_> {
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError> {
        self.all_rows(|rows| rows.readable_projects())
    }

    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError> {
        self.all_rows(|rows| rows.id_index(visit))
    }

    fn orphans(&self) -> Result<OrphanRows, StoreError> {
        self.all_rows(|rows| rows.orphans())
    }

    fn is_sound(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

impl RemoteSnapshot<'_> {
    fn all_rows<T>(
        &self,
        read: impl FnOnce(&SqliteTransaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.everything.get() {
            Some(everything) => read(&everything.reading()?),
            None => read(&*self.cache()?),
        }
    }
}
