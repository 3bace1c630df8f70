//! Computes the needles of a value: the forms in which a program may write it, each at least eight
//! bytes long. Shorter forms are left out, because they would be found everywhere. Escapes are not
//! forms, because the masker decodes them.

use super::encode::{self, Json};
use super::form::Form;
use super::needles::Needles;

/// Line lengths in characters: 76 in the program `base64` and in MIME, 64 in PEM. A single line of
/// the value is found, too.
const WRAPPED: [usize; 2] = [76, 64];

/// From this length in bytes on, base64 may be wrapped inside the value.
const WRAPS: usize = 48;

/// The length in bytes from which values have fewer forms. They are files, and nobody escapes files
/// twice or writes them in base32.
const LONG: usize = 64 * 1024;

/// Passes the forms of one value to `visit`, in no particular order. The same bytes may come
/// several times, in the same form or in different ones.
pub(super) fn each(value: &[u8], visit: impl FnMut(Form, &[u8])) {
    let mut forms = Forms { visit };
    forms.add(Form::Raw, value);
    if value.contains(&b'\n') {
        for every in [false, true] {
            forms.add(Form::Raw, encode::terminal_newlines(value, every).expose());
        }
    }

    forms.lines(value);
    forms.encoded(value);

    // A shell's `$(…)` removes newlines at the end. The encoded text may then end in other
    // characters.
    let stripped =
        value.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    if stripped < value.len() {
        forms.encoded(&value[..stripped]);
    }

    if let Some(password) = password(value) {
        forms.password(password);
    }
}

/// Returns the password of a URL, as it is written there.
fn password(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let scheme = value.windows(3).position(|window| window == b"://")?;

    // There may be several schemes in a row, as in `jdbc:mysql://`.
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.:".contains(byte);
    if scheme == 0 || !value[..scheme].iter().all(is_scheme) {
        return None;
    }

    let rest = &value[scheme + 3..];
    let authority =
        &rest[..rest.iter().position(|byte| b"/?#\\".contains(byte)).unwrap_or(rest.len())];
    let user_info = &authority[..authority.iter().rposition(|byte| *byte == b'@')?];
    let colon = user_info.iter().position(|byte| *byte == b':')?;

    Some(&user_info[colon + 1..])
}

struct Forms<V> {
    visit: V,
}

impl<V: FnMut(Form, &[u8])> Forms<V> {
    fn add(&mut self, form: Form, bytes: &[u8]) {
        if bytes.len() >= Needles::SHORTEST {
            (self.visit)(form, bytes);
        }
    }

    fn password(&mut self, text: &[u8]) {
        let decoded = encode::unpercent(text);
        for password in [text, decoded.expose()] {
            if password.len() >= Needles::SHORTEST {
                self.add(Form::Password, password);
                self.encoded(password);
            }
        }
    }

    fn encoded(&mut self, value: &[u8]) {
        // Most keys and tokens have no characters that anybody escapes or quotes.
        let is_plain =
            |byte: &u8| byte.is_ascii_alphanumeric() || encode::UNRESERVED.contains(byte);
        if !value.iter().all(is_plain) {
            self.escaped(value);
            self.quoted(value);
        }

        self.add(Form::Hex, encode::hex(value, false).expose());
        self.add(Form::Hex, encode::hex(value, true).expose());
        self.base64(value);
        self.base32(value);
    }

    fn lines(&mut self, value: &[u8]) {
        let trimmed = value.trim_ascii();
        self.add(Form::Line, trimmed);
        if !value.contains(&b'\n') {
            return;
        }

        self.add(Form::Line, encode::terminal_newlines(trimmed, false).expose());
        for line in value.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);

            // White space and the frame of a PEM block are not secret and occur everywhere.
            let frame = [&b"-----BEGIN "[..], b"-----END "]
                .iter()
                .any(|frame| line.trim_ascii().starts_with(frame));
            if !frame && !line.trim_ascii().is_empty() {
                self.add(Form::Line, line);
                self.add(Form::Line, line.trim_ascii());
            }
        }
    }

    /// Adds forms that are escaped once. If they are escaped again, the masker decodes the outer
    /// escapes.
    fn escaped(&mut self, value: &[u8]) {
        let is_long = value.len() > LONG;
        if let Ok(text) = std::str::from_utf8(value) {
            self.add(Form::Escaped, encode::json(text, Json::PLAIN).expose());
            if !is_long {
                self.add(Form::Escaped, encode::json(text, Json::ASCII).expose());
                for how in Json::OTHERS {
                    self.add(Form::Escaped, encode::json(text, how).expose());
                }
            }
        }

        // HTML forms write `+` for a space.
        self.add(Form::Url, encode::replaced(value, b' ', b"+").expose());
        if !is_long {
            self.add(Form::Url, encode::percent(value, encode::UNRESERVED).expose());
            self.add(Form::Url, encode::percent(value, encode::COMPONENT).expose());
        }
    }

    fn quoted(&mut self, value: &[u8]) {
        self.add(Form::Shell, encode::replaced(value, b'\'', br"'\''").expose());
        self.add(Form::Shell, encode::replaced(value, b'\'', br#"'"'"'"#).expose());

        // make writes `$` as `$$`. systemd, printf and Python's configparser write `%` as `%%`.
        self.add(Form::Shell, encode::replaced(value, b'$', b"$$").expose());
        self.add(Form::Quoted, encode::replaced(value, b'%', b"%%").expose());
        self.add(Form::Quoted, encode::replaced(value, b'\'', b"''").expose());
        self.add(Form::Quoted, encode::replaced(value, b'"', br#""""#).expose());

        // Some writers escape quotes but not backslashes.
        self.add(Form::Quoted, encode::replaced(value, b'"', br#"\""#).expose());
    }

    fn base64(&mut self, value: &[u8]) {
        for offset in 0..3 {
            for url in [false, true] {
                let (text, foreign) = encode::base64(value, offset, url);
                let text = &text.expose()[foreign..];

                // The last character may hold bits of the bytes that follow. The form with that
                // character matches if nothing follows the value.
                let own = text
                    .len()
                    .saturating_sub(usize::from(!(offset + value.len()).is_multiple_of(3)));
                self.add(Form::Base64, &text[..own]);
                self.add(Form::Base64, text);
                if offset == 0 && value.len() > WRAPS && value.len() <= LONG {
                    self.rows(&text[..own]);
                    self.rows(text);
                }
            }
        }
    }

    fn rows(&mut self, text: &[u8]) {
        for columns in WRAPPED {
            let rows = text.chunks(columns);
            rows.for_each(|row| self.add(Form::Base64, row));
        }
    }

    fn base32(&mut self, value: &[u8]) {
        if value.len() > LONG {
            return;
        }

        for offset in 0..5 {
            let (text, foreign) = encode::base32(value, offset);
            let text = &text.expose()[foreign..];
            let own =
                text.len().saturating_sub(usize::from(!(offset + value.len()).is_multiple_of(5)));
            self.add(Form::Base32, &text[..own]);
            self.add(Form::Base32, text);
        }
    }
}
