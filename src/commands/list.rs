//! `secrets list`: lists a project's secrets; on a terminal and as JSON one page at a time.

use secrets_core::model::{Class, Level, Metadata, Period, Timestamp, TokenName};
use secrets_core::vault::Page;

use crate::context::{Context, Right};
use crate::error::Error;
use crate::output::SecretPage;

const EXAMPLES: &str = "\
Examples:
  secrets list
  secrets list --filter stripe
  secrets list --access restricted
  secrets list --expiring 30d      what has to be replaced soon
  secrets list --all-projects --json | jq -r '.secrets[].tag'
  secrets list | cut -f1       tab-separated if stdout is not a terminal";

/// List secrets with their hints
///
/// On a terminal, prints a table, one page at a time. Otherwise prints one line per secret with
/// tabs between tag, hint, date, name and id (with --all-projects, the project comes first; with
/// --expiring, the expiry date follows the date). Secrets are sorted by tag. A restricted secret has
/// no hint: the word `restricted` is in its place.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// List only secrets whose tag, name or description contains TEXT, ignoring case
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// List only team secrets or only restricted secrets
    #[arg(long, value_enum, value_name = "ACCESS")]
    access: Option<AccessArg>,
    /// List only secrets whose value this token may use; takes the passphrase
    #[arg(long, value_name = "TOKEN")]
    usable_by: Option<TokenName>,
    /// List only secrets whose value has expired or expires within a period, such as 30d
    #[arg(long, value_name = "PERIOD")]
    expiring: Option<Period>,
    /// List only secrets whose last change, of the value or of a label, is longer ago than a
    /// period, such as 90d
    #[arg(long, value_name = "PERIOD")]
    older_than: Option<Period>,
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

impl ListArgs {
    /// Returns what the command needs, and its name for a refusal.
    pub(crate) fn right(&self) -> (Right, &'static str) {
        match self.usable_by {
            Some(_) => (Right::Owner, "list --usable-by"),
            None => (Right::Level(Level::Read), "list"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AccessArg {
    /// Everybody who may use the project's values may use it
    Team,
    /// Only readers with a right for restricted secrets may use it
    Restricted,
}

impl From<AccessArg> for Class {
    fn from(arg: AccessArg) -> Self {
        match arg {
            AccessArg::Team => Self::Team,
            AccessArg::Restricted => Self::Restricted,
        }
    }
}

pub(crate) fn run(args: &ListArgs, cx: &Context) -> Result<(), Error> {
    let project = if args.all_projects { None } else { Some(cx.target.project()?) };
    let wanted = args.filter.as_deref().map(str::to_lowercase);
    let class = args.access.map(Class::from);
    let usable_by = |name| Ok::<_, Error>(cx.with_root_key()?.token_named(name)?);
    let token = args.usable_by.as_ref().map(usable_by).transpose()?;
    let project = token.as_ref().map_or(project, |token| Some(&token.project));
    let now = Timestamp::now();
    let (until, before) = (
        args.expiring.map(|period| period.after(now)),
        args.older_than.map(|period| period.before(now)),
    );

    let keep = |metadata: &Metadata| {
        let expires = |until| metadata.expires.is_some_and(|expires| expires <= until);
        token.as_ref().is_none_or(|token| token.may_use(metadata))
            && class.is_none_or(|class| class == metadata.class)
            && wanted.as_deref().is_none_or(|text| contains(metadata, text))
            && until.is_none_or(expires)
            && before.is_none_or(|before| metadata.updated < before)
    };

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
        with_expiry: args.expiring.is_some(),
    })?;

    if total == 0 {
        let place =
            project.map_or_else(|| "the vault".to_owned(), |name| format!("project `{name}`"));
        let is_filtered = wanted.is_some()
            || class.is_some()
            || token.is_some()
            || until.is_some()
            || before.is_some();
        let what = if is_filtered { "no matching secrets" } else { "no secrets" };
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
