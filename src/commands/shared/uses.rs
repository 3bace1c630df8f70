//! The log of uses on this machine.

use std::collections::{HashMap, HashSet};

use secrets_core::crypto::ids::Hash;
use secrets_core::crypto::uses::UseEntry;
use secrets_core::model::{Period, ProjectName, Tag, TagKey, Timestamp};
use secrets_core::vault::{ReadUses, Vault};

use crate::context::Context;
use crate::error::{Error, Kind};

/// Reads and verifies the log of uses on this machine. Passes number, hash and content of each entry
/// to `visit`.
pub(crate) fn read_uses(
    vault: &Vault,
    cx: &Context,
    visit: impl FnMut(u64, &Hash, UseEntry),
) -> Result<ReadUses, Error> {
    let keys = vault.use_log_keys()?;
    let Some(log) = cx.use_log(vault.id()?) else { return Ok(ReadUses::default()) };
    log.read(&keys, visit).map_err(|source| {
        let place = log.directory().display();
        Error::new(Kind::Failure, format!("cannot read the log of uses in `{place}`: {source}"))
    })
}

/// Fails if an entry of the log of uses does not verify.
pub(crate) fn check_uses(uses: &ReadUses) -> Result<(), Error> {
    let Some(seq) = uses.fault else { return Ok(()) };
    let message = format!(
        "entry {seq} of the log of uses on this machine is missing, damaged or not in its place"
    );
    Err(Error::new(Kind::Damaged, message)
        .with_details(serde_json::json!({ "seq": seq }))
        .hint("the entries before it are shown by `secrets audit --kind use`"))
}

/// A secret is unused if it was not used for this time.
pub(crate) const UNUSED: Period = Period::of_days(90);

/// The secrets that were used on this machine not long ago.
#[derive(Default)]
pub(crate) struct RecentUses {
    tags: HashMap<String, HashSet<TagKey>>,
    /// Projects with an entry that names only some of its secrets. Any of theirs may have been used
    whole: HashSet<String>,
}

impl RecentUses {
    pub(crate) fn read(cx: &Context, vault: &Vault) -> Result<Self, Error> {
        let since = UNUSED.before(Timestamp::now());
        let mut used = Self::default();
        read_uses(vault, cx, |_, _, entry| {
            let Some(project) = entry.project.filter(|_| !entry.refused && entry.time >= since.0)
            else {
                return;
            };

            if entry.count > entry.tags.len() as u64 {
                used.whole.insert(project);
            } else {
                let tags = entry.tags.iter().filter_map(|tag| Tag::parse(tag).ok());
                used.tags.entry(project).or_default().extend(tags.map(|tag| tag.key()));
            }
        })?;
        Ok(used)
    }

    pub(crate) fn includes(&self, project: &ProjectName, tag: &Tag) -> bool {
        let project = project.as_str();
        self.whole.contains(project)
            || self.tags.get(project).is_some_and(|tags| tags.contains(&tag.key()))
    }
}
