//! Makes visible what would move the cursor, reverse the text or ring the bell.

use std::fmt::Write;

use crate::model::is_hostile;

/// The text with hostile characters written out, as in `\u{202e}`.
pub(crate) fn visible(text: &str) -> String {
    visible_but(text, |_| false)
}

/// The same for text of several lines: newlines and tabs stay.
pub(crate) fn visible_lines(text: &str) -> String {
    visible_but(text, |c| c == '\n' || c == '\t')
}

fn visible_but(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if keep(c) || !is_hostile(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    out
}

/// Writes JSON whose strings hold no hostile character raw: `\u202e` means the same to a program and nothing to a
/// terminal.
pub(crate) struct PlainJson;

impl serde_json::ser::Formatter for PlainJson {
    fn write_string_fragment<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        // Nearly every string: serde has escaped the controls of ASCII, so only DEL could be left.
        if fragment.is_ascii() && !fragment.contains('\x7f') {
            return writer.write_all(fragment.as_bytes());
        }
        let mut clean = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_hostile(*c)) {
            writer.write_all(&fragment.as_bytes()[clean..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            clean = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[clean..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_written_out() {
        for (text, shown) in [
            ("plain é 漢 😀", "plain é 漢 😀"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\x1b]52;c;aGk=\x07", "\\u{1b}]52;c;aGk=\\u{7}"),
            ("a\u{9b}31mb\u{85}", "a\\u{9b}31mb\\u{85}"),
            ("abc\u{202e}fed\u{2066}", "abc\\u{202e}fed\\u{2066}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("a\nb\tc\rd\x7f", "a\\nb\\tc\\rd\\u{7f}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("a\nb\x1b"), "a\nb\\u{1b}");
    }

    #[test]
    fn json_means_the_same_without_them() {
        let text = "a\x1b\u{9b}\u{202e}é\u{e0041}\"\\\n";
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, PlainJson);
        serde::Serialize::serialize(text, &mut serializer).unwrap();
        let json = String::from_utf8(out).unwrap();
        assert!(!json.chars().any(is_hostile), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
