//! The configuration for a program that starts `secrets mcp`.

use serde::Serialize;

use super::{Outcome, Text};

/// A configuration and the file that it belongs to.
#[derive(Serialize)]
pub(crate) struct McpConfiguration {
    pub(crate) file: &'static str,
    pub(crate) text: String,
}

impl Outcome for McpConfiguration {
    fn text(&self, out: &mut Text) {
        out.line(&self.text);
    }
}
