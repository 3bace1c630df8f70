//! The other uses of a project or tag, so that nothing is shared or overwritten without the user's
//! knowledge.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use secrets_core::model::{ProjectName, SecretValue, Tag, TagKey};
use secrets_core::store::absolute;
use secrets_core::vault::OnConflict;
use secrets_project::setup::output_records::{Directories, OutputRecords, is_same_output};
use secrets_project::setup::{Manifest, OtherUses, Tree, Use};
use serde_json::json;

use super::directories;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::{counted, prompt};

/// The action for a tag that the project has with a different value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum OnTakenArg {
    /// Store nothing; on a terminal, offer separate tags
    #[default]
    Fail,
    /// Keep the project's secret
    Skip,
    /// Replace its value; if other outputs use it, ask first or require --yes
    Overwrite,
    /// Store the new value under a separate tag
    Separate,
}

impl From<OnTakenArg> for OnConflict {
    fn from(arg: OnTakenArg) -> Self {
        match arg {
            OnTakenArg::Fail | OnTakenArg::Separate => Self::Fail,
            OnTakenArg::Skip => Self::Skip,
            OnTakenArg::Overwrite => Self::Overwrite,
        }
    }
}

/// The default project, which directories share on purpose.
const SHARED: &str = "default";

/// Returns the project that a directory should use. If another directory uses it and the command
/// line does not name it, offers a separate project. `is_fixed` is true if a manifest already names
/// the project.
pub(crate) fn claim(
    cx: &Context,
    project: &ProjectName,
    directory: &Path,
    is_fixed: bool,
) -> Result<ProjectName, Error> {
    let Some(directories) = directories::directories(cx) else { return Ok(project.clone()) };
    if project.as_str() == SHARED || directories.knows(project, directory) {
        return Ok(project.clone());
    }

    let others = directories.others(project, directory);
    let Some(other) = others.first() else { return Ok(project.clone()) };

    let what = format!("project `{project}` is also used by `{}`", other.display());
    if cx.target.named_project()?.is_some() {
        cx.ui.status(&what);
        return Ok(project.clone());
    }

    let error = || {
        let details = json!({ "project": project.as_str(), "usedBy": others.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>() });
        let own = if is_fixed {
            "change `project` in `.secrets.toml`"
        } else {
            "choose another project with `-p NAME`"
        };

        let error = Error::new(Kind::Conflict, &what).with_details(details);
        error.hint(format!("{own}, or share this one with `-p {project}`; nothing was written"))
    };

    if !prompt::is_possible() {
        return Err(error());
    }

    cx.ui.status(&what);
    if is_fixed {
        return if prompt::confirm("Share it?", false)? {
            Ok(project.clone())
        } else {
            Err(error())
        };
    }

    let is_free = |name: &ProjectName| directories.others(name, directory).is_empty();
    let own =
        (2..100).filter_map(|n| ProjectName::parse(&format!("{project}-{n}")).ok()).find(is_free);
    match own {
        Some(own) if prompt::confirm(&format!("Use a separate project `{own}`?"), true)? => Ok(own),
        _ if prompt::confirm(&format!("Share project `{project}`?"), false)? => Ok(project.clone()),
        _ => Err(error()),
    }
}

/// Reports another directory that uses the manifest's project, unless both are already known to use
/// it.
pub(crate) fn mention(cx: &Context, project: &ProjectName, directory: &Path) {
    let Some(directories) = directories::directories(cx) else { return };
    if project.as_str() == SHARED || directories.knows(project, directory) {
        return;
    }

    if let Some(other) = directories.others(project, directory).first() {
        cx.ui.status(&format!("project `{project}` is also used by `{}`", other.display()));
    }
}

/// A value that will be stored.
pub(crate) type NewValue<'a> = (&'a Tag, &'a SecretValue);

/// A tag that has a different value in the project.
struct ExistingValue<'n> {
    tag: &'n Tag,
    /// The value to store
    value: &'n SecretValue,
    /// The outputs that use it
    users: Vec<String>,
    /// The tag that is offered instead
    separate: Option<Tag>,
}

pub(crate) struct Uses<'a> {
    project: &'a ProjectName,
    /// The manifest, if its project is this one
    manifest: Option<&'a Manifest>,
    tree: Tree,
    memory: OutputRecords,
    directories: Option<Directories>,
    /// The uses in manifests of other directories, loaded when first needed
    others: OnceCell<Vec<OtherUses>>,
    /// The output that the values come from, or an empty path; its own use does not count
    source: &'a Path,
}

impl<'a> Uses<'a> {
    /// Collects the uses from the manifest and from the records of outputs.
    pub(crate) fn of(
        cx: &Context,
        project: &'a ProjectName,
        manifest: Option<&'a Manifest>,
        source: &'a Path,
    ) -> Result<Self, Error> {
        let key = cx.vault()?.output_key(project)?;
        let memory = OutputRecords::new(cx.state_directory("outputs").as_deref(), key);
        let (directories, others) = (directories::directories(cx), OnceCell::new());
        let tree = manifest.map(Tree::of).unwrap_or_default();

        Ok(Self { project, manifest, tree, memory, directories, others, source })
    }

    /// Returns the other outputs that use a tag, formatted for messages.
    fn users(&self, tag: &TagKey) -> Vec<String> {
        let source = absolute(self.source).ok();
        let mut users = Vec::new();
        let mut known: Vec<PathBuf> = source.iter().cloned().collect();
        let refers = |path: &Path| {
            self.tree
                .references
                .iter()
                .any(|r| r.file == path && r.is_placeholder() && r.tag.key() == *tag)
        };

        if let Some(manifest) = self.manifest {
            for rendering in
                manifest.render.iter().filter(|rendering| refers(&manifest.at(&rendering.template)))
            {
                let path = manifest.at(&rendering.output);
                let real = absolute(&path).unwrap_or_else(|_| path.clone());
                if !known.contains(&real) {
                    users.push(format!("`{}`", path.display()));
                    known.push(real);
                }
            }

            if refers(&manifest.path()) {
                users.push("`[run.env]`".into());
            }
        }

        for path in self.memory.users_of(tag) {
            if !known.iter().any(|other| is_same_output(other, &path)) {
                users.push(format!("`{}`", path.display()));
                known.push(path);
            }
        }

        for found in self.others().iter().flat_map(|other| other.of_tag(tag)) {
            match found {
                Use::Output(path) => {
                    let path = absolute(&path).unwrap_or(path);
                    if !known.iter().any(|other| is_same_output(other, &path)) {
                        users.push(format!("`{}`", path.display()));
                        known.push(path);
                    }
                }
                Use::RunEnv(path) => users.push(format!("`[run.env]` of `{}`", path.display())),
                Use::Declared(path) => users.push(format!("`{}`", path.display())),
            }
        }

        users
    }

    fn others(&self) -> &[OtherUses] {
        self.others.get_or_init(|| {
            let here = self.manifest.map_or(Path::new(""), |manifest| &manifest.directory);
            self.directories
                .as_ref()
                .map(|found| OtherUses::of(found, self.project, here))
                .unwrap_or_default()
        })
    }

    /// Asks before overwriting values that other outputs use, and lists those outputs. Refuses if
    /// it cannot ask.
    pub(crate) fn confirm_overwriting(
        &self,
        cx: &Context,
        new: &[NewValue<'_>],
        is_confirmed: bool,
    ) -> Result<(), Error> {
        let mut taken = self.taken(cx, new)?;
        taken.retain(|taken| !taken.users.is_empty());
        if taken.is_empty() {
            return Ok(());
        }

        if is_confirmed || prompt::is_possible() {
            taken.iter().take(SHOWN).for_each(|taken| cx.ui.status(&self.describe(taken)));
        }

        if is_confirmed
            || prompt::is_possible() && prompt::confirm("Overwrite it for them too?", false)?
        {
            return Ok(());
        }

        self.offer_separate(cx, new, &mut taken)?;
        Err(self.conflict_error(&taken, OnTakenArg::Overwrite))
    }

    /// Decides what to do with tags that the project has with different values. Returns the
    /// separate tags to use for them.
    pub(crate) fn decide(
        &self,
        cx: &Context,
        new: &[NewValue<'_>],
        on_taken: OnTakenArg,
        is_confirmed: bool,
    ) -> Result<HashMap<TagKey, Tag>, Error> {
        let mut taken =
            if on_taken == OnTakenArg::Skip { Vec::new() } else { self.taken(cx, new)? };
        let is_used = taken.iter().any(|taken| !taken.users.is_empty());

        match on_taken {
            _ if taken.is_empty() => return Ok(HashMap::new()),
            OnTakenArg::Overwrite if !is_used => return Ok(HashMap::new()),
            // The import itself refuses the conflict.
            OnTakenArg::Fail if !is_used && !prompt::is_possible() => return Ok(HashMap::new()),
            _ => self.offer_separate(cx, new, &mut taken)?,
        }

        if on_taken == OnTakenArg::Separate {
            return separate(&taken).ok_or_else(|| self.conflict_error(&taken, on_taken));
        }

        let is_overwritten = on_taken == OnTakenArg::Overwrite;
        if (is_overwritten && is_confirmed) || prompt::is_possible() {
            taken.iter().take(SHOWN).for_each(|taken| cx.ui.status(&self.describe(taken)));
        }

        if is_overwritten && is_confirmed {
            return Ok(HashMap::new());
        } else if !prompt::is_possible() {
            return Err(self.conflict_error(&taken, on_taken));
        }

        if let Some(tags) = separate(&taken) {
            let first = taken[0].separate.as_ref().map(Tag::to_string).unwrap_or_default();
            let question = match taken.len() {
                1 => format!("Store the new value as `{first}`?"),
                n => format!("Store the {n} new values under separate tags, such as `{first}`?"),
            };

            if prompt::confirm(&question, true)? {
                return Ok(tags);
            }
        }

        if is_overwritten && prompt::confirm("Overwrite it for them too?", false)? {
            return Ok(HashMap::new());
        }

        Err(self.conflict_error(&taken, on_taken))
    }

    /// Returns the tags that have a different value in the project, without a separate tag yet.
    fn taken<'n>(
        &self,
        cx: &Context,
        new: &[NewValue<'n>],
    ) -> Result<Vec<ExistingValue<'n>>, Error> {
        let tags: Vec<Tag> = new.iter().map(|(tag, _)| (*tag).clone()).collect();
        let stored = cx.vault()?.scope(self.project).reveal_existing(&tags)?;
        let differs = |(&(tag, value), stored): (&NewValue<'n>, Option<(Tag, SecretValue)>)| {
            let is_other = stored.is_some_and(|(_, stored)| stored.expose() != value.expose());
            is_other.then(|| ExistingValue {
                tag,
                value,
                users: self.users(&tag.key()),
                separate: None,
            })
        };

        Ok(new.iter().zip(stored).filter_map(differs).collect())
    }

    /// Gives each of `taken` the first separate tag that is free. Each round looks up one candidate
    /// of every tag that has none yet.
    fn offer_separate(
        &self,
        cx: &Context,
        new: &[NewValue<'_>],
        taken: &mut [ExistingValue<'_>],
    ) -> Result<(), Error> {
        let scope = cx.vault()?.scope(self.project);
        let ours: HashSet<TagKey> = new.iter().map(|(tag, _)| tag.key()).collect();
        let mut open: Vec<(&mut ExistingValue<'_>, std::vec::IntoIter<Tag>)> = Vec::new();

        for taken in taken {
            let mut candidates = candidates(taken.tag, self.source);
            candidates.retain(|tag| !ours.contains(&tag.key()));
            open.push((taken, candidates.into_iter()));
        }

        while !open.is_empty() {
            open.retain_mut(|(taken, candidates)| {
                taken.separate = candidates.next();
                taken.separate.is_some()
            });

            let offered: Vec<Tag> =
                open.iter().filter_map(|(taken, _)| taken.separate.clone()).collect();
            let mut stored = scope.reveal_existing(&offered)?.into_iter();

            // A candidate with the same value comes from an interrupted run and can be used.
            open.retain(|(taken, _)| {
                stored
                    .next()
                    .flatten()
                    .is_some_and(|(_, stored)| stored.expose() != taken.value.expose())
            });
        }

        Ok(())
    }

    fn describe(&self, taken: &ExistingValue<'_>) -> String {
        let users = if taken.users.is_empty() {
            String::new()
        } else {
            format!(", used by {}", taken.users.join(", "))
        };

        format!("`{}` has a different value in project `{}`{users}", taken.tag, self.project)
    }

    fn conflict_error(&self, taken: &[ExistingValue<'_>], on_taken: OnTakenArg) -> Error {
        let what = match taken {
            [only] => self.describe(only),
            all => format!(
                "{} have different values in project `{}`",
                counted(all.len(), "secret"),
                self.project
            ),
        };

        let used_by = |taken: &ExistingValue<'_>| match &taken.users[..] {
            [] => String::new(),
            users => format!(": used by {}", users.join(", ")),
        };

        let notes = taken.iter().filter(|_| taken.len() > 1);
        let notes = notes.map(|taken| format!("  {}{}", taken.tag, used_by(taken))).collect();
        let secrets = taken.iter().map(|taken| {
            let separate = taken.separate.as_ref().map(Tag::as_str);
            json!({ "tag": taken.tag.as_str(), "usedBy": taken.users, "separate": separate })
        });

        let details = json!({ "secrets": secrets.collect::<Vec<_>>() });

        let mut error = Error::new(Kind::Conflict, what).with_notes(notes).with_details(details);
        if let Some(tag) = taken[0].separate.as_ref().filter(|_| on_taken != OnTakenArg::Separate) {
            error = error.hint(format!(
                "use `--on-conflict separate` to store it under another tag, such as `{tag}`"
            ));
        }

        let is_used = taken.iter().any(|taken| !taken.users.is_empty());
        error.hint(match (on_taken, is_used) {
            (OnTakenArg::Overwrite, _) => {
                "use `--yes` to overwrite it for these outputs too; nothing was written"
            }
            (_, true) => {
                "use `--on-conflict overwrite --yes` to overwrite it for these outputs too; \
                 nothing was written"
            }
            (_, false) => "use `--on-conflict overwrite` to replace its value; nothing was written",
        })
    }
}

/// The maximum number of tags that are shown before a question.
const SHOWN: usize = 20;

fn separate(taken: &[ExistingValue<'_>]) -> Option<HashMap<TagKey, Tag>> {
    taken.iter().map(|taken| Some((taken.tag.key(), taken.separate.clone()?))).collect()
}

/// Returns separate tags for the value of a file: for `.env.production` first `KEY-production`,
/// then numbered ones. Returns none without a file.
fn candidates(tag: &Tag, source: &Path) -> Vec<Tag> {
    if source.as_os_str().is_empty() {
        return Vec::new();
    }

    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = name
        .split('.')
        .filter(|part| !part.is_empty() && !["env", "json", "csv", "xml"].contains(part));
    let directory = || {
        let parent = absolute(source).ok()?;
        Some(parent.parent()?.file_name()?.to_string_lossy().into_owned())
    };

    let word = parts.next_back().map(str::to_owned).or_else(directory).unwrap_or_default();
    let fits = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '-' };
    let word: String = word.chars().map(fits).collect();

    let first = Some(word.trim_matches('-'))
        .filter(|word| !word.is_empty())
        .map(|word| format!("{tag}-{word}"));
    let base = first.clone().unwrap_or_else(|| tag.to_string());
    let numbered = (2..20).map(|n| format!("{base}-{n}"));

    first.into_iter().chain(numbered).filter_map(|tag| Tag::parse(&tag).ok()).collect()
}
