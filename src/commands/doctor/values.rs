//! The secrets: expired, unused, easy to guess, stored more than once.

use std::collections::HashMap;

use secrets_core::crypto::fingerprint::FingerprintKey;
use secrets_core::model::{ProjectName, Tag, Timestamp};
use secrets_core::vault::Vault;

use super::super::shared::uses::{RecentUses, UNUSED};
use super::Findings;
use crate::context::Context;
use crate::error::Error;
use crate::output::FoundSecret;
use crate::strength::is_easy_to_guess;
use crate::ui::counted;

/// The number of secrets that a message names.
const NAMED: usize = 5;

pub(super) fn check(found: &mut Findings, cx: &Context) -> Result<(), Error> {
    let Some(vault) = cx.vault_without_asking()? else {
        found.skipped("values", "the vault is locked", "unlock it with `secrets unlock` first");
        return Ok(());
    };

    let (now, secrets) = (Timestamp::now(), vault.list(None, |_| true)?);
    let is_expired = |time: Timestamp| time <= now;
    let expired = secrets.iter().filter(|one| one.metadata.expires.is_some_and(is_expired));
    report(
        found,
        "expired",
        expired.map(|one| (&one.project, &one.metadata.tag)),
        ("has expired", "have expired", "no value has expired"),
        "store a new value with `secrets update TAG`",
    );

    if let Ok(used) = RecentUses::read(cx, vault) {
        let unused = secrets.iter().filter(|one| {
            one.metadata.created <= UNUSED.before(now)
                && !used.includes(&one.project, &one.metadata.tag)
        });
        report(
            found,
            "unused",
            unused.map(|one| (&one.project, &one.metadata.tag)),
            (
                "was not used for 90 days on this machine",
                "were not used for 90 days on this machine",
                "every secret older than 90 days was used on this machine",
            ),
            "delete what nobody needs with `secrets delete TAG`",
        );
    }

    of_values(found, vault, cx)
}

/// Opens each value once.
fn of_values(found: &mut Findings, vault: &Vault, cx: &Context) -> Result<(), Error> {
    let key = FingerprintKey::new().map_err(|error| Error::internal(error.to_string()))?;
    let (mut weak, mut seen) = (Vec::new(), HashMap::<[u8; 32], Vec<(ProjectName, Tag)>>::new());
    let progress = cx.ui.progress("values checked");
    let mut number = 0;
    for (project, _) in vault.projects()? {
        for (tag, value) in vault.scope(&project).reveal_all()? {
            if is_easy_to_guess(value.expose()) {
                weak.push((project.clone(), tag.clone()));
            }

            seen.entry(key.of(value.expose())).or_default().push((project.clone(), tag));
            number += 1;
            progress.on_progress(number);
        }
    }

    drop(progress);
    report(
        found,
        "weak values",
        weak.iter().map(|(project, tag)| (project, tag)),
        ("is easy to guess", "are easy to guess", "no value is easy to guess"),
        "`secrets update TAG --generate` draws a new value",
    );

    let mut several: Vec<_> = seen.into_values().filter(|all| all.len() > 1).collect();
    several
        .sort_by_cached_key(|all| all.first().map(|(project, tag)| (project.clone(), tag.key())));
    match &several[..] {
        [] => found.ok("equal values", "no value is stored more than once"),
        [first, ..] => {
            let more = several.len() - 1;
            let others = if more == 0 {
                String::new()
            } else {
                format!(", and {} more", counted(more, "group"))
            };
            found.warning(
                "equal values",
                format!("{} have the same value{others}", names(first.iter().map(|(p, t)| (p, t)))),
                "if one leaks, all are exposed; give each its own value",
            );
            found.name(all(several.iter().flatten().map(|(project, tag)| (project, tag))));
        }
    }

    Ok(())
}

/// Reports the secrets of a kind, with a phrase for one, for several and for none.
fn report<'s>(
    found: &mut Findings,
    check: &'static str,
    secrets: impl Iterator<Item = (&'s ProjectName, &'s Tag)> + Clone,
    (one, several, none): (&str, &str, &str),
    fix: &str,
) {
    match secrets.clone().count() {
        0 => return found.ok(check, none),
        1 => found.warning(check, format!("{} {one}", names(secrets.clone())), fix),
        _ => found.warning(check, format!("{} {several}", names(secrets.clone())), fix),
    }

    found.name(all(secrets));
}

/// Returns every secret for `--json`.
fn all<'s>(secrets: impl Iterator<Item = (&'s ProjectName, &'s Tag)>) -> Vec<FoundSecret> {
    let found = |(project, tag): (&ProjectName, &Tag)| FoundSecret {
        project: project.to_string(),
        tag: tag.to_string(),
    };
    secrets.map(found).collect()
}

/// Names the first secrets, and counts the others.
fn names<'s>(secrets: impl Iterator<Item = (&'s ProjectName, &'s Tag)> + Clone) -> String {
    let count = secrets.clone().count();
    let mut shown: Vec<String> =
        secrets.take(NAMED).map(|(project, tag)| format!("`{tag}` in {project}")).collect();
    if count > NAMED {
        shown.push(format!("{} (`--json` names all)", counted(count - NAMED, "other")));
    }

    let last = shown.pop().unwrap_or_default();
    if shown.is_empty() { last } else { format!("{} and {last}", shown.join(", ")) }
}
