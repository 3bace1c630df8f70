//! Requests of our own, for `secrets request`: judged, sent and scrubbed as the proxy does it for
//! programs.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{HeaderMap, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use secrets_core::model::{Origin, Tag};

use crate::answer::Scrubber;
use crate::exchange::{Exchange, RequestBody, refusal_of};
use crate::judge::{judge, kind_of, rewrite_whole};
use crate::net::Offer;
use crate::origin::{OriginConnection, PassedBody};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::session::Session;

/// A request with placeholders.
#[derive(Clone)]
pub struct Outgoing {
    /// The method
    pub method: Method,
    /// The path and the query
    pub target: String,
    /// The headers
    pub headers: HeaderMap,
    /// The body
    pub body: Bytes,
}

impl Outgoing {
    fn request(&self) -> Result<Request<()>, Refusal> {
        let bad = |_| Refusal::bad_request("the URL is not valid");
        let uri: Uri = self.target.parse().map_err(bad)?;
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        if !self.headers.contains_key(USER_AGENT) {
            let agent = concat!("secrets/", env!("CARGO_PKG_VERSION"));
            request
                .headers_mut()
                .insert(USER_AGENT, hyper::header::HeaderValue::from_static(agent));
        }

        Ok(request)
    }
}

/// A request as it would be sent, without values.
pub struct Checked {
    /// The path and the query
    pub target: String,
    /// The headers
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body
    pub body: Vec<u8>,
    /// The rules that allow it, by their numbers
    pub rules: Vec<usize>,
}

/// Judges a request without sending it.
pub fn check(
    policy: &Arc<Policy>,
    origin: &Origin,
    outgoing: &Outgoing,
) -> Result<Checked, Refusal> {
    let (mut parts, ()) = outgoing.request()?.into_parts();
    let mut judged = judge(policy, origin, &mut parts)?;
    let (kind, method) = (kind_of(&parts.headers), outgoing.method.as_str());
    let body = rewrite_whole(policy, origin, method, &mut judged, kind, &outgoing.body)?;
    let scrubber = Scrubber::new(Arc::clone(policy));
    let clean =
        |bytes: &[u8]| scrubber.text(bytes).map_or_else(|| bytes.to_vec(), |clean| clean.to_vec());
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let headers = parts.headers.iter();
    Ok(Checked {
        target: String::from_utf8_lossy(&clean(target.as_bytes())).into_owned(),
        headers: headers.map(|(name, value)| (name.to_string(), clean(value.as_bytes()))).collect(),
        body: clean(body.as_ref().map_or(&outgoing.body, |body| body.expose())),
        rules: judged.rules,
    })
}

/// A connection for requests to one origin.
pub struct Client {
    session: Arc<Session>,
    connection: Arc<OriginConnection>,
}

impl Client {
    /// Connects to an origin and verifies it.
    pub async fn connect(session: Arc<Session>, origin: Origin) -> Result<Self, Refusal> {
        let may_be_private = session.policy().may_be_private(&origin.host);
        let opened =
            OriginConnection::open(&session.connector, origin, may_be_private, Offer::Any).await;
        match opened {
            Ok(connection) => Ok(Self { session, connection: Arc::new(connection) }),
            Err(error) => Err(refusal_of(&error)),
        }
    }

    /// Sends a request. Returns the answer without values.
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Response<PassedBody>, Refusal> {
        let (parts, ()) = outgoing.request()?.into_parts();
        let path = parts.uri.path().to_owned();
        let mut exchange = Exchange::new(Arc::clone(&self.session), Arc::clone(&self.connection));
        let body = RequestBody::Own(outgoing.body.clone());
        let ready = match exchange.prepare(parts, body, false).await {
            Ok(ready) => ready,
            Err(refusal) => {
                exchange.refused(&path, &refusal);
                return Err(refusal);
            }
        };

        let response = exchange.send(ready.request).await?;
        exchange.scrubbed(response).await
    }

    /// Returns the tags of the secrets of the session.
    pub fn tags(&self) -> Vec<Tag> {
        self.session.policy().secrets.iter().map(|secret| secret.tag.clone()).collect()
    }
}
