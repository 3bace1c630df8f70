//! Values that are opened together from one state of the vault, for several uses. They are wiped on
//! drop.

use std::collections::{HashMap, HashSet};

use super::{Reveal, Revealed, Scope, VaultError};
use crate::model::{ProjectName, SecretRef, SecretValue, Tag, TagKey};

/// Opened values, and the tags that do not exist.
pub struct RevealedValues {
    project: ProjectName,
    values: Vec<(Tag, SecretValue)>,
    positions: HashMap<TagKey, usize>,
    missing: HashMap<TagKey, Option<Tag>>,
}

impl RevealedValues {
    /// Returns an empty set for this project.
    pub fn none(project: &ProjectName) -> Self {
        Self {
            project: project.clone(),
            values: Vec::new(),
            positions: HashMap::new(),
            missing: HashMap::new(),
        }
    }

    /// Opens the values of `wanted`. With `all`, opens every other secret of the project as well.
    pub fn open(
        project: &ProjectName,
        scope: &Scope<'_>,
        mut wanted: Vec<Tag>,
        all: bool,
    ) -> Result<Self, VaultError> {
        let mut opened = Self::none(project);
        if all {
            scope.reveal_all()?.into_iter().for_each(|(tag, value)| opened.put(tag, value));
        }

        // A secret may be requested several times.
        let mut asked = HashSet::new();
        wanted.retain(|tag| !opened.has(tag) && asked.insert(tag.key()));
        for (tag, revealed) in wanted.iter().zip(scope.reveal(&wanted)?) {
            match revealed {
                Revealed::Value { tag, value } => opened.put(tag, value),
                Revealed::Missing { nearest } => drop(opened.missing.insert(tag.key(), nearest)),
            }
        }

        Ok(opened)
    }

    /// Returns values that were opened before, or others in their place.
    pub fn of(project: &ProjectName, values: impl IntoIterator<Item = (Tag, SecretValue)>) -> Self {
        let mut opened = Self::none(project);
        values.into_iter().for_each(|(tag, value)| opened.put(tag, value));
        opened
    }

    fn put(&mut self, tag: Tag, value: SecretValue) {
        self.positions.insert(tag.key(), self.values.len());
        self.values.push((tag, value));
    }

    /// Returns all opened values.
    pub fn values(&self) -> &[(Tag, SecretValue)] {
        &self.values
    }

    /// Returns true if a tag was opened.
    pub fn has(&self, tag: &Tag) -> bool {
        self.positions.contains_key(&tag.key())
    }

    /// Returns the tags of all opened values.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.values.iter().map(|(tag, _)| tag)
    }

    /// Returns all opened values except those in `left_out`.
    pub fn into_values_except(mut self, left_out: &HashSet<TagKey>) -> Vec<(Tag, SecretValue)> {
        self.values.retain(|(tag, _)| !left_out.contains(&tag.key()));
        self.values
    }

    /// Returns one value, with its tag as it was stored.
    pub fn value(&self, tag: &Tag) -> Result<&(Tag, SecretValue), VaultError> {
        match self.positions.get(&tag.key()) {
            Some(at) => Ok(&self.values[*at]),
            None => {
                let nearest = self.missing.get(&tag.key()).cloned().flatten();
                let wanted = SecretRef::Tag(tag.clone());
                Err(VaultError::NoSecret { wanted, project: self.project.clone(), nearest })
            }
        }
    }
}

impl Reveal for RevealedValues {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let reveal = |tag: &Tag| match self.positions.get(&tag.key()) {
            Some(at) => {
                let (tag, value) = &self.values[*at];
                Revealed::Value { tag: tag.clone(), value: value.duplicate() }
            }
            None => Revealed::Missing { nearest: self.missing.get(&tag.key()).cloned().flatten() },
        };

        Ok(tags.iter().map(reveal).collect())
    }
}
