//! Identifiers of a vault, its projects and its records, and the hash type.

/// Identifies a vault in everything that is sealed. It is drawn at random once.
pub type VaultId = [u8; 16];
/// Identifies a project, independent of its name.
pub type ProjectId = [u8; 16];
/// Identifies a record. The secret's id is `se` and its hex digits.
pub type RecordId = [u8; 8];

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Returns `pid ‖ epoch`, the context that key rings and heads are bound to.
pub(super) fn project_context(pid: &ProjectId, epoch: u32) -> Vec<u8> {
    [&pid[..], &epoch.to_be_bytes()].concat()
}
