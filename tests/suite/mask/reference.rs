//! On random secrets and texts the masker agrees with a simple reference.

use base64ct::{Base64, Base64Url, Encoding};
use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::mask::Masker;

use crate::support::random::cases;

use super::{Out, masked_in, needles};

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
