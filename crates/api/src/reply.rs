//! Responses, in the shapes of `openapi.json`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use secrets_core::model::{Name, Secret};
use serde::Serialize;
use serde_json::json;

/// The header with the id of a request, by which its entry in the log of uses is found.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The content of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A JSON document
    Json(Vec<u8>),
    /// Nothing
    Empty,
    /// A failure
    Failed(Failure),
    /// The caller has asked too often
    TooMany(Duration),
}

/// A failure, as `ErrorResponse` shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    kind: &'static str,
    message: String,
    allow: Option<&'static str>,
}

impl Failure {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), allow: None }
    }

    /// Returns the message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// There is a secret with this tag already. The document has no 409.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "CONFLICT", message)
    }

    /// No token, or one that opens nothing. The document's types have no other one for it.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "FORBIDDEN", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            "the project of this token has no such secret",
        )
    }

    pub(crate) fn no_such_path() -> Self {
        let message = "the API has no such path; `/api/v1/openapi.json` describes it";
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let message = format!("the methods of this path are {allow}");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self { allow: Some(allow), ..Self::new(status, "BAD_REQUEST", message) }
    }

    pub(crate) fn misdirected(message: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "BAD_REQUEST", message)
    }

    pub(crate) fn too_large() -> Self {
        let message = "the body is larger than 2 MiB";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST", message)
    }

    pub(crate) fn timeout() -> Self {
        let message = "the request did not arrive within 10 seconds";
        Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNCATEGORIZED", message)
    }

    /// A failure of the vault. The server's own log has the reason.
    pub(crate) fn internal() -> Self {
        let message = "the vault cannot be used; the server has printed the reason";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNHANDLED_EXCEPTION", message)
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One secret without its value.
#[derive(Serialize)]
pub(crate) struct SecretResponse<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    tag: &'a str,
}

impl<'a> From<&'a Secret> for SecretResponse<'a> {
    fn from(secret: &'a Secret) -> Self {
        Self {
            id: secret.id.to_string(),
            name: secret.metadata.name.as_ref().map(Name::as_str),
            tag: secret.metadata.tag.as_str(),
        }
    }
}

/// One page of secrets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllSecretsResponse<'a> {
    pub(crate) page: usize,
    pub(crate) secrets: Vec<SecretResponse<'a>>,
    pub(crate) total: usize,
    pub(crate) total_pages: usize,
}

impl Reply {
    pub(crate) fn json(document: &impl Serialize) -> Self {
        // Strings and numbers always serialize.
        Self::Json(serde_json::to_vec(document).unwrap_or_default())
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Json(_) | Self::Empty => StatusCode::OK,
            Self::Failed(failure) => failure.status,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the response to the request with this id.
    pub(crate) fn response(self, request_id: &str) -> Response<Full<Bytes>> {
        let status = self.status();
        let mut extra: Vec<(HeaderName, HeaderValue)> = Vec::new();
        let (kind, body) = match self {
            Self::Json(body) => (Some("application/json"), body),
            Self::Empty => (None, Vec::new()),
            Self::Failed(Failure { kind, message, allow, .. }) => {
                if let Some(allow) = allow {
                    extra.push((ALLOW, HeaderValue::from_static(allow)));
                }

                if status == StatusCode::UNAUTHORIZED {
                    extra.push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
                }

                let document = json!({
                    "type": kind,
                    "message": message,
                    "httpStatus": status.as_u16(),
                    "requestId": request_id,
                });
                (Some("application/json"), document.to_string().into_bytes())
            }
            Self::TooMany(wait) => {
                // A part of a second is a whole one here, so that the next attempt succeeds.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                extra.push((RETRY_AFTER, HeaderValue::from(seconds)));
                let document = json!({
                    "type": "about:blank",
                    "title": "Too Many Requests",
                    "status": 429,
                    "detail": format!("try again in {seconds} s"),
                    "retryAfter": seconds,
                });
                (Some("application/problem+json"), document.to_string().into_bytes())
            }
        };

        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }

        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }

        headers.extend(extra);
        response
    }
}
