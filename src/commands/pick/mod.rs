//! `secrets pick`: finds secrets in a list on the terminal, prints references to them, and changes them.

mod actions;
mod rows;

use std::path::Path;

use secrets_core::model::{Secret, Tag};
use secrets_picker::{Form, Picker, Screen, Wish};
use secrets_project::variables::name_of;

use crate::config::Environment;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::PickedSecrets;
use crate::ui::prompt::TERMINAL;

const EXAMPLES: &str = "\
Examples:
  secrets pick                              search, then press Enter
  echo \"key: $(secrets pick stripe)\" >> app.yaml.tmpl
  secrets pick --format tag | xargs secrets get
  :r !secrets pick                          in vim: insert a reference";

/// Find a secret in a list, and print a reference to it
///
/// Shows the project's secrets on the terminal. Typing searches in tags, names and descriptions;
/// letters may be left out. Enter prints `{{ secrets.tag }}`, Tab marks several. Left and right
/// choose all, team, restricted, expiring (within 30 days) or unused secrets (not used on this machine
/// for 90 days). Other keys create, replace, rename, clone, copy or delete; F1 lists them. No key shows a
/// value. The list is drawn on the terminal itself, so that `$(secrets pick)` and editors can
/// read the result from stdout.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PickArgs {
    /// Begin with this search
    #[arg(value_name = "TEXT")]
    query: Option<String>,
    /// Print this form; the keys ^T and ^E change it
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: FormArg,
    /// List the secrets of every project
    #[arg(long, conflicts_with = "project")]
    all_projects: bool,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum FormArg {
    /// {{ secrets.tag }}
    #[default]
    Reference,
    /// {{TAG}}
    Bare,
    /// tag
    Tag,
}

impl From<FormArg> for Form {
    fn from(arg: FormArg) -> Self {
        match arg {
            FormArg::Reference => Self::Reference,
            FormArg::Bare => Self::Bare,
            FormArg::Tag => Self::Tag,
        }
    }
}

pub(crate) fn run(args: &PickArgs, cx: &Context) -> Result<(), Error> {
    if Environment::text_of("TERM").is_none_or(|kind| kind == "dumb") {
        return Err(no_terminal());
    }

    cx.require_vault()?;
    let vault = cx.vault()?;
    let mut listed = rows::list(cx, vault, args.all_projects)?;
    let query = args.query.as_deref().unwrap_or_default();
    let mut picker = Picker::new(listed.rows(), query, args.format.into(), args.all_projects);
    let is_colored = cx.ui.is_colored_err();
    let mut screen = Screen::open(Path::new(TERMINAL), is_colored).map_err(|_| no_terminal())?;

    loop {
        let wish = screen.ask(&mut picker).map_err(|error| {
            Error::new(Kind::Failure, format!("cannot use the terminal: {error}"))
        })?;
        let at = match wish {
            Wish::Quit => {
                drop(screen);
                return Err(Error::new(Kind::Interrupted, "nothing was chosen").into_answer());
            }
            Wish::Choose(at) => match texts(cx, &listed.pick(&at), picker.form()) {
                Ok(texts) => {
                    drop(screen);
                    return cx.ui.print(&PickedSecrets::new(&listed.pick(&at), &texts));
                }
                Err(error) => {
                    picker.say(error.message());
                    continue;
                }
            },
            wish => wish,
        };

        // Questions are asked on the ordinary screen, where their answers can be read afterwards.
        let _ = screen.hide();
        match actions::act(cx, vault, &listed, at) {
            Ok(Some(done)) => {
                listed = rows::list(cx, vault, args.all_projects)?;
                picker.replace(listed.rows());
                picker.say(done);
            }
            Ok(None) => {}
            Err(error) => picker.say(described(&error)),
        }
    }
}

fn no_terminal() -> Error {
    Error::usage("`secrets pick` needs a terminal")
        .hint("use `secrets list --filter TEXT` to search without one")
}

/// Returns an error in one line.
fn described(error: &Error) -> String {
    let places = error.notes().first().map(|note| format!(" ({})", note.trim()));
    format!("{}{}", error.message(), places.unwrap_or_default())
}

/// Returns the chosen form of each secret.
fn texts(cx: &Context, secrets: &[&Secret], form: Form) -> Result<Vec<String>, Error> {
    let project = cx.target.project()?;
    let text = |secret: &&Secret| {
        let tag: &Tag = &secret.metadata.tag;
        if secret.project != *project && form != Form::Tag {
            let message = format!(
                "`{tag}` is in project `{}`, and a placeholder names secrets of project `{project}`",
                secret.project
            );
            return Err(Error::new(Kind::Refused, message));
        }

        match form {
            Form::Reference => Ok(format!("{{{{ secrets.{tag} }}}}")),
            Form::Tag => Ok(tag.to_string()),
            Form::Bare if tag.as_str().starts_with(|c: char| c.is_ascii_digit()) => {
                let message =
                    format!("`{tag}` has no form {{{{TAG}}}}, because it begins with a digit");
                Err(Error::new(Kind::Refused, message))
            }
            Form::Bare => Ok(format!("{{{{{}}}}}", name_of(tag))),
        }
    };
    secrets.iter().map(text).collect()
}
