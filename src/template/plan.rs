//! Everything is resolved before the first byte is written.
//!
//! A first pass gathers what a template refers to; then all values are opened, from one state of the vault, and filtered;
//! only then a second pass writes. Memory grows with the different references, never with the template.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Write};

use super::filter::{Filter, FilterError, LARGEST};
use super::grammar::{Grammar, Malformed, Placeholder};
use super::scan::{Event, Position, ScanDetails, ScanError, WINDOW, scan};
use super::source::Template;
use super::{TemplateError, TemplateFinding, TemplateFindings, UnknownTag};
use crate::dotenv::readers::Readers;
use crate::model::{SecretBytes, SecretValue, Tag, TagKey};
use crate::vault::{Reveal, Revealed};

/// TemplateFindings that are listed one by one; past them they are counted.
const LISTED: usize = 1000;
/// TemplateFindings whose line is shown.
const EXCERPTS: usize = 10;
/// All filtered values of one template together.
const FILTERED: usize = 4 * LARGEST;
/// Different references of one template: what bounds memory whatever a template's author writes.
const MOST_REFERENCES: usize = 100_000;
/// Output is gathered in a buffer of this size, which is wiped.
const BUFFER: usize = 64 * 1024;

type Reference = (TagKey, Vec<Filter>);

fn reference(placeholder: &Placeholder) -> Reference {
    (placeholder.tag.key(), placeholder.filters.clone())
}

/// What a template refers to.
pub struct Plan {
    grammar: Grammar,
    /// The different references, with the spelling of the first
    references: HashMap<Reference, Tag>,
    malformed: u64,
    suspects: SuspectTexts,
}

/// Near misses that are remembered: other tools' files are full of them.
const MOST_NEAR_MISSES: usize = 100;

/// Text of a template that may not do what its author expects.
#[derive(Debug, Clone)]
pub struct SuspectTexts {
    grammar: Grammar,
    /// Tags that ordinary text resembles, each once
    near_misses: HashMap<TagKey, Tag>,
    /// Placeholders behind two or more backslashes
    backslashes: u64,
}

/// Why a text is suspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspicion {
    /// It is copied, but it resembles a placeholder for this tag
    NearMiss(Tag),
    /// The same, and nobody knows whether a secret has the tag
    PossibleMiss(Tag),
    /// So many backslashes precede a placeholder; version 0.1.0 read them differently
    Backslashes(u64),
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NearMiss(tag) => {
                write!(
                    f,
                    "this text is copied, although a secret `{tag}` exists; a placeholder is `{{{{ secrets.{tag} }}}}`"
                )
            }
            Self::PossibleMiss(tag) => {
                write!(
                    f,
                    "this text is copied; if `{tag}` is a secret, write `{{{{ secrets.{tag} }}}}`"
                )
            }
            Self::Backslashes(number) => {
                let (what, half) = (
                    if number % 2 == 0 { "the value" } else { "the placeholder's text" },
                    number / 2,
                );

                let before = number - 1;
                write!(f, "{number} backslashes before a placeholder give {half} and {what}; ")?;
                write!(f, "version 0.1.0 gave {before} and the placeholder's text")
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
            Event::NearMiss(tag, _) if self.near_misses.len() < MOST_NEAR_MISSES => {
                self.near_misses.entry(tag.key()).or_insert_with(|| tag.clone());
            }
            _ => {}
        }
    }

    /// True if the template may name secrets that no placeholder names: only a vault can tell.
    pub fn has_near_misses(&self) -> bool {
        !self.near_misses.is_empty()
    }

    /// Returns what to warn about. `is_stored` says whether a tag names a secret, if that is known; it is asked once for each
    /// tag.
    pub fn findings<E: From<TemplateError>>(
        &self,
        template: &mut Template,
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
    /// Reads the template once.
    pub fn new(template: &mut Template, grammar: Grammar) -> Result<Self, TemplateError> {
        let mut references = HashMap::new();
        let mut malformed = 0;
        let mut suspects = SuspectTexts::of(grammar.clone());
        template.check_encoding()?;
        pass(template, &grammar, false, |event| {
            suspects.note(&event);
            match event {
                Event::Literal(_) | Event::NearMiss(..) | Event::Backslashes(..) => {}
                Event::Placeholder(placeholder, _, _) => {
                    references
                        .entry(reference(placeholder))
                        .or_insert_with(|| placeholder.tag.clone());
                    if references.len() > MOST_REFERENCES {
                        return Err(TemplateError::TooManyReferences);
                    }
                }
                Event::Malformed(..) => malformed += 1,
            }

            Ok(())
        })?;

        Ok(Self { grammar, references, malformed, suspects })
    }

    /// Returns the text that may not do what the author of the template expects.
    pub fn suspects(&self) -> &SuspectTexts {
        &self.suspects
    }

    /// True where nothing is to be resolved: no vault is needed.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// True where a placeholder has a filter.
    pub fn has_filters(&self) -> bool {
        self.references.keys().any(|(_, filters)| !filters.is_empty())
    }

    /// The tags that are referred to, each once.
    pub fn tags(&self) -> Vec<Tag> {
        let mut seen = HashSet::new();
        self.references
            .iter()
            .filter(|((key, _), _)| seen.insert(key))
            .map(|(_, tag)| tag.clone())
            .collect()
    }

    /// What is not well formed, with its places.
    pub fn malformed(
        &self,
        template: &mut Template,
    ) -> Result<Option<TemplateFindings<Malformed>>, TemplateError> {
        if self.malformed == 0 {
            return Ok(None);
        }

        let findings = findings(template, &self.grammar, |event| match event {
            Event::Malformed(why, position) => Some((why, position)),
            _ => None,
        })?;

        Ok(Some(findings))
    }

    /// Hands over every reference in order, with line and column.
    pub fn each_reference(
        &self,
        template: &mut Template,
        mut visit: impl FnMut(&Placeholder, Position) -> Result<(), TemplateError>,
    ) -> Result<(), TemplateError> {
        pass(template, &self.grammar, true, |event| match event {
            Event::Placeholder(placeholder, _, position) => visit(placeholder, position),
            _ => Ok(()),
        })
    }

    /// Opens and filters every value. What is unknown is left to [`Resolved::unknown`].
    pub fn resolve(self, values: &dyn Reveal) -> Result<Resolved, TemplateError> {
        let tags = self.tags();
        let places: HashMap<TagKey, usize> = tags.iter().map(Tag::key).zip(0..).collect();
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

        let mut renderings = HashMap::with_capacity(self.references.len());
        let mut filtered = 0;
        for (reference, tag) in self.references {
            let at = places[&reference.0];
            let rendering = match &opened[at] {
                None => Rendering::AsItIs,
                Some(_) if reference.1.is_empty() => Rendering::Value(at),
                Some(value) => {
                    let result = apply(&reference.1, value.expose(), self.grammar.readers);
                    let result = result.map_err(|why| TemplateError::Filter { tag, why })?;
                    filtered += result.len();
                    if filtered > FILTERED {
                        return Err(TemplateError::FilteredTooLarge);
                    }

                    Rendering::Filtered(result)
                }
            };

            renderings.insert(reference, rendering);
        }

        Ok(Resolved { grammar: self.grammar, values: opened, places, names, renderings, missing })
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
    /// The value of this place, as it is
    Value(usize),
    /// A value through filters
    Filtered(SecretBytes),
    /// The placeholder itself: it names no secret
    AsItIs,
}

/// What stands in the output for a placeholder.
enum Expansion<'a> {
    Bytes(&'a [u8]),
    /// The placeholder itself
    AsItIs,
    /// The first pass did not see this placeholder
    Moved,
}

/// A template's references, resolved.
pub struct Resolved {
    grammar: Grammar,
    values: Vec<Option<SecretValue>>,
    /// Tags as the vault has them
    names: HashMap<TagKey, Tag>,
    /// Where each tag's value is
    places: HashMap<TagKey, usize>,
    renderings: HashMap<Reference, Rendering>,
    missing: HashMap<TagKey, Option<Tag>>,
}

impl Resolved {
    /// Placeholders that name no secret, with their places.
    pub fn unknown(
        &self,
        template: &mut Template,
    ) -> Result<Option<TemplateFindings<UnknownTag>>, TemplateError> {
        if self.missing.is_empty() {
            return Ok(None);
        }

        let findings = findings(template, &self.grammar, |event| match event {
            Event::Placeholder(placeholder, _, position) => {
                let nearest = self.missing.get(&placeholder.tag.key())?.clone();
                Some((UnknownTag { tag: placeholder.tag.clone(), nearest }, position))
            }
            _ => None,
        })?;

        Ok(Some(findings))
    }

    /// True if the expansion contains a value.
    pub fn has_values(&self) -> bool {
        !self.names.is_empty()
    }

    /// Returns how the template's placeholders are written.
    pub fn grammar(&self) -> &Grammar {
        &self.grammar
    }

    /// Returns what a placeholder of the template is replaced with; `None` if it names no secret.
    pub fn replacement(&self, placeholder: &Placeholder) -> Option<&[u8]> {
        match self.rendering(placeholder) {
            Expansion::Bytes(bytes) => Some(bytes),
            Expansion::AsItIs | Expansion::Moved => None,
        }
    }

    /// Returns the value of a placeholder as it is before the last filter.
    pub fn before_last_filter(&self, placeholder: &Placeholder) -> Option<SecretBytes> {
        let value = self.values.get(*self.places.get(&placeholder.tag.key())?)?.as_ref()?;
        let (_, filters) = placeholder.filters.split_last()?;
        apply(filters, value.expose(), self.grammar.readers).ok()
    }

    /// Writes the template with every placeholder replaced; an unknown or malformed one stays as it is.
    pub fn expand(&self, template: &mut Template, out: &mut dyn Write) -> Result<(), ExpandError> {
        self.write(template, out, |placeholder| self.rendering(placeholder))
    }

    /// Writes the same with `‹tag›` for each value, whatever its length and its filters.
    pub fn expand_masked(
        &self,
        template: &mut Template,
        out: &mut dyn Write,
    ) -> Result<(), ExpandError> {
        let masks: HashMap<&TagKey, String> =
            self.names.iter().map(|(key, tag)| (key, format!("\u{2039}{tag}\u{203a}"))).collect();

        self.write(template, out, |placeholder| match masks.get(&placeholder.tag.key()) {
            Some(mask) => Expansion::Bytes(mask.as_bytes()),
            None => self.rendering(placeholder),
        })
    }

    fn rendering(&self, placeholder: &Placeholder) -> Expansion<'_> {
        match self.renderings.get(&reference(placeholder)) {
            Some(Rendering::Value(at)) => self.values[*at]
                .as_ref()
                .map_or(Expansion::AsItIs, |value| Expansion::Bytes(value.expose())),
            Some(Rendering::Filtered(bytes)) => Expansion::Bytes(bytes.expose()),
            Some(Rendering::AsItIs) => Expansion::AsItIs,
            None => Expansion::Moved,
        }
    }

    fn write<'a>(
        &'a self,
        template: &mut Template,
        out: &mut dyn Write,
        expansion: impl Fn(&Placeholder) -> Expansion<'a>,
    ) -> Result<(), ExpandError> {
        template.check_unchanged().map_err(ExpandError::Template)?;
        let mut buffer = Buffer { bytes: SecretBytes::with_capacity(BUFFER), out };
        let name = template.name().to_owned();
        let mut reader = template.reader().map_err(ExpandError::Template)?;
        let done =
            scan(&mut *reader, &self.grammar, WINDOW, ScanDetails::NONE, |event| match event {
                Event::Literal(bytes) => buffer.put(bytes).map_err(ExpandError::Output),
                Event::Placeholder(placeholder, raw, _) => {
                    let bytes = match expansion(placeholder) {
                        Expansion::Bytes(bytes) => bytes,
                        Expansion::AsItIs => raw,
                        Expansion::Moved => {
                            return Err(ExpandError::Template(TemplateError::Moved(name.clone())));
                        }
                    };

                    buffer.put(bytes).map_err(ExpandError::Output)
                }
                Event::Malformed(..) | Event::NearMiss(..) | Event::Backslashes(..) => Ok(()),
            });

        drop(reader);
        match done {
            Ok(()) => {}
            Err(ScanError::Visit(error)) => return Err(error),
            Err(ScanError::Read(source)) => {
                return Err(ExpandError::Template(TemplateError::Io {
                    action: "read",
                    name,
                    source,
                }));
            }
        }

        buffer.flush().map_err(ExpandError::Output)?;
        template.check_unchanged().map_err(ExpandError::Template)
    }
}

/// Why an expansion broke off: the template, or what it was written to.
#[derive(Debug)]
pub enum ExpandError {
    /// The template could not be read again
    Template(TemplateError),
    /// The output took no more
    Output(io::Error),
}

/// Gathers small pieces for few writes; unlike std's, it is wiped.
struct Buffer<'a> {
    bytes: SecretBytes,
    out: &'a mut dyn Write,
}

impl Buffer<'_> {
    fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.bytes.len() + piece.len() > BUFFER {
            self.flush_bytes()?;
        }

        if piece.len() >= BUFFER {
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
    template: &mut Template,
    grammar: &Grammar,
    lines: bool,
    visit: impl FnMut(Event<'_>) -> Result<(), TemplateError>,
) -> Result<(), TemplateError> {
    let name = template.name().to_owned();
    let mut reader = template.reader()?;
    let details = ScanDetails { lines, near_misses: true };
    scan(&mut *reader, grammar, WINDOW, details, visit).map_err(|error| match error {
        ScanError::Visit(error) => error,
        ScanError::Read(source) => TemplateError::Io { action: "read", name, source },
    })
}

fn findings<T>(
    template: &mut Template,
    grammar: &Grammar,
    mut pick: impl FnMut(Event<'_>) -> Option<(T, Position)>,
) -> Result<TemplateFindings<T>, TemplateError> {
    let mut found = TemplateFindings { listed: Vec::new(), total: 0 };

    pass(template, grammar, true, |event| {
        if let Some((what, position)) = pick(event) {
            found.total += 1;
            if found.listed.len() < LISTED {
                found.listed.push(TemplateFinding { position, excerpt: None, what });
            }
        }

        Ok(())
    })?;

    for finding in found.listed.iter_mut().take(EXCERPTS) {
        finding.excerpt = template.excerpt(finding.position.offset, finding.position.column);
    }

    Ok(found)
}
