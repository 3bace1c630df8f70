//! Masking: finds the values of secrets in streams of bytes, as they are and as programs encode them.
//!
//! [`Needles`] are what is looked for; a [`Masker`] follows one stream, as it is and as it reads with escapes decoded, and hands its [`Sink`] what may be seen and, in
//! place of the rest, whose value stood there. It never reads, writes or waits: the driver does, and says when silence
//! has lasted. It finds what it was told to look for; a program that encodes a value in a way of its own gets it through.

mod automaton;
mod decode;
mod encode;
mod forms;
mod links;
mod masker;
mod needles;
mod pending;
mod prefilter;
mod reader;
mod texts;
mod transitions;

pub use masker::Masker;
pub use needles::{Form, Needles};
pub use pending::{MaskedSpan, Sink};
