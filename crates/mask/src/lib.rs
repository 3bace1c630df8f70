//! Masking: finds the values of secrets in streams of bytes, both as they are and as programs
//! encode them.
//!
//! [`Needles`] are the values to find, in all their forms. A [`Masker`] follows one stream, as it
//! is and with escapes decoded. It passes visible bytes to its [`Sink`], and the tag of the secret
//! in place of everything else. It never reads, writes or waits. Its caller does that, and reports
//! when the stream has been silent. It finds only known forms: a program that encodes a value in
//! its own way can still print it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_precision_loss))]

mod automaton;
mod decode;
pub mod encode;
mod form;
mod forms;
mod links;
mod masker;
mod needles;
mod pending;
mod prefilter;
mod reader;
mod texts;
mod transitions;

pub use form::Form;
pub use masker::Masker;
pub use needles::Needles;
pub use pending::{MaskedSpan, Sink};
