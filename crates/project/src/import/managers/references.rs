//! KeePass's references, such as `{REF:P@I:46C9B1FFBD4ABC4BBB260C6190BAD20C}`. An entry uses them
//! to show a field of another entry. See <https://keepass.info/help/base/fieldrefs.html>.
//!
//! Passwords never end up in labels, because labels are shown. The work is bounded: each field
//! is resolved only once, and the total output is limited.

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use base64ct::{Base64, Encoding};
use secrets_core::model::SecretBytes;

use super::super::entry::{Entry, FoundEntry, Id};

/// The maximum depth of nested references. KeePass itself follows 12.
const MAX_DEPTH: usize = 12;
/// The maximum total size in bytes of the text that replaces references.
const MAX_OUTPUT: usize = 64 * 1024 * 1024;

const NOT_FOUND: &str = "it refers to an entry that is not in this file, or to more than one";
const NO_IDS: &str = "it refers to another entry, which only the XML export identifies";
const CIRCULAR: &str = "it refers to itself, or through too many entries";
const TOO_LARGE: &str = "it is too large after its references are resolved";

/// Decodes an id, which is Base64 in the XML.
pub(super) fn id(text: &[u8]) -> Option<Id> {
    let mut id = Id::default();
    (Base64::decode(text.trim_ascii(), &mut id).ok()?.len() == id.len()).then_some(id)
}

/// Replaces the references in all entries with the text that they refer to. If a reference in a
/// value cannot be resolved, the value is dropped with a reason, or kept unchanged with `as_is`. A
/// label with such a reference is kept unchanged.
pub(in super::super) fn resolve(all: &mut [FoundEntry], as_is: bool) {
    let refers = |entry: &Entry| {
        let mut texts =
            entry.labels().map(String::as_bytes).chain(entry.values().map(SecretBytes::expose));
        texts.any(|text| next(text).is_some())
    };

    let referring: Vec<usize> = (0..all.len()).filter(|at| refers(&all[*at].entry)).collect();
    if referring.is_empty() {
        return;
    }

    let mut resolver = Resolver::of(all);
    let changes: Vec<ResolvedTexts> =
        referring.iter().map(|at| resolver.resolve_entry(*at)).collect();
    for (at, changes) in referring.into_iter().zip(changes) {
        apply(&mut all[at].entry, changes, as_is);
    }
}

/// The resolved texts of one entry, in the entry's order; `None` for a text without references.
struct ResolvedTexts {
    labels: Vec<Option<Resolved>>,
    values: Vec<Option<Resolved>>,
}

type Resolved = Result<SecretBytes, &'static str>;

fn apply(entry: &mut Entry, changes: ResolvedTexts, as_is: bool) {
    let labels = [&mut entry.title].into_iter().chain(&mut entry.users).chain(&mut entry.urls);
    for (label, change) in labels.zip(changes.labels) {
        if let Some(Ok(text)) = change {
            *label = String::from_utf8_lossy(text.expose()).into_owned();
        }
    }

    let mut changes = changes.values.into_iter();
    let dropped = &mut entry.dropped;
    let mut change = |value: &mut SecretBytes, part: &str| match changes.next().flatten() {
        Some(Ok(resolved)) => *value = resolved,
        Some(Err(why)) if !as_is => {
            *value = SecretBytes::with_capacity(0);
            dropped.push((part.to_owned(), why));
        }
        _ => {}
    };

    for (value, part) in
        [(&mut entry.password, "password"), (&mut entry.totp, "totp"), (&mut entry.notes, "notes")]
    {
        if let Some(value) = value {
            change(value, part);
        }
    }

    for (part, value) in &mut entry.fields {
        change(value, part);
    }
}

/// The field that a reference requests, or the field by which it finds its entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ReferencePart {
    Title,
    User,
    Password,
    Url,
    Notes,
    Id,
    /// Any custom field; can only be searched by
    Field,
}

impl ReferencePart {
    fn of(letter: u8) -> Option<Self> {
        Some(match letter.to_ascii_uppercase() {
            b'T' => Self::Title,
            b'U' => Self::User,
            b'P' => Self::Password,
            b'A' => Self::Url,
            b'N' => Self::Notes,
            b'I' => Self::Id,
            b'O' => Self::Field,
            _ => return None,
        })
    }

    fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::Notes)
    }
}

struct Reference<'t> {
    wanted: ReferencePart,
    by: ReferencePart,
    text: &'t [u8],
    /// The byte offset of its start
    start: usize,
    end: usize,
}

/// Returns the first reference in a text.
fn next(text: &[u8]) -> Option<Reference<'_>> {
    const OPEN: &[u8] = b"{REF:";
    for start in memchr::memchr_iter(b'{', text) {
        let head = text.get(start..start + OPEN.len() + 4)?;
        let [.., wanted, b'@', by, b':'] = *head else { continue };
        if !head[..OPEN.len()].eq_ignore_ascii_case(OPEN) {
            continue;
        }

        let (Some(wanted), Some(by)) = (ReferencePart::of(wanted), ReferencePart::of(by)) else {
            continue;
        };

        if wanted == ReferencePart::Field {
            continue;
        }

        // If no `}` follows this reference, none follows a later one either.
        let inside = start + head.len();
        let end = inside + memchr::memchr(b'}', &text[inside..])?;
        return Some(Reference { wanted, by, text: &text[inside..end], start, end: end + 1 });
    }

    None
}

struct Resolver<'e> {
    all: &'e [FoundEntry],
    /// For each searched field, maps its text to the entry; `None` if several entries have that
    /// text
    index: HashMap<ReferencePart, HashMap<Vec<u8>, Option<usize>>>,
    /// The fields that were already resolved
    cache: HashMap<(usize, ReferencePart), Result<Rc<SecretBytes>, &'static str>>,
    bytes_left: usize,
}

impl<'e> Resolver<'e> {
    fn of(all: &'e [FoundEntry]) -> Self {
        Self { all, index: HashMap::new(), cache: HashMap::new(), bytes_left: MAX_OUTPUT }
    }

    fn resolve_entry(&mut self, at: usize) -> ResolvedTexts {
        let entry = &self.all[at].entry;
        let mut change =
            |text: &[u8], label| next(text).map(|_| self.resolve_text(text, label, MAX_DEPTH));
        ResolvedTexts {
            labels: entry.labels().map(|text| change(text.as_bytes(), true)).collect(),
            values: entry.values().map(|value| change(value.expose(), false)).collect(),
        }
    }

    /// Replaces the references in a text. In a label, references to secrets are kept.
    fn resolve_text(&mut self, text: &[u8], label: bool, steps: usize) -> Resolved {
        let mut output = SecretBytes::with_capacity(text.len());
        let mut rest = text;
        while let Some(reference) = next(rest) {
            output.extend(&rest[..reference.start]);
            if label && reference.wanted.is_secret() {
                output.extend(&rest[reference.start..reference.end]);
            } else {
                let field = self.resolve_reference(&reference, label, steps)?;
                self.bytes_left = self.bytes_left.checked_sub(field.len()).ok_or(TOO_LARGE)?;
                output.extend(field.expose());
            }

            rest = &rest[reference.end..];
        }

        output.extend(rest);
        Ok(output)
    }

    fn resolve_reference(
        &mut self,
        reference: &Reference<'_>,
        label: bool,
        steps: usize,
    ) -> Result<Rc<SecretBytes>, &'static str> {
        let at = self.find_entry(reference)?;
        let steps = steps.checked_sub(1).ok_or(CIRCULAR)?;
        let found = &self.all[at];
        let entry = &found.entry;
        let first = |texts: &'e [String]| texts.first().map_or(&[][..], |text| text.as_bytes());
        let value =
            |value: &'e Option<SecretBytes>| value.as_ref().map_or(&[][..], SecretBytes::expose);

        let text = match reference.wanted {
            ReferencePart::Title => entry.title.as_bytes(),
            ReferencePart::User => first(&entry.users),
            ReferencePart::Url => first(&entry.urls),
            ReferencePart::Password => value(&entry.password),
            ReferencePart::Notes => value(&entry.notes),
            ReferencePart::Id | ReferencePart::Field => {
                let id = found.id.unwrap_or_default();
                return Ok(Rc::new(SecretBytes::copy_of(hex(&id).as_bytes())));
            }
        };

        let key = (at, reference.wanted);
        if let Some(cached) = self.cache.get(&key) {
            return cached.clone();
        }

        self.cache.insert(key, Err(CIRCULAR));

        // A label that is referred to is resolved as a label as well. It may refer to a secret,
        // which must not end up in another label.
        let is_label = label || !reference.wanted.is_secret();
        let resolved = self.resolve_text(text, is_label, steps).map(Rc::new);
        self.cache.insert(key, resolved.clone());
        resolved
    }

    fn find_entry(&mut self, reference: &Reference<'_>) -> Result<usize, &'static str> {
        let all = self.all;
        if reference.by == ReferencePart::Id && all.iter().all(|found| found.id.is_none()) {
            return Err(NO_IDS);
        }

        let found = self.index.entry(reference.by).or_insert_with(|| {
            let mut found = HashMap::new();
            for (at, one) in all.iter().enumerate() {
                let entry = &one.entry;
                let mut names: Vec<Vec<u8>> = match reference.by {
                    ReferencePart::Title => vec![fold_case(entry.title.as_bytes())],
                    ReferencePart::User => {
                        entry.users.iter().map(|text| fold_case(text.as_bytes())).collect()
                    }
                    ReferencePart::Url => {
                        entry.urls.iter().map(|text| fold_case(text.as_bytes())).collect()
                    }
                    ReferencePart::Id => {
                        one.id.iter().map(|id| fold_case(hex(id).as_bytes())).collect()
                    }
                    // A search by secret values would need copies of all of them. Programs do not
                    // generate such references.
                    ReferencePart::Password | ReferencePart::Notes | ReferencePart::Field => {
                        Vec::new()
                    }
                };

                names.dedup();
                for name in names.into_iter().filter(|name| !name.is_empty()) {
                    found.entry(name).and_modify(|other| *other = None).or_insert(Some(at));
                }
            }

            found
        });

        found.get(&fold_case(reference.text)).copied().flatten().ok_or(NOT_FOUND)
    }
}

fn fold_case(text: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(text).trim().to_lowercase().into_bytes()
}

fn hex(id: &Id) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}
