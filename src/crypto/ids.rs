//! Identifiers of a vault, its projects and its records, and the hash type.

/// Names the vault in everything that is sealed; drawn once.
pub type VaultId = [u8; 16];
/// Names a project without its name.
pub type ProjectId = [u8; 16];
/// Names a record; `se` and its hex digits are the secret's id.
pub type RecordId = [u8; 8];

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// `pid ‖ epoch`: what a key ring and a head are bound to.
pub(super) fn project_context(pid: &ProjectId, epoch: u32) -> Vec<u8> {
    [&pid[..], &epoch.to_be_bytes()].concat()
}
