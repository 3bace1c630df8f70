//! Templates. Text outside of placeholders comes out byte for byte, windows and reads of any size
//! change nothing, positions are correct, values are never scanned again, and time is linear.

use std::convert::Infallible;
use std::io::{self, Read};

use super::input::Input;
use terminal_secrets::Position;
use terminal_secrets::dotenv::readers::Readers;
use terminal_secrets::model::{SecretBytes, SecretValue, Tag, is_hostile};
use terminal_secrets::template::grammar::{Grammar, MAX_LENGTH, Malformed, Match, Placeholder};
use terminal_secrets::template::{
    Event, Location, Plan, ScanDetails, Template, TemplateError, WINDOW, scan,
};
use terminal_secrets::vault::{Reveal, Revealed, VaultError};

/// Inputs of up to `SHORT` bytes are also repeated to `LONG` bytes and scanned, so that a timeout
/// finds quadratic time.
const SHORT: usize = 48;
const LONG: usize = 64 * 1024;

/// Runs the target. The first byte selects the grammar, the second the size of the reads, and the
/// rest is the template. If the first byte asks for it, a third byte makes the template begin that
/// many bytes before the end of a window.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (kind, cut) = (input.u8(), usize::from(input.u8()));
    let window = 2 * MAX_LENGTH + cut;
    let filler =
        if kind & 0x40 == 0 { Vec::new() } else { vec![b'.'; window - usize::from(input.u8())] };

    let text = &[&filler, input.rest()].concat()[..];
    let grammar = grammar(kind);
    let parts = parts(&mut &*text, &grammar, WINDOW, true);
    assert!(parts == model(text, &grammar), "the scanner and the grammar disagree");

    let mut short_reads = ShortReads { text, most: 1 + cut % 61 };
    assert!(
        parts == self::parts(&mut short_reads, &grammar, window, true),
        "the size of the reads changes the events"
    );

    expand(&parts, text, &grammar);
    if kind & 0x80 != 0 && (1..=SHORT).contains(&text.len()) {
        let long = text.repeat(LONG / text.len());
        self::parts(&mut &*long, &grammar, WINDOW, true);
    }
}

fn grammar(kind: u8) -> Grammar {
    let delimiters = ["{{,}}", "{{,}}", "[[,]]", "%,%", "<%=,%>", "${,}", "{,}", "((((,:))"]
        [usize::from(kind) % 8];
    let escape = if kind & 8 == 0 { None } else { Some("json".parse().expect("it is a filter")) };
    Grammar {
        delimiters: delimiters.parse().expect("they are delimiters"),
        namespaced: kind & 16 != 0,
        escape,
        ..Grammar::default()
    }
}

/// An event of the scanner, with adjacent literals joined.
#[derive(PartialEq)]
enum Part {
    Literal(Vec<u8>),
    Placeholder(Placeholder, Vec<u8>, Location),
    Malformed(Malformed, Location),
}

fn parts(reader: &mut dyn Read, grammar: &Grammar, window: usize, lines: bool) -> Vec<Part> {
    let mut parts = Vec::new();
    let details = ScanDetails { lines, near_misses: true };
    let done = scan::<Infallible>(reader, grammar, window, details, |event| {
        match (event, parts.last_mut()) {
            (Event::Literal(bytes), Some(Part::Literal(before))) => before.extend_from_slice(bytes),
            (Event::Literal(bytes), _) => parts.push(Part::Literal(bytes.to_vec())),
            (Event::Placeholder(what, raw, position), _) => {
                parts.push(Part::Placeholder(what.clone(), raw.to_vec(), position));
            }
            (Event::Malformed(why, position), _) => parts.push(Part::Malformed(why, position)),
            (Event::NearMiss(..) | Event::Backslashes(..), _) => {}
        }

        Ok(())
    });

    assert!(done.is_ok());
    parts
}

/// A reader that returns a few bytes at a time.
struct ShortReads<'a> {
    text: &'a [u8],
    most: usize,
}

impl Read for ShortReads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.most.min(buffer.len());
        self.text.read(&mut buffer[..most])
    }
}

/// Returns the parts by the rules of the grammar alone, one byte at a time.
fn model(text: &[u8], grammar: &Grammar) -> Vec<Part> {
    let (mut parts, mut literal, mut at) = (Vec::new(), Vec::new(), 0);
    let end = |literal: &mut Vec<u8>, parts: &mut Vec<Part>| {
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(literal)));
        }
    };

    while at < text.len() {
        let (rest, before) = (&text[at..], at.checked_sub(1).map(|before| text[before]));
        let found = if rest.starts_with(grammar.open()) && before != Some(b'$') {
            grammar.at(rest, true)
        } else {
            Match::Ordinary
        };

        let taken = match found {
            Match::Incomplete => panic!("a placeholder is incomplete at the end"),
            Match::Ordinary => 1,
            Match::Malformed(why) => {
                end(&mut literal, &mut parts);
                parts.push(Part::Malformed(why, location(text, at)));
                grammar.open().len()
            }
            Match::Placeholder { placeholder, length } => {
                assert!(length <= MAX_LENGTH);

                // The whole run of backslashes is in `literal` already, and half of it stays.
                let run = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                literal.truncate(literal.len() - run.div_ceil(2));
                if run % 2 == 1 {
                    literal.extend_from_slice(&rest[..length]);
                    at += length;
                    continue;
                }

                end(&mut literal, &mut parts);
                parts.push(Part::Placeholder(
                    placeholder,
                    rest[..length].to_vec(),
                    location(text, at),
                ));

                at += length;
                continue;
            }
        };

        literal.extend_from_slice(&rest[..taken]);
        at += taken;
    }

    end(&mut literal, &mut parts);
    parts
}

fn location(text: &[u8], at: usize) -> Location {
    let before = &text[..at];
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let position = Position { line: line as u64, column: column as u64 };
    Location { offset: at as u64, position }
}

/// Plans and expands as `render` does.
fn expand(parts: &[Part], text: &[u8], grammar: &Grammar) {
    let template = Template::from_text("fuzzed", text.to_vec());
    let marked = text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff");
    let plan = match Plan::new(template, grammar.clone()) {
        Ok(plan) => plan,
        Err(TemplateError::Utf16(_)) if marked => return,
        Err(other) => panic!("a small template was refused: {other}"),
    };

    let malformed = parts.iter().filter(|part| matches!(part, Part::Malformed(..))).count();
    let list = plan.malformed().expect("it is in memory");
    assert_eq!(list.as_ref().map_or(0, |found| found.total), malformed as u64);
    visible(
        list.iter().flat_map(|found| &found.listed).filter_map(|finding| finding.excerpt.as_ref()),
    );

    let resolved = match plan.resolve(&Values) {
        Ok(resolved) => resolved,
        Err(TemplateError::Filter { .. } | TemplateError::FilteredTooLarge) => return,
        Err(other) => panic!("{other}"),
    };

    let list = resolved.unknown().expect("it is in memory");
    visible(
        list.iter().flat_map(|found| &found.listed).filter_map(|finding| finding.excerpt.as_ref()),
    );

    let mut out = Vec::new();
    assert!(resolved.expand(&mut out).is_ok());
    let mut rest = &out[..];

    for part in parts {
        let expected = match part {
            Part::Malformed(..) => continue,
            Part::Literal(bytes) => bytes.clone(),
            Part::Placeholder(what, raw, _) => match value(&what.tag) {
                None => raw.clone(),
                Some(value) => what.filters.iter().fold(value, |value, filter| {
                    filter
                        .apply(&value, Readers::default())
                        .map(|value| value.expose().to_vec())
                        .unwrap_or_default()
                }),
            },
        };

        rest = rest.strip_prefix(&expected[..]).expect("a part differs from what it resolved to");
    }

    assert!(rest.is_empty());
}

fn visible<'a>(excerpts: impl Iterator<Item = &'a (String, usize)>) {
    for (excerpt, _) in excerpts {
        assert!(!excerpt.contains(is_hostile), "an excerpt would act on the terminal");
    }
}

/// Every other tag names a secret. Its value looks like a template.
struct Values;

fn value(tag: &Tag) -> Option<Vec<u8>> {
    let key = tag.key();
    (key.as_str().len() % 2 == 1)
        .then(|| format!("'{}' \"\\{{{{ X }}}}\n{{{{Y}}}} é ", key.as_str()).into_bytes())
}

impl Reveal for Values {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let reveal = |tag: &Tag| match value(tag) {
            None => Revealed::Missing { nearest: None },
            Some(bytes) => {
                let value =
                    SecretValue::new(SecretBytes::from_vec(bytes), false).expect("it is a value");
                Revealed::Value { tag: tag.clone(), value }
            }
        };

        Ok(tags.iter().map(reveal).collect())
    }
}
