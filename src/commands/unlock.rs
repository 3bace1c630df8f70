//! `secrets unlock`: hands the vault's root key to the agent for a limited time.

use std::time::Duration;

use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::kdf::KdfParams;
use secrets_runtime::agent::Client;

use super::shared::status::status;
use crate::config::Environment;
use crate::context::{AGENT_TIMEOUT, Context, IDLE, NoticeSubject, TTL};
use crate::error::{Error, hint};
use crate::output::KdfInfo;
use crate::ui::time::{parse_duration, spans};

const EXAMPLES: &str = "\
Examples:
  secrets unlock
  secrets unlock --ttl 8h --idle 30m
  secrets unlock --passphrase-file /run/keys/vault";

/// Unlock the vault for a while
///
/// Asks for the passphrase, unless the desktop's keychain has a key (`secrets keychain`). Starts an agent,
/// a process of yours that holds the vault's key.
/// Until the time is over or you run `secrets lock`, commands on this vault do not ask for a
/// passphrase. Until then every program of yours can use the vault as you can, because the agent
/// cannot tell them apart. `secrets lock --help` lists what such a program keeps after `lock`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UnlockArgs {
    /// Lock after this time in any case: 90s, 15m, 8h, 1d; at most 30d
    #[arg(long, value_name = "TIME", default_value = TTL, value_parser = parse_duration)]
    ttl: Duration,
    /// Lock when the vault has not been used for this time
    #[arg(long, value_name = "TIME", default_value = IDLE, value_parser = parse_duration)]
    idle: Duration,
}

pub(crate) fn run(args: &UnlockArgs, cx: &Context) -> Result<(), Error> {
    let place = cx.agents.new_directory()?;
    let locked = cx.locked()?;
    let client = Client::new(&place, &cx.target.canonical_vault_path()?, AGENT_TIMEOUT);
    let root = cx.root_key_or_keychain(&locked)?;

    // Damage is reported now instead of by the next command.
    locked.check(&root)?;
    let vault_id = locked.vault_id()?;
    let params = locked.kdf_params()?;
    let in_memory =
        client.unlock(&Environment::executable(), &locked, &root, (args.ttl, args.idle))?;
    cx.agents.remember(&place);
    if let Some(address) = locked.server_address() {
        cx.agents.start_link(address, args.ttl);
    }

    // A user who runs this command does not need the notice about it.
    cx.settle(NoticeSubject::Unlock, &vault_id);
    if !in_memory {
        cx.ui.warn(
            "the system does not let the agent lock its memory: the key may be written to swap",
        );
    }

    let path = cx.target.vault_path()?;
    cx.ui.status(&format!("unlocked `{}` for {}", path.display(), spans(args.ttl, args.idle)));
    mention_upgrade(cx, &vault_id, params);
    cx.ui.document(|| status(cx, &client.status(Some(vault_id))?))
}

/// Reports once per vault that its key derivation has the default cost of an earlier version. A
/// chosen cost is not reported: one that never was a default, or one that was passed to `init` or
/// `passwd`.
fn mention_upgrade(cx: &Context, vault_id: &VaultId, params: KdfParams) {
    let default = Context::default_kdf();
    if params != KdfParams::SMALL
        || default == params
        || cx.ui.is_quiet()
        || cx.is_settled(NoticeSubject::Kdf, vault_id)
    {
        return;
    }

    // If the notice could not be recorded, it would be shown every time.
    if cx.settle(NoticeSubject::Kdf, vault_id) {
        cx.ui.status(&cx.target.hint_text(hint!(
            "guessing its passphrase costs {}; raise that to {} with \
             `secrets passwd --upgrade-kdf`",
            KdfInfo::of(params),
            KdfInfo::of(default)
        )));
    }
}
