//! Frames of a WebSocket (RFC 6455). Values in messages of the origin are replaced by placeholders, and
//! placeholders in text messages of the client by values where a rule names them. Each message is
//! judged by the rules and grants of its moment.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use secrets_core::model::{Origin, Place, RequestPath};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};

use crate::answer::{Scrubber, StreamScrubber};
use crate::exchange::Exchange;
use crate::judge::Judged;
use crate::rewrite::json;
use crate::session::Session;

/// The most bytes of a frame of the origin that are scrubbed at once.
const PIECE: usize = 64 * 1024;
/// The greatest message of a client in which a placeholder is replaced.
const MESSAGE: usize = 1 << 20;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL: u8 = 125;

/// Passes the frames of one connection on.
pub(super) struct Frames {
    session: Arc<Session>,
    origin: Origin,
    method: String,
    path: Option<RequestPath>,
    /// The numbers of the rules for frames
    rules: Vec<usize>,
}

impl Frames {
    /// Takes over a connection after the exchange that opened it.
    pub(super) fn new(exchange: &Exchange, judged: &Judged) -> Self {
        Self {
            session: Arc::clone(exchange.session()),
            origin: exchange.origin().clone(),
            method: exchange.method().to_owned(),
            path: RequestPath::parse(&judged.path).ok(),
            rules: judged.frames.clone(),
        }
    }

    /// Passes frames until both directions have ended.
    pub(super) async fn pass(self, client: Upgraded, server: Upgraded) {
        let (client_reader, client_writer) = split(TokioIo::new(client));
        let (server_reader, server_writer) = split(TokioIo::new(server));
        let up = self.up(client_reader, server_writer);
        let down = self.down(server_reader, client_writer);
        // Nothing is of use to one side after the other has failed.
        let _ = tokio::try_join!(up, down);
    }

    /// Passes the client's frames to the origin.
    async fn up(
        &self,
        mut from: ReadHalf<TokioIo<Upgraded>>,
        mut to: WriteHalf<TokioIo<Upgraded>>,
    ) -> io::Result<()> {
        if self.rules.is_empty() {
            tokio::io::copy(&mut from, &mut to).await?;
            return to.shutdown().await;
        }

        let mut frames = FrameReader::new(from);
        while let Some(head) = frames.head().await? {
            let is_whole = head.opcode == TEXT && head.is_last && head.length <= MESSAGE as u64;
            if !is_whole {
                pass_on(&mut frames, &head, &mut to).await?;
                continue;
            }

            let mut message = frames.payload(&head).await?;
            apply(head.key, &mut message);
            let message = self.with_values(message);
            let mut key = [0; 4];
            getrandom::fill(&mut key).map_err(io::Error::other)?;
            let mut masked = message;
            apply(Some(key), &mut masked);
            let head = Head { length: masked.len() as u64, key: Some(key), ..head };
            to.write_all(&head.encode()).await?;
            to.write_all(&masked).await?;
            to.flush().await?;
        }

        to.shutdown().await
    }

    /// Puts values into a text message where rules name a place in it, each as often as its rule says.
    fn with_values(&self, message: Vec<u8>) -> Vec<u8> {
        let policy = self.session.policy();
        let Some(path) = &self.path else { return message };
        if !policy.placeholders.are_in(&message) {
            return message;
        }

        let mut message = message;
        let mut times: BTreeMap<usize, usize> = BTreeMap::new();
        for rule in self.rules.iter().filter_map(|number| policy.rules.get(*number)) {
            let place = &rule.destination.place;
            let Place::WebSocket(pointer) = place else { continue };
            let secret = policy.secrets.get(rule.secret);
            if !secret.is_some_and(|one| one.is_granted(&self.method, &self.origin, path, place)) {
                continue;
            }

            let found = json::at_pointer(&message, pointer, &policy.placeholders);
            let mut texts = found.unwrap_or_default();
            for text in &mut texts {
                text.found.retain(|one| one.secret == rule.secret);
            }

            texts.retain(|text| text.found.len() == 1);
            let sent = times.entry(rule.secret).or_default();
            if texts.is_empty() || *sent + texts.len() > rule.times as usize {
                continue;
            }

            *sent += texts.len();

            if let Some(changed) =
                json::substituted(&message, &texts, &|secret| policy.value(secret))
            {
                message = changed.expose().to_vec();
            }
        }

        message
    }

    /// Passes the origin's frames to the client.
    async fn down(
        &self,
        from: ReadHalf<TokioIo<Upgraded>>,
        mut to: WriteHalf<TokioIo<Upgraded>>,
    ) -> io::Result<()> {
        let mut frames = FrameReader::new(from);
        let mut message: Option<Message> = None;
        while let Some(head) = frames.head().await? {
            if !head.is_of_an_origin() {
                return Err(io::ErrorKind::InvalidData.into());
            }

            let scrubber = Scrubber::new(self.session.policy());
            if head.opcode >= CLOSE {
                let payload = frames.payload(&head).await?;
                let clean = scrubber.text(&payload).map_or(payload, |clean| clean.to_vec());
                let clean = &clean[..clean.len().min(CONTROL.into())];
                to.write_all(&Head { length: clean.len() as u64, ..head }.encode()).await?;
                to.write_all(clean).await?;
                to.flush().await?;
                continue;
            }

            // A message begins with its kind, and goes on without one.
            let present = match (&mut message, head.opcode) {
                (Some(present), CONTINUATION) => present,
                (empty @ None, TEXT | BINARY) => empty.insert(Message::new(&scrubber, head.opcode)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            present.pass(&mut frames, &head, &mut to).await?;
            if head.is_last {
                message = None;
            }
        }

        to.shutdown().await
    }
}

/// A message of the origin, which may come in several frames.
struct Message {
    scrubber: StreamScrubber,
    /// The kind of the next frame
    opcode: u8,
}

impl Message {
    fn new(scrubber: &Scrubber, opcode: u8) -> Self {
        Self { scrubber: scrubber.stream(), opcode }
    }

    /// Scrubs one frame of the message. What may become a value is held back until the next one.
    async fn pass<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        frames: &mut FrameReader<R>,
        head: &Head,
        to: &mut W,
    ) -> io::Result<()> {
        let mut left = head.length;
        loop {
            let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let payload = frames.take(piece).await?;
            left -= piece as u64;
            let is_last = head.is_last && left == 0;
            let mut clean = self.scrubber.push(&payload);
            if is_last {
                clean.extend_from_slice(&self.scrubber.finish());
            }

            if !clean.is_empty() || is_last {
                let opcode = std::mem::replace(&mut self.opcode, CONTINUATION);
                let length = clean.len() as u64;
                to.write_all(&Head { is_last, opcode, reserved: 0, length, key: None }.encode())
                    .await?;
                to.write_all(&clean).await?;
                to.flush().await?;
            }

            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// Passes a frame on as it is.
async fn pass_on<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    frames: &mut FrameReader<R>,
    head: &Head,
    to: &mut W,
) -> io::Result<()> {
    to.write_all(&head.encode()).await?;
    let mut left = head.length;
    while left > 0 {
        let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let payload = frames.take(piece).await?;
        to.write_all(&payload).await?;
        left -= piece as u64;
    }

    to.flush().await
}

/// Masks or unmasks a payload.
fn apply(key: Option<[u8; 4]>, payload: &mut [u8]) {
    if let Some(key) = key {
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    is_last: bool,
    /// The three reserved bits
    reserved: u8,
    opcode: u8,
    length: u64,
    key: Option<[u8; 4]>,
}

impl Head {
    /// Returns true for a frame as an origin may send it: not masked, without extensions, of a known kind,
    /// and short and whole if it controls the connection (RFC 6455, sections 5.1, 5.2 and 5.5).
    fn is_of_an_origin(&self) -> bool {
        let is_known = match self.opcode {
            CONTINUATION..=BINARY => true,
            CLOSE..=PONG => self.is_last && self.length <= CONTROL.into(),
            _ => false,
        };
        is_known && self.key.is_none() && self.reserved == 0
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.is_last) << 7 | self.reserved << 4 | self.opcode];
        let mask = u8::from(self.key.is_some()) << 7;
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length @ 0..=125), _) => bytes.push(mask | length),
            (_, Ok(length)) => {
                bytes.push(mask | 0x7e);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(mask | 0x7f);
                bytes.extend(self.length.to_be_bytes());
            }
        }

        bytes.extend(self.key.iter().flatten());
        bytes
    }

    /// Decodes a head at the beginning of `bytes`. Returns it with its length, or `None` if it is not
    /// complete.
    fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, at) = match second & 0x7f {
            126 => (u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?), 10),
            length => (length.into(), 2),
        };

        let (key, at) = match second >> 7 {
            0 => (None, at),
            _ => (Some(*bytes.get(at..at + 4)?.first_chunk()?), at + 4),
        };

        let head = Self {
            is_last: first >> 7 == 1,
            reserved: first >> 4 & 7,
            opcode: first & 15,
            length,
            key,
        };
        Some((head, at))
    }
}

/// Reads frames.
struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::with_capacity(PIECE) }
    }

    /// Reads the head of the next frame. Returns `None` at the end.
    async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some((head, length)) = Head::decode(&self.buffer) {
                self.buffer.advance(length);
                return Ok(Some(head));
            }

            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Reads this many bytes of a payload.
    async fn take(&mut self, length: usize) -> io::Result<BytesMut> {
        while self.buffer.len() < length {
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }

        Ok(self.buffer.split_to(length))
    }

    /// Reads a whole payload, whose length was checked.
    async fn payload(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let length = usize::try_from(head.length).map_err(io::Error::other)?;
        Ok(self.take(length).await?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip() {
        for length in [0, 1, 125, 126, 65535, 65536, u64::MAX >> 1] {
            for key in [None, Some([1, 2, 3, 4])] {
                let head = Head { is_last: true, reserved: 0, opcode: TEXT, length, key };
                let encoded = head.encode();
                assert_eq!(Head::decode(&encoded), Some((head, encoded.len())));
                for cut in 0..encoded.len() {
                    assert_eq!(Head::decode(&encoded[..cut]), None);
                }
            }
        }
    }
}
