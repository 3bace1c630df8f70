//! Reads the comments of a dotenv file: the assignments that are commented out, and the
//! descriptions of variables.

use std::ops::Range;

use secrets_core::model::Description;

use crate::dotenv;

/// Returns the offset at which a line's comment starts. Only blanks and a byte order mark may
/// precede it.
pub(super) fn comment(line: &[u8]) -> Option<usize> {
    let mark = if line.starts_with(dotenv::BOM) { dotenv::BOM.len() } else { 0 };
    let blanks = line[mark..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    (line.get(mark + blanks) == Some(&b'#')).then_some(mark + blanks)
}

/// Returns the offset in a comment at which a commented-out value starts: after the first `NAME=`,
/// wherever that is.
pub(super) fn commented_value(comment: &[u8]) -> Option<usize> {
    let text = comment.trim_ascii_end();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let mut signs = memchr::memchr_iter(b'=', text);
    signs
        .find(|at| {
            text[..*at].trim_ascii_end().last().is_some_and(|b| is_name(*b)) && at + 1 < text.len()
        })
        .map(|at| at + 1)
}

/// Returns the quote that a value opens and does not close.
pub(super) fn left_open(value: &[u8]) -> Option<u8> {
    let value = value.trim_ascii();
    let quote = *value.first().filter(|b| matches!(b, b'"' | b'\'' | b'`'))?;
    (!value[1..].contains(&quote)).then_some(quote)
}

/// Returns the text of the comment directly above an assignment, unless the comment contains a
/// commented-out assignment. A comment at the top of a file is ignored, because it describes the
/// file, unless the text is a part of one. In an example, commented-out assignments are text.
pub(super) fn comment_above(
    text: &[u8],
    whole: &Range<usize>,
    is_part: bool,
    is_example: bool,
) -> Option<Description> {
    let mut words: Vec<&str> = Vec::new();
    let mut above = text[..whole.start].strip_suffix(b"\n")?;

    loop {
        let begin = memchr::memrchr(b'\n', above).map_or(0, |at| at + 1);
        let Some(start) = comment(&above[begin..]) else { break };
        let comment = &above[begin + start..];
        let is_at_the_top = !is_part && above[..begin].trim_ascii().is_empty();

        if is_at_the_top || !is_example && commented_value(comment).is_some() {
            return None;
        }

        // Decoration is removed too, as in `# --- Database ---`.
        let is_ornament = |c: char| c.is_whitespace() || "#-=*~_".contains(c);
        words.push(std::str::from_utf8(comment).ok()?.trim_matches(is_ornament));
        match above[..begin].strip_suffix(b"\n") {
            Some(rest) => above = rest,
            None => break,
        }
    }

    words.reverse();
    Description::parse(words.join(" ").trim()).ok().flatten()
}
