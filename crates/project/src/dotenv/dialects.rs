//! How each reader of `.env` files interprets one assignment. All functions are pure and run in
//! linear time.
//!
//! Each function takes the text after the `=`, up to the next assignment or the end of the file,
//! and returns the value that the program ends up with. `None` means that the result is not
//! reliable: the program expands a variable, runs a command, rejects the file, or reads a part of
//! the value as another line, or its versions disagree.
//!
//! The rules come from the programs' source code (docs/design/dotenv.md lists the versions).
//! `tests/readers.sh` compares them with the installed programs.

use memchr::memchr;
use secrets_core::model::SecretBytes;

/// The maximum length in bytes of a value in a line for `docker run --env-file`. It leaves room for
/// the name.
const DOCKER_LINE: usize = 64 * 1024 - 1024;

/// Reads like `source FILE` in bash: one word of shell syntax.
pub(super) fn bash(text: &[u8]) -> Option<SecretBytes> {
    let mut value = SecretBytes::with_capacity(text.len());
    let mut at = 0;
    let mut may_expand_tilde = true;

    while let Some(&byte) = text.get(at) {
        let was_at_start = std::mem::replace(&mut may_expand_tilde, byte == b':');
        at += 1;

        match byte {
            b'\n' | b' ' | b'\t' => {
                at -= 1;
                break;
            }
            b'\'' => {
                let length = memchr(b'\'', &text[at..])?;
                value.extend(&text[at..at + length]);
                at += length + 1;
            }
            b'"' => at = bash_double_quoted(text, at, &mut value)?,
            b'\\' => {
                let escaped = *text.get(at)?;
                if escaped == b'\n' {
                    return None;
                }

                value.push(escaped);
                at += 1;
            }
            b'$' if is_expanded_by_bash(text.get(at), true) => return None,
            b'~' if was_at_start => return None,
            b'`' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>' => return None,
            byte => value.push(byte),
        }
    }

    // bash drops NUL bytes with a warning. It does not count a carriage return as white space.
    let mut lines = text[at..].split(|byte| *byte == b'\n');
    let is_comment =
        |line: &[u8]| matches!(line.iter().find(|b| !matches!(b, b' ' | b'\t')), None | Some(b'#'));
    let is_whole = lines.all(is_comment) && !value.expose().contains(&0);
    is_whole.then_some(value)
}

/// Reads up to the closing quote. Returns the index after it.
fn bash_double_quoted(text: &[u8], mut at: usize, value: &mut SecretBytes) -> Option<usize> {
    loop {
        let byte = *text.get(at)?;
        at += 1;

        match byte {
            b'"' => return Some(at),
            b'`' => return None,
            b'$' if is_expanded_by_bash(text.get(at), false) => return None,
            b'\\' => match *text.get(at)? {
                escaped @ (b'$' | b'`' | b'"' | b'\\') => {
                    value.push(escaped);
                    at += 1;
                }
                b'\n' => at += 1,
                _ => value.push(b'\\'),
            },
            byte => value.push(byte),
        }
    }
}

/// Returns true if a `$` before this byte starts an expansion. Outside of quotes, `$'` and `$"` do
/// so too.
fn is_expanded_by_bash(next: Option<&u8>, is_bare: bool) -> bool {
    next.is_some_and(|next| {
        next.is_ascii_alphanumeric()
            || b"_{([*@#?$!-".contains(next)
            || is_bare && b"'\"".contains(next)
    })
}

/// Reads like Compose v2 (compose-go): quotes have escapes, and `$` is expanded everywhere except
/// in single quotes.
pub(super) fn compose(text: &[u8]) -> Option<SecretBytes> {
    let text = valid_text(text)?.trim_start_matches(is_blank_for_compose);

    let quote = text.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''));
    let Some(quote) = quote else {
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        let line = line.split_once(" #").map_or(line, |(value, _)| value);
        let value = expanded_by_compose(line.trim_end().as_bytes())?;
        return is_comment_to_the_end(rest.as_bytes()).then_some(value);
    };

    let (inside, rest) = compose_quoted(&text.as_bytes()[1..], quote)?;
    let value = if quote == b'"' {
        expanded_by_compose(unescaped_by_compose(inside.expose())?.expose())?
    } else {
        inside
    };

    is_comment_to_the_end(rest).then_some(value)
}

fn is_blank_for_compose(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

/// Returns the text up to the closing quote with escaped quotes unescaped, and the text after the
/// quote.
fn compose_quoted(text: &[u8], quote: u8) -> Option<(SecretBytes, &[u8])> {
    let mut inside = SecretBytes::with_capacity(text.len());
    let mut at = 0;

    loop {
        let byte = *text.get(at)?;
        at += 1;

        if byte == quote {
            return Some((inside, &text[at..]));
        } else if byte != b'\\' {
            inside.push(byte);
            continue;
        }

        let escaped = *text.get(at)?;
        at += 1;
        if escaped != quote {
            inside.push(b'\\');
        }

        inside.push(escaped);
    }
}

/// Resolves the escapes of double quotes. `\$` becomes `$$`, which the expansion turns into `$`.
fn unescaped_by_compose(text: &[u8]) -> Option<SecretBytes> {
    let mut value = SecretBytes::with_capacity(2 * text.len());
    let mut rest = text;

    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            value.push(byte);
            continue;
        }

        let escaped = tail.first().copied();
        let replacement: &[u8] = match escaped {
            Some(b'a') => b"\x07",
            Some(b'b') => b"\x08",
            Some(b'f') => b"\x0c",
            Some(b'n') => b"\n",
            Some(b'r') => b"\r",
            Some(b't') => b"\t",
            Some(b'v') => b"\x0b",
            Some(b'$') => b"$$",
            Some(b'"') => b"\"",
            Some(b'\\') => b"\\",
            // This is an octal escape.
            Some(b'0') => return None,
            _ => {
                value.push(b'\\');
                continue;
            }
        };

        value.extend(replacement);
        rest = &tail[1..];
    }

    Some(value)
}

/// Turns `$$` into a dollar sign. Returns `None` if any other `$` precedes a variable name or a
/// brace, because Compose expands or rejects it.
fn expanded_by_compose(text: &[u8]) -> Option<SecretBytes> {
    let mut value = SecretBytes::with_capacity(text.len());
    let mut at = 0;

    while let Some(&byte) = text.get(at) {
        at += 1;
        value.push(byte);
        match text.get(at) {
            Some(b'$') if byte == b'$' => at += 1,
            Some(next) if byte == b'$' && (next.is_ascii_alphabetic() || b"_{".contains(next)) => {
                return None;
            }
            _ => {}
        }
    }

    Some(value)
}

/// Reads like `docker run --env-file`: the rest of the line, without trimming, quotes or trailing
/// comments.
pub(super) fn docker(text: &[u8]) -> Option<SecretBytes> {
    let (line, rest) = split_line(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);

    let is_read =
        valid_text(line).is_some() && line.len() < DOCKER_LINE && is_comment_to_the_end(rest);
    is_read.then(|| SecretBytes::copy_of(line))
}

/// Reads like `node --env-file`: the only escape is `\n` in double quotes, a quoted value ends at
/// the next such quote, and `\r` is dropped everywhere.
pub(super) fn node(text: &[u8]) -> Option<SecretBytes> {
    valid_text(text)?;
    let mut text = without_carriage_returns(text);
    let blanks = text.expose().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();

    // Some versions count a tab as a blank and others do not.
    if text.expose()[..blanks].contains(&b'\t') {
        return None;
    }

    text = SecretBytes::copy_of(&text.expose()[blanks..]);
    let text = text.expose();

    if let Some(quote) = text.first().filter(|byte| matches!(byte, b'"' | b'\'' | b'`')) {
        let length = memchr(*quote, &text[1..])?;
        let (inside, rest) = (&text[1..=length], &text[length + 2..]);

        // Node drops the text between the closing quote and the end of the line. That text could be
        // a part of the value.
        let value = if *quote == b'"' {
            with_newlines(inside, false)
        } else {
            SecretBytes::copy_of(inside)
        };

        return is_comment_to_the_end(rest).then_some(value);
    }

    let (line, rest) = split_line(text);
    let line = &line[..memchr(b'#', line).unwrap_or(line.len())];
    let value = line.trim_ascii_end();
    let is_reliable =
        !line[value.len()..].iter().any(|byte| *byte != b' ') && is_comment_to_the_end(rest);

    is_reliable.then(|| SecretBytes::copy_of(value))
}

fn without_carriage_returns(text: &[u8]) -> SecretBytes {
    let mut kept = SecretBytes::with_capacity(text.len());
    for piece in text.split(|byte| *byte == b'\r') {
        kept.extend(piece);
    }

    kept
}

/// Turns `\n` into newlines, and `\r` into carriage returns if `returns` is set. Other backslashes
/// have no special meaning.
fn with_newlines(text: &[u8], returns: bool) -> SecretBytes {
    let mut value = SecretBytes::with_capacity(text.len());
    let mut at = 0;

    while let Some(&byte) = text.get(at) {
        at += 1;
        match text.get(at) {
            Some(b'n') if byte == b'\\' => value.push(b'\n'),
            Some(b'r') if byte == b'\\' && returns => value.push(b'\r'),
            _ => {
                value.push(byte);
                continue;
            }
        }

        at += 1;
    }

    value
}

/// Reads like the npm package dotenv: double quotes have the escapes `\n` and `\r` only, and an
/// unquoted value ends at any `#`.
pub(super) fn npm(text: &[u8]) -> Option<SecretBytes> {
    // In some of JavaScript's regular expressions, the Unicode line separators end lines too.
    valid_text(text).filter(|text| !text.contains(['\u{2028}', '\u{2029}']))?;
    let lines = with_unix_lines(text);
    let text =
        std::str::from_utf8(lines.expose()).ok()?.trim_start_matches(is_white_for_javascript);

    // A line without a value ends before the white space of the next line.
    let skipped = &lines.expose()[..lines.len() - text.len()];
    if skipped.contains(&b'\n') {
        return is_comment_to_the_end(text.as_bytes()).then(|| SecretBytes::with_capacity(0));
    }

    let bytes = text.as_bytes();
    let quote = bytes.first().copied().filter(|byte| matches!(byte, b'"' | b'\'' | b'`'));
    if let Some(quote) = quote {
        if let Some(length) = npm_closing_quote(&bytes[1..], quote)
            && is_comment_to_the_end(
                text[length + 2..].trim_start_matches(is_white_for_javascript).as_bytes(),
            )
        {
            let inside = &bytes[1..=length];
            return Some(if quote == b'"' {
                with_newlines(inside, true)
            } else {
                SecretBytes::copy_of(inside)
            });
        }

        // The package's regular expression has other ways to match, which depend on the following
        // lines.
        if bytes.windows(2).any(|pair| pair == [b'\\', quote]) {
            return None;
        }
    }

    let (line, rest) = split_line(bytes);
    let line = &line[..memchr(b'#', line).unwrap_or(line.len())];
    let value =
        std::str::from_utf8(line).ok()?.trim_end_matches(is_white_for_javascript).as_bytes();
    let value = match (quote, value) {
        (Some(quote), [first, inside @ .., last]) if *first == quote && *last == quote => inside,
        _ => value,
    };

    let value =
        if quote == Some(b'"') { with_newlines(value, true) } else { SecretBytes::copy_of(value) };
    is_comment_to_the_end(rest).then_some(value)
}

/// Finds the first quote without a backslash before it. For npm, an escaped backslash escapes a
/// quote too.
fn npm_closing_quote(text: &[u8], quote: u8) -> Option<usize> {
    let mut quotes = memchr::memchr_iter(quote, text);
    quotes.find(|at| text[..*at].last() != Some(&b'\\'))
}

fn is_white_for_javascript(c: char) -> bool {
    c == '\u{feff}' || c.is_whitespace() && c != '\u{85}'
}

fn with_unix_lines(text: &[u8]) -> SecretBytes {
    let mut lines = SecretBytes::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' => lines.push(b'\n'),
            b'\n' if at > 0 && text[at - 1] == b'\r' => {}
            byte => lines.push(byte),
        }
    }

    lines
}

/// Reads like Next.js and Vite: the npm package dotenv, then dotenv-expand, which unescapes `\$`
/// and expands variables.
pub(super) fn npm_expanded(text: &[u8]) -> Option<SecretBytes> {
    let read = npm(text)?;
    let read = read.expose();
    let mut value = SecretBytes::with_capacity(read.len());

    for (at, &byte) in read.iter().enumerate() {
        let next = read.get(at + 1);
        let is_after_backslash = at > 0 && read[at - 1] == b'\\';
        if byte == b'\\' && next == Some(&b'$') {
            // Versions disagree about two backslashes before a dollar sign.
            if is_after_backslash {
                return None;
            }

            continue;
        }

        // Newer versions of dotenv-expand run the command in `$(…)`, even after a backslash.
        let begins = |next: &u8| next.is_ascii_alphanumeric() || b"_.{".contains(next);
        if byte == b'$' && (next == Some(&b'(') || !is_after_backslash && next.is_some_and(begins))
        {
            return None;
        }

        value.push(byte);
    }

    Some(value)
}

/// Reads like python-dotenv: both kinds of quotes have escapes, and `${NAME}` is expanded
/// everywhere.
pub(super) fn python(text: &[u8]) -> Option<SecretBytes> {
    valid_text(text)?;
    let lines = with_unix_lines(text);
    let text = std::str::from_utf8(lines.expose()).ok()?;
    let is_white = |c: char| is_white_for_python(c) && c != '\n';
    let begin = text.trim_start_matches(is_white);

    let quote = begin.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''));
    let (value, rest) = if let Some(quote) = quote {
        let length = python_closing_quote(&begin.as_bytes()[1..], quote)?;
        let rest = &begin[length + 2..];

        // A comment may follow after any number of blanks.
        let rest = rest.trim_start_matches(is_white);
        (unescaped_by_python(&begin.as_bytes()[1..=length], quote), rest)
    } else if begin.len() < text.len() && begin.starts_with('#') {
        (SecretBytes::with_capacity(0), begin)
    } else {
        let (line, rest) = begin.split_once('\n').unwrap_or((begin, ""));
        (SecretBytes::copy_of(python_bare(line).as_bytes()), rest)
    };

    let is_whole = is_comment_to_the_end(rest.as_bytes()) && !has_python_variable(value.expose());
    is_whole.then_some(value)
}

/// Returns a line without its comment, which starts at a `#` after white space.
fn python_bare(line: &str) -> &str {
    let mut signs = line.match_indices('#').map(|(at, _)| &line[..at]);
    let before = signs.find(|before| before.ends_with(is_white_for_python));
    before.unwrap_or(line).trim_end_matches(is_white_for_python)
}

fn is_white_for_python(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Finds the closing quote. Versions disagree if a quote follows more than one backslash.
fn python_closing_quote(text: &[u8], quote: u8) -> Option<usize> {
    for at in memchr::memchr_iter(quote, text) {
        let backslashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        match backslashes {
            0 => return Some(at),
            1 => {}
            _ => return None,
        }
    }

    None
}

fn unescaped_by_python(text: &[u8], quote: u8) -> SecretBytes {
    let mut value = SecretBytes::with_capacity(text.len());
    let mut rest = text;

    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let replacement = match tail.first() {
            _ if byte != b'\\' => None,
            Some(escaped @ (b'\\' | b'\'')) => Some(*escaped),
            Some(b'"') if quote == b'"' => Some(b'"'),
            Some(b'a') if quote == b'"' => Some(0x07),
            Some(b'b') if quote == b'"' => Some(0x08),
            Some(b'f') if quote == b'"' => Some(0x0c),
            Some(b'n') if quote == b'"' => Some(b'\n'),
            Some(b'r') if quote == b'"' => Some(b'\r'),
            Some(b't') if quote == b'"' => Some(b'\t'),
            Some(b'v') if quote == b'"' => Some(0x0b),
            _ => None,
        };

        value.push(replacement.unwrap_or(byte));
        if replacement.is_some() {
            rest = &tail[1..];
        }
    }

    value
}

/// Returns true if the text contains `${NAME}` or `${NAME:-DEFAULT}`.
fn has_python_variable(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, b"${").any(|at| {
        let inside = &text[at + 2..];
        let name =
            inside.iter().position(|byte| matches!(byte, b'}' | b':')).unwrap_or(inside.len());
        match inside.get(name..) {
            Some([b'}', ..]) => true,
            Some([b':', b'-', default @ ..]) => default.contains(&b'}'),
            _ => false,
        }
    })
}

/// Reads like `EnvironmentFile=` of systemd: quoted words are joined, nothing is expanded, and
/// there are no trailing comments.
pub(super) fn systemd(text: &[u8]) -> Option<SecretBytes> {
    valid_text(text)?;
    let mut value = SecretBytes::with_capacity(text.len());
    let mut at = 0;

    // The length up to the last byte that is not a trailing blank. Trailing blanks are dropped at
    // the end of a line.
    let mut trimmed_length = 0;
    let mut is_before_value = true;

    while let Some(&byte) = text.get(at) {
        at += 1;

        match byte {
            b'\n' | b'\r' => break,
            b'\\' => {
                let escaped = *text.get(at)?;
                at += 1;
                if !matches!(escaped, b'\n' | b'\r') {
                    value.push(escaped);
                    trimmed_length = value.len();
                }

                is_before_value = false;
            }
            b' ' | b'\t' if is_before_value => {}
            b'\'' if is_before_value => {
                let length = memchr(b'\'', &text[at..])?;
                value.extend(&text[at..at + length]);
                trimmed_length = value.len();
                at += length + 1;
            }
            b'"' if is_before_value => {
                at = systemd_double_quoted(text, at, &mut value)?;
                trimmed_length = value.len();
            }
            byte => {
                is_before_value = false;
                value.push(byte);
                if !matches!(byte, b' ' | b'\t') {
                    trimmed_length = value.len();
                }
            }
        }
    }

    value.truncate(trimmed_length);
    is_comment_to_the_end(&text[at..]).then_some(value)
}

/// Reads up to the closing quote. Returns the index after it.
fn systemd_double_quoted(text: &[u8], mut at: usize, value: &mut SecretBytes) -> Option<usize> {
    loop {
        let byte = *text.get(at)?;
        at += 1;

        match byte {
            b'"' => return Some(at),
            b'\\' => {
                match *text.get(at)? {
                    escaped @ (b'"' | b'\\' | b'`' | b'$') => value.push(escaped),
                    b'\n' => {}
                    other => value.extend(&[b'\\', other]),
                }

                at += 1;
            }
            byte => value.push(byte),
        }
    }
}

/// Returns the text as a string if it is UTF-8 without a NUL byte. Only such text fits into a
/// variable of a program that handles text as characters.
fn valid_text(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok().filter(|text| !text.contains('\0'))
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    memchr(b'\n', text).map_or((text, b""), |end| (&text[..end], &text[end + 1..]))
}

/// Returns true if only blanks and comments follow, on this line and all later ones.
fn is_comment_to_the_end(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .all(|line| matches!(line.trim_ascii_start().first(), None | Some(b'#')))
}
