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
                let mut document = toml_edit::DocumentMut::new();
                let mut server = toml_edit::Table::new();
                server["command"] = toml_edit::value(program);
                server["args"] = toml_edit::value(toml_edit::Array::from_iter(arguments));
                let mut servers = toml_edit::Table::new();
                servers.set_implicit(true);
                servers["secrets"] = toml_edit::Item::Table(server);
                document["mcp_servers"] = toml_edit::Item::Table(servers);
                let text = document.to_string().trim_end().to_owned();
                McpConfiguration { file: "~/.codex/config.toml", text }
            }
        })
    }
}

fn pretty(document: &serde_json::Value) -> String {
    // Strings always serialize.
    serde_json::to_string_pretty(document).unwrap_or_default()
}
