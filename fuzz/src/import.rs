//! Exports of other tools. No export causes a panic, no two items have the same tag, memory is
//! bounded, and no error repeats a value.

use std::collections::HashSet;

use super::input::Input;
use terminal_secrets::age_file::AgeHeader;
use terminal_secrets::import::{Container, Format, ImportOptions, read};

/// A marker that is planted in every value of a JSON or dotenv file.
const MARKER: &str = "mArKeR7qZ";

/// Runs the target. A byte selects the format, another one the prefix of tags and `as_is`, and the
/// rest is the file.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (format, prefix) = (input.u8(), input.u8());
    let format = Format::named(Format::NAMES[usize::from(format) % Format::NAMES.len()])
        .expect("it is one of them");
    let as_is = prefix & 4 != 0;
    let prefix = ["", "web-", "-", "é"][usize::from(prefix) % 4];
    let options = ImportOptions { prefix, as_is, dotenvx: None };
    let text = input.rest();
    let _ = Format::of(None, text);
    let _ = Container::of(text);
    let _ = AgeHeader::read(text);

    if let Ok(found) = read(format, text, options) {
        let mut tags = HashSet::new();
        let mut bytes = 0;
        for item in &found.items {
            let project = item.origin.as_ref().map(|origin| origin.project.clone());
            assert!(
                tags.insert((project, item.tag.key())),
                "two items with the tag `{}`",
                item.tag
            );

            assert!(
                item.tag.as_str().starts_with(prefix)
                    && (format == Format::Age || !item.value.expose().is_empty())
            );

            assert!(!item.source.contains(char::is_control), "a label of control characters");
            bytes += item.value.expose().len() + item.source.len();
        }

        assert!(found.skipped.iter().all(|skipped| !skipped.source.contains(char::is_control)));

        // A value may get a frame, such as `otpauth://`, but it never grows to many times its size.
        // Each field of an entry repeats at most 256 characters of the title in its label. KeePass
        // references repeat another entry's field, up to a total limit, as do aliases in YAML. A `.1pux`
        // file is compressed, also up to a limit.
        let repeated = match format {
            Format::KeePass | Format::OnePassword => 64 * 1024 * 1024,
            Format::Yaml => 32 * 1024 * 1024,
            _ => 0,
        };
        let bound = 2048 * (found.items.len() + 1) + 4 * text.len() + repeated;
        assert!(bytes <= bound, "{} bytes of text became {bytes}", text.len());
    }

    let sign = match format {
        Format::Dotenv => b'=',
        Format::OnePassword | Format::KeePass | Format::LastPass => return,
        _ => b':',
    };

    if let Err(error) = read(format, &with_markers(text, sign), options) {
        assert!(!error.to_string().contains(MARKER), "{error}");
    }
}

/// Returns the text with a marker in each quoted value, after `:` or `=`, blanks and a quote.
fn with_markers(text: &[u8], sign: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut after_sign = false;
    for byte in text {
        out.push(*byte);
        if after_sign && *byte == b'"' {
            out.extend(MARKER.bytes());
        }

        after_sign = *byte == sign || (after_sign && matches!(byte, b' ' | b'\t' | b'\n'));
    }

    out
}
