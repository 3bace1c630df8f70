//! `secrets scan`: finds the project's values in files or in git's index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use secrets_mask::Needles;
use secrets_project::git::{Hook, HookError};
use secrets_project::scan::{self, FoundValue, InFile, Location, Report, ScanError, masked_path};

use super::shared::look_for::{ALL, look_for};
use crate::context::{Context, Target};
use crate::error::{Error, Kind, Selection};
use crate::output::{FindingInfo, HookInfo, ScanReport};
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets scan                   scan all files that git does not ignore
  secrets scan --no-ignore dist  scan ignored files too
  secrets scan --staged          scan what the next commit would add
  secrets scan --install-hook    scan before every commit";

/// Find secret values in files
///
/// Searches for every value of the project, in the same forms that `run` masks, in files, in their
/// names, and in the targets of symbolic links. Files that git tracks are searched even if git
/// ignores them. Prints file:line, tag and form, but never the value, and exits with 8 if it finds
/// one. A value in a file name is shown as ‹tag›.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScanArgs {
    /// Scan these files and directories [default: .]
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Scan the staged versions of files in git's index
    #[arg(long)]
    staged: bool,
    /// Also scan files that git ignores, but never `.git` itself
    #[arg(long, conflicts_with = "staged")]
    no_ignore: bool,
    /// Write a pre-commit hook that refuses a commit with a value in it
    #[arg(long, conflicts_with_all = ["staged", "no_ignore", "paths"])]
    install_hook: bool,
}

pub(crate) fn run(args: &ScanArgs, cx: &Context) -> Result<(), Error> {
    if args.install_hook {
        return install_hook(cx);
    }

    let here = [PathBuf::from(".")];
    let paths = if args.paths.is_empty() && !args.staged { &here } else { &args.paths[..] };

    // Missing paths are reported before a passphrase is asked for.
    for path in paths.iter().filter(|_| !args.staged) {
        std::fs::symlink_metadata(path).map_err(|source| {
            Error::new(Kind::Failure, format!("cannot read `{}`: {source}", path.display()))
        })?;
    }

    if args.staged {
        Target::git(Path::new("")).require_repository().map_err(ScanError::from)?;
    }

    let vault = cx.unlock()?;
    let values = vault.scope(cx.target.project()?).reveal_all()?;
    drop(vault);
    look_for(&values, "searched for", ALL, cx)?;

    let needles = Needles::new(values.iter().map(|(tag, value)| (tag, value.expose())));
    let mut search =
        ScanCommand { needles: &needles, cx, names: HashSet::new(), found: ScanReport::default() };

    if args.staged {
        search.take(scan::staged(&needles, paths, &Target::git(Path::new("")))?);
    } else {
        for path in paths {
            search.take(scan::tree(&needles, path, args.no_ignore, &Target::git));
        }
    }

    report(&search.found, cx)
}

/// The findings so far.
struct ScanCommand<'s> {
    needles: &'s Needles,
    cx: &'s Context,
    /// Names that were reported, with the tag of the value in them
    names: HashSet<(PathBuf, String)>,
    found: ScanReport,
}

impl ScanCommand<'_> {
    /// Adds what the search of one path found and could not read.
    fn take(&mut self, report: Report) {
        self.found.files += report.files;
        for InFile { path, names, content } in report.found {
            for (named, finding) in names {
                if self.names.insert((named.clone(), finding.tag.to_string())) {
                    self.add(&named, &finding);
                }
            }

            for finding in &content {
                self.add(&path, finding);
            }
        }

        report.unread.iter().for_each(|error| self.add_unread(error));
    }

    fn add(&mut self, path: &Path, finding: &FoundValue) {
        let (place, line) = match finding.location {
            Location::Line(line) => ("line", Some(line)),
            Location::Name => ("name", None),
            Location::Target => ("link", None),
        };

        let file = masked_path(self.needles, path.strip_prefix("./").unwrap_or(path));
        let (tag, form) = (finding.tag.to_string(), finding.form.name());
        self.found.findings.push(FindingInfo { file, place, line, tag, form });
    }

    fn add_unread(&mut self, error: &ScanError) {
        // The message contains the file's name, which may contain a value.
        let error = masked_path(self.needles, Path::new(&error.to_string()));
        self.cx.ui.warn(&error);
        self.found.unread.push(error);
    }
}

fn report(found: &ScanReport, cx: &Context) -> Result<(), Error> {
    cx.ui.print(found)?;
    match found.findings.len() {
        0 if !found.unread.is_empty() => {
            let unread = counted(found.unread.len(), "file");
            Err(Error::new(Kind::Failure, format!("{unread} could not be searched")))
        }
        0 => {
            cx.ui.status(&format!("no values found in {}", counted(found.files, "file")));
            Ok(())
        }
        n => {
            let what = format!("{} in {}", counted(n, "value"), counted(found.files, "file"));
            Err(Error::new(Kind::Differs, what).hint(FIX))
        }
    }
}

const FIX: &str =
    "replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published";

/// Writes the hook that runs `scan --staged` before every commit.
fn install_hook(cx: &Context) -> Result<(), Error> {
    // git runs the hook in the root of the working tree.
    let vault = cx.target.vault_option().map(std::path::absolute).transpose();
    let vault = vault.map_err(|source| {
        Error::new(Kind::Failure, format!("cannot determine the path of the vault: {source}"))
    })?;

    let project = cx.target.project_option().cloned();
    let command = Selection { vault, project }.command_line("scan --staged");
    let by_hand = format!("add the line `{command} || exit 1` to your own hook");
    let hook = Target::git(Path::new("")).install_hook(&command).map_err(|error| match error {
        HookError::Git(error) => error.into(),
        error @ (HookError::Taken(_) | HookError::Elsewhere(_)) => {
            Error::new(Kind::Refused, error.to_string()).hint(by_hand)
        }
        error @ HookError::Io { .. } => Error::new(Kind::Failure, error.to_string()),
    })?;

    let (path, state) = match &hook {
        Hook::Written(path) => (path, "written"),
        Hook::Current(path) => (path, "current"),
    };

    match hook {
        Hook::Written(_) => cx.ui.status(&format!("wrote `{}`", path.display())),
        Hook::Current(_) => cx.ui.status(&format!("`{}` already runs it", path.display())),
    }

    cx.ui.document(|| Ok(HookInfo { hook: path.to_string_lossy().into_owned(), state }))
}
