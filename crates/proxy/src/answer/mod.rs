//! Answers without values: bodies, headers and trailers, also in compressed bodies.
//!
//! A value is replaced by its placeholder, so that a client that sends it back stays consistent.

mod decode;
mod scrub;

pub use decode::{Decoders, UnknownCoding};
pub use scrub::{ScrubbedBody, Scrubber, StreamScrubber, is_scrubbed_whole};

/// An error that ends a body or a connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Returns an error of hyper as the error of a body.
pub fn boxed(error: hyper::Error) -> BoxError {
    Box::new(error)
}
