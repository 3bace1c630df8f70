//! Writes the first `.secrets.toml` for `init --project-file`, `setup --new` and `template`, and
//! files that hold no secret.

use std::io;
use std::path::Path;

use secrets_core::model::ProjectName;
use secrets_files::public;
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::{Draft, Manifest, Tree};

use super::{conflicts, directories};
use crate::config::Environment;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::NewManifest;
use crate::ui::counted;

/// Writes `.secrets.toml` in the working directory from the placeholders in its tree.
pub(crate) fn write(cx: &Context) -> Result<(), Error> {
    refuse_another()?;
    let progress = cx.ui.progress("files searched");
    let tree = Tree::search(Path::new(""), None, &|number| progress.on_progress(number));
    drop(progress);
    tree.unread.iter().for_each(|why| cx.ui.warn(why));

    let project = conflicts::claim(cx, &project(cx)?, Path::new(""), false)?;
    let draft = Draft::of(&tree, project);
    let text = draft.text();
    Manifest::parse(Path::new(""), &text).map_err(|error| {
        Error::usage(format!("`{MANIFEST}` would be invalid: {error}"))
            .hint("rename the template of that output; nothing was written")
    })?;

    create(Path::new(MANIFEST), text.as_bytes())?;
    cx.trust_as_written(Path::new(""), &text);
    directories::remember_directory(cx, &draft.project, Path::new(""));
    let (secrets, outputs) =
        (counted(draft.secrets.len(), "secret"), counted(draft.render.len(), "output"));
    cx.ui.status(&format!(
        "wrote `{MANIFEST}` for project `{}`: {secrets}, {outputs}",
        draft.project
    ));

    if !draft.left_out.is_empty() {
        let files: Vec<String> =
            draft.left_out.iter().take(3).map(|file| format!("`{}`", file.display())).collect();
        let more = if draft.left_out.len() > 3 { " and others" } else { "" };
        cx.ui.status(&format!(
            "skipped bare {{{{NAME}}}} in {}{more}, because other tools use it too",
            files.join(", ")
        ));
    }

    if draft.secrets.is_empty() {
        cx.ui.status(
            "no file here refers to a secret yet; turn a dotenv file into a template with \
             `secrets template .env`",
        );
    } else {
        cx.ui.status("next: review the file, then run `secrets setup`");
    }

    cx.ui.document(|| {
        Ok(NewManifest {
            manifest: MANIFEST,
            project: draft.project.as_str(),
            secrets: draft.secrets.iter().map(|(tag, _)| tag.as_str()).collect(),
        })
    })
}

/// Refuses if the file already exists.
fn refuse_another() -> Result<(), Error> {
    if std::fs::symlink_metadata(MANIFEST).is_err() {
        return Ok(());
    }

    let error = Error::new(Kind::Conflict, format!("`{MANIFEST}` already exists here"));
    Err(error.hint("list what it lacks with `secrets check`; nothing was written"))
}

/// Returns the project for a first manifest: the named one, or one with the name of the directory.
pub(crate) fn project(cx: &Context) -> Result<ProjectName, Error> {
    if let Some(project) = cx.target.named_project()? {
        return Ok(project);
    }

    let name = Environment::directory_name();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String =
        name.unwrap_or_default().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    match ProjectName::parse(name.trim_matches('-')) {
        Ok(project) => Ok(project),
        Err(_) => Ok(cx.target.project()?.clone()),
    }
}

/// Replaces a file that holds no secret in one step, keeping its mode.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source: io::Error| {
        Error::new(Kind::Failure, format!("cannot write `{}`: {source}", path.display()))
    };

    public::replace(path, content).map_err(failed)
}

/// Creates a file that holds no secret, with the caller's umask. Never overwrites an existing file.
pub(crate) fn create(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(Kind::Conflict, format!("`{}` already exists", path.display()))
                .hint("nothing was written")
        }
        _ => Error::new(Kind::Failure, format!("cannot write `{}`: {source}", path.display())),
    };

    public::create(path, content, 0o666).map_err(failed)
}
