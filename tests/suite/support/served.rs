//! A sandbox with an origin that its secrets may be sent to.

use std::ffi::OsStr;

use test_origin::{Authority, Options, Origin, Received};

use super::{Prepared, Sandbox};

/// A sandbox and an origin. Programs of the sandbox trust the origin's certificate.
pub struct Served {
    pub sandbox: Sandbox,
    pub origin: Origin,
    pub authority: Authority,
}

impl Served {
    /// Creates a sandbox with secrets of project `default`.
    pub fn with_secrets(secrets: &[(&str, &str)]) -> Self {
        Self::of(Sandbox::with_secrets(secrets))
    }

    pub fn of(sandbox: Sandbox) -> Self {
        let authority = Authority::new();
        let origin = Origin::start(&authority, Options::default());
        sandbox.write("origin.pem", authority.pem());
        Self { sandbox, origin, authority }
    }

    /// Lets a secret be sent to the origin.
    #[track_caller]
    pub fn allow(&self, tag: &str, options: &[&str]) {
        let to = self.origin.url("");
        let arguments =
            ["allow", tag, "--to", &to, "-q"].into_iter().chain(options.iter().copied());
        self.sandbox.run(arguments).succeeds().stdout("");
    }

    /// Prepares a run that trusts the origin.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Prepared {
        let command = self.sandbox.command(arguments);
        command.env("SSL_CERT_FILE", self.sandbox.path("origin.pem")).env("PATH", super::PATH)
    }

    /// Returns the origin's address for a path.
    pub fn url(&self, path: &str) -> String {
        self.origin.url(path)
    }

    /// Returns the only request that the origin got.
    #[track_caller]
    pub fn received(&self) -> Received {
        self.origin.log.one()
    }
}
