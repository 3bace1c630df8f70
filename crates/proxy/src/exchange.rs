//! One request and its answer: judged, counted, recorded, sent, and scrubbed. The proxy and the
//! client both come this way.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, IF_RANGE, RANGE, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::{request, response};
use hyper::{Method, Request, Response, StatusCode};
use secrets_core::model::{Origin, Tag};

use crate::answer::{
    BoxError, Decoders, ScrubbedBody, Scrubber, UnknownCoding, boxed, is_scrubbed_whole,
};
use crate::idle::WithIdleLimit;
use crate::judge::{Judged, judge, kind_of, rewrite_body, rewrite_whole};
use crate::net::ConnectError;
use crate::origin::{OriginConnection, PassedBody, SendError, full};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::session::{Finished, Session, Use};
use crate::sigv4::{self, Payload};

/// The greatest body in which a field is replaced, because it is read as a whole.
const REWRITTEN: usize = 1 << 20;
/// The greatest body that is read as a whole to be signed.
const SIGNED: usize = 8 << 20;

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// One request and its answer.
pub struct Exchange {
    session: Arc<Session>,
    connection: Arc<OriginConnection>,
    /// The policy at the time of the request
    pub policy: Arc<Policy>,
    begun: Instant,
    method: String,
}

/// The body of a request.
pub enum RequestBody {
    /// The body of a client's request. Placeholders in it that no rule names pass
    Passed(PassedBody),
    /// A body of our own, in which every placeholder must be allowed
    Own(Bytes),
}

/// A request that is ready to be sent.
pub struct Ready {
    /// The request with its values
    pub request: Request<PassedBody>,
    /// The result of judging it
    pub judged: Judged,
}

impl Exchange {
    /// Begins an exchange.
    pub fn new(session: Arc<Session>, connection: Arc<OriginConnection>) -> Self {
        let (policy, begun) = (session.policy(), Instant::now());
        Self { session, connection, policy, begun, method: String::new() }
    }

    /// Returns the session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Returns the origin.
    pub fn origin(&self) -> &Origin {
        self.connection.origin()
    }

    /// Returns the method of the request that was prepared.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Judges a request and puts values into it. `is_upgrade` keeps the headers that ask for a
    /// WebSocket. Records the use before any value is sent.
    pub async fn prepare(
        &mut self,
        mut parts: request::Parts,
        body: RequestBody,
        is_upgrade: bool,
    ) -> Result<Ready, Refusal> {
        parts.method.as_str().clone_into(&mut self.method);
        remove_hop_by_hop(&mut parts.headers, is_upgrade);
        let origin = self.connection.origin();
        let mut judged = judge(&self.policy, origin, &mut parts)?;
        if is_upgrade {
            // The rules for frames are used from here on.
            for number in judged.frames.clone() {
                if !judged.rules.contains(&number) {
                    judged.rules.push(number);
                }
            }
        }

        // All headers are final before the request is signed.
        self.limit_encodings(&mut parts.headers, &judged);
        let body = self.body(&mut parts, &mut judged, body).await?;
        self.session.count(&self.policy, &judged)?;
        if !judged.rules.is_empty() {
            self.record(&judged)?;
        }

        Ok(Ready { request: Request::from_parts(parts, body), judged })
    }

    /// Removes headers with which a client asks for answers that cannot be searched for values.
    fn limit_encodings(&self, headers: &mut HeaderMap, judged: &Judged) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for name in ["accept-charset", "a-im", "connect-accept-encoding", "grpc-accept-encoding"] {
            headers.remove(name);
        }

        // A piece of an answer can begin inside a value, and no search finds it then. A signed request has
        // no value in it.
        let sends = |number: &usize| {
            self.policy.rules.get(*number).is_some_and(|rule| rule.key_id.is_none())
        };
        if judged.rules.iter().chain(&judged.body).any(sends) {
            for name in [RANGE, IF_RANGE] {
                headers.remove(name);
            }

            for name in ["request-range", "x-ms-range"] {
                headers.remove(name);
            }
        }
    }

    /// Puts values into the body, and signs the request, if rules ask for it.
    async fn body(
        &self,
        parts: &mut request::Parts,
        judged: &mut Judged,
        body: RequestBody,
    ) -> Result<PassedBody, Refusal> {
        let origin = self.connection.origin();
        let mut body = match body {
            RequestBody::Passed(body) => WithIdleLimit::new(body).boxed_unsync(),
            RequestBody::Own(bytes) => {
                let kind = kind_of(&parts.headers);
                let changed =
                    rewrite_whole(&self.policy, origin, &self.method, judged, kind, &bytes)?;
                let bytes =
                    changed.map_or(bytes, |changed| Bytes::copy_from_slice(changed.expose()));
                if !bytes.is_empty() {
                    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
                }

                judged.body_kind = None;
                full(bytes)
            }
        };

        if judged.body_kind.is_some() {
            let whole = self.whole_body(body, REWRITTEN, "searched for placeholders").await?;
            let changed = rewrite_body(&self.policy, origin, &self.method, judged, &whole)?;
            let bytes = changed.map_or(whole, |changed| Bytes::copy_from_slice(changed.expose()));
            parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
            body = full(bytes);
        }

        let Some((number, claim)) = judged.signer.take() else { return Ok(body) };
        let Some(rule) = self.policy.rules.get(number) else { return Ok(body) };
        sigv4::check_date(&parts.headers)?;
        let payload = match sigv4::payload(&parts.headers)? {
            Payload::Given(given) if judged.body_kind.is_none() => given,
            payload => {
                let whole = self.whole_body(body, SIGNED, "signed").await?;
                let hash = sigv4::hash_of(&whole);
                body = full(whole);
                if payload != Payload::Whole {
                    sigv4::set_payload(&mut parts.headers, &hash);
                }

                hash
            }
        };

        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().map(str::to_owned));
        let host = self.connection.origin().authority();
        let signed = sigv4::Signed {
            method: &self.method,
            path: &path,
            query: query.as_deref(),
            payload: &payload,
            host: &host,
        };
        let key_id = rule.key_id.map_or(&[][..], |secret| self.policy.value(secret));
        sigv4::sign(&claim, key_id, self.policy.value(rule.secret), &signed, &mut parts.headers)?;
        Ok(body)
    }

    /// Reads a body as a whole.
    async fn whole_body(&self, body: PassedBody, most: usize, why: &str) -> Result<Bytes, Refusal> {
        // Bodies of all connections share a bounded memory while they are read.
        let _room = self.session.room_for(most).await;
        match Limited::new(body, most).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("a body larger than {} MiB cannot be {why}", most >> 20);
                Err(Refusal::new(413, message)
                    .hint("send a smaller body, or the secret in a header"))
            }
            Err(_) => Err(Refusal::bad_request("the body was cut short")),
        }
    }

    /// Returns the tags of the secrets that a request uses.
    fn tags(&self, judged: &Judged) -> Vec<&Tag> {
        let mut tags: Vec<&Tag> = Vec::new();
        for rule in judged.rules.iter().filter_map(|number| self.policy.rules.get(*number)) {
            for secret in rule.key_id.into_iter().chain([rule.secret]) {
                tags.extend(self.policy.tag(secret).filter(|tag| !tags.contains(tag)));
            }
        }

        tags
    }

    fn record(&self, judged: &Judged) -> Result<(), Refusal> {
        let (origin, method, tags) = (self.origin(), self.method.as_str(), self.tags(judged));
        let used = Use { tags, origin, method, path: &judged.path, refusal: None };
        self.session.observer.record(&used).map_err(|why| {
            Refusal::new(
                503,
                format!("the use cannot be recorded, so the request is not sent: {why}"),
            )
        })
    }

    /// Sends the request.
    pub async fn send(&self, request: Request<PassedBody>) -> Result<Response<Incoming>, Refusal> {
        let sent = self.connection.send(&self.session.connector, request).await;
        sent.map_err(|error| refusal_of(&error))
    }

    /// Returns an answer's head for another connection, and its body with the decoders for it.
    ///
    /// # Errors
    /// Fails if the encoding of the body is not known.
    pub fn decoded(
        &self,
        response: Response<Incoming>,
    ) -> Result<(response::Parts, Decoders, PassedBody), Refusal> {
        let (mut parts, body) = response.into_parts();
        let decoders = decoders(&parts.headers)?;
        remove_hop_by_hop(&mut parts.headers, false);
        if has_no_body(&self.method, parts.status) {
            // Whatever an origin sends after such a head does not belong to the answer.
            return Ok((parts, decoders, full(Bytes::new())));
        }

        if !decoders.is_identity() {
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
        }

        Ok((parts, decoders, body.map_err(boxed).boxed_unsync()))
    }

    /// Returns the answer without values.
    pub async fn scrubbed(
        &self,
        response: Response<Incoming>,
    ) -> Result<Response<PassedBody>, Refusal> {
        let (mut parts, decoders, body) = self.decoded(response)?;
        let scrubber = Scrubber::new(Arc::clone(&self.policy));
        scrubber.head(&mut parts);
        if has_no_body(&self.method, parts.status) {
            return Ok(Response::from_parts(parts, body));
        }

        if decoders.is_identity() && is_scrubbed_whole(body.size_hint().exact()) {
            return whole_answer(parts, body, &scrubber).await;
        }

        parts.headers.remove(CONTENT_LENGTH);
        let body = ScrubbedBody::new(body, decoders, scrubber);
        Ok(Response::from_parts(parts, body.boxed_unsync()))
    }

    /// Tells about the end of an exchange.
    pub fn finished(
        &self,
        path: &str,
        judged: Option<&Judged>,
        status: u16,
        problem: Option<String>,
    ) {
        self.session.observer.finished(&Finished {
            origin: self.connection.origin(),
            method: &self.method,
            path,
            status,
            tags: judged.map_or_else(Vec::new, |judged| self.tags(judged)),
            problem,
            millis: self.begun.elapsed().as_millis(),
        });
    }

    /// Records a refusal, and tells about it. It is answered even if it cannot be recorded.
    pub fn refused(&self, path: &str, refusal: &Refusal) {
        self.session.record_refusal(self.origin(), &self.method, path, refusal);
        self.finished(path, None, refusal.status, Some(refusal.message.clone()));
    }
}

/// Returns the decoders for the body of an answer.
fn decoders(headers: &HeaderMap) -> Result<Decoders, Refusal> {
    // The name of the coding comes from the origin, and may be a value.
    let unknown = || {
        Refusal::new(502, "the response is encoded in a way that cannot be searched for values")
            .hint("configure the client to ask for gzip or for no compression")
    };

    // These protocols compress their messages inside of the body.
    for name in ["grpc-encoding", "connect-content-encoding"] {
        let coding = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if coding.is_some_and(|coding| coding != "identity") {
            return Err(unknown());
        }
    }

    let codings = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    Decoders::new(codings).map_err(|UnknownCoding(_)| unknown())
}

/// Reads a small answer and scrubs it, so that its length is known again.
async fn whole_answer<B>(
    mut parts: response::Parts,
    body: B,
    scrubber: &Scrubber,
) -> Result<Response<PassedBody>, Refusal>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    let collected = body.collect().await;
    let collected = collected
        .map_err(|error| Refusal::new(502, format!("the response was cut short: {error}")))?;
    let mut trailers = collected.trailers().cloned();
    let bytes = collected.to_bytes();
    let bytes = scrubber.text(&bytes).unwrap_or(bytes);
    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    let body = match &mut trailers {
        Some(trailers) => {
            // A length and trailers exclude each other over HTTP/1.1.
            parts.headers.remove(CONTENT_LENGTH);
            scrubber.headers(trailers);
            let trailers = trailers.clone();
            full(bytes).with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync()
        }
        None => full(bytes),
    };

    Ok(Response::from_parts(parts, body))
}

/// Returns true for an answer that never has a body (RFC 9110, section 6.4.1).
fn has_no_body(method: &str, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Removes headers that concern one connection only, also those that `connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap, is_upgrade: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let takes_trailers = headers.get(TE).is_some_and(|field| field.as_bytes() == b"trailers");
    let keeps = |name: &HeaderName| is_upgrade && (name == CONNECTION || name == UPGRADE);
    for name in named.iter().filter(|name| !keeps(name) && **name != TRANSFER_ENCODING) {
        headers.remove(name);
    }

    for name in HOP_BY_HOP.map(HeaderName::from_static).iter().filter(|name| !keeps(name)) {
        headers.remove(name);
    }

    if is_upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }

    // gRPC asks for trailers with it, and HTTP/2 allows this one word.
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Returns the answer for a request that did not reach its origin.
pub fn refusal_of(error: &SendError) -> Refusal {
    match error {
        SendError::Connect(connect @ ConnectError::Private { host, .. }) => Refusal::forbidden(connect.to_string())
            .hint(format!("if it is meant to be there, list it: `private = [\"{host}\"]` in `[proxy]` of .secrets.toml")),
        SendError::Connect(connect @ ConnectError::Loop(_)) => Refusal::new(508, connect.to_string()),
        error => Refusal::new(502, error.to_string()),
    }
}

/// Returns the answer for a refusal.
pub fn answer_of(refusal: &Refusal) -> Response<PassedBody> {
    let body = refusal.body();
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("x-secrets-proxy", HeaderValue::from_static("refused"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
