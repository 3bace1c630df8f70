//! One pass over a template in constant memory: literal bytes and placeholders, in order.
//!
//! A window of a few hundred kilobytes moves over the template. No decision is made before all the
//! bytes that it depends on are in the window. The window's size therefore affects only the lengths
//! of the literal pieces.

use std::convert::Infallible;
use std::io::{self, Read};

use memchr::memmem::Finder;
use secrets_core::model::Tag;

use super::grammar::{Grammar, MAX_LENGTH, Malformed, Match, Placeholder};
use crate::position::Position;

/// The size of the window in bytes. Tests use other sizes.
pub const WINDOW: usize = 256 * 1024;

/// The location of a placeholder in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The number of bytes before the opening delimiter
    pub offset: u64,
    /// Line and column, or 0 for both if the caller did not ask for lines
    pub position: Position,
}

/// A part of a template.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes to be copied
    Literal(&'a [u8]),
    /// A placeholder: the parsed form, its bytes in the template, and its position
    Placeholder(&'a Placeholder, &'a [u8], Location),
    /// An invalid placeholder at this position; its bytes follow as literals
    Malformed(Malformed, Location),
    /// Text at this position that is copied, but resembles a placeholder for this tag
    NearMiss(Tag, Location),
    /// Two or more backslashes before the placeholder at this position. Version 0.1.0 read them
    /// differently.
    Backslashes(u64, Location),
}

/// Optional details that a pass can report. Each of them costs time.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanDetails {
    /// Positions with line and column
    pub lines: bool,
    /// Text that resembles a placeholder
    pub near_misses: bool,
}

impl ScanDetails {
    pub const NONE: Self = Self { lines: false, near_misses: false };
    pub const LINES: Self = Self { lines: true, near_misses: false };
}

/// The reason why a pass ended early.
#[derive(Debug)]
pub enum ScanError<E> {
    /// The template could not be read
    Read(io::Error),
    /// The visitor returned an error
    Visit(E),
}

struct Window {
    bytes: Vec<u8>,
    /// The end of the filled part of the buffer
    end: usize,
    /// The start of the part that was not handed over yet
    begin: usize,
    /// The number of backslashes directly before `begin` that were not handed over yet. Their
    /// meaning depends on the text that follows.
    held: u64,
    /// The byte before the buffer's first byte
    before: u8,
    /// The number of the template's bytes before the buffer
    offset: u64,
    complete: bool,
    lines: Option<Lines>,
}

#[derive(Default)]
struct Lines {
    /// The end of the part of the buffer whose newlines are counted
    counted: usize,
    newlines: u64,
    /// The offset of the byte after the last newline
    line_start: u64,
}

impl Window {
    /// Discards the bytes that were handed over and fills the buffer.
    fn refill(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        if self.begin > 0 {
            self.count_lines(self.begin);
            self.before = self.bytes[self.begin - 1];
            self.bytes.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.offset += self.begin as u64;
            if let Some(lines) = &mut self.lines {
                lines.counted -= self.begin;
            }

            self.begin = 0;
        }

        while self.end < self.bytes.len() {
            match reader.read(&mut self.bytes[self.end..]) {
                Ok(0) => {
                    self.complete = true;
                    break;
                }
                Ok(length) => self.end += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }

        Ok(())
    }

    fn count_lines(&mut self, up_to: usize) {
        let Some(lines) = &mut self.lines else { return };
        if up_to <= lines.counted {
            return;
        }

        let fresh = &self.bytes[lines.counted..up_to];
        lines.newlines += memchr::memchr_iter(b'\n', fresh).count() as u64;
        if let Some(last) = memchr::memrchr(b'\n', fresh) {
            lines.line_start = self.offset + (lines.counted + last) as u64 + 1;
        }

        lines.counted = up_to;
    }

    fn location(&mut self, at: usize) -> Location {
        self.count_lines(at);
        let offset = self.offset + at as u64;
        let position = match &self.lines {
            Some(lines) => {
                Position { line: lines.newlines + 1, column: offset - lines.line_start + 1 }
            }
            None => Position { line: 0, column: 0 },
        };

        Location { offset, position }
    }

    fn byte_before(&self, at: usize) -> u8 {
        if at == 0 { self.before } else { self.bytes[at - 1] }
    }

    /// Hands over everything before `at`, except the backslashes directly before it. Those are held
    /// back.
    fn hand_over<E>(&mut self, at: usize, visit: Visit<'_, E>) -> Result<(), ScanError<E>> {
        let fresh = &self.bytes[self.begin..at];
        let run = fresh.iter().rev().take_while(|byte| **byte == b'\\').count();

        if run < fresh.len() {
            backslashes(self.held, visit)?;
            self.held = 0;
            literal(&fresh[..fresh.len() - run], visit)?;
        }

        self.held += run as u64;
        self.begin = at;
        Ok(())
    }

    /// Hands over everything before `at`, including backslashes.
    fn hand_over_all<E>(&mut self, at: usize, visit: Visit<'_, E>) -> Result<(), ScanError<E>> {
        self.hand_over(at, visit)?;
        backslashes(std::mem::take(&mut self.held), visit)
    }
}

type Visit<'a, E> = &'a mut dyn FnMut(Event<'_>) -> Result<(), E>;

fn literal<E>(bytes: &[u8], visit: Visit<'_, E>) -> Result<(), ScanError<E>> {
    if bytes.is_empty() { Ok(()) } else { visit(Event::Literal(bytes)).map_err(ScanError::Visit) }
}

/// Hands over `number` backslashes, in pieces.
fn backslashes<E>(mut number: u64, visit: Visit<'_, E>) -> Result<(), ScanError<E>> {
    const PIECE: [u8; 1024] = [b'\\'; 1024];
    while number > 0 {
        let length = usize::try_from(number).map_or(PIECE.len(), |number| number.min(PIECE.len()));
        literal(&PIECE[..length], visit)?;
        number -= length as u64;
    }

    Ok(())
}

/// Reads a template once and hands over its parts in order, with the requested `details`.
///
/// Of `2n` backslashes directly before a placeholder, `n` are handed over, then the placeholder. Of
/// `2n + 1` backslashes, `n` are handed over, then the placeholder's own bytes as a literal. In
/// every other place a backslash is an ordinary byte.
pub fn scan<E>(
    reader: &mut dyn Read,
    grammar: &Grammar,
    window: usize,
    details: ScanDetails,
    mut visit: impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), ScanError<E>> {
    let open = Finder::new(grammar.open());
    let width = grammar.open().len();
    let visit: Visit<'_, E> = &mut visit;
    let mut w = Window {
        // The buffer has room for a whole placeholder, the byte before it and a part of the next
        // opening delimiter.
        bytes: vec![0; window.max(2 * MAX_LENGTH)],
        end: 0,
        begin: 0,
        held: 0,
        before: b'\n',
        offset: 0,
        complete: false,
        lines: details.lines.then(Lines::default),
    };

    w.refill(reader).map_err(ScanError::Read)?;
    let mut at = 0;

    loop {
        let Some(found) = open.find(&w.bytes[at..w.end]).map(|found| at + found) else {
            if w.complete {
                return w.hand_over_all(w.end, visit);
            }

            // The window may end with a part of a delimiter.
            let keep = w.end.saturating_sub(width).max(w.begin);
            w.hand_over(keep, visit)?;
            w.refill(reader).map_err(ScanError::Read)?;
            at = 0;
            continue;
        };

        at = found + 1;
        if w.byte_before(found) == b'$' {
            continue; // `${{ … }}` belongs to GitHub Actions
        }

        let rest = &w.bytes[found..w.end];

        // The check for near misses needs as many bytes as a placeholder can have.
        let is_whole = w.complete || rest.len() >= MAX_LENGTH;

        match grammar.at(rest, w.complete) {
            Match::Ordinary if !details.near_misses => {}
            Match::Ordinary if is_whole => {
                if let Some(tag) = grammar.near_miss(rest) {
                    let position = w.location(found);
                    visit(Event::NearMiss(tag, position)).map_err(ScanError::Visit)?;
                }
            }
            Match::Ordinary | Match::Incomplete => {
                w.hand_over(found, visit)?;
                w.refill(reader).map_err(ScanError::Read)?;
                at = 0;
            }
            Match::Malformed(why) => {
                let position = w.location(found);
                w.hand_over_all(found, visit)?;
                visit(Event::Malformed(why, position)).map_err(ScanError::Visit)?;
                w.hand_over_all(found + width, visit)?;
                at = found + width;
            }
            Match::Placeholder { placeholder, length } => {
                let position = w.location(found);
                w.hand_over(found, visit)?;
                let number = std::mem::take(&mut w.held);
                if number > 1 {
                    visit(Event::Backslashes(number, position)).map_err(ScanError::Visit)?;
                }

                backslashes(number / 2, visit)?;

                let raw = &w.bytes[found..found + length];
                let is_literal = number % 2 == 1;
                let event = if is_literal {
                    Event::Literal(raw)
                } else {
                    Event::Placeholder(&placeholder, raw, position)
                };

                visit(event).map_err(ScanError::Visit)?;
                w.begin = found + length;
                at = w.begin;
            }
        }
    }
}

/// Calls `visit` with each part of a text in memory.
pub fn each_event(text: &[u8], grammar: &Grammar, mut visit: impl FnMut(Event<'_>)) {
    let mut reader = text;
    let done: Result<(), ScanError<Infallible>> =
        scan(&mut reader, grammar, WINDOW, ScanDetails::NONE, |event| {
            visit(event);
            Ok(())
        });

    debug_assert!(done.is_ok(), "a text in memory can be read");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ScanDetails = ScanDetails { lines: true, near_misses: true };

    fn parts(text: &[u8], grammar: &Grammar, window: usize) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut out, mut places) = (Vec::new(), Vec::new());
        let mut reader = text;
        scan::<()>(&mut reader, grammar, window, ALL, |event| {
            match event {
                Event::Literal(bytes) => out.extend_from_slice(bytes),
                Event::Placeholder(placeholder, _, at) => {
                    out.extend_from_slice(format!("<{}>", placeholder.tag).as_bytes());
                    places.push((at.position.line, at.position.column));
                }
                Event::Malformed(_, at) => {
                    out.extend_from_slice(b"<!>");
                    places.push((at.position.line, at.position.column));
                }
                Event::NearMiss(_, at) | Event::Backslashes(_, at) => {
                    places.push((at.position.line, at.position.column));
                }
            }

            Ok(())
        })
        .unwrap();

        (out, places)
    }

    fn text(template: &str) -> String {
        String::from_utf8(parts(template.as_bytes(), &Grammar::default(), WINDOW).0).unwrap()
    }

    #[test]
    fn the_examples_of_the_design() {
        for (template, expected) in [
            ("a {{ secrets.x }} b", "a <x> b"),
            ("{{{X}}}", "{<X>}"),
            ("${{ secrets.X }}", "${{ secrets.X }}"),
            ("${{{X}}}", "${<X>}"),
            (r"\{{ secrets.x }}", "{{ secrets.x }}"),
            (r"\\{{ secrets.x }}", r"\<x>"),
            (r"\\\{{ secrets.x }}", r"\{{ secrets.x }}"),
            (r"CORP\\\\{{ X }}", r"CORP\\<X>"),
            (r"\\{{ .Values.x }}", r"\\{{ .Values.x }}"),
            (r"\\{{ secrets.x", r"\\<!>{{ secrets.x"),
            (r"{{A}}\\{{B}}", r"<A>\<B>"),
            (r"\\${{ X }}", r"\\${{ X }}"),
            (r"$\{{ X }}", "${{ X }}"),
            (r"\{{ .Values.x }}", r"\{{ .Values.x }}"),
            (r"\x {{X}}\", r"\x <X>\"),
            ("{{A}}{{B}}", "<A><B>"),
            ("{{A}}\\{{B}}", "<A>{{B}}"),
            ("{{ .Values.x }} {{X}}", "{{ .Values.x }} <X>"),
            ("{{{{X}}}}", "{{<X>}}"),
            ("{{ X {{ Y }}", "{{ X <Y>"),
            ("${{ secrets.X || 'a' }} {{Y}}", "${{ secrets.X || 'a' }} <Y>"),
            ("{{ secrets.x", "<!>{{ secrets.x"),
            ("{{ secrets.{{X}}", "<!>{{ secrets.<X>"),
            ("", ""),
            ("{{", "{{"),
        ] {
            assert_eq!(text(template), expected, "{template}");
        }
    }

    #[test]
    fn other_delimiters_follow_the_same_rules() {
        let grammar = Grammar { delimiters: "[[,]]".parse().unwrap(), ..Grammar::default() };
        let out = |template: &str| {
            String::from_utf8(parts(template.as_bytes(), &grammar, WINDOW).0).unwrap()
        };

        assert_eq!(out(r"[[X]] [[[X]]] $[[X]] \[[X]] {{X}}"), "<X> [<X>] $[[X]] [[X]] {{X}}");
    }

    #[test]
    fn positions_count_from_one_in_bytes() {
        let (_, places) = parts(
            "{{A}}\n é{{B}}\r\n\n{{ secrets. }}{{C}}".as_bytes(),
            &Grammar::default(),
            WINDOW,
        );

        assert_eq!(places, [(1, 1), (2, 4), (4, 1), (4, 15)]);
    }

    #[test]
    fn a_run_of_backslashes_may_be_longer_than_the_window() {
        for (number, rest) in
            [(6000, "{{X}}"), (6001, "{{X}}"), (6000, " {{X}}"), (6001, "{{ .v }}"), (6001, "")]
        {
            let template = format!("a{}{rest}", "\\".repeat(number));
            let expected = match rest {
                "{{X}}" if number % 2 == 0 => format!("a{}<X>", "\\".repeat(number / 2)),
                "{{X}}" => format!("a{}{{{{X}}}}", "\\".repeat(number / 2)),
                _ => template.replace("{{X}}", "<X>"),
            };

            let (out, _) = parts(template.as_bytes(), &Grammar::default(), 0);
            assert!(out == expected.as_bytes(), "{number} {rest}");
        }
    }

    #[test]
    fn near_misses_and_backslashes_are_reported_with_their_places() {
        let mut seen = Vec::new();
        let template = b"{{ .Values.x }}\n{{ stripe-key }} \\\\{{X}}\n \\\\\\{{ secrets.y }}";
        scan::<()>(&mut &template[..], &Grammar::default(), WINDOW, ALL, |event| {
            match event {
                Event::NearMiss(tag, at) => {
                    seen.push((tag.to_string(), 0, at.position.line, at.position.column));
                }
                Event::Backslashes(number, at) => {
                    seen.push((String::new(), number, at.position.line, at.position.column));
                }
                _ => {}
            }

            Ok(())
        })
        .unwrap();

        let expected = [
            ("stripe-key".to_owned(), 0, 2, 1),
            (String::new(), 2, 2, 20),
            (String::new(), 3, 3, 5),
        ];

        assert_eq!(seen, expected);
    }

    #[test]
    fn the_window_changes_nothing() {
        let unit = "x\\\\{{ Y }}{{ near-miss }}{{ secrets.some-tag | json }}\\{{ X }}\n${{ Y }}{{{Z}}}{{ secrets.bad! }}{{ .v }}\\{{{{{{{A}}";
        let template = unit.repeat(60);
        let whole = parts(template.as_bytes(), &Grammar::default(), 1 << 20);

        for window in 0..400 {
            // The smallest size comes first, so that every byte of the unit ends a window at some
            // size.
            let found = parts(template.as_bytes(), &Grammar::default(), 2 * MAX_LENGTH + window);
            assert!(found == whole, "{window}");
        }
    }
}
