//! All files of a manifest: every template is read and resolved and every output checked before the first is written.
//!
//! Nothing leaves the manifest's directory, by no link either.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::additions::{AddedVariables, Contents};
use super::manifest::{Manifest, RenderEntry};
use super::meaning::{self, Warning};
use super::output_records::{Origin, OutputRecords};
use super::{SetupError, relative, trust};
use crate::crypto::output_digest::OutputDigest;
use crate::git::is_in_git_directory;
use crate::model::{SecretBytes, Tag};
use crate::template::output::{Output, OutputChange};
use crate::template::{ExpandError, Plan, Resolved, SuspectTexts, Template, TemplateError};
use crate::vault::Reveal;

/// A file by device and inode, and half a sentence on why nothing is written over it.
pub type ProtectedFile = ((u64, u64), &'static str);

/// Said of a template or an output there, whatever the git directory is called: git would run what is written into it, and
/// what it holds may be credentials.
const IN_GIT: &str = "lies in a git directory";

/// The manifest's files, read and checked.
pub struct Outputs<'m> {
    manifest: &'m Manifest,
    files: Vec<OutputFile<'m>>,
}

struct OutputFile<'m> {
    rendering: &'m RenderEntry,
    template: Template,
    plan: Plan,
    output: Output,
}

impl<'m> Outputs<'m> {
    /// Reads every template and checks every output. `spared` are files that none may replace.
    pub fn open(manifest: &'m Manifest, protected: &[ProtectedFile]) -> Result<Self, SetupError> {
        let root = fs::canonicalize(relative(&manifest.directory))
            .map_err(|source| io_error("read", &manifest.directory, source))?;
        let mut templates = Vec::new();

        for rendering in &manifest.render {
            let path = manifest.at(&rendering.template);

            // Known before a byte is read: a device has no end, and a FIFO waits for one.
            let real = fs::canonicalize(&path).map_err(|source| io_error("read", &path, source))?;
            if !real.starts_with(&root) {
                return Err(SetupError::Outside(path));
            }

            if is_in_git_directory(&real) {
                return Err(TemplateError::UnsafeOutput { path, why: IN_GIT }.into());
            }

            if fs::metadata(&real).is_ok_and(|found| !found.is_file()) {
                return Err(io_error("read", &path, io::Error::other("it is no regular file")));
            }

            templates.push(Template::from_file(&path)?);
        }

        let mut protected = protected.to_vec();
        protected.extend(
            templates.iter().filter_map(Template::identity).map(|id| (id, "is a template")),
        );
        protected.extend(
            fs::metadata(manifest.path())
                .ok()
                .map(|found| ((found.dev(), found.ino()), "is the manifest")),
        );

        let (mut files, mut malformed, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        for (rendering, mut template) in manifest.render.iter().zip(templates) {
            let path = manifest.at(&rendering.output);
            if !known.insert(stays_inside(&path, &root)?) {
                return Err(TemplateError::UnsafeOutput {
                    path,
                    why: "is another output as well, by a link",
                }
                .into());
            }

            let output = Output::new(&path, rendering.mode, &protected)?;
            let plan = Plan::new(&mut template, rendering.grammar.clone())?;
            if let Some(findings) = plan.malformed(&mut template)? {
                malformed.push((template.name().to_owned(), findings));
            }

            files.push(OutputFile { rendering, template, plan, output });
        }

        if malformed.is_empty() {
            Ok(Self { manifest, files })
        } else {
            Err(SetupError::Malformed(malformed))
        }
    }

    /// All tags that the templates refer to; one may come several times.
    pub fn tags(&self) -> Vec<Tag> {
        self.files.iter().flat_map(|file| file.plan.tags()).collect()
    }

    /// Returns the keys of the tags that each template refers to, in the manifest's order.
    pub fn tag_keys(&self) -> Vec<BTreeSet<String>> {
        self.files.iter().map(|file| trust::keys(&file.plan.tags())).collect()
    }

    /// Returns each template with the text in it that may not do what its author expects.
    pub fn suspects(&mut self) -> impl Iterator<Item = (&mut Template, SuspectTexts)> {
        self.files.iter_mut().map(|file| (&mut file.template, file.plan.suspects().clone()))
    }

    /// Returns the texts of the templates that have at most `most` bytes.
    pub fn texts(&mut self, most: u64) -> Result<Vec<(&'m RenderEntry, Vec<u8>)>, TemplateError> {
        let text = |file: &mut OutputFile<'m>| {
            Ok(file.template.text(most)?.map(|text| (file.rendering, text)))
        };

        self.files.iter_mut().filter_map(|file| text(file).transpose()).collect()
    }

    /// The outputs whose templates refer to a tag, as seen from the working directory.
    pub fn of(&self, tag: &Tag) -> Vec<PathBuf> {
        let refers =
            |file: &&OutputFile<'_>| file.plan.tags().iter().any(|other| other.key() == tag.key());
        self.files
            .iter()
            .filter(refers)
            .map(|file| self.manifest.at(&file.rendering.output))
            .collect()
    }

    /// Returns the existing outputs that are not as we wrote them. No value is opened: the variables that a template gives are
    /// those of its own text, and an output may turn out to be current.
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

            let text = beginning(&self.manifest.at(&file.rendering.template));
            let open = file.rendering.grammar.open();
            let given = text.and_then(|text| Contents::of_template(&text, open));
            let found = match given {
                Some(given) => ModifiedOutput::examine(
                    memory,
                    &path,
                    origin,
                    file.output.existing()?,
                    Some(&given),
                ),
                None => ModifiedOutput::of(origin),
            };

            // Which lines the template gives is not known before its values are.
            all.push((file.rendering, ModifiedOutput { lines: Vec::new(), ..found }));
        }

        Ok(all)
    }

    /// Keeps only some of them.
    pub fn retain(&mut self, keep: impl Fn(&RenderEntry) -> bool) {
        self.files.retain(|file| keep(file.rendering));
    }

    /// Takes out those that refer to what is not there, and returns them.
    pub fn split_off(&mut self, is_there: impl Fn(&Tag) -> bool) -> Vec<&'m RenderEntry> {
        let mut off = Vec::new();
        self.files.retain(|file| {
            let whole = file.plan.tags().iter().all(&is_there);
            off.extend((!whole).then_some(file.rendering));
            whole
        });

        off
    }

    /// Opens what they refer to, all of it or an error that lists what names no secret.
    pub fn resolve(self, values: &dyn Reveal) -> Result<ResolvedOutputs<'m>, SetupError> {
        let (mut files, mut unknown) = (Vec::new(), Vec::new());
        for OutputFile { rendering, mut template, plan, output } in self.files {
            let tags = plan.tags();
            let resolved = plan.resolve(values)?;
            if let Some(findings) = resolved.unknown(&mut template)? {
                unknown.push((template.name().to_owned(), findings));
            }

            files.push(ResolvedFile { rendering, template, tags, resolved, output });
        }

        if unknown.is_empty() {
            Ok(ResolvedOutputs { manifest: self.manifest, files })
        } else {
            Err(SetupError::Unknown(unknown))
        }
    }
}

/// An output held against what it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputState {
    /// It is what it should be
    Current,
    /// It is not there
    Missing,
    /// It has another content
    Stale,
    /// Its mode is wider than it should be
    Exposed(u32),
}

/// The manifest's files with all values resolved.
pub struct ResolvedOutputs<'m> {
    manifest: &'m Manifest,
    files: Vec<ResolvedFile<'m>>,
}

struct ResolvedFile<'m> {
    rendering: &'m RenderEntry,
    template: Template,
    /// The secrets that the template refers to
    tags: Vec<Tag>,
    resolved: Resolved,
    output: Output,
}

impl<'m> ResolvedOutputs<'m> {
    /// Holds each output against what it would be. Nothing is written.
    pub fn states(&mut self) -> Result<Vec<(&'m RenderEntry, OutputState)>, SetupError> {
        let mut states = Vec::with_capacity(self.files.len());
        for file in &mut self.files {
            let ResolvedFile { template, resolved, output, rendering, .. } = file;
            let current = output.is_current(&mut |out| resolved.expand(template, out))?;
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

    /// Returns what is to be said of outputs that do not mean what their templates mean, by path.
    pub fn warnings(&mut self) -> Result<Vec<(PathBuf, Warning)>, SetupError> {
        let mut found = Vec::new();
        for ResolvedFile { rendering, template, resolved, .. } in &mut self.files {
            let warnings =
                meaning::warnings(&rendering.output, template, resolved, rendering.readers)?;
            let path = self.manifest.at(&rendering.output);
            found.extend(warnings.into_iter().map(|warning| (path.clone(), warning)));
        }

        Ok(found)
    }

    /// Keeps only some of them.
    pub fn retain(&mut self, keep: impl Fn(&RenderEntry) -> bool) {
        self.files.retain(|file| keep(file.rendering));
    }

    /// Returns true if a template refers to a secret.
    pub fn have_secrets(&self) -> bool {
        self.files.iter().any(|file| !file.tags.is_empty())
    }

    /// Returns the existing outputs that would get another content although they are not as we wrote them.
    pub fn foreign(
        &mut self,
        memory: &OutputRecords,
    ) -> Result<Vec<(&'m RenderEntry, ModifiedOutput)>, SetupError> {
        let mut all = Vec::new();
        for ResolvedFile { template, resolved, output, rendering, .. } in &mut self.files {
            let path = self.manifest.at(&rendering.output);
            let found = foreign(memory, &path, output, resolved, template)?;
            all.extend(found.map(|found| (*rendering, found)));
        }

        Ok(all)
    }

    /// Remembers the outputs that have the content which would be written: they are ours, whoever wrote them.
    pub fn remember_current(&mut self, memory: &OutputRecords) -> Result<(), SetupError> {
        for ResolvedFile { template, resolved, output, rendering, tags } in &mut self.files {
            if output.is_current(&mut |out| resolved.expand(template, out))? {
                let mut content = DigestingWriter::new(memory, tags);
                expand_into(resolved, template, &mut content)?;
                note(
                    memory,
                    &self.manifest.at(&rendering.output),
                    content,
                    resolved,
                    template,
                    tags,
                )?;
            }
        }

        Ok(())
    }

    /// Writes them: each one's content is on the disk before the first gets its name. Directories that are not there are
    /// made. What was written is remembered.
    pub fn write(
        mut self,
        memory: &OutputRecords,
    ) -> Result<Vec<(PathBuf, OutputChange)>, SetupError> {
        for file in &self.files {
            let path = self.manifest.at(&file.rendering.output);
            if let Some(parent) =
                path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
            {
                fs::create_dir_all(parent)
                    .map_err(|source| io_error("make the directory", parent, source))?;
            }
        }

        let (mut pending, mut contents) = (Vec::new(), Vec::new());
        for ResolvedFile { template, resolved, output, rendering, tags } in &mut self.files {
            let path = self.manifest.at(&rendering.output);
            let mut content = DigestingWriter::new(memory, tags);
            pending.push((
                path,
                output.prepare(&mut |out| resolved.expand(template, &mut content.beside(out)))?,
            ));

            contents.push(content);
        }

        let mut written = Vec::with_capacity(pending.len());
        for (path, content) in pending {
            written.push((path, content.publish()?));
        }

        for (ResolvedFile { template, resolved, tags, .. }, (content, (path, _))) in
            self.files.iter_mut().zip(contents.into_iter().zip(&written))
        {
            note(memory, path, content, resolved, template, tags)?;
        }

        Ok(written)
    }
}

/// An existing output that is not as we wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifiedOutput {
    /// Whether something is remembered of it
    pub origin: Origin,
    /// Variables of a dotenv file that neither the template gives nor we wrote
    pub added: Vec<String>,
    /// Other lines of a dotenv file that may be meant as variables and that the template does not give
    pub lines: Vec<u64>,
    /// Whether `adopt` can take the variables
    pub adoptable: AdoptableOutput,
    /// Why it is not known what a dotenv file has: half a sentence
    pub unread: Option<&'static str>,
}

/// Whether the variables of a dotenv file can be taken into its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptableOutput {
    /// They can
    Yes,
    /// Once this line, counted from 1, is a variable or was removed
    AfterFixing(u64),
    /// What the template gives is no valid dotenv file itself
    No,
}

impl ModifiedOutput {
    /// Returns an output of which nothing else is known.
    fn of(origin: Origin) -> Self {
        Self {
            origin,
            added: Vec::new(),
            lines: Vec::new(),
            adoptable: AdoptableOutput::Yes,
            unread: None,
        }
    }

    /// Searches an output for what its template does not give. `given` is `None` if that is too long.
    fn examine(
        memory: &OutputRecords,
        path: &Path,
        origin: Origin,
        file: Option<fs::File>,
        given: Option<&Contents>,
    ) -> Self {
        let mut foreign = Self::of(origin);
        if !is_dotenv(path) {
            return foreign;
        }

        let Some(file) = file else {
            return Self { unread: Some("cannot be read"), ..foreign };
        };

        let (Some(text), Some(given)) = (whole(file), given) else {
            return Self { unread: Some("is too long to be searched"), ..foreign };
        };

        let found = Contents::of(text.expose());
        let remembered = memory.of(path).map(|found| found.names).unwrap_or_default();
        let AddedVariables { names, lines } = found.added_to(given, &remembered);
        (foreign.added, foreign.lines) = (names, lines);
        foreign.adoptable = match (found.broken(), given.broken()) {
            (None, _) => AdoptableOutput::Yes,
            (Some(line), None) => AdoptableOutput::AfterFixing(line),
            (Some(_), Some(_)) => AdoptableOutput::No,
        };

        foreign
    }

    /// Returns true if something that is no one's but the user's would be lost with the file.
    pub fn would_be_lost(&self) -> bool {
        !self.added.is_empty() || !self.lines.is_empty() || self.unread.is_some()
    }
}

/// Examines one output. Returns `None` if it does not exist, if its content would stay, and if it is exactly what we wrote.
pub fn foreign(
    memory: &OutputRecords,
    path: &Path,
    output: &Output,
    resolved: &Resolved,
    template: &mut Template,
) -> Result<Option<ModifiedOutput>, SetupError> {
    let Some(mut file) = output.existing()? else {
        let found = || ModifiedOutput::examine(memory, path, Origin::Unknown, None, None);
        return Ok(output.exists().then(found));
    };

    let origin = memory.origin(path, &mut file).map_err(|source| io_error("read", path, source))?;
    if origin == Origin::Ours || output.is_current(&mut |out| resolved.expand(template, out))? {
        return Ok(None);
    }

    let given = contents_given(path, resolved, template)?;
    Ok(Some(ModifiedOutput::examine(memory, path, origin, output.existing()?, given.as_ref())))
}

/// The digest of what is written to an output.
pub struct DigestingWriter<'a> {
    memory: &'a OutputRecords,
    has_secrets: bool,
    digest: Option<OutputDigest>,
}

impl<'a> DigestingWriter<'a> {
    /// Starts with nothing. `tags` are the secrets that the template refers to.
    pub fn new(memory: &'a OutputRecords, tags: &[Tag]) -> Self {
        let has_secrets = !tags.is_empty();
        Self { memory, has_secrets, digest: memory.digest(has_secrets) }
    }

    /// Returns a writer that passes everything on to `out`. The digest starts again: content is written once to compare it
    /// and once to keep it.
    pub fn beside<'w>(&'w mut self, out: &'w mut dyn Write) -> impl Write + 'w {
        self.digest = self.memory.digest(self.has_secrets);
        Tee { digest: self.digest.as_mut(), out }
    }
}

impl Write for DigestingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.as_mut().map_or(Ok(bytes.len()), |digest| digest.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Tee<'w> {
    digest: Option<&'w mut OutputDigest>,
    out: &'w mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(bytes)?;
        if let Some(digest) = &mut self.digest {
            digest.write_all(&bytes[..length])?;
        }

        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Remembers an output whose content was written through `content`.
pub fn note(
    memory: &OutputRecords,
    path: &Path,
    content: DigestingWriter<'_>,
    resolved: &Resolved,
    template: &mut Template,
    tags: &[Tag],
) -> Result<(), SetupError> {
    if let Some(digest) = content.digest {
        let given = contents_given(path, resolved, template)?;
        memory.note(path, digest, given.map(|given| given.names()).unwrap_or_default(), tags);
    }

    Ok(())
}

/// Returns what a template gives to a dotenv output; `None` for another file, and if it is too long.
fn contents_given(
    path: &Path,
    resolved: &Resolved,
    template: &mut Template,
) -> Result<Option<Contents>, SetupError> {
    if !is_dotenv(path) {
        return Ok(None);
    }

    Ok(expanded(resolved, template)?.map(|text| Contents::of(text.expose())))
}

/// Reads a file into wiped memory; `None` if it cannot be read or is too long for a dotenv file.
fn whole(mut file: fs::File) -> Option<SecretBytes> {
    let (mut text, mut piece) =
        (SecretBytes::with_capacity(64 * 1024), SecretBytes::zeroed(64 * 1024));
    loop {
        let length = file.read(piece.expose_mut()).ok()?;
        if length == 0 {
            return Some(text);
        }

        text.extend(&piece.expose()[..length]);
        if text.len() > RENDERED {
            return None;
        }
    }
}

fn expand_into(
    resolved: &Resolved,
    template: &mut Template,
    out: &mut dyn Write,
) -> Result<(), SetupError> {
    resolved.expand(template, out).map_err(|error| match error {
        ExpandError::Template(error) => error.into(),
        ExpandError::Output(source) => io_error("render", Path::new(template.name()), source),
    })
}

/// Bytes of a dotenv template that is looked into, and of what it is rendered to: whoever writes a template could ask for
/// any number of large values.
const TEMPLATE: u64 = 1024 * 1024;
const RENDERED: usize = 16 * 1024 * 1024;

/// A template's text; `None` where it cannot be read, or is too long to be a dotenv file's.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(TEMPLATE + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= TEMPLATE).then_some(text)
}

/// Returns true if an output is a dotenv file by its name.
pub fn is_dotenv(output: &Path) -> bool {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    name == ".env" || name.starts_with(".env.") || name.ends_with(".env")
}

/// What a template is rendered to, in memory; `None` where that is too long.
fn expanded(
    resolved: &Resolved,
    template: &mut Template,
) -> Result<Option<SecretBytes>, SetupError> {
    let mut text = BoundedBuffer(SecretBytes::with_capacity(4096));
    match resolved.expand(template, &mut text) {
        Ok(()) => Ok(Some(text.0)),
        Err(ExpandError::Template(error)) => Err(error.into()),
        Err(ExpandError::Output(_)) => Ok(None),
    }
}

/// Takes bytes up to a bound.
struct BoundedBuffer(SecretBytes);

impl Write for BoundedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }

        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses a path whose directory, as far as it exists, lies elsewhere: a link in the tree would lead out of it. Returns the
/// path without links.
fn stays_inside(path: &Path, root: &Path) -> Result<PathBuf, SetupError> {
    let above = path.ancestors().skip(1).find(|above| relative(above).symlink_metadata().is_ok());
    let above = above.unwrap_or(Path::new(""));
    let existing = relative(above);
    let real = fs::canonicalize(existing).map_err(|source| io_error("read", existing, source))?;

    if !real.starts_with(root) {
        return Err(SetupError::Outside(path.to_owned()));
    }

    let whole = path.strip_prefix(above).map_or_else(|_| real.clone(), |rest| real.join(rest));
    if is_in_git_directory(&whole) {
        return Err(TemplateError::UnsafeOutput { path: path.to_owned(), why: IN_GIT }.into());
    }

    // What the outer repository ignores, the inner one may take.
    if real
        .ancestors()
        .take_while(|above| *above != root)
        .any(|above| above.join(".git").symlink_metadata().is_ok())
    {
        return Err(TemplateError::UnsafeOutput {
            path: path.to_owned(),
            why: "lies in a git repository of its own",
        }
        .into());
    }

    Ok(whole)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> SetupError {
    TemplateError::Io { action, name: relative(path).display().to_string(), source }.into()
}
