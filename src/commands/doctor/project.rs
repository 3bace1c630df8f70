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
    dotenv_files(found);
    let manifest = match cx.target.manifest() {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return,
        Err(error) => return found.error("manifest", &error, cx),
    };

    match Context::coverage(manifest).map(|coverage| cx.trust_of(&coverage)) {
        Ok(Trust::Trusted(_)) => found.ok("trust", "you trust this directory's .secrets.toml"),
        Ok(Trust::Changed(_)) => found.warning(
            "trust",
            ".secrets.toml asks for something else than what you agreed to",
            "`secrets trust` shows the difference",
        ),
        Ok(Trust::Unknown(_)) => found.warning(
            "trust",
            "you have not agreed to this directory's .secrets.toml",
            "`secrets trust` shows what it asks for",
        ),
        Err(error) => found.error("trust", &error, cx),
    }

    match gitignore::unignored(manifest, &Target::git(&manifest.directory)) {
        Ok(unignored) => {
            let exposed = unignored.exposed().len();
            if let Some(tracked) = unignored.tracked.first() {
                found.problem(
                    "git",
                    format!("the output `{}` is tracked by git", tracked.display()),
                    format!("`git rm --cached {}`, and change its values", quoted(tracked)),
                );
            } else if exposed > 0 {
                found.warning(
                    "git",
                    format!("git does not ignore {}", counted(exposed, "output")),
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
fn dotenv_files(found: &mut Findings) {
    let here: Vec<&Path> = DOTENV.iter().map(Path::new).filter(|path| path.is_file()).collect();
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
