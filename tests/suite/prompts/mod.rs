//! Prompts on a real pseudo-terminal: which questions are asked, what stays hidden, and what Ctrl-C
//! leaves behind.

mod init;
mod interrupts;
mod questions;
mod turns;
mod values;

const CTRL_C: &str = "\x03";
