//! A list of secrets on the terminal, with fuzzy search.
//!
//! * [`Picker`]: what is listed, searched, marked and chosen; no terminal
//! * `draw`: how it looks, in any number of columns
//! * `keys`: what the keys mean
//! * [`Screen`]: the terminal, whose state is restored in any case
//!
//! This crate gets tags, names, descriptions and hints as text that is safe to print, and never a value. It
//! changes nothing: it returns what the user wants as a [`Wish`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod draw;
mod keys;
mod picker;
mod screen;

pub use draw::draw;
pub use keys::Key;
pub use picker::{Form, Picker, Row, Tab, Wish};
pub use screen::Screen;
