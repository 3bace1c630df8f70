//! Renders all files of a manifest. Every template is read and resolved and every output is checked
//! before the first output is written.
//!
//! No file outside the manifest's directory is read or written, not even through a link.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrets_core::model::Tag;
use secrets_core::vault::Reveal;
use secrets_files::{FileId, Output, OutputChange, OutputError};

use super::additions::Contents;
use super::digesting::{DigestingWriter, note};
use super::manifest::{Manifest, RenderEntry};
use super::meaning;
use super::modified::{ModifiedOutput, foreign, read_template};
use super::output_records::{Origin, OutputRecords};
use super::warning::Warning;
use super::{SetupError, io_error, relative, trust};
use crate::git::is_in_git_directory;
use crate::template::output;
use crate::template::{Plan, Resolved, SuspectTexts, Template, TemplateError};

/// A file by device and inode, and a phrase that says why it must not be replaced.
pub type ProtectedFile = (FileId, &'static str);

/// The reason for refusing a template or an output in a git directory, whatever the name of that
/// directory. Git would run files that are written there, and its files may hold credentials.
const IN_GIT: &str = "is inside a git directory";

/// The manifest's files, read and checked.
pub struct Outputs<'m> {
    manifest: &'m Manifest,
    files: Vec<OutputFile<'m>>,
}

struct OutputFile<'m> {
    rendering: &'m RenderEntry,
    plan: Plan,
    output: Output,
}

impl<'m> Outputs<'m> {
    /// Reads every template and checks every output. No output may replace a file in `protected`.
    pub fn open(manifest: &'m Manifest, protected: &[ProtectedFile]) -> Result<Self, SetupError> {
        let root = fs::canonicalize(relative(&manifest.directory))
            .map_err(|source| io_error("read", &manifest.directory, source))?;
        let mut templates = Vec::new();

        for rendering in &manifest.render {
            let path = manifest.at(&rendering.template);

            // This is checked before a byte is read, because a device has no end and a FIFO blocks.
            let real = fs::canonicalize(&path).map_err(|source| io_error("read", &path, source))?;
            if !real.starts_with(&root) {
                return Err(SetupError::Outside(path));
            }

            if is_in_git_directory(&real) {
                return Err(OutputError::Unsafe { path, why: IN_GIT }.into());
            }

            if fs::metadata(&real).is_ok_and(|found| !found.is_file()) {
                return Err(io_error("read", &path, io::Error::other("it is not a regular file")));
            }

            templates.push(Template::from_file(&path)?);
        }

        let mut protected = protected.to_vec();
        protected.extend(
            templates.iter().filter_map(Template::identity).map(|id| (id, "is a template")),
        );
        protected
            .extend(FileId::at(&manifest.path()).map(|manifest| (manifest, "is the manifest")));

        let (mut files, mut malformed, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        for (rendering, template) in manifest.render.iter().zip(templates) {
            let path = manifest.at(&rendering.output);
            if !known.insert(require_inside(&path, &root)?) {
                return Err(OutputError::Unsafe {
                    path,
                    why: "is also another output, through a link",
                }
                .into());
            }

            let output = output::open(&path, rendering.mode, &protected)?;
            let plan = Plan::new(template, rendering.grammar.clone())?;
            if let Some(findings) = plan.malformed()? {
                malformed.push((plan.template().name().to_owned(), findings));
            }

            files.push(OutputFile { rendering, plan, output });
        }

        if malformed.is_empty() {
            Ok(Self { manifest, files })
        } else {
            Err(SetupError::Malformed(malformed))
        }
    }

    /// Returns all tags that the templates refer to. A tag may occur several times.
    pub fn tags(&self) -> Vec<Tag> {
        self.files.iter().flat_map(|file| file.plan.tags()).collect()
    }

    /// Returns the keys of the tags that each template refers to, in the manifest's order.
    pub fn tag_keys(&self) -> Vec<BTreeSet<String>> {
        self.files.iter().map(|file| trust::keys(&file.plan.tags())).collect()
    }

    /// Returns each template with its text that may not do what its author expects.
    pub fn suspects(&self) -> impl Iterator<Item = (&Template, &SuspectTexts)> {
        self.files.iter().map(|file| (file.plan.template(), file.plan.suspects()))
    }

    /// Returns the texts of the templates that have at most `most` bytes.
    pub fn texts(&self, most: u64) -> Result<Vec<(&'m RenderEntry, Vec<u8>)>, TemplateError> {
        let text = |file: &OutputFile<'m>| {
            Ok(file.plan.template().text(most)?.map(|text| (file.rendering, text)))
        };

        self.files.iter().filter_map(|file| text(file).transpose()).collect()
    }

    /// Returns the outputs whose templates refer to a tag, relative to the working directory.
    pub fn of(&self, tag: &Tag) -> Vec<PathBuf> {
        let refers =
            |file: &&OutputFile<'_>| file.plan.tags().iter().any(|other| other.key() == tag.key());
        self.files
            .iter()
            .filter(refers)
            .map(|file| self.manifest.at(&file.rendering.output))
            .collect()
    }

    /// Returns the existing outputs that are not as we wrote them. No value is decrypted. So the
    /// variables of an output are compared with the template's text, and an output in the result
    /// may still be current.
    pub fn foreign(
        &self,
        memory: &OutputRecords,
    ) -> Result<Vec<(&'m RenderEntry, ModifiedOutput)>, SetupError> {
        let mut all = Vec::new();
        for file in self.files.iter().filter(|file| file.output.exists()) {
            let path = self.manifest.at(&file.rendering.output);
            let origin = match file.output.existing()? {
                Some(mut file) => memory
                    .origin(&path, &mut file)
                    .map_err(|source| io_error("read", &path, source))?,
                None => Origin::Unknown,
            };

            if origin == Origin::Ours {
                continue;
            }

            let text = read_template(&self.manifest.at(&file.rendering.template));
            let open = file.rendering.grammar.open();
            let given = text.and_then(|text| Contents::of_template(&text, open));
            let found = match given {
                Some(given) => ModifiedOutput::inspect(
                    memory,
                    &path,
                    origin,
                    file.output.existing()?,
                    Some(&given),
                ),
                None => ModifiedOutput::of(origin),
            };

            // The template's lines are not known before its values are.
            all.push((file.rendering, ModifiedOutput { lines: Vec::new(), ..found }));
        }

        Ok(all)
    }

    pub fn retain(&mut self, keep: impl Fn(&RenderEntry) -> bool) {
        self.files.retain(|file| keep(file.rendering));
    }

    /// Removes the entries that refer to a missing secret, and returns them.
    pub fn split_off(&mut self, exists: impl Fn(&Tag) -> bool) -> Vec<&'m RenderEntry> {
        let mut removed = Vec::new();
        self.files.retain(|file| {
            let is_complete = file.plan.tags().iter().all(&exists);
            removed.extend((!is_complete).then_some(file.rendering));
            is_complete
        });

        removed
    }

    /// Resolves all references. If any of them names no secret, the error lists all that do not.
    pub fn resolve(self, values: &dyn Reveal) -> Result<ResolvedOutputs<'m>, SetupError> {
        let (mut files, mut unknown) = (Vec::new(), Vec::new());
        for OutputFile { rendering, plan, output } in self.files {
            let tags = plan.tags();
            let resolved = plan.resolve(values)?;
            if let Some(findings) = resolved.unknown()? {
                unknown.push((resolved.template().name().to_owned(), findings));
            }

            files.push(ResolvedFile { rendering, tags, resolved, output });
        }

        if unknown.is_empty() {
            Ok(ResolvedOutputs { manifest: self.manifest, files })
        } else {
            Err(SetupError::Unknown(unknown))
        }
    }
}

/// How an output compares with what it would be rendered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputState {
    Current,
    Missing,
    /// The output has other content
    Stale,
    /// The mode of the output is wider than it should be
    Exposed(u32),
}

/// The manifest's files with all values resolved.
pub struct ResolvedOutputs<'m> {
    manifest: &'m Manifest,
    files: Vec<ResolvedFile<'m>>,
}

struct ResolvedFile<'m> {
    rendering: &'m RenderEntry,
    /// The secrets that the template refers to
    tags: Vec<Tag>,
    resolved: Resolved,
    output: Output,
}

impl<'m> ResolvedOutputs<'m> {
    /// Compares each output with what it would be rendered to. Nothing is written.
    pub fn states(&self) -> Result<Vec<(&'m RenderEntry, OutputState)>, SetupError> {
        let mut states = Vec::with_capacity(self.files.len());
        for ResolvedFile { resolved, output, rendering, .. } in &self.files {
            let current = output::is_current(output, &mut |out| resolved.expand(out))?;
            let state = match output.excessive_mode() {
                _ if !output.exists() => OutputState::Missing,
                _ if !current => OutputState::Stale,
                Some(mode) => OutputState::Exposed(mode),
                None => OutputState::Current,
            };

            states.push((*rendering, state));
        }

        Ok(states)
    }

    /// Returns warnings about outputs that do not mean what their templates mean, each with the
    /// output's path.
    pub fn warnings(&self) -> Result<Vec<(PathBuf, Warning)>, SetupError> {
        let mut found = Vec::new();
        for ResolvedFile { rendering, resolved, .. } in &self.files {
            let warnings = meaning::warnings(&rendering.output, resolved, rendering.readers)?;
            let path = self.manifest.at(&rendering.output);
            found.extend(warnings.into_iter().map(|warning| (path.clone(), warning)));
        }

        Ok(found)
    }

    pub fn retain(&mut self, keep: impl Fn(&RenderEntry) -> bool) {
        self.files.retain(|file| keep(file.rendering));
    }

    /// Returns true if a template refers to a secret.
    pub fn have_secrets(&self) -> bool {
        self.files.iter().any(|file| !file.tags.is_empty())
    }

    /// Returns the existing outputs that are not as we wrote them and whose content would change.
    pub fn foreign(
        &self,
        memory: &OutputRecords,
    ) -> Result<Vec<(&'m RenderEntry, ModifiedOutput)>, SetupError> {
        let mut all = Vec::new();
        for ResolvedFile { resolved, output, rendering, .. } in &self.files {
            let path = self.manifest.at(&rendering.output);
            let found = foreign(memory, &path, output, resolved)?;
            all.extend(found.map(|found| (*rendering, found)));
        }

        Ok(all)
    }

    /// Records the outputs that already have the content to write. They count as ours, no matter
    /// who wrote them.
    pub fn remember_current(&self, memory: &OutputRecords) -> Result<(), SetupError> {
        for ResolvedFile { resolved, output, rendering, tags } in &self.files {
            let mut content = DigestingWriter::new(memory, tags);
            if output::is_current(output, &mut |out| resolved.expand(&mut content.tee(out)))? {
                note(memory, &self.manifest.at(&rendering.output), content, resolved, tags)?;
            }
        }

        Ok(())
    }

    /// Writes the outputs and records them. The content of all outputs is on the disk before the
    /// first one gets its name. Missing directories are created.
    pub fn write(self, memory: &OutputRecords) -> Result<Vec<(PathBuf, OutputChange)>, SetupError> {
        for file in &self.files {
            let path = self.manifest.at(&file.rendering.output);
            if let Some(parent) =
                path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
            {
                fs::create_dir_all(parent)
                    .map_err(|source| io_error("create the directory", parent, source))?;
            }
        }

        let (mut pending, mut contents) = (Vec::new(), Vec::new());
        for ResolvedFile { resolved, output, rendering, tags } in &self.files {
            let path = self.manifest.at(&rendering.output);
            let mut content = DigestingWriter::new(memory, tags);
            pending.push((
                path,
                output::prepare(output, &mut |out| resolved.expand(&mut content.tee(out)))?,
            ));

            contents.push(content);
        }

        let mut written = Vec::with_capacity(pending.len());
        for (path, content) in pending {
            written.push((path, content.publish()?));
        }

        for (ResolvedFile { resolved, tags, .. }, (content, (path, _))) in
            self.files.iter().zip(contents.into_iter().zip(&written))
        {
            note(memory, path, content, resolved, tags)?;
        }

        Ok(written)
    }
}

/// Refuses a path whose deepest existing directory is outside `root`, because a link in the tree
/// would lead out of it. Returns the path without links.
fn require_inside(path: &Path, root: &Path) -> Result<PathBuf, SetupError> {
    let above = path.ancestors().skip(1).find(|above| relative(above).symlink_metadata().is_ok());
    let above = above.unwrap_or(Path::new(""));
    let existing = relative(above);
    let real = fs::canonicalize(existing).map_err(|source| io_error("read", existing, source))?;

    if !real.starts_with(root) {
        return Err(SetupError::Outside(path.to_owned()));
    }

    let resolved = path.strip_prefix(above).map_or_else(|_| real.clone(), |rest| real.join(rest));
    if is_in_git_directory(&resolved) {
        return Err(OutputError::Unsafe { path: path.to_owned(), why: IN_GIT }.into());
    }

    // A file that the outer repository ignores could still be committed to the inner one.
    if real
        .ancestors()
        .take_while(|above| *above != root)
        .any(|above| above.join(".git").symlink_metadata().is_ok())
    {
        return Err(OutputError::Unsafe {
            path: path.to_owned(),
            why: "is inside another git repository",
        }
        .into());
    }

    Ok(resolved)
}
