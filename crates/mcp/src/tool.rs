//! Tools, their results and their calls.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

/// The name and version of a server.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The name for programs
    pub name: &'static str,
    /// The name for people
    pub title: &'static str,
    /// The version
    pub version: &'static str,
    /// A text for models about all tools
    pub instructions: &'static str,
}

/// A tool as the list shows it.
#[derive(Debug, Clone, Default)]
pub struct Tool {
    /// The name for programs
    pub name: &'static str,
    /// The name for people
    pub title: &'static str,
    /// A description for models
    pub description: String,
    /// The JSON Schema of its arguments, an object
    pub input: Value,
    /// True if it changes nothing
    pub is_read_only: bool,
    /// True if it reaches other machines
    pub is_open_world: bool,
}

/// The arguments of a call, by name.
pub type Arguments = Map<String, Value>;

/// The result of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The result as data, an object
    pub structured: Value,
    /// True if the tool has failed
    pub is_error: bool,
}

impl ToolResult {
    /// The result of a tool that has done its work.
    pub fn ok(structured: Value) -> Self {
        Self { structured, is_error: false }
    }

    /// The result of a tool that has failed, with the reason.
    pub fn error(structured: Value) -> Self {
        Self { structured, is_error: true }
    }
}

/// Whether the client still wants the result of a call.
#[derive(Debug, Default)]
pub struct Cancelled(AtomicBool);

impl Cancelled {
    /// Returns true if the client no longer wants it.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The tools of a server.
pub trait Tools: Sync {
    /// Returns every tool.
    fn list(&self) -> Vec<Tool>;

    /// Calls a tool of the list. Runs on a thread of its own, at the same time as others.
    fn call(&self, name: &str, arguments: &Arguments, cancelled: &Cancelled) -> ToolResult;
}
