//! Escapes characters that would move the cursor, reverse the text or ring the bell.

use std::fmt::Write;

use secrets_core::model::is_hostile;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Escapes hostile characters, as in `\u{202e}`.
pub(crate) fn visible(text: &str) -> String {
    escape_except(text, |_| false)
}

/// Escapes text of several lines, keeping newlines and tabs.
pub(crate) fn visible_lines(text: &str) -> String {
    escape_except(text, |c| c == '\n' || c == '\t')
}

/// Returns the text in one line of at most `columns` columns: hostile characters escaped, each run
/// of blanks and newlines replaced by one blank, and the omitted rest replaced by `…`.
pub(crate) fn clipped(text: &str, columns: usize) -> String {
    // Only as many characters as could fit are examined.
    let beginning: String = text.chars().take(4 * columns).collect();
    let is_whole = beginning.len() == text.len();
    let words: Vec<&str> = beginning.split_whitespace().collect();
    let line = visible(&words.join(" "));

    if is_whole && line.width() <= columns {
        return line;
    }

    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < columns
    };

    let mut cut: String = line.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// Returns text from somebody else in quotes, clipped like in [`clipped`]. A quote in it does not
/// end the quotation.
pub(crate) fn quoted(text: &str, columns: usize) -> String {
    format!("\"{}\"", clipped(text, columns.saturating_sub(2)).replace('"', "'"))
}

/// Escapes a text that comes in pieces, keeping newlines and tabs. Bytes that are not UTF-8 become `U+FFFD`.
#[derive(Default)]
pub(crate) struct VisibleStream {
    /// The beginning of a character that is not complete
    held: Vec<u8>,
}

impl VisibleStream {
    /// Returns what can be shown after the next piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        let bytes = [&std::mem::take(&mut self.held)[..], piece].concat();
        let complete = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => match bytes.utf8_chunks().last().map(|chunk| chunk.invalid()) {
                Some(rest) if is_begun(rest) => bytes.len() - rest.len(),
                _ => bytes.len(),
            },
        };
        self.held = bytes[complete..].to_vec();
        visible_lines(&String::from_utf8_lossy(&bytes[..complete]))
    }

    /// Returns the rest.
    pub(crate) fn finish(&mut self) -> String {
        visible_lines(&String::from_utf8_lossy(&std::mem::take(&mut self.held)))
    }
}

/// Returns true for the beginning of a character that more bytes could complete.
fn is_begun(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn escape_except(text: &str, keep: impl Fn(char) -> bool) -> String {
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

/// Formats JSON whose strings contain no raw hostile character: `\u202e` means the same to a
/// program and has no effect on a terminal.
pub(crate) struct PlainJson;

impl serde_json::ser::Formatter for PlainJson {
    fn write_string_fragment<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        // This covers nearly every string. serde has escaped ASCII control characters except DEL.
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
    fn a_stream_is_shown_in_pieces_of_any_size() {
        let text = "a\x1b[31m é漢😀\n".as_bytes();
        let whole = [text, b"\xff\xc3", text, b"\xe6\xbc"].concat();
        let shown = |size: usize| {
            let mut stream = VisibleStream::default();
            let mut out: String = whole.chunks(size).map(|piece| stream.push(piece)).collect();
            out.push_str(&stream.finish());
            out
        };

        let expected = visible_lines(&String::from_utf8_lossy(&whole));
        for size in [1, 2, 3, 5, 100] {
            assert_eq!(shown(size), expected, "{size}");
        }
    }

    #[test]
    fn what_is_clipped_is_one_line_that_fits() {
        for (text, columns, shown) in [
            ("short", 10, "short"),
            ("exactly 10", 10, "exactly 10"),
            ("eleven char", 10, "eleven ch…"),
            ("a  b\n\n\tc\u{3000}d", 20, "a b c d"),
            ("漢字漢字漢字", 7, "漢字漢…"),
            ("漢字漢字漢字", 8, "漢字漢…"),
            ("a\x1b[2Jb", 20, "a\\u{1b}[2Jb"),
            ("a\x1b\x1b\x1b", 8, "a\\u{1b}…"),
        ] {
            assert_eq!(clipped(text, columns), shown);
            assert!(clipped(text, columns).width() <= columns);
        }

        let padded = format!("x{}Passphrase for /home/you/vault.db: ", " ".repeat(4000));
        assert!(clipped(&padded, 72).width() <= 72);
        assert_eq!(quoted("say \"yes\"", 20), "\"say 'yes'\"");
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
