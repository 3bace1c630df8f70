//! A dotenv file turned into a template: each value gives way to a placeholder, every other byte stays.
//!
//! What the template renders to reads as the file did, or the file is refused. No value stays in the template, in a comment
//! neither.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::dotenv::{self, DotenvError, Entry};
use crate::mask::{Masker, Match, Needles, Sink};
use crate::model::{Description, SecretBytes, SecretValue, Tag, TagKey};
use crate::template::filter::Filter;
use crate::template::grammar::Grammar;
use crate::template::{ExpandError, Plan, Template, TemplateError};
use crate::vault::{Reveal, Revealed, VaultError};

/// A file that was taken apart.
pub struct Migration {
    /// The template
    pub template: Vec<u8>,
    /// Tags, what comments say of them, and values; no value where the file is an example
    pub secrets: Vec<(Tag, Option<Description>, Option<SecretValue>)>,
    /// Names that were left as they are, with the reason
    pub left: Vec<(String, &'static str)>,
    /// What the template renders to is the file, byte for byte
    pub identical: bool,
    /// Lines whose comment lost a value, from 1
    pub blanked: Vec<u64>,
    /// Newlines of the template
    lines: u64,
    /// The quote of a commented-out value that goes on
    open: Option<u8>,
}

/// What is done with a file.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Names whose values stay in the template
    pub keep: &'a [String],
    /// The file is an example: its values are none
    pub example: bool,
}

/// Why a file cannot become a template. No byte of a value is repeated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// It is no dotenv file
    #[error(transparent)]
    Dotenv(#[from] DotenvError),
    /// A placeholder would be resolved that is none
    #[error("it holds a placeholder already")]
    Placeholder,
    /// Of one name the file has two values
    #[error("`{name}` stands there twice with different values")]
    Twice {
        /// Which
        name: String,
        /// Where the second one stands
        line: u64,
    },
    /// Its value can be stored under no tag of that name
    #[error("`{name}` makes no tag: {why}")]
    Name {
        /// Which
        name: String,
        /// Where
        line: u64,
        /// What a tag would have to be
        why: String,
    },
    /// No spelling of the value survives
    #[error("the value of `{name}` cannot be written as a placeholder")]
    Value {
        /// Which
        name: String,
        /// Where
        line: u64,
    },
    /// A comment or a kept value holds it too
    #[error("the value of `{tag}` would still stand in line {line} of the template")]
    Leak {
        /// Whose
        tag: Tag,
        /// Where
        line: u64,
    },
    /// A value is out of bounds
    #[error("`{name}`: the value is larger than 1 MiB")]
    TooLarge {
        /// Which
        name: String,
        /// Where
        line: u64,
    },
    /// The template engine
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Migration {
    /// Takes a dotenv file apart.
    pub fn of(text: &[u8], wanted: Wanted<'_>) -> Result<Self, MigrationError> {
        let entries = dotenv::parse(text)?;
        let mut made = Self {
            template: Vec::new(),
            secrets: Vec::new(),
            left: Vec::new(),
            identical: true,
            blanked: Vec::new(),
            lines: 0,
            open: None,
        };
        let mut known: HashMap<TagKey, usize> = HashMap::new();
        let mut written = 0;
        for entry in &entries {
            made.between(&text[written..entry.span.start]);
            written = entry.span.end;
            match made.secret(entry, text, wanted, &mut known)? {
                Some(placeholder) => made.put(&placeholder),
                None => made.put(&text[entry.span.clone()]),
            }
        }
        made.between(&text[written..]);
        if !wanted.example {
            made.identical = made.prove(text, &entries)?;
        }
        made.find_leaks()?;
        Ok(made)
    }

    /// Gives secrets other tags. The template's placeholders follow.
    pub fn rename(&mut self, tags: &HashMap<TagKey, Tag>) {
        for (tag, _, _) in &mut self.secrets {
            let Some(other) = tags.get(&tag.key()) else { continue };
            let (from, to) = (format!("{{{{ secrets.{tag} "), format!("{{{{ secrets.{other} "));
            self.template = replaced(&self.template, from.as_bytes(), to.as_bytes());
            *tag = other.clone();
        }
    }

    /// Decides about one assignment; returns what stands in its value's place.
    fn secret(
        &mut self,
        entry: &Entry,
        text: &[u8],
        wanted: Wanted<'_>,
        known: &mut HashMap<TagKey, usize>,
    ) -> Result<Option<Vec<u8>>, MigrationError> {
        let (name, line) = (entry.name.clone(), entry.line);
        let kept = wanted.keep.contains(&name).then_some("as asked for");
        let empty = (entry.value.is_empty() && !wanted.example).then_some("it is empty");
        if let Some(why) = kept.or(empty) {
            self.left.push((name, why));
            return Ok(None);
        }
        let tag = match Tag::parse(&name.replace('.', "_")) {
            Ok(tag) => tag,
            Err(_) if wanted.example => {
                self.left.push((name, "its name makes no tag"));
                return Ok(None);
            }
            Err(why) => return Err(MigrationError::Name { name, line, why: why.0 }),
        };
        if !wanted.example && is_template(entry.value.expose())? {
            return Err(MigrationError::Placeholder);
        }
        let placeholder = if wanted.example {
            let quote = text.get(entry.span.start).filter(|b| matches!(b, b'"' | b'\'' | b'`'));
            spelled(&tag, quote.copied(), None)
        } else {
            written(entry, &text[entry.span.clone()], &tag)
                .ok_or_else(|| MigrationError::Value { name: name.clone(), line })?
        };
        let description = comment_above(text, &entry.whole);
        let value = if wanted.example {
            None
        } else {
            let bytes = SecretBytes::copy_of(entry.value.expose());
            Some(SecretValue::new(bytes, false).map_err(|_| MigrationError::TooLarge { name: name.clone(), line })?)
        };
        match known.get(&tag.key()) {
            Some(at) => {
                let first = self.secrets[*at].2.as_ref().map(SecretValue::expose);
                if first != value.as_ref().map(SecretValue::expose) {
                    return Err(MigrationError::Twice { name, line });
                }
            }
            None => {
                known.insert(tag.key(), self.secrets.len());
                self.secrets.push((tag, description, value));
            }
        }
        Ok(Some(placeholder))
    }

    /// Copies what stands between values: names, comments. What is assigned in a comment, which may be an old secret, is left
    /// out, over lines too.
    fn between(&mut self, piece: &[u8]) {
        for line in piece.split_inclusive(|b| *b == b'\n') {
            let Some(start) = comment(line) else {
                self.open = None;
                self.put(line);
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
                    self.put(&line[..from]);
                    self.put(&line[end..]);
                }
                None => self.put(line),
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.template.extend(bytes);
    }

    /// Renders the template and reads it: it has to say what the file said. True where it is the same to the letter.
    fn prove(&self, text: &[u8], entries: &[Entry]) -> Result<bool, MigrationError> {
        let mut template = Template::from_text("the template", self.template.clone());
        let plan = Plan::new(&mut template, Grammar::default())?;
        let keys: HashSet<TagKey> = self.secrets.iter().map(|(tag, _, _)| tag.key()).collect();
        if plan.malformed(&mut template)?.is_some() || !plan.tags().iter().all(|tag| keys.contains(&tag.key())) {
            return Err(MigrationError::Placeholder);
        }
        let mut rendered = SecretBytes::with_capacity(text.len());
        plan.resolve(self)?.expand(&mut template, &mut rendered).map_err(|error| match error {
            ExpandError::Template(error) => error,
            ExpandError::Output(source) => TemplateError::Io { action: "expand", name: "it".into(), source },
        })?;
        let again = dotenv::parse(rendered.expose()).map_err(|_| MigrationError::Placeholder)?;
        let same = |(a, b): (&Entry, &Entry)| a.name == b.name && a.value.expose() == b.value.expose();
        if again.len() == entries.len() && again.iter().zip(entries).all(same) {
            Ok(rendered.expose() == text)
        } else {
            Err(MigrationError::Placeholder)
        }
    }

    /// Looks for values in the template, in every form in which they are masked. A description with one in it is dropped.
    fn find_leaks(&mut self) -> Result<(), MigrationError> {
        let values = self.secrets.iter().filter_map(|(tag, _, value)| Some((tag, value.as_ref()?.expose())));
        let needles = Needles::new(values);
        let short = self.secrets.iter().filter_map(|(tag, _, value)| Some((tag, value.as_ref()?.expose())));
        let short = short.filter(|(_, value)| (SHORTEST..Needles::SHORTEST).contains(&value.len()));
        let word =
            short.into_iter().find_map(|(tag, value)| Some((tag.clone(), whole_word(&self.template, value)? as u64)));
        if let Some((tag, offset)) = leak(&needles, &self.template).or(word) {
            let before = &self.template[..usize::try_from(offset).unwrap_or(0).min(self.template.len())];
            let line = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
            return Err(MigrationError::Leak { tag, line });
        }
        for (_, description, _) in &mut self.secrets {
            // Short values were looked for in the comment that it comes from.
            *description = description.take().filter(|text| leak(&needles, text.as_str().as_bytes()).is_none());
        }
        Ok(())
    }
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut copied) = (Vec::with_capacity(text.len()), 0);
    for at in memchr::memmem::find_iter(text, from) {
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(to);
        copied = at + from.len();
    }
    out.extend_from_slice(&text[copied..]);
    out
}

/// Values of fewer bytes are in every text.
const SHORTEST: usize = 4;

/// Where a text has a value that is too short for a needle, with nothing of a word around it.
fn whole_word(text: &[u8], value: &[u8]) -> Option<usize> {
    let is_word = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    memchr::memmem::find_iter(text, value)
        .find(|at| !is_word(text[..*at].last()) && !is_word(text.get(at + value.len())))
}

/// The first value in a text, and where it begins.
fn leak(needles: &Needles, text: &[u8]) -> Option<(Tag, u64)> {
    let mut masker = Masker::new(needles);
    let mut leak = Leak(None);
    let Ok(()) = masker.push(text, &mut leak);
    let Ok(()) = masker.finish(&mut leak);
    leak.0
}

/// The template's values, for its proof.
impl Reveal for Migration {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let by_key: HashMap<TagKey, (&Tag, &SecretValue)> =
            self.secrets.iter().filter_map(|(tag, _, value)| Some((tag.key(), (tag, value.as_ref()?)))).collect();
        let reveal = |tag: &Tag| match by_key.get(&tag.key()) {
            Some((tag, value)) => Revealed::Value { tag: (*tag).clone(), value: value.duplicate() },
            None => Revealed::Missing { nearest: None },
        };
        Ok(tags.iter().map(reveal).collect())
    }
}

/// The first value that was found.
struct Leak(Option<(Tag, u64)>);

impl Sink for Leak {
    type Error = std::convert::Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }

    fn masked(&mut self, found: &Match<'_>) -> Result<(), Self::Error> {
        if found.complete {
            self.0.get_or_insert_with(|| (found.tag.clone(), found.start));
        }
        Ok(())
    }
}

/// True for a value with a placeholder in the form that is ours alone: the file is a template already.
fn is_template(value: &[u8]) -> Result<bool, TemplateError> {
    let namespaced = Grammar { namespaced: true, ..Grammar::default() };
    Ok(!Plan::new(&mut Template::from_text("a value", value.to_vec()), namespaced)?.is_empty())
}

/// A placeholder between quotes, or bare.
fn spelled(tag: &Tag, quote: Option<u8>, filter: Option<Filter>) -> Vec<u8> {
    let filter = filter.map_or_else(String::new, |filter| format!(" | {}", filter.name()));
    let quote: Vec<u8> = quote.into_iter().collect();
    [&quote[..], format!("{{{{ secrets.{tag}{filter} }}}}").as_bytes(), &quote[..]].concat()
}

/// The placeholder whose rendering reads as the value does: as it was quoted where that can be, else as it can be.
fn written(entry: &Entry, raw: &[u8], tag: &Tag) -> Option<Vec<u8>> {
    let value = entry.value.expose();
    let reads = |text: &[u8]| {
        let line = SecretBytes::from_vec([b"A=", text, b"\nB=1\n"].concat());
        dotenv::parse(line.expose()).is_ok_and(|found| found.len() == 2 && found[0].value.expose() == value)
    };
    let quote = raw.first().copied().filter(|b| matches!(b, b'"' | b'\'' | b'`'));
    let escaped = Filter::Json.apply(value).ok();
    let rendered = |(quote, filter): (Option<u8>, Option<Filter>)| {
        let inside = if filter.is_some() { escaped.as_ref()?.expose() } else { value };
        let quotes: Vec<u8> = quote.into_iter().collect();
        Some(SecretBytes::from_vec([&quotes[..], inside, &quotes[..]].concat()))
    };
    let (as_it_was, json, single) = ((quote, None), (Some(b'"'), Some(Filter::Json)), (Some(b'\''), None));
    let same = |option: &_| rendered(*option).is_some_and(|text| text.expose() == raw);
    let reads_so = |option: &_| rendered(*option).is_some_and(|text| reads(text.expose()));
    // To the letter, if that can be. Else within single quotes first: nobody expands anything there.
    let options = [as_it_was, json].into_iter().filter(same).chain([single, as_it_was, (Some(b'`'), None), json]);
    // What was kept from being expanded, by a shell that reads the file too, stands nowhere else.
    let is_guarded = quote == Some(b'"') && raw.windows(2).any(|pair| matches!(pair, b"\\$" | b"\\`"));
    options
        .filter(|option| !is_guarded || *option == single)
        .find(reads_so)
        .map(|(quote, filter)| spelled(tag, quote, filter))
}

/// What a line holds behind blanks and a byte order mark, where that is a comment.
fn comment(line: &[u8]) -> Option<usize> {
    let mark = if line.starts_with(dotenv::BOM) { dotenv::BOM.len() } else { 0 };
    let blanks = line[mark..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    (line.get(mark + blanks) == Some(&b'#')).then_some(mark + blanks)
}

/// Where in a comment a value stands: behind the first `NAME=`, wherever that is.
fn commented_value(comment: &[u8]) -> Option<usize> {
    let text = comment.trim_ascii_end();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let mut signs = memchr::memchr_iter(b'=', text);
    signs
        .find(|at| text[..*at].trim_ascii_end().last().is_some_and(|b| is_name(*b)) && at + 1 < text.len())
        .map(|at| at + 1)
}

/// The quote that a value begins with and does not close.
fn left_open(value: &[u8]) -> Option<u8> {
    let value = value.trim_ascii();
    let quote = *value.first().filter(|b| matches!(b, b'"' | b'\'' | b'`'))?;
    (!value[1..].contains(&quote)).then_some(quote)
}

/// What the comment right above an assignment says, unless something in it is commented out.
fn comment_above(text: &[u8], whole: &Range<usize>) -> Option<Description> {
    let mut words: Vec<&str> = Vec::new();
    let mut above = text[..whole.start].strip_suffix(b"\n")?;
    loop {
        let begin = memchr::memrchr(b'\n', above).map_or(0, |at| at + 1);
        let Some(start) = comment(&above[begin..]) else { break };
        let comment = &above[begin + start..];
        if commented_value(comment).is_some() {
            return None;
        }
        // `# --- Database ---`, too.
        let is_ornament = |c: char| c.is_whitespace() || "#-=*~_".contains(c);
        words.push(std::str::from_utf8(comment).ok()?.trim_matches(is_ornament));
        match above[..begin].strip_suffix(b"\n") {
            Some(rest) => above = rest,
            None => break,
        }
    }
    words.reverse();
    Description::parse(words.join(" ").trim()).ok().flatten()
}
