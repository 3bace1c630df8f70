//! The anchor: what was last seen of a vault, kept outside of it (docs/format.md, section 7).
//!
//! It is sealed under a key of the vault's own: who can write it without that key can only take it away.

use super::CryptoError;
use super::aead::Key;
use super::integrity::Hash;
use super::keys::{ProjectId, VaultId};
use super::lineage::{Ancestors, Moment};
use crate::model::ProjectName;

const ANCHOR: &str = "the record of what was last seen of the vault";

/// What was last seen of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The vault's own state: its slots, projects and grants
    pub root: Moment,
    /// Every project's, in ascending order of `pid`
    pub projects: Vec<SeenProject>,
}

/// What was last seen of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenProject {
    /// Its id
    pub pid: ProjectId,
    /// Its name, to tell of it when it is gone
    pub name: ProjectName,
    /// Its head
    pub head: Moment,
    /// SHA-256 of the sealed head and its signature: where they are the same, nothing has to be verified again
    pub sealed: Hash,
}

impl Anchor {
    /// Seals it for the vault that lies at `place`, the SHA-256 of its path: `root_seq(8) ‖ SEAL(…)`.
    pub fn seal(&self, key: &Key, vault_id: &VaultId, place: &Hash) -> Result<Vec<u8>, CryptoError> {
        let number = self.root.seq.to_be_bytes();
        let sealed = key.seal("anchor", vault_id, &[&place[..], &number].concat(), &self.encode())?;
        Ok([&number[..], &sealed].concat())
    }

    /// Opens what [`Anchor::seal`] made.
    pub fn open(key: &Key, vault_id: &VaultId, place: &Hash, bytes: &[u8]) -> Result<Self, CryptoError> {
        let damaged = CryptoError::Damaged(ANCHOR);
        let Some((number, sealed)) = bytes.split_first_chunk::<8>() else { return Err(damaged) };
        let plain = key.open("anchor", vault_id, &[&place[..], number].concat(), sealed, ANCHOR)?;
        Self::decode(u64::from_be_bytes(*number), plain.expose()).ok_or(damaged)
    }

    /// The number of the vault's state in sealed bytes, which are not verified by that.
    pub fn claimed_seq(bytes: &[u8]) -> Option<u64> {
        bytes.first_chunk().copied().map(u64::from_be_bytes)
    }

    fn encode(&self) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
        let mut out = [&self.root.hash[..], self.root.ancestors.encode(), &number(self.projects.len())].concat();
        for project in &self.projects {
            let name = project.name.as_str().as_bytes();
            let (seq, head) = (project.head.seq.to_be_bytes(), &project.head);
            let parts: [&[u8]; 7] =
                [&project.pid, &number(name.len()), name, &seq, &head.hash, head.ancestors.encode(), &project.sealed];
            out.extend(parts.concat());
        }
        out
    }

    fn decode(seq: u64, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let root = Moment { seq, hash: *chunk(&mut rest)?, ancestors: ancestors(&mut rest)? };
        let mut projects = Vec::new();
        for _ in 0..u32::from_be_bytes(*chunk(&mut rest)?) {
            let pid = *chunk(&mut rest)?;
            let length = usize::try_from(u32::from_be_bytes(*chunk(&mut rest)?)).ok()?;
            let (name, behind) = rest.split_at_checked(length)?;
            rest = behind;
            let name = ProjectName::parse(std::str::from_utf8(name).ok()?).ok()?;
            let seq = u64::from_be_bytes(*chunk(&mut rest)?);
            let head = Moment { seq, hash: *chunk(&mut rest)?, ancestors: ancestors(&mut rest)? };
            projects.push(SeenProject { pid, name, head, sealed: *chunk(&mut rest)? });
        }
        rest.is_empty().then_some(Self { root, projects })
    }
}

fn chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(chunk)
}

fn ancestors(rest: &mut &[u8]) -> Option<Ancestors> {
    Ancestors::decode(chunk::<{ Ancestors::SIZE }>(rest)?)
}
