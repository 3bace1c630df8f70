//! The protocol between agent and client, for both ends.
//!
//! A frame starts with its length as a big-endian u32, at most 64 KiB and without the length
//! itself. Then follow the protocol version, the kind, and the kind's fields. Integers are
//! big-endian, and byte strings follow their u32 length. Both ends reject everything else. Buffers
//! are wiped, because some answers contain key rings. No frame on a socket contains a root key.
//! [`Handover`] is only for the pipe between `unlock` and the agent that it starts.
//!
//! One rule holds in all versions: kind 0 locks everything, so that any version of `secrets lock
//! --all` ends any agent.

use secrets_core::codec::{self, Reader};
use secrets_core::crypto::ids::{ProjectId, VaultId};
use secrets_core::crypto::rows::ProjectRow;
use secrets_core::model::SecretBytes;

/// The protocol version of this binary.
pub const VERSION: u8 = 3;
/// The maximum length of a frame in bytes, without the length itself.
pub const MAX_FRAME: usize = 64 * 1024;

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
    /// Begin a root MAC with [`secrets_core::crypto::root_key::row_and_slots`]; not answered
    BeginMac {
        path: &'a [u8],
        /// The complete first part of the MAC's input
        row_and_slots: &'a [u8],
    },
    /// Continue the MAC; not answered
    MoreMac {
        /// The next bytes of the MAC's input, in any number
        bytes: &'a [u8],
    },
    /// Finish and compare the MAC, which allows this connection to open key rings
    Verify {
        /// The stored MAC
        mac: &'a [u8],
    },
    /// Finish and return the MAC; answered by [`Answer::Bytes`]
    Sign,
    /// Open the key rings of these rows; answered by [`Answer::Keyrings`]
    Open {
        /// Rows of a verified table
        rows: Vec<ProjectRow>,
    },
    /// Seal a key ring; answered by [`Answer::Bytes`]
    Seal {
        path: &'a [u8],
        pid: ProjectId,
        /// The key ring's generation
        epoch: u32,
        /// The key ring from [`secrets_core::crypto::keyring::Keyring::encode`]
        keyring: &'a [u8],
    },
    /// Return the key that seals checkpoints of the verified vault; answered by [`Answer::Bytes`]
    CheckpointKey,
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
    /// Key rings in the order of the rows
    Keyrings(Vec<&'a [u8]>),
    Failed(AgentFault),
}

/// The reason why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// The agent has no key for this path
    Locked,
    /// The vault at the path has a different id than the unlocked one
    Replaced,
    /// The root state is older than one seen before
    RolledBack,
    /// The project in this row of the request is in an older state than one seen before
    ProjectRolledBack(u32),
    /// The key slots are not the verified ones
    UnverifiedSlots,
    /// The root MAC is wrong
    RootTables,
    /// The root MAC is wrong, and the key slots were never verified: the vault may have a new root
    /// key
    WrongKey,
    /// The key ring in this row of the request does not open
    Keyring(u32),
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

    /// Returns the complete frame, or `None` if it is too large.
    fn finish(mut self) -> Option<SecretBytes> {
        let length = self.0.len() - 4;
        if length > MAX_FRAME {
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

/// Returns the length of the frame that starts with these four bytes, or `None` if the length is
/// not allowed.
pub(super) fn frame_length(prefix: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(prefix))
        .ok()
        .filter(|length| (2..=MAX_FRAME).contains(length))
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
            Self::BeginMac { path, row_and_slots } => Writer::new(4).lp(path).lp(row_and_slots),
            Self::MoreMac { bytes } => Writer::new(5).lp(bytes),
            Self::Verify { mac } => Writer::new(6).lp(mac),
            Self::Sign => Writer::new(7),
            Self::Open { rows } => rows.iter().fold(Writer::new(8), |frame, row| {
                frame
                    .put(&row.pid)
                    .put(&row.epoch.to_be_bytes())
                    .lp(&row.keys)
                    .lp(&row.head)
                    .lp(&row.sig)
            }),
            Self::Seal { path, pid, epoch, keyring } => {
                Writer::new(9).lp(path).put(pid).put(&epoch.to_be_bytes()).lp(keyring)
            }
            Self::CheckpointKey => Writer::new(10),
        };

        frame.finish()
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
            4 => Self::BeginMac { path: fields.prefixed()?, row_and_slots: fields.prefixed()? },
            5 => Self::MoreMac { bytes: fields.prefixed()? },
            6 => Self::Verify { mac: fields.prefixed()? },
            7 => Self::Sign,
            8 => {
                let mut rows = Vec::new();
                while !fields.rest().is_empty() {
                    rows.push(ProjectRow {
                        pid: fields.array()?,
                        epoch: fields.u32()?,
                        keys: fields.prefixed()?.to_vec(),
                        head: fields.prefixed()?.to_vec(),
                        sig: fields.prefixed()?.to_vec(),
                    });
                }

                Self::Open { rows }
            }
            9 => Self::Seal {
                path: fields.prefixed()?,
                pid: fields.array()?,
                epoch: fields.u32()?,
                keyring: fields.prefixed()?,
            },
            10 => Self::CheckpointKey,
            _ => return None,
        })
    }
}

impl<'a> Handover<'a> {
    const KIND: u8 = 64;

    /// Returns the frame with its length in front, or `None` if it would be too large.
    pub fn encode(&self) -> Option<SecretBytes> {
        let Self { path, vault_id, ttl, idle, key } = self;
        let frame = Writer::new(Self::KIND).lp(path).put(vault_id);
        frame.put(&ttl.to_be_bytes()).put(&idle.to_be_bytes()).put(*key).finish()
    }

    /// Decodes a single frame with its length in front.
    pub fn decode(frame: &'a [u8]) -> Option<Self> {
        let (prefix, frame) = frame.split_first_chunk()?;
        if frame_length(*prefix)? != frame.len() {
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
    fn code(self) -> (u8, u32) {
        match self {
            Self::Locked => (1, 0),
            Self::Replaced => (2, 0),
            Self::RolledBack => (3, 0),
            Self::ProjectRolledBack(row) => (4, row),
            Self::UnverifiedSlots => (5, 0),
            Self::RootTables => (6, 0),
            Self::Keyring(row) => (7, row),
            Self::System => (8, 0),
            Self::Version => (9, 0),
            Self::WrongKey => (11, 0),
        }
    }

    fn of(code: u8, row: u32) -> Option<Self> {
        let all = [
            Self::Locked,
            Self::Replaced,
            Self::RolledBack,
            Self::ProjectRolledBack(row),
            Self::UnverifiedSlots,
            Self::RootTables,
            Self::Keyring(row),
            Self::System,
            Self::Version,
            Self::WrongKey,
        ];

        all.into_iter().find(|fault| fault.code() == (code, row))
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
            Self::Keyrings(all) => {
                all.iter().fold(Writer::new(131), |frame, bytes| frame.lp(bytes))
            }
            Self::Failed(fault) => {
                let (code, row) = fault.code();
                Writer::new(132).put(&[code]).put(&row.to_be_bytes())
            }
        };

        frame.finish()
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
            131 => {
                let mut all = Vec::new();
                while !fields.rest().is_empty() {
                    all.push(fields.prefixed()?);
                }

                Self::Keyrings(all)
            }
            132 => Self::Failed(AgentFault::of(fields.u8()?, fields.u32()?)?),
            _ => return None,
        })
    }
}
