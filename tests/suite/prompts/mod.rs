//! Prompts on a real pseudo-terminal: which questions are asked, what stays hidden, and what Ctrl-C
//! leaves behind.
//!
//! A shell runs the program, as for a user. It reports the exit code, whether the terminal echoes
//! again, and the unread input.

mod init;
mod interrupts;
mod questions;
mod turns;
mod values;

const CTRL_C: &str = "\x03";
