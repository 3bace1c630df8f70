//! The protocol between agent and client, for both ends.
//!
//! A frame starts with its length as a big-endian u32, without the length itself: at most 64 KiB
//! for a request and 1 MiB for an answer. Then follow the protocol version, the kind, and the kind's
//! fields. Integers are big-endian, and byte strings follow their u32 length. Both ends reject
//! everything else. Buffers are wiped, because some answers contain keys. No frame on a socket contains a root key.
//! [`Handover`] is only for the pipe between `unlock` and the agent that it starts.
//!
//! One rule holds in all versions: kind 0 locks everything, so that any version of `secrets lock
//! --all` ends any agent.

use secrets_core::codec::{self, Reader};
use secrets_core::crypto::aead::{MessageKey, SALT};
use secrets_core::crypto::ids::{ProjectId, VaultId};
use secrets_core::crypto::record::{class_byte, class_of};
use secrets_core::crypto::rows::{PolicyRow, ProjectRow};
use secrets_core::model::SecretBytes;
use secrets_core::vault::WantedKey;

/// The protocol version of this binary.
pub const VERSION: u8 = 4;
/// The maximum length of a frame in bytes, without the length itself.
pub const MAX_FRAME: usize = 64 * 1024;
/// The maximum length of an answer in bytes, which may hold the rows of many new projects.
pub const MAX_ANSWER: usize = 1024 * 1024;
/// The maximum number of names or indexes in a request, so that the answer is not longer than [`MAX_ANSWER`].
pub const MAX_NAMES: usize = 256;

/// A request of a client. All paths are absolute and canonical paths of vaults.
pub enum Request<'a> {
    /// Forget every key and exit; understood in every version
    LockAll,
    /// Report the state of the vault at this path; answered by [`Answer::State`]
    Status {
        path: &'a [u8],
        /// The vault's id, if the client knows it; a different id is a fault
        vault_id: Option<VaultId>,
    },
    /// Forget the key for this path
    Lock { path: &'a [u8] },
    /// Return the key that seals checkpoints; answered by [`Answer::Bytes`]
    CheckpointKey { path: &'a [u8] },
    /// Return the indexes of project names in the directory; answered by [`Answer::Bytes`], 16 bytes
    /// for each name
    Index { path: &'a [u8], names: Vec<&'a [u8]> },
    /// Verify the directory's head; answered by [`Answer::Directory`]
    Directory {
        path: &'a [u8],
        vault_id: VaultId,
        /// The bytes of [`secrets_core::store::RowSet::encode`]
        rows: &'a [u8],
    },
    /// Open the projects at these indexes; answered by [`Answer::Projects`]
    Open {
        path: &'a [u8],
        vault_id: VaultId,
        rows: &'a [u8],
        /// 16 bytes each
        indexes: &'a [u8],
    },
    /// Return the keys of single seals of values; answered by [`Answer::MessageKeys`]
    MessageKeys { path: &'a [u8], ticket: &'a [u8], wanted: Vec<WantedKey> },
    /// Sign the next head of a project; answered by [`Answer::Signed`]
    Sign(Box<SignFrame<'a>>),
    /// Compare the verified head of a project with the last one seen; answered by [`Answer::Done`]
    Head { path: &'a [u8], ticket: &'a [u8], row: ProjectRow },
    /// Change the directory; answered by [`Answer::Changed`]
    Change {
        path: &'a [u8],
        vault_id: VaultId,
        rows: &'a [u8],
        kind: ChangeKind,
        /// The names of the projects; for a renaming, the present and the new one
        names: Vec<&'a [u8]>,
    },
}

/// The next head of a project, which the agent signs, and the rows that prove the one before.
pub struct SignFrame<'a> {
    pub path: &'a [u8],
    /// The ticket of the project
    pub ticket: &'a [u8],
    /// The row with the head before
    pub previous: ProjectRow,
    pub policy: Option<PolicyRow>,
    /// The encoded head; its `audit_head` is still that of the head before
    pub head: &'a [u8],
    /// The encoded change for the audit log
    pub change: &'a [u8],
}

/// A change of the directory that the agent makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Add,
    Rename,
    Delete,
}

/// A project that was opened.
#[derive(PartialEq, Eq)]
pub struct ProjectFrame<'a> {
    /// The bytes of [`secrets_core::crypto::project_entry::ProjectEntry::to_bytes`]
    pub entry: &'a [u8],
    /// PMK and TIK, as a key ring without keys for values
    pub keys: &'a [u8],
    pub ticket: &'a [u8],
}

/// The message that a new agent reads from its stdin once, before it listens. It contains the key
/// to hold and is not a request.
pub struct Handover<'a> {
    pub path: &'a [u8],
    pub vault_id: VaultId,
    /// The time in milliseconds until the key is forgotten in any case
    pub ttl: u64,
    /// The time in milliseconds without use until the key is forgotten
    pub idle: u64,
    /// The root key
    pub key: &'a [u8; 32],
}

/// An answer of the agent.
#[derive(PartialEq, Eq)]
pub enum Answer<'a> {
    /// The request was handled; the flag's meaning depends on the request
    Done(bool),
    State {
        /// Milliseconds until the vault is locked in any case, and if unused; `None` if it is
        /// locked
        left: Option<(u64, u64)>,
    },
    Bytes(&'a [u8]),
    Directory {
        epoch: u32,
        /// The owner's public key
        owner: [u8; 32],
        /// The encoded head
        head: &'a [u8],
    },
    /// Projects in the order of the indexes; `None` for an index without a project
    Projects(Vec<Option<ProjectFrame<'a>>>),
    /// The salt and the key of each seal
    MessageKeys(&'a [u8]),
    Signed {
        /// The encoded head
        head: &'a [u8],
        sig: &'a [u8],
        /// The encoded entry of the audit log
        entry: &'a [u8],
        entry_sig: &'a [u8],
    },
    Changed {
        /// The encoded head of the directory
        head: &'a [u8],
        /// The projects that were added
        added: Vec<Option<ProjectFrame<'a>>>,
        /// The bytes of [`secrets_core::store::encode_changes`]
        changes: &'a [u8],
    },
    Failed(AgentFault),
}

/// The reason why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// The agent has no key for this path
    Locked,
    /// The vault at the path has a different id than the unlocked one
    Replaced,
    /// The list of projects is older than one seen before
    RolledBack,
    /// The project is in an older state than one seen before
    ProjectRolledBack,
    /// The list of projects is damaged
    Directory,
    /// The list of projects does not open, and none was verified before: the vault may have a new root
    /// key
    WrongKey,
    /// A project to rename or delete does not exist
    NoProject,
    /// A project to add exists already
    ProjectExists,
    /// The vault has the maximum number of projects
    TooManyProjects,
    /// The head to sign does not follow the one before
    Refused,
    /// A later version of the program wrote the list of projects
    Newer,
    /// The random number generator or a memory allocation failed
    System,
    /// The frame has a different protocol version
    Version,
}

/// The reason why a frame was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// The frame does not follow the protocol
    Malformed,
    /// The frame has a different protocol version
    Version,
}

/// A frame that is being written.
struct Writer(SecretBytes);

impl Writer {
    fn new(kind: u8) -> Self {
        let mut frame = SecretBytes::with_capacity(256);
        frame.extend(&[0, 0, 0, 0, VERSION, kind]);
        Self(frame)
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn lp(mut self, bytes: &[u8]) -> Self {
        codec::prefixed(&mut |piece| self.0.extend(piece), &[bytes]);
        self
    }

    /// Writes a list with its number of elements in front.
    fn list<T>(self, items: &[T], put: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self.put(&codec::length(items.len())), put)
    }

    /// Returns the complete frame, or `None` if it is longer than `most`.
    fn finish(mut self, most: usize) -> Option<SecretBytes> {
        let length = self.0.len() - 4;
        if length > most {
            return None;
        }

        self.0.expose_mut()[..4].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        Some(self.0)
    }
}

fn flag(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Returns the length of the frame that starts with these four bytes, or `None` if it is longer than
/// `most`.
pub(super) fn frame_length(prefix: [u8; 4], most: usize) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(prefix)).ok().filter(|length| (2..=most).contains(length))
}

impl<'a> Request<'a> {
    /// Returns the frame with its length in front, or `None` if it would be too large.
    pub fn encode(&self) -> Option<SecretBytes> {
        let frame = match self {
            Self::LockAll => Writer::new(0),
            Self::Status { path, vault_id } => {
                Writer::new(1).lp(path).lp(vault_id.as_ref().map_or(&[], |id| id.as_slice()))
            }
            Self::Lock { path } => Writer::new(3).lp(path),
            // Kinds 4 to 10 were others in version 3 and are not reused.
            Self::CheckpointKey { path } => Writer::new(11).lp(path),
            Self::Index { path, names } => {
                Writer::new(12).lp(path).list(names, |frame, name| frame.lp(name))
            }
            Self::Directory { path, vault_id, rows } => {
                Writer::new(13).lp(path).put(vault_id).lp(rows)
            }
            Self::Open { path, vault_id, rows, indexes } => {
                Writer::new(14).lp(path).put(vault_id).lp(rows).lp(indexes)
            }
            Self::MessageKeys { path, ticket, wanted } => {
                Writer::new(15).lp(path).lp(ticket).list(wanted, |frame, wanted| {
                    let frame = frame.put(&wanted.rid).put(&wanted.generation.to_be_bytes());
                    let frame = frame.put(&[class_byte(wanted.class)]);
                    frame.lp(wanted.salt.as_ref().map_or(&[], <[u8; SALT]>::as_slice))
                })
            }
            Self::Sign(sign) => {
                let SignFrame { path, ticket, previous, policy, head, change } = &**sign;
                let frame = Writer::new(16).lp(path).lp(ticket).put(&previous.pid);
                let frame = frame.put(&previous.epoch.to_be_bytes());
                let frame = frame.lp(&previous.head).lp(&previous.sig);
                let frame = frame.list(policy.as_slice(), |frame, policy| {
                    frame.put(&policy.version.to_be_bytes()).lp(&policy.body).lp(&policy.sig)
                });

                frame.lp(head).lp(change)
            }
            Self::Head { path, ticket, row } => {
                let frame = Writer::new(18).lp(path).lp(ticket).put(&row.pid);
                frame.put(&row.epoch.to_be_bytes()).lp(&row.head).lp(&row.sig)
            }
            Self::Change { path, vault_id, rows, kind, names } => {
                let kind = match kind {
                    ChangeKind::Add => 1,
                    ChangeKind::Rename => 2,
                    ChangeKind::Delete => 3,
                };

                let frame = Writer::new(17).lp(path).put(vault_id).lp(rows).put(&[kind]);
                frame.list(names, |frame, name| frame.lp(name))
            }
        };

        frame.finish(MAX_FRAME)
    }

    /// Decodes a frame without its length.
    pub fn decode(frame: &'a [u8]) -> Result<Self, Unreadable> {
        let mut fields = Reader::new(frame);
        let (version, kind) = (fields.u8(), fields.u8());
        match (version, kind) {
            (Some(_), Some(0)) => return Ok(Self::LockAll),
            (Some(VERSION), Some(_)) => {}
            (Some(_), Some(_)) => return Err(Unreadable::Version),
            _ => return Err(Unreadable::Malformed),
        }

        let request =
            Self::fields(kind.unwrap_or_default(), &mut fields).ok_or(Unreadable::Malformed)?;
        if fields.rest().is_empty() { Ok(request) } else { Err(Unreadable::Malformed) }
    }

    fn fields(kind: u8, fields: &mut Reader<'a>) -> Option<Self> {
        Some(match kind {
            1 => {
                let (path, id) = (fields.prefixed()?, fields.prefixed()?);
                let vault_id = if id.is_empty() { None } else { Some(id.try_into().ok()?) };
                Self::Status { path, vault_id }
            }
            // Kind 2 carried a root key in version 2 and is not reused.
            3 => Self::Lock { path: fields.prefixed()? },
            11 => Self::CheckpointKey { path: fields.prefixed()? },
            12 => Self::Index { path: fields.prefixed()?, names: fields.list(Reader::prefixed)? },
            13 => Self::Directory {
                path: fields.prefixed()?,
                vault_id: fields.array()?,
                rows: fields.prefixed()?,
            },
            14 => Self::Open {
                path: fields.prefixed()?,
                vault_id: fields.array()?,
                rows: fields.prefixed()?,
                indexes: fields.prefixed()?,
            },
            15 => Self::MessageKeys {
                path: fields.prefixed()?,
                ticket: fields.prefixed()?,
                wanted: fields.list(wanted_key)?,
            },
            16 => Self::Sign(Box::new(SignFrame::fields(fields)?)),
            18 => Self::Head {
                path: fields.prefixed()?,
                ticket: fields.prefixed()?,
                row: project_row(fields)?,
            },
            17 => Self::Change {
                path: fields.prefixed()?,
                vault_id: fields.array()?,
                rows: fields.prefixed()?,
                kind: match fields.u8()? {
                    1 => ChangeKind::Add,
                    2 => ChangeKind::Rename,
                    3 => ChangeKind::Delete,
                    _ => return None,
                },
                names: fields.list(Reader::prefixed)?,
            },
            _ => return None,
        })
    }
}

fn wanted_key(fields: &mut Reader<'_>) -> Option<WantedKey> {
    let (rid, generation) = (fields.array()?, fields.u32()?);
    let (class, salt) = (class_of(fields.u8()?)?, fields.prefixed()?);
    let salt = if salt.is_empty() { None } else { Some(salt.try_into().ok()?) };
    Some(WantedKey { rid, generation, class, salt })
}

fn project_row(fields: &mut Reader<'_>) -> Option<ProjectRow> {
    let (pid, epoch): (ProjectId, u32) = (fields.array()?, fields.u32()?);
    let (head, sig) = (fields.prefixed()?.to_vec(), fields.prefixed()?.to_vec());
    Some(ProjectRow { pid, epoch, head, sig })
}

impl<'a> SignFrame<'a> {
    fn fields(fields: &mut Reader<'a>) -> Option<Self> {
        let (path, ticket) = (fields.prefixed()?, fields.prefixed()?);
        let previous = project_row(fields)?;
        let policy = |fields: &mut Reader<'a>| {
            let version = fields.u64()?;
            let (body, sig) = (fields.prefixed()?.to_vec(), fields.prefixed()?.to_vec());
            Some(PolicyRow { version, body, sig })
        };

        let mut policies = fields.list(policy)?;
        (policies.len() <= 1).then_some(())?;
        Some(Self {
            path,
            ticket,
            previous,
            policy: policies.pop(),
            head: fields.prefixed()?,
            change: fields.prefixed()?,
        })
    }
}

impl<'a> ProjectFrame<'a> {
    fn put(frame: Writer, project: Option<&Self>) -> Writer {
        match project {
            None => frame.put(&[0]),
            Some(Self { entry, keys, ticket }) => frame.put(&[1]).lp(entry).lp(keys).lp(ticket),
        }
    }

    // An absent project is one byte, so a list is much larger in memory than in a frame.
    fn list(fields: &mut Reader<'a>) -> Option<Vec<Option<Self>>> {
        let count = usize::try_from(fields.u32()?).ok()?;
        (count <= MAX_NAMES).then_some(())?;
        let one = |_| Some(if flag(fields)? { Some(Self::read(fields)?) } else { None });
        (0..count).map(one).collect()
    }

    fn read(fields: &mut Reader<'a>) -> Option<Self> {
        let (entry, keys) = (fields.prefixed()?, fields.prefixed()?);
        Some(Self { entry, keys, ticket: fields.prefixed()? })
    }
}

impl<'a> Handover<'a> {
    const KIND: u8 = 64;

    /// Returns the frame with its length in front, or `None` if it would be too large.
    pub fn encode(&self) -> Option<SecretBytes> {
        let Self { path, vault_id, ttl, idle, key } = self;
        let frame = Writer::new(Self::KIND).lp(path).put(vault_id);
        frame.put(&ttl.to_be_bytes()).put(&idle.to_be_bytes()).put(*key).finish(MAX_FRAME)
    }

    /// Decodes a single frame with its length in front.
    pub fn decode(frame: &'a [u8]) -> Option<Self> {
        let (prefix, frame) = frame.split_first_chunk()?;
        if frame_length(*prefix, MAX_FRAME)? != frame.len() {
            return None;
        }

        let mut fields = Reader::new(frame);
        if (fields.u8()?, fields.u8()?) != (VERSION, Self::KIND) {
            return None;
        }

        let (path, vault_id, ttl, idle) =
            (fields.prefixed()?, fields.array()?, fields.u64()?, fields.u64()?);
        Some(Self { path, vault_id, ttl, idle, key: fields.rest().try_into().ok()? })
    }
}

impl AgentFault {
    // Codes 4 to 7 were others in version 3 and are not reused.
    const CODES: [(Self, u8); 13] = [
        (Self::Locked, 1),
        (Self::Replaced, 2),
        (Self::RolledBack, 3),
        (Self::System, 8),
        (Self::Version, 9),
        (Self::WrongKey, 11),
        (Self::ProjectRolledBack, 12),
        (Self::Directory, 13),
        (Self::NoProject, 14),
        (Self::ProjectExists, 15),
        (Self::TooManyProjects, 16),
        (Self::Refused, 17),
        (Self::Newer, 18),
    ];

    fn code(self) -> u8 {
        Self::CODES.iter().find(|(fault, _)| *fault == self).map_or(0, |(_, code)| *code)
    }

    fn of(code: u8) -> Option<Self> {
        Self::CODES.iter().find(|(_, known)| *known == code).map(|(fault, _)| *fault)
    }
}

impl<'a> Answer<'a> {
    /// Returns the frame with its length in front, or `None` if it would be too large.
    pub fn encode(&self) -> Option<SecretBytes> {
        let frame = match self {
            Self::Done(flag) => Writer::new(128).put(&[u8::from(*flag)]),
            Self::State { left } => {
                let (ttl, idle) = left.unwrap_or_default();
                let frame = Writer::new(129).put(&[u8::from(left.is_some())]);
                frame.put(&ttl.to_be_bytes()).put(&idle.to_be_bytes())
            }
            Self::Bytes(bytes) => Writer::new(130).lp(bytes),
            Self::Directory { epoch, owner, head } => {
                Writer::new(133).put(&epoch.to_be_bytes()).put(owner).lp(head)
            }
            Self::Projects(all) => Writer::new(134)
                .list(all, |frame, project| ProjectFrame::put(frame, project.as_ref())),
            Self::MessageKeys(keys) => Writer::new(135).lp(keys),
            Self::Signed { head, sig, entry, entry_sig } => {
                Writer::new(136).lp(head).lp(sig).lp(entry).lp(entry_sig)
            }
            Self::Changed { head, added, changes } => Writer::new(137)
                .lp(head)
                .list(added, |frame, project| ProjectFrame::put(frame, project.as_ref()))
                .lp(changes),
            // The code is followed by four bytes that version 3 used.
            Self::Failed(fault) => Writer::new(132).put(&[fault.code(), 0, 0, 0, 0]),
        };

        frame.finish(MAX_ANSWER)
    }

    /// Decodes a frame without its length.
    pub fn decode(frame: &'a [u8]) -> Result<Self, Unreadable> {
        let mut fields = Reader::new(frame);
        match (fields.u8(), fields.u8()) {
            (Some(VERSION), Some(kind)) => {
                let answer = Self::fields(kind, &mut fields).ok_or(Unreadable::Malformed)?;
                if fields.rest().is_empty() { Ok(answer) } else { Err(Unreadable::Malformed) }
            }
            (Some(_), Some(_)) => Err(Unreadable::Version),
            _ => Err(Unreadable::Malformed),
        }
    }

    fn fields(kind: u8, fields: &mut Reader<'a>) -> Option<Self> {
        Some(match kind {
            128 => Self::Done(flag(fields)?),
            129 => {
                let (unlocked, left) = (flag(fields)?, (fields.u64()?, fields.u64()?));

                // For a locked vault, the remaining times must be zero.
                (unlocked || left == (0, 0))
                    .then_some(Self::State { left: unlocked.then_some(left) })?
            }
            130 => Self::Bytes(fields.prefixed()?),
            132 => {
                let code = fields.u8()?;
                (fields.array()? == [0; 4]).then_some(Self::Failed(AgentFault::of(code)?))?
            }
            133 => Self::Directory {
                epoch: fields.u32()?,
                owner: fields.array()?,
                head: fields.prefixed()?,
            },
            134 => Self::Projects(ProjectFrame::list(fields)?),
            135 => {
                let keys = fields.prefixed()?;
                (keys.len() % (SALT + MessageKey::SIZE) == 0).then_some(Self::MessageKeys(keys))?
            }
            136 => Self::Signed {
                head: fields.prefixed()?,
                sig: fields.prefixed()?,
                entry: fields.prefixed()?,
                entry_sig: fields.prefixed()?,
            },
            137 => Self::Changed {
                head: fields.prefixed()?,
                added: ProjectFrame::list(fields)?,
                changes: fields.prefixed()?,
            },
            _ => return None,
        })
    }
}
