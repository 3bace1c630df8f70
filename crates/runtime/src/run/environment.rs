//! The environment of a program: variables from templates, with all values from one snapshot of the
//! vault.
//!
//! This file does not decide which names are allowed; see `variables`.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use secrets_core::model::{SecretBytes, Tag, TagKey};
use secrets_core::vault::{Reveal, RevealedValues};
use secrets_project::template::grammar::{Grammar, Malformed, Match};
use secrets_project::template::{
    ExpandError, Plan, SuspectTexts, Template, TemplateError, TemplateFindings, UnknownTag,
};
use secrets_project::variables;

use crate::process;

/// A variable that is set from a template.
pub struct Assignment {
    name: OsString,
    text: Vec<u8>,
    place: String,
    source: String,
    tags: Vec<Tag>,
    suspects: SuspectTexts,
    /// For an inherited variable, the tags in the namespaced form, which no other tool uses. Bare
    /// braces may belong to another tool.
    namespaced_tags: Option<Vec<Tag>>,
}

/// The reason why a variable cannot be set. `place` says where its template comes from.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    #[error("{place}: invalid placeholder")]
    Malformed {
        /// Where the template comes from
        place: String,
        /// The placeholders, with columns in the template
        findings: TemplateFindings<Malformed>,
    },
    #[error("{place}: a placeholder refers to a secret that does not exist")]
    Unknown {
        /// Where the template comes from
        place: String,
        /// The placeholders, with columns in the template
        findings: TemplateFindings<UnknownTag>,
    },
    /// The value contains a NUL byte, which would end it
    #[error("`{}` cannot be set: its value has a NUL byte", name.to_string_lossy())]
    Nul { name: OsString },
    /// The variable exceeds the system's limit
    #[error("`{}` cannot be set: its value is too large for an environment variable", name.to_string_lossy())]
    TooLarge { name: OsString },
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Assignment {
    /// Creates an assignment from a template. Messages call the template `place`, and the list of
    /// variables shows `source`.
    pub fn new(
        name: OsString,
        text: Vec<u8>,
        place: &str,
        source: &str,
    ) -> Result<Self, AssignmentError> {
        let plan = Plan::new(Template::from_text(place, text.clone()), Grammar::default())?;
        if let Some(findings) = plan.malformed()? {
            return Err(AssignmentError::Malformed { place: place.to_owned(), findings });
        }

        let (tags, suspects) = (plan.tags(), plan.suspects().clone());
        Ok(Self {
            name,
            text,
            place: place.to_owned(),
            source: source.to_owned(),
            tags,
            suspects,
            namespaced_tags: None,
        })
    }

    /// Creates an assignment for an inherited variable. Malformed placeholders and a bare
    /// `{{NAME}}` that names no secret are kept unchanged. Set `is_requested` if the user asked to
    /// expand this variable. Then `{{ secrets.name }}` must name a secret.
    pub fn inherited(
        name: OsString,
        text: Vec<u8>,
        place: &str,
        is_requested: bool,
    ) -> Result<Self, AssignmentError> {
        let plan = |grammar| Plan::new(Template::from_text(place, text.clone()), grammar);
        let namespaced_tags = if is_requested { plan(namespaced())?.tags() } else { Vec::new() };
        let plan = plan(Grammar::default())?;
        let (tags, suspects) = (plan.tags(), plan.suspects().clone());
        let (place, source) = (place.to_owned(), "environment".to_owned());
        let namespaced_tags = Some(namespaced_tags);

        Ok(Self { name, text, place, source, tags, suspects, namespaced_tags })
    }

    pub fn name(&self) -> &OsStr {
        &self.name
    }

    pub fn suspects(&self) -> &SuspectTexts {
        &self.suspects
    }

    /// Returns the text as a template.
    pub fn template(&self) -> Template {
        Template::from_text(&self.place, self.text.clone())
    }

    /// Returns the tags of an inherited variable that are kept unchanged because `values` does not
    /// contain them.
    pub fn foreign(&self, values: &RevealedValues) -> Vec<&Tag> {
        let unknown = |tag: &&Tag| !values.has(tag);
        self.namespaced_tags.iter().flat_map(|_| self.tags.iter().filter(unknown)).collect()
    }

    /// Returns the tags that the template refers to.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Returns true if none of the unknown references has the namespaced form.
    fn is_foreign(&self, findings: &TemplateFindings<UnknownTag>) -> bool {
        self.namespaced_tags.as_ref().is_some_and(|tags| {
            !findings.listed.iter().any(|finding| tags.contains(&finding.what.tag))
        })
    }

    fn expand(&self, values: &dyn Reveal) -> Result<OsString, AssignmentError> {
        let resolved = Plan::new(self.template(), Grammar::default())?.resolve(values)?;
        if let Some(findings) = resolved.unknown()?
            && !self.is_foreign(&findings)
        {
            return Err(AssignmentError::Unknown { place: self.place.clone(), findings });
        }

        let mut value = SecretBytes::with_capacity(256);
        resolved.expand(&mut value).map_err(|error| match error {
            ExpandError::Template(error) => error,
            ExpandError::Output(source) => {
                TemplateError::Io { action: "expand", name: self.place.clone(), source }
            }
        })?;

        check_value(&self.name, value.expose())?;
        Ok(OsString::from_vec(value.expose().to_vec()))
    }
}

fn namespaced() -> Grammar {
    Grammar { namespaced: true, ..Grammar::default() }
}

pub fn check_value(name: &OsStr, value: &[u8]) -> Result<(), AssignmentError> {
    if value.contains(&0) {
        return Err(AssignmentError::Nul { name: name.to_owned() });
    }

    if is_too_large(name, value) {
        return Err(AssignmentError::TooLarge { name: name.to_owned() });
    }

    Ok(())
}

/// Returns true if the system rejects a variable of this length. On Linux the name, `=`, the value
/// and a zero byte may have 32 pages together (`MAX_ARG_STRLEN`, see execve(2)).
pub fn is_too_large(name: &OsStr, value: &[u8]) -> bool {
    cfg!(target_os = "linux") && name.len() + value.len() + 2 > 32 * process::page_size()
}

/// The kind of an inherited variable's value. Strangers may have written the text, for example a
/// commit message or a branch name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InheritedVariable {
    /// No placeholder of ours
    Plain,
    /// A single placeholder for the secret with the variable's own name, and nothing else
    OwnPlaceholder,
    /// Other placeholders in the namespaced form, which no other tool uses
    Placeholders,
    /// Text that starts like a namespaced placeholder but is invalid
    Malformed,
}

impl InheritedVariable {
    /// Classifies a variable. Many programs' variables contain double braces, so only `{{
    /// secrets.…` counts, unless the whole value is one placeholder.
    pub fn of(name: &OsStr, text: &[u8]) -> Self {
        if memchr::memmem::find(text, b"{{").is_none() {
            return Self::Plain;
        }

        if text.starts_with(b"{{")
            && let Match::Placeholder { placeholder, length } = Grammar::default().at(text, true)
            && length == text.len()
            && name.as_bytes() == variables::name_of(&placeholder.tag).as_bytes()
        {
            return Self::OwnPlaceholder;
        }

        let template = Template::from_text("", text.to_vec());
        let Ok(plan) = Plan::new(template, namespaced()) else { return Self::Placeholders };
        if matches!(plan.malformed(), Ok(Some(_))) {
            return Self::Malformed;
        }

        if plan.is_empty() { Self::Plain } else { Self::Placeholders }
    }
}

pub struct Variable {
    pub name: OsString,
    pub value: OsString,
    /// The origin; `None` for a variable that is passed on unchanged
    pub source: Option<String>,
    /// The tags whose values it contains
    pub tags: Vec<Tag>,
}

/// The variables of an environment. A later variable replaces an earlier one with the same name.
#[derive(Default)]
pub struct Variables {
    all: Vec<Variable>,
    positions: HashMap<OsString, usize>,
    /// The tags whose values were revealed but not passed to the program
    pub left_out: HashSet<TagKey>,
}

impl Variables {
    pub fn set(&mut self, name: OsString, value: OsString, source: Option<&str>, tags: Vec<Tag>) {
        let at = *self.positions.entry(name.clone()).or_insert(self.all.len());
        let variable = Variable { name, value, source: source.map(str::to_owned), tags };
        match self.all.get_mut(at) {
            Some(earlier) => *earlier = variable,
            None => self.all.push(variable),
        }
    }

    /// Sets a variable to its template, expanded with `values`.
    pub fn assign(
        &mut self,
        assignment: &Assignment,
        values: &RevealedValues,
    ) -> Result<(), AssignmentError> {
        let value = assignment.expand(values)?;
        let stored = values
            .tags()
            .filter(|stored| assignment.tags.iter().any(|tag| tag.key() == stored.key()));
        let stored: Vec<Tag> = stored.cloned().collect();

        // The program receives these values after all, so they must be masked.
        self.left_out.retain(|key| stored.iter().all(|tag| tag.key() != *key));
        self.set(assignment.name.clone(), value, Some(&assignment.source), stored);
        Ok(())
    }

    pub fn all(&self) -> &[Variable] {
        &self.all
    }

    pub fn into_pairs(self) -> Vec<(OsString, OsString)> {
        self.all.into_iter().map(|variable| (variable.name, variable.value)).collect()
    }
}
