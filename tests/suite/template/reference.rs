//! A second implementation of the grammar, written from the design.
//!
//! It has no window, no cursor and no incomplete input. It reads the whole template, takes the text
//! up to the first closing delimiter, and splits it at its bars.

use terminal_secrets::template::filter::Filter;
use terminal_secrets::template::grammar::Grammar;

/// A part of a template. Positions are line and column.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(Vec<u8>),
    Placeholder { tag: String, filters: Vec<String>, raw: Vec<u8>, place: (u64, u64) },
    Malformed { place: (u64, u64) },
}

/// The spelling of placeholders in a case.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub open: &'static str,
    pub close: &'static str,
    pub namespaced: bool,
    pub escape: Option<Filter>,
}

impl Style {
    pub fn grammar(self) -> Grammar {
        let delimiters = format!("{},{}", self.open, self.close).parse().unwrap();
        Grammar {
            delimiters,
            namespaced: self.namespaced,
            escape: self.escape,
            ..Grammar::default()
        }
    }
}

/// Reads the design's grammar in a second way.
pub fn reference(template: &[u8], style: Style) -> Vec<Part> {
    let (mut parts, mut text, mut at) = (Vec::new(), Vec::new(), 0);
    while at < template.len() {
        let rest = &template[at..];
        let before = if at == 0 { b' ' } else { template[at - 1] };
        let ours = rest.starts_with(style.open.as_bytes()) && before != b'$';

        match parse_placeholder(rest, style).filter(|_| ours) {
            Some((length, tag, filters)) => {
                // Half of the backslashes before it disappear. A backslash without a partner makes
                // it literal.
                let mut escapes = 0;
                while text.last() == Some(&b'\\') {
                    text.pop();
                    escapes += 1;
                }

                text.resize(text.len() + escapes / 2, b'\\');
                if escapes % 2 == 1 {
                    text.extend_from_slice(&rest[..length]);
                    at += length;
                    continue;
                }

                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Placeholder {
                    tag,
                    filters,
                    raw: rest[..length].to_vec(),
                    place: place(template, at),
                });

                at += length;
            }
            None => {
                if ours && has_our_prefix(rest, style) {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(Part::Malformed { place: place(template, at) });
                }

                text.push(rest[0]);
                at += 1;
            }
        }
    }

    parts.push(Part::Text(text));
    merged(parts)
}

/// Returns the length, tag and filters of a placeholder at the start of `rest`.
fn parse_placeholder(rest: &[u8], style: Style) -> Option<(usize, String, Vec<String>)> {
    let inner = rest[..rest.len().min(512)].strip_prefix(style.open.as_bytes())?;
    let end = (0..inner.len()).find(|at| inner[*at..].starts_with(style.close.as_bytes()))?;
    let inner = std::str::from_utf8(&inner[..end]).ok()?;
    let mut words = inner.split('|').map(|word| word.trim_matches([' ', '\t']));
    let reference = words.next()?;
    let tag = match reference.strip_prefix("secrets.") {
        Some(tag) => tag,
        None if style.namespaced || reference.starts_with(|c: char| c.is_ascii_digit()) => {
            return None;
        }
        None => Some(reference)
            .filter(|name| name.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '_')))?,
    };

    let mut filters: Vec<String> = words.map(str::to_owned).collect();
    if !filters
        .iter()
        .all(|name| ["json", "shell", "url", "base64", "trim"].contains(&name.as_str()))
    {
        return None;
    }

    if filters.is_empty() {
        filters.extend(style.escape.map(|filter| filter.name().to_owned()));
    }

    is_tag(tag).then(|| (style.open.len() + end + style.close.len(), tag.to_owned(), filters))
}

fn is_tag(tag: &str) -> bool {
    let key = tag.to_ascii_lowercase();
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let is_id =
        key.len() == 18 && key.strip_prefix("se").is_some_and(|digits| digits.chars().all(hex));
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';

    (1..=128).contains(&tag.len())
        && tag.chars().all(fits)
        && !tag.starts_with('-')
        && tag.contains(|c: char| c.is_ascii_alphanumeric())
        && !is_id
}

/// Returns true for `secrets.` after blanks, within the 512 bytes that a placeholder may have.
fn has_our_prefix(rest: &[u8], style: Style) -> bool {
    let inner = &rest[style.open.len()..rest.len().min(512)];
    let blanks = inner.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    inner[blanks..].starts_with(b"secrets.")
}

fn place(template: &[u8], at: usize) -> (u64, u64) {
    let lines: Vec<&[u8]> = template[..at].split(|b| *b == b'\n').collect();
    (lines.len() as u64, lines[lines.len() - 1].len() as u64 + 1)
}

/// Joins neighbouring texts and drops empty ones, so that the division into pieces does not matter.
pub fn merged(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (_, Part::Text(text)) if text.is_empty() => {}
            (Some(Part::Text(before)), Part::Text(text)) => before.extend(text),
            (_, part) => out.push(part),
        }
    }

    out
}
