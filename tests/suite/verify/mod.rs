//! `secrets verify` and `secrets salvage` read everything, and one damaged item hides no other.

use rusqlite::Connection;

use crate::support::Sandbox;
use crate::support::values::store_forty;

mod report;
mod salvage;

/// Returns a vault with forty secrets in `web` and two in `default`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("one", "value one"), ("two", "value two")]);
    store_forty(&sandbox);
    sandbox
}

fn sql(sandbox: &Sandbox, statements: &str) {
    Connection::open(sandbox.vault_path()).unwrap().execute_batch(statements).unwrap();
}
