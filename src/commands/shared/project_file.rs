//! Writes the first `.secrets.toml` for `init --project-file`, `setup --new` and `template`, and
//! files that hold no secret.

use std::io;
use std::path::Path;

use secrets_core::model::ProjectName;
use secrets_files::public;
use secrets_project::setup::manifest::{EnvironmentName, MANIFEST};
use secrets_project::setup::{Draft, Manifest, Tree};

use super::{conflicts, directories};
use crate::config::Environment;
use crate::context::{Context, Trust};
use crate::error::{Error, Kind};
use crate::output::{AddedEnvironment, NewManifest};
use crate::ui::counted;

/// Writes `.secrets.toml` in the working directory from the placeholders in its tree.
pub(crate) fn write(cx: &Context) -> Result<(), Error> {
    let environment = cx.target.selection().environment.as_ref();
    if let Some(name) = environment
        && std::fs::symlink_metadata(MANIFEST).is_ok()
    {
        return add_environment(cx, name);
    }

    refuse_another()?;
    let progress = cx.ui.progress("files searched");
    let tree = Tree::search(Path::new(""), None, &|number| progress.on_progress(number));
    drop(progress);
    tree.unread.iter().for_each(|why| cx.ui.warn(why));

    let project = conflicts::claim(cx, &project(cx)?, Path::new(""), false)?;
    let draft = Draft::of(&tree, project);
    let mut text = draft.text();
    if let Some(name) = environment {
        text.push_str(&environment_table(&draft.project, name));
    }

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

/// Adds an environment to the manifest in the working directory.
fn add_environment(cx: &Context, name: &EnvironmentName) -> Result<(), Error> {
    let Some(manifest) =
        cx.target.base_manifest()?.filter(|it| it.directory.as_os_str().is_empty())
    else {
        return Err(Error::new(Kind::Refused, format!("`{MANIFEST}` here does not belong to you")));
    };

    if let Some(known) = manifest.environments.iter().find(|known| known.name == *name) {
        let message = format!(
            "`{MANIFEST}` has environment `{name}` already, with project `{}`",
            known.project
        );
        return Err(Error::new(Kind::Conflict, message).hint("nothing was written"));
    }

    let failed =
        |error: io::Error| Error::new(Kind::Failure, format!("cannot read `{MANIFEST}`: {error}"));
    let mut text = std::fs::read_to_string(MANIFEST).map_err(failed)?;

    // The file may have changed since it was read for the first time.
    let is_same =
        Manifest::parse(Path::new(""), &text).is_ok_and(|it| it.digest == manifest.digest);
    let was_trusted = is_same
        && Context::coverage(manifest)
            .is_ok_and(|coverage| matches!(cx.trust_of(&coverage), Trust::Trusted(_)));
    if !text.ends_with('\n') {
        text.push('\n');
    }

    let base = cx.target.base_project()?;
    text.push_str(&environment_table(&base, name));
    let new = Manifest::parse(Path::new(""), &text).map_err(|error| {
        Error::usage(format!("`{MANIFEST}` would be invalid: {error}"))
            .hint("add the environment by hand; nothing was written")
    })?;

    replace(Path::new(MANIFEST), text.as_bytes())?;
    if was_trusted {
        cx.trust_as_written(Path::new(""), &text);
    }

    let project = new.environments.last().map_or_else(String::new, |it| it.project.to_string());
    cx.ui.status(&format!("added environment `{name}` with project `{project}` to `{MANIFEST}`"));
    cx.ui.status(&format!("next: enter its values with `secrets -E {name} setup`"));
    cx.ui.document(|| {
        Ok(AddedEnvironment { manifest: MANIFEST, environment: name.as_str(), project: &project })
    })
}

fn environment_table(base: &ProjectName, name: &EnvironmentName) -> String {
    format!("\n[environments.{name}]\nproject = \"{base}.{name}\"\n")
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
        Err(_) => cx.target.base_project(),
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
