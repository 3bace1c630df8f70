//! `secrets list`: lists a project's secrets; on a terminal and as JSON one page at a time.

use secrets_core::model::Metadata;
use secrets_core::vault::Page;

use crate::context::Context;
use crate::error::Error;
use crate::output::SecretPage;

const EXAMPLES: &str = "\
Examples:
  secrets list
  secrets list --filter stripe
  secrets list --all-projects --json | jq -r '.secrets[].tag'
  secrets list | cut -f1       tab-separated if stdout is not a terminal";

/// List secrets with their hints
///
/// On a terminal, prints a table, one page at a time. Otherwise prints one line per secret with
/// tabs between tag, hint, date, name and id (with --all-projects, the project comes first).
/// Secrets are sorted by tag.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// List only secrets whose tag, name or description contains TEXT, ignoring case
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show page N, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    page: usize,
    /// Show N secrets per page, 1 to 1000 [default: 250 on a terminal and with --json, else all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    page_size: Option<u16>,
    /// Show everything on one page
    #[arg(long, conflicts_with_all = ["page", "page_size"])]
    all: bool,
    /// List the secrets of every project
    #[arg(long, conflicts_with = "project")]
    all_projects: bool,
}

pub(crate) fn run(args: &ListArgs, cx: &Context) -> Result<(), Error> {
    let project = if args.all_projects { None } else { Some(cx.target.project()?) };
    let wanted = args.filter.as_deref().map(str::to_lowercase);
    let keep = |metadata: &Metadata| wanted.as_deref().is_none_or(|text| contains(metadata, text));
    let vault = cx.vault()?;
    let (page, size, Page { secrets, total }) = if is_paged(args, cx) {
        let (page, size) = (args.page, args.page_size.unwrap_or(PAGE_SIZE).into());
        (page, size, vault.list_page(project, keep, page.saturating_mul(size), size)?)
    } else {
        let secrets = vault.list(project, keep)?;
        let total = secrets.len();
        (0, total.max(1), Page { secrets, total })
    };

    if total == 0 && !args.all_projects {
        cx.require_named_project()?;
    }

    cx.ui.print(&SecretPage {
        page,
        secrets: &secrets,
        total,
        total_pages: total.div_ceil(size),
        with_project: args.all_projects,
    })?;

    if total == 0 {
        let place =
            project.map_or_else(|| "the vault".to_owned(), |name| format!("project `{name}`"));
        let what = if wanted.is_some() { "no matching secrets" } else { "no secrets" };
        cx.ui.status(&format!("{what} in {place}"));
    } else if secrets.is_empty() {
        cx.ui.status(&format!(
            "page {page} does not exist; the last page is {}",
            total.div_ceil(size) - 1
        ));
    } else if secrets.len() < total {
        let pages = total.div_ceil(size);
        let next = if page + 1 < pages {
            format!("use `--page {}` for the next page or ", page + 1)
        } else {
            "use ".to_owned()
        };

        cx.ui.status(&format!(
            "{} of {total} secrets, page {page} of 0 to {}; {next}`--all` for everything",
            secrets.len(),
            pages - 1
        ));
    }

    Ok(())
}

/// The number of secrets on a page by default.
const PAGE_SIZE: u16 = 250;

/// Returns true if the list is split into pages. A pipe gets everything unless a page was
/// requested, because a script would not notice that the rest of the list is missing.
fn is_paged(args: &ListArgs, cx: &Context) -> bool {
    let is_requested = args.page > 0 || args.page_size.is_some();
    !args.all && (is_requested || cx.ui.is_json() || cx.ui.stdout_is_terminal())
}

fn contains(metadata: &Metadata, text: &str) -> bool {
    let has = |field: &str| field.to_lowercase().contains(text);
    has(metadata.tag.as_str())
        || metadata.name.as_ref().is_some_and(|name| has(name.as_str()))
        || metadata.description.as_ref().is_some_and(|description| has(description.as_str()))
}
