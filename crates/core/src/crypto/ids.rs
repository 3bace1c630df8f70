//! Identifiers of a vault, its projects and its records, and the hash type.

/// The only cipher suite of format 3: the primitives of docs/format.md, section 2. Every seal is
/// bound to it.
pub const SUITE: u32 = 1;

/// Identifies a vault in everything that is sealed. It is drawn at random once.
pub type VaultId = [u8; 16];
/// Identifies a project, independent of its name.
pub type ProjectId = [u8; 16];
/// Identifies a record. The secret's id is `se` and its hex digits.
pub type RecordId = [u8; 8];
/// Identifies a token, and what it signs.
pub type TokenId = [u8; 16];
/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The id of the directory, the project whose records are the projects.
pub const DIRECTORY: ProjectId = [0; 16];
/// The id under which the owner of the root key signs.
pub const OWNER: TokenId = [0; 16];

/// Returns `pid ‖ epoch`, the context that heads are bound to.
pub(super) fn project_context(pid: &ProjectId, epoch: u32) -> Vec<u8> {
    [&pid[..], &epoch.to_be_bytes()].concat()
}

/// Returns the id of a project's record in the directory: the first 8 bytes of the project's id.
pub fn record_of(pid: &ProjectId) -> RecordId {
    let [rid @ .., _, _, _, _, _, _, _, _] = pid;
    *rid
}
