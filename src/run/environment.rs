//! The environment of a program: variables from templates, all of their values from one state of the vault.
//!
//! It decides nothing about names; `variables` knows those.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::variables;
use crate::model::{SecretBytes, Tag, TagKey};
use crate::process;
use crate::template::grammar::{Grammar, Malformed, Match};
use crate::template::{
    ExpandError, Plan, SuspectTexts, Template, TemplateError, TemplateFindings, UnknownTag,
};
use crate::vault::{Reveal, RevealedValues};

/// A variable that is to be set from a template.
pub struct Assignment {
    name: OsString,
    text: Vec<u8>,
    place: String,
    source: String,
    tags: Vec<Tag>,
    suspects: SuspectTexts,
    /// Of an inherited variable: the tags in the form that is ours alone. Bare braces may be somebody else's
    ours: Option<Vec<Tag>>,
}

/// Why a variable cannot be set. Its place says where the template stands.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// A placeholder that is not well formed
    #[error("{place}: invalid placeholder")]
    Malformed {
        /// Where
        place: String,
        /// What, with columns in the template
        findings: TemplateFindings<Malformed>,
    },
    /// A placeholder that names no secret
    #[error("{place}: a placeholder refers to a secret that does not exist")]
    Unknown {
        /// Where
        place: String,
        /// What, with columns in the template
        findings: TemplateFindings<UnknownTag>,
    },
    /// An environment ends its values with NUL
    #[error("`{}` cannot be set: its value has a NUL byte", name.to_string_lossy())]
    Nul {
        /// The variable
        name: OsString,
    },
    /// The system bounds the length of one variable
    #[error("`{}` cannot be set: its value is too large for an environment variable", name.to_string_lossy())]
    TooLarge {
        /// The variable
        name: OsString,
    },
    /// A filter, a bound
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Assignment {
    /// Takes a template. `place` is how messages name it, `source` how a list of variables does.
    pub fn new(
        name: OsString,
        text: Vec<u8>,
        place: &str,
        source: &str,
    ) -> Result<Self, AssignmentError> {
        let mut template = Template::from_text(place, text.clone());
        let plan = Plan::new(&mut template, Grammar::default())?;
        if let Some(findings) = plan.malformed(&mut template)? {
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
            ours: None,
        })
    }

    /// Takes an inherited variable. A malformed placeholder and a bare `{{NAME}}` that names no secret stay as they are.
    /// `{{ secrets.name }}` has to name one if somebody `asked` for this variable to be expanded.
    pub fn inherited(
        name: OsString,
        text: Vec<u8>,
        place: &str,
        asked: bool,
    ) -> Result<Self, AssignmentError> {
        let plan = |grammar| Plan::new(&mut Template::from_text(place, text.clone()), grammar);
        let ours = if asked { plan(namespaced())?.tags() } else { Vec::new() };
        let plan = plan(Grammar::default())?;
        let (tags, suspects) = (plan.tags(), plan.suspects().clone());
        let (place, source) = (place.to_owned(), "environment".to_owned());

        Ok(Self { name, text, place, source, tags, suspects, ours: Some(ours) })
    }

    /// The variable.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the text that may not do what its author expects.
    pub fn suspects(&self) -> &SuspectTexts {
        &self.suspects
    }

    /// Returns the text as a template.
    pub fn template(&self) -> Template {
        Template::from_text(&self.place, self.text.clone())
    }

    /// Tags that are left as they are, as nothing of these values has them.
    pub fn foreign(&self, values: &RevealedValues) -> Vec<&Tag> {
        let unknown = |tag: &&Tag| !values.has(tag);
        self.ours.iter().flat_map(|_| self.tags.iter().filter(unknown)).collect()
    }

    /// The tags that it refers to.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// True where nothing of it is in a form that is ours alone.
    fn is_foreign(&self, findings: &TemplateFindings<UnknownTag>) -> bool {
        let ours = |ours: &Vec<Tag>| {
            findings.listed.iter().any(|finding| ours.contains(&finding.what.tag))
        };

        self.ours.as_ref().is_some_and(|tags| !ours(tags))
    }

    fn expand(&self, values: &dyn Reveal) -> Result<OsString, AssignmentError> {
        let mut template = self.template();
        let resolved = Plan::new(&mut template, Grammar::default())?.resolve(values)?;
        if let Some(findings) = resolved.unknown(&mut template)?
            && !self.is_foreign(&findings)
        {
            return Err(AssignmentError::Unknown { place: self.place.clone(), findings });
        }

        let mut value = SecretBytes::with_capacity(256);
        resolved.expand(&mut template, &mut value).map_err(|error| match error {
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

/// Checks that a variable can have this value.
pub fn check_value(name: &OsStr, value: &[u8]) -> Result<(), AssignmentError> {
    if value.contains(&0) {
        return Err(AssignmentError::Nul { name: name.to_owned() });
    }

    if is_too_large(name, value) {
        return Err(AssignmentError::TooLarge { name: name.to_owned() });
    }

    Ok(())
}

/// True if the system does not take a variable of this length. On Linux the name, `=`, the value and a zero have 32 pages
/// together (`MAX_ARG_STRLEN`, see execve(2)).
pub fn is_too_large(name: &OsStr, value: &[u8]) -> bool {
    cfg!(target_os = "linux") && name.len() + value.len() + 2 > 32 * process::page_size()
}

/// What an inherited variable holds. A stranger may have written its text: a commit message, the name of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InheritedVariable {
    /// Nothing of ours
    Plain,
    /// One placeholder and nothing else, for the secret whose tag gives the variable its name
    ManifestUsage,
    /// Other placeholders in the form that is ours alone
    Placeholders,
    /// Something that begins like a placeholder of ours and is none
    Malformed,
}

impl InheritedVariable {
    /// Looks at a variable. Text in double braces is in the environments of many programs, so only `{{ secrets.…` counts,
    /// unless the whole value is one placeholder.
    pub fn of(name: &OsStr, text: &[u8]) -> Self {
        if memchr::memmem::find(text, b"{{").is_none() {
            return Self::Plain;
        }

        if text.starts_with(b"{{")
            && let Match::Placeholder { placeholder, length } = Grammar::default().at(text, true)
            && length == text.len()
            && name.as_bytes() == variables::name_of(&placeholder.tag).as_bytes()
        {
            return Self::ManifestUsage;
        }

        let mut template = Template::from_text("", text.to_vec());
        let Ok(plan) = Plan::new(&mut template, namespaced()) else { return Self::Placeholders };
        if matches!(plan.malformed(&mut template), Ok(Some(_))) {
            return Self::Malformed;
        }

        if plan.is_empty() { Self::Plain } else { Self::Placeholders }
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

        // ProvidedValues this way after all, so it is to be masked.
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
