//! From a value to its needles: every form in which a program may write it, at least eight bytes long each. A form that
//! is shorter is left out, for it would be found everywhere.

use super::encode::{self, Json};
use super::needles::{Form, Needles};
use crate::model::SecretBytes;

/// Characters of one line, with the bytes that they encode: 76 as the program `base64` and MIME have it, 64 as PEM has.
const WRAPPED: [usize; 2] = [76, 64];

/// From this length on, base64 may be wrapped inside the value.
const WRAPS: usize = 48;

/// What URL writers leave as it is beside letters and digits; a blank among them is a `+`.
const KEPT: [&[u8]; 5] = [
    b"-._~",      // RFC 3986
    b"-_.!~*'()", // encodeURIComponent
    b" *-._",     // a form of HTML
    b"-._~/",     // Python's quote
    b" -._~",     // and its quote_plus
];

/// What XML and HTML writers make of quotes; some leave one of them, or both, as they are.
const XML: [(&[u8], &[u8]); 6] = [
    (b"\"", b"'"),
    (b"&quot;", b"'"),
    (b"&quot;", b"&apos;"),
    (b"&quot;", b"&#39;"),
    (b"&quot;", b"&#x27;"),
    (b"&#34;", b"&#39;"),
];

const JSON: [Json; 7] = {
    let least = Json { ascii: false, delete: false, html: false, slash: false, printable: false };
    [
        least,
        Json { ascii: true, ..least },
        Json { ascii: true, delete: true, ..least },
        Json { html: true, ..least },
        Json { slash: true, ..least },
        Json { slash: true, ascii: true, ..least },
        Json { printable: true, ..least },
    ]
};

/// Hands out the forms of one value, in no order. The same bytes may come in several forms.
pub(super) fn each(value: &[u8], visit: impl FnMut(Form, SecretBytes)) {
    let mut forms = Forms { visit, wholes: Vec::new() };
    forms.whole(Form::Raw, SecretBytes::copy_of(value));
    forms.whole(Form::Raw, encode::terminal_newlines(value));
    forms.lines(value);
    forms.encoded(value);
    // A shell's `$(…)` takes the newlines off, and what is encoded then may end in other characters.
    let stripped = value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    if stripped < value.len() {
        forms.encoded(&value[..stripped]);
    }
    let Forms { mut visit, wholes } = forms;
    for (form, bytes) in wholes {
        visit(form, bytes);
    }
}

struct Forms<V> {
    visit: V,
    /// Forms of the whole value. Many are equal, as most values have nothing to escape, and the value may be large.
    wholes: Vec<(Form, SecretBytes)>,
}

impl<V: FnMut(Form, SecretBytes)> Forms<V> {
    fn part(&mut self, form: Form, bytes: &[u8]) {
        if bytes.len() >= Needles::SHORTEST {
            (self.visit)(form, SecretBytes::copy_of(bytes));
        }
    }

    fn whole(&mut self, form: Form, bytes: SecretBytes) {
        let known = |(_, other): &(Form, SecretBytes)| other.expose() == bytes.expose();
        if bytes.len() >= Needles::SHORTEST && !self.wholes.iter().any(known) {
            self.wholes.push((form, bytes));
        }
    }

    fn encoded(&mut self, value: &[u8]) {
        self.json(value);
        self.shell(value);
        self.url(value);
        for (quote, apostrophe) in XML {
            self.whole(Form::Xml, encode::xml(value, quote, apostrophe));
        }
        self.whole(Form::Hex, encode::hex(value, false));
        self.whole(Form::Hex, encode::hex(value, true));
        self.base64(value);
    }

    fn lines(&mut self, value: &[u8]) {
        let trimmed = value.trim_ascii();
        self.part(Form::Line, trimmed);
        if !value.contains(&b'\n') {
            return;
        }
        self.part(Form::Line, encode::terminal_newlines(trimmed).expose());
        for line in value.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // Blanks alone and the frame of a PEM block are no secret, and stand everywhere.
            let frame = [&b"-----BEGIN "[..], b"-----END "].iter().any(|frame| line.trim_ascii().starts_with(frame));
            if !frame && !line.trim_ascii().is_empty() {
                self.part(Form::Line, line);
                self.part(Form::Line, line.trim_ascii());
            }
        }
    }

    fn json(&mut self, value: &[u8]) {
        let Ok(text) = std::str::from_utf8(value) else { return };
        for writer in JSON {
            self.whole(Form::Json, encode::json(text, writer));
        }
    }

    fn shell(&mut self, value: &[u8]) {
        self.whole(Form::Shell, encode::single_quoted(value, br"'\''"));
        self.whole(Form::Shell, encode::single_quoted(value, br#"'"'"'"#));
        self.whole(Form::Shell, encode::backslashed(value));
        self.whole(Form::Shell, encode::dollar_quoted(value, false));
        self.whole(Form::Shell, encode::dollar_quoted(value, true));
    }

    fn url(&mut self, value: &[u8]) {
        self.whole(Form::Url, encode::percent(value, KEPT[0], false));
        for kept in KEPT {
            self.whole(Form::Url, encode::percent(value, kept, true));
        }
    }

    fn base64(&mut self, value: &[u8]) {
        for url in [false, true] {
            for offset in 0..3 {
                let (text, foreign) = encode::base64(value, offset, url);
                let text = &text.expose()[foreign..];
                // The last character may hold bits of what follows. With none of those bits, the value was the last.
                let own = text.len().saturating_sub(usize::from(!(offset + value.len()).is_multiple_of(3)));
                self.part(Form::Base64, &text[..own]);
                self.part(Form::Base64, text);
                if offset == 0 && value.len() > WRAPS {
                    self.rows(&text[..own]);
                    self.rows(text);
                }
            }
        }
    }

    fn rows(&mut self, text: &[u8]) {
        for columns in WRAPPED {
            let rows = text.chunks(columns);
            rows.for_each(|row| self.part(Form::Base64, row));
        }
    }
}
