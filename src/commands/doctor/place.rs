//! The vault's file, its key slots, the agent and the backups.

use secrets_core::crypto::kdf::KdfParams;
use secrets_core::model::Timestamp;

use super::super::shared::backups;
use super::Findings;
use crate::config::Environment;
use crate::context::{AGENT_TIMEOUT, Context};
use crate::error::Error;
use crate::ui::counted;

/// A backup is old from this many days on.
const OLD: u64 = 30;

/// Checks the vault's place. Returns `None` if the vault cannot be opened, so that other checks make no sense.
pub(super) fn check(found: &mut Findings, cx: &Context) -> Result<bool, Error> {
    let locked = match cx.locked() {
        Ok(locked) => locked,
        Err(error) => {
            found.error("vault", &error, cx);
            return Ok(false);
        }
    };

    if locked.is_exposed() {
        found.warning(
            "vault",
            "its file system does not support Unix modes, so other users may be able to read it",
            "move it to another file system and name it with `--vault PATH`",
        );
    } else {
        found.ok("vault", "only you can read and replace its file");
    }

    if Environment::of("SECRETS_PASSPHRASE").is_some() {
        found.warning(
            "passphrase",
            "SECRETS_PASSPHRASE is set, so every program of this shell can read it",
            "unset it; use `secrets unlock`, or a token in scripts (docs/tokens.md)",
        );
    }

    let vault_id = locked.vault_id()?;
    let client = cx.agents.client(AGENT_TIMEOUT).ok().flatten();
    let left = client.and_then(|client| client.status(Some(vault_id)).ok()).and_then(|it| it.left);
    found.ok("agent", if left.is_some() { "the vault is unlocked" } else { "the vault is locked" });

    key_derivation(found, locked.kdf_params()?);
    if locked.has_recovery()? {
        found.ok("recovery", "there is a recovery code");
    } else {
        found.warning(
            "recovery",
            "without a recovery code, a forgotten passphrase loses everything",
            "`secrets recovery create` prints one for a piece of paper",
        );
    }

    backup(found, backups::last(cx, &vault_id));
    Ok(true)
}

fn key_derivation(found: &mut Findings, params: KdfParams) {
    if params.cost() < KdfParams::DEFAULT.cost() {
        found.warning(
            "passphrase cost",
            "each guess at the passphrase costs less than with the default",
            "`secrets passwd --kdf-memory 256` raises its memory",
        );
    } else {
        found.ok("passphrase cost", "each guess at the passphrase costs at least the default; this does not rate the passphrase");
    }
}

fn backup(found: &mut Findings, last: Option<Timestamp>) {
    let fix = "make one with `secrets backup PATH`";
    let Some(last) = last else {
        return found.warning("backup", "no backup was made on this machine", fix);
    };

    let days = Timestamp::now().0.saturating_sub(last.0) / (24 * 60 * 60 * 1000);
    let age = counted(days, "day");
    if days >= OLD {
        found.warning("backup", format!("the last backup is {age} old"), fix);
    } else {
        found.ok("backup", format!("the last backup is {age} old"));
    }
}
