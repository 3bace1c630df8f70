//! The configuration with which a program starts `secrets mcp`.

use std::ffi::OsString;

use secrets_runtime::process::executable_path;
use serde_json::json;

use crate::error::{Error, Kind};
use crate::output::McpConfiguration;

/// A program with a configuration of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Client {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// Cursor
    Cursor,
}

impl Client {
    /// Returns the configuration for a server with these options.
    pub(super) fn configuration(self, options: &[OsString]) -> Result<McpConfiguration, Error> {
        let text = |word: &OsString| {
            word.to_str().map(str::to_owned).ok_or_else(|| {
                Error::new(Kind::Usage, "a path that is not UTF-8 cannot be configured")
            })
        };
        let arguments =
            ["mcp".into()].iter().chain(options).map(text).collect::<Result<Vec<_>, _>>()?;
        // The program starts it from any directory.
        let started = executable_path().and_then(|path| std::path::absolute(path).ok());
        let executable = started.unwrap_or_else(|| "secrets".into());
        let program = text(&executable.into_os_string())?;
        let server = json!({"command": program, "args": arguments});
        Ok(match self {
            Self::Claude => McpConfiguration {
                file: ".mcp.json",
                text: pretty(&json!({"mcpServers": {"secrets": server}})),
            },
            Self::Cursor => McpConfiguration {
                file: ".cursor/mcp.json",
                text: pretty(&json!({"mcpServers": {"secrets": server}})),
            },
            Self::Codex => {
                let list: Vec<_> = arguments.iter().map(|text| toml_string(text)).collect();
                McpConfiguration {
                    file: "~/.codex/config.toml",
                    text: format!(
                        "[mcp_servers.secrets]\ncommand = {}\nargs = [{}]",
                        toml_string(&program),
                        list.join(", ")
                    ),
                }
            }
        })
    }
}

fn pretty(document: &serde_json::Value) -> String {
    // Strings always serialize.
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// Returns a basic string (TOML 1.0).
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }

    quoted.push('"');
    quoted
}
