//! Shell completion: tags and projects if an agent has the vault unlocked, and programs and files
//! after `run --`.
//!
//! It asks nothing, prints nothing, and never waits longer than a person would.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use clap_complete::engine::{PathCompleter, ValueCompleter};
use secrets_core::model::{ProjectName, Tag};

use crate::config;
use crate::context::{Context, Options};
use crate::ui::escape::visible;

/// The maximum time for one answer of the agent. A Tab is answered within 50 ms or not at all.
const AGENT_TIMEOUT: Duration = Duration::from_millis(40);

/// Completes a tag of the current project.
pub(crate) fn tags(current: &OsStr) -> Vec<CompletionCandidate> {
    current.to_str().and_then(|current| tag_candidates("", current)).unwrap_or_default()
}

/// Completes the last tag in a list with commas.
pub(crate) fn tags_with_commas(current: &OsStr) -> Vec<CompletionCandidate> {
    after_separator(current, ',')
}

/// Completes the tag in `NAME=TAG`.
pub(crate) fn tag_of_variable(current: &OsStr) -> Vec<CompletionCandidate> {
    if current.as_encoded_bytes().contains(&b'=') {
        after_separator(current, '=')
    } else {
        Vec::new()
    }
}

/// Completes a project of the vault.
pub(crate) fn projects(current: &OsStr) -> Vec<CompletionCandidate> {
    let candidates = || {
        let current = current.to_str()?;
        let projects = context().vault_of_agent(AGENT_TIMEOUT).ok()??.projects().ok()?;
        let named = projects.into_iter().filter(|(name, _)| name.as_str().starts_with(current));
        Some(named.map(|(name, _)| CompletionCandidate::new(name.as_str())).collect())
    };

    candidates().unwrap_or_default()
}

/// Completes an environment of the nearest manifest.
pub(crate) fn environments(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let Ok(Some(manifest)) = config::Environment::manifest(&|_| {}) else { return Vec::new() };
    let names = manifest.environments.iter().map(|environment| environment.name.as_str());
    names.filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

fn after_separator(current: &OsStr, separator: char) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let (before, last) = current.split_at(current.rfind(separator).map_or(0, |at| at + 1));
    tag_candidates(before, last).unwrap_or_default()
}

fn tag_candidates(before: &str, current: &str) -> Option<Vec<CompletionCandidate>> {
    let cx = context();
    let vault = cx.vault_of_agent(AGENT_TIMEOUT).ok()??;
    let key = as_key(current);
    let secrets = vault
        .list(Some(cx.target.project().ok()?), |it| it.tag.key().as_str().starts_with(&key))
        .ok()?;

    let candidate = |secret: secrets_core::model::Secret| {
        let name = secret.metadata.name.map(|name| visible(name.as_str()).into());
        CompletionCandidate::new(format!("{before}{}", continue_tag(&secret.metadata.tag, current)))
            .help(name)
    };

    Some(secrets.into_iter().map(candidate).collect())
}

fn as_key(text: &str) -> String {
    text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Continues a tag in the spelling of the typed letters, because shells offer only candidates that
/// begin with them.
fn continue_tag(tag: &Tag, begun: &str) -> String {
    let tag = tag.as_str();
    if tag.starts_with(begun) {
        return tag.to_owned();
    }

    let is_upper = begun.bytes().any(|b| b.is_ascii_uppercase())
        && !begun.bytes().any(|b| b.is_ascii_lowercase());
    let continued = |c: char| match c {
        '-' if begun.contains('_') || is_upper => '_',
        '_' if begun.contains('-') && !begun.contains('_') => '-',
        c if is_upper => c.to_ascii_uppercase(),
        c => c,
    };

    // A tag is ASCII, and therefore also the typed text that equals its beginning.
    begun.chars().chain(tag.chars().skip(begun.len()).map(continued)).collect()
}

/// Completes the command line of another program: programs and files for the first word, files for
/// the others.
pub(crate) fn program_or_file(current: &OsStr) -> Vec<CompletionCandidate> {
    let is_first = words_after_dashes().is_none_or(|number| number == 0);
    let mut candidates = PathCompleter::any().complete(current);
    if is_first && !current.is_empty() && !current.as_bytes().contains(&b'/') {
        candidates.extend(programs(current).into_iter().map(CompletionCandidate::new));
    }

    candidates
}

/// Returns the names of programs in PATH.
fn programs(current: &OsStr) -> BTreeSet<OsString> {
    let directories = config::program_directories();
    let entries = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flatten()
        .flatten();

    let begins = |name: &OsStr| name.as_bytes().starts_with(current.as_bytes());
    let is_program = |path: PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };

    entries
        .filter(|entry| begins(&entry.file_name()) && is_program(entry.path()))
        .map(|entry| entry.file_name())
        .collect()
}

/// Returns the words of the command line that is being typed.
fn words() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1)
}

/// Returns those words up to the one that is being completed.
fn typed_words() -> Vec<OsString> {
    let mut words: Vec<OsString> = words().collect();
    words.truncate(config::completed_word().map_or(usize::MAX, |number| number + 1));
    words
}

/// Returns the number of words between `--` and the word that is being completed.
fn words_after_dashes() -> Option<usize> {
    let words = typed_words();
    let dashes = words.iter().position(|word| word == "--")?;
    (words.len() - dashes).checked_sub(2)
}

/// Hides the global options, unless an option is being typed.
pub(crate) fn without_global_options(command: clap::Command) -> clap::Command {
    if typed_words().last().is_some_and(|word| word.as_bytes().starts_with(b"-")) {
        return command;
    }

    let global: Vec<clap::Id> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .map(|argument| argument.get_id().clone())
        .collect();

    global
        .into_iter()
        .fold(command, |command, id| command.mut_arg(id, |argument| argument.hide(true)))
}

/// Returns a context with the vault and the project of the command line that is being typed.
fn context() -> Context {
    let mut words = words().take_while(|word| word != "--");
    let (mut vault, mut project) = (None, None);
    while let Some(word) = words.next() {
        let mut value = |names: [&str; 2]| option(&word, names, &mut words);
        if let Some(path) = value(["--vault", "--vault"]) {
            vault = Some(PathBuf::from(path));
        } else if let Some(name) = value(["--project", "-p"]) {
            // An incomplete name may be the word that is being completed.
            project = name.to_str().and_then(|name| ProjectName::parse(name).ok());
        }
    }

    Context::silent(Options { vault, project, ..Options::default() })
}

/// Returns the value of an option, which is the next word or follows a `=`.
fn option(
    word: &OsStr,
    names: [&str; 2],
    rest: &mut impl Iterator<Item = OsString>,
) -> Option<OsString> {
    if names.iter().any(|name| word == *name) {
        return rest.next();
    }

    let word = word.to_str()?;
    let joined = |name: &&str| {
        if name.starts_with("--") {
            word.strip_prefix(*name)?.strip_prefix('=')
        } else {
            word.strip_prefix(*name)
        }
    };

    names.iter().find_map(joined).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_on_as_it_was_begun() {
        let cases = [
            ("stripe-key", "str", "stripe-key"),
            ("stripe-key", "STR", "STRIPE_KEY"),
            ("stripe-key", "stripe_", "stripe_key"),
            ("STRIPE_KEY", "stripe-", "stripe-KEY"),
            ("Stripe_Key", "stripe", "stripe_Key"),
            ("stripe-key", "", "stripe-key"),
            ("a-b_c", "A_", "A_B_C"),
        ];

        for (tag, begun, expected) in cases {
            let continue_tag = continue_tag(&Tag::parse(tag).unwrap(), begun);
            assert_eq!(continue_tag, expected);
            assert_eq!(Tag::parse(&continue_tag).unwrap().key(), Tag::parse(tag).unwrap().key());
        }
    }
}
