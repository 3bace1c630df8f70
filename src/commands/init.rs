//! `secrets init`: creates the vault.

use super::shared::kdf_options::KdfOptions;
use super::shared::new_vault::{create_vault, next};
use super::shared::project_file;
use crate::context::{Context, NoticeSubject};
use crate::error::Error;
use crate::output::VaultPath;

const EXAMPLES: &str = "\
Examples:
  secrets init
  secrets init --suggest       suggest six random words
  secrets init --vault work.db --kdf-memory 512
  secrets init --project-file  write a first .secrets.toml
  secrets init --passphrase-file ~/.config/vault-passphrase";

/// Create the vault
///
/// Asks for a passphrase twice. The passphrase is the only way to unlock the vault until you create
/// a recovery code with `secrets recovery create`. The --kdf options set the cost of guessing the
/// passphrase. The default is 256 MiB of memory, 3 passes and 4 lanes, or 64 MiB on a machine or in
/// a container with less than 1 GiB. Unlocking the vault needs the same amount of memory.
///
/// The time to guess a passphrase is an estimate. zxcvbn provides the number of guesses, and one
/// graphics card is assumed to move 1 TB per second through its memory. An attacker may have many
/// cards.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    kdf: KdfOptions,
    /// Offer six random words as the passphrase
    #[arg(long, conflicts_with = "project_file")]
    suggest: bool,
    /// Write a first .secrets.toml here from the placeholders in the tree, and create no vault
    #[arg(long, conflicts_with_all = ["kdf_memory", "kdf_iterations", "kdf_parallelism"])]
    project_file: bool,
}

pub(crate) fn run(args: &InitArgs, cx: &Context) -> Result<(), Error> {
    if args.project_file {
        return project_file::write(cx);
    }

    let params = args.kdf.over(Context::default_kdf())?;
    let path = cx.target.vault_path()?;
    let vault = create_vault(cx, &path, params, args.suggest)?;
    if args.kdf.are_given() {
        // The vault is complete even if this cannot be recorded.
        let _ = vault.id().map(|id| cx.settle(NoticeSubject::Kdf, &id));
    }

    cx.adopt(vault);
    next(cx, "store a secret with `secrets create TAG`");
    cx.ui.document(|| {
        let path = std::path::absolute(&path).unwrap_or(path);
        Ok(VaultPath { vault: path.display().to_string() })
    })
}
