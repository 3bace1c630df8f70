//! The list: rows, search, marks and choice.

use std::collections::BTreeSet;
use std::sync::Arc;

use nucleo::pattern::{CaseMatching, Normalization};
use nucleo::{Config, Nucleo};

use crate::keys::Key;

/// How long one step of the search may take, in milliseconds. The rest is done by other threads, so a
/// key never waits for it.
const STEP: u64 = 8;

/// A secret as it is listed.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub project: String,
    pub tag: String,
    pub name: String,
    pub description: String,
    /// The hint, or the word `restricted`
    pub hint: String,
    /// The date of the last change
    pub updated: String,
    /// The date by which the value must be replaced
    pub expires: String,
    /// The tabs that list it besides [`Tab::All`]
    pub tabs: Vec<Tab>,
}

/// A part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tab {
    All,
    Team,
    Restricted,
    Expiring,
    Unused,
}

impl Tab {
    pub(crate) const ALL: [Self; 5] =
        [Self::All, Self::Team, Self::Restricted, Self::Expiring, Self::Unused];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Team => "team",
            Self::Restricted => "restricted",
            Self::Expiring => "expiring",
            Self::Unused => "unused",
        }
    }
}

/// The text that is printed for a secret that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `{{ secrets.tag }}`
    #[default]
    Reference,
    /// `{{TAG}}`
    Bare,
    /// `tag`
    Tag,
}

/// A wish of the user. Numbers are positions in the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Choose(Vec<usize>),
    Create,
    Replace(usize),
    Rename(usize),
    Clone(usize),
    Copy(usize),
    Delete(Vec<usize>),
    /// Leave without a choice
    Quit,
}

/// The list.
pub struct Picker {
    pub(crate) rows: Arc<[Row]>,
    search: Nucleo<u32>,
    pub(crate) query: String,
    pub(crate) tab: Tab,
    /// The number of rows in each tab
    pub(crate) counts: [usize; 5],
    pub(crate) form: Form,
    pub(crate) marked: BTreeSet<usize>,
    /// The position of the cursor among the rows that match
    pub(crate) cursor: u32,
    /// The first row on the screen, among those that match
    pub(crate) first: u32,
    /// The number of rows that the screen shows
    pub(crate) height: u32,
    pub(crate) message: String,
    pub(crate) with_project: bool,
    pub(crate) shows_help: bool,
}

impl Picker {
    /// Lists rows, which are in their order. With `with_project`, they are of several projects.
    pub fn new(rows: Vec<Row>, query: &str, form: Form, with_project: bool) -> Self {
        let mut picker = Self {
            rows: Arc::new([]),
            search: Nucleo::new(Config::DEFAULT, Arc::new(|| ()), None, 1),
            query: query.to_owned(),
            tab: Tab::All,
            counts: [0; 5],
            form,
            marked: BTreeSet::new(),
            cursor: 0,
            first: 0,
            height: 1,
            message: String::new(),
            with_project,
            shows_help: false,
        };
        picker.replace(rows);
        picker
    }

    /// Lists other rows, after a change. The search and the tab stay.
    pub fn replace(&mut self, rows: Vec<Row>) {
        for (count, tab) in self.counts.iter_mut().zip(Tab::ALL) {
            *count = rows.iter().filter(|row| is_in(row, tab)).count();
        }

        self.rows = rows.into();
        self.marked.clear();
        let cursor = self.cursor;
        self.fill();
        self.cursor = cursor;
    }

    /// Shows a message until the next key.
    pub fn say(&mut self, message: impl Into<String>) {
        self.message = message.into();
    }

    /// Returns the form in which a chosen secret is printed.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Returns a row.
    pub fn row(&self, at: usize) -> Option<&Row> {
        self.rows.get(at)
    }

    /// Returns the position of the first row with this project and tag.
    pub fn position(&self, project: &str, tag: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.project == project && row.tag == tag)
    }

    /// Goes on with the search. Returns true if it is not complete yet.
    pub fn search(&mut self) -> bool {
        let status = self.search.tick(STEP);
        self.cursor = self.cursor.min(self.matched().saturating_sub(1));
        status.running
    }

    /// Returns the number of rows that match.
    pub(crate) fn matched(&self) -> u32 {
        self.search.snapshot().matched_item_count()
    }

    /// Returns the positions of the rows that match, from `first` on.
    pub(crate) fn shown(&self, first: u32, most: u32) -> Vec<usize> {
        let end = first.saturating_add(most).min(self.matched());
        let items = self.search.snapshot().matched_items(first.min(end)..end);
        items.map(|item| *item.data as usize).collect()
    }

    /// Returns the row at the cursor.
    pub(crate) fn current(&self) -> Option<usize> {
        self.shown(self.cursor, 1).pop()
    }

    /// Does what a key says, or returns what the user wants.
    pub fn press(&mut self, key: Key) -> Option<Wish> {
        self.message.clear();
        if std::mem::take(&mut self.shows_help) {
            return None;
        }

        // Keys that were typed ahead concern the list as it will be, not as it is on the screen.
        if !matches!(key, Key::Character(_) | Key::Backspace) {
            while self.search() {}
        }

        let last = self.matched().saturating_sub(1);
        match key {
            Key::Escape | Key::Control('c' | 'g') => return Some(Wish::Quit),
            Key::Enter => {
                let chosen = self.selected();
                return (!chosen.is_empty()).then_some(Wish::Choose(chosen));
            }
            Key::Control('n') => return Some(Wish::Create),
            Key::Control('r') => return self.current().map(Wish::Replace),
            Key::Control('y') => return self.current().map(Wish::Copy),
            Key::Control('o') | Key::Function(2) => return self.current().map(Wish::Rename),
            Key::Control('l') | Key::Function(5) => return self.current().map(Wish::Clone),
            Key::Control('d') | Key::Delete => {
                let chosen = self.selected();
                return (!chosen.is_empty()).then_some(Wish::Delete(chosen));
            }
            Key::Up | Key::Control('p' | 'k') => self.cursor = self.cursor.saturating_sub(1),
            Key::Down | Key::Control('j') => self.cursor = (self.cursor + 1).min(last),
            Key::PageUp => self.cursor = self.cursor.saturating_sub(self.height),
            Key::PageDown => self.cursor = self.cursor.saturating_add(self.height).min(last),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = last,
            Key::Tab => {
                self.mark();
                self.cursor = (self.cursor + 1).min(last);
            }
            Key::BackTab => {
                self.mark();
                self.cursor = self.cursor.saturating_sub(1);
            }
            Key::Left => self.turn(Tab::ALL.len() - 1),
            Key::Right => self.turn(1),
            Key::Control('t') => self.switch(Form::Tag),
            Key::Control('e') => self.switch(Form::Bare),
            Key::Function(1) => self.shows_help = true,
            Key::Character('?') if self.query.is_empty() => self.shows_help = true,
            Key::Character(c) => {
                self.query.push(c);
                self.match_again(true);
            }
            Key::Backspace => {
                self.query.pop();
                self.match_again(false);
            }
            Key::Control('w') => {
                let kept = self.query.trim_end().rfind(' ').map_or(0, |at| at + 1);
                self.query.truncate(kept);
                self.match_again(false);
            }
            Key::Control('u') => {
                self.query.clear();
                self.match_again(false);
            }
            Key::Control(_) | Key::Function(_) | Key::Other => {}
        }

        None
    }

    /// Returns the marked rows, or else the one at the cursor.
    fn selected(&self) -> Vec<usize> {
        if self.marked.is_empty() {
            self.current().into_iter().collect()
        } else {
            self.marked.iter().copied().collect()
        }
    }

    fn mark(&mut self) {
        if let Some(at) = self.current()
            && !self.marked.remove(&at)
        {
            self.marked.insert(at);
        }
    }

    fn turn(&mut self, by: usize) {
        let at = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or(0);
        self.tab = Tab::ALL[(at + by) % Tab::ALL.len()];
        self.fill();
    }

    /// Switches to a form, or back to the usual one.
    fn switch(&mut self, form: Form) {
        self.form = if self.form == form { Form::Reference } else { form };
    }

    /// Puts the rows of the tab into the search.
    fn fill(&mut self) {
        self.search.restart(true);
        let injector = self.search.injector();
        for (number, row) in (0u32..).zip(self.rows.iter()) {
            if is_in(row, self.tab) {
                injector.push(number, |_, columns| {
                    let Row { project, tag, name, description, .. } = row;
                    let project = if self.with_project { project } else { "" };
                    columns[0] = format!("{project} {tag} {name} {description}").into();
                });
            }
        }

        self.match_again(false);
    }

    fn match_again(&mut self, is_longer: bool) {
        let (case, normal) = (CaseMatching::Smart, Normalization::Smart);
        self.search.pattern.reparse(0, &self.query, case, normal, is_longer);
        (self.cursor, self.first) = (0, 0);
    }
}

fn is_in(row: &Row, tab: Tab) -> bool {
    tab == Tab::All || row.tabs.contains(&tab)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(tag: &str, tabs: &[Tab]) -> Row {
        Row { tag: tag.to_owned(), tabs: tabs.to_vec(), ..Row::default() }
    }

    fn picker() -> Picker {
        let rows = vec![
            row("api-key", &[Tab::Team]),
            Row { name: "Main database".to_owned(), ..row("db-url", &[Tab::Team, Tab::Expiring]) },
            row("tls-key", &[Tab::Restricted]),
        ];
        let mut picker = Picker::new(rows, "", Form::Reference, false);
        settle(&mut picker);
        picker
    }

    fn settle(picker: &mut Picker) {
        while picker.search() {}
    }

    fn press(picker: &mut Picker, keys: &[Key]) -> Option<Wish> {
        let mut wish = None;
        for key in keys {
            wish = picker.press(*key);
            settle(picker);
        }

        wish
    }

    fn type_text(picker: &mut Picker, text: &str) {
        for c in text.chars() {
            assert_eq!(press(picker, &[Key::Character(c)]), None);
        }
    }

    #[test]
    fn typing_narrows_the_list_to_tags_names_and_descriptions() {
        let mut picker = picker();
        assert_eq!(picker.shown(0, 9), [0, 1, 2]);
        type_text(&mut picker, "key");
        assert_eq!(picker.shown(0, 9), [0, 2]);
        press(&mut picker, &[Key::Control('u')]);
        type_text(&mut picker, "maindb");
        assert_eq!(picker.shown(0, 9), [1]);
        press(&mut picker, &[Key::Control('w')]);
        assert_eq!(picker.shown(0, 9).len(), 3);
        type_text(&mut picker, "nothing");
        assert_eq!(press(&mut picker, &[Key::Enter]), None);
        assert_eq!(press(&mut picker, &[Key::Control('d')]), None);
        assert_eq!(press(&mut picker, &[Key::Control('n')]), Some(Wish::Create));
    }

    #[test]
    fn enter_chooses_the_row_at_the_cursor_or_those_that_are_marked() {
        let mut picker = picker();
        assert_eq!(press(&mut picker, &[Key::Enter]), Some(Wish::Choose(vec![0])));
        let keys = [Key::End, Key::Tab, Key::Home, Key::Tab, Key::Enter];
        assert_eq!(press(&mut picker, &keys), Some(Wish::Choose(vec![0, 2])));
        let keys = [Key::Home, Key::BackTab, Key::Control('d')];
        assert_eq!(press(&mut picker, &keys), Some(Wish::Delete(vec![2])));
        assert_eq!(press(&mut picker, &[Key::Escape]), Some(Wish::Quit));
    }

    #[test]
    fn a_tab_lists_a_part() {
        let mut picker = picker();
        assert_eq!(picker.counts, [3, 2, 1, 1, 0]);
        press(&mut picker, &[Key::Right, Key::Right]);
        assert_eq!((picker.tab, picker.shown(0, 9)), (Tab::Restricted, vec![2]));
        press(&mut picker, &[Key::Right]);
        assert_eq!((picker.tab, picker.shown(0, 9)), (Tab::Expiring, vec![1]));
        press(&mut picker, &[Key::Right, Key::Right, Key::Left, Key::Enter]);
        assert_eq!((picker.tab, picker.shown(0, 9)), (Tab::Unused, vec![]));
    }

    #[test]
    fn the_cursor_stays_in_the_list() {
        let mut picker = picker();
        for key in [Key::Up, Key::PageUp, Key::PageDown, Key::Down, Key::Down, Key::End, Key::Tab] {
            press(&mut picker, &[key]);
            assert!(picker.cursor < 3, "{key:?}");
        }

        press(&mut picker, &[Key::End]);
        picker.replace(vec![row("one", &[])]);
        settle(&mut picker);
        assert_eq!((picker.cursor, picker.current()), (0, Some(0)));
        picker.replace(Vec::new());
        settle(&mut picker);
        assert_eq!((picker.cursor, picker.current()), (0, None));
    }

    #[test]
    fn a_form_is_switched_on_and_off() {
        let mut picker = picker();
        for (key, form) in [
            (Key::Control('t'), Form::Tag),
            (Key::Control('e'), Form::Bare),
            (Key::Control('e'), Form::Reference),
        ] {
            press(&mut picker, &[key]);
            assert_eq!(picker.form(), form);
        }
    }
}
