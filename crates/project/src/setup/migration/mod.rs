//! Turns a dotenv file into a template: each value is replaced by a placeholder, and every other
//! byte stays.
//!
//! A file is refused unless its readers get the same values from the rendered template. No value
//! stays in the template, not even in a comment.

mod leaks;
mod replacement;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::ops::Range;

use secrets_core::model::{Description, SecretBytes, SecretValue, Tag, TagKey};
use secrets_core::vault::{Reveal, Revealed, VaultError};
use secrets_mask::Needles;

use super::comments::{comment, comment_above, commented_value, left_open};
use super::settings;
use crate::dotenv::readers::Readers;
use crate::dotenv::{self, DotenvError, Entry};
use crate::template::filter::Filter;
use crate::template::grammar::Grammar;
use crate::template::{ExpandError, Plan, Template, TemplateError};
use leaks::{SHORTEST, find_whole_word, leaks, leaks_none};
use replacement::{Agreement, Replacement, escaped, placeholder_text, replacement_for};

/// The names whose values stay in the template, each with the reason.
pub type KeptNames = BTreeMap<String, &'static str>;

/// The result of migrating a file.
pub struct Migration {
    pub template: Vec<u8>,
    /// The tags, their descriptions from comments, and their values. An example file has no values
    pub secrets: Vec<(Tag, Option<Description>, Option<SecretValue>)>,
    /// Names that were left unchanged, with the reason
    pub left: Vec<(String, &'static str)>,
    /// Names that keep their values because no way to write them works for all readers
    pub unwritten: Vec<String>,
    /// Names that keep their quotes because the readers disagree about the value
    pub disputed: Vec<String>,
    /// Names whose value most of the readers agree about. All of them will agree about the rendered
    /// file
    pub settled: Vec<String>,
    /// True if the template renders to exactly the bytes of the file
    pub identical: bool,
    /// Numbers of the lines whose comment lost a value, from 1
    pub blanked: Vec<u64>,
    /// The text that the template must render to
    expected: SecretBytes,
    /// The offsets at which pieces of the template begin, in the template and in the file
    pieces: Vec<(usize, usize)>,
    /// The number of newlines in the template
    lines: u64,
    /// The quote that a commented-out value opened and did not close yet
    open: Option<u8>,
}

#[derive(Clone, Copy)]
pub struct MigrationOptions<'a> {
    /// Names whose values stay in the template
    pub plain: &'a KeptNames,
    /// True if the file is an example, so that its values are not secrets
    pub example: bool,
    /// The programs that read the file
    pub readers: Readers,
    /// True if all placeholders of the template have the form `{{ secrets.tag }}`
    pub namespaced: bool,
    /// True if the text is part of a file, so that its first comment describes its first variable
    pub is_part: bool,
}

impl MigrationOptions<'_> {
    fn grammar(self) -> Grammar {
        Grammar { readers: self.readers, namespaced: self.namespaced, ..Grammar::default() }
    }
}

/// Why a file cannot become a template. The messages repeat no byte of a value.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Dotenv(#[from] DotenvError),
    #[error("the template would not reproduce this file")]
    Unproven,
    /// The problems of individual lines, in the order of the lines
    #[error("the file has problems")]
    Problems(Vec<Problem>),
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// A line that cannot become a line of the template as it is.
#[derive(Debug, thiserror::Error)]
#[error("{obstacle}")]
pub struct Problem {
    /// The variable, if the line has one
    pub name: String,
    /// The line of the file with the problem, from 1
    pub line: u64,
    pub obstacle: Obstacle,
    /// True if the variable may stay in the template, because neither its name nor its value looks
    /// like a credential
    pub is_keepable: bool,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    #[error(
        "`{0}` has two different values in this file; names that differ only in case, \
         or in `-` and `_`, count as one"
    )]
    Twice(String),
    #[error("`{name}` cannot be a tag: {why}")]
    Name {
        name: String,
        /// The rule for tags that it breaks
        why: String,
    },
    /// The value contains a placeholder, so the file may already be a template
    #[error("the value of `{0}` already contains a placeholder")]
    Placeholder(String),
    #[error("this line has an invalid placeholder, which no template can contain")]
    Malformed,
    /// A comment or a kept value contains the value of this tag
    #[error("the value of `{0}` would stay in this line of the template")]
    Leak(String),
    #[error("the value of `{0}` is larger than 1 MiB")]
    TooLarge(String),
}

impl Migration {
    /// Migrates a dotenv file.
    ///
    /// # Errors
    /// Returns all problems of the file's variables at once.
    pub fn of(text: &[u8], wanted: MigrationOptions<'_>) -> Result<Self, MigrationError> {
        let entries = dotenv::parse(text)?;
        let mut migration = Self {
            template: Vec::new(),
            secrets: Vec::new(),
            left: Vec::new(),
            unwritten: Vec::new(),
            disputed: Vec::new(),
            settled: Vec::new(),
            identical: true,
            blanked: Vec::new(),
            expected: SecretBytes::with_capacity(2 * text.len()),
            pieces: Vec::new(),
            lines: 0,
            open: None,
        };

        let mut known: HashMap<TagKey, usize> = HashMap::new();
        let (mut problems, mut copied) = (Vec::new(), 0);

        for (at, entry) in entries.iter().enumerate() {
            migration.copy_between(text, copied..entry.span.start, wanted);
            copied = entry.span.end;
            let end = entries.get(at + 1).map_or(text.len(), |next| next.whole.start);

            match migration.secret(entry, &text[..end], wanted, &mut known) {
                Ok(Some(replacement)) => migration.put_placeholder(&replacement),
                Ok(None) => migration.put(&text[entry.span.clone()], wanted),
                Err(SecretError::Problem(obstacle)) => {
                    let may_stay =
                        matches!(obstacle, Obstacle::Name { .. } | Obstacle::Placeholder(_));
                    let is_keepable = may_stay && is_keepable(entry);
                    problems.push(Problem {
                        name: entry.name.clone(),
                        line: entry.line,
                        obstacle,
                        is_keepable,
                    });
                }
                Err(SecretError::Migration(error)) => return Err(error),
            }
        }

        migration.copy_between(text, copied..text.len(), wanted);

        if !wanted.example && problems.is_empty() {
            migration.verify(text, wanted.grammar())?;
            migration.identical = migration.expected.expose() == text;
        }

        migration.find_leaks(text, &entries, &mut problems);
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok(migration) } else { Err(MigrationError::Problems(problems)) }
    }

    /// Searches the template for values that are already in the vault, and drops descriptions that
    /// contain one. `text` is the file.
    ///
    /// # Errors
    /// Returns the lines that would keep a value in the template.
    pub fn find_stored(&mut self, text: &[u8], stored: &Needles) -> Result<(), MigrationError> {
        let problem = |(tag, at): (Tag, usize)| Problem {
            name: String::new(),
            line: self.line_of(text, at),
            obstacle: Obstacle::Leak(tag.to_string()),
            is_keepable: false,
        };

        let problems: Vec<Problem> =
            leaks(stored, &self.template).into_iter().map(problem).collect();
        self.drop_descriptions(stored);
        if problems.is_empty() { Ok(()) } else { Err(MigrationError::Problems(problems)) }
    }

    /// Gives secrets other tags, also in the template's placeholders.
    pub fn rename(&mut self, tags: &HashMap<TagKey, Tag>) {
        for (tag, _, _) in &mut self.secrets {
            let Some(other) = tags.get(&tag.key()) else { continue };
            let (from, to) = (format!("{{{{ secrets.{tag} "), format!("{{{{ secrets.{other} "));
            self.template = replaced(&self.template, from.as_bytes(), to.as_bytes());
            *tag = other.clone();
        }
    }

    /// Handles one assignment and returns the replacement for its value, if the value does not
    /// stay. `text` ends where the next assignment begins.
    fn secret(
        &mut self,
        entry: &Entry,
        text: &[u8],
        wanted: MigrationOptions<'_>,
        known: &mut HashMap<TagKey, usize>,
    ) -> Result<Option<Replacement>, SecretError> {
        let name = entry.name.clone();
        let kept = wanted.plain.get(&name).copied();
        let empty = (entry.value.is_empty() && !wanted.example).then_some("it is empty");
        if let Some(why) = kept.or(empty) {
            self.left.push((name, why));
            return Ok(None);
        }

        let tag = match Tag::parse(&name.replace('.', "_")) {
            Ok(tag) => tag,
            Err(_) if wanted.example => {
                self.left.push((name, "its name cannot be a tag"));
                return Ok(None);
            }
            Err(why) => return Err(SecretError::Problem(Obstacle::Name { name, why: why.0 })),
        };

        if !wanted.example && is_template(entry.value.expose()).map_err(MigrationError::from)? {
            return Err(SecretError::Problem(Obstacle::Placeholder(name)));
        }

        let description = comment_above(text, &entry.whole, wanted.is_part, wanted.example);
        if wanted.example {
            if let hash_map::Entry::Vacant(free) = known.entry(tag.key()) {
                free.insert(self.secrets.len());
                self.secrets.push((tag.clone(), description, None));
            }

            let placeholder = placeholder_text(&tag, None, Some(Filter::Dotenv));
            return Ok(Some(Replacement {
                placeholder,
                value: SecretBytes::with_capacity(0),
                text: SecretBytes::with_capacity(0),
                agreement: Agreement::All,
            }));
        }

        let Some(replacement) = replacement_for(entry, text, &tag, wanted.readers) else {
            self.unwritten.push(name);
            return Ok(None);
        };

        match replacement.agreement {
            Agreement::All => {}
            Agreement::Most => self.settled.push(name.clone()),
            Agreement::None => self.disputed.push(name.clone()),
        }

        let value = SecretValue::new(SecretBytes::copy_of(replacement.value.expose()), false)
            .map_err(|_| SecretError::Problem(Obstacle::TooLarge(name.clone())))?;
        match known.entry(tag.key()) {
            hash_map::Entry::Occupied(first) => {
                let first = self.secrets[*first.get()].2.as_ref().map(SecretValue::expose);
                if first != Some(value.expose()) {
                    return Err(SecretError::Problem(Obstacle::Twice(name)));
                }
            }
            hash_map::Entry::Vacant(free) => {
                free.insert(self.secrets.len());
                self.secrets.push((tag, description, Some(value)));
            }
        }

        Ok(Some(replacement))
    }

    /// Copies the text between values, that is, names and comments. Values that are assigned in a
    /// comment may be old secrets, so they are left out, even if they span several lines.
    ///
    /// The comments of an example are copied unchanged, because an example has no secrets.
    fn copy_between(&mut self, text: &[u8], range: Range<usize>, wanted: MigrationOptions<'_>) {
        self.pieces.push((self.template.len(), range.start));
        let piece = &text[range];
        if wanted.example {
            self.put(piece, wanted);
            return;
        }

        for line in piece.split_inclusive(|b| *b == b'\n') {
            let Some(start) = comment(line) else {
                self.open = None;
                self.put(line, wanted);
                continue;
            };

            let end = line.trim_ascii_end().len();
            let from = match self.open {
                Some(quote) => {
                    self.open = Some(quote).filter(|quote| !line[start..].contains(quote));
                    Some(start + 1)
                }
                None => commented_value(&line[start..])
                    .map(|at| start + at)
                    .inspect(|at| self.open = left_open(&line[*at..])),
            };

            match from.filter(|from| *from < end) {
                Some(from) => {
                    self.blanked.push(self.lines + 1);
                    self.put(&line[..from], wanted);
                    self.put(&line[end..], wanted);
                }
                None => self.put(line, wanted),
            }
        }
    }

    /// Copies bytes, escaped so that the template renders to them.
    fn put(&mut self, bytes: &[u8], wanted: MigrationOptions<'_>) {
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.template.extend(escaped(bytes, &wanted.grammar()));
        self.expected.extend(bytes);
    }

    fn put_placeholder(&mut self, replacement: &Replacement) {
        self.template.extend(&replacement.placeholder);
        self.expected.extend(replacement.text.expose());
    }

    /// Renders the template and checks that the result is exactly the expected text.
    fn verify(&self, text: &[u8], grammar: Grammar) -> Result<(), MigrationError> {
        let template = Template::from_text("the template", self.template.clone());
        let plan = Plan::new(template, grammar)?;
        if let Some(found) = plan.malformed()? {
            let line =
                |offset: u64| self.line_of(text, usize::try_from(offset).unwrap_or(usize::MAX));
            let lines: BTreeSet<u64> = found.listed.iter().map(|it| line(it.offset)).collect();
            let problem = |line| Problem {
                name: String::new(),
                line,
                obstacle: Obstacle::Malformed,
                is_keepable: false,
            };

            return Err(MigrationError::Problems(lines.into_iter().map(problem).collect()));
        }

        let keys: HashSet<TagKey> = self.secrets.iter().map(|(tag, _, _)| tag.key()).collect();
        if !plan.tags().iter().all(|tag| keys.contains(&tag.key())) {
            return Err(MigrationError::Unproven);
        }

        let mut rendered = SecretBytes::with_capacity(self.expected.len());
        plan.resolve(self)?.expand(&mut rendered).map_err(|error| match error {
            ExpandError::Template(error) => error,
            ExpandError::Output(source) => {
                TemplateError::Io { action: "expand", name: "it".into(), source }
            }
        })?;

        let is_same = rendered.expose() == self.expected.expose();
        if is_same { Ok(()) } else { Err(MigrationError::Unproven) }
    }

    /// Searches the template for values, in every form that the masker knows. It drops descriptions
    /// that contain one.
    fn find_leaks(&mut self, text: &[u8], entries: &[Entry], problems: &mut Vec<Problem>) {
        let values =
            self.secrets.iter().filter_map(|(tag, _, value)| Some((tag, value.as_ref()?.expose())));
        let needles = Needles::new(values);
        let mut leaks = leaks(&needles, &self.template);

        let short =
            self.secrets.iter().filter_map(|(tag, _, value)| Some((tag, value.as_ref()?.expose())));
        for (tag, value) in
            short.filter(|(_, value)| (SHORTEST..Needles::SHORTEST).contains(&value.len()))
        {
            leaks.extend(find_whole_word(&self.template, value).map(|at| (tag.clone(), at)));
        }

        let mut known = HashSet::new();
        for (tag, at) in leaks.into_iter().filter(|(tag, _)| known.insert(tag.key())) {
            let named = |entry: &&Entry| {
                Tag::parse(&entry.name.replace('.', "_")).is_ok_and(|own| own.key() == tag.key())
            };

            let entry = entries.iter().find(named);
            problems.push(Problem {
                name: entry.map_or_else(|| tag.to_string(), |entry| entry.name.clone()),
                line: self.line_of(text, at),
                obstacle: Obstacle::Leak(tag.to_string()),
                is_keepable: entry.is_some_and(is_keepable),
            });
        }

        // Short values are covered too: they were searched for in the comment that the description
        // comes from.
        self.drop_descriptions(&needles);
    }

    /// Drops the descriptions that hold a value.
    fn drop_descriptions(&mut self, needles: &Needles) {
        for (_, description, _) in &mut self.secrets {
            *description =
                description.take().filter(|text| leaks_none(needles, text.as_str().as_bytes()));
        }
    }

    /// Returns the line of the file that an offset in the template comes from.
    fn line_of(&self, text: &[u8], at: usize) -> u64 {
        let piece = self.pieces.partition_point(|(begin, _)| *begin <= at).checked_sub(1);
        let (begin, source) = piece.map_or((0, 0), |piece| self.pieces[piece]);
        let newlines = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count() as u64;
        1 + newlines(&text[..source]) + newlines(&self.template[begin..at.min(self.template.len())])
    }
}

/// Why a variable was not replaced by a placeholder.
enum SecretError {
    Problem(Obstacle),
    Migration(MigrationError),
}

impl From<MigrationError> for SecretError {
    fn from(error: MigrationError) -> Self {
        Self::Migration(error)
    }
}

/// Returns true if a variable may stay in a committed file.
fn is_keepable(entry: &Entry) -> bool {
    !settings::looks_like_a_credential(&entry.name, entry.value.expose())
}

/// Replaces the beginnings of placeholders. Text after a backslash is not a placeholder.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut copied) = (Vec::with_capacity(text.len()), 0);
    for at in memchr::memmem::find_iter(text, from).filter(|at| text[..*at].last() != Some(&b'\\'))
    {
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(to);
        copied = at + from.len();
    }

    out.extend_from_slice(&text[copied..]);
    out
}

/// Resolves the template's own values, to check what it renders to.
impl Reveal for Migration {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let by_key: HashMap<TagKey, (&Tag, &SecretValue)> = self
            .secrets
            .iter()
            .filter_map(|(tag, _, value)| Some((tag.key(), (tag, value.as_ref()?))))
            .collect();

        let reveal = |tag: &Tag| match by_key.get(&tag.key()) {
            Some((tag, value)) => Revealed::Value { tag: (*tag).clone(), value: value.duplicate() },
            None => Revealed::Missing { nearest: None },
        };

        Ok(tags.iter().map(reveal).collect())
    }
}

/// Returns true if a value contains a placeholder in the form that only `secrets` uses. Then the
/// file is already a template.
fn is_template(value: &[u8]) -> Result<bool, TemplateError> {
    let namespaced = Grammar { namespaced: true, ..Grammar::default() };
    Ok(!Plan::new(Template::from_text("a value", value.to_vec()), namespaced)?.is_empty())
}
