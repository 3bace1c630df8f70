//! `Guard`: reads each message's type and length before the driver does, and refuses what a hostile
//! server could ask for.
//!
//! The driver sends the password in cleartext, or as an MD5 hash, to every server that asks for it.
//! Its only setting against this is `channel_binding=require`, which also refuses a login by
//! certificate and cannot be used without TLS. So the driver's setting remains `prefer`, and the
//! rules are enforced here for every kind of connection.
//!
//! The guard also limits how much the server may send before the login ends, and the length of each
//! message after it, because the driver keeps in memory what it receives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::LoginMethod;

/// The maximum length of one message from the server, in bytes. A row is one message.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// How much a server may send until it accepts the first statement, in bytes. PostgreSQL sends less
/// than 1 KiB.
const MAX_LOGIN: usize = 64 * 1024;

/// The start of the only answer that may carry a proof of the password over TLS: the type, four
/// bytes of length, and the mechanism.
const BOUND: &[u8] = b"SCRAM-SHA-256-PLUS\0";

/// Which logins are allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// We know a password
    pub(super) has_password: bool,
    /// A proof of the password must be bound to the TLS connection. Somebody between us and the
    /// server cannot pass it on
    pub(super) must_bind: bool,
    /// The server must ask for the proof, because it proves at the same time that it knows the
    /// password
    pub(super) must_prove: bool,
}

/// Why the guard has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The server asks for a password, and none is known.
    #[error("no password is known")]
    NoPassword,
    /// The login is not allowed.
    #[error("the login is not allowed")]
    Login(LoginMethod),
    /// A message is invalid or too large.
    #[error("a message is invalid or too large")]
    Message,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, refusal)
    }
}

/// A stream to the server that refuses what [`Rules`] do not allow.
pub(super) struct Guard<S> {
    stream: S,
    rules: Rules,
    messages: Messages,
    stage: Stage,
    /// How many bytes were received before the login ended
    received: usize,
    is_proving: Arc<AtomicBool>,
}

/// How far the login is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The server has not said how to log in.
    Started,
    /// The server wants a proof of the password. We have not answered.
    ProofWanted,
    /// We have sent the start of the proof.
    ProofSent,
    /// The server has accepted the login. It sends its parameters.
    Accepted,
    /// The server accepts statements.
    Ready,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, rules: Rules) -> Self {
        Self {
            stream,
            rules,
            messages: Messages::default(),
            stage: Stage::Started,
            received: 0,
            is_proving: Arc::default(),
        }
    }

    /// Returns a flag which is true from our proof of the password until the server accepts it. It
    /// can be read after the driver has failed.
    pub(super) fn is_proving(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_proving)
    }

    /// Checks bytes from the server.
    fn check_received(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        if self.stage != Stage::Ready {
            self.received += bytes.len();
        }

        while let Some(start) = self.messages.next(&mut bytes)? {
            self.stage = match (start, self.stage) {
                (Start::Authentication(code), stage) => self.check_login(code, stage)?,
                (Start::Ready, Stage::Accepted) => Stage::Ready,
                (_, stage) => stage,
            };
        }

        if self.stage != Stage::Ready && self.received > MAX_LOGIN {
            return Err(Refusal::Message);
        }

        Ok(())
    }

    /// Checks an authentication message. Its code says what the server wants.
    fn check_login(&self, code: u32, stage: Stage) -> Result<Stage, Refusal> {
        match (code, stage) {
            (0, Stage::Started) if self.rules.must_prove => {
                Err(Refusal::Login(LoginMethod::Nothing))
            }
            (0, Stage::Started | Stage::ProofSent) => {
                self.is_proving.store(false, Ordering::Relaxed);
                Ok(Stage::Accepted)
            }
            (3, Stage::Started) => Err(Refusal::Login(LoginMethod::Cleartext)),
            (5, Stage::Started) => Err(Refusal::Login(LoginMethod::Md5)),
            (10, Stage::Started) if !self.rules.has_password => Err(Refusal::NoPassword),
            (10, Stage::Started) => Ok(Stage::ProofWanted),
            // The driver verifies the server's part of the proof.
            (11 | 12, Stage::ProofSent) => Ok(Stage::ProofSent),
            (_, Stage::Started) => Err(Refusal::Login(LoginMethod::Other)),
            _ => Err(Refusal::Message),
        }
    }

    /// Checks what the driver sends. It writes a whole message at once.
    fn check_sent(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.stage != Stage::ProofWanted {
            return Ok(());
        }

        let mechanism = bytes.strip_prefix(b"p").and_then(|rest| rest.get(4..)).unwrap_or_default();
        if self.rules.must_bind && !mechanism.starts_with(BOUND) {
            return Err(Refusal::Login(LoginMethod::Unbound));
        }

        self.stage = Stage::ProofSent;
        self.is_proving.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;

        self.check_received(&buffer.filled()[before..])?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_sent(bytes)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guard<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// Finds the starts of messages in a stream that arrives in pieces.
#[derive(Debug, Default)]
struct Messages {
    /// The type, the length, and the code of an authentication message
    header: [u8; 9],
    /// How much of the header is known
    known: usize,
    /// How many bytes of the body follow
    body: usize,
}

/// A message that the guard looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The method that the server wants for the login
    Authentication(u32),
    /// The server accepts statements
    Ready,
    /// Another message
    Other,
}

impl Messages {
    /// Takes bytes up to the next start of a message and returns it, or takes all of them.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Start>, Refusal> {
        let body = self.body.min(bytes.len());
        *bytes = &bytes[body..];
        self.body -= body;

        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.header[self.known] = *byte;
            self.known += 1;

            let [tag, l0, l1, l2, l3, c0, c1, c2, c3] = self.header;
            let length = u32::from_be_bytes([l0, l1, l2, l3]);
            let code = u32::from_be_bytes([c0, c1, c2, c3]);
            let wanted = if tag == b'R' { 9 } else { 5 };
            // The length counts itself.
            let after_length = (length as usize).checked_sub(4);
            if self.known == 5 && after_length.is_none_or(|n| n < wanted - 5 || n > MAX_MESSAGE) {
                return Err(Refusal::Message);
            }

            if self.known == wanted {
                self.known = 0;
                self.body = after_length.unwrap_or_default() - (wanted - 5);
                return Ok(Some(match tag {
                    b'R' => Start::Authentication(code),
                    b'Z' => Start::Ready,
                    _ => Start::Other,
                }));
            }
        }

        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { has_password: true, must_bind: true, must_prove: true };

    fn guard(rules: Rules) -> Guard<()> {
        Guard::new((), rules)
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn authentication(code: u32, rest: &[u8]) -> Vec<u8> {
        message(b'R', &[&code.to_be_bytes(), rest].concat())
    }

    #[test]
    fn weak_logins_are_refused() {
        for (code, method) in [
            (0, LoginMethod::Nothing),
            (3, LoginMethod::Cleartext),
            (5, LoginMethod::Md5),
            (7, LoginMethod::Other),
            (11, LoginMethod::Other),
            (99, LoginMethod::Other),
        ] {
            let bytes = authentication(code, b"salt");
            assert_eq!(guard(RULES).check_received(&bytes), Err(Refusal::Login(method)));
        }

        let unknown = Rules { has_password: false, must_bind: true, must_prove: false };
        let refused = |code| guard(unknown).check_received(&authentication(code, b"")).unwrap_err();
        assert_eq!(refused(10), Refusal::NoPassword);
        assert_eq!(refused(3), Refusal::Login(LoginMethod::Cleartext));
        assert_eq!(guard(unknown).check_received(&authentication(0, b"")), Ok(()));
    }

    #[test]
    fn a_proof_must_be_bound_to_tls() {
        let bound = message(b'p', b"SCRAM-SHA-256-PLUS\0\0\0\0\x04n=,r");
        let unbound = message(b'p', b"SCRAM-SHA-256\0\0\0\0\x04n=,r");
        let wanted = authentication(10, b"SCRAM-SHA-256\0\0");
        let refused = Err(Refusal::Login(LoginMethod::Unbound));

        for (must_bind, sent, expected) in [
            (true, &bound[..], Ok(())),
            (true, &unbound, refused),
            (true, &bound[..10], refused),
            (true, &message(b'p', b"password\0"), refused),
            (true, b"", refused),
            (false, &unbound, Ok(())),
        ] {
            let mut guard = guard(Rules { must_bind, ..RULES });
            assert_eq!(guard.check_received(&wanted), Ok(()));
            assert_eq!(guard.check_sent(sent), expected);
        }
    }

    #[test]
    fn a_login_has_its_order() {
        let proof = message(b'p', b"SCRAM-SHA-256-PLUS\0");
        let mut guard = guard(RULES);
        for code in [10, 11, 12, 0] {
            assert_eq!(guard.check_received(&authentication(code, b"...")), Ok(()));
            if code == 10 {
                assert_eq!(
                    guard.clone_stage().check_received(&authentication(0, b"")),
                    Err(Refusal::Message)
                );
                assert_eq!(guard.check_sent(&proof), Ok(()));
            }
        }

        assert_eq!(guard.stage, Stage::Accepted);
        for code in [0, 3, 10] {
            let bytes = authentication(code, b"");
            assert_eq!(guard.clone_stage().check_received(&bytes), Err(Refusal::Message));
        }

        assert_eq!(guard.check_received(&message(b'Z', b"I")), Ok(()));
        assert_eq!(guard.stage, Stage::Ready);
    }

    #[test]
    fn messages_are_found_however_they_arrive() {
        let bytes = [
            authentication(0, b""),
            message(b'S', b"a\0b\0"),
            message(b'K', &[b'R'; 12]),
            message(b'Z', b"I"),
            message(b'1', b""),
            message(b'D', &[b'Z'; 300]),
        ]
        .concat();

        for size in 1..=bytes.len() {
            let mut messages = Messages::default();
            let mut starts = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(start) = messages.next(&mut piece).unwrap() {
                    starts.push(start);
                }
            }

            let other = Start::Other;
            let expected = [Start::Authentication(0), other, other, Start::Ready, other, other];
            assert_eq!(starts, expected, "{size}");
        }
    }

    #[test]
    fn lengths_are_limited() {
        let header = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
        let largest = u32::try_from(MAX_MESSAGE + 4).unwrap();
        for (tag, length, is_valid) in [
            (b'D', 4, true),
            (b'D', 3, false),
            (b'D', 0, false),
            (b'D', largest, true),
            (b'D', largest + 1, false),
            (b'D', u32::MAX, false),
            (b'R', 8, true),
            (b'R', 7, false),
        ] {
            let result = Messages::default().next(&mut &header(tag, length)[..]);
            assert_eq!(result.is_ok(), is_valid, "{tag} {length}");
        }

        let mut endless = guard(Rules { must_prove: false, ..RULES });
        assert_eq!(endless.check_received(&authentication(0, b"")), Ok(()));
        let parameter = message(b'S', &[b'a'; 1024]);
        let accepted = (0..100).take_while(|_| endless.check_received(&parameter).is_ok()).count();
        assert_eq!(accepted, 63);
    }

    impl Guard<()> {
        fn clone_stage(&self) -> Self {
            Self { stage: self.stage, ..guard(self.rules) }
        }
    }
}
