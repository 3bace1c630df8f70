//! Checks whether a JSON or YAML file keeps its structure when values replace the placeholders.
//!
//! The template with a number in place of every placeholder is the model. There, a value may be a
//! whole node. It must not end its quotes, add a key or break the file. The YAML parser keeps
//! copies of what it reads. So it gets values whose letters and digits are replaced, because only
//! their punctuation can break anything.

use std::collections::HashSet;

use saphyr_parser::{Event as Node, Parser, ScalarStyle, StrInput};
use secrets_core::model::{SecretBytes, Tag, TagKey};
use serde::de::IgnoredAny;

use super::warning::{Format, Warning};
use crate::template::{Event, Resolved, each_event};

/// The maximum size in bytes of a rendered file that is checked.
const MAX_SIZE: usize = 4 * 1024 * 1024;
/// The number of secrets of a file that are tried one by one.
const MAX_TRIES: usize = 32;
/// The stand-in for a value in the model: a number in JSON, and a text that no template contains by
/// chance.
const MARKER: &str = "40516273849506172";

/// Returns a warning if the values break a template that is valid without them.
pub(super) fn broken(format: Format, template: &[u8], resolved: &Resolved) -> Option<Warning> {
    let model = filled(template, resolved, |_| false, false)?;
    let breaks = |is_filled: &dyn Fn(&TagKey) -> bool| -> Option<bool> {
        if format == Format::Json {
            let json = filled(template, resolved, is_filled, false)?;
            if serde_json::from_slice::<IgnoredAny>(json.expose()).is_err() {
                return Some(true);
            }
        }

        let masked = filled(template, resolved, is_filled, true)?;
        Some(is_restructured(model.expose(), masked.expose()))
    };

    let is_in_order = match format {
        Format::Json => serde_json::from_slice::<IgnoredAny>(model.expose()).is_ok(),
        Format::Yaml => !is_restructured(model.expose(), model.expose()),
    };

    if !is_in_order || !breaks(&|_| true)? {
        return None;
    }

    let tags = tags(template, resolved);
    let alone = |tag: &&Tag| breaks(&|key| *key == tag.key()).unwrap_or(false);
    let tag = tags.iter().take(MAX_TRIES).find(alone).cloned();
    Some(Warning::Structure { format, tag })
}

fn tags(template: &[u8], resolved: &Resolved) -> Vec<Tag> {
    let (mut tags, mut known) = (Vec::new(), HashSet::new());
    each_event(template, resolved.grammar(), |event| {
        if let Event::Placeholder(placeholder, ..) = event
            && known.insert(placeholder.tag.key())
        {
            tags.push(placeholder.tag.clone());
        }
    });

    tags
}

/// Returns the template with the chosen values, and markers for the others. Returns `None` if the
/// result is too long.
fn filled(
    template: &[u8],
    resolved: &Resolved,
    is_chosen: impl Fn(&TagKey) -> bool,
    is_masked: bool,
) -> Option<SecretBytes> {
    let mut out = SecretBytes::with_capacity(template.len());
    let mut is_too_long = false;

    each_event(template, resolved.grammar(), |event| {
        let (bytes, is_value) = match event {
            Event::Literal(bytes) => (bytes, false),
            Event::Placeholder(placeholder, ..) => match resolved.replacement(placeholder) {
                Some(value) if is_chosen(&placeholder.tag.key()) => (value, true),
                _ => (MARKER.as_bytes(), false),
            },
            _ => return,
        };

        is_too_long |= out.len() + bytes.len() > MAX_SIZE;
        if !is_too_long && is_value && is_masked {
            mask(bytes, &mut out);
        } else if !is_too_long {
            out.extend(bytes);
        }
    });

    (!is_too_long).then_some(out)
}

/// Replaces letters and digits, except those that a backslash escapes.
fn mask(value: &[u8], out: &mut SecretBytes) {
    let mut is_escaped = false;
    for byte in value {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' if !is_escaped => out.push(b'a'),
            b'0'..=b'9' if !is_escaped => out.push(b'1'),
            byte => out.push(*byte),
        }

        is_escaped = *byte == b'\\' && !is_escaped;
    }
}

/// Returns true if two texts differ in more than scalars. A plain scalar with the marker may become
/// any node.
fn is_restructured(model: &[u8], text: &[u8]) -> bool {
    let (Ok(model), Ok(text)) = (std::str::from_utf8(model), std::str::from_utf8(text)) else {
        return true;
    };

    let (mut model, mut text) = (Parser::new_from_str(model), Parser::new_from_str(text));

    loop {
        let (expected, found) = match (model.next_event(), text.next_event()) {
            (None, None) => return false,
            (Some(Ok((expected, _))), Some(Ok((found, _)))) => (expected, found),
            _ => return true,
        };

        let is_marked = matches!((&expected, &found),
            (Node::Scalar(marker, ScalarStyle::Plain, ..), Node::SequenceStart(..) | Node::MappingStart(..))
                if marker.contains(MARKER));
        if is_marked && !skip_collection(&mut text) {
            return true;
        }

        if !is_marked && std::mem::discriminant(&expected) != std::mem::discriminant(&found) {
            return true;
        }
    }
}

/// Reads to the end of the collection whose start was just read. Returns false if the text is
/// invalid.
fn skip_collection<'t>(text: &mut Parser<'t, StrInput<'t>>) -> bool {
    let mut depth = 1_usize;
    while depth > 0 {
        match text.next_event() {
            Some(Ok((Node::SequenceStart(..) | Node::MappingStart(..), _))) => depth += 1,
            Some(Ok((Node::SequenceEnd | Node::MappingEnd, _))) => depth -= 1,
            Some(Ok(_)) => {}
            _ => return false,
        }
    }

    true
}
