//! Resolves every reference of a template before the first byte is written.
//!
//! A first pass collects the references. Then all values are read from one snapshot of the vault
//! and filtered. Only after that, a second pass writes the output. Memory use grows with the number
//! of different references, never with the size of the template.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Write};

use secrets_core::model::{SecretBytes, SecretValue, Tag, TagKey};
use secrets_core::vault::{Reveal, Revealed};

use super::filter::{Filter, FilterError, MAX_SIZE};
use super::grammar::{Grammar, Malformed, Placeholder};
use super::scan::{Event, Location, ScanDetails, ScanError, WINDOW, scan};
use super::source::Template;
use super::{TemplateError, TemplateFinding, TemplateFindings, UnknownTag};
use crate::dotenv::readers::Readers;
use crate::position::Position;

/// The maximum number of findings that are listed. Further findings are only counted.
const MAX_LISTED: usize = 1000;
/// The maximum number of findings that show their line.
const MAX_EXCERPTS: usize = 10;
/// The maximum total length of a template's filtered values in bytes.
const MAX_FILTERED: usize = 4 * MAX_SIZE;
/// The maximum number of different references in a template. It limits memory use, whatever the
/// template contains.
const MAX_REFERENCES: usize = 100_000;
/// The size of the output buffer in bytes. The buffer is wiped.
const BUFFER_SIZE: usize = 64 * 1024;

type Reference = (TagKey, Vec<Filter>);

fn reference(placeholder: &Placeholder) -> Reference {
    (placeholder.tag.key(), placeholder.filters.clone())
}

/// A template and its references.
pub struct Plan {
    template: Template,
    grammar: Grammar,
    /// The different references, each with the tag as first spelled
    references: HashMap<Reference, Tag>,
    malformed: u64,
    suspects: SuspectTexts,
}

/// The maximum number of near misses that are remembered. Files of other tools contain many of
/// them.
const MAX_NEAR_MISSES: usize = 100;

/// Text in a template that may not do what its author expects.
#[derive(Debug, Clone)]
pub struct SuspectTexts {
    grammar: Grammar,
    /// The tags that ordinary text resembles, each once
    near_misses: HashMap<TagKey, Tag>,
    /// The number of placeholders after two or more backslashes
    backslashes: u64,
}

/// The reason why text is suspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// The text is copied, but it resembles a placeholder for this tag
    NearMiss(Tag),
    /// The text is copied, but it resembles a placeholder for this tag, which may or may not exist
    PossibleMiss(Tag),
    /// This number of backslashes precedes a placeholder; version 0.1.0 read them differently
    Backslashes(u64),
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NearMiss(tag) => {
                write!(f, "this text is copied unchanged, although a secret `{tag}` exists; ")?;
                write!(f, "to insert its value, write `{{{{ secrets.{tag} }}}}`")
            }
            Self::PossibleMiss(tag) => {
                write!(f, "this text is copied unchanged; if `{tag}` is a secret, ")?;
                write!(f, "write `{{{{ secrets.{tag} }}}}` to insert its value")
            }
            Self::Backslashes(number) => {
                let (what, half) = (
                    if number % 2 == 0 { "the value" } else { "the placeholder's text" },
                    number / 2,
                );

                let before = number - 1;
                write!(
                    f,
                    "{number} backslashes before a placeholder become {half}, then {what}; "
                )?;

                write!(f, "in version 0.1.0 they became {before}, then the placeholder's text")
            }
        }
    }
}

impl SuspectTexts {
    fn of(grammar: Grammar) -> Self {
        Self { grammar, near_misses: HashMap::new(), backslashes: 0 }
    }

    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Backslashes(..) => self.backslashes += 1,
            Event::NearMiss(tag, _) if self.near_misses.len() < MAX_NEAR_MISSES => {
                self.near_misses.entry(tag.key()).or_insert_with(|| tag.clone());
            }
            _ => {}
        }
    }

    /// Returns true if ordinary text resembles placeholders. Only a vault can show whether it names
    /// secrets.
    pub fn has_near_misses(&self) -> bool {
        !self.near_misses.is_empty()
    }

    /// Returns the findings to warn about. `is_stored` is called once for each tag and returns
    /// whether a secret has that tag, or `None` if that is not known.
    pub fn findings<E: From<TemplateError>>(
        &self,
        template: &Template,
        mut is_stored: impl FnMut(&Tag) -> Result<Option<bool>, E>,
    ) -> Result<Option<TemplateFindings<Suspicion>>, E> {
        let mut suspect = HashMap::new();
        for (key, tag) in &self.near_misses {
            match is_stored(tag)? {
                Some(false) => {}
                known => drop(suspect.insert(key, known.is_some())),
            }
        }

        if suspect.is_empty() && self.backslashes == 0 {
            return Ok(None);
        }

        let found = findings(template, &self.grammar, |event| match event {
            Event::NearMiss(tag, at) => {
                let is_known = *suspect.get(&tag.key())?;
                Some((
                    if is_known { Suspicion::NearMiss(tag) } else { Suspicion::PossibleMiss(tag) },
                    at,
                ))
            }
            Event::Backslashes(number, at) => Some((Suspicion::Backslashes(number), at)),
            _ => None,
        })?;

        Ok(Some(found))
    }
}

impl Plan {
    /// Collects the references in one pass over the template.
    pub fn new(template: Template, grammar: Grammar) -> Result<Self, TemplateError> {
        let mut references = HashMap::new();
        let mut malformed = 0;
        let mut suspects = SuspectTexts::of(grammar.clone());
        template.check_encoding()?;
        pass(&template, &grammar, false, |event| {
            suspects.note(&event);
            match event {
                Event::Literal(_) | Event::NearMiss(..) | Event::Backslashes(..) => {}
                Event::Placeholder(placeholder, _, _) => {
                    references
                        .entry(reference(placeholder))
                        .or_insert_with(|| placeholder.tag.clone());
                    if references.len() > MAX_REFERENCES {
                        return Err(TemplateError::TooManyReferences);
                    }
                }
                Event::Malformed(..) => malformed += 1,
            }

            Ok(())
        })?;

        Ok(Self { template, grammar, references, malformed, suspects })
    }

    pub fn template(&self) -> &Template {
        &self.template
    }

    pub fn suspects(&self) -> &SuspectTexts {
        &self.suspects
    }

    /// Returns true if the template has no references and thus needs no vault.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// Returns the tags of all references, each once.
    pub fn tags(&self) -> Vec<Tag> {
        let mut seen = HashSet::new();
        self.references
            .iter()
            .filter(|((key, _), _)| seen.insert(key))
            .map(|(_, tag)| tag.clone())
            .collect()
    }

    /// Returns the invalid placeholders with their positions.
    pub fn malformed(&self) -> Result<Option<TemplateFindings<Malformed>>, TemplateError> {
        if self.malformed == 0 {
            return Ok(None);
        }

        let findings = findings(&self.template, &self.grammar, |event| match event {
            Event::Malformed(why, at) => Some((why, at)),
            _ => None,
        })?;

        Ok(Some(findings))
    }

    /// Calls `visit` for every reference in order, with line and column.
    pub fn each_reference(
        &self,
        mut visit: impl FnMut(&Placeholder, Position) -> Result<(), TemplateError>,
    ) -> Result<(), TemplateError> {
        pass(&self.template, &self.grammar, true, |event| match event {
            Event::Placeholder(placeholder, _, at) => visit(placeholder, at.position),
            _ => Ok(()),
        })
    }

    /// Reveals and filters every value. [`Resolved::unknown`] reports the tags that name no secret.
    pub fn resolve(self, values: &dyn Reveal) -> Result<Resolved, TemplateError> {
        let tags = self.tags();
        let indices: HashMap<TagKey, usize> = tags.iter().map(Tag::key).zip(0..).collect();
        let revealed = if tags.is_empty() { Vec::new() } else { values.reveal(&tags)? };
        let (mut missing, mut names) = (HashMap::new(), HashMap::new());
        let mut opened: Vec<Option<SecretValue>> = Vec::with_capacity(revealed.len());

        for (tag, revealed) in tags.iter().zip(revealed) {
            opened.push(match revealed {
                Revealed::Value { value, tag: stored } => {
                    names.insert(tag.key(), stored);
                    Some(value)
                }
                Revealed::Missing { nearest } => {
                    missing.insert(tag.key(), nearest);
                    None
                }
            });
        }

        let Self { template, grammar, references, suspects, .. } = self;
        let mut renderings = HashMap::with_capacity(references.len());
        let mut filtered = 0;
        for (reference, tag) in references {
            let at = indices[&reference.0];
            let rendering = match &opened[at] {
                None => Rendering::Unchanged,
                Some(_) if reference.1.is_empty() => Rendering::Value(at),
                Some(value) => {
                    let result = apply(&reference.1, value.expose(), grammar.readers);
                    let result = result.map_err(|why| TemplateError::Filter { tag, why })?;
                    filtered += result.len();
                    if filtered > MAX_FILTERED {
                        return Err(TemplateError::FilteredTooLarge);
                    }

                    Rendering::Filtered(result)
                }
            };

            renderings.insert(reference, rendering);
        }

        let values = opened;
        Ok(Resolved { template, grammar, suspects, values, names, indices, renderings, missing })
    }
}

fn apply(filters: &[Filter], value: &[u8], readers: Readers) -> Result<SecretBytes, FilterError> {
    let mut result = SecretBytes::copy_of(value);
    for filter in filters {
        result = filter.apply(result.expose(), readers)?;
    }

    Ok(result)
}

enum Rendering {
    /// The unfiltered value at this index
    Value(usize),
    Filtered(SecretBytes),
    /// The placeholder itself, because its tag names no secret
    Unchanged,
}

/// The text that replaces a placeholder in the output.
enum Expansion<'a> {
    Bytes(&'a [u8]),
    /// The placeholder itself
    Unchanged,
    /// No text, because the first pass did not see this placeholder
    Moved,
}

/// A template and its references with their values.
pub struct Resolved {
    template: Template,
    grammar: Grammar,
    suspects: SuspectTexts,
    values: Vec<Option<SecretValue>>,
    /// The tags as spelled in the vault
    names: HashMap<TagKey, Tag>,
    /// The index of each tag's value
    indices: HashMap<TagKey, usize>,
    renderings: HashMap<Reference, Rendering>,
    missing: HashMap<TagKey, Option<Tag>>,
}

impl Resolved {
    /// Returns the placeholders whose tags name no secret, with their positions.
    pub fn unknown(&self) -> Result<Option<TemplateFindings<UnknownTag>>, TemplateError> {
        if self.missing.is_empty() {
            return Ok(None);
        }

        let findings = findings(&self.template, &self.grammar, |event| match event {
            Event::Placeholder(placeholder, _, at) => {
                let nearest = self.missing.get(&placeholder.tag.key())?.clone();
                Some((UnknownTag { tag: placeholder.tag.clone(), nearest }, at))
            }
            _ => None,
        })?;

        Ok(Some(findings))
    }

    pub fn template(&self) -> &Template {
        &self.template
    }

    pub fn suspects(&self) -> &SuspectTexts {
        &self.suspects
    }

    /// Returns true if the expansion contains a value.
    pub fn has_values(&self) -> bool {
        !self.names.is_empty()
    }

    pub fn grammar(&self) -> &Grammar {
        &self.grammar
    }

    /// Returns the text that replaces a placeholder, or `None` if its tag names no secret.
    pub fn replacement(&self, placeholder: &Placeholder) -> Option<&[u8]> {
        match self.rendering(placeholder) {
            Expansion::Bytes(bytes) => Some(bytes),
            Expansion::Unchanged | Expansion::Moved => None,
        }
    }

    /// Returns a placeholder's value before its last filter is applied.
    pub fn before_last_filter(&self, placeholder: &Placeholder) -> Option<SecretBytes> {
        let value = self.values.get(*self.indices.get(&placeholder.tag.key())?)?.as_ref()?;
        let (_, filters) = placeholder.filters.split_last()?;
        apply(filters, value.expose(), self.grammar.readers).ok()
    }

    /// Writes the template with every placeholder replaced. Unknown and invalid placeholders are
    /// copied.
    pub fn expand(&self, out: &mut dyn Write) -> Result<(), ExpandError> {
        self.write(out, |placeholder| self.rendering(placeholder))
    }

    /// Writes the template with `‹tag›` in place of each value, whatever its length and filters.
    pub fn expand_masked(&self, out: &mut dyn Write) -> Result<(), ExpandError> {
        let masks: HashMap<&TagKey, String> =
            self.names.iter().map(|(key, tag)| (key, format!("\u{2039}{tag}\u{203a}"))).collect();

        self.write(out, |placeholder| match masks.get(&placeholder.tag.key()) {
            Some(mask) => Expansion::Bytes(mask.as_bytes()),
            None => self.rendering(placeholder),
        })
    }

    fn rendering(&self, placeholder: &Placeholder) -> Expansion<'_> {
        match self.renderings.get(&reference(placeholder)) {
            Some(Rendering::Value(at)) => self.values[*at]
                .as_ref()
                .map_or(Expansion::Unchanged, |value| Expansion::Bytes(value.expose())),
            Some(Rendering::Filtered(bytes)) => Expansion::Bytes(bytes.expose()),
            Some(Rendering::Unchanged) => Expansion::Unchanged,
            None => Expansion::Moved,
        }
    }

    fn write<'a>(
        &'a self,
        out: &mut dyn Write,
        expansion: impl Fn(&Placeholder) -> Expansion<'a>,
    ) -> Result<(), ExpandError> {
        self.template.check_unchanged().map_err(ExpandError::Template)?;
        let mut buffer = Buffer { bytes: SecretBytes::with_capacity(BUFFER_SIZE), out };
        let name = self.template.name();
        let mut reader = self.template.reader();
        let scanned =
            scan(&mut *reader, &self.grammar, WINDOW, ScanDetails::NONE, |event| match event {
                Event::Literal(bytes) => buffer.put(bytes).map_err(ExpandError::Output),
                Event::Placeholder(placeholder, raw, _) => {
                    let bytes = match expansion(placeholder) {
                        Expansion::Bytes(bytes) => bytes,
                        Expansion::Unchanged => raw,
                        Expansion::Moved => {
                            return Err(ExpandError::Template(TemplateError::Moved(
                                name.to_owned(),
                            )));
                        }
                    };

                    buffer.put(bytes).map_err(ExpandError::Output)
                }
                Event::Malformed(..) | Event::NearMiss(..) | Event::Backslashes(..) => Ok(()),
            });

        match scanned {
            Ok(()) => {}
            Err(ScanError::Visit(error)) => return Err(error),
            Err(ScanError::Read(source)) => {
                return Err(ExpandError::Template(TemplateError::Io {
                    action: "read",
                    name: name.to_owned(),
                    source,
                }));
            }
        }

        buffer.flush().map_err(ExpandError::Output)?;
        self.template.check_unchanged().map_err(ExpandError::Template)
    }
}

#[derive(Debug)]
pub enum ExpandError {
    /// The template could not be read again
    Template(TemplateError),
    Output(io::Error),
}

/// Collects small pieces into few writes. Unlike the buffer of `BufWriter`, this one is wiped.
struct Buffer<'a> {
    bytes: SecretBytes,
    out: &'a mut dyn Write,
}

impl Buffer<'_> {
    fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.bytes.len() + piece.len() > BUFFER_SIZE {
            self.flush_bytes()?;
        }

        if piece.len() >= BUFFER_SIZE {
            return self.out.write_all(piece);
        }

        self.bytes.extend(piece);
        Ok(())
    }

    fn flush_bytes(&mut self) -> io::Result<()> {
        self.out.write_all(self.bytes.expose())?;
        self.bytes.clear();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_bytes()?;
        self.out.flush()
    }
}

fn pass(
    template: &Template,
    grammar: &Grammar,
    lines: bool,
    visit: impl FnMut(Event<'_>) -> Result<(), TemplateError>,
) -> Result<(), TemplateError> {
    let name = template.name().to_owned();
    let mut reader = template.reader();
    let details = ScanDetails { lines, near_misses: true };
    scan(&mut *reader, grammar, WINDOW, details, visit).map_err(|error| match error {
        ScanError::Visit(error) => error,
        ScanError::Read(source) => TemplateError::Io { action: "read", name, source },
    })
}

fn findings<T>(
    template: &Template,
    grammar: &Grammar,
    mut pick: impl FnMut(Event<'_>) -> Option<(T, Location)>,
) -> Result<TemplateFindings<T>, TemplateError> {
    let mut found = TemplateFindings { listed: Vec::new(), total: 0 };

    pass(template, grammar, true, |event| {
        if let Some((what, Location { offset, position })) = pick(event) {
            found.total += 1;
            if found.listed.len() < MAX_LISTED {
                found.listed.push(TemplateFinding { offset, position, excerpt: None, what });
            }
        }

        Ok(())
    })?;

    for finding in found.listed.iter_mut().take(MAX_EXCERPTS) {
        finding.excerpt = template.excerpt(finding.offset, finding.position.column);
    }

    Ok(found)
}
