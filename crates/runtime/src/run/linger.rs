//! Masks output after the program's end, while other processes still hold its output open. A
//! separate process does this.
//!
//! It is a newly started program, so it has no environment, vault or key. It receives the values
//! that are long enough to be masked, builds needles from them and wipes them. It exits with the
//! last writer or with the reader.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use secrets_core::codec::{Reader, prefixed};
use secrets_core::model::{SecretBytes, SecretValue, Tag};

use super::child::{in_memory, start_detached};
use super::stream::{KnownValues, Stream, StreamError, drive};
use crate::helper::Helper;
use crate::process;

/// Starts the lingering process for a stream.
pub(super) fn start(stream: Stream, executable: &Path) -> io::Result<()> {
    let (from, to, known) = stream.into_parts();
    let known = in_memory(pack(&known).expose())?;
    let mut command = Helper::Linger.command(executable);
    command.stdin(Stdio::from(from)).stdout(Stdio::from(to)).stderr(Stdio::from(known));

    start_detached(&mut command)
}

/// Runs the lingering process, which copies its stdin to its stdout with values masked until the
/// end. It reads its parent's knowledge from its stderr. `streams` returns the three descriptors.
pub fn linger(streams: impl FnOnce() -> io::Result<[OwnedFd; 3]>) -> Result<(), StreamError> {
    process::detach(c"secrets-linger").map_err(StreamError::Read)?;
    let [from, to, known] = streams().map_err(StreamError::Read)?;
    let mut packed = SecretBytes::with_capacity(4096);
    io::copy(&mut File::from(known), &mut packed).map_err(StreamError::Read)?;
    rustix::stdio::dup2_stderr(
        File::options().write(true).open("/dev/null").map_err(StreamError::Read)?,
    )
    .map_err(|error| StreamError::Read(error.into()))?;

    let known = unpack(packed.expose())
        .ok_or_else(|| StreamError::Read(io::ErrorKind::InvalidData.into()))?;
    let stream = Stream::resumed(from, to, &known);
    drop((packed, known));

    drive(stream, true)
}

fn pack(known: &KnownValues) -> SecretBytes {
    let mut packed = SecretBytes::with_capacity(4096);
    let mut put = |bytes: &[u8]| prefixed(&mut |piece| packed.extend(piece), &[bytes]);
    put(&known.out.to_be_bytes());
    put(known.tail.expose());
    for (tag, value) in &known.values {
        put(tag.as_str().as_bytes());
        put(value.expose());
    }

    packed
}

fn unpack(packed: &[u8]) -> Option<KnownValues> {
    let mut reader = Reader::new(packed);
    let out = u64::from_be_bytes(reader.prefixed_array()?);
    let tail = SecretBytes::copy_of(reader.prefixed()?);
    let mut values = Vec::new();
    while let Some(tag) = reader.prefixed() {
        let tag = Tag::parse(std::str::from_utf8(tag).ok()?).ok()?;
        let value = SecretBytes::copy_of(reader.prefixed()?);
        values.push((tag, SecretValue::new(value, true).ok()?));
    }

    Some(KnownValues { values, tail, out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let value = SecretValue::new(SecretBytes::copy_of(b"value\0 of it"), true).unwrap();
        let known = KnownValues {
            values: vec![(Tag::parse("api-key").unwrap(), value)],
            tail: SecretBytes::copy_of(b"tail"),
            out: 3,
        };

        let packed = pack(&known);
        let known = unpack(packed.expose()).unwrap();
        assert_eq!((known.tail.expose(), known.out, known.values.len()), (&b"tail"[..], 3, 1));
        assert_eq!(
            (known.values[0].0.as_str(), known.values[0].1.expose()),
            ("api-key", &b"value\0 of it"[..])
        );

        assert!(
            unpack(&packed.expose()[..packed.len() - 1])
                .is_none_or(|known| known.values.is_empty())
        );

        assert!(unpack(b"").is_none());
    }
}
