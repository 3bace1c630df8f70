//! `.secrets.toml`. No file causes a panic, positions are inside the file, paths are inside the
//! directory, and no message repeats text that could be a value.

use std::path::{Component, Path};
use terminal_secrets::Position;

use terminal_secrets::setup::manifest::{Manifest, ManifestError};

/// A marker at the beginning of every text that could be a value.
const MARKER: &str = "mArKeR7qZ";

/// Runs the target. The input is the file's text. Input that is not UTF-8 is skipped.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse(Path::new(""), text) {
        Ok(manifest) => check(&manifest, text),
        Err(error) => check_position(text, error.at),
    }

    if let Err(error) = Manifest::parse(Path::new(""), &with_markers(text)) {
        assert!(!error.message.contains(MARKER) || repeats_a_path(&error), "{error}");
    }
}

fn check(manifest: &Manifest, text: &str) {
    for secret in &manifest.secrets {
        check_position(text, Some(secret.position));
        let found =
            manifest.declaration(&secret.tag.key()).expect("a declaration is found by its tag");
        assert_eq!(found.position, secret.position);
        assert!(secret.generate.is_none_or(|generate| (8..=1024).contains(&generate.length)));
    }

    for rendering in &manifest.render {
        for path in [&rendering.template, &rendering.output] {
            let inside = |part| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git"));
            assert!(
                path.components().all(inside) && path.components().next().is_some(),
                "{}",
                path.display()
            );
        }

        assert!(rendering.mode.is_none_or(|mode| mode <= 0o777));
        assert!(manifest.render.iter().all(|other| other.template != rendering.output));
    }

    for variable in manifest.run.iter().flatten() {
        check_position(text, Some(variable.position));
        assert!(text.get(variable.span.clone()).is_some(), "the span of `{}`", variable.name);
    }
}

fn check_position(text: &str, place: Option<Position>) {
    let Some(Position { line, column }) = place else { return };
    let line = text
        .split('\n')
        .nth(usize::try_from(line).expect("a line fits") - 1)
        .expect("the line exists");

    assert!(
        (1..=line.len() as u64 + 1).contains(&column),
        "column {column} of {} bytes",
        line.len()
    );
}

/// True for messages about `[[render]]`, which name paths.
fn repeats_a_path(error: &ManifestError) -> bool {
    ["the output", "the template", "another output"]
        .iter()
        .any(|begin| error.message.starts_with(begin))
}

/// Returns the text with the marker in each string that follows `KEY =`, if the line has no quote
/// or comment before it. Only a value can be in that position.
fn with_markers(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        let key = |c: char| c.is_ascii_alphanumeric() || " \t_-.{[,".contains(c);
        let place =
            line.find(|c| !key(c)).filter(|at| line[*at..].starts_with('=')).and_then(|sign| {
                let value = line[sign + 1..].trim_start_matches([' ', '\t']);
                let quote = ["\"\"\"", "'''", "\"", "'"]
                    .into_iter()
                    .find(|quote| value.starts_with(quote))?;

                Some(line.len() - value.len() + quote.len())
            });

        let (before, after) = line.split_at(place.unwrap_or(line.len()));
        out.push_str(before);
        if place.is_some() {
            out.push_str(MARKER);
        }

        out.push_str(after);
    }

    out
}
