//! Secrets as a table that fits the terminal, or as lines for a program.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use terminal_size::terminal_size;
use unicode_width::UnicodeWidthStr;

use super::LABEL;
use super::escape::visible;
use crate::model::Secret;

/// Width of a terminal that does not tell.
const USUAL_WIDTH: usize = 80;
/// Blanks between two columns.
const GAP: u16 = 2;
/// A name is rather wrapped into this many columns than left out.
const LEAST_NAME: usize = 12;

struct Column {
    title: &'static str,
    cells: Vec<String>,
    /// Left out first where the terminal is narrow; 0 stays
    rank: u8,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).chain([self.title.width()]).max().unwrap_or(0)
    }
}

fn columns(secrets: &[Secret], with_project: bool) -> Vec<Column> {
    let column = |title, rank, cell: &dyn Fn(&Secret) -> String| Column {
        title,
        rank,
        cells: secrets.iter().map(cell).collect(),
    };
    let mut columns = Vec::new();
    if with_project {
        columns.push(column("PROJECT", 0, &|s| s.project.to_string()));
    }
    columns.push(column("TAG", 0, &|s| s.metadata.tag.to_string()));
    columns.push(column("HINT", 1, &|s| visible(s.metadata.hint.as_str())));
    columns.push(column("UPDATED", 2, &|s| s.metadata.updated.for_people()[..10].to_owned()));
    columns.push(column("NAME", 3, &|s| s.metadata.name.as_ref().map_or_else(String::new, |n| visible(n.as_str()))));
    columns.push(column("ID", 4, &|s| s.id.to_string()));
    columns
}

/// A table as wide as the terminal at most: columns that do not fit are left out, from the id to the hint; what is still
/// too wide is wrapped.
pub(super) fn table(secrets: &[Secret], with_project: bool, color: bool) -> String {
    if secrets.is_empty() {
        return String::new();
    }
    let width = terminal_size().map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0)).max(10);
    let mut columns = columns(secrets, with_project);
    columns.retain(|column| column.rank != 3 || column.cells.iter().any(|cell| !cell.is_empty()));
    let natural = |columns: &[Column]| columns.iter().map(|c| c.width() + usize::from(GAP)).sum::<usize>();
    while natural(&columns) > width + usize::from(GAP) {
        let over = natural(&columns) - width - usize::from(GAP);
        if columns.iter().any(|column| column.rank == 3 && column.width() >= over + LEAST_NAME) {
            break;
        }
        let Some(last) = (0..columns.len()).filter(|at| columns[*at].rank > 0).max_by_key(|at| columns[*at].rank)
        else {
            break;
        };
        columns.remove(last);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX).saturating_add(GAP));
    table.set_header(columns.iter().map(|column| column.title));
    for row in 0..secrets.len() {
        table.add_row(columns.iter().map(|column| column.cells[row].as_str()));
    }
    let fits = natural(&columns) <= width + usize::from(GAP);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        // Of several columns only the name is wrapped; of one, what is wider than the terminal.
        if !fits && columns.len() > 1 && columns[at].rank != 3 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut out = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        if number == 0 && color {
            out += &format!("{LABEL}{line}{LABEL:#}\n");
        } else {
            out += &format!("{line}\n");
        }
    }
    out
}

/// One line a secret: tag, hint, updated, name, id, with tabs between them and no header.
pub(super) fn lines(secrets: &[Secret], with_project: bool) -> String {
    let columns = columns(secrets, with_project);
    let mut out = String::new();
    for row in 0..secrets.len() {
        let cells: Vec<&str> = columns.iter().map(|column| column.cells[row].as_str()).collect();
        out += &cells.join("\t");
        out.push('\n');
    }
    out
}
