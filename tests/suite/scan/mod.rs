//! `scan` finds values and tokens in files, shows where they are and never what they are.

use crate::support::{self, PASSPHRASE, PATH, Prepared, Sandbox, TOKEN};

mod files;
mod hook;
mod index;
mod permissions;
mod tokens;

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN), ("key", "first line of it\nsecond line of it\n")])
}

fn scan(sandbox: &Sandbox, arguments: &[&str]) -> Prepared {
    sandbox.command([&["scan"], arguments].concat()).env("PATH", PATH)
}

fn git(sandbox: &Sandbox, arguments: &[&str]) -> bool {
    let mut git = support::git(&sandbox.path("repo"), &sandbox.path(""), arguments);
    git.env("SECRETS_VAULT", sandbox.vault_path()).env("SECRETS_PASSPHRASE", PASSPHRASE);
    git.output().unwrap().status.success()
}

fn staged(sandbox: &Sandbox) -> Prepared {
    scan(sandbox, &["--staged"]).current_dir(sandbox.path("repo"))
}

fn repository(sandbox: &Sandbox) {
    std::fs::create_dir(sandbox.path("repo")).unwrap();
    assert!(git(sandbox, &["init", "-q"]));
}
