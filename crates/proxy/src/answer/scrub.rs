//! Replaces values by their placeholders, in the form in which each value stood.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use secrets_mask::{Form, MaskedSpan, Masker, Needles, Sink};

use super::BoxError;
use super::decode::Decoders;
use crate::policy::Policy;

/// A body of at most this many bytes is scrubbed as a whole, so that its length is known again.
const WHOLE: u64 = 64 * 1024;

/// Returns true if a body of this length is scrubbed as a whole.
pub fn is_scrubbed_whole(length: Option<u64>) -> bool {
    length.is_some_and(|length| length <= WHOLE)
}

/// Scrubs pieces of text that belong to one policy.
#[derive(Clone)]
pub struct Scrubber {
    policy: Arc<Policy>,
    /// True to write placeholders, also for secrets that are shown as something else
    has_placeholders: bool,
}

impl Scrubber {
    /// Creates a scrubber for the values of a policy.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy, has_placeholders: false }
    }

    /// Returns a scrubber that always writes placeholders, so that the text can be sent again.
    #[must_use]
    pub fn with_placeholders(&self) -> Self {
        Self { has_placeholders: true, ..self.clone() }
    }

    /// Returns a whole text without values, or `None` if it contains no value.
    pub fn text(&self, text: &[u8]) -> Option<Bytes> {
        if self.policy.needles.is_empty() {
            return None;
        }

        let mut masker = Masker::new(&*self.policy.needles);
        let mut out = Output::new(self, text.len());
        let (Ok(()), Ok(())) =
            (masker.push(text, &mut out), masker.finish_with_incomplete(&mut out));
        out.has_replaced.then(|| out.bytes.freeze())
    }

    /// Removes values from the head of an answer: headers and the reason in the status line.
    pub fn head(&self, parts: &mut Parts) {
        // The reason, and the spelling of header names.
        parts.extensions.clear();
        self.headers(&mut parts.headers);
    }

    /// Removes values from headers or trailers. A field with a value in its name is removed.
    pub fn headers(&self, headers: &mut HeaderMap) {
        let names: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.text(name.as_str().as_bytes()).is_some())
            .cloned()
            .collect();
        for name in &names {
            headers.remove(name);
        }

        for field in headers.values_mut() {
            if let Some(clean) = self.text(field.as_bytes()) {
                // A placeholder can stand in every field.
                *field = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
            }
        }
    }
}

impl Scrubber {
    /// Returns a scrubber for a text that comes in pieces.
    pub fn stream(&self) -> StreamScrubber {
        let masker = Masker::new(Arc::clone(&self.policy.needles));
        StreamScrubber { masker, scrubber: self.clone() }
    }
}

/// Scrubs a text that comes in pieces.
pub struct StreamScrubber {
    masker: Masker<Arc<Needles>>,
    scrubber: Scrubber,
}

impl StreamScrubber {
    /// Returns what can be shown after the next piece.
    pub fn push(&mut self, piece: &[u8]) -> BytesMut {
        let mut out = Output::new(&self.scrubber, piece.len() + 64);
        let Ok(()) = self.masker.push(piece, &mut out);
        out.bytes
    }

    /// Returns the rest.
    pub fn finish(&mut self) -> BytesMut {
        let mut out = Output::new(&self.scrubber, 64);
        let Ok(()) = self.masker.finish_with_incomplete(&mut out);
        out.bytes
    }
}

/// Collects text without values.
struct Output<'s> {
    scrubber: &'s Scrubber,
    bytes: BytesMut,
    has_replaced: bool,
}

impl<'s> Output<'s> {
    fn new(scrubber: &'s Scrubber, capacity: usize) -> Self {
        Self { scrubber, bytes: BytesMut::with_capacity(capacity), has_replaced: false }
    }
}

impl Sink for Output<'_> {
    type Error = Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        self.has_replaced = true;
        let mut secrets = self.scrubber.policy.secrets.iter();
        let known = secrets.find(|secret| secret.tag.key() == found.tag.key());
        let shown = known.and_then(|secret| secret.shown.as_ref());
        if let Some(shown) = shown.filter(|_| !self.scrubber.has_placeholders) {
            self.bytes.extend_from_slice(shown.as_bytes());
            return Ok(());
        }

        let placeholder = known.map_or("", |secret| &secret.placeholder).as_bytes();
        match found.form {
            Form::Hex => placeholder.iter().for_each(|byte| {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                self.bytes.extend_from_slice(&[digit(byte >> 4), digit(*byte)]);
            }),
            Form::Base64 => {
                self.bytes
                    .extend_from_slice(Base64UrlUnpadded::encode_string(placeholder).as_bytes());
            }
            // A placeholder has only characters that the other forms leave as they are.
            _ => self.bytes.extend_from_slice(placeholder),
        }

        Ok(())
    }
}

/// The body of an answer, decoded and without values. It holds back only the beginning of what may
/// become a value, and never gives it away because time has passed.
pub struct ScrubbedBody<B> {
    inner: B,
    masker: Masker<Arc<Needles>>,
    decoders: Decoders,
    scrubber: Scrubber,
    /// Bytes that are not decoded yet
    encoded: Bytes,
    trailers: Option<HeaderMap>,
    /// True after the last byte of the inner body
    has_ended: bool,
    is_done: bool,
}

/// The most encoded bytes that are decoded before the result is passed on.
const PIECE: usize = 4 * 1024;

impl<B> ScrubbedBody<B> {
    /// Wraps a body.
    pub fn new(inner: B, decoders: Decoders, scrubber: Scrubber) -> Self {
        let masker = Masker::new(Arc::clone(&scrubber.policy.needles));
        let (encoded, trailers) = (Bytes::new(), None);
        Self {
            inner,
            masker,
            decoders,
            scrubber,
            encoded,
            trailers,
            has_ended: false,
            is_done: false,
        }
    }

    /// Scrubs the next bytes, and decodes them before if they are encoded.
    fn scrub(&mut self) -> std::io::Result<Bytes> {
        let is_identity = self.decoders.is_identity();
        let length = if is_identity { self.encoded.len() } else { self.encoded.len().min(PIECE) };
        let data = self.encoded.split_to(length);
        let mut out = Output::new(&self.scrubber, data.len() + 64);
        if is_identity {
            let Ok(()) = self.masker.push(&data, &mut out);
        } else {
            let masker = &mut self.masker;
            self.decoders.decode(&data, &mut |plain| {
                let Ok(()) = masker.push(plain, &mut out);
                Ok(())
            })?;
        }

        Ok(out.bytes.freeze())
    }

    /// Returns the rest of the body.
    fn finish(&mut self) -> std::io::Result<Bytes> {
        let mut out = Output::new(&self.scrubber, 64);
        let masker = &mut self.masker;
        self.decoders.finish(&mut |plain| {
            let Ok(()) = masker.push(plain, &mut out);
            Ok(())
        })?;

        let Ok(()) = self.masker.finish_with_incomplete(&mut out);
        self.is_done = true;
        Ok(out.bytes.freeze())
    }
}

impl<B> Body for ScrubbedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        while !this.is_done {
            let scrubbed = if !this.encoded.is_empty() {
                this.scrub()
            } else if this.has_ended {
                this.finish()
            } else {
                match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                    Some(Err(error)) => {
                        this.is_done = true;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => this.encoded = data,
                        Err(frame) => {
                            if let Ok(mut trailers) = frame.into_trailers() {
                                this.scrubber.headers(&mut trailers);
                                this.trailers = Some(trailers);
                            }

                            this.has_ended = true;
                        }
                    },
                    None => this.has_ended = true,
                }

                continue;
            };

            match scrubbed {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(error) => {
                    this.is_done = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }

        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
