//! `secrets token`: creates, lists, changes, rotates and revokes tokens. `create`, `change` and `show`
//! have the handlers.

mod change;
mod create;
mod show;

use std::ffi::OsString;
use std::path::PathBuf;

use secrets_core::model::{Expiry, Level, Period, TokenName};

use crate::context::{Context, Right};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets token create ci --level use --only api-key,db-password
  secrets token create bot --level read --expires 30d --output bot.token
  secrets token list
  secrets token revoke ci
  SECRETS_TOKEN_FILE=ci.token secrets render app.env.tmpl";

/// Give scripts, CI jobs and agents access without the passphrase
///
/// A token is one word that opens one project, or some of its secrets. Its level says what it may
/// do: `read` sees tags, names, descriptions and hints; `use` also puts values to work with `render`,
/// `run`, `redact`, `scan`, `setup`, `check` and `export`; `manage` also creates, updates, deletes,
/// clones and imports. A token has only the keys for that, so even with a debugger it opens nothing
/// else. It also works with a copy of the vault on another machine.
///
/// All of these commands but `check` take the passphrase, even if the vault is unlocked. `bundle` also
/// takes the token itself.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(clap::Subcommand)]
enum TokenCommand {
    /// Create a token and print it, once
    #[command(after_help = "Examples:\n  \
        secrets token create ci --level use --only api-key,db-password\n  \
        secrets token create deploy --level manage --output deploy.token")]
    Create(CreateArgs),
    /// List the tokens of the current project, never their strings
    #[command(after_help = "Examples:\n  secrets token list\n  secrets token list --all-projects")]
    List {
        /// List the tokens of every project
        #[arg(long, conflicts_with = "project")]
        all_projects: bool,
    },
    /// Show what a token may do, and what enforces each rule
    #[command(after_help = "Example:\n  secrets token show ci")]
    Show {
        /// Show this token
        name: TokenName,
    },
    /// Change what a token may do; its string stays the same
    #[command(after_help = "Examples:\n  \
        secrets token update ci --expires 90d\n  \
        secrets token update ci --only +new-key,-old-key")]
    Update(UpdateArgs),
    /// Replace a token by a new string with the same rights
    #[command(after_help = "Example:\n  secrets token rotate ci --grace 24h")]
    Rotate(RotateArgs),
    /// Revoke tokens and give their project new keys
    #[command(after_help = "Examples:\n  secrets token revoke ci\n  secrets token revoke --all")]
    Revoke {
        /// Revoke these tokens
        #[arg(value_name = "NAME", required_unless_present = "all")]
        names: Vec<TokenName>,
        /// Revoke every token of every project, even if the list of tokens is damaged
        #[arg(long, conflicts_with_all = ["names", "project"])]
        all: bool,
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
        /// Do not give the project new keys: the tokens can change nothing more, but a holder who kept one
        /// and a copy of the vault can still read it
        #[arg(long)]
        keep_keys: bool,
    },
    /// Show what the given token may do, without the passphrase
    #[command(after_help = "Example:\n  SECRETS_TOKEN_FILE=ci.token secrets token check")]
    Check,
    /// Write a read-only vault file with only what a token needs
    #[command(after_help = "Examples:\n  \
        secrets token bundle ci ci.vault\n  \
        secrets --vault ci.vault --token-file ci.token render app.env.tmpl")]
    Bundle {
        /// Write the bundle of this token
        name: TokenName,
        /// Write it to FILE, and replace an earlier bundle of the same token
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        path: PathBuf,
    },
}

#[derive(clap::Args)]
struct CreateArgs {
    /// The name of the new token
    name: TokenName,
    /// Set its level: `read`, `use` or `manage`
    #[arg(long, value_parser = level)]
    level: Level,
    /// Limit it to these secrets
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    only: Vec<OsString>,
    /// Include restricted secrets
    #[arg(long)]
    restricted: bool,
    /// Stop instead of going on when a use cannot be recorded in the audit log
    #[arg(long)]
    strict: bool,
    /// Set when it expires: a period such as `90d` (`m` is months), a date or `never`
    #[arg(long, value_name = "WHEN", default_value = "90d")]
    expires: Expiry,
    /// Write the token to a new private file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Also write a bundle: a read-only vault file with only what the token needs
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    bundle: Option<PathBuf>,
}

#[derive(clap::Args)]
struct UpdateArgs {
    /// Change this token
    name: TokenName,
    /// Change what it may do: `read`, `use` or `manage`
    #[arg(long, value_parser = level)]
    level: Option<Level>,
    /// Change the secrets of a limited token: add with `+TAG`, take away with `-TAG`. `-TAG` limits a
    /// token that had all secrets; it cannot be made unlimited again
    #[arg(long, value_name = "+TAG,-TAG,...", value_delimiter = ',', allow_hyphen_values = true)]
    only: Vec<OsString>,
    /// Include restricted secrets, or with `=false` no longer
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        require_equals = true)]
    restricted: Option<bool>,
    /// Stop when a use cannot be recorded in the audit log, or with `=false` no longer
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
        require_equals = true)]
    strict: Option<bool>,
    /// Set when it expires: a period such as `90d` (`m` is months), a date or `never`
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expiry>,
    /// Do not give the project new keys if the token may do less
    #[arg(long)]
    keep_keys: bool,
}

#[derive(clap::Args)]
struct RotateArgs {
    /// Replace the string of this token
    name: TokenName,
    /// Let the old string work for this long, such as `12h` or `7d`; without it, every old string is
    /// revoked at once
    #[arg(long, value_name = "PERIOD", value_parser = grace)]
    grace: Option<Period>,
    /// Set when the new one expires: a period such as `90d` (`m` is months), a date or `never`
    #[arg(long, value_name = "WHEN", default_value = "90d")]
    expires: Expiry,
    /// Write the token to a new private file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Do not give the project new keys
    #[arg(long, conflicts_with = "grace")]
    keep_keys: bool,
}

/// Parses a time of grace. Its unit `m` would be months, which nobody means here.
fn grace(text: &str) -> Result<Period, String> {
    if text.ends_with('m') {
        return Err("`m` is months; write `1h`, which is the shortest time, or `30d`".into());
    }

    Period::parse(text).map_err(|why| why.to_string())
}

impl TokenArgs {
    /// Returns what the command needs.
    pub(crate) fn right(&self) -> Right {
        match self.command {
            TokenCommand::Check | TokenCommand::Bundle { .. } => Right::Level(Level::Read),
            _ => Right::Owner,
        }
    }
}

pub(crate) fn run(args: &TokenArgs, cx: &Context) -> Result<(), Error> {
    match &args.command {
        TokenCommand::Create(args) => create::create(args, cx),
        TokenCommand::Rotate(args) => create::rotate(args, cx),
        TokenCommand::Bundle { name, path } => create::bundle(name, path, cx),
        TokenCommand::Update(args) => change::update(args, cx),
        TokenCommand::Revoke { names, all, yes, keep_keys } => {
            change::revoke((!all).then_some(names), *yes, *keep_keys, cx)
        }
        TokenCommand::List { all_projects } => show::list(*all_projects, cx),
        TokenCommand::Show { name } => show::show(name, cx),
        TokenCommand::Check => show::check(cx),
    }
}

fn level(text: &str) -> Result<Level, &'static str> {
    let found = Level::ALL.into_iter().find(|level| level.as_str() == text);
    found.ok_or("the levels are `read`, `use` and `manage`")
}
