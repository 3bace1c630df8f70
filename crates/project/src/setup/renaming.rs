//! Writes another tag wherever a project's files name a secret. It changes only the bytes of the tag.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use secrets_core::model::{SecretBytes, Tag, TagKey};

use super::manifest::places::{PlaceKind, places};
use super::manifest::{MANIFEST, Manifest, ManifestError};
use super::tree::{Reference, ReferenceKind, Tree, kind_of};
use crate::template::grammar::{Grammar, NAMESPACE};
use crate::template::{Event, ScanDetails, ScanError, scan};
use crate::variables::name_of;

/// The maximum size of a file that is rewritten. It is held in memory twice.
const MAX_SIZE: u64 = 256 << 20;

/// The files in which a tag is replaced, and the places that stay.
pub struct Renaming {
    pub files: Vec<RenamedFile>,
    /// Places that now name the new tag
    pub renamed: Vec<Reference>,
    /// Bare placeholders outside of templates, which may be those of another tool
    pub left: Vec<Reference>,
}

/// A file with a new text.
pub struct RenamedFile {
    /// Relative to the working directory
    pub path: PathBuf,
    /// Its text before
    pub before: SecretBytes,
    pub after: SecretBytes,
}

/// Why references cannot be rewritten. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RenamingError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is larger than {} MiB", path.display(), MAX_SIZE >> 20)]
    TooLarge { path: PathBuf },
    #[error("`{}` leads out of the directory of `{MANIFEST}`", path.display())]
    Outside { path: PathBuf },
    #[error("the placeholder at {}:{}:{} has no form for the tag `{tag}`", at.file.display(), at.position.line, at.position.column)]
    NoForm { at: Box<Reference>, tag: Tag },
    #[error("the manifest would be invalid: {0}")]
    Manifest(ManifestError),
    #[error("`{}` has an escaped or unusual reference that cannot be rewritten", path.display())]
    Unusual { path: PathBuf },
}

impl Renaming {
    /// Reads the files of the references to `from`, and writes `to` into their texts. The tree was
    /// searched with this manifest.
    pub fn plan(
        tree: &Tree,
        manifest: Option<&Manifest>,
        from: &TagKey,
        to: &Tag,
    ) -> Result<Self, RenamingError> {
        let mut renaming = Self { files: Vec::new(), renamed: Vec::new(), left: Vec::new() };
        let own = manifest.map(Manifest::path);
        let found: Vec<&Reference> =
            tree.references.iter().filter(|found| found.tag.key() == *from).collect();

        for of_file in found.chunk_by(|one, next| one.file == next.file) {
            let path = &of_file[0].file;
            let templates = manifest.iter().flat_map(|manifest| {
                let is_here = |path: &Path| manifest.at(path) == *of_file[0].file;
                let here = manifest.render.iter().filter(move |it| is_here(&it.template));
                here.map(|entry| entry.grammar.clone()).collect::<Vec<_>>()
            });
            let grammars: Vec<Grammar> = templates.collect();
            let is_own = own.as_ref() == Some(path);
            let (renamed, left): (Vec<&Reference>, Vec<&Reference>) =
                of_file.iter().partition(|found| {
                    is_own || !grammars.is_empty() || found.kind != ReferenceKind::Bare
                });
            renaming.left.extend(left.into_iter().cloned());
            if renamed.is_empty() {
                continue;
            }

            if let Some(at) = renamed.iter().find(|found| !has_form(found, to)) {
                return Err(RenamingError::NoForm { at: Box::new((*at).clone()), tag: to.clone() });
            }

            let before = read(path, manifest)?;
            let spans = if is_own {
                let text = std::str::from_utf8(before.expose()).unwrap_or_default();
                manifest_spans(text, from)
            } else if grammars.is_empty() {
                spans(before.expose(), &Grammar { namespaced: true, ..Grammar::default() }, from)
            } else {
                let all = grammars.iter().flat_map(|it| spans(before.expose(), it, from));
                all.collect()
            };
            let after = replaced(before.expose(), spans, to);
            let file = RenamedFile { path: path.clone(), before, after };
            if is_own {
                check_manifest(&file, from, to)?;
            }

            renaming.files.push(file);
            renaming.renamed.extend(renamed.into_iter().cloned());
        }

        Ok(renaming)
    }
}

/// Returns true if a place of this kind can name the tag. A bare placeholder is a variable's name.
fn has_form(reference: &Reference, tag: &Tag) -> bool {
    let starts_with_digit = tag.as_str().starts_with(|c: char| c.is_ascii_digit());
    reference.kind != ReferenceKind::Bare || !starts_with_digit
}

/// Reads a file of the tree. The target of a link must be in the tree, too, because the author of the
/// files chose it.
fn read(path: &Path, manifest: Option<&Manifest>) -> Result<SecretBytes, RenamingError> {
    let failed = |source| RenamingError::Read { path: path.to_owned(), source };
    let directory = manifest.map_or(Path::new("."), |manifest| &manifest.directory);
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let root = directory.canonicalize().map_err(failed)?;
    if !path.canonicalize().map_err(failed)?.starts_with(&root) {
        return Err(RenamingError::Outside { path: path.to_owned() });
    }

    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > MAX_SIZE {
        return Err(RenamingError::TooLarge { path: path.to_owned() });
    }

    // Room for one more byte shows the end of the file without growing, which would leave a copy.
    let mut text = SecretBytes::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let mut buffer = zeroize::Zeroizing::new([0; 8 * 1024]);
    loop {
        match file.read(&mut *buffer).map_err(failed)? {
            0 => return Ok(text),
            n if (text.expose().len() + n) as u64 > MAX_SIZE => {
                return Err(RenamingError::TooLarge { path: path.to_owned() });
            }
            n => text.extend(&buffer[..n]),
        }
    }
}

/// Finds the tags of the placeholders for a secret.
fn spans(text: &[u8], grammar: &Grammar, from: &TagKey) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let done: Result<(), ScanError<Infallible>> =
        scan(&mut &text[..], grammar, text.len() + 1, ScanDetails::NONE, |event| {
            if let Event::Placeholder(placeholder, raw, at) = event
                && placeholder.tag.key() == *from
            {
                let after = match kind_of(raw) {
                    ReferenceKind::Bare => 0,
                    _ => memchr::memmem::find(raw, NAMESPACE).map_or(0, |at| at + NAMESPACE.len()),
                };
                let tag = placeholder.tag.as_str().as_bytes();
                let within = memchr::memmem::find(&raw[after..], tag);
                if let (Some(within), Ok(at)) = (within, usize::try_from(at.offset)) {
                    let start = at + after + within;
                    found.push(start..start + tag.len());
                }
            }

            Ok(())
        });
    debug_assert!(done.is_ok(), "a text in memory can be read");
    found
}

/// Finds the tags of a secret in a manifest.
fn manifest_spans(text: &str, from: &TagKey) -> Vec<Range<usize>> {
    let is_same = |text: &str| Tag::parse(text).is_ok_and(|tag| tag.key() == *from);
    let mut found = Vec::new();
    for place in places(text) {
        match place.kind {
            PlaceKind::Template => {
                let inside = spans(&text.as_bytes()[place.span.clone()], &Grammar::default(), from);
                let start = place.span.start;
                found.extend(inside.into_iter().map(|span| span.start + start..span.end + start));
            }
            PlaceKind::Declaration | PlaceKind::Rule if is_same(&place.text) => {
                let raw = &text[place.span.clone()];
                let quotes = usize::from(raw.starts_with(['"', '\'']));
                found.push(place.span.start + quotes..place.span.end - quotes);
            }
            PlaceKind::Declaration | PlaceKind::Rule => {}
        }
    }

    found
}

/// Writes a tag into spans, each in the spelling of what stands there.
fn replaced(text: &[u8], mut spans: Vec<Range<usize>>, to: &Tag) -> SecretBytes {
    spans.sort_by_key(|span| span.start);
    spans.dedup();
    let growth = spans.len() * to.as_str().len();
    let mut out = SecretBytes::with_capacity(text.len() + growth);
    let mut copied = 0;
    for span in spans {
        out.extend(&text[copied..span.start]);
        out.extend(spelled(&text[span.clone()], to).as_bytes());
        copied = span.end;
    }

    out.extend(&text[copied..]);
    out
}

/// Spells a tag as another one is spelled: in capitals, or with `_` instead of `-`.
fn spelled(before: &[u8], to: &Tag) -> String {
    let is_name = before.starts_with(b"_") || before.iter().any(u8::is_ascii_uppercase);
    if is_name && !before.iter().any(u8::is_ascii_lowercase) && !before.contains(&b'-') {
        return name_of(to);
    }

    match (before.contains(&b'_'), before.contains(&b'-')) {
        (true, false) => to.as_str().replace('-', "_"),
        _ => to.as_str().to_owned(),
    }
}

/// Compares a manifest with its new text: nothing but the tag may differ.
fn check_manifest(file: &RenamedFile, from: &TagKey, to: &Tag) -> Result<(), RenamingError> {
    let unusual = || RenamingError::Unusual { path: file.path.clone() };
    let parsed = |bytes: &SecretBytes| {
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| unusual())?;
        Manifest::parse(Path::new(""), text).map_err(RenamingError::Manifest)
    };
    let (before, after) = (parsed(&file.before)?, parsed(&file.after)?);
    let tags = |manifest: &Manifest, is_before: bool| -> Vec<TagKey> {
        let rules = manifest.proxy.iter().flat_map(|proxy| &proxy.rules);
        let of_rules = rules.flat_map(|rule| [Some(&rule.secret), rule.key_id.as_ref()]).flatten();
        let declared = manifest.secrets.iter().map(|declaration| &declaration.tag);
        let key = |tag: &Tag| if is_before && tag.key() == *from { to.key() } else { tag.key() };
        declared.chain(of_rules).map(key).collect()
    };
    let texts = |manifest: &Manifest| -> Vec<Vec<u8>> {
        let of_environments = manifest.environments.iter().flat_map(|it| &it.variables);
        let variables = manifest.run.iter().flatten().chain(of_environments);
        variables.map(|variable| variable.text.clone().into_bytes()).collect()
    };
    let expected: Vec<Vec<u8>> = texts(&before)
        .iter()
        .map(|text| replaced(text, spans(text, &Grammar::default(), from), to).expose().to_vec())
        .collect();

    if tags(&before, true) == tags(&after, false) && expected == texts(&after) {
        Ok(())
    } else {
        Err(unusual())
    }
}
