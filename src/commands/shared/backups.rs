//! When a vault was last copied on this machine.

use secrets_core::crypto::ids::VaultId;
use secrets_core::model::Timestamp;
use secrets_files::Records;

use crate::context::Context;

/// The maximum size in bytes of a record, which holds one time.
const MAX_SIZE: u64 = 64;

fn records(cx: &Context) -> Option<Records> {
    Some(Records::new(&cx.state_directory("backups")?, MAX_SIZE))
}

/// Records that a copy was made now. A failure does not matter: the copy exists.
pub(crate) fn record(cx: &Context, vault_id: &VaultId) {
    if let Some(records) = records(cx) {
        let _ =
            records.write(&Records::name_of(&[vault_id]), Timestamp::now().rfc3339().as_bytes());
    }
}

/// Returns when the last copy was made, if that is known.
pub(crate) fn last(cx: &Context, vault_id: &VaultId) -> Option<Timestamp> {
    let records = records(cx).filter(|records| records.directory().is_dir())?;
    let text = records.read(&Records::name_of(&[vault_id])).ok().flatten()?;
    Timestamp::parse(std::str::from_utf8(&text).ok()?)
}
