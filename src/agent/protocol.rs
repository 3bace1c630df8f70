//! What agent and client say to each other, for both ends.
//!
//! A frame is a big-endian u32, the length of what follows, at most 64 KiB; then the protocol's version, the kind, and
//! the kind's fields: integers big-endian, bytes behind their u32 length. Both ends refuse what is not exactly that.
//! Buffers are wiped: one answer holds key rings. No frame on a socket holds a root key: [`Handover`] is for the pipe
//! between `unlock` and the agent that it starts.
//!
//! One thing never changes, whatever the version: kind 0 of any version locks everything, so that each `secrets lock
//! --all` ends each agent.

use crate::crypto::ids::{ProjectId, VaultId};
use crate::crypto::rows::ProjectRow;
use crate::model::SecretBytes;

/// The version that this binary speaks.
pub const VERSION: u8 = 3;
/// The largest frame, without the four bytes of its length.
pub const LARGEST_FRAME: usize = 64 * 1024;

/// What a client asks. A path is that of a vault, absolute and canonical.
pub enum Request<'a> {
    /// Forget every key and end. Understood in every version
    LockAll,
    /// How is the vault of this path? Answered by [`Answer::State`]
    Status {
        /// Which vault
        path: &'a [u8],
        /// Its id, where the client knows it: another one is a fault
        vault_id: Option<VaultId>,
    },
    /// Forget the key of this path
    Lock {
        /// Which vault
        path: &'a [u8],
    },
    /// Begin a root MAC with [`crate::crypto::root_key::row_and_slots`]; no answer
    BeginMac {
        /// Which vault
        path: &'a [u8],
        /// The first bytes, whole
        row_and_slots: &'a [u8],
    },
    /// The MAC's next bytes; no answer
    MoreMac {
        /// Any number of them
        bytes: &'a [u8],
    },
    /// Compare the MAC. From now on this connection may open key rings
    Verify {
        /// The stored one
        mac: &'a [u8],
    },
    /// Finish the MAC; answered by [`Answer::Bytes`]
    Sign,
    /// Open the key rings of these rows; answered by [`Answer::Keyrings`]
    Open {
        /// Rows of a table that was verified
        rows: Vec<ProjectRow>,
    },
    /// Seal a key ring; answered by [`Answer::Bytes`]
    Seal {
        /// Of which vault
        path: &'a [u8],
        /// Of which project
        pid: ProjectId,
        /// Its generation
        epoch: u32,
        /// [`crate::crypto::keyring::Keyring::encode`]
        keyring: &'a [u8],
    },
    /// Give out the key that seals what was last seen of the vault, which was verified; answered by [`Answer::Bytes`]
    AnchorKey,
}

/// What a new agent reads from its stdin, once, before it listens: the key that it is to hold. It is no request.
pub struct Handover<'a> {
    /// Which vault
    pub path: &'a [u8],
    /// Its id
    pub vault_id: VaultId,
    /// Milliseconds until the key is forgotten
    pub ttl: u64,
    /// Milliseconds without use until the key is forgotten
    pub idle: u64,
    /// The root key
    pub key: &'a [u8; 32],
}

/// What the agent answers.
#[derive(PartialEq, Eq)]
pub enum Answer<'a> {
    /// Done; the flag says what the request's own page says
    Done(bool),
    /// How a vault is
    State {
        /// Milliseconds left by either clock; `None` where it is locked
        left: Option<(u64, u64)>,
    },
    /// Bytes that were asked for
    Bytes(&'a [u8]),
    /// Key rings in the order of the rows
    Keyrings(Vec<&'a [u8]>),
    /// Not done
    AgentFault(AgentFault),
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// There is no key for this path
    Locked,
    /// The path's vault has another id than the one that was unlocked
    Replaced,
    /// An older root state than one that was seen
    RolledBack,
    /// An older state of the project in this row of the request
    ProjectRolledBack(u32),
    /// Slots that were not seen verified
    OtherSlots,
    /// The root MAC does not hold
    RootTables,
    /// The same under slots that were never verified: the vault may have been given another key
    OtherKey,
    /// The key ring of this row does not open
    Keyring(u32),
    /// The generator or the memory failed
    System,
    /// The frame's version is not the agent's
    Version,
}

/// Why a frame was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Not by this protocol
    Malformed,
    /// By another version of it
    Version,
}

/// A frame being written.
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

    fn lp(self, bytes: &[u8]) -> Self {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put(&length.to_be_bytes()).put(bytes)
    }

    /// The whole frame; `None` where it is too large.
    fn finish(mut self) -> Option<SecretBytes> {
        let length = self.0.len() - 4;
        if length > LARGEST_FRAME {
            return None;
        }

        self.0.expose_mut()[..4].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        Some(self.0)
    }
}

/// The fields of a frame being read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn lp(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// The length of the frame that begins with these four bytes; `None` where it is none that is allowed.
pub(super) fn frame_length(prefix: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(prefix))
        .ok()
        .filter(|length| (2..=LARGEST_FRAME).contains(length))
}

impl<'a> Request<'a> {
    /// The frame, its length in front; `None` where it would be too large.
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
            Self::AnchorKey => Writer::new(10),
        };

        frame.finish()
    }

    /// Takes a frame apart, without its length.
    pub fn decode(frame: &'a [u8]) -> Result<Self, Unreadable> {
        let mut fields = Reader(frame);
        let (version, kind) = (fields.u8(), fields.u8());
        match (version, kind) {
            (Some(_), Some(0)) => return Ok(Self::LockAll),
            (Some(VERSION), Some(_)) => {}
            (Some(_), Some(_)) => return Err(Unreadable::Version),
            _ => return Err(Unreadable::Malformed),
        }

        let request =
            Self::fields(kind.unwrap_or_default(), &mut fields).ok_or(Unreadable::Malformed)?;
        if fields.0.is_empty() { Ok(request) } else { Err(Unreadable::Malformed) }
    }

    fn fields(kind: u8, fields: &mut Reader<'a>) -> Option<Self> {
        Some(match kind {
            1 => {
                let (path, id) = (fields.lp()?, fields.lp()?);
                let vault_id = if id.is_empty() { None } else { Some(id.try_into().ok()?) };
                Self::Status { path, vault_id }
            }
            // Kind 2 of version 2 held a root key: it is not used again.
            3 => Self::Lock { path: fields.lp()? },
            4 => Self::BeginMac { path: fields.lp()?, row_and_slots: fields.lp()? },
            5 => Self::MoreMac { bytes: fields.lp()? },
            6 => Self::Verify { mac: fields.lp()? },
            7 => Self::Sign,
            8 => {
                let mut rows = Vec::new();
                while !fields.0.is_empty() {
                    rows.push(ProjectRow {
                        pid: fields.array()?,
                        epoch: fields.u32()?,
                        keys: fields.lp()?.to_vec(),
                        head: fields.lp()?.to_vec(),
                        sig: fields.lp()?.to_vec(),
                    });
                }

                Self::Open { rows }
            }
            9 => Self::Seal {
                path: fields.lp()?,
                pid: fields.array()?,
                epoch: fields.u32()?,
                keyring: fields.lp()?,
            },
            10 => Self::AnchorKey,
            _ => return None,
        })
    }
}

impl<'a> Handover<'a> {
    const KIND: u8 = 64;

    /// The frame, its length in front; `None` where it would be too large.
    pub fn encode(&self) -> Option<SecretBytes> {
        let Self { path, vault_id, ttl, idle, key } = self;
        let frame = Writer::new(Self::KIND).lp(path).put(vault_id);
        frame.put(&ttl.to_be_bytes()).put(&idle.to_be_bytes()).put(*key).finish()
    }

    /// Takes a frame apart that came with its length, and alone.
    pub fn decode(frame: &'a [u8]) -> Option<Self> {
        let (prefix, frame) = frame.split_first_chunk()?;
        if frame_length(*prefix)? != frame.len() {
            return None;
        }

        let mut fields = Reader(frame);
        if (fields.u8()?, fields.u8()?) != (VERSION, Self::KIND) {
            return None;
        }

        let (path, vault_id, ttl, idle) =
            (fields.lp()?, fields.array()?, fields.u64()?, fields.u64()?);
        Some(Self { path, vault_id, ttl, idle, key: fields.0.try_into().ok()? })
    }
}

impl AgentFault {
    fn code(self) -> (u8, u32) {
        match self {
            Self::Locked => (1, 0),
            Self::Replaced => (2, 0),
            Self::RolledBack => (3, 0),
            Self::ProjectRolledBack(row) => (4, row),
            Self::OtherSlots => (5, 0),
            Self::RootTables => (6, 0),
            Self::Keyring(row) => (7, row),
            Self::System => (8, 0),
            Self::Version => (9, 0),
            Self::OtherKey => (11, 0),
        }
    }

    fn of(code: u8, row: u32) -> Option<Self> {
        let all = [
            Self::Locked,
            Self::Replaced,
            Self::RolledBack,
            Self::ProjectRolledBack(row),
            Self::OtherSlots,
            Self::RootTables,
            Self::Keyring(row),
            Self::System,
            Self::Version,
            Self::OtherKey,
        ];

        all.into_iter().find(|fault| fault.code() == (code, row))
    }
}

impl<'a> Answer<'a> {
    /// The frame, its length in front; `None` where it would be too large.
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
            Self::AgentFault(fault) => {
                let (code, row) = fault.code();
                Writer::new(132).put(&[code]).put(&row.to_be_bytes())
            }
        };

        frame.finish()
    }

    /// Takes a frame apart, without its length.
    pub fn decode(frame: &'a [u8]) -> Result<Self, Unreadable> {
        let mut fields = Reader(frame);
        match (fields.u8(), fields.u8()) {
            (Some(VERSION), Some(kind)) => {
                let answer = Self::fields(kind, &mut fields).ok_or(Unreadable::Malformed)?;
                if fields.0.is_empty() { Ok(answer) } else { Err(Unreadable::Malformed) }
            }
            (Some(_), Some(_)) => Err(Unreadable::Version),
            _ => Err(Unreadable::Malformed),
        }
    }

    fn fields(kind: u8, fields: &mut Reader<'a>) -> Option<Self> {
        Some(match kind {
            128 => Self::Done(fields.flag()?),
            129 => {
                let (unlocked, left) = (fields.flag()?, (fields.u64()?, fields.u64()?));

                // A locked vault has no time left.
                (unlocked || left == (0, 0))
                    .then_some(Self::State { left: unlocked.then_some(left) })?
            }
            130 => Self::Bytes(fields.lp()?),
            131 => {
                let mut all = Vec::new();
                while !fields.0.is_empty() {
                    all.push(fields.lp()?);
                }

                Self::Keyrings(all)
            }
            132 => Self::AgentFault(AgentFault::of(fields.u8()?, fields.u32()?)?),
            _ => return None,
        })
    }
}
