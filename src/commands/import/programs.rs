//! The programs of other secrets managers, which decrypt what they stored. They ask for their own
//! passphrases on the terminal.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use secrets_core::model::{SecretBytes, SecretValue};
use secrets_project::import::{Format, Items, StoreEntry, read_store as read_entries};
use secrets_runtime::source::output_of;

use super::ImportArgs;
use super::content::options;
use crate::config::Environment;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::escape::visible;

/// The most bytes that a program may print: as many as a file may have.
const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// The number of entries that may fail before the first one that is decrypted.
const TRIES: usize = 3;

/// A program that decrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Program {
    /// pass, the standard Unix password manager
    Pass,
    /// gopass
    Gopass,
    /// sops, for a file that it encrypted
    Sops,
}

impl Program {
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Gopass => "gopass",
            Self::Sops => "sops",
        }
    }
}

/// Reads the entries of a password store, or of one folder of it.
pub(super) fn read_store(args: &ImportArgs, cx: &Context, store: Program) -> Result<Items, Error> {
    let folder = args.file.as_deref().map(|folder| {
        folder.to_str().map(|folder| folder.trim_matches('/')).filter(|folder| !folder.is_empty())
    });
    let folder = match folder {
        Some(None) => return Err(Error::usage("the name of a folder is empty or not UTF-8")),
        Some(folder) => folder,
        None => None,
    };

    let (mut paths, unnamed) = match store {
        Program::Pass => paths_of_pass()?,
        _ => (paths_of_gopass()?, Vec::new()),
    };
    paths.retain(|path| folder.is_none_or(|folder| is_in(path, folder)));
    paths.sort_unstable();
    if paths.is_empty() {
        let place = folder.map_or_else(String::new, |folder| format!(" in `{folder}`"));
        let program = store.program();
        return Err(Error::new(Kind::NotFound, format!("`{program}` has no entries{place}"))
            .hint(format!("`{program} ls` lists them; nothing was stored")));
    }

    let progress = cx.ui.progress("entries decrypted");
    let (mut entries, mut failed) = (Vec::with_capacity(paths.len()), Vec::new());
    let mut first_error = None;
    for (number, path) in paths.into_iter().enumerate() {
        let options: &[&str] = match store {
            Program::Pass => &["show", "--"],
            _ => &["show", "--noparsing", "--unsafe", "--"],
        };
        let arguments: Vec<&OsStr> =
            options.iter().map(OsStr::new).chain([OsStr::new(&path)]).collect();
        let name = name_in(&path, folder).to_owned();
        match run(store.program(), &arguments, SecretValue::MAX) {
            Ok(content) => entries.push(StoreEntry { path: name, content }),

            // A shared store has entries for other people's keys, so some may fail. If the first ones all
            // fail, the cause is another one.
            Err(error) if entries.is_empty() && failed.len() + 1 >= TRIES => return Err(error),
            Err(error) => {
                first_error.get_or_insert(error);
                failed.push(name);
            }
        }

        progress.on_progress(number as u64 + 1);
    }

    if let Some(error) = first_error.filter(|_| entries.is_empty()) {
        return Err(error);
    }

    drop(progress);
    let mut items = read_entries(entries, options(args, None))
        .map_err(|error| Error::usage(error.to_string()).hint("nothing was stored"))?;
    items.skip_unreadable(unnamed, "its name is not UTF-8");
    items.skip_unreadable(failed, "the program could not decrypt it");
    Ok(items)
}

/// Returns true for a folder's entry, and for the entry that has the folder's own name.
fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns an entry's name within the folder that is imported.
fn name_in<'p>(path: &'p str, folder: Option<&str>) -> &'p str {
    let inside = folder.and_then(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
    let last = || path.rsplit('/').next().unwrap_or(path);
    inside.unwrap_or_else(|| if folder.is_some() { last() } else { path })
}

/// Returns the names of pass's entries. The program prints them only as a picture of a tree, so its files
/// are listed: each entry is a file that ends in `.gpg`.
/// Also returns those that are not UTF-8, as they can be shown.
fn paths_of_pass() -> Result<(Vec<String>, Vec<String>), Error> {
    let store = Environment::of("PASSWORD_STORE_DIR")
        .map(PathBuf::from)
        .or_else(|| dirs::home_dir().map(|home| home.join(".password-store")))
        .ok_or_else(|| Error::new(Kind::Failure, "the home directory is not known"))?;
    if let Err(source) = fs::read_dir(&store) {
        let what = format!("cannot read the password store `{}`: {source}", store.display());
        return Err(Error::new(Kind::NotFound, what)
            .hint("PASSWORD_STORE_DIR says where it is; nothing was stored"));
    }

    let (mut paths, mut unnamed) = (Vec::new(), Vec::new());
    // pass follows symbolic links, so shared folders are often linked.
    let mut files = WalkBuilder::new(&store);
    files.standard_filters(false).hidden(true).follow_links(true);
    for file in files.build() {
        let file = file.map_err(|error| {
            Error::new(Kind::Failure, format!("cannot list the password store: {error}"))
                .hint("nothing was stored")
        })?;
        let path = file.path().strip_prefix(&store).unwrap_or(file.path());
        if !file.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }

        match path.to_str() {
            Some(path) => paths.extend(path.strip_suffix(".gpg").map(str::to_owned)),
            None if path.as_os_str().as_encoded_bytes().ends_with(b".gpg") => {
                unnamed.push(path.to_string_lossy().into_owned());
            }
            None => {}
        }
    }

    Ok((paths, unnamed))
}

fn paths_of_gopass() -> Result<Vec<String>, Error> {
    let list = run("gopass", &["ls", "--flat"].map(OsStr::new), MAX_OUTPUT)?;
    let text = String::from_utf8_lossy(list.expose());
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Decrypts a KeePass database and returns its XML.
pub(super) fn of_keepass(path: &Path) -> Result<SecretBytes, Error> {
    let path = absolute(path)?;
    let arguments =
        [OsStr::new("export"), OsStr::new("--format"), OsStr::new("xml"), path.as_os_str()];
    run("keepassxc-cli", &arguments, MAX_OUTPUT)
}

/// Decrypts a file that sops encrypted, and returns it in the same format.
pub(super) fn of_sops(path: &Path, format: Format) -> Result<SecretBytes, Error> {
    let path = absolute(path)?;
    let kind = OsStr::new(format.name());
    let [input, output] = ["--input-type", "--output-type"].map(OsStr::new);
    let arguments = [OsStr::new("--decrypt"), input, kind, output, kind, path.as_os_str()];
    run("sops", &arguments, MAX_OUTPUT)
}

/// Returns an absolute path, which no program takes for an option.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path)
        .map_err(|source| Error::new(Kind::Failure, format!("cannot find the file: {source}")))
}

/// Runs a program and returns what it prints.
fn run(program: &str, arguments: &[&OsStr], most: usize) -> Result<SecretBytes, Error> {
    let variables = Environment::inherited().into_iter();
    let printed = output_of(program, arguments, variables, most).map_err(|source| {
        let what = match source.kind() {
            io::ErrorKind::NotFound => {
                return Error::new(Kind::Failure, format!("`{program}` is not installed"))
                    .hint(format!("only `{program}` can decrypt this; nothing was stored"));
            }
            io::ErrorKind::FileTooLarge => format!("`{program}` prints too much"),
            _ => format!("cannot run `{program}`: {source}"),
        };
        Error::new(Kind::Failure, what).hint("nothing was stored")
    })?;

    if !printed.status.success() {
        let how = printed.status.code().map_or_else(
            || "was ended by a signal".to_owned(),
            |code| format!("failed with exit code {code}"),
        );
        let ends = [arguments.first(), arguments.last()].into_iter().flatten();
        let line: Vec<String> = ends.map(|word| word.display().to_string()).collect();
        let what = format!("`{program} {}` {how}", visible(&line.join(" ")));
        return Err(
            Error::new(Kind::Failure, what).hint("its own message is above; nothing was stored")
        );
    }

    Ok(printed.output)
}
