//! `secrets clone`: copies secrets to another project, or one secret to another tag.

use std::collections::BTreeSet;
use std::path::Path;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{ProjectName, SecretRef, SecretValue, Tag};
use secrets_core::vault::{Action, CopyRequest, OnConflict, Reveal, Revealed};

use super::shared::conflicts::Uses;
use super::shared::store::conflict;
use crate::completion;
use crate::context::Context;
use crate::error::Error;
use crate::output::{ClonePlan, Secrets};
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets clone api-key db-url --to staging
  secrets clone --all --to staging --on-conflict skip
  secrets clone --all -E staging --missing
  secrets clone --all --to staging --on-conflict overwrite --yes
  secrets clone api-key --tag api-key-old
  secrets clone --all --to staging --dry-run";

/// Copy secrets to another project
///
/// Copies the tag, name, description, value, expiry date and source under a new id. The copy and
/// the original are independent from then on. Either all secrets are copied or none. With -E, and
/// neither --to nor --tag, it copies from the project of .secrets.toml to that of the environment.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CloneArgs {
    /// Copy these secrets: tags in the current project, or ids in any project
    #[arg(value_name = "TAG|ID", required_unless_present = "all", add = ArgValueCompleter::new(completion::tags))]
    secrets: Vec<SecretRef>,
    /// Copy every secret of the project
    #[arg(long, conflicts_with_all = ["secrets", "tag"])]
    all: bool,
    /// Copy to this project
    #[arg(long, value_name = "PROJECT", add = ArgValueCompleter::new(completion::projects))]
    to: Option<ProjectName>,
    /// Give the copy another tag; only for one secret
    #[arg(long)]
    tag: Option<Tag>,
    /// Choose what to do if the target project already has the tag
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    on_conflict: OnConflictArg,
    /// Copy only what the target project does not have, as `--on-conflict skip`
    #[arg(long, conflicts_with = "on_conflict")]
    missing: bool,
    /// Overwrite values even if outputs use them
    #[arg(short, long)]
    yes: bool,
    /// Print the plan without copying anything
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum OnConflictArg {
    /// Copy nothing
    #[default]
    Fail,
    /// Keep the secret of the target project
    Skip,
    /// Replace everything but its id and tag
    Overwrite,
}

impl From<OnConflictArg> for OnConflict {
    fn from(arg: OnConflictArg) -> Self {
        match arg {
            OnConflictArg::Fail => Self::Fail,
            OnConflictArg::Skip => Self::Skip,
            OnConflictArg::Overwrite => Self::Overwrite,
        }
    }
}

pub(crate) fn run(args: &CloneArgs, cx: &Context) -> Result<(), Error> {
    if args.tag.is_some() && args.secrets.len() > 1 {
        return Err(Error::usage("`--tag` cannot be used with more than one secret"));
    }

    let fills = args.to.is_none() && args.tag.is_none() && cx.target.selects_environment();
    if args.to.is_none() && args.tag.is_none() && !fills {
        return Err(Error::usage("the copy needs another project, another tag, or both")
            .hint("set them with `--to PROJECT` and `--tag TAG`"));
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let base = if fills { Some(cx.target.base_project()?) } else { None };
    let from = base.as_ref().unwrap_or(project);
    let request = CopyRequest {
        secrets: (!args.all).then_some(&args.secrets),
        from,
        to: args.to.as_ref().unwrap_or(project),
        tag: args.tag.as_ref(),
        on_conflict: if args.missing { OnConflict::Skip } else { args.on_conflict.into() },
    };

    let vault = cx.vault()?;
    if args.dry_run {
        let plan = vault.plan_copy(&request).map_err(|error| conflict(error, CONFLICT))?;
        return cx.ui.print(&ClonePlan::of(&plan, request.to));
    }

    if args.on_conflict == OnConflictArg::Overwrite {
        confirm_overwriting(args, cx, &request)?;
    }

    let outcome =
        cx.written(vault, vault.copy(&request).map_err(|error| conflict(error, CONFLICT))?);
    let skipped = outcome.plan.len() - outcome.secrets.len();
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    let count = counted(outcome.secrets.len(), "secret");

    cx.ui.status(&format!("copied {count} to project `{}`{skipped}", request.to));
    cx.ui.document(|| Ok(Secrets { secrets: &outcome.secrets }))
}

/// Asks for confirmation before overwriting a value that outputs use.
fn confirm_overwriting(
    args: &CloneArgs,
    cx: &Context,
    request: &CopyRequest<'_>,
) -> Result<(), Error> {
    let vault = cx.vault()?;
    let mut plan = vault.plan_copy(request).map_err(|error| conflict(error, CONFLICT))?;
    plan.retain(|step| step.action == Action::Overwrite);

    let mut values: Vec<(Tag, SecretValue)> = Vec::new();
    let projects: BTreeSet<&ProjectName> = plan.iter().map(|step| &step.source.project).collect();
    for project in projects {
        let steps: Vec<_> = plan.iter().filter(|step| step.source.project == *project).collect();
        let sources: Vec<Tag> = steps.iter().map(|step| step.source.metadata.tag.clone()).collect();
        for (step, revealed) in steps.iter().zip(vault.scope(project).reveal(&sources)?) {
            if let Revealed::Value { value, .. } = revealed {
                values.push((step.tag.clone(), value));
            }
        }
    }

    let new: Vec<_> = values.iter().map(|(tag, value)| (tag, value)).collect();
    let own = cx.target.tree_project()? == Some(request.to);
    let manifest = cx.target.manifest()?.filter(|_| own);
    Uses::of(cx, request.to, manifest, Path::new(""))?.confirm_overwriting(cx, &new, args.yes)
}

const CONFLICT: &str = "choose `--on-conflict skip` or `--on-conflict overwrite`; nothing was \
                        copied";
