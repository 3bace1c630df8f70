//! Masking: properties compared with a naive model that sees the whole stream, every form at every
//! split, and real encoders.
//!
//! The model has no automaton. It looks for each needle at each offset and joins overlapping
//! matches.

use std::convert::Infallible;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Base64Url, Encoding};
use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::mask::{Form, MaskedSpan, Masker, Needles, Sink};
use terminal_secrets::model::Tag;

use crate::support::random::cases;

/// The output, with `<tag>` for each region. It also checks that offsets add up.
#[derive(Default)]
struct Out {
    text: Vec<u8>,
    offset: u64,
    regions: Vec<(u64, u64, String, Form)>,
    /// For each byte of the stream that has left the masker: whether it was shown
    shown: Vec<Option<u8>>,
    /// For each region, whether colours were reset in it
    resets: Vec<bool>,
}

impl Sink for Out {
    type Error = Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(!bytes.is_empty());
        self.text.extend(bytes);
        self.offset += bytes.len() as u64;
        self.shown.extend(bytes.iter().map(|byte| Some(*byte)));

        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        assert!(
            found.start == self.offset && found.end > found.start,
            "{found:?} at {}",
            self.offset
        );

        self.text.extend(format!("<{}>", found.tag).bytes());
        self.offset = found.end;
        self.shown.resize(found.end as usize, None);
        self.resets.push(found.resets);
        self.regions.push((found.start, found.end, found.tag.to_string(), found.form));

        Ok(())
    }
}

/// Returns needles of values with the tags t0, t1, …
fn needles(values: &[Vec<u8>]) -> Needles {
    let tags: Vec<Tag> = (0..values.len()).map(|n| Tag::parse(&format!("t{n}")).unwrap()).collect();
    Needles::new(tags.iter().zip(values.iter().map(Vec::as_slice)))
}

fn masked_in(needles: &Needles, pieces: &[&[u8]]) -> Out {
    let (mut masker, mut out) = (Masker::new(needles), Out::default());
    for piece in pieces {
        let Ok(()) = masker.push(piece, &mut out);
        assert!(masker.settled() == out.offset);
    }

    let Ok(()) = masker.finish(&mut out);
    assert!(
        !masker.is_holding()
            && out.offset == pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
    );

    out
}

fn masked(needles: &Needles, text: &[u8]) -> String {
    String::from_utf8_lossy(&masked_in(needles, &[text]).text).into_owned()
}

/// Returns every match of every needle: start, end, index.
fn matches(values: &[Vec<u8>], text: &[u8]) -> Vec<(usize, usize, usize)> {
    let mut found = Vec::new();
    for start in 0..text.len() {
        for (which, value) in values.iter().enumerate() {
            if value.len() >= 8 && text[start..].starts_with(value) {
                found.push((start, start + value.len(), which));
            }
        }
    }

    found
}

/// Returns where a value starts that the end of the text cuts off, and the first such value, if
/// more than seven bytes of it are not masked anyway.
fn cut_off(values: &[Vec<u8>], text: &[u8]) -> Option<(usize, usize)> {
    let at = begun(values, text)?;
    let matches = matches(values, text);
    let is_masked = |at: &usize| matches.iter().any(|(start, end, _)| (*start..*end).contains(at));
    if (at..text.len()).filter(|at| !is_masked(at)).count() <= 7 {
        return None;
    }

    // Needles are sorted, and a complete one comes first.
    let all = values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.len() >= 8 && value.starts_with(&text[at..]));

    all.min_by_key(|(_, value)| *value).map(|(which, _)| (at, which))
}

/// Returns where a value starts that the end of the text cuts off.
fn begun(values: &[Vec<u8>], text: &[u8]) -> Option<usize> {
    let begins = |at: usize| {
        values
            .iter()
            .any(|it| it.len() >= 8.max(text.len() - at + 1) && it.starts_with(&text[at..]))
    };

    (0..text.len()).find(|at| begins(*at))
}

/// Joins overlapping matches. A region has the name of its longest match, or the first of equally
/// long ones.
fn regions(values: &[Vec<u8>], text: &[u8]) -> Vec<(u64, u64, String)> {
    joined(values, matches(values, text))
}

/// Returns the regions of a stream that ends here.
fn regions_at_the_end(values: &[Vec<u8>], text: &[u8]) -> Vec<(u64, u64, String)> {
    let mut all = matches(values, text);
    all.extend(cut_off(values, text).map(|(start, which)| (start, text.len(), which)));
    all.sort_unstable();
    joined(values, all)
}

fn joined(values: &[Vec<u8>], matches: Vec<(usize, usize, usize)>) -> Vec<(u64, u64, String)> {
    let mut joined: Vec<(usize, usize, usize, usize)> = Vec::new();
    for (start, end, which) in matches {
        match joined.last_mut().filter(|(_, last, ..)| *last > start) {
            Some((_, last, length, name)) => {
                *last = end.max(*last);
                if values[which].len() > *length {
                    (*length, *name) = (values[which].len(), which);
                }
            }
            None => joined.push((start, end, values[which].len(), which)),
        }
    }

    joined
        .into_iter()
        .map(|(start, end, _, which)| (start as u64, end as u64, format!("t{which}")))
        .collect()
}

/// Returns how many bytes of a stream can be out if it ends here.
fn settled(values: &[Vec<u8>], text: &[u8]) -> u64 {
    let begins = |tail: &[u8]| {
        values.iter().any(|value| value.len() > tail.len() && value.starts_with(tail))
    };

    let safe =
        (0..=text.len()).find(|at| *at == text.len() || begins(&text[*at..])).unwrap() as u64;
    let growing = regions(values, text).into_iter().find(|(_, end, _)| *end > safe);
    growing.map_or(safe, |(start, ..)| start.min(safe))
}

/// Generates words that repeat and share prefixes and suffixes.
fn words() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let letters = || prop::sample::select(b"aab".to_vec());
    let periodic = (vec(letters(), 1..4), 1..8_usize, vec(letters(), 0..3))
        .prop_map(|(unit, times, rest)| [unit.repeat(times), rest].concat());
    vec(prop_oneof![vec(letters(), 4..14), periodic], 1..6)
}

/// Generates values, and a text from their parts.
fn cases_of_text() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
    let pieces = vec((any::<u16>(), 0..20_usize, 0..20_usize, any::<bool>()), 0..14);
    (words(), pieces).prop_map(|(values, pieces)| {
        let mut text = Vec::new();
        for (which, from, to, other) in pieces {
            let value = &values[usize::from(which) % values.len()];
            text.extend(&value[from.min(value.len())..to.max(from).min(value.len())]);
            text.extend(if other { &b"c"[..] } else { b"" });
            text.extend(if to % 3 == 0 { &value[..] } else { b"" });
        }

        (values, text)
    })
}

fn cut<'a>(text: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (text, Vec::new());
    for length in lengths.iter().cycle() {
        if rest.is_empty() || lengths.iter().all(|length| *length == 0) {
            break;
        }

        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }

    pieces.push(rest);
    pieces
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn every_match_is_masked_and_nothing_else((values, text) in cases_of_text(), lengths in vec(0..30_usize, 1..6)) {
        let needles = needles(&values);
        let expected = regions_at_the_end(&values, &text);
        for pieces in [vec![&text[..]], cut(&text, &lengths), cut(&text, &[1])] {
            let out = masked_in(&needles, &pieces);
            let found: Vec<_> = out.regions.into_iter().map(|(start, end, tag, _)| (start, end, tag)).collect();
            prop_assert_eq!(&found, &expected);
            for (at, byte) in out.shown.iter().enumerate() {
                prop_assert!(byte.is_none_or(|byte| byte == text[at]));
            }
        }
    }

    #[test]
    fn only_a_possible_start_of_a_secret_is_held_back((values, text) in cases_of_text(), lengths in vec(1..30_usize, 1..6)) {
        let needles = needles(&values);
        let values: Vec<_> = values.into_iter().filter(|value| value.len() >= 8).collect();
        let (mut masker, mut out, mut position) = (Masker::new(&needles), Out::default(), 0);

        for piece in cut(&text, &lengths) {
            let Ok(()) = masker.push(piece, &mut out);
            position += piece.len();
            prop_assert_eq!(masker.settled(), settled(&values, &text[..position]));
            prop_assert_eq!(masker.is_holding(), masker.settled() < position as u64);
        }
    }

    #[test]
    fn pauses_show_at_most_seven_bytes_of_a_value(
        (values, text) in cases_of_text(),
        lengths in vec((1..12_usize, any::<bool>()), 1..6),
    ) {
        let needles = needles(&values);
        let values: Vec<_> = values.into_iter().filter(|value| value.len() >= 8).collect();
        let (mut masker, mut out, mut position, mut pauses) = (Masker::new(&needles), Out::default(), 0, Vec::new());

        for (piece, pause) in cut(&text, &lengths.iter().map(|it| it.0).collect::<Vec<_>>()).into_iter().zip(lengths.iter().cycle()) {
            let Ok(()) = masker.push(piece, &mut out);
            position += piece.len();
            if pause.1 {
                let Ok(()) = masker.pause(&mut out);
                pauses.push(position);

                // Bytes are held back only if seven bytes of the value are out.
                let begins = |at: usize| values.iter().any(|value| value.starts_with(&text[at..position]));
                let begun = (0..position).find(|at| begins(*at)).unwrap_or(position);
                let seen = out.shown.get(begun..).map_or(0, |seen| seen.iter().flatten().count());
                prop_assert!(seen <= 7 && (seen == 7 || !masker.is_holding()), "{seen} of {}", text.escape_ascii());
            }
        }

        let Ok(()) = masker.finish(&mut out);
        prop_assert_eq!(out.shown.len(), text.len());
        let matches = matches(&values, &text);
        for (start, end, _) in &matches {
            let seen = out.shown[*start..*end].iter().flatten().count();
            prop_assert!(seen <= 7, "{seen} bytes of {:?} in {}", (start, end), text.escape_ascii());
        }

        let cut_off = cut_off(&values, &text).map_or(text.len(), |(start, _)| start);
        let begun = begun(&values, &text).unwrap_or(text.len());
        let last = *pauses.last().unwrap_or(&0);

        for (at, byte) in out.shown.iter().enumerate() {
            let hidden = at >= cut_off || matches.iter().any(|(start, end, _)| (*start..*end).contains(&at));

            // Only bytes that a pause released before the value was complete may be visible.
            let paused = pauses.iter().any(|pause| at < *pause) && at < last;

            // If pauses have shown seven bytes of the truncated value, the rest of it is masked,
            // however short.
            prop_assert!(byte.map_or(hidden || at >= begun, |byte| byte == text[at] && (paused || !hidden)), "{at}");
        }
    }

    #[test]
    fn base64_of_a_value_among_other_data_is_masked(
        before in vec(any::<u8>(), 0..12), value in vec(any::<u8>(), 8..70), after in vec(any::<u8>(), 0..12),
    ) {
        let needles = needles(std::slice::from_ref(&value));
        let data = [&before[..], &value, &after].concat();
        for text in [Base64::encode_string(&data), Base64Url::encode_string(&data)] {
            let out = masked_in(&needles, &[text.as_bytes()]);
            let (first, last) = (8 * before.len(), 8 * (before.len() + value.len()));
            for (at, shown) in out.shown.iter().enumerate() {
                let bits = 6 * at..6 * at + 6;
                if bits.start >= first && (bits.end <= last || after.is_empty() && bits.start < last) {
                    prop_assert_eq!(*shown, None, "{} of {}", at, text);
                }

                if bits.end <= first || bits.start >= last {
                    prop_assert!(shown.is_some(), "{} of {}", at, text);
                }
            }
        }
    }
}

/// Returns a value with a special character for every encoder, and the forms that programs write.
fn every_form() -> (Vec<u8>, Vec<(Form, Vec<u8>)>) {
    let value = " it's <a>/\"b\\\"\u{1}\t& é😀~*!\nsecond line of it, which is long enough\n";
    let hex: String = value
        .bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| format!("{digit:x}"))
        .collect::<Vec<_>>()
        .concat();

    let percent = |kept: &str, upper: bool| -> String {
        let escape = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
        let one = |byte: u8| match char::from(byte) {
            c if c.is_ascii_alphanumeric() || kept.contains(c) => c.to_string(),
            _ => escape(byte),
        };

        value.bytes().map(one).collect()
    };

    let json = |html: &[(&str, &str)]| {
        let text = serde_json::to_string(value).unwrap();
        html.iter()
            .fold(text[1..text.len() - 1].to_owned(), |text, (from, to)| text.replace(from, to))
    };

    let ascii = [("é", r"\u00e9"), ("😀", r"\ud83d\ude00")];
    let encoded = |at: usize| {
        let data = [&b"::"[..at], value.as_bytes(), b":"].concat();
        let text = Base64::encode_string(&data).into_bytes();
        let whole = 8 * (at + value.len()) / 6;
        text[(8 * at).div_ceil(6)..whole].to_vec()
    };

    let url = |text: Vec<u8>| {
        text.into_iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                _ => byte,
            })
            .collect()
    };

    let texts = vec![
        (Form::Raw, value.to_owned()),
        (Form::Raw, value.replace('\n', "\r\n")),
        (Form::Line, value.trim().to_owned()),
        (Form::Line, value.lines().next().unwrap().to_owned()),
        (Form::Line, value.lines().next().unwrap().trim().to_owned()),
        (Form::Line, value.lines().nth(1).unwrap().to_owned()),
        (Form::Escaped, json(&[])),
        (Form::Escaped, json(&ascii)),
        (Form::Escaped, json(&[("<", r"\u003c"), (">", r"\u003e"), ("&", r"\u0026")])),
        (Form::Escaped, json(&[("/", r"\/")])),
        (Form::Escaped, json(&[ascii[0], ascii[1], ("/", r"\/")])),
        (Form::Shell, value.replace('\'', r"'\''")),
        (Form::Shell, value.replace('\'', r#"'"'"'"#)),
        (
            Form::Escaped,
            "\\ it\\'s <a>/\"b\\\\\"\\001\\t& é😀~*!\\nsecond line of it, which is long enough\\n"
                [1..]
                .into(),
        ),
        (Form::Url, percent("-._~", true)),
        (Form::Url, percent("-._~", false)),
        (Form::Url, percent("-_.!~*'()", true)),
        (Form::Url, percent(" *-._", true).replace(' ', "+")),
        (Form::Hex, hex.clone()),
        (Form::Hex, hex.to_uppercase()),
    ];

    let mut all: Vec<_> = texts.into_iter().map(|(form, text)| (form, text.into_bytes())).collect();
    all.extend((0..3).map(encoded).map(|text| (Form::Base64, text)));
    all.extend((0..3).map(encoded).map(|text| (Form::Base64, url(text))));

    for columns in [76, 64] {
        let rows: Vec<Vec<u8>> = Base64::encode_string(value.as_bytes())
            .into_bytes()
            .chunks(columns)
            .map(<[u8]>::to_vec)
            .collect();

        all.push((Form::Base64, rows[0].clone()));
    }

    (value.into(), all)
}

#[test]
fn every_form_is_masked_at_every_split() {
    let (value, forms) = every_form();
    let needles = needles(&[value]);
    for (form, text) in forms {
        let stream = [b"before >", &text[..], b"] after"].concat();
        for split in 0..=stream.len() {
            let out = masked_in(&needles, &[&stream[..split], &stream[split..]]);
            let shown = out.text.escape_ascii();
            assert!(out.text == b"before ><t0>] after", "{} at {split}: {shown}", form.name());
            assert_eq!(out.regions[0].3, form, "{}", text.escape_ascii());
        }

        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert!(masked_in(&needles, &bytes).text == b"before ><t0>] after", "{}", form.name());
    }
}

#[test]
fn the_end_of_encoded_data_is_masked_to_its_last_character() {
    let needles = needles(&[
        b"hunter2-hunter2".to_vec(),
        b"correct horse battery staple and so on until it is long".to_vec(),
    ]);

    let header =
        format!("Authorization: Basic {}\r\n", Base64::encode_string(b"admin:hunter2-hunter2"));
    assert_eq!(masked(&needles, header.as_bytes()), "Authorization: Basic YWRtaW46<t0>\r\n");
    let header =
        format!("Authorization: Basic {}\r\n", Base64::encode_string(b"root:hunter2-hunter2"));
    assert_eq!(masked(&needles, header.as_bytes()), "Authorization: Basic cm9vdDp<t0>=\r\n");

    let data = Base64::encode_string(b"correct horse battery staple and so on until it is long");
    assert_eq!(masked(&needles, data.as_bytes()), "<t1>==");
    assert_eq!(
        masked(&needles, format!("{}\n{}\n", &data[..64], &data[64..]).as_bytes()),
        "<t1>==\n"
    );

    // A single line of it is masked as well.
    assert_eq!(
        masked(&needles, format!("| {}\n| {}\n", &data[..64], &data[64..]).as_bytes()),
        "| <t1>\n| <t1>==\n"
    );
}

#[test]
fn a_trailing_newline_matters_to_no_form() {
    let needles = needles(&[b"pa/s\"s w'ord\n".to_vec(), b"\t blanks around  ".to_vec()]);
    let cases = [
        ("KEY=pa/s\"s w'ord;", "KEY=<t0>;"),
        (r#"{"k":"pa/s\"s w'ord"}"#, r#"{"k":"<t0>"}"#),
        (r#"{"k":"pa/s\"s w'ord\n"}"#, r#"{"k":"<t0>"}"#),
        ("'pa/s\"s w'\\''ord'", "'<t0>'"),
        ("?k=pa%2Fs%22s%20w%27ord&", "?k=<t0>&"),
        ("?k=pa%2Fs%22s+w%27ord%0A&", "?k=<t0>&"),
        ("[blanks around]", "[<t1>]"),
    ];

    for (text, expected) in cases {
        assert_eq!(masked(&needles, text.as_bytes()), expected, "{text}");
    }

    let encoded = Base64::encode_string(b"pa/s\"s w'ord");
    assert_eq!(masked(&needles, format!("k: {encoded}\n").as_bytes()), "k: <t0>\n");
}

#[test]
fn overlapping_secrets_are_masked_completely() {
    let needles = needles(&[
        b"aaaabbbbcccc".to_vec(),
        b"ccccdddd".to_vec(),
        b"bbbbccccdd".to_vec(),
        b"xxxxyyyy".to_vec(),
    ]);

    assert_eq!(masked(&needles, b"-aaaabbbbccccdddd-"), "-<t0>-");
    assert_eq!(masked(&needles, b"-bbbbccccdddd-"), "-<t2>-");
    assert_eq!(masked(&needles, b"xxxxyyyyxxxxyyyy"), "<t3><t3>", "adjacent matches stay separate");
    assert_eq!(masked(&needles, b"aaaabbbbcccxxxxyyyy"), "aaaabbbbccc<t3>");
}

#[test]
fn short_values_are_reported_and_not_masked() {
    let tags = ["a", "b", "c", "d", "e"].map(|tag| Tag::parse(tag).unwrap());
    let values = [&b"1234567"[..], b"12345678", b"", b"a\nb\nc\n         \nd\n", b"abc1234\n"];
    let needles = Needles::new(tags.iter().zip(values));

    // The last value is found only with its newline.
    assert_eq!(needles.short(), [tags[0].clone(), tags[2].clone(), tags[4].clone()]);
    assert!(!needles.is_empty());

    // Lines that are too short are not matched alone.
    assert_eq!(
        masked(&needles, b"1234567 12345678 a b         c a\nb\nc\n         \nd\n."),
        "1234567 <b> a b         c <d>."
    );

    let none = Needles::new(tags.iter().take(1).map(|tag| (tag, &b"short"[..])));
    assert!(none.is_empty());
    let mut masker = Masker::new(Arc::new(none));
    let mut out = Out::default();
    let Ok(()) = masker.push(b"short and anything else, all at once", &mut out);

    assert!(!masker.is_holding() && out.text == b"short and anything else, all at once");
}

#[test]
fn equal_needles_use_the_first_tag_and_the_simplest_form() {
    let twice = needles(&[
        b"-same value-".to_vec(),
        b"-same value-".to_vec(),
        b"--same value-\nshort".to_vec(),
    ]);

    let out = masked_in(&twice, &[b"-same value-"]);
    assert_eq!(out.regions, [(0, 12, "t0".to_owned(), Form::Raw)]);

    // `41…` is the second value, and also the first one's hexadecimal form.
    let other = needles(&[b"AAAAAAAA".to_vec(), b"4141414141414141".to_vec()]);
    assert_eq!(masked_in(&other, &[b"4141414141414141"]).regions[0].2, "t0");
    let plain = needles(&[b"longenough\nlongenough".to_vec()]);
    assert_eq!(masked_in(&plain, &[b"longenough"]).regions[0].3, Form::Line);
}

#[test]
fn a_prompt_is_shown_after_a_pause_and_a_value_is_not() {
    let needles = needles(&[b"Pass12: hunter2".to_vec()]);
    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    let Ok(()) = masker.push(b"login\nPass12:", &mut out);
    assert!(out.text == b"login\n" && masker.is_holding() && masker.settled() == 6);

    let Ok(()) = masker.pause(&mut out);
    assert!(out.text == b"login\nPass12:" && !masker.is_holding());

    // Seven bytes of this value are out, so no more of it is ever shown.
    for byte in [" ", "h", "unter"] {
        let Ok(()) = masker.push(byte.as_bytes(), &mut out);
        let Ok(()) = masker.pause(&mut out);
        assert!(out.text == b"login\nPass12:" && masker.is_holding());
    }

    let Ok(()) = masker.push(b"2, hunter2\n", &mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "login\nPass12:<t0>, hunter2\n");
    assert_eq!(out.regions, [(13, 21, "t0".to_owned(), Form::Raw)]);

    // If another text follows, nothing is lost.
    let Ok(()) = masker.push(b"Pass12: hunter", &mut out);
    let Ok(()) = masker.pause(&mut out);
    let Ok(()) = masker.push(b"s\n", &mut out);
    assert!(out.text.ends_with(b"\nPass12: hunters\n"));
}

#[test]
fn a_mask_is_shown_after_a_pause_even_if_a_longer_value_may_follow() {
    let needles = needles(&[b"first line\nsecond line\n".to_vec()]);
    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    let Ok(()) = masker.push(b"> first line\nseco", &mut out);
    assert_eq!(out.text, b"> ");

    let Ok(()) = masker.pause(&mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "> <t0>\nseco");
    let Ok(()) = masker.push(b"nd l", &mut out);
    let Ok(()) = masker.pause(&mut out);

    // Two more bytes make seven.
    assert_eq!(String::from_utf8_lossy(&out.text), "> <t0>\nsecond");
    let Ok(()) = masker.push(b"ine\n", &mut out);
    let Ok(()) = masker.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "> <t0>\nsecond<t0>");
}

#[test]
fn a_value_that_the_end_of_a_stream_cuts_off_is_masked() {
    let needles = needles(&[b"sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6".to_vec()]);
    assert_eq!(masked(&needles, b"key sk_live_9fQ2mZx7Lk4Vt8Rb1Nw"), "key <t0>");
    assert_eq!(masked(&needles, b"key sk_live_"), "key <t0>");
    assert_eq!(masked(&needles, b"key sk_live"), "key sk_live");

    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    for piece in [&b"key sk_"[..], b"live", b"_9fQ2"] {
        let Ok(()) = masker.push(piece, &mut out);
        let Ok(()) = masker.pause(&mut out);
    }

    let Ok(()) = masker.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "key sk_live<t0>");
}

/// Forms of a value that has a special character for every encoder. Each was printed by the named
/// program.
const WRITINGS: [(&str, Form, &str); 30] = [
    (
        ".NET's System.Text.Json",
        Form::Escaped,
        r"p@ss w0rd/\u002B=\u0026\u0022\u0027\u003C\u003E\\$#{}%~!\u00E9\uD83D\uDE00end\u0060;",
    ),
    ("Gson", Form::Escaped, r#"p@ss w0rd/+\u003d\u0026\"\u0027\u003c\u003e\\$#{}%~!é😀end`;"#),
    (
        "PHP with all JSON_HEX_…",
        Form::Escaped,
        r"p@ss w0rd\/+=\u0026\u0022\u0027\u003C\u003E\\$#{}%~!\u00e9\ud83d\ude00end`;",
    ),
    ("Python's json", Form::Escaped, r#"p@ss w0rd/+=&\"'<>\\$#{}%~!\u00e9\ud83d\ude00end`;"#),
    ("JSON in JSON", Form::Escaped, r#"p@ss w0rd/+=&\\\"'<>\\\\$#{}%~!é😀end`;"#),
    (
        "Python's JSON in JSON",
        Form::Escaped,
        r#"p@ss w0rd/+=&\\\"'<>\\\\$#{}%~!\\u00e9\\ud83d\\ude00end`;"#,
    ),
    ("declare -p", Form::Escaped, r#"p@ss w0rd/+=&\"'<>\\\$#{}%~!é😀end\`;"#),
    ("printf %q", Form::Escaped, r#"p@ss\ w0rd/+=\&\"\'\<\>\\\$#\{\}%~\!é😀end\`\;"#),
    (
        "printf %q in the locale C",
        Form::Escaped,
        r#"p@ss w0rd/+=&"\'<>\\$#{}%~!\303\251\360\237\230\200end`;"#,
    ),
    ("fish", Form::Escaped, r#"p@ss w0rd/+=&"\'<>\\$#{}%~!é😀end`;"#),
    (
        "Python's repr of bytes",
        Form::Escaped,
        r#"p@ss w0rd/+=&"\'<>\\$#{}%~!\xc3\xa9\xf0\x9f\x98\x80end`;"#,
    ),
    (
        "Java's Properties",
        Form::Escaped,
        r#"p@ss\ w0rd/+\=&"'<>\\$\#{}%~\!\u00E9\uD83D\uDE00end`;"#,
    ),
    ("JavaScript", Form::Escaped, r#"p@ss w0rd/+=&"'<>\\$#{}%~!\u{e9}\u{1F600}end`;"#),
    ("single quotes", Form::Shell, r#"p@ss w0rd/+=&"'\''<>\$#{}%~!é😀end`;"#),
    ("make", Form::Shell, r#"p@ss w0rd/+=&"'<>\$$#{}%~!é😀end`;"#),
    ("SQL and YAML", Form::Quoted, r#"p@ss w0rd/+=&"''<>\$#{}%~!é😀end`;"#),
    ("CSV", Form::Quoted, r#"p@ss w0rd/+=&""'<>\$#{}%~!é😀end`;"#),
    ("quotes escaped alone", Form::Quoted, r#"p@ss w0rd/+=&\"'<>\$#{}%~!é😀end`;"#),
    (
        "Go's url.UserPassword",
        Form::Url,
        "p%40ss%20w0rd%2F+=&%22%27%3C%3E%5C$%23%7B%7D%25~%21%C3%A9%F0%9F%98%80end%60;",
    ),
    (
        "WHATWG user info",
        Form::Url,
        "p%40ss%20w0rd%2F+%3D&%22'%3C%3E%5C$%23%7B%7D%25~!%C3%A9%F0%9F%98%80end%60%3B",
    ),
    ("encodeURI", Form::Url, "p@ss%20w0rd/+=&%22'%3C%3E%5C$#%7B%7D%25~!%C3%A9%F0%9F%98%80end%60;"),
    (
        ".NET's UrlEncode",
        Form::Url,
        "p%40ss+w0rd%2f%2b%3d%26%22%27%3c%3e%5c%24%23%7b%7d%25%7e!%c3%a9%f0%9f%98%80end%60%3b",
    ),
    (
        "percent twice",
        Form::Url,
        "p%2540ss%2520w0rd%252F%252B%253D%2526%2522%2527%253C%253E%255C%2524%2523%257B%257D%2525~%2521%25C3%25A9%25F0%259F%2598%2580end%2560%253B",
    ),
    ("Python's html.escape", Form::Xml, "p@ss w0rd/+=&amp;&quot;&#x27;&lt;&gt;\\$#{}%~!é😀end`;"),
    ("Go's html/template", Form::Xml, "p@ss w0rd/&#43;=&amp;&#34;&#39;&lt;&gt;\\$#{}%~!é😀end`;"),
    (
        ".NET's HtmlEncoder",
        Form::Xml,
        "p@ss w0rd/&#x2B;=&amp;&quot;&#x27;&lt;&gt;\\$#{}%~!&#xE9;&#x1F600;end&#x60;;",
    ),
    ("xmlcharrefreplace", Form::Xml, "p@ss w0rd/+=&amp;\"'&lt;&gt;\\$#{}%~!&#233;&#128512;end`;"),
    ("PHP", Form::Xml, "p@ss w0rd/+=&amp;&quot;&#039;&lt;&gt;\\$#{}%~!é😀end`;"),
    ("JSON in HTML", Form::Escaped, "p@ss w0rd/+=&amp;\\&quot;&#x27;&lt;&gt;\\\\$#{}%~!é😀end`;"),
    ("base32", Form::Base32, "OBAHG4ZAO4YHEZBPFM6SMIRHHQ7FYJBDPN6SK7RBYOU7BH4YQBSW4ZDAHM"),
];

#[test]
fn forms_that_programs_write_are_masked_at_every_split() {
    let needles = needles(&["p@ss w0rd/+=&\"'<>\\$#{}%~!é😀end`;".into()]);
    for (program, form, text) in WRITINGS {
        let stream = [b"before (", text.as_bytes(), b") after\n"].concat();
        for split in 0..=stream.len() {
            let out = masked_in(&needles, &[&stream[..split], &stream[split..]]);
            let shown = String::from_utf8_lossy(&out.text);
            assert_eq!(shown, "before (<t0>) after\n", "{program} at {split}");
            assert_eq!(out.regions[0].3, form, "{program}");
        }

        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(
            String::from_utf8_lossy(&masked_in(&needles, &bytes).text),
            "before (<t0>) after\n",
            "{program}"
        );
    }
}

#[test]
fn a_value_that_is_escaped_twice_is_masked() {
    let needles = needles(&["p@ss w0rd/+=&\"'<>\\$#{}%~!é😀end`;".into()]);
    let inner = [".NET's System.Text.Json", "Gson", "Python's json"];
    let mut texts: Vec<String> = WRITINGS
        .iter()
        .filter(|(program, ..)| inner.contains(program))
        .map(|(.., text)| (*text).to_owned())
        .collect();

    assert_eq!(texts.len(), inner.len());

    // Go; PHP without options, and with JSON_UNESCAPED_UNICODE.
    texts.push(r#"p@ss w0rd/+=\u0026\"'\u003c\u003e\\$#{}%~!é😀end`;"#.into());
    texts.push(r#"p@ss w0rd\/+=&\"'<>\\$#{}%~!\u00e9\ud83d\ude00end`;"#.into());
    texts.push(r#"p@ss w0rd\/+=&\"'<>\\$#{}%~!é😀end`;"#.into());

    // Python's quote and JavaScript's encodeURIComponent.
    texts.push(
        "p%40ss%20w0rd%2F%2B%3D%26%22%27%3C%3E%5C%24%23%7B%7D%25~%21%C3%A9%F0%9F%98%80end%60%3B"
            .into(),
    );

    texts.push(
        "p%40ss%20w0rd%2F%2B%3D%26%22'%3C%3E%5C%24%23%7B%7D%25~!%C3%A9%F0%9F%98%80end%60%3B".into(),
    );

    for text in texts {
        let json = text.replace('\\', r"\\").replace('"', r#"\""#);
        let percent: String = text
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();

        for outer in [json, percent] {
            assert_eq!(masked(&needles, format!("({outer})").as_bytes()), "(<t0>)", "{outer}");
        }
    }

    assert_eq!(masked(&needles, "(p@ss w0rd/+=&\"'<>\\$#{}%%~!é😀end`;)".as_bytes()), "(<t0>)");
}

#[test]
fn text_after_a_value_is_kept_if_another_reading_ended_it() {
    let needles = needles(&[b"q<Zr7pLm&".to_vec(), b"amzing12".to_vec(), b"Zr7pLm%4".to_vec()]);
    for (text, expected) in [
        ("A q&lt;Zr7pLm&amzing B\n", "A <t0>amzing B\n"),
        ("A q&lt;Zr7pLm&#1234567zing B\n", "A <t0>#1234567zing B\n"),
        ("A q&lt;Zr7pLm&amzing12 B\n", "A <t0><t1> B\n"),
        ("A q&lt;Zr7pLm&amp; B\n", "A <t0> B\n"),
        ("A q%3CZr7pLm%4zing B\n", "A q%3C<t2>zing B\n"),
        ("A q%3CZr7pLm%26zing B\n", "A <t0>zing B\n"),
    ] {
        let text = text.as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let shown = masked_in(&needles, &pieces).text;
                assert_eq!(String::from_utf8_lossy(&shown), expected, "{first} {second}");
            }
        }
    }
}

/// Inserts `between` into a text after every `columns` bytes.
fn wrapped(text: &str, columns: usize, between: &str) -> Vec<u8> {
    let rows: Vec<&str> =
        text.as_bytes().chunks(columns).map(|row| std::str::from_utf8(row).unwrap()).collect();
    rows.join(between).into_bytes()
}

#[test]
fn encoded_data_is_masked_in_lines_of_any_width() {
    let value = "s3cr%2Fet-Pa55 and what follows it to make it long enough";
    let needles = needles(&[value.into()]);
    let data = Base64::encode_string(
        format!("HOST=db.example.org\nPASSWORD={value}\nMORE=text\n").as_bytes(),
    );
    let whole = masked(&needles, data.as_bytes());

    assert!(whole.contains("<t0>") && whole.len() < 75, "{whole}");
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    for columns in (1..130).step_by(3) {
        for between in ["\n", "\r\n", "\n    ", "\r\n\t", "\\n", "%0A"] {
            for text in [&data, &hex] {
                let text = wrapped(text, columns, between);
                let all = masked_in(&needles, &[&text]);
                let bytes: Vec<&[u8]> = text.chunks(1).collect();
                assert!(masked_in(&needles, &bytes).text == all.text, "{columns} {between:?}");

                let shown = String::from_utf8_lossy(&all.text).replace(between, "");
                let expected = if text[0] == b'S' { whole.clone() } else { "<t0>".to_owned() };
                assert_eq!(shown, expected, "{columns} {between:?}");
            }
        }
    }

    // An unencoded value ends with its line.
    assert_eq!(masked(&needles, b"s3cr%2Fet-Pa55 and\n"), "s3cr%2Fet-Pa55 and\n");
}

#[test]
fn colours_inside_a_value_do_not_prevent_masking() {
    let needles = needles(&[b"sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6".to_vec()]);
    let cases = [
        ("sk_live_\x1b[01;31m\x1b[K9fQ2\x1b[m\x1b[KmZx7Lk4Vt8Rb1Nw6.", "<t0>.", true),
        ("\x1b[31msk_\x1b[0;1mlive_9fQ2mZx7Lk4Vt8Rb1Nw6\x1b[0m.", "\x1b[31m<t0>\x1b[0m.", false),
        ("s\x1b(B\x1b[mk_live_9fQ2mZx7Lk4Vt8Rb1Nw6.", "<t0>.", true),
    ];

    for (text, expected, resets) in cases {
        for split in 0..text.len() {
            let out = masked_in(&needles, &[&text.as_bytes()[..split], &text.as_bytes()[split..]]);
            assert_eq!(String::from_utf8_lossy(&out.text), expected, "{split}");
            assert_eq!(out.resets, [resets]);
        }
    }

    let every: String =
        "sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6".chars().map(|c| format!("\x1b[38;5;17m{c}")).collect();
    assert_eq!(masked(&needles, every.as_bytes()), "\x1b[38;5;17m<t0>");

    // A coloured prompt is shown, and is not cut inside a sequence.
    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    let Ok(()) = masker.push(b"\x1b[1msk_liv\x1b[0m\x1b[", &mut out);
    let Ok(()) = masker.pause(&mut out);
    assert_eq!(out.text, b"\x1b[1msk_liv\x1b[0m\x1b[");
    for piece in [&b"Ke_"[..], b"9", b"fQ"] {
        let Ok(()) = masker.push(piece, &mut out);
        let Ok(()) = masker.pause(&mut out);
    }

    assert_eq!(String::from_utf8_lossy(&out.text), "\x1b[1msk_liv\x1b[0m\x1b[Ke");
    let Ok(()) = masker.push(b"2mZx7Lk4Vt8Rb1Nw6!", &mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "\x1b[1msk_liv\x1b[0m\x1b[Ke<t0>!");
}

#[test]
fn only_the_password_of_a_url_is_masked() {
    let needles = needles(&[
        b"postgres://app:s3cr%2Fet-Pa55@db.example.org:5432/prod\n".to_vec(),
        b"amqp://guest:p@ss:w0rd!@mq:5672/".to_vec(),
        b"https://user-without-password@example.org/".to_vec(),
        b"jdbc:mysql://root:Hs72kLmQ9z@db.example/app".to_vec(),
        b"https://example.org/?at=a:b@c".to_vec(),
    ]);

    assert_eq!(masked(&needles, b"{'password': 's3cr/et-Pa55'}"), "{'password': '<t0>'}");
    assert_eq!(masked(&needles, b"PGPASSWORD=s3cr%2Fet-Pa55 psql"), "PGPASSWORD=<t0> psql");
    assert_eq!(masked(&needles, b"db.example.org:5432 app prod"), "db.example.org:5432 app prod");
    assert_eq!(masked(&needles, b"password p@ss:w0rd!"), "password <t1>");
    assert_eq!(masked(&needles, b"password=Hs72kLmQ9z"), "password=<t3>");
    assert_eq!(masked(&needles, b"user-without-password, guest"), "user-without-password, guest");

    let out = masked_in(&needles, &[b"s3cr/et-Pa55"]);
    assert_eq!(out.regions[0].3, Form::Password);
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn escapes_do_not_prevent_masking_at_any_split_or_pause(
        value in vec(prop::sample::select(b"ab\\%&;\"'\n/ \x1b[m2F".to_vec()), 8..16),
        kinds in vec(0..6_u8, 16),
        before in vec(prop::sample::select(b"ab\\%&\n \x1b[m".to_vec()), 0..12),
        lengths in vec((1..12_usize, any::<bool>()), 1..6),
    ) {
        // Each byte is written in one way of one reading, or literally if it stands for itself.
        let needles = needles(std::slice::from_ref(&value));
        for reading in 0..4 {
            let mut written = before.clone();

            // The text before must not combine with the value. `@` ends any terminal sequence.
            written.extend(b"@@");
            let start = written.len();
            for (byte, kind) in value.iter().zip(&kinds) {
                match (reading, kind) {
                    (0, _) if *kind < 3 || *byte == b'%' => written.extend(format!("%{byte:02X}").bytes()),
                    (1, _) if *kind < 3 || b"\\\n\r".contains(byte) => written.extend(format!("\\u{byte:04x}").bytes()),
                    (2, _) if *kind < 3 || *byte == b'&' => written.extend(format!("&#{byte};").bytes()),
                    (3, 0) if !value.contains(&0x1b) => written.extend([&b"\x1b[1;3m"[..], &[*byte]].concat()),
                    _ => written.push(*byte),
                }
            }

            let end = written.len();
            written.extend(b"--tail of it");

            let whole = masked_in(&needles, &[&written]);
            let shown = whole.shown[start..end].iter().flatten().count();

            // A colour before the first byte stays.
            prop_assert!(shown <= 6, "{}: {}", written.escape_ascii(), whole.text.escape_ascii());
            let cuts: Vec<usize> = lengths.iter().map(|it| it.0).collect();
            prop_assert!(masked_in(&needles, &cut(&written, &cuts)).shown == whole.shown, "{}", written.escape_ascii());

            let (mut masker, mut out) = (Masker::new(&needles), Out::default());
            for (piece, pause) in cut(&written, &cuts).into_iter().zip(lengths.iter().cycle()) {
                let Ok(()) = masker.push(piece, &mut out);
                if pause.1 {
                    let Ok(()) = masker.pause(&mut out);
                }
            }

            let Ok(()) = masker.finish(&mut out);
            let skipped = if reading == 3 { 6 * kinds.len() } else { 0 };
            let seen = out.shown[start..end].iter().flatten().count();
            prop_assert!(seen <= 7 + skipped, "{seen}: {} {}", written.escape_ascii(), out.text.escape_ascii());
        }
    }
}

/// Counts the output without keeping it.
#[derive(Default)]
struct Count {
    shown: u64,
    regions: u64,
}

impl Sink for Count {
    type Error = Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.shown += bytes.len() as u64;
        Ok(())
    }

    fn masked(&mut self, _: &MaskedSpan<'_>) -> Result<(), Infallible> {
        self.regions += 1;
        Ok(())
    }
}

fn counted(needles: &Needles, stream: impl Iterator<Item = impl AsRef<[u8]>>) -> Count {
    let (mut masker, mut count) = (Masker::new(needles), Count::default());
    for piece in stream {
        let Ok(()) = masker.push(piece.as_ref(), &mut count);
    }

    let Ok(()) = masker.finish(&mut count);
    count
}

/// If one of these were quadratic, it would take hours.
fn periodic(length: usize, stream: usize) {
    let begin = Instant::now();
    let value = b"a".repeat(length);
    let blocks = || std::iter::repeat_n([b'a'; 10_000], stream / 10_000);
    let single = || std::iter::repeat_n(b"a", 100_000.min(stream));
    let of_a = needles(std::slice::from_ref(&value));
    let count = counted(&of_a, blocks());

    assert_eq!((count.shown, count.regions), (0, 1));
    counted(&of_a, single());
    drop(of_a);

    // The automaton stays deep and never finds the longest needle. A short one ends at each byte of
    // it.
    let with_end = [&value[..], b"b"].concat();
    let both = needles(&[with_end, b"aaaaaaaaa".to_vec()]);
    assert_eq!(counted(&both, blocks()).shown, 0);
    assert_eq!(counted(&both, single()).regions, 1);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn time_is_linear_for_repetitive_needles_and_streams() {
    periodic(64 << 10, 1_000_000);
}

#[test]
fn held_bytes_slide_through_a_long_needle() {
    // Each byte releases one that was held 50,000 bytes ago.
    let value = [b"a".repeat(50_000), b"b".to_vec()].concat();
    let count = counted(&needles(&[value]), std::iter::repeat_n(b"a", 200_000));

    // The end of the stream may be the start of the value.
    assert_eq!((count.shown, count.regions), (150_000, 1));
}

#[test]
#[ignore = "long"]
fn a_value_of_a_mebibyte_is_masked_in_ten_megabytes() {
    periodic(1 << 20, 10_000_000);
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "long"]
fn memory_is_flat_over_ten_gigabytes() {
    // The test runs in a separate process, because other tests' memory would count as well.
    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("SECRETS_TEST_ALONE").is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone
            .args(["--ignored", "--exact", "mask::memory_is_flat_over_ten_gigabytes"])
            .env("SECRETS_TEST_ALONE", "1");

        let output = alone.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }

    let mut values: Vec<Vec<u8>> =
        (0..100).map(|n| format!("secret-value-number-{n}-of-many\n").into()).collect();
    values.push(b"aaaaaaaaaa".to_vec());
    let needles = needles(&values);
    let mut log = Vec::new();

    for n in 0.. {
        log.extend(
            format!("2026-11-21 INFO request {n} secret-value-number-{} took {n} ms\n", n % 200)
                .bytes(),
        );

        if log.len() >= 64 << 10 {
            break;
        }
    }

    for block in [log, b"secret-value-number-7-of-many".repeat(2260), b"aaaaaaaa".repeat(8 << 10)] {
        counted(&needles, std::iter::repeat_n(&block, 100));
        let before = resident();
        counted(&needles, std::iter::repeat_n(&block, 10_000_000_000 / 3 / block.len()));
        let after = resident();

        assert!(after < before + 4096, "{before} kB, then {after} kB");
    }
}

/// Returns what `program` writes for the values, each after a NUL.
fn piped(mut command: Command, values: &[String]) -> Vec<Vec<u8>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is needed");

    let mut stdin = child.stdin.take().unwrap();
    let input: Vec<u8> = values.iter().flat_map(|value| value.bytes().chain([0])).collect();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();

    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Returns text with characters that encoders treat specially.
fn awkward_texts() -> Vec<String> {
    use proptest::strategy::ValueTree;
    let special =
        "\"\\/'`$<>&;|*?![]{}()^#~=:,.+-_@% \t\n\r\u{1}\u{8}\u{c}\u{1b}\u{7f}abcXYZ019é€😀";
    let letter = prop::sample::select(special.chars().collect::<Vec<_>>());
    let text = vec(letter, 8..40).prop_map(String::from_iter);
    let mut runner = proptest::test_runner::TestRunner::default();

    (0..1_000).map(|_| text.new_tree(&mut runner).unwrap().current()).collect()
}

/// Asserts that only the quotes around each of these forms stay visible.
fn all_masked(values: &[String], writings: &[Vec<u8>], quotes: &[&str]) {
    assert!(writings.len() > values.len() && writings.len() % values.len() == 1);
    for (value, writings) in values.iter().zip(writings.chunks(writings.len() / values.len())) {
        let needles = needles(&[value.clone().into_bytes()]);
        for writing in writings {
            let found = masked(&needles, writing);
            let inner = quotes.iter().find_map(|quote| found.strip_prefix(quote)).unwrap_or(&found);
            assert_eq!(
                inner.trim_end_matches(['"', '\'', '=']),
                "<t0>",
                "{value:?} as {}",
                writing.escape_ascii()
            );
        }
    }
}

#[test]
#[ignore = "needs python3"]
fn forms_that_python_writes_are_masked() {
    let program = r#"
import sys, json, shlex, base64, urllib.parse as u
out = sys.stdout.buffer
for raw in sys.stdin.buffer.read().split(b"\0")[:-1]:
    v = raw.decode()
    for text in [json.dumps(v), json.dumps(v, ensure_ascii=False), u.quote(v), u.quote(v, safe=""), u.quote_plus(v),
                 shlex.quote(v), raw.hex(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]:
        out.write(text.encode() + b"\0")
"#;

    let mut python = Command::new("python3");
    python.args(["-c", program]);
    let values = awkward_texts();
    all_masked(&values, &piped(python, &values), &["\"", "'"]);
}

#[test]
#[ignore = "needs bash"]
fn forms_that_bash_writes_are_masked() {
    for locale in ["C", "C.UTF-8"] {
        let mut bash = Command::new("bash");
        bash.args([
            "-c",
            r#"while IFS= read -r -d '' v; do printf '%q\0' "$v"; printf '%s\0' "${v@Q}"; done"#,
        ]);

        bash.env("LC_ALL", locale);
        let values = awkward_texts();

        // The quote before an escaped quote may be masked with it, because together they are a
        // doubled quote.
        all_masked(&values, &piped(bash, &values), &["$'", "'", "$"]);
    }
}
