//! `secrets audit`: shows who changed and used what, and verifies and prunes the logs.

mod checkpoint;
mod logs;
mod prune;
mod verify;

use std::path::PathBuf;

use clap_complete::ArgValueCompleter;
use secrets_core::crypto::uses::UseEntry;
use secrets_core::model::{Period, SecretRef, Timestamp};
use secrets_core::vault::{ChangeLog, LoggedChange};

use super::shared::uses::{check_uses, read_uses};
use crate::completion;
use crate::context::Context;
use crate::error::Error;
use crate::output::{AuditEntries, AuditInfo, AuditKind};
use logs::Selected;

const EXAMPLES: &str = "\
Examples:
  secrets audit --since 7d
  secrets audit --secret stripe-key --json | jq '.entries[]'
  secrets audit --all-projects --kind change
  secrets audit verify
  secrets audit checkpoint > checkpoint.json      to keep elsewhere
  secrets audit verify --checkpoint checkpoint.json
  secrets audit prune --before 365d";

/// Show who changed and used what
///
/// Changes are recorded in the vault: each is signed by the one who made it, and covered by the
/// project's signed head. Uses and refusals are recorded on this machine, in files that a later
/// thief can neither read nor forge. An entry names tags and projects, never a value. On a
/// terminal, prints a table with the newest entry last. Otherwise prints one line per entry with
/// tabs between time, who, action and what.
///
/// With --all-projects, it also shows the vault's own log: projects that were added, renamed and
/// deleted, passphrases, and tokens that were created, changed and revoked. That needs the
/// passphrase, even if the vault is unlocked. `managers` is a change of the tokens that may change
/// the project.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(clap::Subcommand)]
enum AuditCommand {
    /// Verify that the logs are complete
    ///
    /// Verifies that the log of changes of the project has every entry up to its signed head, that
    /// each entry names the one before and is signed by somebody who could sign then, and that the
    /// entry that this machine has seen last is in it. Verifies that the log of uses on this
    /// machine has every entry up to its position, in order. Names the first entry that does not
    /// verify (exit 6).
    #[command(
        after_help = "Examples:\n  secrets audit verify\n  secrets audit verify --all-projects\n  \
                      secrets audit verify --checkpoint checkpoint.json"
    )]
    Verify {
        /// Also verify that the logs contain what `audit checkpoint` has printed to this file
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        checkpoint: Option<PathBuf>,
        /// Verify the logs of all projects and the vault's own
        #[arg(long, conflicts_with_all = ["project", "checkpoint"])]
        all_projects: bool,
    },
    /// Print the end of the log, to keep elsewhere
    ///
    /// Prints number, hash, time and signature of the last change as JSON, and number and hash of
    /// the last use on this machine. Kept where nobody can change it, it proves later that the logs
    /// were not cut or replaced. It contains no tag.
    #[command(after_help = "Example:\n  secrets audit checkpoint > checkpoint.json")]
    Checkpoint {
        /// Print the ends of the logs of all projects and of the vault's own
        #[arg(long, conflicts_with = "project")]
        all_projects: bool,
    },
    /// Remove old entries
    ///
    /// Removes the entries of the project that are older than a period, and overwrites them in the
    /// file. A signed entry remains that says how many were removed, so the rest can still be
    /// verified. Needs the passphrase, even if the vault is unlocked.
    #[command(
        after_help = "Examples:\n  secrets audit prune --before 365d\n  secrets audit prune --before \
                      365d --all-projects --yes"
    )]
    Prune {
        /// Remove entries that are older than this, such as 90d
        #[arg(long, value_name = "PERIOD")]
        before: Period,
        /// Prune the logs of all projects and the vault's own
        #[arg(long, conflicts_with = "project")]
        all_projects: bool,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

/// The entries to show.
#[derive(clap::Args)]
struct Filter {
    /// Show only entries of the last PERIOD, such as 12h or 7d
    #[arg(long, value_name = "PERIOD")]
    since: Option<Period>,
    /// Show only entries about this secret
    #[arg(long, value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: Option<SecretRef>,
    /// Show only entries of this kind
    #[arg(long, value_enum)]
    kind: Option<AuditKind>,
    /// Show the entries of all projects and the vault's own
    #[arg(long, conflicts_with = "project")]
    all_projects: bool,
}

pub(crate) fn run(args: &AuditArgs, cx: &Context) -> Result<(), Error> {
    match &args.command {
        None => show(&args.filter, cx),
        Some(AuditCommand::Verify { checkpoint: Some(file), .. }) => verify::against(file, cx),
        Some(AuditCommand::Verify { all_projects, .. }) => verify::all(*all_projects, cx),
        Some(AuditCommand::Checkpoint { all_projects }) => checkpoint::run(*all_projects, cx),
        Some(AuditCommand::Prune { before, all_projects, yes }) => {
            prune::run(before.before(Timestamp::now()), *all_projects, *yes, cx)
        }
    }
}

fn show(filter: &Filter, cx: &Context) -> Result<(), Error> {
    let since = filter.since.map(|period| period.before(Timestamp::now()));
    let selected = Selected::open(filter.all_projects, cx)?;
    let logs = selected.change_logs(&mut |entry| filter.keeps_change(entry, since))?;
    let changes = logs.iter().flat_map(|log| &log.entries).map(AuditInfo::of_change);
    let mut entries: Vec<AuditInfo> = changes.collect();
    let uses = read_uses(selected.vault(), cx, |seq, _, entry| {
        if selected.includes(entry.project.as_deref()) && filter.keeps_use(&entry, since) {
            entries.push(AuditInfo::of_use(seq, &entry));
        }
    })?;

    if entries.is_empty() {
        // A secret that was deleted has entries. One that never existed has a similar name.
        if let Some(secret) = &filter.secret {
            selected.vault().get(cx.target.project()?, secret)?;
        }

        cx.ui.status("no entries");
    }

    cx.ui.print(&AuditEntries::new(entries, filter.all_projects))?;
    logs.iter().try_for_each(ChangeLog::check)?;
    check_uses(&uses)
}

impl Filter {
    fn keeps_change(&self, entry: &LoggedChange, since: Option<Timestamp>) -> bool {
        self.kind.is_none_or(|kind| kind == AuditKind::Change)
            && since.is_none_or(|since| entry.time >= since)
            && self.secret.as_ref().is_none_or(|secret| concerns(entry, secret))
    }

    fn keeps_use(&self, entry: &UseEntry, since: Option<Timestamp>) -> bool {
        let kind = if entry.refused { AuditKind::Deny } else { AuditKind::Use };
        let is_about = |secret: &SecretRef| {
            let is_named = entry.tags.iter().any(|tag| is_tag(tag, secret));
            is_named || entry.count > entry.tags.len() as u64
        };

        self.kind.is_none_or(|wanted| wanted == kind)
            && since.is_none_or(|since| entry.time >= since.0)
            && self.secret.as_ref().is_none_or(is_about)
    }
}

/// Returns true if a recorded tag is that of a secret. Uses are recorded without ids.
fn is_tag(recorded: &str, secret: &SecretRef) -> bool {
    match (recorded.parse(), secret) {
        (Ok(SecretRef::Tag(recorded)), SecretRef::Tag(tag)) => recorded.key() == tag.key(),
        _ => false,
    }
}

/// Returns true if a change concerned a secret. A large change names only some of its secrets, so it
/// may have concerned any.
fn concerns(entry: &LoggedChange, secret: &SecretRef) -> bool {
    let change = &entry.change;
    let is_named = change.items.iter().any(|item| match secret {
        SecretRef::Id(id) => id.0 == item.rid,
        SecretRef::Tag(_) => is_tag(&item.name, secret),
    });

    let is_about_secrets = entry.project.is_some() && change.is_about_secrets();
    is_about_secrets && (is_named || change.count > change.items.len() as u64)
}
