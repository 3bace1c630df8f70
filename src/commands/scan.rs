//! `secrets scan`: finds the project's values, and tokens of any vault, in files or in git's index.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use secrets_core::model::{Level, SecretValue, Tag};
use secrets_core::vault::Vault;
use secrets_mask::Needles;
use secrets_project::git::{Hook, HookError};
use secrets_project::scan::{
    self, Finding, Found, InFile, Location, Report, ScanError, masked_path,
};

use super::shared::look_for::{ALL, look_for};
use crate::context::{Context, Right, Target, Used};
use crate::error::{Error, Kind, Selection};
use crate::output::{FindingInfo, FoundInfo, HookInfo, ScanReport};
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets scan                   scan all files that git does not ignore
  secrets scan --no-ignore dist  scan ignored files too
  secrets scan --staged          scan what the next commit would add
  secrets scan --tokens          scan for tokens only, without the vault
  secrets scan --install-hook    scan before every commit";

/// Find secret values and tokens in files
///
/// Searches for every value of the project, in the same forms that `run` masks, and for tokens of
/// any vault, in files, in their names, and in the targets of symbolic links. Files that git tracks
/// are searched even if git ignores them. Prints file:line, tag and form of a value and the level
/// of a token, but never the value or the token, and exits with 8 if it finds one. In a file name,
/// the tag or the level is shown instead, as ‹tag›.
///
/// A token is found by its checksum. If the vault cannot be opened, tokens are searched for anyway.
/// Without any, the command fails, because a value may be there. With --tokens it never opens the
/// vault.
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
    /// Search for tokens only; needs no vault
    #[arg(long)]
    tokens: bool,
    /// Write a pre-commit hook that refuses a commit with a value or a token in it
    #[arg(long, conflicts_with_all = ["staged", "no_ignore", "tokens", "paths"])]
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

    let (vault, locked) = if args.tokens { (None, None) } else { unlock(cx)? };
    let values = vault.map_or_else(|| Ok(Vec::new()), |vault| values(vault, cx))?;
    let needles = Needles::new(values.iter().map(|(tag, value)| (tag, value.expose())));
    let only = (args.tokens || locked.is_some()).then_some("tokens");
    let found = ScanReport { only, ..ScanReport::default() };
    let mut search = ScanCommand { needles: &needles, cx, names: HashSet::new(), found };

    if args.staged {
        search.take(scan::staged(&needles, paths, &Target::git(Path::new("")))?);
    } else {
        for path in paths {
            search.take(scan::tree(&needles, path, args.no_ignore, &Target::git));
        }
    }

    report(&search.found, locked, cx)
}

/// Opens the vault. If there is none, or no way to its key, returns the error instead, because
/// tokens are found without it.
fn unlock(cx: &Context) -> Result<(Option<Vault>, Option<Error>), Error> {
    let opened = cx.use_token(Right::Level(Level::Use), "scan").and_then(|()| cx.unlock());
    match opened {
        Ok(vault) => Ok((Some(vault), None)),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Locked) => {
            Ok((None, Some(error)))
        }
        Err(error) => Err(error),
    }
}

/// Returns all values of the project.
fn values(vault: Vault, cx: &Context) -> Result<Vec<(Tag, SecretValue)>, Error> {
    let project = cx.target.project()?;
    let values = vault.scope(project).reveal_all()?;
    cx.record_use(&Used::of(&vault, project, values.iter().map(|(tag, _)| tag)))?;
    cx.warn_of_unusable(&vault, project, "searched for")?;
    drop(vault);
    look_for(&values, "searched for", ALL, cx)?;
    Ok(values)
}

/// The findings so far.
struct ScanCommand<'s> {
    needles: &'s Needles,
    cx: &'s Context,
    /// Names that were reported, with the label of what is in them
    names: HashSet<(PathBuf, String)>,
    found: ScanReport,
}

impl ScanCommand<'_> {
    /// Adds what the search of one path found and could not read.
    fn take(&mut self, report: Report) {
        self.found.files += report.files;
        for InFile { path, names, content } in report.found {
            for (named, finding) in names {
                if self.names.insert((named.clone(), finding.found.to_string())) {
                    self.add(&named, &finding);
                }
            }

            for finding in &content {
                self.add(&path, finding);
            }
        }

        report.unread.iter().for_each(|error| self.add_unread(error));
    }

    fn add(&mut self, path: &Path, finding: &Finding) {
        let (place, line) = match finding.location {
            Location::Line(line) => ("line", Some(line)),
            Location::Name => ("name", None),
            Location::Target => ("link", None),
        };

        let file = masked_path(self.needles, path.strip_prefix("./").unwrap_or(path));
        let found = match &finding.found {
            Found::Value { tag, form } => {
                FoundInfo::Value { tag: tag.to_string(), form: form.name() }
            }
            Found::Token(level) => FoundInfo::Token { token: level.as_str() },
        };

        self.found.findings.push(FindingInfo { file, place, line, found });
    }

    fn add_unread(&mut self, error: &ScanError) {
        // The message contains the file's name, which may contain a value.
        let error = masked_path(self.needles, Path::new(&error.to_string()));
        self.cx.ui.warn(&error);
        self.found.unread.push(error);
    }
}

/// Prints the findings. `locked` is the reason why no values were searched for.
fn report(found: &ScanReport, locked: Option<Error>, cx: &Context) -> Result<(), Error> {
    let is_token = |finding: &&FindingInfo| matches!(finding.found, FoundInfo::Token { .. });
    let tokens = found.findings.iter().filter(is_token).count();
    let values = found.findings.len() - tokens;
    let files = counted(found.files, "file");

    match locked {
        // Otherwise a hook would pass a commit that has a value in it.
        Some(error) if tokens == 0 => {
            return Err(error.hint("search for tokens alone with `secrets scan --tokens`"));
        }
        Some(error) => cx.ui.warn(&format!("values were not searched for: {}", error.message())),
        None => {}
    }

    cx.ui.print(found)?;
    let what = match (values, tokens) {
        (0, 0) if !found.unread.is_empty() => {
            let unread = counted(found.unread.len(), "file");
            return Err(Error::new(Kind::Failure, format!("{unread} could not be searched")));
        }
        (0, 0) => {
            let what = if found.only.is_some() { "tokens" } else { "values or tokens" };
            cx.ui.status(&format!("no {what} found in {files}"));
            return Ok(());
        }
        (values, 0) => counted(values, "value"),
        (0, tokens) => counted(tokens, "token"),
        (values, tokens) => {
            format!("{} and {}", counted(values, "value"), counted(tokens, "token"))
        }
    };

    let mut error = Error::new(Kind::Differs, format!("{what} in {files}"));
    if values > 0 {
        error = error.hint(FIX);
    }

    if tokens > 0 {
        error = error.hint(REVOKE);
    }

    Err(error)
}

const FIX: &str =
    "replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published";

const REVOKE: &str = "see the token's name with `secrets --token-file FILE token check`, then end it \
                      with `secrets token revoke NAME` or give it a new string with `secrets token \
                      rotate NAME`";

/// Writes the hook that runs `scan --staged` before every commit.
fn install_hook(cx: &Context) -> Result<(), Error> {
    // git runs the hook in the root of the working tree.
    let vault = cx.target.vault_option().map(std::path::absolute).transpose();
    let vault = vault.map_err(|source| {
        Error::new(Kind::Failure, format!("cannot determine the path of the vault: {source}"))
    })?;

    let command =
        Selection { vault, ..cx.target.selection().clone() }.command_line("scan --staged");
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
