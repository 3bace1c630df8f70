//! A body that ends with an error if no byte comes for a while. Uploads and downloads have no limit
//! for their whole time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::answer::BoxError;

/// The time without a byte after which a body is given up.
const LIMIT: Duration = Duration::from_secs(300);

/// A body with that limit.
pub(crate) struct WithIdleLimit<B> {
    inner: B,
    /// Begins when the body is waited for
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> WithIdleLimit<B> {
    /// Limits a body.
    pub(crate) fn new(inner: B) -> Self {
        Self { inner, timer: None, is_waiting: false }
    }
}

impl<B> Body for WithIdleLimit<B>
where
    B: Body<Error = BoxError> + Unpin,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.is_waiting = false;
            return Poll::Ready(frame);
        }

        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(LIMIT)));
        if !this.is_waiting {
            this.is_waiting = true;
            timer.as_mut().reset(Instant::now() + LIMIT);
        }

        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let error =
                    std::io::Error::new(std::io::ErrorKind::TimedOut, "no byte came for 5 minutes");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
