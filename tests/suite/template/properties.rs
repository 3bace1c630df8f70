//! Generated templates are read as by the reference, and inserted values are never parsed.

use std::convert::Infallible;
use std::io::{self, Read};

use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::dotenv::readers::Readers;
use terminal_secrets::template::filter::Filter;
use terminal_secrets::template::{Event, ScanDetails, scan};

use crate::support::random::cases;

use super::reference::{Part, Style, merged, reference};
use super::{Map, USUAL, rendered};

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
                Event::Malformed(_, at) => {
                    Part::Malformed { place: (at.position.line, at.position.column) }
                }
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
                        place: (at.position.line, at.position.column),
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
