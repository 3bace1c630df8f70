//! What an operation reads first. A store on a network sends all of it in one trip.
//!
//! A local store is not asked what it needs, so nothing is collected for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::access::OpenedProject;
use super::copies::refuse_bundle;
use super::state::State;
use super::writing::Writing;
use super::{Vault, VaultError};
use crate::crypto::grant::GrantedKeys;
use crate::crypto::ids::{ProjectId, RecordId};

use crate::model::{ProjectName, SecretRef, Tag};
use crate::store::{Extent, Snapshot, Want};

/// The maximum number of projects whose keys are kept.
const MAX_KNOWN: usize = 16;

/// The keys of projects that this process has opened. With them, the indexes of tags are known before
/// the directory is read again. A stale key leads to another trip and to nothing else.
#[derive(Default)]
pub(super) struct KnownProjects(RefCell<BTreeMap<ProjectName, (ProjectId, Rc<GrantedKeys>)>>);

impl KnownProjects {
    pub(super) fn add(&self, project: &OpenedProject) {
        let mut known = self.0.borrow_mut();
        let OpenedProject { entry, keys, .. } = project;
        if known.len() < MAX_KNOWN || known.contains_key(&entry.name) {
            known.insert(entry.name.clone(), (entry.pid, Rc::clone(keys)));
        }
    }
}

/// The rows that an operation reads first.
#[derive(Default)]
pub(super) struct Ahead<'a> {
    projects: Vec<(&'a ProjectName, Extent)>,
    /// How much of all projects will be read
    pub(super) all: Option<Extent>,
    tags: Vec<(&'a ProjectName, Vec<&'a Tag>)>,
    ids: Vec<RecordId>,
    /// Whether values will be read
    values: bool,
    /// Whether the grants of all tokens will be read
    pub(super) grants: bool,
}

impl<'a> Ahead<'a> {
    /// Adds a project by its name, which may not exist.
    pub(super) fn project(&mut self, name: &'a ProjectName, extent: Extent) {
        self.projects.push((name, extent));
    }

    /// Says that the values of the secrets will be read.
    pub(super) fn with_values(&mut self) {
        self.values = true;
    }

    /// Adds one project, or all of them.
    pub(super) fn one_or_all(&mut self, name: Option<&'a ProjectName>, extent: Extent) {
        match name {
            Some(name) => self.project(name, extent),
            None => self.all = Some(extent),
        }
    }

    /// Adds a project and secrets of it.
    pub(super) fn tags(&mut self, name: &'a ProjectName, tags: impl IntoIterator<Item = &'a Tag>) {
        self.projects.push((name, Extent::IfSmall));
        self.tags.push((name, tags.into_iter().collect()));
    }

    /// Adds secrets by tag in a project or by id.
    pub(super) fn refs(&mut self, name: &'a ProjectName, wanted: &'a [SecretRef]) {
        let mut tags = Vec::new();
        for one in wanted {
            match one {
                SecretRef::Tag(tag) => tags.push(tag),
                SecretRef::Id(id) => self.ids.push(id.0),
            }
        }

        if !tags.is_empty() {
            self.tags(name, tags);
        }
    }
}

impl Vault {
    /// Begins to read, with the rows that `collect` adds.
    pub(super) fn reading<'a>(
        &self,
        collect: impl FnOnce(&mut Ahead<'a>),
    ) -> Result<(Box<dyn Snapshot + '_>, State), VaultError> {
        let snapshot = self.store.read()?;
        self.fetch(&*snapshot, collect)?;
        let state = self.state(&*snapshot)?;
        Ok((snapshot, state))
    }

    /// Begins a change, with the rows that `collect` adds.
    pub(super) fn writing<'a>(
        &self,
        collect: impl FnOnce(&mut Ahead<'a>),
    ) -> Result<Writing<'_>, VaultError> {
        let transaction = self.store.write()?;
        self.fetch(&*transaction, collect)?;
        let state = self.state(&*transaction)?;
        if state.grant.is_some() {
            refuse_bundle(&*transaction)?;
        }

        Ok(Writing::new(self, transaction, state))
    }

    fn fetch<'a>(
        &self,
        snapshot: &dyn Snapshot,
        collect: impl FnOnce(&mut Ahead<'a>),
    ) -> Result<(), VaultError> {
        if !self.store.is_remote() {
            return Ok(());
        }

        let mut ahead = Ahead::default();
        collect(&mut ahead);
        let names: Vec<&ProjectName> = ahead.projects.iter().map(|(name, _)| *name).collect();
        let indexes = self.access.indexes(&names)?;

        let token_id = self.access.token_id();
        let mut wants = vec![token_id.as_ref().map_or(Want::Directory, Want::Grant)];
        wants.extend(ahead.grants.then_some(Want::Grants));
        let entries = indexes.chunks(1).zip(&ahead.projects);
        wants.extend(entries.map(|(index, (_, extent))| Want::Entries(index, *extent)));
        wants.extend(ahead.all.map(Want::AllProjects));
        if !ahead.ids.is_empty() {
            wants.push(Want::Ids(&ahead.ids));
        }

        let known = self.known.0.borrow();
        let mut records: Vec<(ProjectId, Vec<[u8; 16]>)> = Vec::new();
        for (name, tags) in &ahead.tags {
            if let Some((pid, keys)) = known.get(*name)
                && let Some(ring) = keys.whole()
            {
                let index = |tag: &&Tag| ring.tag_ix(tag.key().as_str());
                records.push((*pid, tags.iter().map(index).collect()));
            }
        }

        let (records, values) = (records.iter(), ahead.values);
        wants.extend(records.map(|(pid, indexes)| Want::Records { pid, indexes, values }));
        Ok(snapshot.fetch(&wants)?)
    }
}
