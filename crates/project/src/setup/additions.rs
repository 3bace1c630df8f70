//! Finds the variables of a dotenv output that its template does not produce. None of them may be
//! lost, so a file is read line by line even if it breaks the grammar.

use std::collections::HashSet;

use secrets_core::model::SecretBytes;

use crate::dotenv;

/// The variables of a dotenv file, and the other lines that may be meant as variables.
pub(super) struct Contents {
    variables: Vec<Variable>,
    lines: Vec<AddedLine>,
    /// The first line that breaks the grammar
    broken: Option<u64>,
}

struct Variable {
    name: String,
    line: u64,
    /// False if the apparent name may be part of a value that spans several lines
    is_certain: bool,
}

struct AddedLine {
    line: u64,
    text: SecretBytes,
}

/// What a file has that its template does not produce.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AddedVariables {
    pub(super) names: Vec<String>,
    /// Numbers of lines that may be meant as variables
    pub(super) lines: Vec<u64>,
}

impl Contents {
    /// Reads a file, or the text that a template produces.
    pub(super) fn of(text: &[u8]) -> Self {
        let (entries, broken) = dotenv::parse_leniently(text);
        let is_valid = broken.is_empty();
        let first = broken.first().map(|broken| broken.line);

        let mut variables: Vec<Variable> = Vec::new();
        for entry in entries {
            // The last line of a base64 key, such as `abcd==`, looks like a variable.
            let is_certain = is_valid || !matches!(entry.value.expose(), b"" | b"=");
            variables.push(Variable { name: entry.name, line: entry.line, is_certain });
        }

        let mut lines = Vec::new();
        for broken in broken {
            let text = &text[broken.span];
            match broken.name {
                Some(name) => {
                    variables.push(Variable { name, line: broken.line, is_certain: true });
                }
                None if may_be_a_variable(text) => {
                    lines.push(AddedLine {
                        line: broken.line,
                        text: SecretBytes::copy_of(text.trim_ascii()),
                    });
                }
                None => {}
            }
        }

        Self { variables, lines, broken: first }
    }

    /// Reads a template without resolving it. Returns `None` if a placeholder, which begins with
    /// `open`, stands for whole lines, because these could contain any variable.
    pub(super) fn of_template(text: &[u8], open: &[u8]) -> Option<Self> {
        let (_, broken) = dotenv::parse_leniently(text);
        let has_block = broken
            .into_iter()
            .any(|broken| memchr::memmem::find(&text[broken.span], open).is_some());

        (!has_block).then(|| Self::of(text))
    }

    /// Returns the first line that breaks the grammar.
    pub(super) fn broken(&self) -> Option<u64> {
        self.broken
    }

    /// Returns the names of the variables, each once.
    pub(super) fn names(&self) -> Vec<String> {
        let mut known = HashSet::new();
        let certain = self.variables.iter().filter(|variable| variable.is_certain);
        certain.map(|variable| &variable.name).filter(|name| known.insert(*name)).cloned().collect()
    }

    /// Returns what `given` does not contain and we did not write. Text that may be part of a value
    /// is reported by line, not by name.
    pub(super) fn added_to(&self, given: &Self, remembered: &[String]) -> AddedVariables {
        let given_names = given.variables.iter().map(|variable| &variable.name);
        let mut known: HashSet<&String> = given_names.chain(remembered).collect();
        let same: HashSet<&[u8]> = given.lines.iter().map(|line| line.text.expose()).collect();

        let mut added = AddedVariables::default();
        for variable in &self.variables {
            if known.contains(&variable.name) {
                continue;
            }

            if variable.is_certain {
                added.names.push(variable.name.clone());
                known.insert(&variable.name);
            } else {
                added.lines.push(variable.line);
            }
        }

        added.lines.extend(
            self.lines
                .iter()
                .filter(|line| !same.contains(line.text.expose()))
                .map(|line| line.line),
        );

        added.lines.sort_unstable();
        added
    }
}

/// Returns true if a line breaks the grammar but its author or another program may take it for a
/// variable. Such a line contains a `=`, or it is `export NAME`, `NAME: value` or a name alone.
fn may_be_a_variable(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    if memchr::memchr(b'=', line).is_some() {
        return true;
    }

    let exported = line
        .strip_prefix(b"export")
        .filter(|rest| rest.first().is_some_and(|b| b" \t".contains(b)));
    let name = line
        .iter()
        .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_')
        .count();

    let is_name = line.first().is_some_and(|first| !first.is_ascii_digit()) && name > 0;
    exported.is_some() || is_name && matches!(line.get(name), None | Some(b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(found: &str, given: &str, remembered: &[&str]) -> (Vec<String>, Vec<u64>) {
        let remembered: Vec<String> = remembered.iter().map(|name| (*name).to_owned()).collect();
        let added =
            Contents::of(found.as_bytes()).added_to(&Contents::of(given.as_bytes()), &remembered);
        (added.names, added.lines)
    }

    #[test]
    fn nothing_that_may_be_a_variable_is_missed() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let pem = "-----BEGIN KEY-----\nMIIB+/x\nabcd==\n-----END KEY-----\n";
        for (found, given, expected) in [
            ("A=1\nNEW=2\nNEW=3\nEMPTY=\n", "A=2\n", (names(&["NEW", "EMPTY"]), vec![])),
            ("A=1\nNEW=2\nnot an assignment\n", "A=1\n", (names(&["NEW"]), vec![])),
            ("A=1\nB=\"open\nC='x' y\n", "A=1\n", (names(&["B", "C"]), vec![])),
            (
                "A=1\nexport NEW\nNEW_ONE\nNEW: x\nmy key=x\nMIIB\n",
                "A=1\n",
                (vec![], vec![2, 3, 4, 5, 6]),
            ),
            // The template gives the same lines, word for word.
            (
                "A=1\nexport  NEW \nif [ -n \"$A\" ]; then B=2; fi\n",
                "export  NEW\nif [ -n \"$A\" ]; then B=2; fi\nA=2",
                (vec![], vec![]),
            ),
            // A value over several lines without quotes: nothing of its second line is reported by
            // name.
            (&format!("PEM={pem}NEW=x\n"), &format!("PEM={pem}"), (names(&["NEW"]), vec![])),
            (&format!("PEM={pem}NEW=x\n"), "PEM=other\n", (names(&["NEW"]), vec![3])),
        ] {
            assert_eq!(added(found, given, &[]), expected, "{found}");
        }

        assert_eq!(added("A=1\nOURS=1\nb c\n", "A=1", &["OURS"]), (vec![], vec![]));

        // The file is encoded as UTF-16.
        let wide: Vec<u8> = "A=1\n".bytes().flat_map(|byte| [byte, 0]).collect();
        assert_eq!(Contents::of(&wide).added_to(&Contents::of(b"A=1\n"), &[]).lines, [1]);
        assert_eq!(Contents::of(format!("PEM={pem}NEW=x").as_bytes()).names(), ["PEM", "NEW"]);

        for (template, is_known) in
            [("A={{ secrets.a }}\nnot an assignment", true), ("A=1\n{{ secrets.block }}", false)]
        {
            assert_eq!(
                Contents::of_template(template.as_bytes(), b"{{").is_some(),
                is_known,
                "{template}"
            );
        }
    }
}
