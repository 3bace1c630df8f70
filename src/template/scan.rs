//! One pass over a template in constant memory: literal bytes and placeholders, in order.
//!
//! A window of a few hundred kilobytes moves over the template. Nothing is decided before all the bytes that it depends
//! on are there, so the size of the window changes nothing but the lengths of the literal pieces.

use std::io::{self, Read};

use memchr::memmem::Finder;

use super::grammar::{Grammar, LONGEST, Malformed, Match, Placeholder};

/// The window's size, unless a test asks for another.
pub const WINDOW: usize = 256 * 1024;

/// Where a placeholder stands. Line and column count from 1, columns in bytes; both are 0 where nobody asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes before its `{{`
    pub offset: u64,
    /// Its line
    pub line: u64,
    /// Its column
    pub column: u64,
}

/// What a template consists of.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes to be copied
    Literal(&'a [u8]),
    /// A placeholder: what it says, its own bytes, its place
    Placeholder(&'a Placeholder, &'a [u8], Position),
    /// What follows at this place plainly meant us and is no placeholder; its bytes come as literals
    Malformed(Malformed, Position),
}

/// Why a pass ended early.
#[derive(Debug)]
pub enum ScanError<E> {
    /// The template could not be read
    Read(io::Error),
    /// The visitor gave up
    Visit(E),
}

struct Window {
    bytes: Vec<u8>,
    /// Up to here the buffer is filled
    end: usize,
    /// From here on nothing has been handed over
    begin: usize,
    /// The byte before the buffer's first
    before: u8,
    /// The template's bytes before the buffer's first
    offset: u64,
    complete: bool,
    lines: Option<Lines>,
}

#[derive(Default)]
struct Lines {
    /// Newlines counted up to here in the buffer
    counted: usize,
    newlines: u64,
    /// Offset behind the last newline
    line_start: u64,
}

impl Window {
    /// Drops what was handed over and fills up.
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

    fn position(&mut self, at: usize) -> Position {
        self.count_lines(at);
        let offset = self.offset + at as u64;
        match &self.lines {
            Some(lines) => Position { offset, line: lines.newlines + 1, column: offset - lines.line_start + 1 },
            None => Position { offset, line: 0, column: 0 },
        }
    }

    fn byte_before(&self, at: usize) -> u8 {
        if at == 0 { self.before } else { self.bytes[at - 1] }
    }
}

/// Reads a template once, handing over its parts in order. With `lines`, positions tell line and column.
pub fn scan<E>(
    reader: &mut dyn Read,
    grammar: &Grammar,
    window: usize,
    lines: bool,
    mut visit: impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), ScanError<E>> {
    let open = Finder::new(grammar.open());
    let width = grammar.open().len();
    let mut w = Window {
        // Room for a whole placeholder, the byte before it and a piece of the next opening delimiter.
        bytes: vec![0; window.max(2 * LONGEST)],
        end: 0,
        begin: 0,
        before: b'\n',
        offset: 0,
        complete: false,
        lines: lines.then(Lines::default),
    };
    w.refill(reader).map_err(ScanError::Read)?;
    let mut at = 0;
    let literal = |bytes: &[u8], visit: &mut dyn FnMut(Event<'_>) -> Result<(), E>| {
        if bytes.is_empty() { Ok(()) } else { visit(Event::Literal(bytes)).map_err(ScanError::Visit) }
    };
    loop {
        let Some(found) = open.find(&w.bytes[at..w.end]).map(|found| at + found) else {
            // A piece of a delimiter may end the window, and the byte before it may be a backslash: both stay.
            let keep = if w.complete { w.end } else { w.end.saturating_sub(width).max(w.begin) };
            literal(&w.bytes[w.begin..keep], &mut visit)?;
            w.begin = keep;
            if w.complete {
                return Ok(());
            }
            w.refill(reader).map_err(ScanError::Read)?;
            at = 0;
            continue;
        };
        at = found + 1;
        let before = w.byte_before(found);
        if before == b'$' {
            continue; // `${{ … }}` is GitHub Actions'
        }
        match grammar.at(&w.bytes[found..w.end], w.complete) {
            Match::Ordinary => {}
            Match::Incomplete => {
                let keep = found.saturating_sub(1).max(w.begin);
                literal(&w.bytes[w.begin..keep], &mut visit)?;
                w.begin = keep;
                w.refill(reader).map_err(ScanError::Read)?;
                at = 0;
            }
            Match::Malformed(why) => {
                let position = w.position(found);
                literal(&w.bytes[w.begin..found], &mut visit)?;
                visit(Event::Malformed(why, position)).map_err(ScanError::Visit)?;
                literal(&w.bytes[found..found + width], &mut visit)?;
                (w.begin, at) = (found + width, found + width);
            }
            Match::Placeholder { placeholder, length } => {
                let whole = found..found + length;
                if before == b'\\' && found > w.begin {
                    literal(&w.bytes[w.begin..found - 1], &mut visit)?;
                    literal(&w.bytes[whole.clone()], &mut visit)?;
                } else {
                    let position = w.position(found);
                    literal(&w.bytes[w.begin..found], &mut visit)?;
                    let event = Event::Placeholder(&placeholder, &w.bytes[whole.clone()], position);
                    visit(event).map_err(ScanError::Visit)?;
                }
                w.begin = whole.end;
                at = whole.end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &[u8], grammar: &Grammar, window: usize) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut out, mut places) = (Vec::new(), Vec::new());
        let mut reader = text;
        scan::<()>(&mut reader, grammar, window, true, |event| {
            match event {
                Event::Literal(bytes) => out.extend_from_slice(bytes),
                Event::Placeholder(placeholder, _, position) => {
                    out.extend_from_slice(format!("<{}>", placeholder.tag).as_bytes());
                    places.push((position.line, position.column));
                }
                Event::Malformed(_, position) => {
                    out.extend_from_slice(b"<!>");
                    places.push((position.line, position.column));
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
            (r"\\{{ secrets.x }}", r"\{{ secrets.x }}"),
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
        let out = |template: &str| String::from_utf8(parts(template.as_bytes(), &grammar, WINDOW).0).unwrap();
        assert_eq!(out(r"[[X]] [[[X]]] $[[X]] \[[X]] {{X}}"), "<X> [<X>] $[[X]] [[X]] {{X}}");
    }

    #[test]
    fn positions_count_from_one_in_bytes() {
        let (_, places) = parts("{{A}}\n é{{B}}\r\n\n{{ secrets. }}{{C}}".as_bytes(), &Grammar::default(), WINDOW);
        assert_eq!(places, [(1, 1), (2, 4), (4, 1), (4, 15)]);
    }

    #[test]
    fn the_window_changes_nothing() {
        let unit = "x{{ secrets.some-tag | json }}\\{{ X }}\n${{ Y }}{{{Z}}}{{ secrets.bad! }}{{ .v }}\\{{{{{{{A}}";
        let template = unit.repeat(60);
        let whole = parts(template.as_bytes(), &Grammar::default(), 1 << 20);
        for window in 0..400 {
            // Every size from the smallest on, so that each byte of the unit ends a window somewhere.
            let found = parts(template.as_bytes(), &Grammar::default(), 2 * LONGEST + window);
            assert!(found == whole, "{window}");
        }
    }
}
