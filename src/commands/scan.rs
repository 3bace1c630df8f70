//! `secrets scan`: finds the project's values in files, or in what git has staged.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::run::warn_of_short;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::mask::Needles;
use crate::scan::{self, Finding};
use crate::ui::counted;
use crate::ui::escape::visible;

const EXAMPLES: &str = "\
Examples:
  secrets scan .                     every file that git does not ignore
  secrets scan --no-ignore dist      what git ignores too
  secrets scan --staged              what the next commit would add
As a hook that stops such a commit, .git/hooks/pre-commit:
  #!/bin/sh
  exec secrets scan --staged";

/// Find secret values in files
///
/// Looks for every value of the project, in the forms in which `run` masks them. Prints file:line, tag and form, never
/// the value, and exits with 8 where it found one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScanArgs {
    /// Files and directories
    #[arg(value_name = "PATH", required_unless_present = "staged", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Search what git has staged, as it is staged
    #[arg(long)]
    staged: bool,
    /// Search also what git ignores, though never `.git` itself
    #[arg(long, conflicts_with = "staged")]
    no_ignore: bool,
}

#[derive(Serialize)]
struct FindingJson {
    file: String,
    line: u64,
    tag: String,
    form: &'static str,
}

#[derive(Serialize)]
struct FindingsJson {
    findings: Vec<FindingJson>,
    files: u64,
    /// Why something was not searched
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

pub(crate) fn run(args: &ScanArgs, cx: &Context) -> Result<(), Error> {
    // Before a passphrase is asked for: the paths are there.
    for path in args.paths.iter().filter(|_| !args.staged) {
        std::fs::symlink_metadata(path)
            .map_err(|source| Error::new(Kind::Failure, format!("cannot read `{}`: {source}", path.display())))?;
    }
    let vault = cx.unlock()?;
    let values = vault.scope(cx.project()?).reveal_all()?;
    drop(vault);
    warn_of_short(&values, "looked for", cx);
    let needles = Needles::new(values.iter().map(|(tag, value)| (tag, value.expose())));
    let mut found = FindingsJson { findings: Vec::new(), files: 0, unread: Vec::new() };
    let (mut files, mut unread) = (0, Vec::new());
    let mut take = |file: String, findings: Vec<Finding>| {
        found.findings.extend(findings.into_iter().map(|finding| FindingJson {
            file: file.clone(),
            line: finding.line,
            tag: finding.tag.to_string(),
            form: finding.form.name(),
        }));
    };
    if args.staged {
        files = scan::staged(&needles, &args.paths, &Context::git(Path::new("")), &mut take)?;
    } else {
        for path in scan::files(&args.paths, args.no_ignore) {
            // What cannot be read is told, and the rest is searched all the same.
            match path.and_then(|path| Ok((scan::file(&needles, &path)?, path))) {
                Ok((findings, path)) => take(shown(&path), findings),
                Err(error) => {
                    cx.ui.warn(&error.to_string());
                    unread.push(error.to_string());
                    continue;
                }
            }
            files += 1;
        }
    }
    (found.files, found.unread) = (files, unread);
    tell(&found, cx)
}

fn shown(path: &Path) -> String {
    path.strip_prefix("./").unwrap_or(path).to_string_lossy().into_owned()
}

fn tell(found: &FindingsJson, cx: &Context) -> Result<(), Error> {
    if cx.ui.is_json() {
        cx.ui.json(found)?;
    } else {
        let line = |finding: &FindingJson| {
            format!("{}:{}: {} ({})\n", visible(&finding.file), finding.line, finding.tag, finding.form)
        };
        cx.ui.text(&found.findings.iter().map(line).collect::<String>())?;
    }
    match found.findings.len() {
        0 if !found.unread.is_empty() => {
            let unread = counted(found.unread.len(), "file");
            Err(Error::new(Kind::Failure, format!("{unread} could not be searched")))
        }
        0 => {
            cx.ui.status(&format!("no value in {}", counted(found.files, "file")));
            Ok(())
        }
        n => {
            let what = format!("{} in {}", counted(n, "value"), counted(found.files, "file"));
            Err(Error::new(Kind::Differs, what).hint(MEND))
        }
    }
}

const MEND: &str = "put a placeholder there, `{{ secrets.TAG }}`; a value that was published has to be changed";
