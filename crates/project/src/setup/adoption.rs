//! Moves new variables of an output into its template. Each keeps its position in the file and its
//! comment.

use std::collections::HashMap;
use std::ops::Range;

use secrets_core::model::SecretBytes;
use secrets_mask::Needles;

use super::migration::{KeptNames, Migration, MigrationError, MigrationOptions};
use crate::dotenv::{self, BOM, Entry};
use crate::template::grammar::Grammar;

/// A block of lines that holds new variables, and the place in the template where it belongs.
struct VariableBlock {
    lines: Range<usize>,
    at: usize,
    /// The number of new variables in the block
    entries: usize,
}

/// A template with the new variables of its output.
pub struct Adoption {
    blocks: Vec<VariableBlock>,
    before: Vec<u8>,
    /// The new lines alone, migrated as if they were a dotenv file
    pub added: Migration,
    /// The text of that file
    lines: SecretBytes,
    /// The number of newlines in the file before each block
    before_blocks: Vec<u64>,
}

impl Adoption {
    /// Moves the variables `names` of a dotenv file into its template. Those in `keep` keep their
    /// values. Placeholders are written for the readers of `grammar`, which is the template's.
    ///
    /// # Errors
    /// Returns all problems of the new lines at once, with their line numbers in the file.
    pub fn of(
        file: &[u8],
        template: &[u8],
        names: &[String],
        keep: &[String],
        grammar: &Grammar,
    ) -> Result<Self, MigrationError> {
        let blocks = blocks(file, template, names)?;
        let mut lines = SecretBytes::with_capacity(file.len() + 2);
        for block in &blocks {
            lines.extend(&file[block.lines.clone()]);
            if !lines.expose().ends_with(b"\n") {
                lines.extend(b"\n");
            }
        }

        let plain: KeptNames = keep.iter().map(|name| (name.clone(), "as requested")).collect();
        let (readers, namespaced) = (grammar.readers, grammar.namespaced);
        let wanted =
            MigrationOptions { plain: &plain, example: false, readers, namespaced, is_part: true };
        let before_blocks: Vec<u64> =
            blocks.iter().map(|block| newlines(&file[..block.lines.start])).collect();

        let added = Migration::of(lines.expose(), wanted)
            .map_err(|error| in_file(error, &blocks, &before_blocks, lines.expose()))?;
        let ends_with_newline = file.ends_with(b"\n");
        let mut adoption = Self { blocks, before: template.to_vec(), added, lines, before_blocks };

        let is_last = |block: &VariableBlock| block.lines.end == file.len();
        if !ends_with_newline && adoption.blocks.last().is_some_and(is_last) {
            // The file ends with a new variable and without a newline, so the template does too.
            adoption.added.template.pop();
        }

        Ok(adoption)
    }

    /// Searches the new lines for values that are already in the vault.
    ///
    /// # Errors
    /// Returns the lines of the file that would put such a value into the template.
    pub fn find_stored(&mut self, stored: &Needles) -> Result<(), MigrationError> {
        let Self { blocks, before_blocks, lines, added, .. } = self;
        let found = added.find_stored(lines.expose(), stored);
        found.map_err(|error| in_file(error, blocks, before_blocks, lines.expose()))
    }

    pub fn template(&self) -> Vec<u8> {
        let mut pieces: Vec<(usize, &[u8])> = Vec::new();
        let text = &self.added.template[..];
        let ends: Vec<usize> = dotenv::parse(text)
            .unwrap_or_default()
            .iter()
            .map(|e| line_end(text, e.span.end))
            .collect();

        let (mut from, mut entries) = (0, 0);
        for (number, block) in self.blocks.iter().enumerate() {
            entries += block.entries;
            let is_last = number + 1 == self.blocks.len();
            let end = if is_last {
                text.len()
            } else {
                ends.get(entries.saturating_sub(1)).copied().unwrap_or(from)
            };

            pieces.push((block.at, &text[from..end]));
            from = end;
        }

        pieces.sort_by_key(|(at, _)| *at);

        let (mut template, mut from) = (Vec::new(), 0);
        for (at, piece) in pieces {
            template.extend_from_slice(&self.before[from..at]);
            start_line(&mut template);
            template.extend_from_slice(piece);
            from = at;
        }

        if from < self.before.len() {
            start_line(&mut template);
        }

        template.extend_from_slice(&self.before[from..]);
        template
    }
}

fn newlines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Converts the line numbers of problems to those of the file. `lines` is the text of all blocks,
/// and `before` has the number of newlines in the file before each block.
fn in_file(
    error: MigrationError,
    blocks: &[VariableBlock],
    before: &[u64],
    lines: &[u8],
) -> MigrationError {
    let MigrationError::Problems(mut problems) = error else { return error };

    // The line at which each block starts, counted within the text of all blocks.
    let (mut starts, mut at) = (Vec::new(), 0);
    for block in blocks {
        starts.push(newlines(&lines[..at]));
        at = line_end(lines, (at + block.lines.len()).saturating_sub(1).min(lines.len()));
    }

    for problem in &mut problems {
        let block = starts.partition_point(|start| *start < problem.line).saturating_sub(1);
        if let (Some(start), Some(before)) = (starts.get(block), before.get(block)) {
            problem.line = problem.line - start + before;
        }
    }

    MigrationError::Problems(problems)
}

fn start_line(template: &mut Vec<u8>) {
    if !template.is_empty() && template != BOM && !template.ends_with(b"\n") {
        template.push(b'\n');
    }
}

/// Finds the blocks of new variables. A block belongs after the variable that precedes it in the
/// file. Lines in between that the template also has stay where they are.
fn blocks(
    file: &[u8],
    template: &[u8],
    names: &[String],
) -> Result<Vec<VariableBlock>, MigrationError> {
    let known: Option<Vec<Entry>> = dotenv::parse(template).ok();
    let ends: HashMap<&str, usize> = known
        .iter()
        .flatten()
        .map(|entry| (entry.name.as_str(), line_end(template, entry.span.end)))
        .collect();

    // A template that is not a dotenv file gets the new lines at its end.
    let start = if template.starts_with(BOM) { BOM.len() } else { 0 };
    let mut at = if known.is_some() { start } else { template.len() };

    let mut blocks: Vec<VariableBlock> = Vec::new();
    let mut from = if file.starts_with(BOM) { BOM.len() } else { 0 };
    let mut is_adjacent = false;

    for entry in dotenv::parse(file)? {
        let end = line_end(file, entry.span.end);
        if !names.contains(&entry.name) {
            at = ends.get(entry.name.as_str()).copied().unwrap_or(at);
            (from, is_adjacent) = (end, false);
            continue;
        }

        match blocks.last_mut().filter(|_| is_adjacent) {
            Some(block) => {
                block.lines.end = end;
                block.entries += 1;
            }
            None => {
                let same = common_lines(&file[from..entry.whole.start], &template[at..]);
                at += same;
                blocks.push(VariableBlock { lines: from + same..end, at, entries: 1 });
            }
        }

        (from, is_adjacent) = (end, true);
    }

    Ok(blocks)
}

/// Returns the end of the line that contains `at`, after its newline.
fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |newline| at + newline + 1)
}

/// Returns the length of the lines that both texts begin with. Only lines with a newline count.
fn common_lines(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.split_inclusive(|b| *b == b'\n').zip(other.split_inclusive(|b| *b == b'\n'));
    pairs.take_while(|(a, b)| a == b && a.ends_with(b"\n")).map(|(line, _)| line.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopted(file: &str, template: &str, names: &[&str], keep: &[&str]) -> String {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let adoption = Adoption::of(
            file.as_bytes(),
            template.as_bytes(),
            &own(names),
            &own(keep),
            &Grammar::default(),
        )
        .ok()
        .unwrap();

        String::from_utf8(adoption.template()).unwrap()
    }

    #[test]
    fn new_variables_keep_their_position_in_the_file() {
        let template = "# ours\nA={{ secrets.A }}\n\n# about B\nB={{ secrets.B }}\n";
        for (file, expected) in [
            (
                "# ours\nA=1\n\n# about B\nB=2\n\n# new\nNEW=3\n",
                "# ours\nA={{ secrets.A }}\n\n# about B\nB={{ secrets.B }}\n\n# new\nNEW={{ secrets.NEW | dotenv }}\n",
            ),
            (
                "# ours\nA=1\nNEW=3\nKEPT=4\n\n# about B\nB=2\n",
                "# ours\nA={{ secrets.A }}\nNEW={{ secrets.NEW | dotenv }}\nKEPT=4\n\n# about B\nB={{ secrets.B }}\n",
            ),
            (
                "# ours\nNEW=3\nA=1\n\n# about B\nB=2\nKEPT=4",
                "# ours\nNEW={{ secrets.NEW | dotenv }}\nA={{ secrets.A }}\n\n# about B\nB={{ secrets.B }}\nKEPT=4",
            ),
            (
                "B=2\nNEW='a b'\nA=1\n",
                "# ours\nA={{ secrets.A }}\n\n# about B\nB={{ secrets.B }}\nNEW={{ secrets.NEW | dotenv }}\n",
            ),
        ] {
            let names: Vec<&str> =
                ["NEW", "KEPT"].into_iter().filter(|name| file.contains(name)).collect();
            let kept: Vec<&str> = names.iter().copied().filter(|name| *name == "KEPT").collect();
            assert_eq!(adopted(file, template, &names, &kept), expected, "{file}");
        }

        // A template that is not a dotenv file, and one without a newline at its end.
        assert_eq!(
            adopted("X=1\nNEW=2\n", "{{ secrets.block }}\n", &["NEW"], &[]),
            "{{ secrets.block }}\nNEW={{ secrets.NEW | dotenv }}\n"
        );

        assert_eq!(
            adopted("A=1\nNEW=2\n", "A={{ secrets.A }}", &["NEW"], &[]),
            "A={{ secrets.A }}\nNEW={{ secrets.NEW | dotenv }}\n"
        );
    }
}
