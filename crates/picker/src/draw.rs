//! How the list looks.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

use crate::picker::{Form, Picker, Row, Tab};

/// The keys, for the last line; those that fit are shown.
const KEYS: [&str; 9] = [
    "Enter print",
    "Tab mark",
    "^Y copy",
    "^N new",
    "^R replace",
    "^O rename",
    "^L clone",
    "^D delete",
    "F1 help",
];

/// Everything that keys do.
const HELP: [(&str, &str); 17] = [
    ("Enter", "print the reference, or those of marked secrets"),
    ("Tab", "mark or unmark, and go down; Shift-Tab goes up"),
    ("text", "search in tags, names and descriptions"),
    ("Left, Right", "all, team, restricted, expiring, unused"),
    ("Up, Down", "move; PgUp, PgDn, Home and End as well"),
    ("^U, ^W", "clear the search, or its last word"),
    ("^T", "print the tag alone"),
    ("^E", "print {{TAG}} instead of {{ secrets.tag }}"),
    ("^Y", "copy the value to the clipboard"),
    ("^N", "create a secret"),
    ("^R", "replace the value"),
    ("^O, F2", "rename it, with what refers to it"),
    ("^L, F5", "clone it to another project or tag"),
    ("^D, Del", "delete it, if nothing refers to it"),
    ("F1, ?", "this list"),
    ("Esc, ^C", "leave"),
    ("", "press a key to go back"),
];

/// A name is left out if it has fewer columns and does not fit.
const SHORTEST_NAME: usize = 12;

/// A column of the list.
struct Column {
    width: usize,
    text: TextOf,
}

/// Returns the text of a row in a column.
type TextOf = fn(&Row) -> &str;

struct Look {
    plain: Style,
    dim: Style,
    chosen: Style,
    accent: Style,
}

impl Look {
    fn new(is_colored: bool) -> Self {
        let plain = Style::new();
        let color = |color| if is_colored { plain.fg(color) } else { plain };
        Self {
            plain,
            dim: plain.add_modifier(Modifier::DIM),
            chosen: plain.add_modifier(Modifier::REVERSED),
            accent: color(Color::Cyan).add_modifier(Modifier::BOLD),
        }
    }
}

/// Draws the list on the whole screen.
pub fn draw(frame: &mut Frame<'_>, picker: &mut Picker, is_colored: bool) {
    let area = frame.area();
    let (width, lines) = (usize::from(area.width), area.height);
    let look = Look::new(is_colored);
    let buffer = frame.buffer_mut();
    if picker.shows_help {
        help(buffer, width, lines, &look);
        return;
    }

    tabs(buffer, picker, width, &look);
    let found = format!("{}/{}", picker.matched(), picker.counts[tab_number(picker.tab)]);
    let room = width.saturating_sub(found.width() + 1);
    put(buffer, 0, 1, &tail(&format!("> {}▏", picker.query), room), look.accent, room);
    put(buffer, width.saturating_sub(found.width()), 1, &found, look.dim, width);

    let height = lines.saturating_sub(4);
    picker.height = u32::from(height).max(1);
    scroll(picker);
    let shown = picker.shown(picker.first, picker.height);
    let rows: Vec<&Row> = shown.iter().filter_map(|at| picker.rows.get(*at)).collect();
    let columns = columns(&rows, picker.with_project, width);
    for ((y, at), row) in (2..2 + height).zip(&shown).zip(&rows) {
        let is_current = u32::from(y - 2) + picker.first == picker.cursor;
        let style = if is_current { look.chosen } else { look.plain };
        if is_current {
            put(buffer, 0, y, &" ".repeat(width), style, width);
        }

        let mark = if picker.marked.contains(at) { "* " } else { "  " };
        put(buffer, 0, y, mark, style, width);
        let mut x = 2;
        for column in &columns {
            put(buffer, x, y, (column.text)(row), style, column.width);
            x += column.width + 2;
        }
    }

    footer(buffer, picker, width, lines, &look);
}

/// Moves the part that is shown so that the cursor is in it.
fn scroll(picker: &mut Picker) {
    let last = picker.matched().saturating_sub(picker.height);
    picker.first = picker.first.min(last).min(picker.cursor);
    picker.first = picker.first.max((picker.cursor + 1).saturating_sub(picker.height));
}

fn tab_number(tab: Tab) -> usize {
    Tab::ALL.iter().position(|other| *other == tab).unwrap_or(0)
}

fn tabs(buffer: &mut Buffer, picker: &Picker, width: usize, look: &Look) {
    // On a narrow screen, only the current tab has its number.
    let texts = |with_numbers: bool| -> Vec<String> {
        let text = |(tab, count): (Tab, usize)| {
            let has_number = with_numbers || tab == picker.tab;
            if has_number { format!("{} {count}", tab.word()) } else { tab.word().to_owned() }
        };
        Tab::ALL.into_iter().zip(picker.counts).map(text).collect()
    };
    let all = texts(true);
    let is_wide = all.iter().map(|text| text.width() + 2).sum::<usize>() <= width;
    let mut x = 0;
    for (tab, text) in Tab::ALL.into_iter().zip(if is_wide { all } else { texts(false) }) {
        let style = if tab == picker.tab { look.accent } else { look.dim };
        put(buffer, x, 0, &text, style, width.saturating_sub(x));
        x += text.width() + if is_wide { 2 } else { 1 };
    }
}

/// Chooses the columns that fit, and their widths.
fn columns(rows: &[&Row], with_project: bool, width: usize) -> Vec<Column> {
    let project: TextOf = |row| &row.project;
    let widest = |text: TextOf| rows.iter().map(|row| text(row).width()).max().unwrap_or(0);
    let all: [(TextOf, usize, bool); 6] = [
        (project, 16, with_project),
        (|row| &row.tag, 40, true),
        (|row| &row.hint, 14, true),
        (|row| &row.expires, 10, true),
        (|row| &row.updated, 10, true),
        (|row| &row.name, usize::MAX, true),
    ];

    let mut left = width.saturating_sub(2);
    let mut columns = Vec::new();
    for (text, most, _) in all.into_iter().filter(|(.., is_wanted)| *is_wanted) {
        let wanted = widest(text).min(most);
        if wanted == 0 {
            continue;
        }

        // The first columns are cut rather than left out, and a name is not cut to a few letters.
        let is_first = columns.len() <= usize::from(with_project);
        if wanted > left && !is_first && (most != usize::MAX || left < SHORTEST_NAME) {
            continue;
        }

        let width = wanted.min(left);
        if width == 0 {
            break;
        }

        columns.push(Column { width, text });
        left = left.saturating_sub(width + 2);
    }

    columns
}

fn footer(buffer: &mut Buffer, picker: &Picker, width: usize, lines: u16, look: &Look) {
    if lines < 4 {
        return;
    }

    let current = picker.current().and_then(|at| picker.rows.get(at));
    let about = current.map(|row| {
        let name = [&row.name, &row.description].map(String::as_str);
        name.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    });
    let (text, style) = match &picker.message {
        message if !message.is_empty() => (message.clone(), look.accent),
        _ => (about.unwrap_or_default(), look.plain),
    };
    put(buffer, 0, lines - 2, &text, style, width);

    let form = match picker.form {
        Form::Reference => "",
        Form::Bare => "[prints {{TAG}}]",
        Form::Tag => "[prints tags]",
    };
    let marked = match picker.marked.len() {
        0 => String::new(),
        n => format!("[{n} marked]"),
    };
    let mut line: Vec<&str> = [form, &marked].into_iter().filter(|it| !it.is_empty()).collect();
    let mut room = width.saturating_sub(line.iter().map(|it| it.width() + 2).sum());
    for key in KEYS {
        if key.width() > room {
            break;
        }

        room = room.saturating_sub(key.width() + 2);
        line.push(key);
    }

    put(buffer, 0, lines - 1, &line.join("  "), look.dim, width);
}

fn help(buffer: &mut Buffer, width: usize, lines: u16, look: &Look) {
    for (y, (key, meaning)) in (0..lines).zip(HELP) {
        put(buffer, 0, y, key, look.accent, width);
        put(buffer, 13, y, meaning, look.plain, width.saturating_sub(13));
    }
}

/// Writes text of at most `most` columns. A cut text ends with `…`.
fn put(buffer: &mut Buffer, x: usize, y: u16, text: &str, style: Style, most: usize) {
    let (Ok(x), area) = (u16::try_from(x), buffer.area) else { return };
    if x >= area.width || y >= area.height {
        return;
    }

    let most = most.min(usize::from(area.width - x));
    if text.width() <= most {
        buffer.set_stringn(x, y, text, most, style);
    } else if let Some(room) = most.checked_sub(1) {
        let (end, _) = buffer.set_stringn(x, y, text, room, style);
        buffer.set_stringn(end, y, "…", 1, style);
    }
}

/// Returns the end of a text if it is wider than the room.
fn tail(text: &str, room: usize) -> String {
    let mut begin = text;
    while begin.width() > room {
        let mut rest = begin.chars();
        rest.next();
        begin = rest.as_str();
    }

    begin.to_owned()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::keys::Key;

    fn row(tag: &str, name: &str, hint: &str) -> Row {
        Row {
            project: "web".to_owned(),
            tag: tag.to_owned(),
            name: name.to_owned(),
            hint: hint.to_owned(),
            updated: "2026-11-27".to_owned(),
            tabs: vec![Tab::Team],
            ..Row::default()
        }
    }

    /// Returns the lines of the screen.
    fn lines(picker: &mut Picker, width: u16, height: u16) -> Vec<String> {
        while picker.search() {}
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, picker, false)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| {
            let symbols = (0..width).map(|x| buffer[(x, y)].symbol());
            symbols.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    fn picker() -> Picker {
        let mut rows = vec![
            row("api-key", "Stripe, live", "sk_l…4242"),
            Row {
                description: "for all".to_owned(),
                ..row("db-url", "Main database", "post…5432")
            },
        ];
        rows.push(Row {
            expires: "2026-12-01".to_owned(),
            tabs: vec![Tab::Restricted, Tab::Expiring],
            ..row("tls-key", "", "restricted")
        });
        Picker::new(rows, "", Form::Reference, false)
    }

    #[test]
    fn a_wide_screen_shows_every_column() {
        let mut picker = picker();
        picker.press(Key::Down);
        assert_eq!(
            lines(&mut picker, 100, 8),
            [
                "all 3  team 2  restricted 1  expiring 1  unused 0",
                "> ▏                                                                                              3/3",
                "  api-key  sk_l…4242               2026-11-27  Stripe, live",
                "  db-url   post…5432               2026-11-27  Main database",
                "  tls-key  restricted  2026-12-01  2026-11-27",
                "",
                "Main database: for all",
                "Enter print  Tab mark  ^Y copy  ^N new  ^R replace  ^O rename  ^L clone  ^D delete  F1 help",
            ]
        );
    }

    #[test]
    fn forty_columns_are_enough() {
        let mut picker = picker();
        while picker.search() {}
        for key in [Key::Tab, Key::Control('t'), Key::Character('k'), Key::Character('e')] {
            picker.press(key);
        }
        assert_eq!(
            lines(&mut picker, 40, 6),
            [
                "all 3 team restricted expiring unused",
                "> ke▏                                2/3",
                "  tls-key  restricted  2026-12-01",
                "* api-key  sk_l…4242",
                "",
                "[prints tags]  [1 marked]  Enter print",
            ]
        );
    }

    #[test]
    fn a_long_text_is_cut_and_no_size_is_too_small() {
        let mut picker = Picker::new(
            vec![row(&"x".repeat(128), "Name", "hint"), row("日本語のタグ", "", "")],
            "",
            Form::Reference,
            true,
        );
        let shown = lines(&mut picker, 40, 6);
        assert_eq!(shown[2], format!("  web  {}…", "x".repeat(32)));
        picker.say("a message that is longer than the screen is wide, by far");
        assert!(lines(&mut picker, 40, 6)[4].ends_with('…'));
        for (width, height) in [(1, 1), (2, 3), (5, 4), (10, 2), (80, 1)] {
            lines(&mut picker, width, height);
            picker.press(Key::Function(1));
            lines(&mut picker, width, height);
            picker.press(Key::Enter);
        }
    }

    #[test]
    fn the_cursor_is_always_on_the_screen() {
        let rows = (0..100).map(|number| row(&format!("tag-{number:03}"), "", "")).collect();
        let mut picker = Picker::new(rows, "", Form::Reference, false);
        lines(&mut picker, 40, 10);
        for key in [Key::End, Key::Up, Key::PageUp, Key::Home, Key::PageDown, Key::PageDown] {
            picker.press(key);
            let shown = lines(&mut picker, 40, 10);
            let current = picker.current().unwrap();
            assert!(
                shown.iter().any(|line| line.contains(&format!("tag-{current:03}"))),
                "{key:?}"
            );
        }
    }

    #[test]
    fn help_has_every_key_of_the_last_line() {
        let mut picker = picker();
        picker.press(Key::Function(1));
        let shown = lines(&mut picker, 80, 24).join("\n");
        for key in KEYS {
            let name = key.split(' ').next().unwrap_or_default();
            assert!(shown.contains(name), "{name}");
        }
    }
}
