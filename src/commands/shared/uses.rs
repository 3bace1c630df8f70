//! The log of uses on this machine.

use secrets_core::crypto::ids::Hash;
use secrets_core::crypto::uses::UseEntry;
use secrets_core::vault::{ReadUses, Vault};

use crate::context::Context;
use crate::error::{Error, Kind};

/// Reads and verifies the log of uses on this machine. Passes number, hash and content of each entry
/// to `visit`.
pub(crate) fn read_uses(
    vault: &Vault,
    cx: &Context,
    visit: impl FnMut(u64, &Hash, UseEntry),
) -> Result<ReadUses, Error> {
    let keys = vault.use_log_keys()?;
    let Some(log) = cx.use_log(vault.id()?) else { return Ok(ReadUses::default()) };
    log.read(&keys, visit).map_err(|source| {
        let place = log.directory().display();
        Error::new(Kind::Failure, format!("cannot read the log of uses in `{place}`: {source}"))
    })
}

/// Fails if an entry of the log of uses does not verify.
pub(crate) fn check_uses(uses: &ReadUses) -> Result<(), Error> {
    let Some(seq) = uses.fault else { return Ok(()) };
    let message = format!(
        "entry {seq} of the log of uses on this machine is missing, damaged or not in its place"
    );
    Err(Error::new(Kind::Damaged, message)
        .with_details(serde_json::json!({ "seq": seq }))
        .hint("the entries before it are shown by `secrets audit --kind use`"))
}
