//! The environment of a program: variables from templates, all of their values from one state of the vault.
//!
//! It decides nothing about names; `variables` knows those.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use crate::model::{SecretBytes, Tag, TagKey};
use crate::template::grammar::{Grammar, Malformed};
use crate::template::{ExpandError, Findings, Plan, Template, TemplateError, UnknownTag};
use crate::vault::{Opened, Reveal};

/// A variable that is to be set from a template.
pub struct Assignment {
    name: OsString,
    text: Vec<u8>,
    place: String,
    source: String,
    tags: Vec<Tag>,
    /// Of an inherited variable: the tags in the form that is ours alone. Bare braces may be somebody else's
    ours: Option<Vec<Tag>>,
}

/// Why a variable cannot be set. Its place says where the template stands.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// A placeholder that is not well formed
    #[error("{place}: a placeholder is not well formed")]
    Malformed {
        /// Where
        place: String,
        /// What, with columns in the template
        findings: Findings<Malformed>,
    },
    /// A placeholder that names no secret
    #[error("{place}: a placeholder names no secret")]
    Unknown {
        /// Where
        place: String,
        /// What, with columns in the template
        findings: Findings<UnknownTag>,
    },
    /// An environment ends its values with NUL
    #[error("`{}` cannot be set: its value has a NUL byte", name.to_string_lossy())]
    Nul {
        /// The variable
        name: OsString,
    },
    /// A filter, a bound
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Assignment {
    /// Takes a template. `place` is how messages name it, `source` how a list of variables does.
    pub fn new(name: OsString, text: Vec<u8>, place: &str, source: &str) -> Result<Self, AssignmentError> {
        let mut template = Template::from_text(place, text.clone());
        let plan = Plan::new(&mut template, Grammar::default())?;
        if let Some(findings) = plan.malformed(&mut template)? {
            return Err(AssignmentError::Malformed { place: place.to_owned(), findings });
        }
        Ok(Self { name, text, place: place.to_owned(), source: source.to_owned(), tags: plan.tags(), ours: None })
    }

    /// A variable that was there before us: `{{NAME}}` that names no secret is left as it is, `{{ secrets.name }}` is ours
    /// and has to name one.
    pub fn inherited(name: OsString, text: Vec<u8>, place: &str) -> Result<Self, AssignmentError> {
        let namespaced = Grammar { namespaced: true, ..Grammar::default() };
        let ours = Plan::new(&mut Template::from_text(place, text.clone()), namespaced)?.tags();
        Ok(Self { ours: Some(ours), ..Self::new(name, text, place, "environment")? })
    }

    /// The variable.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Tags that are left as they are, as nothing of these values has them.
    pub fn foreign(&self, values: &Opened) -> Vec<&Tag> {
        let unknown = |tag: &&Tag| !values.has(tag);
        self.ours.iter().flat_map(|_| self.tags.iter().filter(unknown)).collect()
    }

    /// The tags that it refers to.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// True where nothing of it is in a form that is ours alone.
    fn is_foreign(&self, findings: &Findings<UnknownTag>) -> bool {
        let ours = |ours: &Vec<Tag>| findings.listed.iter().any(|finding| ours.contains(&finding.what.tag));
        self.ours.as_ref().is_some_and(|tags| !ours(tags))
    }

    fn expand(&self, values: &dyn Reveal) -> Result<OsString, AssignmentError> {
        let mut template = Template::from_text(&self.place, self.text.clone());
        let resolved = Plan::new(&mut template, Grammar::default())?.resolve(values)?;
        if let Some(findings) = resolved.unknown(&mut template)?
            && !self.is_foreign(&findings)
        {
            return Err(AssignmentError::Unknown { place: self.place.clone(), findings });
        }
        let mut value = SecretBytes::with_capacity(256);
        resolved.expand(&mut template, &mut value).map_err(|error| match error {
            ExpandError::Template(error) => error,
            ExpandError::Output(source) => TemplateError::Io { action: "expand", name: self.place.clone(), source },
        })?;
        if value.expose().contains(&0) {
            return Err(AssignmentError::Nul { name: self.name.clone() });
        }
        Ok(OsString::from_vec(value.expose().to_vec()))
    }
}

/// One variable.
pub struct Variable {
    /// Its name
    pub name: OsString,
    /// Its value
    pub value: OsString,
    /// Where it comes from; `None` for what is passed on as it is
    pub source: Option<String>,
    /// Whose values are in it
    pub tags: Vec<Tag>,
}

/// All variables; of two with one name the later is kept.
#[derive(Default)]
pub struct Variables {
    all: Vec<Variable>,
    places: HashMap<OsString, usize>,
    /// Tags that were opened and not given to the program
    pub left_out: HashSet<TagKey>,
}

impl Variables {
    /// Sets one.
    pub fn set(&mut self, name: OsString, value: OsString, source: Option<&str>, tags: Vec<Tag>) {
        let at = *self.places.entry(name.clone()).or_insert(self.all.len());
        let variable = Variable { name, value, source: source.map(str::to_owned), tags };
        match self.all.get_mut(at) {
            Some(earlier) => *earlier = variable,
            None => self.all.push(variable),
        }
    }

    /// Sets what a template makes of `values`.
    pub fn assign(&mut self, assignment: &Assignment, values: &Opened) -> Result<(), AssignmentError> {
        let value = assignment.expand(values)?;
        let stored = values.tags().filter(|stored| assignment.tags.iter().any(|tag| tag.key() == stored.key()));
        let stored: Vec<Tag> = stored.cloned().collect();
        // Given this way after all, so it is to be masked.
        self.left_out.retain(|key| stored.iter().all(|tag| tag.key() != *key));
        self.set(assignment.name.clone(), value, Some(&assignment.source), stored);
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &[Variable] {
        &self.all
    }

    /// Names and values.
    pub fn into_pairs(self) -> Vec<(OsString, OsString)> {
        self.all.into_iter().map(|variable| (variable.name, variable.value)).collect()
    }
}
