//! The current directory: trust in its manifest, and what git would publish.

use std::path::Path;

use secrets_core::store::quoted;
use secrets_project::git::GitStatus;
use secrets_project::setup::gitignore;

use super::Findings;
use crate::context::{Context, Target, Trust};
use crate::ui::counted;

/// Dotenv files that hold values in most projects.
const DOTENV: [&str; 5] = [".env", ".env.local", ".env.production", ".env.staging", ".env.keys"];

pub(super) fn check(found: &mut Findings, cx: &Context) {
    let manifest = match cx.target.manifest() {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return dotenv_files(found, |_| false),
        Err(error) => return found.error("manifest", &error, cx),
    };

    // A tracked output is reported below.
    dotenv_files(found, |path| manifest.render.iter().any(|one| manifest.at(&one.output) == path));

    match Context::coverage(manifest).map(|coverage| cx.trust_of(&coverage)) {
        Ok(Trust::Trusted(_)) => found.ok("trust", "you trust this directory's .secrets.toml"),
        Ok(Trust::Changed(_)) => found.warning(
            "trust",
            ".secrets.toml has changed since you trusted it",
            "`secrets trust --show` shows the changes",
        ),
        Ok(Trust::Unknown(_)) => found.warning(
            "trust",
            "you have not trusted this directory's .secrets.toml",
            "`secrets trust --show` shows what it asks for",
        ),
        Err(error) => found.error("trust", &error, cx),
    }

    match gitignore::unignored(manifest, &Target::git(&manifest.directory)) {
        Ok(unignored) => {
            let exposed = unignored.exposed();
            if let Some(tracked) = unignored.tracked.first() {
                found.problem(
                    "git",
                    format!("the output `{}` is tracked by git", tracked.display()),
                    format!("`git rm --cached -- {}`, and change its values", quoted(tracked)),
                );
            } else if let [first, rest @ ..] = exposed {
                let more = match rest.len() {
                    0 => String::new(),
                    more => format!(" and {}", counted(more, "other output")),
                };
                found.warning(
                    "git",
                    format!("git does not ignore `{}`{more}", first.display()),
                    "`secrets setup` adds them to .gitignore",
                );
            } else {
                found.ok("git", "git ignores every output");
            }
        }
        Err(error) => found.warning("git", error.to_string(), ""),
    }
}

/// Looks for dotenv files that git tracks.
fn dotenv_files(found: &mut Findings, is_output: impl Fn(&Path) -> bool) {
    let here: Vec<&Path> =
        DOTENV.iter().map(Path::new).filter(|path| path.is_file() && !is_output(path)).collect();
    let Ok(statuses) = Target::git(Path::new(".")).statuses(&here) else { return };
    for (path, status) in here.iter().zip(statuses) {
        if status == GitStatus::Tracked {
            let name = path.display();
            found.problem(
                "git",
                format!("`{name}` is tracked by git"),
                format!(
                    "`secrets template {name}` makes a template of it; then `git rm --cached {name}`, and \
                     change its values"
                ),
            );
        }
    }
}
