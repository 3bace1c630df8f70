//! JSON-RPC 2.0.

use serde_json::{Map, Value, json};

/// An error of the protocol. The failure of a tool is a result instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RpcError {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn parse() -> Self {
        Self::new(-32700, "the message is not valid JSON")
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    /// The server has too much to do.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    pub(crate) fn unknown_method() -> Self {
        Self::new(-32601, "the server has no such method")
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// The version of a request is not supported (schema of 2026-07-28).
    pub(crate) fn unsupported_version(supported: &[&str], requested: &str) -> Self {
        let data = json!({"supported": supported, "requested": requested});
        Self { data: Some(data), ..Self::new(-32022, "the protocol version is not supported") }
    }
}

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Request {
        id: Value,
        method: String,
        params: Map<String, Value>,
    },
    Notification {
        method: String,
        params: Map<String, Value>,
    },
    /// A message without an answer: a response, which nobody asked for, or an invalid notification
    Ignored,
}

/// Reads a message. A failure has the id of its request, or null if that is not known.
pub(crate) fn parse(bytes: &[u8]) -> Result<Incoming, (Value, RpcError)> {
    let parsed = serde_json::from_slice(bytes).map_err(|_| (Value::Null, RpcError::parse()))?;
    let failed = |id: Option<Value>, message: &str| {
        (id.filter(is_id).unwrap_or(Value::Null), RpcError::invalid_request(message))
    };
    let mut message = match parsed {
        Value::Object(message) => message,
        Value::Array(_) => return Err(failed(None, "batches of messages are not supported")),
        _ => return Err(failed(None, "the message is not an object")),
    };

    // A member that is null is there, unlike one that is missing.
    let mut take = |name: &str| message.remove(name);
    let (jsonrpc, id, method) = (take("jsonrpc"), take("id"), take("method"));
    let (params, result, error) = (take("params"), take("result"), take("error"));
    if jsonrpc.as_ref().and_then(Value::as_str) != Some("2.0") {
        return Err(failed(id, "`jsonrpc` must be \"2.0\""));
    }

    let method = match method {
        Some(Value::String(method)) => method,
        None if result.is_some() || error.is_some() => return Ok(Incoming::Ignored),
        _ => return Err(failed(id, "`method` must be a string")),
    };
    let params = match params {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) if id.is_none() => return Ok(Incoming::Ignored),
        Some(_) => {
            let error = RpcError::invalid_params("`params` must be an object");
            return Err((id.filter(is_id).unwrap_or(Value::Null), error));
        }
    };

    match id {
        None => Ok(Incoming::Notification { method, params }),
        Some(id) if is_id(&id) => Ok(Incoming::Request { id, method, params }),
        Some(_) => Err(failed(None, "`id` must be a string or an integer")),
    }
}

fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64()
}

/// Returns a response. An error about a message without a readable id has none.
pub(crate) fn response(id: &Value, answer: Result<Value, RpcError>) -> Value {
    let mut response = with_id(id, answer);
    if let (true, Some(members)) = (id.is_null(), response.as_object_mut()) {
        members.remove("id");
    }

    response
}

fn with_id(id: &Value, answer: Result<Value, RpcError>) -> Value {
    match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(RpcError { code, message, data }) => {
            let mut error = json!({"code": code, "message": message});
            if let Some(data) = data {
                error["data"] = data;
            }

            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_requests_notifications_or_errors() {
        let request = parse(br#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"x":1}}"#);
        let Ok(Incoming::Request { id, method, params }) = request else { panic!("{request:?}") };
        assert_eq!((id, &*method, &params["x"]), (json!("a"), "m", &json!(1)));
        let parsed = parse(br#"{"jsonrpc":"2.0","method":"m"}"#);
        assert!(matches!(parsed, Ok(Incoming::Notification { .. })));
        for ignored in [
            &br#"{"jsonrpc":"2.0","id":1,"result":{}}"#[..],
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}"#,
        ] {
            assert_eq!(parse(ignored), Ok(Incoming::Ignored));
        }

        let parsed = parse(br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#);
        assert!(matches!(parsed, Ok(Incoming::Request { .. })));

        for (text, id, code) in [
            ("{", json!(null), -32700),
            ("\u{0}", json!(null), -32700),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, json!(null), -32600),
            ("1", json!(null), -32600),
            (r#"{"id":1,"method":"m"}"#, json!(1), -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, json!(1), -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":2}"#, json!(1), -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, json!(1), -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, json!(null), -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, json!(null), -32600),
            (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, json!(null), -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#, json!(1), -32602),
        ] {
            let (found, error) = parse(text.as_bytes()).unwrap_err();
            assert_eq!((found, error.code), (id, code), "{text}");
        }

        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert!(parse(deep.as_bytes()).is_err());
    }
}
