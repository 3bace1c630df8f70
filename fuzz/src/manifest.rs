//! `.secrets.toml`: no panic, places inside the file, paths inside the directory, and no message that repeats what could
//! be a value.

use std::path::{Component, Path};

use terminal_secrets::setup::manifest::{Manifest, ManifestError, TextPosition};

/// What stands at the beginning of every text that could be a value.
const MARKER: &str = "mArKeR7qZ";

/// Takes the file's text; what is no UTF-8 is no manifest.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse(Path::new(""), text) {
        Ok(manifest) => check(&manifest, text),
        Err(error) => placed(text, error.at),
    }

    if let Err(error) = Manifest::parse(Path::new(""), &planted(text)) {
        assert!(!error.message.contains(MARKER) || repeats_a_path(&error), "{error}");
    }
}

fn check(manifest: &Manifest, text: &str) {
    for secret in &manifest.secrets {
        placed(text, Some(secret.place));
        let found =
            manifest.declaration(&secret.tag.key()).expect("a declaration is found by its tag");
        assert_eq!(found.place, secret.place);
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
        placed(text, Some(variable.place));
        assert!(text.get(variable.span.clone()).is_some(), "the span of `{}`", variable.name);
    }
}

fn placed(text: &str, place: Option<TextPosition>) {
    let Some(TextPosition { line, column }) = place else { return };
    let line = text
        .split('\n')
        .nth(usize::try_from(line).expect("a line fits") - 1)
        .expect("the line is there");

    assert!(
        (1..=line.len() as u64 + 1).contains(&column),
        "column {column} of {} bytes",
        line.len()
    );
}

/// Messages about `[[render]]` name its paths.
fn repeats_a_path(error: &ManifestError) -> bool {
    ["the output", "the template", "another output"]
        .iter()
        .any(|begin| error.message.starts_with(begin))
}

/// The text with the marker in each string that follows `KEY =`, where the line has no quote or comment before it: there
/// nothing but a value can stand.
fn planted(text: &str) -> String {
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

        let (before, behind) = line.split_at(place.unwrap_or(line.len()));
        out.push_str(before);
        if place.is_some() {
            out.push_str(MARKER);
        }

        out.push_str(behind);
    }

    out
}
