//! The options that every command takes.

use std::path::PathBuf;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{Period, ProjectName};
use secrets_project::setup::manifest::EnvironmentName;

use crate::completion;
use crate::context::Options;
use crate::ui::ColorWhen;

/// The options that every command has.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Use this vault file [env: SECRETS_VAULT] [default: secrets/vault.db in the data directory]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    vault: Option<PathBuf>,
    /// Use this project [env: SECRETS_PROJECT] [default: that of the nearest .secrets.toml, else
    /// `default`]
    #[arg(short, long, global = true, value_name = "NAME", add = ArgValueCompleter::new(completion::projects))]
    project: Option<ProjectName>,
    /// Use this environment of the nearest .secrets.toml [env: SECRETS_ENVIRONMENT]
    #[arg(short = 'E', long, global = true, value_name = "NAME", add = ArgValueCompleter::new(completion::environments))]
    environment: Option<EnvironmentName>,
    /// Read the passphrase from a file, `-` for stdin [env: SECRETS_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
    /// Use this key file, for a vault that needs one [env: SECRETS_KEY_FILE]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Use a token from a file instead of the passphrase, `-` for stdin [env: SECRETS_TOKEN_FILE,
    /// SECRETS_TOKEN]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath,
        conflicts_with_all = ["passphrase_file", "recovery"])]
    token_file: Option<PathBuf>,
    /// Unlock with the recovery code instead of the passphrase
    #[arg(long, global = true)]
    recovery: bool,
    /// Trust the manifest with this SHA-256, see `secrets trust --show` [env:
    /// SECRETS_TRUST_MANIFEST]
    #[arg(long, global = true, value_name = "SHA256", value_parser = sha256)]
    trust_manifest: Option<String>,
    /// Read what this machine last saw of a vault on a server, without the server
    #[arg(long, global = true)]
    offline: bool,
    /// Refuse data that was last compared with the server longer ago [default: 7d], and a project whose
    /// last change is older
    #[arg(long, global = true, value_name = "PERIOD")]
    max_age: Option<Period>,
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print no status lines
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Set when to use colour [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(super) color: ColorWhen,
}

impl GlobalArgs {
    /// Returns true if both a project and an environment are given, which has a project of its own.
    pub(super) fn selects_twice(&self) -> bool {
        self.project.is_some() && self.environment.is_some()
    }

    /// Returns the options for a command's context. The other options are about output.
    pub(super) fn into_context(self) -> Options {
        Options {
            vault: self.vault,
            project: self.project,
            environment: self.environment,
            passphrase_file: self.passphrase_file,
            key_file: self.key_file,
            token_file: self.token_file,
            recovery: self.recovery,
            trust_manifest: self.trust_manifest,
            offline: self.offline,
            max_age: self.max_age,
        }
    }
}

fn sha256(text: &str) -> Result<String, &'static str> {
    let is_sha256 = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sha256 { Ok(text.to_owned()) } else { Err("a SHA-256 has 64 hexadecimal digits") }
}
