//! A manifest written for the first time, or added to with everything else in it left as it is.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::manifest::{MANIFEST, Manifest};
use super::tree::Tree;
use crate::dotenv::readers::{Reader, Readers};
use crate::model::{Description, ProjectName, Tag};

/// Endings by which a template is known; without it, it is named as what it becomes.
const ENDINGS: [&str; 3] = ["tmpl", "tpl", "template"];
/// Endings of prose, in which a placeholder is an example.
const PROSE: [&str; 5] = ["md", "markdown", "rst", "adoc", "txt"];

/// What a first manifest is to hold.
pub struct Draft {
    /// The project's name
    pub project: ProjectName,
    /// The secrets that are referred to, and what each is for
    pub secrets: Vec<(Tag, Option<Description>)>,
    /// Templates and what they become
    pub render: Vec<(PathBuf, PathBuf)>,
    /// Files with bare `{{NAME}}` that were left out: they may be another tool's
    pub left_out: Vec<PathBuf>,
}

impl Draft {
    /// What a tree asks for: templates by their names, and every `{{ secrets.tag }}` elsewhere. Of other files a bare
    /// `{{NAME}}` is not taken for a secret, nor is anything in prose.
    pub fn of(tree: &Tree, project: ProjectName) -> Self {
        let mut draft =
            Self { project, secrets: Vec::new(), render: Vec::new(), left_out: Vec::new() };
        let files: BTreeSet<&Path> =
            tree.references.iter().map(|reference| reference.file.as_path()).collect();
        let above: HashSet<&Path> =
            files.iter().flat_map(|file| file.ancestors().skip(1)).collect();
        let (mut known, mut templates, mut outputs) =
            (HashSet::new(), HashSet::new(), HashSet::new());

        for file in &files {
            if let Some(output) =
                output_of(file).filter(|output| could_be_output(file, output, &files, &above))
            {
                // Of two templates that would become one file the first one does.
                templates.insert(*file);
                if outputs.insert(output.clone()) {
                    draft.render.push((file.to_path_buf(), output));
                }
            }
        }

        for reference in &tree.references {
            let is_template = templates.contains(reference.file.as_path());
            let ending =
                reference.file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if !is_template && PROSE.contains(&ending.to_ascii_lowercase().as_str()) {
                continue;
            }

            if !is_template && reference.bare {
                draft.left_out.push(reference.file.clone());
                continue;
            }

            if known.insert(reference.tag.key()) {
                draft.secrets.push((reference.tag.clone(), None));
            }
        }

        draft.left_out.dedup();
        draft
    }

    /// The manifest's text.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "# What this directory needs of `secrets`. Commit it: it never holds a value.\n\
             # `secrets setup` asks for what is missing and renders; `secrets check` tells what is not right.\n",
        );

        let _ = writeln!(text, "project = \"{}\"", self.project);
        for (tag, description) in &self.secrets {
            let _ = write!(text, "\n[secrets.{tag}]\n");
            if let Some(description) = description {
                let _ = writeln!(text, "description = {}", value(description.as_str()));
            }
        }

        for (template, output) in &self.render {
            let (template, output) = (value(in_toml(template)), value(in_toml(output)));
            let _ = write!(text, "\n[[render]]\ntemplate = {template}\noutput = {output}\n");
        }

        text
    }
}

/// False where the manifest would be refused: what is read is not written over, and a name has to be text. `above` are the
/// directories of `files`.
fn could_be_output(
    template: &Path,
    output: &Path,
    files: &BTreeSet<&Path>,
    above: &HashSet<&Path>,
) -> bool {
    let is_ours =
        [MANIFEST, ".gitignore"].iter().any(|name| output.file_name() == Some(name.as_ref()));

    // Another template, or the directory of one.
    let is_taken = above.contains(output) || files.contains(output) && output_of(output).is_some();
    template.to_str().is_some() && !is_ours && !is_taken
}

/// What a template of this name becomes: the name without its ending.
pub fn output_of(template: &Path) -> Option<PathBuf> {
    let ending = template.extension()?.to_str()?;
    let output = template.with_extension("");
    ENDINGS.contains(&ending).then_some(output).filter(|output| output.file_name().is_some())
}

/// Adds secrets and a file to be rendered to a manifest's text; what is there already stays as it is, comments too.
pub fn add(
    manifest: &Manifest,
    text: &str,
    secrets: &[(Tag, Option<Description>)],
    (template, output): (&Path, &Path),
) -> Option<String> {
    let (mark, inside) =
        text.strip_prefix('\u{feff}').map_or(("", text), |inside| ("\u{feff}", inside));
    let mut document: DocumentMut = inside.parse().ok()?;
    let mut implicit = Table::new();

    implicit.set_implicit(true);
    let tables = document.entry("secrets").or_insert(Item::Table(implicit)).as_table_like_mut()?;
    for (tag, description) in
        secrets.iter().filter(|(tag, _)| manifest.declaration(&tag.key()).is_none())
    {
        let mut table = Table::new();
        if let Some(description) = description {
            table.insert("description", value(description.as_str()));
        }

        tables.insert(tag.as_str(), Item::Table(table));
    }

    if manifest
        .render
        .iter()
        .all(|rendering| rendering.template != template && rendering.output != output)
    {
        let render = document.entry("render").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        let mut table = Table::new();
        table.insert("template", value(in_toml(template)));
        table.insert("output", value(in_toml(output)));
        render.as_array_of_tables_mut()?.push(table);
    }

    let added = document.to_string();

    // A file of Windows' lines stays one.
    let added = if inside.contains("\r\n") {
        added.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        added
    };

    Some([mark, &added].concat())
}

/// Writes the readers of an output into a manifest's text, if that output names none. `None`: the text cannot be changed.
pub fn name_readers(text: &str, output: &Path, readers: Readers) -> Option<String> {
    let (mark, inside) =
        text.strip_prefix('\u{feff}').map_or(("", text), |inside| ("\u{feff}", inside));
    let mut document: DocumentMut = inside.parse().ok()?;
    let path = in_toml(output);
    let tables = document.get_mut("render")?.as_array_of_tables_mut()?;
    let is_it = |table: &&mut Table| table.get("output").and_then(Item::as_str) == Some(&path);
    let table = tables.iter_mut().find(is_it)?;

    if !table.contains_key("readers") {
        let names: Array = readers.iter().map(Reader::name).collect();
        table.insert("readers", value(names));
    }

    let named = document.to_string();
    let named = if inside.contains("\r\n") {
        named.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        named
    };

    Some([mark, &named].concat())
}

fn in_toml(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
