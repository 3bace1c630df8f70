//! The secrets that a token opens: those of its set, or all of its project's (docs/format.md, section 8).

use super::VaultError;
use super::buckets::leaf_at;
use super::project::{Project, VerifiedRecord};
use crate::crypto::grant::{GrantedKeys, SetKeys, SetRecord};
use crate::crypto::ids::RecordId;
use crate::model::TagKey;
use crate::store::Snapshot;

impl Project {
    /// Returns the index at which a tag is looked up. `None` if a token's set has no such secret.
    pub(super) fn index_of(
        &self,
        snapshot: &dyn Snapshot,
        key: &TagKey,
    ) -> Result<Option<[u8; 16]>, VaultError> {
        match self.keys() {
            GrantedKeys::Project(ring) => Ok(Some(ring.tag_ix(key.as_str()))),
            GrantedKeys::Set(set) => {
                Ok(self.by_tag_in(snapshot, set, key)?.map(|found| found.record.tag_ix))
            }
        }
    }

    /// Finds a secret of a token's set by tag. The tag in a grant only says which one to try first.
    fn by_tag_in(
        &self,
        snapshot: &dyn Snapshot,
        set: &SetKeys,
        key: &TagKey,
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        let (likely, others): (Vec<&SetRecord>, Vec<&SetRecord>) =
            set.records.iter().partition(|record| record.tag.key() == *key);
        let mut deleted = Vec::new();
        for record in likely.into_iter().chain(others) {
            match self.stored_member(snapshot, record.rid)? {
                Some(found) if found.metadata.tag.key() == *key => return Ok(Some(found)),
                Some(_) => {}
                None => deleted.push(record.rid),
            }
        }

        self.check_deleted(snapshot, &deleted)?;
        Ok(None)
    }

    /// Passes those of these secrets to `visit` that were not deleted.
    pub(super) fn each_of(
        &self,
        snapshot: &dyn Snapshot,
        rids: impl Iterator<Item = RecordId>,
        mut visit: impl FnMut(VerifiedRecord),
    ) -> Result<(), VaultError> {
        let mut deleted = Vec::new();
        for rid in rids {
            match self.stored_member(snapshot, rid)? {
                Some(found) => visit(found),
                None => deleted.push(rid),
            }
        }

        self.check_deleted(snapshot, &deleted)
    }

    /// Returns a secret by its id. `None` is not proof that it was deleted: see [`Self::check_deleted`].
    fn stored_member(
        &self,
        snapshot: &dyn Snapshot,
        rid: RecordId,
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        let located = snapshot.locate(&rid)?.filter(|(pid, _)| *pid == self.row.pid);
        let Some((_, tag_ix)) = located else { return Ok(None) };
        let leaves = self.bucket(snapshot, tag_ix[0])?;
        let leaf = leaf_at(&leaves, &tag_ix).filter(|leaf| leaf.rid == rid);
        let leaf = leaf.ok_or_else(|| self.damaged("the index of ids"))?;
        self.by_leaf(snapshot, leaf).map(Some)
    }

    /// Proves that the project has no record with one of these ids, by verifying every bucket.
    pub(super) fn check_deleted(
        &self,
        snapshot: &dyn Snapshot,
        rids: &[RecordId],
    ) -> Result<(), VaultError> {
        if rids.is_empty() {
            return Ok(());
        }

        for number in 0..=u8::MAX {
            if self.bucket(snapshot, number)?.iter().any(|leaf| rids.contains(&leaf.rid)) {
                return Err(self.damaged("the index of ids"));
            }
        }

        Ok(())
    }

    /// Returns true if somebody may use a record's value. Everybody but a token may.
    pub(super) fn may_use(&self, found: &VerifiedRecord) -> bool {
        let (record, metadata) = (&found.record, &found.metadata);
        let (class, generation) = (metadata.class, metadata.generation);
        self.grant.is_none()
            || self.keys().value_key(&self.row.pid, &record.rid, class, generation).is_some()
    }
}
