//! Lists secrets, all of them or one page.

use super::{Vault, VaultError};
use crate::crypto::tree::Leaf;
use crate::model::{Metadata, ProjectName, Secret, TagKey};
use crate::store::Extent;

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// Its secrets
    pub secrets: Vec<Secret>,
    /// The number of secrets on all pages
    pub total: usize,
}

impl Vault {
    /// Returns the secrets of one project, or of all projects, for which `keep` returns true. They
    /// are sorted by project, then by tag key. An unknown project has none.
    pub fn list(
        &self,
        project: Option<&ProjectName>,
        keep: impl Fn(&Metadata) -> bool,
    ) -> Result<Vec<Secret>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.one_or_all(project, Extent::Records))?;
        let mut secrets = Vec::new();

        for project in state.one_or_all(&*snapshot, project)? {
            let project = state.open(&*snapshot, project)?;
            let first = secrets.len();
            project.each(&*snapshot, |found| {
                if keep(&found.metadata) {
                    secrets.push(project.secret(found));
                }
            })?;

            secrets[first..].sort_by_cached_key(|secret| secret.metadata.tag.key());
        }

        Ok(secrets)
    }

    /// Returns one page of that list: `size` secrets after the first `skipped`. Everything is read
    /// and verified, but only the tags up to the end of the page are kept in memory.
    pub fn list_page(
        &self,
        project: Option<&ProjectName>,
        keep: impl Fn(&Metadata) -> bool,
        skipped: usize,
        size: usize,
    ) -> Result<Page, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.one_or_all(project, Extent::Records))?;
        let end = skipped.saturating_add(size);
        let mut page = Page { secrets: Vec::new(), total: 0 };

        for project in state.one_or_all(&*snapshot, project)? {
            let project = state.open(&*snapshot, project)?;
            let before = page.total;
            let mut first = First::new(end.saturating_sub(before));
            project.each(&*snapshot, |found| {
                if keep(&found.metadata) {
                    page.total += 1;
                    let (tag_ix, rid, leaf) =
                        (found.record.tag_ix, found.record.rid, found.record.leaf);
                    first.offer(found.metadata.tag.key(), Leaf { tag_ix, rid, leaf });
                }
            })?;

            for leaf in first.sorted_behind(skipped.saturating_sub(before)) {
                page.secrets.push(project.secret(project.by_leaf(&*snapshot, &leaf)?));
            }
        }

        Ok(page)
    }
}

/// Collects the `most` records that come first in tag order. Its memory is bounded, however many
/// are offered.
struct First {
    most: usize,
    /// The candidates, at most twice `most` or `FEW`
    entries: Vec<(TagKey, Leaf)>,
    /// The largest tag that can still be among the first
    last: Option<TagKey>,
}

/// The number of entries that are always kept.
const FEW: usize = 256;

impl First {
    fn new(most: usize) -> Self {
        Self { most, entries: Vec::new(), last: None }
    }

    fn offer(&mut self, key: TagKey, leaf: Leaf) {
        if self.last.as_ref().is_some_and(|last| key > *last) {
            return;
        }

        self.entries.push((key, leaf));
        if self.entries.len() >= self.most.saturating_mul(2).max(FEW) {
            self.cut();
        }
    }

    /// Drops the entries that are not among the first.
    fn cut(&mut self) {
        if self.entries.len() > self.most {
            let (_, next, _) = self.entries.select_nth_unstable(self.most);
            self.last = Some(next.0.clone());
            self.entries.truncate(self.most);
        }
    }

    /// Returns the entries in order, without the first `skipped`.
    fn sorted_behind(mut self, skipped: usize) -> impl Iterator<Item = Leaf> {
        self.cut();
        if skipped < self.entries.len() {
            self.entries.select_nth_unstable(skipped);
        }

        let mut page = self.entries.split_off(skipped.min(self.entries.len()));
        page.sort_unstable();
        page.into_iter().map(|(_, leaf)| leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tag;

    #[test]
    fn only_the_wanted_entries_are_kept() {
        const COUNT: u64 = 5000;
        let key = |number: u64| Tag::parse(&format!("tag-{number:04}")).unwrap().key();
        let leaf = |number: u64| Leaf { tag_ix: [0; 16], rid: number.to_be_bytes(), leaf: [0; 32] };

        for most in [0, 1, 7, 300, 5001, usize::MAX] {
            for skipped in [0, 1, 299, 4999, usize::MAX] {
                let mut first = First::new(most);
                for number in (0..COUNT).map(|number| number * 1009 % COUNT) {
                    first.offer(key(number), leaf(number));
                    assert!(first.entries.len() < most.saturating_mul(2).max(FEW));
                }

                let expected: Vec<Leaf> = (0..COUNT).take(most).skip(skipped).map(leaf).collect();
                assert_eq!(first.sorted_behind(skipped).collect::<Vec<_>>(), expected);
            }
        }
    }
}
