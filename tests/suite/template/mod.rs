//! Templates: properties of generated ones, compared with a second implementation of the grammar.

use std::collections::HashMap;

use terminal_secrets::model::Tag;
use terminal_secrets::template::{Plan, Template};
use terminal_secrets::vault::{Reveal, Revealed, VaultError};

use crate::support::value;

use reference::Style;

mod copies;
mod properties;
mod reference;

const USUAL: Style = Style { open: "{{", close: "}}", namespaced: false, escape: None };

/// Values without a vault.
struct Map(HashMap<String, Vec<u8>>);

impl Reveal for Map {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let one = |tag: &Tag| match self.0.get(tag.key().as_str()) {
            Some(bytes) => Revealed::Value { tag: tag.clone(), value: value(bytes) },
            None => Revealed::Missing { nearest: None },
        };

        Ok(tags.iter().map(one).collect())
    }
}

/// Plans, resolves and expands, like `render --keep-unknown`.
fn rendered(template: &[u8], style: Style, values: &Map) -> Vec<u8> {
    let template = Template::from_text("template", template.to_vec());
    let resolved = Plan::new(template, style.grammar()).unwrap().resolve(values).unwrap();
    let mut out = Vec::new();
    resolved.expand(&mut out).unwrap();

    out
}
