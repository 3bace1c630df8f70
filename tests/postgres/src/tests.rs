//! Shows that clusters and relays do what they promise.

mod cluster;
mod relay;

use std::process::{Command, Output};

use crate::Database;

/// Returns a command that runs a statement as the role `app`, through a port.
fn psql(database: &Database, port: u16, statement: &str) -> Command {
    let url = database.url_at(port) + "&sslmode=verify-full";
    let mut psql = Command::new("psql");
    psql.env("PGPASSWORD", database.password()).args(["-qAtX", &url, "-c", statement]);
    psql
}

fn text(output: &Output) -> String {
    let bytes = if output.status.success() { &output.stdout } else { &output.stderr };
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
