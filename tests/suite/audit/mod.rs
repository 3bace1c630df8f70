//! `secrets audit` shows who changed and used what, and finds out if a log was changed.

use rusqlite::Connection;

use crate::support::Sandbox;

mod attacks;
mod changes;
mod checkpoints;
mod prune;
mod uses;

/// Returns a vault whose project `default` has five changes: a beginning, two creations, an update
/// and an import of forty secrets.
fn changed() -> Sandbox {
    let sandbox = Sandbox::new();
    for tag in ["one", "two"] {
        let line = ["create", "-t", tag, "-q"];
        sandbox.command(line).stdin(format!("m4rker-{tag}")).run().succeeds();
    }

    sandbox.command(["update", "one", "-q"]).stdin("m4rker-new").run().succeeds();
    let many: String = (0..40).map(|number| format!("KEY_{number}=m4rker-{number}\n")).collect();
    sandbox.write("many.env", many);
    sandbox.run(["import", "many.env", "-q"]).succeeds();
    sandbox
}

fn sql(sandbox: &Sandbox, statements: &str) {
    Connection::open(sandbox.vault_path()).unwrap().execute_batch(statements).unwrap();
}

/// Returns the sealed entries of the project's log.
fn sealed(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    let query = "SELECT ct FROM audit WHERE pid <> zeroblob(16) ORDER BY seq";
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Returns true if `bytes` contain `part`.
fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
