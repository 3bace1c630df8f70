//! What a shell offers when Tab is pressed: tags and projects, through an agent that has the vault unlocked, else nothing.
//!
//! It asks nothing, prints nothing and waits for nobody longer than a person would.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::CompletionCandidate;

use crate::context::{Context, GlobalArgs};
use crate::model::ProjectName;
use crate::ui::escape::visible;

/// How long the agent may take for one answer: a Tab is answered within 50 ms, or not at all.
const PATIENCE: Duration = Duration::from_millis(40);

/// Tags of the current project.
pub(crate) fn tags(current: &OsStr) -> Vec<CompletionCandidate> {
    current.to_str().and_then(|current| of_tags("", current)).unwrap_or_default()
}

/// The last one of tags with commas between them.
pub(crate) fn tags_with_commas(current: &OsStr) -> Vec<CompletionCandidate> {
    behind(current, ',')
}

/// The tag in `NAME=TAG`.
pub(crate) fn tag_of_variable(current: &OsStr) -> Vec<CompletionCandidate> {
    if current.as_encoded_bytes().contains(&b'=') { behind(current, '=') } else { Vec::new() }
}

/// Projects of the vault.
pub(crate) fn projects(current: &OsStr) -> Vec<CompletionCandidate> {
    let candidates = || {
        let current = current.to_str()?;
        let projects = context().vault_of_agent(PATIENCE).ok()??.projects().ok()?;
        let named = projects.into_iter().filter(|(name, _)| name.as_str().starts_with(current));
        Some(named.map(|(name, _)| CompletionCandidate::new(name.as_str())).collect())
    };
    candidates().unwrap_or_default()
}

fn behind(current: &OsStr, separator: char) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let (before, last) = current.split_at(current.rfind(separator).map_or(0, |at| at + 1));
    of_tags(before, last).unwrap_or_default()
}

fn of_tags(before: &str, current: &str) -> Option<Vec<CompletionCandidate>> {
    let cx = context();
    let vault = cx.vault_of_agent(PATIENCE).ok()??;
    let secrets = vault.list(Some(cx.project().ok()?), |metadata| metadata.tag.as_str().starts_with(current)).ok()?;
    let candidate = |secret: crate::model::Secret| {
        let name = secret.metadata.name.map(|name| visible(name.as_str()).into());
        CompletionCandidate::new(format!("{before}{}", secret.metadata.tag)).help(name)
    };
    Some(secrets.into_iter().map(candidate).collect())
}

/// The vault and the project of the command line that is being typed.
fn context() -> Context {
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let (mut vault, mut project) = (None, None);
    while let Some(word) = words.next() {
        let mut value = |names: [&str; 2]| option(&word, names, &mut words);
        if let Some(path) = value(["--vault", "--vault"]) {
            vault = Some(PathBuf::from(path));
        } else if let Some(name) = value(["--project", "-p"]) {
            // It may be the word that is being completed.
            project = name.to_str().and_then(|name| ProjectName::parse(name).ok());
        }
    }
    Context::silent(GlobalArgs::of(vault, project))
}

/// The value of an option behind it or behind `=`.
fn option(word: &OsStr, names: [&str; 2], rest: &mut impl Iterator<Item = OsString>) -> Option<OsString> {
    if names.iter().any(|name| word == *name) {
        return rest.next();
    }
    let word = word.to_str()?;
    let joined = |name: &&str| {
        if name.starts_with("--") { word.strip_prefix(*name)?.strip_prefix('=') } else { word.strip_prefix(*name) }
    };
    names.iter().find_map(joined).map(Into::into)
}
