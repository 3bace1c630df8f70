//! Templates: properties of generated ones, compared with a second implementation of the grammar
//! that was written from the design.
//!
//! The reference below has no window, no cursor and no incomplete input. It reads the whole
//! template, takes the text up to the first closing delimiter, and splits it at its bars.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Read};
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::dotenv::readers::Readers;
use terminal_secrets::model::Tag;
use terminal_secrets::template::filter::Filter;
use terminal_secrets::template::grammar::Grammar;
use terminal_secrets::template::{Event, Plan, ScanDetails, Template, WINDOW, scan};
use terminal_secrets::vault::{Reveal, Revealed, VaultError};

use crate::support::value;

/// A part of a template. Positions are line and column.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(Vec<u8>),
    Placeholder { tag: String, filters: Vec<String>, raw: Vec<u8>, place: (u64, u64) },
    Malformed { place: (u64, u64) },
}

/// The spelling of placeholders in a case.
#[derive(Debug, Clone, Copy)]
struct Style {
    open: &'static str,
    close: &'static str,
    namespaced: bool,
    escape: Option<Filter>,
}

const USUAL: Style = Style { open: "{{", close: "}}", namespaced: false, escape: None };
const STYLES: [Style; 9] = [
    USUAL,
    USUAL,
    USUAL,
    Style { namespaced: true, ..USUAL },
    Style { escape: Some(Filter::Base64), ..USUAL },
    Style { open: "[[", close: "]]", ..USUAL },
    Style { open: "<%=", close: "%>", ..USUAL },
    Style { open: "%", close: "%", ..USUAL },
    Style { open: "${", close: "}", ..USUAL },
];

impl Style {
    fn grammar(self) -> Grammar {
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
fn reference(template: &[u8], style: Style) -> Vec<Part> {
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
fn merged(parts: Vec<Part>) -> Vec<Part> {
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

/// Reads a template with the product, through a window of this size and a reader that gives at most
/// `chunk` bytes at once.
fn product(template: &[u8], style: Style, window: usize, chunk: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let details = ScanDetails { lines: true, near_misses: true };
    let done = scan::<Infallible>(
        &mut Chunks { rest: template, chunk },
        &style.grammar(),
        window,
        details,
        |event| {
            parts.push(match event {
                Event::NearMiss(..) | Event::Backslashes(..) => return Ok(()),
                Event::Literal(bytes) => Part::Text(bytes.to_vec()),
                Event::Malformed(_, at) => Part::Malformed { place: (at.line, at.column) },
                Event::Placeholder(placeholder, raw, at) => {
                    assert_eq!(&template[at.offset as usize..][..raw.len()], raw);
                    Part::Placeholder {
                        tag: placeholder.tag.to_string(),
                        filters: placeholder
                            .filters
                            .iter()
                            .map(|filter| filter.name().to_owned())
                            .collect(),
                        raw: raw.to_vec(),
                        place: (at.line, at.column),
                    }
                }
            });

            Ok(())
        },
    );

    done.unwrap();
    merged(parts)
}

struct Chunks<'a> {
    rest: &'a [u8],
    chunk: usize,
}

impl Read for Chunks<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.chunk.min(out.len());
        self.rest.read(&mut out[..length])
    }
}

/// Returns a building block of templates: everything that the grammar reacts to, and text that it
/// must ignore.
fn token(number: u8, style: Style) -> Vec<u8> {
    let bytes: &[u8] = match number {
        0..=5 => style.open.as_bytes(),
        6..=11 => style.close.as_bytes(),
        12..=14 => b"secrets.",
        15 => b"{",
        16 => b"}",
        17 | 18 => b"$",
        19 => b"\\",
        20 => b"\\\\\\",
        21..=23 => b"|",
        24..=27 => b" ",
        28 => b"\t",
        29 => b"\n",
        30 => b"\r\n",
        31..=33 => b"TOKEN",
        34..=36 => b"my-secret",
        37 => b"_",
        38 => b"-",
        39 => b"json",
        40 => b" trim ",
        41 => b"upper",
        42 => b"se0123456789abcdef",
        43 => b"SE0123456789ABCDEF",
        44 => b"7",
        45 => b".",
        46 => b"\0",
        47 => b"\xff",
        48 => "\u{feff}é".as_bytes(),
        49 => return vec![b' '; 490],
        50 => return vec![b'A'; 127],
        51 => return vec![b'\t'; 504],
        52 => b"text without anything in it\n",
        53 => {
            return [style.open.as_bytes(), b" secrets.my-secret | url ", style.close.as_bytes()]
                .concat();
        }
        54 => return [style.open.as_bytes(), b"TOKEN", style.close.as_bytes()].concat(),
        55 => return [b"\\", style.open.as_bytes(), b" TOKEN ", style.close.as_bytes()].concat(),
        _ => return [b"$", style.open.as_bytes(), b" secrets.a ", style.close.as_bytes()].concat(),
    };

    bytes.to_vec()
}

fn templates(
    tokens: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = (Style, Vec<u8>)> {
    (0..STYLES.len(), vec(0..57_u8, tokens)).prop_map(|(style, tokens)| {
        let style = STYLES[style];
        (style, tokens.into_iter().flat_map(|number| token(number, style)).collect())
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Compares without printing kilobytes of numbers on failure.
fn same(template: &[u8], style: Style, window: usize, chunk: usize) -> Result<(), TestCaseError> {
    let (found, expected) = (product(template, style, window, chunk), reference(template, style));
    let shown = String::from_utf8_lossy(template);
    prop_assert!(
        found == expected,
        "{style:?}\n{shown}\nproduct: {found:?}\nreference: {expected:?}"
    );

    Ok(())
}

proptest! {
    #![proptest_config(cases(80_000))]

    #[test]
    fn short_templates_match_the_reference((style, template) in templates(0..12), chunk in 1..40_usize) {
        same(&template, style, 0, chunk)?;
    }
}

proptest! {
    #![proptest_config(cases(10_000))]

    /// Templates span several windows, because the smallest has 1,024 bytes.
    #[test]
    fn neither_window_nor_chunk_matters((style, template) in templates(40..160), window in 0..1500_usize,
                                        chunk in 1..2000_usize) {
        same(&template, style, window, chunk)?;
    }

    #[test]
    fn bytes_without_an_opening_delimiter_are_unchanged(template in vec(any::<u8>(), 1..1300)) {
        let parts = product(&template, USUAL, 0, 1000);
        if !template.windows(2).any(|two| two == b"{{") {
            prop_assert_eq!(parts, vec![Part::Text(template)]);
        }
    }
}

/// Values without a vault.
struct Map(HashMap<String, Vec<u8>>);

impl Reveal for Map {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let one = |tag: &Tag| match self.0.get(tag.key().as_str()) {
            Some(bytes) => Revealed::Value { tag: tag.clone(), value: value(bytes) },
            None => Revealed::Missing { nearest: None },
        };

        Ok(tags.iter().map(one).collect())
    }
}

/// Plans, resolves and expands, like `render --keep-unknown`.
fn rendered(template: &[u8], style: Style, values: &Map) -> Vec<u8> {
    let template = Template::from_text("template", template.to_vec());
    let resolved = Plan::new(template, style.grammar()).unwrap().resolve(values).unwrap();
    let mut out = Vec::new();
    resolved.expand(&mut out).unwrap();

    out
}

proptest! {
    // Fewer cases, because each one wipes a buffer of 64 KiB, which is slow in a debug build.
    #![proptest_config(cases(2_000))]

    #[test]
    fn inserted_values_are_never_parsed((style, template) in templates(0..30),
                                              hostile in vec(0..57_u8, 0..20)) {
        let hostile: Vec<u8> = hostile.into_iter().flat_map(|number| token(number, style)).collect();
        let values = Map(["token", "my_secret", "a"].map(|key| (key.to_owned(), hostile.clone())).into());
        // `json` and `shell` do not accept every value. Other tests cover them.
        let parts = reference(&template, style);
        let takes_all = |filters: &[String]| !filters.iter().any(|name| name == "json" || name == "shell");
        prop_assume!(parts.iter().all(|part| !matches!(part, Part::Placeholder { filters, .. } if !takes_all(filters))));
        let mut expected = Vec::new();
        for part in parts {
            match part {
                Part::Text(text) => expected.extend(text),
                Part::Malformed { .. } => {}
                Part::Placeholder { tag, filters, raw, .. } => match values.0.get(&key(&tag)) {
                    Some(bytes) => expected.extend(filtered(bytes, &filters)),
                    None => expected.extend(raw),
                },
            }
        }
        prop_assert!(rendered(&template, style, &values) == expected, "{}", String::from_utf8_lossy(&template));
    }
}

fn key(tag: &str) -> String {
    tag.to_ascii_lowercase().replace('-', "_")
}

fn filtered(bytes: &[u8], filters: &[String]) -> Vec<u8> {
    filters.iter().fold(bytes.to_vec(), |bytes, name| {
        Filter::named(name.as_bytes())
            .unwrap()
            .apply(&bytes, Readers::default())
            .unwrap()
            .expose()
            .to_vec()
    })
}

#[test]
fn a_template_without_placeholders_is_copied_unchanged() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = b"line of text, { and }\r\n".repeat(3 * WINDOW / 23);
    let templates: [&[u8]; 12] = [
        b"",
        b"\n",
        b"no newline at the end",
        b"\xef\xbb\xbfBOM\r\nCRLF\r\n",
        b"\0\0\0",
        b"\xff\xfe\x80",
        &every_byte,
        &long,
        b"{{",
        b"\\{{ .Values.x }} ${{ secrets.X }} {{#if}} {{ user.name }} {{ TITLE | upper }} {{ lower }} {{ _ }}",
        b"{{\n X }} {{ X \r\n}} {{ X } } {{}} }} {",
        b"\\",
    ];

    for template in templates {
        let kept = Template::from_text("template", template.to_vec());
        assert!(Plan::new(kept, Grammar::default()).unwrap().is_empty());
        assert!(
            rendered(template, USUAL, &Map(HashMap::new())) == template,
            "{}",
            String::from_utf8_lossy(template)
        );
    }
}

/// Returns the processor time of this thread in nanoseconds, because other tests run at the same
/// time.
fn busy() -> u64 {
    let of_kernel = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let first = of_kernel.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
    first.unwrap_or_else(|| {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    })
}

#[test]
fn time_is_linear_in_the_template() {
    let longest_blank = format!("{{{{{}", " ".repeat(509));
    let filters = format!("{{{{X{}", "|json".repeat(101));
    let units = [
        "{{{{",
        "{{ secrets.",
        "{{    ",
        r"\{{",
        "${{",
        "{{X",
        "{{ secrets.x }}\n",
        &longest_blank,
        &filters,
    ];

    for unit in units {
        let measured = |size: usize| {
            let template = unit.repeat(size / unit.len());
            let begin = busy();
            let visit = |_: Event<'_>| Ok::<_, Infallible>(());
            scan(&mut template.as_bytes(), &Grammar::default(), WINDOW, ScanDetails::LINES, visit)
                .unwrap();
            busy() - begin
        };

        let (small, large) = (measured(256 << 10), measured(2 << 20));

        // Eight times the bytes take eight times the work if it is linear, and sixty-four times if
        // it is quadratic. Times below a few scheduler ticks mean nothing.
        assert!(
            large < 24 * small.max(20_000_000),
            "{}: {small} ns, then {large} ns",
            &unit[..unit.len().min(20)]
        );
    }
}
