//! Hints: what people can do about an error. The commands in a hint stay data until the error is
//! printed, because only then are the options known that they repeat.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::slice::Iter;

use secrets_core::model::ProjectName;
use secrets_core::store::quoted;
use secrets_project::setup::manifest::EnvironmentName;

/// What the options `--vault`, `--project` and `--environment` of this command select.
#[derive(Debug, Default, Clone)]
pub(crate) struct Selection {
    pub(crate) vault: Option<PathBuf>,
    pub(crate) project: Option<ProjectName>,
    pub(crate) environment: Option<EnvironmentName>,
}

impl Selection {
    /// Returns a `secrets` command line in shell syntax, with these options.
    pub(crate) fn command_line(&self, words: &str) -> String {
        let project = self.project.as_ref().map(|project| format!("-p {project} "));
        let environment = self.environment.as_ref().map(|name| format!("-E {name} "));
        let selected = project.or(environment).unwrap_or_default();
        command_line(&format!("{selected}{words}"), self.vault.as_deref())
    }
}

fn command_line(words: &str, vault: Option<&Path>) -> String {
    let vault = vault.map_or_else(String::new, |path| format!("--vault {} ", quoted(path)));
    format!("secrets {vault}{words}")
}

/// Text with `secrets` commands in it.
///
/// A literal becomes a hint by [`From`]: what it has in backticks after `secrets ` is a command. A
/// literal with arguments is written as `hint!("… {} …", argument)`. A `String` is text only,
/// because it can contain names that look like a command.
#[derive(Debug)]
pub(crate) struct Hint(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Command(Command),
}

/// A command line without its first word, `secrets`.
#[derive(Debug)]
struct Command {
    /// The other words in shell syntax
    words: String,
    repeats: Repeats,
}

/// The options of this command that a command in a hint repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// None, because the command names its own vault
    Nothing,
    Vault,
    VaultAndProject,
}

impl Command {
    /// `literal` is the command before its arguments are filled in, because an argument can contain
    /// what looks like an option.
    fn new(literal: &str, words: String) -> Self {
        let names_vault = literal.split(' ').any(|word| word == "--vault");
        Self { words, repeats: if names_vault { Repeats::Nothing } else { Repeats::Vault } }
    }

    fn line(&self, selection: &Selection) -> String {
        let vault = selection.vault.as_deref();
        match self.repeats {
            Repeats::Nothing => command_line(&self.words, None),
            Repeats::Vault => command_line(&self.words, vault),
            Repeats::VaultAndProject => selection.command_line(&self.words),
        }
    }
}

impl Hint {
    /// Returns a hint without commands.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// Returns a hint whose commands are about the project of this command and not only about its
    /// vault.
    pub(crate) fn in_project(hint: impl Into<Self>) -> Self {
        let mut hint = hint.into();
        for piece in &mut hint.0 {
            if let Piece::Command(Command { repeats: repeats @ Repeats::Vault, .. }) = piece {
                *repeats = Repeats::VaultAndProject;
            }
        }

        hint
    }

    /// Appends another hint, without a space between them.
    pub(crate) fn and(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// Splits a literal at its backticks and replaces each `{}` with an argument, which is quoted
    /// in a `secrets` command. `hint!` calls this.
    pub(crate) fn parse(literal: &str, arguments: &[String]) -> Self {
        let mut arguments = arguments.iter();
        let mut pieces = Vec::new();
        for (index, part) in literal.split('`').enumerate() {
            let is_code = index % 2 == 1;
            pieces.push(match part.strip_prefix("secrets ").filter(|_| is_code) {
                Some(words) => {
                    let quote = |argument: &String| quoted(Path::new(argument));
                    Piece::Command(Command::new(words, filled(words, &mut arguments, quote)))
                }
                None => {
                    let text = filled(part, &mut arguments, String::clone);
                    Piece::Text(if is_code { format!("`{text}`") } else { text })
                }
            });
        }

        Self(pieces)
    }

    /// Returns the text to print, in which commands repeat the options of this command.
    pub(crate) fn render(&self, selection: &Selection) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Command(command) => {
                    let _ = write!(text, "`{}`", command.line(selection));
                }
            }
        }

        text
    }
}

/// Replaces each `{}` with the next argument.
fn filled(
    part: &str,
    arguments: &mut Iter<'_, String>,
    written: impl Fn(&String) -> String,
) -> String {
    let mut pieces = part.split("{}");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        filled.push_str(&arguments.next().map_or_else(|| "{}".to_owned(), &written));
        filled.push_str(piece);
    }

    filled
}

impl From<&'static str> for Hint {
    fn from(literal: &'static str) -> Self {
        Self::parse(literal, &[])
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// Creates a [`Hint`] from a literal and an argument for each `{}` in it.
macro_rules! hint {
    ($literal:literal, $($argument:expr),+ $(,)?) => {{
        // The compiler compares the number of arguments with that of `{}`.
        if false {
            let _ = format_args!($literal, $($argument),+);
        }

        $crate::error::Hint::parse($literal, &[$($argument.to_string()),+])
    }};
}

pub(crate) use hint;

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(vault: &str, project: &str) -> Selection {
        let vault = (!vault.is_empty()).then(|| PathBuf::from(vault));
        Selection { vault, project: ProjectName::parse(project).ok(), environment: None }
    }

    fn rendered(hint: impl Into<Hint>) -> [String; 2] {
        let hint = hint.into();
        [Selection::default(), selection("a.db", "web")].map(|selection| hint.render(&selection))
    }

    #[test]
    fn commands_name_the_vault_of_this_command() {
        let literal = "run `secrets verify`, or restore it with `secrets restore PATH`; see `man`";
        let named = "run `secrets --vault a.db verify`, or restore it with \
                     `secrets --vault a.db restore PATH`; see `man`";
        assert_eq!(rendered(literal), [literal, named]);
    }

    #[test]
    fn commands_name_the_project_only_if_they_are_about_it() {
        let literal = "enter missing secrets with `secrets setup`";
        let named = "enter missing secrets with `secrets --vault a.db -p web setup`";
        assert_eq!(rendered(Hint::in_project(literal)), [literal, named]);
        assert_eq!(
            Hint::in_project(literal).render(&selection("", "web")),
            "enter missing secrets with `secrets -p web setup`"
        );
    }

    #[test]
    fn a_command_that_names_a_vault_keeps_it() {
        for literal in ["choose one with `secrets init --vault PATH`", "`secrets --vault b verify`"]
        {
            assert_eq!(rendered(literal), [literal; 2]);
            assert_eq!(rendered(Hint::in_project(literal)), [literal; 2]);
        }
    }

    #[test]
    fn an_option_in_the_text_does_not_change_a_command() {
        let named = "pass `--vault PATH`, or create it with `secrets --vault a.db init`";
        assert_eq!(rendered("pass `--vault PATH`, or create it with `secrets init`")[1], named);
    }

    #[test]
    fn what_takes_no_vault_stays_as_it_is() {
        for literal in [
            "check the repository with `git fsck`",
            "use the version of `secrets` that created it",
            "write `{{ secrets.TAG | FILTER }}` or `{}`",
            "run secrets unlock",
            "",
        ] {
            assert_eq!(rendered(literal), [literal; 2]);
        }
    }

    #[test]
    fn a_path_is_quoted_for_a_shell() {
        let hint = Hint::from("unlock it with `secrets unlock`");
        assert_eq!(
            hint.render(&selection("my vaults/Ann's.db", "")),
            r"unlock it with `secrets --vault 'my vaults/Ann'\''s.db' unlock`"
        );
    }

    #[test]
    fn an_argument_is_quoted_in_a_command_and_nowhere_else() {
        let file = Path::new("it's here").display();
        assert_eq!(
            rendered(hint!("adopt line {} of `{}` with `secrets adopt {}`", 3, file, file))[1],
            r"adopt line 3 of `it's here` with `secrets --vault a.db adopt 'it'\''s here'`"
        );
    }

    #[test]
    fn a_value_never_becomes_a_command() {
        let name = "x`, or `secrets unlock`, `{}";
        assert_eq!(rendered(format!("use `{name}`")), ["use `x`, or `secrets unlock`, `{}`"; 2]);
        assert_eq!(rendered(hint!("use `{}`", name)), ["use `x`, or `secrets unlock`, `{}`"; 2]);
        assert_eq!(
            rendered(hint!("`secrets get {}`", name))[1],
            format!("`secrets --vault a.db get '{name}'`")
        );
    }

    #[test]
    fn hints_can_be_joined() {
        let joined = Hint::text("after `secrets rekey`, ").and("run `secrets backup PATH`");
        assert_eq!(
            rendered(joined)[1],
            "after `secrets rekey`, run `secrets --vault a.db backup PATH`"
        );
    }
}
