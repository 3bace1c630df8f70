//! Finds every reference in a project's tree, with file, line and column. It only reads files and
//! does not use a vault. It skips files that git ignores, `.git` and binary files, and follows no
//! link.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ignore::{DirEntry, WalkState};
use memchr::memmem::Finder;
use secrets_core::model::Tag;
use zeroize::Zeroizing;

use super::manifest::{MANIFEST, Manifest, Variable};
use super::relative;
use crate::position::Position;
use crate::scan::{Walk, is_directory_below};
use crate::template::filter::Filter;
use crate::template::grammar::{Grammar, NAMESPACE};
use crate::template::{Event, ScanDetails, ScanError, WINDOW, scan};

/// A file with a NUL byte within this many bytes is binary, as in git.
const HEAD: usize = 8000;
/// Files of up to this many bytes are read at once.
const SMALL: usize = 1024 * 1024;

/// The maximum number of references. It bounds memory, whatever the tree contains.
const MAX_COUNT: usize = 200_000;

/// A place that names a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The file, relative to the working directory
    pub file: PathBuf,
    pub position: Position,
    /// The secret's tag, as spelled there
    pub tag: Tag,
    pub filters: Vec<Filter>,
    pub kind: ReferenceKind,
}

impl Reference {
    /// Returns true if the value is put in this place.
    pub fn is_placeholder(&self) -> bool {
        matches!(self.kind, ReferenceKind::Placeholder | ReferenceKind::Bare)
    }
}

/// How a place names a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A placeholder of the form `{{ secrets.tag }}`
    Placeholder,
    /// A placeholder of the form `{{NAME}}`, which other tools use too
    Bare,
    /// A `[secrets.TAG]` in the manifest
    Declaration,
    /// A `[[proxy.rule]]` in the manifest
    Rule,
}

/// The result of searching a tree.
#[derive(Default)]
pub struct Tree {
    /// The references, sorted by file and position
    pub references: Vec<Reference>,
    /// The number of files that were searched
    pub files: u64,
    /// Messages about what could not be searched
    pub unread: Vec<String>,
}

impl Tree {
    /// Searches the tree below `root`. If there is a manifest, `root` is its directory, and each of
    /// its templates is searched with the template's own syntax. Several threads call `searched`
    /// from time to time with the number of files so far.
    pub fn search(
        root: &Path,
        manifest: Option<&Manifest>,
        searched: &(dyn Fn(u64) + Sync),
    ) -> Self {
        let mut grammars: HashMap<PathBuf, Vec<&Grammar>> = HashMap::new();
        for rendering in manifest.iter().flat_map(|manifest| &manifest.render) {
            grammars.entry(root.join(&rendering.template)).or_default().push(&rendering.grammar);
        }

        let default_grammar = Grammar::default();
        let (own, files) = (root.join(MANIFEST), AtomicU64::new(0));
        let tree = Mutex::new(Self::default());

        // Reading from a mounted file system such as `/proc` might never return.
        let walk = Walk { root: relative(root), everything: false, one_file_system: true };
        walk.run(is_of_this_project, || {
            let mut search = TreeSearch::new();
            let (grammars, default_grammar) = (&grammars, &default_grammar);
            let (own, files, tree) = (&own, &files, &tree);
            Box::new(move |entry| {
                let found = match entry {
                    Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                        let path = entry.path().strip_prefix("./").unwrap_or(entry.path());

                        // Templates are searched below, once for each entry that uses them.
                        if grammars.contains_key(path) {
                            return WalkState::Continue;
                        }

                        let number = files.fetch_add(1, Ordering::Relaxed) + 1;
                        if number.is_multiple_of(256) {
                            searched(number);
                        }

                        // The manifest's references are added below.
                        if path == own {
                            Ok(Vec::new())
                        } else {
                            search.file(path, default_grammar).map_err(|why| unread(path, &why))
                        }
                    }
                    Ok(_) => Ok(Vec::new()),
                    Err(error) => Err(error.to_string()),
                };

                let has_room = tree.lock().is_ok_and(|mut tree| tree.take(found));
                if has_room { WalkState::Continue } else { WalkState::Quit }
            })
        });

        let mut tree = tree.into_inner().unwrap_or_default();
        tree.files = files.into_inner();

        // A template counts even if git ignores it.
        let mut search = TreeSearch::new();
        for (path, grammars) in &grammars {
            for grammar in grammars {
                tree.file(&mut search, path, grammar);
            }
        }

        if let Some(manifest) = manifest {
            let environments = &manifest.base().environments;
            let variables = environments.iter().flat_map(|environment| &environment.variables);
            let all = manifest.base().run.iter().flatten().chain(variables);
            tree.references.extend(manifest_references(manifest, all));
            tree.references.extend(rules(manifest));
        }

        tree.references.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        tree.references.dedup();
        tree.unread.sort();
        tree.unread.dedup();

        tree
    }

    /// Adds the references that were found in one file, or the reason why it was not searched.
    /// Returns false if there are too many references.
    fn take(&mut self, found: Result<Vec<Reference>, String>) -> bool {
        match found {
            Ok(references) if self.references.len() + references.len() > MAX_COUNT => {
                self.unread.push(format!("the tree has more than {MAX_COUNT} references"));
                return false;
            }
            Ok(references) => self.references.extend(references),
            Err(why) => self.unread.push(why),
        }

        true
    }

    /// Searches only the manifest, in its environment, and its templates.
    pub fn of(manifest: &Manifest) -> Self {
        let mut tree = Self::default();
        let mut search = TreeSearch::new();
        for rendering in &manifest.render {
            tree.file(&mut search, &manifest.at(&rendering.template), &rendering.grammar);
        }

        tree.references.extend(manifest_references(manifest, manifest.run.iter().flatten()));
        tree
    }

    fn file(&mut self, search: &mut TreeSearch, path: &Path, grammar: &Grammar) {
        self.files += 1;

        // Opening anything but a regular file could block.
        let found = if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            Err(io::Error::other("it is not a regular file"))
        } else {
            search.file(path, grammar)
        };

        self.take(found.map_err(|why| unread(path, &why)));
    }
}

/// Returns false for a directory that has its own manifest, because it belongs to another project.
fn is_of_this_project(entry: &DirEntry) -> bool {
    !(is_directory_below(entry) && entry.path().join(MANIFEST).is_file())
}

fn unread(path: &Path, why: &io::Error) -> String {
    format!("cannot read `{}`: {why}", path.display())
}

/// Returns the references in the rules of the proxy.
fn rules(manifest: &Manifest) -> Vec<Reference> {
    let rules = manifest.proxy.iter().flat_map(|proxy| &proxy.rules);
    let tags = rules.flat_map(|rule| {
        [Some((&rule.secret, rule.secret_at)), rule.key_id.as_ref().zip(rule.key_id_at)]
    });
    let reference = |(tag, position): (&Tag, Position)| Reference {
        file: manifest.path(),
        position,
        tag: tag.clone(),
        filters: Vec::new(),
        kind: ReferenceKind::Rule,
    };
    tags.flatten().map(reference).collect()
}

/// Returns the declarations of the manifest, and the placeholders in variables of `[run.env]`.
fn manifest_references<'m>(
    manifest: &'m Manifest,
    variables: impl Iterator<Item = &'m Variable>,
) -> Vec<Reference> {
    let file = manifest.path();
    let declared = manifest.secrets.iter().map(|declaration| Reference {
        file: file.clone(),
        position: declaration.position,
        tag: declaration.tag.clone(),
        filters: Vec::new(),
        kind: ReferenceKind::Declaration,
    });

    let mut references: Vec<Reference> = declared.collect();
    for variable in variables {
        let grammar = Grammar::default();
        let mut text = variable.text.as_bytes();
        let (mut column, mut line) = (variable.position.column + 1, variable.position.line);

        if variable.text.contains('\n') || variable.span.len() != variable.text.len() + 2 {
            // The text has escapes or several lines, so the exact position of a placeholder is not
            // known.
            (column, line) = (variable.position.column, line);
        }

        let simple = column != variable.position.column;
        let done: Result<(), ScanError<std::convert::Infallible>> =
            scan(&mut text, &grammar, WINDOW, ScanDetails::LINES, |event| {
                if let Event::Placeholder(placeholder, raw, at) = event {
                    let column = if simple { column + at.offset } else { column };
                    references.push(Reference {
                        file: file.clone(),
                        position: Position { line, column },
                        tag: placeholder.tag.clone(),
                        filters: placeholder.filters.clone(),
                        kind: kind_of(raw),
                    });
                }

                Ok(())
            });

        debug_assert!(done.is_ok(), "a text in memory can be read");
    }

    references
}

struct TreeSearch {
    /// The content of a file may be a secret, so the buffer is wiped. It never grows, because that
    /// would leave a copy behind.
    buffer: Zeroizing<Vec<u8>>,
    open: Finder<'static>,
}

impl TreeSearch {
    fn new() -> Self {
        Self {
            buffer: Zeroizing::new(Vec::with_capacity(SMALL)),
            open: Finder::new(Grammar::default().open()).into_owned(),
        }
    }

    fn file(&mut self, path: &Path, grammar: &Grammar) -> io::Result<Vec<Reference>> {
        let mut file = File::open(path)?;
        self.buffer.clear();
        (&mut file).take(SMALL as u64).read_to_end(&mut self.buffer)?;
        if memchr::memchr(0, &self.buffer[..self.buffer.len().min(HEAD)]).is_some() {
            return Ok(Vec::new());
        }

        if self.buffer.len() < SMALL {
            let is_default = self.open.needle() == grammar.open();
            if is_default && self.open.find(&self.buffer).is_none() {
                return Ok(Vec::new());
            }

            return references(path, grammar, &mut &self.buffer[..], self.buffer.len() + 1);
        }

        references(path, grammar, &mut (&self.buffer[..]).chain(file), WINDOW)
    }
}

fn references(
    path: &Path,
    grammar: &Grammar,
    text: &mut dyn Read,
    window: usize,
) -> io::Result<Vec<Reference>> {
    let mut references = Vec::new();
    let done: Result<(), ScanError<std::convert::Infallible>> =
        scan(text, grammar, window, ScanDetails::LINES, |event| {
            if let (Event::Placeholder(placeholder, raw, at), true) =
                (event, references.len() <= MAX_COUNT)
            {
                references.push(Reference {
                    file: path.to_owned(),
                    position: at.position,
                    tag: placeholder.tag.clone(),
                    filters: placeholder.filters.clone(),
                    kind: kind_of(raw),
                });
            }

            Ok(())
        });

    match done {
        Err(ScanError::Read(error)) => Err(error),
        _ => Ok(references),
    }
}

pub(super) fn kind_of(placeholder: &[u8]) -> ReferenceKind {
    match memchr::memmem::find(placeholder, NAMESPACE) {
        Some(_) => ReferenceKind::Placeholder,
        None => ReferenceKind::Bare,
    }
}
