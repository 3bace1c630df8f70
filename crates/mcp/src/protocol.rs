//! The methods of the protocol, except for calls of tools, which take time.

use serde_json::{Map, Value, json};

use crate::message::RpcError;
use crate::tool::{Identity, Tool, ToolResult};

/// The versions that begin with `initialize`, the latest first. `2025-03-26` is not one of them,
/// because it demands batches of messages.
const WITH_HANDSHAKE: [&str; 3] = ["2025-11-25", "2025-06-18", "2024-11-05"];
/// The versions without one.
const STATELESS: [&str; 1] = ["2026-07-28"];

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// How long a client may keep the list of tools, in milliseconds. It does not change.
const LIFETIME: u64 = 60 * 60 * 1000;

/// The generation of the protocol that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Handshake,
    Stateless,
}

impl Era {
    /// Reads it from the parameters of a request.
    pub(crate) fn of(params: &Map<String, Value>) -> Result<Self, RpcError> {
        let meta = match params.get("_meta") {
            None => return Ok(Self::Handshake),
            Some(Value::Object(meta)) => meta,
            Some(_) => return Err(RpcError::invalid_params("`_meta` must be an object")),
        };
        let version = match meta.get(VERSION) {
            None => return Ok(Self::Handshake),
            Some(Value::String(version)) => version,
            Some(_) => {
                return Err(RpcError::invalid_params(format!("`{VERSION}` must be a string")));
            }
        };
        if !STATELESS.contains(&version.as_str()) {
            return Err(RpcError::unsupported_version(&STATELESS, version));
        }

        match meta.get(CLIENT_CAPABILITIES) {
            Some(Value::Object(_)) => Ok(Self::Stateless),
            _ => {
                Err(RpcError::invalid_params(format!("`{CLIENT_CAPABILITIES}` must be an object")))
            }
        }
    }

    /// Returns a result with the members that every result of this generation has.
    fn result(self, server: &Identity, mut result: Value) -> Value {
        if self == Self::Stateless {
            result["resultType"] = "complete".into();
            result["_meta"] = json!({SERVER_INFO: info(server)});
        }

        result
    }

    /// Returns a result that a client may keep for a while.
    fn lasting(self, server: &Identity, mut result: Value) -> Value {
        if self == Self::Stateless {
            result["ttlMs"] = LIFETIME.into();
            result["cacheScope"] = "private".into();
        }

        self.result(server, result)
    }
}

fn info(server: &Identity) -> Value {
    json!({"name": server.name, "title": server.title, "version": server.version})
}

/// The answer to a request, or the work that comes before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This result
    Result(Value),
    /// A call of a tool
    Call { era: Era, name: String, arguments: Map<String, Value> },
}

/// Answers a request, except for the call of a tool.
pub(crate) fn answer(
    server: &Identity,
    tools: &[Tool],
    method: &str,
    params: &Map<String, Value>,
) -> Result<Wanted, RpcError> {
    let era = Era::of(params)?;
    let result = match (method, era) {
        ("initialize", Era::Handshake) => initialize(server, params)?,
        ("ping", Era::Handshake) => json!({}),
        ("server/discover", Era::Stateless) => era.lasting(
            server,
            json!({
                "supportedVersions": STATELESS,
                "capabilities": {"tools": {}},
                "instructions": server.instructions,
            }),
        ),
        ("server/discover", Era::Handshake) => {
            return Err(RpcError::invalid_params(format!("`_meta` has no `{VERSION}`")));
        }
        ("tools/list", _) => {
            if params.get("cursor").is_some_and(|cursor| !cursor.is_null()) {
                return Err(RpcError::invalid_params("the list of tools has one page"));
            }

            let tools: Vec<Value> = tools.iter().map(described).collect();
            era.lasting(server, json!({"tools": tools}))
        }
        ("tools/call", _) => return call(era, tools, params),
        _ => return Err(RpcError::unknown_method()),
    };
    Ok(Wanted::Result(result))
}

fn initialize(server: &Identity, params: &Map<String, Value>) -> Result<Value, RpcError> {
    let Some(requested) = params.get("protocolVersion").and_then(Value::as_str) else {
        return Err(RpcError::invalid_params("`protocolVersion` must be a string"));
    };

    // A client that does not know the version of the answer ends the connection.
    let version = WITH_HANDSHAKE.iter().find(|known| **known == requested);
    Ok(json!({
        "protocolVersion": version.unwrap_or(&WITH_HANDSHAKE[0]),
        "capabilities": {"tools": {}},
        "serverInfo": info(server),
        "instructions": server.instructions,
    }))
}

fn described(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input,
        "annotations": {
            "title": tool.title,
            "readOnlyHint": tool.is_read_only,
            "openWorldHint": tool.is_open_world,
        },
    })
}

fn call(era: Era, tools: &[Tool], params: &Map<String, Value>) -> Result<Wanted, RpcError> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    if !tools.iter().any(|tool| tool.name == name) {
        return Err(RpcError::invalid_params("the server has no tool of this name"));
    }

    let arguments = match params.get("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(_) => return Err(RpcError::invalid_params("`arguments` must be an object")),
    };
    Ok(Wanted::Call { era, name: name.to_owned(), arguments })
}

/// Returns the result of a call.
pub(crate) fn called(era: Era, server: &Identity, result: ToolResult) -> Value {
    let ToolResult { structured, is_error } = result;
    let text = structured.to_string();
    era.result(
        server,
        json!({
            "content": [{"type": "text", "text": text}],
            "structuredContent": structured,
            "isError": is_error,
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::response;

    const SERVER: Identity = Identity { name: "s", title: "S", version: "1", instructions: "how" };

    fn tools() -> Vec<Tool> {
        vec![Tool {
            name: "t",
            title: "T",
            description: "does".into(),
            input: json!({"type": "object"}),
            is_read_only: true,
            is_open_world: false,
        }]
    }

    fn asked(method: &str, params: Value) -> Value {
        let Value::Object(params) = params else { panic!("{params}") };
        let answer = match answer(&SERVER, &tools(), method, &params) {
            Ok(Wanted::Result(result)) => Ok(result),
            Ok(Wanted::Call { era, name, arguments }) => {
                Ok(called(era, &SERVER, ToolResult::ok(json!({"name": name, "got": arguments}))))
            }
            Err(error) => Err(error),
        };
        response(&json!(1), answer)
    }

    fn stateless(version: &str) -> Value {
        json!({VERSION: version, CLIENT_CAPABILITIES: {}})
    }

    #[test]
    fn a_handshake_agrees_on_a_version() {
        for (requested, expected) in [
            ("2025-11-25", "2025-11-25"),
            ("2024-11-05", "2024-11-05"),
            ("2025-03-26", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("1.0", "2025-11-25"),
        ] {
            let answer = asked("initialize", json!({"protocolVersion": requested}));
            assert_eq!(answer["result"]["protocolVersion"], expected);
            assert_eq!(answer["result"]["serverInfo"]["name"], "s");
            assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
            assert_eq!(answer["result"]["resultType"], Value::Null);
        }

        assert_eq!(asked("initialize", json!({}))["error"]["code"], -32602);
        assert_eq!(asked("ping", json!({}))["result"], json!({}));
        assert_eq!(asked("server/discover", json!({}))["error"]["code"], -32602);
    }

    #[test]
    fn a_stateless_request_says_its_version() {
        let meta = stateless("2026-07-28");
        let found = asked("server/discover", json!({"_meta": meta}));
        assert_eq!(found["result"]["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(found["result"]["resultType"], "complete");
        assert_eq!(found["result"]["cacheScope"], "private");
        assert_eq!(found["result"]["_meta"][SERVER_INFO]["name"], "s");
        let listed = asked("tools/list", json!({"_meta": meta}));
        assert_eq!(listed["result"]["resultType"], "complete");
        assert_eq!(listed["result"]["tools"][0]["inputSchema"], json!({"type": "object"}));
        let done = asked("tools/call", json!({"_meta": meta, "name": "t"}));
        assert_eq!(done["result"]["resultType"], "complete");

        let refused = asked("tools/list", json!({"_meta": stateless("2099-01-01")}));
        assert_eq!(refused["error"]["code"], -32022);
        let data = json!({"supported": ["2026-07-28"], "requested": "2099-01-01"});
        assert_eq!(refused["error"]["data"], data);
        for meta in [json!({VERSION: "2026-07-28"}), json!({VERSION: 1}), json!([])] {
            let refused = asked("tools/list", json!({"_meta": meta}));
            assert_eq!(refused["error"]["code"], -32602, "{meta}");
        }

        // That version has no such methods.
        for method in ["initialize", "ping"] {
            assert_eq!(asked(method, json!({"_meta": meta}))["error"]["code"], -32601);
        }
    }

    #[test]
    fn tools_are_listed_and_called() {
        let listed = asked("tools/list", json!({"_meta": {"progressToken": 1}}));
        assert_eq!(listed["result"]["tools"][0]["name"], "t");
        assert_eq!(listed["result"]["tools"][0]["annotations"]["readOnlyHint"], true);
        assert_eq!(listed["result"]["ttlMs"], Value::Null);
        assert_eq!(asked("tools/list", json!({"cursor": "x"}))["error"]["code"], -32602);

        let done = asked("tools/call", json!({"name": "t", "arguments": {"a": 1}}));
        let structured = json!({"name": "t", "got": {"a": 1}});
        assert_eq!(done["result"]["structuredContent"], structured);
        assert_eq!(done["result"]["content"][0]["text"], structured.to_string());
        assert_eq!(done["result"]["isError"], false);
        for params in [json!({"name": "x"}), json!({}), json!({"name": "t", "arguments": [1]})] {
            assert_eq!(asked("tools/call", params.clone())["error"]["code"], -32602, "{params}");
        }

        for method in ["resources/list", "prompts/list", "tools/List", "", "logging/setLevel"] {
            assert_eq!(asked(method, json!({}))["error"]["code"], -32601, "{method}");
        }
    }
}
