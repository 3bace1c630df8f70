//! The rest of a request's body that nobody reads, because the request was refused or answered early.
//!
//! A client that is still sending would lose the response if the connection were closed. So the rest is
//! read and dropped, up to a limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::answer::{BoxError, boxed};

/// The most bytes that are read, and the time for it.
const LIMIT: (usize, Duration) = (64 * 1024 * 1024, Duration::from_secs(5));

/// A body whose rest is read when it is dropped.
pub(super) struct ReadToEnd {
    inner: Option<Incoming>,
    rest: Option<oneshot::Sender<Incoming>>,
    /// The client waits until somebody reads the body (RFC 9110, section 10.1.1)
    is_held_back: bool,
}

impl ReadToEnd {
    pub(super) fn new(inner: Incoming, is_held_back: bool) -> Self {
        let mut rest = None;
        if !inner.is_end_stream() {
            let (sender, dropped) = oneshot::channel();
            rest = Some(sender);
            spawn_local(async move {
                if let Ok(body) = dropped.await {
                    let _ = timeout(LIMIT.1, discard(body)).await;
                }
            });
        }

        Self { inner: Some(inner), rest, is_held_back }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = LIMIT.0;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl Drop for ReadToEnd {
    fn drop(&mut self) {
        if let (Some(body), Some(rest)) = (self.inner.take(), self.rest.take())
            && !self.is_held_back
            && !body.is_end_stream()
        {
            let _ = rest.send(body);
        }
    }
}

impl Body for ReadToEnd {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.is_held_back = false;
        match &mut self.inner {
            Some(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(boxed)))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
