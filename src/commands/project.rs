//! `secrets project`: lists, renames and deletes projects.

use clap_complete::ArgValueCompleter;
use secrets_core::model::ProjectName;

use super::shared::confirm::{require_confirmation, require_terminal, vault_to_change};
use super::shared::references::refuse_referenced;
use crate::completion;
use crate::config::Environment;
use crate::context::{Context, ProjectSource};
use crate::error::{Error, hint};
use crate::output::{DefaultProject, Projects};
use crate::ui::{counted, listed};

const EXAMPLES: &str = "\
Examples:
  secrets project list
  secrets project use web
  secrets project rename web website
  secrets project delete old-project --yes";

/// List, choose, rename or delete projects
///
/// A project is created with its first secret and exists until it is deleted. `project list` marks
/// the current one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProjectArgs {
    #[command(subcommand)]
    command: ProjectCommand,
}

#[derive(clap::Subcommand)]
enum ProjectCommand {
    /// List projects and their number of secrets
    #[command(after_help = "Examples:\n  secrets project list\n  secrets project list --json")]
    List,
    /// Set the project for commands that name none
    ///
    /// It applies to this vault on this machine, where neither an option, a variable nor a .secrets.toml
    /// names a project. `secrets status` shows it.
    #[command(
        name = "use",
        after_help = "Examples:\n  secrets project use web\n  secrets project use --none"
    )]
    Use {
        /// Use this project
        #[arg(id = "default", value_name = "NAME", required_unless_present = "none", add = ArgValueCompleter::new(completion::projects))]
        project: Option<ProjectName>,
        /// Use `default` again
        #[arg(long, conflicts_with = "default")]
        none: bool,
    },
    /// Rename a project
    #[command(after_help = "Example:\n  secrets project rename web website")]
    Rename {
        /// The current name
        #[arg(add = ArgValueCompleter::new(completion::projects))]
        from: ProjectName,
        /// The new name
        to: ProjectName,
    },
    /// Delete projects with all their secrets, permanently
    #[command(after_help = "Example:\n  secrets project delete old-project --yes")]
    Delete {
        /// Delete these projects
        #[arg(value_name = "PROJECT", required = true, add = ArgValueCompleter::new(completion::projects))]
        projects: Vec<ProjectName>,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
        /// Delete secrets even if files in the working directory's tree still refer to them
        #[arg(long)]
        force: bool,
    },
}

pub(crate) fn run(args: ProjectArgs, cx: &Context) -> Result<(), Error> {
    match args.command {
        ProjectCommand::List => cx.ui.print(&list(cx)?),
        ProjectCommand::Use { project, .. } => choose(cx, project.as_ref()),
        ProjectCommand::Rename { from, to } => {
            cx.written(cx.vault()?, cx.vault()?.rename_project(&from, &to)?);
            cx.ui.status(&format!("renamed project `{from}` to `{to}`"));
            report_tokens(cx, &from, &to);

            // The manifest may be committed, so only a person should change it.
            if let Ok(Some(manifest)) = cx.target.manifest()
                && manifest.project.as_ref() == Some(&from)
            {
                cx.ui.warn(&format!(
                    "`{}` still refers to project `{from}`",
                    manifest.path().display()
                ));
            }

            cx.ui.document(|| list(cx))
        }
        ProjectCommand::Delete { projects, yes, force } => delete(cx, &projects, yes, force),
    }
}

/// Sets the default project. Warns if this directory has another one anyway.
fn choose(cx: &Context, project: Option<&ProjectName>) -> Result<(), Error> {
    cx.target.use_project(project)?;
    let default = project.cloned().map_or_else(Environment::default_project, Ok)?;
    cx.ui.status(&format!("commands that name no project use `{default}` from now on"));
    let source = cx.target.project_source()?;
    if !matches!(source, ProjectSource::Used(_) | ProjectSource::Default) {
        let current = cx.target.project()?;
        cx.ui.status(&format!("here they use `{current}` ({})", source.describe()));
    }

    cx.ui.document(|| Ok(DefaultProject { project: default.to_string() }))
}

/// Names the tokens that still go by the old name of a project, because a grant has its name. The
/// project is renamed already, so an error here is no reason to fail.
fn report_tokens(cx: &Context, from: &ProjectName, to: &ProjectName) {
    let Ok(vault) = cx.vault() else { return };
    if !vault.has_tokens().unwrap_or(false) {
        return;
    }

    let which = if vault.holds_root_key() {
        let mut tokens = vault.tokens().unwrap_or_default();
        tokens.retain(|token| token.project == *to);
        if tokens.is_empty() {
            return;
        }

        format!("tokens {}", listed(tokens.iter().map(|token| &token.name)))
    } else {
        "tokens of the project".to_owned()
    };

    cx.ui.warn(&cx.target.hint_text(hint!(
        "{} still have the old name `{}`; `secrets rekey --project {}` gives them the new one",
        which,
        from,
        to
    )));
}

fn list(cx: &Context) -> Result<Projects, Error> {
    Ok(Projects::new(&cx.vault()?.projects()?, cx.target.project()?))
}

fn delete(cx: &Context, names: &[ProjectName], yes: bool, force: bool) -> Result<(), Error> {
    const WHAT: &str = "deleting a project";
    cx.require_vault()?;
    let vault = vault_to_change(cx, yes, WHAT)?;
    names.iter().try_for_each(|name| vault.require_project(name))?;
    if let Some(ours) = cx.target.tree_project()?.filter(|ours| !force && names.contains(ours)) {
        refuse_referenced(cx, &vault.list(Some(ours), |_| true)?)?;
    }

    if !yes {
        require_terminal(WHAT)?;
        let known = vault.projects()?;
        let doomed = known.iter().filter(|(name, _)| names.contains(name));
        let doomed: Vec<String> = doomed
            .map(|(name, count)| format!("`{name}` with its {}", counted(*count, "secret")))
            .collect();

        require_confirmation(&format!("Delete project {} for good?", doomed.join(", ")))?;
    }

    let deleted = cx.written(vault, vault.delete_projects(names)?);
    for (name, count) in &deleted {
        cx.ui.status(&format!("deleted project `{name}` with its {}", counted(*count, "secret")));
    }

    cx.ui.document(|| Ok(Projects::new(&deleted, cx.target.project()?)))
}
