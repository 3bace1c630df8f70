//! Processes: this one hardened, the agent that holds a root key, and programs that run with
//! secrets.
//!
//! * [`keychain`]: the desktop's keychain
//! * [`process`]: hardening, limits, signals and process groups
//! * [`captured`]: one of our own commands, whose output is returned
//! * [`helper`]: the command lines of our helper processes
//! * [`clipboard`]: a process that offers a value on the desktop's clipboard
//! * [`editor`]: the user's editor
//! * [`agent`]: the process that keeps a vault unlocked, and its client
//! * [`source`]: programs of other secrets managers, whose output is imported
//! * [`run`]: a program with secrets and masked output, and the helper processes for it
//!
//! This crate parses no argument and prints no message. What another process sends is checked.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_precision_loss))]

pub mod agent;
pub mod captured;
pub mod clipboard;
pub mod editor;
pub mod helper;
pub mod keychain;
pub mod process;
pub mod run;
pub mod source;
