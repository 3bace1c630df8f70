//! The places of a manifest's text that name secrets, to the byte.

use std::borrow::Cow;
use std::ops::Range;

use toml_parser::decoder::Encoding;
use toml_parser::parser::{EventReceiver, parse_document};
use toml_parser::{ErrorSink, Raw, Source, Span};

/// The kinds of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::setup) enum PlaceKind {
    /// The tag of a `[secrets.TAG]`, or of a key in such a table
    Declaration,
    /// The tag of a secret in a `[[proxy.rule]]`
    Rule,
    /// A template in a `[run.env]`
    Template,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::setup) struct TagPlace {
    pub(in crate::setup) kind: PlaceKind,
    /// The bytes of the key or of the value, with its quotes
    pub(in crate::setup) span: Range<usize>,
    /// The tag that stands there; empty for a template
    pub(in crate::setup) text: String,
}

/// Finds the places of a valid manifest, in the order of its text.
pub(in crate::setup) fn places(text: &str) -> Vec<TagPlace> {
    let tokens = Source::new(text).lex().into_vec();
    let mut places = Places { text, ..Places::default() };
    parse_document(&tokens, &mut places, &mut ());
    places.found
}

#[derive(Default)]
struct Places<'s> {
    text: &'s str,
    /// The keys of the last header
    table: Vec<String>,
    /// The keys from there to what is read now
    path: Vec<String>,
    /// The lengths of `path` outside of the inline tables and arrays that are open
    open: Vec<usize>,
    found: Vec<TagPlace>,
}

impl<'s> Places<'s> {
    fn raw(&self, span: Span, kind: Option<Encoding>) -> Raw<'s> {
        let text = self.text.get(span.start()..span.end()).unwrap_or_default();
        Raw::new_unchecked(text, kind, span)
    }

    /// Returns the keys from the root to the value that is read now.
    fn keys(&self) -> Vec<&str> {
        self.table.iter().chain(&self.path).map(String::as_str).collect()
    }

    fn header(&mut self) {
        self.table.clear();
        self.path.clear();
    }

    fn header_ends(&mut self) {
        self.table = std::mem::take(&mut self.path);
    }

    fn value_ends(&mut self) {
        self.path.truncate(self.open.last().copied().unwrap_or(0));
    }

    fn close(&mut self) {
        self.open.pop();
        self.value_ends();
    }
}

impl EventReceiver for Places<'_> {
    fn std_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.header();
    }

    fn std_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.header_ends();
    }

    fn array_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.header();
    }

    fn array_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.header_ends();
    }

    fn inline_table_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open.push(self.path.len());
        true
    }

    fn inline_table_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close();
    }

    fn array_open(&mut self, _: Span, _: &mut dyn ErrorSink) -> bool {
        self.open.push(self.path.len());
        true
    }

    fn array_close(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.close();
    }

    fn simple_key(&mut self, span: Span, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let mut key = Cow::Borrowed("");
        self.raw(span, kind).decode_key(&mut key, error);
        self.path.push(key.into_owned());
        if let ["secrets", tag] = self.keys()[..] {
            let text = tag.to_owned();
            let span = span.start()..span.end();
            self.found.push(TagPlace { kind: PlaceKind::Declaration, span, text });
        }
    }

    fn scalar(&mut self, span: Span, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let place = match self.keys()[..] {
            ["run", "env", _] | ["environments", _, "run", "env", _] => Some(PlaceKind::Template),
            ["proxy", "rule", "secret" | "key-id"] => Some(PlaceKind::Rule),
            _ => None,
        };
        if let Some(place) = place {
            let mut text = Cow::Borrowed("");
            if place == PlaceKind::Rule {
                let _ = self.raw(span, kind).decode_scalar(&mut text, error);
            }

            let (span, text) = (span.start()..span.end(), text.into_owned());
            self.found.push(TagPlace { kind: place, span, text });
        }

        self.value_ends();
    }

    fn value_sep(&mut self, _: Span, _: &mut dyn ErrorSink) {
        self.value_ends();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_found_in_every_notation() {
        let text = "# secrets.a\n[secrets.db-url]\ndescription = \"x\"\n\
            [secrets.\"db-url\".generate]\nlength = 20\n\
            [secrets]\na = { optional = true }\nb.generate.length = 9\n\
            [run]\nenv = { A = \"{{ secrets.a }}\", B = 'x' }\n\
            [proxy]\nprivate = [\"a\"]\nrule = [{ secret = \"a\", to = \"https://h\", except = [{ paths = [\"/\"] }], key-id = 'b' }]\n\
            [[proxy.rule]]\nto = \"https://h\"\nsecret = \"\\u0061\"\n\
            [environments.staging.run.env]\nC = \"\"\"{{A}}\"\"\"\n\
            [environments]\nproduction.run.env.D = \"x\"\n";
        let found: Vec<(PlaceKind, &str, String)> = places(text)
            .into_iter()
            .map(|place| (place.kind, &text[place.span], place.text))
            .collect();
        let expected = [
            (PlaceKind::Declaration, "db-url", "db-url"),
            (PlaceKind::Declaration, "\"db-url\"", "db-url"),
            (PlaceKind::Declaration, "a", "a"),
            (PlaceKind::Declaration, "b", "b"),
            (PlaceKind::Template, "\"{{ secrets.a }}\"", ""),
            (PlaceKind::Template, "'x'", ""),
            (PlaceKind::Rule, "\"a\"", "a"),
            (PlaceKind::Rule, "'b'", "b"),
            (PlaceKind::Rule, "\"\\u0061\"", "a"),
            (PlaceKind::Template, "\"\"\"{{A}}\"\"\"", ""),
            (PlaceKind::Template, "\"x\"", ""),
        ];
        assert_eq!(found, expected.map(|(kind, span, text)| (kind, span, text.to_owned())));
    }
}
