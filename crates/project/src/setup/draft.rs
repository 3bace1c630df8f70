//! Writes a new manifest, or adds to an existing one without changing anything else in it.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use secrets_core::crypto::witness::Witness;
use secrets_core::model::{Description, ProjectName, Tag};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::manifest::{EnvironmentName, MANIFEST, Manifest};
use super::tree::{ReferenceKind, Tree};
use crate::dotenv::readers::{Reader, Readers};

/// Extensions of templates. The output's name is the template's name without the extension.
const EXTENSIONS: [&str; 3] = ["tmpl", "tpl", "template"];
/// Extensions of prose files, in which a placeholder is only an example.
const PROSE: [&str; 5] = ["md", "markdown", "rst", "adoc", "txt"];

/// The contents of a new manifest.
pub struct Draft {
    pub project: ProjectName,
    /// The secrets that are referred to, and the description of each
    pub secrets: Vec<(Tag, Option<Description>)>,
    /// Templates and their outputs
    pub render: Vec<(PathBuf, PathBuf)>,
    /// Files with a bare `{{NAME}}` that were left out, because they may belong to another tool
    pub left_out: Vec<PathBuf>,
}

impl Draft {
    /// Collects what a tree needs. It takes templates by their names, and every `{{ secrets.tag }}`
    /// from other files. A bare `{{NAME}}` in another file is not taken for a secret, and prose
    /// files are ignored.
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
                // If two templates have the same output, the first one gets it.
                templates.insert(*file);
                if outputs.insert(output.clone()) {
                    draft.render.push((file.to_path_buf(), output));
                }
            }
        }

        for reference in &tree.references {
            let is_template = templates.contains(reference.file.as_path());
            let extension =
                reference.file.extension().and_then(|name| name.to_str()).unwrap_or_default();
            if !is_template && PROSE.contains(&extension.to_ascii_lowercase().as_str()) {
                continue;
            }

            if !is_template && reference.kind == ReferenceKind::Bare {
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

    pub fn text(&self) -> String {
        let mut text = String::from(
            "# The secrets that this directory needs. Commit this file: it never holds a value.\n\
             # `secrets setup` asks for missing values and renders; \
             `secrets check` reports problems.\n",
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

/// Returns false if the manifest would be refused: an output must not replace a file that is read,
/// and paths must be valid UTF-8. `above` are the directories of `files`.
fn could_be_output(
    template: &Path,
    output: &Path,
    files: &BTreeSet<&Path>,
    above: &HashSet<&Path>,
) -> bool {
    let is_reserved =
        [MANIFEST, ".gitignore"].iter().any(|name| output.file_name() == Some(name.as_ref()));

    // Another template has this path, or is in a directory of this path.
    let is_taken = above.contains(output) || files.contains(output) && output_of(output).is_some();
    template.to_str().is_some() && !is_reserved && !is_taken
}

/// Returns the output of a template with this name: the name without its extension.
pub fn output_of(template: &Path) -> Option<PathBuf> {
    let extension = template.extension()?.to_str()?;
    let output = template.with_extension("");
    EXTENSIONS.contains(&extension).then_some(output).filter(|output| output.file_name().is_some())
}

/// Adds secrets and a file to render to a manifest's text. The existing text stays as it is,
/// including its comments.
pub fn add(
    manifest: &Manifest,
    text: &str,
    secrets: &[(Tag, Option<Description>)],
    (template, output): (&Path, &Path),
) -> Option<String> {
    edited(text, |document| {
        let mut implicit = Table::new();
        implicit.set_implicit(true);
        let tables =
            document.entry("secrets").or_insert(Item::Table(implicit)).as_table_like_mut()?;
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
            let render =
                document.entry("render").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            let mut table = Table::new();
            table.insert("template", value(in_toml(template)));
            table.insert("output", value(in_toml(output)));
            render.as_array_of_tables_mut()?.push(table);
        }

        Some(())
    })
}

/// Changes a manifest's text. Comments, a byte order mark and CRLF line endings stay as they are.
/// Returns `None` if the text cannot be changed.
fn edited(text: &str, edit: impl FnOnce(&mut DocumentMut) -> Option<()>) -> Option<String> {
    let (bom, body) = text.strip_prefix('\u{feff}').map_or(("", text), |body| ("\u{feff}", body));
    let mut document: DocumentMut = body.parse().ok()?;
    edit(&mut document)?;
    let edited = document.to_string();
    let edited = if body.contains("\r\n") {
        edited.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        edited
    };

    Some([bom, &edited].concat())
}

/// Sets the witness of a manifest's project, or of an environment's. Returns `None` if the text cannot
/// be changed.
pub fn set_witness(
    text: &str,
    environment: Option<&EnvironmentName>,
    witness: &Witness,
) -> Option<String> {
    edited(text, |document| {
        let witness = value(witness.to_string());
        match environment {
            None => {
                document.insert("witness", witness);
            }
            Some(name) => {
                let tables = document.get_mut("environments")?.as_table_like_mut()?;
                let table = tables.get_mut(name.as_str())?.as_table_like_mut()?;
                table.insert("witness", witness);
            }
        }

        Some(())
    })
}

/// Adds the readers of an output to a manifest's text, unless that output already names some.
/// Returns `None` if the text cannot be changed.
pub fn name_readers(text: &str, output: &Path, readers: Readers) -> Option<String> {
    edited(text, |document| {
        let path = in_toml(output);
        let tables = document.get_mut("render")?.as_array_of_tables_mut()?;
        let is_wanted =
            |table: &&mut Table| table.get("output").and_then(Item::as_str) == Some(&path);
        let table = tables.iter_mut().find(is_wanted)?;

        if !table.contains_key("readers") {
            let names: Array = readers.iter().map(Reader::name).collect();
            table.insert("readers", value(names));
        }

        Some(())
    })
}

fn in_toml(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
