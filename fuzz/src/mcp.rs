//! Messages of a client of `secrets mcp`.
//!
//! Each line has at most one answer, and an answer is one line of JSON-RPC.

use std::sync::Mutex;

use terminal_secrets::mcp::{Cancelled, Identity, Tool, ToolResult, Tools, serve};

const SERVER: Identity =
    Identity { name: "secrets", title: "Secrets", version: "0", instructions: "" };

/// A tool that returns its arguments.
struct Echo(Mutex<usize>);

impl Tools for Echo {
    fn list(&self) -> Vec<Tool> {
        vec![Tool { name: "echo", ..Tool::default() }]
    }

    fn call(
        &self,
        name: &str,
        arguments: &terminal_secrets::mcp::Arguments,
        _: &Cancelled,
    ) -> ToolResult {
        assert_eq!(name, "echo");
        *self.0.lock().expect("no call panics") += 1;
        ToolResult::ok(arguments.clone().into())
    }
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let (mut output, tools) = (Vec::new(), Echo(Mutex::new(0)));
    serve(data, &mut output, &SERVER, &tools).expect("bytes can be read");
    let output = String::from_utf8(output).expect("JSON is UTF-8");
    let (asked, answered) = (data.split(|byte| *byte == b'\n').count(), output.lines().count());
    assert!(answered <= asked, "{answered} answers to {asked} lines");
    for line in output.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(line.contains("\"jsonrpc\":\"2.0\""), "{line}");
    }
}
