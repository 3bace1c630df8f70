//! `secrets render`: its output, its options and its errors.

use crate::support::{Prepared, Sandbox};

mod grammar;
mod mistakes;
mod outputs;
mod sources;

/// Returns a vault whose values identify their secrets.
fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[
        ("x", "vx"),
        ("TOKEN", "v token"),
        ("my-secret", "v\"my\nsecret"),
        ("url", " a/b "),
    ])
}

/// Prepares a command without a vault and without a passphrase.
fn bare<const N: usize>(sandbox: &Sandbox, arguments: [&str; N]) -> Prepared {
    sandbox
        .command(arguments)
        .without_env("SECRETS_PASSPHRASE")
        .env("SECRETS_VAULT", sandbox.path("no.db"))
}
