//! The tables of a vault in a database. They are the tables of docs/format.md, section 6, in a schema
//! of their own.

/// The name of the schema.
pub(crate) const NAME: &str = "secrets";
/// The number of the tables' format. A version of the program reads and writes only its own.
pub(crate) const FORMAT: i32 = 3;

/// Creates the schema and the tables, if they do not exist. Each statement is idempotent, so that an
/// interrupted `remote init` can be repeated.
pub(crate) const CREATE: &str = "
CREATE SCHEMA IF NOT EXISTS secrets;
CREATE TABLE IF NOT EXISTS secrets.vault(
    id int PRIMARY KEY CHECK(id = 1), vault_id bytea NOT NULL, suite int NOT NULL, past bytea NOT NULL,
    format int NOT NULL);
CREATE TABLE IF NOT EXISTS secrets.slots(
    slot_id bytea PRIMARY KEY, type int NOT NULL, params bytea NOT NULL, salt bytea NOT NULL,
    commitment bytea NOT NULL, wrap bytea NOT NULL);
CREATE TABLE IF NOT EXISTS secrets.projects(
    pid bytea PRIMARY KEY, epoch bigint NOT NULL, head bytea NOT NULL, sig bytea NOT NULL);
CREATE TABLE IF NOT EXISTS secrets.policies(
    pid bytea NOT NULL, v bigint NOT NULL, body bytea NOT NULL, sig bytea NOT NULL,
    PRIMARY KEY(pid, v));
CREATE TABLE IF NOT EXISTS secrets.grants(
    token_id bytea PRIMARY KEY, gen bigint NOT NULL, body bytea NOT NULL, escrow bytea NOT NULL);
CREATE TABLE IF NOT EXISTS secrets.buckets(
    pid bytea NOT NULL, b int NOT NULL, h bytea NOT NULL, PRIMARY KEY(pid, b));
CREATE TABLE IF NOT EXISTS secrets.records(
    pid bytea NOT NULL, tag_ix bytea NOT NULL, rid bytea NOT NULL UNIQUE, epoch bigint NOT NULL,
    ver bigint NOT NULL, vver bigint NOT NULL, val_hash bytea NOT NULL, leaf bytea NOT NULL,
    meta bytea NOT NULL, PRIMARY KEY(pid, tag_ix));
CREATE TABLE IF NOT EXISTS secrets.vals(rid bytea PRIMARY KEY, val bytea NOT NULL);
CREATE TABLE IF NOT EXISTS secrets.audit(
    pid bytea NOT NULL, seq bigint NOT NULL, epoch bigint NOT NULL, ct bytea NOT NULL,
    PRIMARY KEY(pid, seq));
";

/// All tables, each before those whose rows name its rows.
pub(crate) const TABLES: [&str; 9] =
    ["vals", "records", "buckets", "policies", "audit", "grants", "projects", "slots", "vault"];
