//! Formats rows as a table that fits the terminal, or as lines for a program.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use secrets_core::model::{Class, Secret};
use terminal_size::terminal_size;
use unicode_width::UnicodeWidthStr;

use super::text::LABEL;
use crate::ui::escape::visible;
use crate::ui::time::local_date;

/// The assumed width of a terminal with unknown width.
const DEFAULT_WIDTH: usize = 80;
/// The number of blanks between two columns.
const GAP: u16 = 2;
/// The minimum width of a wrapped name. If there is less room, the column is removed.
const MIN_NAME_WIDTH: usize = 12;

pub(super) struct Column {
    title: String,
    cells: Vec<String>,
    /// Its priority: on a narrow terminal the highest rank is removed first, among equals the last
    /// column, and rank 0 never
    rank: u8,
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).chain([self.title.width()]).max().unwrap_or(0)
    }
}

/// Returns columns of escaped texts. The first column is kept even on the narrowest terminal.
pub(super) fn of_rows<const N: usize>(
    titles: [&'static str; N],
    rows: &[[String; N]],
) -> Vec<Column> {
    let mut rank = 0..;
    of_ranked_rows(titles, titles.map(|_| rank.next().unwrap_or(u8::MAX)), rows)
}

/// Returns columns of escaped texts with these ranks.
pub(super) fn of_ranked_rows<const N: usize>(
    titles: [&'static str; N],
    ranks: [u8; N],
    rows: &[[String; N]],
) -> Vec<Column> {
    let column = |at: usize| Column {
        title: titles[at].to_owned(),
        rank: ranks[at],
        cells: rows.iter().map(|row| row[at].clone()).collect(),
    };

    (0..N).map(column).collect()
}

/// Returns columns with titles that are data. None is removed on a narrow terminal.
pub(super) fn of_columns(titles: Vec<String>, rows: &[Vec<String>]) -> Vec<Column> {
    let cells = |at: usize| rows.iter().filter_map(|row| row.get(at).cloned()).collect();
    titles
        .into_iter()
        .enumerate()
        .map(|(at, title)| Column { title, rank: 0, cells: cells(at) })
        .collect()
}

pub(super) fn of_secrets(secrets: &[Secret], with_project: bool, with_expiry: bool) -> Vec<Column> {
    let column = |title: &str, rank, cell: &dyn Fn(&Secret) -> String| Column {
        title: title.to_owned(),
        rank,
        cells: secrets.iter().map(cell).collect(),
    };

    let mut columns = Vec::new();
    if with_project {
        columns.push(column("PROJECT", 0, &|s| s.project.to_string()));
    }

    columns.push(column("TAG", 0, &|s| s.metadata.tag.to_string()));
    columns.push(column("HINT", 2, &hint));
    columns.push(column("UPDATED", 2, &|s| local_date(s.metadata.updated)));
    if with_expiry {
        columns.push(column("EXPIRES", 1, &|s| {
            s.metadata.expires.map_or_else(String::new, local_date)
        }));
    }

    columns.push(column("NAME", 3, &|s| {
        s.metadata.name.as_ref().map_or_else(String::new, |n| visible(n.as_str()))
    }));

    columns.push(column("ID", 4, &|s| s.id.to_string()));
    columns
}

/// Returns the hint of a secret, or `restricted` for a restricted secret. No hint is that long.
fn hint(secret: &Secret) -> String {
    match secret.metadata.class {
        Class::Team => visible(secret.metadata.hint.as_str()),
        class @ Class::Restricted => class.as_str().to_owned(),
    }
}

pub(super) fn terminal_width() -> usize {
    terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0)).max(10)
}

/// Returns the width of a table in which nothing is wrapped, with a gap at its end.
fn natural(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + usize::from(GAP)).sum()
}

/// Returns true if the terminal has room for all columns.
pub(super) fn fits(columns: &[Column]) -> bool {
    natural(columns) <= terminal_width() + usize::from(GAP)
}

/// Formats a table that is at most as wide as the terminal. Columns that do not fit are removed,
/// from the id to the hint and the expiry date. What is still too wide is wrapped.
pub(super) fn table(mut columns: Vec<Column>, color: bool) -> String {
    let rows = columns.first().map_or(0, |column| column.cells.len());
    if rows == 0 {
        return String::new();
    }

    let width = terminal_width();
    columns.retain(|column| column.rank != 3 || column.cells.iter().any(|cell| !cell.is_empty()));
    while natural(&columns) > width + usize::from(GAP) {
        let over = natural(&columns) - width - usize::from(GAP);
        if columns.iter().any(|column| column.rank == 3 && column.width() >= over + MIN_NAME_WIDTH)
        {
            break;
        }

        let Some(last) = (0..columns.len())
            .filter(|at| columns[*at].rank > 0)
            .max_by_key(|at| columns[*at].rank)
        else {
            break;
        };

        columns.remove(last);
    }

    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX).saturating_add(GAP));
    table.set_header(columns.iter().map(|column| column.title.as_str()));
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| column.cells[row].as_str()));
    }

    let fits = natural(&columns) <= width + usize::from(GAP);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));

        // With several columns only the name is wrapped. A single column is wrapped if it is wider
        // than the terminal.
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

/// Formats one line per row, with tabs between the cells and without a header.
pub(super) fn lines(columns: &[Column]) -> String {
    let mut out = String::new();
    for row in 0..columns.first().map_or(0, |column| column.cells.len()) {
        let cells: Vec<&str> = columns.iter().map(|column| column.cells[row].as_str()).collect();
        out += &cells.join("\t");
        out.push('\n');
    }

    out
}
