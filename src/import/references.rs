//! KeePass's references, `{REF:P@I:46C9B1FFBD4ABC4BBB260C6190BAD20C}`: an entry that shows a field of another one.
//! <https://keepass.info/help/base/fieldrefs.html>
//!
//! Never puts a password into a label, which would be shown, and never works longer than the file is long: each field
//! is resolved once, and what comes out is bounded.

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use base64ct::{Base64, Encoding};

use super::entry::Entry;
use crate::model::SecretBytes;

/// KeePass itself follows a dozen.
const MOST_STEPS: usize = 12;
/// Most bytes that all references together may bring in.
const MOST_BYTES: usize = 64 * 1024 * 1024;

const NOT_HERE: &str = "it refers to an entry that is not in this file, or to more than one";
const NO_IDS: &str = "it refers to another entry, and only the XML export tells which";
const ROUND: &str = "it refers to itself, or through too many entries";
const TOO_LARGE: &str = "with what it refers to it is too large";

/// An entry of a file, before it is known which become items.
pub(super) struct FoundEntry {
    pub(super) entry: Entry,
    /// Why it becomes none
    pub(super) gone: Option<&'static str>,
    /// KeePass's id
    pub(super) id: Option<Id>,
}

/// The 16 bytes of an entry's id.
pub(super) type Id = [u8; 16];

/// An id as the XML has it, base64.
pub(super) fn id(text: &[u8]) -> Option<Id> {
    let mut id = Id::default();
    (Base64::decode(text.trim_ascii(), &mut id).ok()?.len() == id.len()).then_some(id)
}

/// Puts what they refer to in place of the references of all entries. A value with one that cannot be resolved is
/// dropped with the reason, or stays as it is if `as_is`; a label stays.
pub(super) fn resolve(all: &mut [FoundEntry], as_is: bool) {
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
    let changes: Vec<ResolvedTexts> = referring.iter().map(|at| resolver.changes(*at)).collect();
    for (at, changes) in referring.into_iter().zip(changes) {
        apply(&mut all[at].entry, changes, as_is);
    }
}

/// What becomes of the texts of one entry, in the entry's order; `None` for one without references.
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

/// What a reference asks for, and by what it finds its entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum ReferencePart {
    Title,
    User,
    Password,
    Url,
    Notes,
    Id,
    /// Any of the entry's own fields; only to search by
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
    /// Where it stands
    start: usize,
    end: usize,
}

/// The first reference in a text.
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

        // Without an end here there is none further on either.
        let inside = start + head.len();
        let end = inside + memchr::memchr(b'}', &text[inside..])?;
        return Some(Reference { wanted, by, text: &text[inside..end], start, end: end + 1 });
    }

    None
}

struct Resolver<'e> {
    all: &'e [FoundEntry],
    /// The entry that a text finds, `None` where several have it; made for what is searched by
    found: HashMap<ReferencePart, HashMap<Vec<u8>, Option<usize>>>,
    /// Fields that were referred to, and what they came to
    done: HashMap<(usize, ReferencePart), Result<Rc<SecretBytes>, &'static str>>,
    bytes_left: usize,
}

impl<'e> Resolver<'e> {
    fn of(all: &'e [FoundEntry]) -> Self {
        Self { all, found: HashMap::new(), done: HashMap::new(), bytes_left: MOST_BYTES }
    }

    fn changes(&mut self, at: usize) -> ResolvedTexts {
        let entry = &self.all[at].entry;
        let mut change =
            |text: &[u8], label| next(text).map(|_| self.text(text, label, MOST_STEPS));
        ResolvedTexts {
            labels: entry.labels().map(|text| change(text.as_bytes(), true)).collect(),
            values: entry.values().map(|value| change(value.expose(), false)).collect(),
        }
    }

    /// A text with what its references stand for. One that stands in a label stays where it refers to a secret.
    fn text(&mut self, text: &[u8], label: bool, steps: usize) -> Resolved {
        let mut whole = SecretBytes::with_capacity(text.len());
        let mut rest = text;
        while let Some(reference) = next(rest) {
            whole.extend(&rest[..reference.start]);
            if label && reference.wanted.is_secret() {
                whole.extend(&rest[reference.start..reference.end]);
            } else {
                let field = self.referred(&reference, label, steps)?;
                self.bytes_left = self.bytes_left.checked_sub(field.len()).ok_or(TOO_LARGE)?;
                whole.extend(field.expose());
            }

            rest = &rest[reference.end..];
        }

        whole.extend(rest);
        Ok(whole)
    }

    fn referred(
        &mut self,
        reference: &Reference<'_>,
        label: bool,
        steps: usize,
    ) -> Result<Rc<SecretBytes>, &'static str> {
        let at = self.search(reference)?;
        let steps = steps.checked_sub(1).ok_or(ROUND)?;
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
        if let Some(done) = self.done.get(&key) {
            return done.clone();
        }

        self.done.insert(key, Err(ROUND));

        // A label's own text may refer to a secret, which then belongs into no other label.
        let resolved = self.text(text, label || !reference.wanted.is_secret(), steps).map(Rc::new);
        self.done.insert(key, resolved.clone());
        resolved
    }

    fn search(&mut self, reference: &Reference<'_>) -> Result<usize, &'static str> {
        let all = self.all;
        if reference.by == ReferencePart::Id && all.iter().all(|found| found.id.is_none()) {
            return Err(NO_IDS);
        }

        let found = self.found.entry(reference.by).or_insert_with(|| {
            let mut found = HashMap::new();
            for (at, one) in all.iter().enumerate() {
                let entry = &one.entry;
                let mut names: Vec<Vec<u8>> = match reference.by {
                    ReferencePart::Title => vec![folded(entry.title.as_bytes())],
                    ReferencePart::User => {
                        entry.users.iter().map(|text| folded(text.as_bytes())).collect()
                    }
                    ReferencePart::Url => {
                        entry.urls.iter().map(|text| folded(text.as_bytes())).collect()
                    }
                    ReferencePart::Id => {
                        one.id.iter().map(|id| folded(hex(id).as_bytes())).collect()
                    }
                    // A search by a secret would make copies of all of them; nothing writes such a reference by itself.
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

        found.get(&folded(reference.text)).copied().flatten().ok_or(NOT_HERE)
    }
}

fn folded(text: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(text).trim().to_lowercase().into_bytes()
}

fn hex(id: &Id) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}
