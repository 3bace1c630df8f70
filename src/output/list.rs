//! Prints a list whose items are found one at a time, because they may not fit into memory.

use std::io::{self, Write};

use super::{Outcome, Text};
use crate::ui::escape::PlainJson;
use crate::ui::{Ui, UiError};

/// A list that is being printed. As JSON it is a document with one member.
pub(crate) struct ListPrinter {
    is_json: bool,
    out: io::BufWriter<io::Stdout>,
    /// The text of one item
    text: Text,
    /// The text before the next item of the JSON form
    separator: &'static str,
}

impl Ui {
    /// Begins to print a list, which is the `member` of the document.
    pub(crate) fn print_list(&self, member: &str) -> Result<ListPrinter, UiError> {
        let mut out = io::BufWriter::new(io::stdout());
        if self.is_json() {
            write!(out, "{{\"{member}\":[").map_err(UiError::Stdout)?;
        }

        Ok(ListPrinter { is_json: self.is_json(), out, text: Text::new(self), separator: "" })
    }
}

impl ListPrinter {
    pub(crate) fn item(&mut self, item: &impl Outcome) -> Result<(), UiError> {
        self.write(item).map_err(UiError::Stdout)
    }

    fn write(&mut self, item: &impl Outcome) -> io::Result<()> {
        if !self.is_json {
            self.text.clear();
            item.text(&mut self.text);
            return self.out.write_all(self.text.as_str().as_bytes());
        }

        self.out.write_all(std::mem::replace(&mut self.separator, ",").as_bytes())?;
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.out, PlainJson);
        Ok(item.serialize(&mut serializer)?)
    }

    /// Prints the end of the list.
    pub(crate) fn finish(mut self) -> Result<(), UiError> {
        let end: &[u8] = if self.is_json { b"]}\n" } else { b"" };
        self.out.write_all(end).and_then(|()| self.out.flush()).map_err(UiError::Stdout)
    }
}
