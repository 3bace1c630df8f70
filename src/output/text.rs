//! The text form of a result: plain lines, labelled lines and tables.

use anstyle::Style;
use secrets_core::model::Secret;

use super::table;
use crate::ui::Ui;
use crate::ui::wrap::hanging;

/// The style of labels and column titles.
pub(super) const LABEL: Style = Style::new().bold();

/// A text for stdout. What is added to it has to be escaped already.
pub(crate) struct Text {
    content: String,
    is_terminal: bool,
    is_colored: bool,
}

impl Text {
    pub(super) fn new(ui: &Ui) -> Self {
        Self {
            content: String::new(),
            is_terminal: ui.stdout_is_terminal(),
            is_colored: ui.is_colored(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.content
    }

    pub(super) fn clear(&mut self) {
        self.content.clear();
    }

    /// Returns true if stdout is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Adds a word of up to 8 characters and a text. On a terminal, the text continues below its own
    /// beginning.
    pub(super) fn noted(&mut self, word: &str, text: &str) {
        let width = self.is_terminal.then(table::terminal_width);
        let line = format!("{word:<8} {text}");
        self.line(&hanging(&line, width, "         "));
    }

    pub(super) fn line(&mut self, line: &str) {
        self.content.push_str(line);
        self.content.push('\n');
    }

    /// Adds lines with a label in front.
    pub(super) fn labelled(&mut self, lines: &[(&str, String)]) {
        for (label, text) in lines {
            let label = format!("{label:<13}");
            let label = if self.is_colored { format!("{LABEL}{label}{LABEL:#}") } else { label };
            self.line(&format!("{label}{text}"));
        }
    }

    /// Adds secrets as a table on a terminal, otherwise as lines with tab-separated columns. A table
    /// has a column for the expiry date also if one of the secrets has a date. The columns of lines
    /// depend on options alone, because programs count them.
    pub(super) fn secrets(&mut self, secrets: &[Secret], with_project: bool, with_expiry: bool) {
        let has_date = || secrets.iter().any(|secret| secret.metadata.expires.is_some());
        let with_expiry = with_expiry || (self.is_terminal && has_date());
        self.table(table::of_secrets(secrets, with_project, with_expiry));
    }

    /// Adds rows as a table on a terminal, otherwise as lines with tab-separated columns.
    pub(super) fn rows<const N: usize>(&mut self, titles: [&'static str; N], rows: &[[String; N]]) {
        self.table(table::of_rows(titles, rows));
    }

    /// Adds the same rows, whose columns are removed on a narrow terminal from the highest rank on.
    /// Rank 0 is never removed, and rank 3 is wrapped before it is removed.
    pub(super) fn ranked<const N: usize>(
        &mut self,
        titles: [&'static str; N],
        ranks: [u8; N],
        rows: &[[String; N]],
    ) {
        self.table(table::of_ranked_rows(titles, ranks, rows));
    }

    /// Adds a table whose titles are data. Returns false, and adds nothing, if stdout is not a terminal
    /// or the terminal is too narrow for it.
    pub(super) fn wide_table(&mut self, titles: Vec<String>, rows: &[Vec<String>]) -> bool {
        let columns = table::of_columns(titles, rows);
        let has_room = self.is_terminal && table::fits(&columns);
        if has_room {
            self.table(columns);
        }

        has_room
    }

    fn table(&mut self, columns: Vec<table::Column>) {
        let table = if self.is_terminal {
            table::table(columns, self.is_colored)
        } else {
            table::lines(&columns)
        };

        self.content.push_str(&table);
    }
}
