//! The address of the API.

use serde::Serialize;

use super::{Outcome, Text};

/// The address of a server that has begun.
#[derive(Serialize)]
pub(crate) struct ServedApi<'a> {
    pub(crate) url: &'a str,
}

impl Outcome for ServedApi<'_> {
    fn text(&self, out: &mut Text) {
        out.line(self.url);
    }
}
