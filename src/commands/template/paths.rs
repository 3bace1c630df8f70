//! The paths of a new template and its output, and the manifest with both.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use secrets_core::model::{Description, ProjectName, Tag};
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::{Draft, Manifest, add, gitignore};

use super::TemplateArgs;
use crate::context::Target;
use crate::error::{self, Error, Hint, Kind, hint};

/// The paths of the template and the output, inside the manifest's directory.
pub(super) struct Paths {
    /// The template, relative to the working directory
    pub(super) shown: PathBuf,
    /// The output, relative to the working directory
    pub(super) output_shown: PathBuf,
    /// The template, relative to the manifest
    pub(super) template: PathBuf,
    /// The output, relative to the manifest
    pub(super) output: PathBuf,
}

impl Paths {
    pub(super) fn new(args: &TemplateArgs, manifest: Option<&Manifest>) -> Result<Self, Error> {
        let output = if args.example { without_example(&args.file)? } else { args.file.clone() };
        let template = args.output.clone().unwrap_or_else(|| with_ending(&output));
        let root = manifest.map_or(Path::new("."), |manifest| {
            if manifest.directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &manifest.directory
            }
        });

        let relative = |path: &Path| -> Result<PathBuf, Error> {
            let failed = |source| {
                Error::new(Kind::Failure, format!("cannot read `{}`: {source}", path.display()))
            };

            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));

            let parent = fs::canonicalize(parent).map_err(failed)?;
            let root = fs::canonicalize(root).map_err(failed)?;
            let inside = parent.strip_prefix(&root).ok().zip(path.file_name());
            inside.map(|(directory, name)| directory.join(name)).ok_or_else(|| {
                let place = if manifest.is_some() {
                    "the directory of `.secrets.toml`"
                } else {
                    "this directory"
                };

                Error::new(Kind::Refused, format!("`{}` is outside {place}", path.display()))
                    .hint("change to its directory first; nothing was written")
            })
        };

        let (inside, output_inside) = (relative(&template)?, relative(&output)?);
        Ok(Self { template: inside, output: output_inside, shown: template, output_shown: output })
    }

    /// Refuses a template path that is taken by something other than a file. An existing file may
    /// come from an interrupted run.
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_taken = fs::symlink_metadata(&self.shown)
            .is_ok_and(|found| !found.is_file() && !found.is_symlink());
        if is_taken {
            Err(self.exists_error("choose another file with `-o TEMPLATE`; nothing was written"))
        } else {
            Ok(())
        }
    }

    fn exists_error(&self, hint: impl Into<Hint>) -> Error {
        Error::new(Kind::Conflict, format!("`{}` already exists", self.shown.display())).hint(hint)
    }

    /// Returns true if the template already has the right content. An interrupted run resumes from
    /// there.
    pub(super) fn is_written(
        &self,
        template: &[u8],
        manifest: Option<&Manifest>,
    ) -> Result<bool, Error> {
        let is_output = manifest.is_some_and(|manifest| {
            manifest.render.iter().any(|rendering| rendering.output == self.output)
        });

        match fs::symlink_metadata(&self.shown) {
            Err(_) => Ok(false),
            Ok(_) if fs::read(&self.shown).is_ok_and(|found| found == template) => Ok(true),
            Ok(_) if is_output => Err(self.exists_error(hint!(
                "adopt its new variables with `secrets adopt {}`; nothing was written",
                self.output_shown.display()
            ))),
            Ok(_) => {
                Err(self
                    .exists_error("choose another file with `-o TEMPLATE`; nothing was written"))
            }
        }
    }

    /// Refuses a .gitignore that cannot be extended, before anything is stored.
    pub(super) fn check_gitignore(
        &self,
        manifest: Option<&Manifest>,
        text: &str,
        project: &ProjectName,
    ) -> Result<(), Error> {
        let directory = manifest.map_or(Path::new(""), |manifest| &manifest.directory);
        let Ok(new) = Manifest::parse(directory, text) else { return Ok(()) };
        let found = gitignore::unignored(&new, &Target::git(directory))?;
        found.check().map_err(|error| error::setup(error, project))
    }

    /// Returns the manifest's text including the template, after parsing it as a check.
    pub(super) fn manifest_text(
        &self,
        manifest: Option<&Manifest>,
        project: &ProjectName,
        secrets: &[(Tag, Option<Description>)],
    ) -> Result<String, Error> {
        let render = vec![(self.template.clone(), self.output.clone())];
        let text = match manifest {
            None => {
                let draft = Draft {
                    project: project.clone(),
                    secrets: secrets.to_vec(),
                    render,
                    left_out: Vec::new(),
                };

                Some(draft.text())
            }
            Some(manifest) => {
                let before = fs::read_to_string(manifest.path()).map_err(|source| {
                    Error::new(Kind::Failure, format!("cannot read `{MANIFEST}`: {source}"))
                })?;

                add(manifest, &before, secrets, (&self.template, &self.output))
            }
        };

        let text = text.ok_or_else(|| {
            Error::usage(format!("cannot add entries to `{MANIFEST}`"))
                .hint("write its tables as `[secrets.TAG]` and `[[render]]`")
        })?;

        match Manifest::parse(Path::new(""), &text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Error::usage(format!("`{MANIFEST}` would be invalid: {error}"))
                .hint("nothing was written")),
        }
    }
}

/// Returns `.env` for `.env.example`, and `app.env` for `app.env.dist`.
fn without_example(file: &Path) -> Result<PathBuf, Error> {
    const ENDINGS: [&str; 5] = ["example", "sample", "dist", "template", "defaults"];
    let ending = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    if ENDINGS.contains(&ending) {
        return Ok(file.with_extension(""));
    }

    Err(Error::usage(format!(
        "cannot determine from its name what `{}` is an example of",
        file.display()
    ))
    .hint(format!("use a name that ends with one of: {}", ENDINGS.join(", "))))
}

fn with_ending(file: &Path) -> PathBuf {
    let name = [file.as_os_str().as_bytes(), b".tmpl"].concat();
    PathBuf::from(OsStr::from_bytes(&name))
}
