//! `secrets token`, and every command with a token: the rights of each level, and the errors without
//! them.

mod change;
mod given;
mod levels;
mod restored;

use crate::support::{Prepared, Sandbox, project, secret};

/// A sandbox whose project `web` has the secrets `api-key`, `db-password` and `other`, and tokens in
/// files that are named after them.
struct Tokens(Sandbox);

impl Tokens {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let vault = sandbox.vault();
        for tag in ["api-key", "db-password", "other"] {
            let value = format!("value-of-{tag}");
            vault.create(&project("web"), secret(tag, value.as_bytes())).unwrap();
        }

        vault.create(&project("elsewhere"), secret("api-key", b"value-elsewhere")).unwrap();
        Self(sandbox)
    }

    /// Creates a token and returns its string.
    #[track_caller]
    fn create(&self, name: &str, options: &[&str]) -> String {
        let arguments = ["token", "create", name, "-p", "web", "-q", "--output", name];
        self.0.run(arguments.iter().chain(options)).succeeds();
        String::from_utf8(self.0.read(name)).unwrap().trim_end().to_owned()
    }

    /// Prepares a command with a token and without a passphrase.
    fn with(&self, token: &str, arguments: &[&str]) -> Prepared {
        let command = self.0.command(["--token-file", token].iter().chain(arguments));
        command.without_env("SECRETS_PASSPHRASE")
    }
}
