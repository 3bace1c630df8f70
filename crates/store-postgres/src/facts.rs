//! Asks a server about itself: whether a stored change survives a crash, and what else hangs on our
//! tables. Nothing depends on it. A hostile server can say anything here.

use secrets_core::store::StoreError;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::failure::Failure;

/// When the server acknowledges a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledges {
    /// Before it is on a disk: `synchronous_commit` is off
    BeforeDisk,
    /// When it is on the disk of the server
    OnOneDisk,
    /// When a standby has it as well
    OnStandby,
    /// The server did not say
    Unknown,
}

/// A server's statements about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// When a commit is acknowledged
    pub acknowledges: Acknowledges,
    /// Whether `fsync` is on; a crash of the machine can destroy the database without it
    pub flushes: bool,
    /// The number of triggers and rules on our tables
    pub triggers: u64,
    /// The number of our tables that hide rows from some roles
    pub row_security: u64,
    /// The number of our tables that are views or something else
    pub no_tables: u64,
    /// Whether our role may empty tables or change their structure
    pub has_excess_rights: bool,
}

/// The tables of a vault, in the order of their names.
const OURS: &str = "n.nspname = 'secrets' AND c.relname IN ('vault', 'slots', 'projects', 'policies', \
    'grants', 'buckets', 'records', 'vals', 'audit')";

/// Asks a server about itself.
pub(crate) async fn ask(client: &Client) -> Result<ServerFacts, StoreError> {
    let ours = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";
    let count = async |sql: String| {
        let counted = number(client, &sql).await?;
        Ok::<u64, StoreError>(counted)
    };

    let setting = async |name: &str| text(client, &format!("SHOW {name}")).await;
    let commit = setting("synchronous_commit").await?;
    let standbys = setting("synchronous_standby_names").await?;
    let flushes = setting("fsync").await?;
    let triggers = format!(
        "SELECT (SELECT count(*) {ours} JOIN pg_trigger t ON t.tgrelid = c.oid \
         WHERE {OURS} AND NOT t.tgisinternal) + (SELECT count(*) {ours} \
         JOIN pg_rewrite r ON r.ev_class = c.oid WHERE {OURS} AND c.relkind = 'r')"
    );
    let row_security = format!(
        "SELECT count(*) {ours} WHERE {OURS} AND (c.relrowsecurity OR c.relforcerowsecurity)"
    );
    let no_tables = format!("SELECT count(*) {ours} WHERE {OURS} AND c.relkind <> 'r'");
    let excess = format!(
        "SELECT count(*) {ours} WHERE {OURS} AND (has_table_privilege(c.oid, 'TRUNCATE') \
         OR pg_has_role(c.relowner, 'MEMBER'))"
    );

    Ok(ServerFacts {
        acknowledges: acknowledges(commit.as_deref(), standbys.as_deref()),
        flushes: flushes.as_deref() != Some("off"),
        triggers: count(triggers).await?,
        row_security: count(row_security).await?,
        no_tables: count(no_tables).await?,
        has_excess_rights: count(excess).await? > 0,
    })
}

fn acknowledges(commit: Option<&str>, standbys: Option<&str>) -> Acknowledges {
    match (commit, standbys) {
        (Some("off"), _) => Acknowledges::BeforeDisk,
        (Some("local"), _) | (Some(_), Some("")) => Acknowledges::OnOneDisk,
        (Some("on" | "remote_write" | "remote_apply"), Some(_)) => Acknowledges::OnStandby,
        _ => Acknowledges::Unknown,
    }
}

/// Returns the first column of the first row.
async fn text(client: &Client, sql: &str) -> Result<Option<String>, StoreError> {
    let messages = client.simple_query(sql).await;
    let messages = messages.map_err(|error| Failure::of(&error).cause())?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
        _ => None,
    }))
}

async fn number(client: &Client, sql: &str) -> Result<u64, StoreError> {
    Ok(text(client, sql).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
}
