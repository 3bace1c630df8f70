//! Requests of our own, for `secrets request`: judged, sent and scrubbed as the proxy does it for
//! programs.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, LOCATION, USER_AGENT};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use secrets_core::model::{Destinations, Origin, SecretBytes, SecretValue, Tag};

use crate::answer::{BoxError, Scrubber};
use crate::exchange::{Exchange, RequestBody, refusal_of};
use crate::judge::{Judged, judge, kind_of, rewrite_body, rewrite_whole};
use crate::net::Offer;
use crate::origin::{OriginConnection, PassedBody};
use crate::policy::{Policy, SessionSecret};
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

/// The sender of a request, which decides about placeholders in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// `request`: every placeholder must be allowed
    Request,
    /// A program: placeholders that no rule names stay as they are
    Program,
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

/// Judges a request without sending it. What is returned was made without the values.
///
/// # Errors
/// Fails as sending would.
pub fn check(
    policy: &Arc<Policy>,
    origin: &Origin,
    outgoing: &Outgoing,
    sender: Sender,
) -> Result<Checked, Refusal> {
    // Only this one knows whether a value can stand where it should.
    rewritten(policy, origin, outgoing, sender)?;

    let stand_in = Arc::new(without_values(policy)?);
    let (parts, body, judged) = rewritten(&stand_in, origin, outgoing, sender)?;
    let scrubber = Scrubber::new(stand_in);
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

type Rewritten = (hyper::http::request::Parts, Option<SecretBytes>, Judged);

/// Judges a request and puts the values of a policy into it.
fn rewritten(
    policy: &Policy,
    origin: &Origin,
    outgoing: &Outgoing,
    sender: Sender,
) -> Result<Rewritten, Refusal> {
    let (mut parts, ()) = outgoing.request()?.into_parts();
    let mut judged = judge(policy, origin, &mut parts)?;
    let (kind, method) = (kind_of(&parts.headers), outgoing.method.as_str());
    let body = match sender {
        Sender::Request => {
            rewrite_whole(policy, origin, method, &mut judged, kind, &outgoing.body)?
        }
        Sender::Program => rewrite_body(policy, origin, method, &mut judged, &outgoing.body)?,
    };
    Ok((parts, body, judged))
}

/// Returns the same policy with placeholders for values.
fn without_values(policy: &Policy) -> Result<Policy, Refusal> {
    let invalid = || Refusal::new(502, "a placeholder is not valid");
    let stand_in = |secret: &SessionSecret| {
        let placeholder = SecretBytes::copy_of(secret.placeholder.as_bytes());
        Ok(SessionSecret {
            tag: secret.tag.clone(),
            value: SecretValue::new(placeholder, true).map_err(|_| invalid())?,
            placeholder: secret.placeholder.clone(),
            shown: secret.shown.clone(),
            grants: secret.grants.clone(),
        })
    };

    let secrets = policy.secrets.iter().map(stand_in).collect::<Result<_, Refusal>>()?;
    Policy::new(secrets, policy.rules.clone(), []).map_err(|_| invalid())
}

/// A connection for requests to one origin.
pub struct Client {
    session: Arc<Session>,
    connection: Arc<OriginConnection>,
}

impl Client {
    /// Connects to an origin for a request, and verifies the origin.
    ///
    /// # Errors
    /// Fails if the request is refused, which is recorded, or if there is no connection.
    pub async fn connect(
        session: Arc<Session>,
        origin: Origin,
        outgoing: &Outgoing,
    ) -> Result<Self, Refusal> {
        let policy = session.policy();
        if let Err(refusal) = rewritten(&policy, &origin, outgoing, Sender::Request) {
            let path = outgoing.target.split('?').next().unwrap_or_default();
            session.record_refusal(&origin, outgoing.method.as_str(), path, &refusal);
            return Err(refusal);
        }

        let may_be_private = policy.may_be_private(&origin.host);
        let opened =
            OriginConnection::open(&session.connector, origin, may_be_private, Offer::Any).await;
        match opened {
            Ok(connection) => Ok(Self { session, connection: Arc::new(connection) }),
            Err(error) => Err(refusal_of(&error)),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Fails if the request is refused, or if there is no answer.
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Answer, Refusal> {
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
        Ok(Answer { exchange, response })
    }
}

/// An answer whose body was not read yet.
pub struct Answer {
    exchange: Exchange,
    response: Response<Incoming>,
}

/// Where a redirect leads.
pub struct Location {
    /// With placeholders for values, to be sent
    pub target: String,
    /// As a person may see it
    pub shown: String,
}

impl Answer {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns a header as a number.
    pub fn number(&self, name: &HeaderName) -> Option<u64> {
        self.response.headers().get(name)?.to_str().ok()?.parse().ok()
    }

    /// Returns where a redirect leads.
    pub fn location(&self) -> Option<Location> {
        let field = self.response.headers().get(LOCATION)?.as_bytes();
        let scrubber = Scrubber::new(Arc::clone(&self.exchange.policy));
        let text = |scrubber: &Scrubber| {
            let clean = scrubber.text(field);
            String::from_utf8_lossy(clean.as_deref().unwrap_or(field)).into_owned()
        };
        Some(Location { target: text(&scrubber.with_placeholders()), shown: text(&scrubber) })
    }

    /// Returns the answer without values.
    ///
    /// # Errors
    /// Fails if its encoding is not known.
    pub async fn scrubbed(self) -> Result<Response<PassedBody>, Refusal> {
        self.exchange.scrubbed(self.response).await
    }

    /// Reads the answer as a whole, with the values in it.
    ///
    /// # Errors
    /// Fails if its encoding is not known, if it is cut short, or if it has more than `most` bytes.
    pub async fn whole(self, most: usize) -> Result<WholeAnswer, Refusal> {
        let (parts, decoders, mut body) = self.exchange.decoded(self.response)?;
        let mut decoders = decoders;
        let mut whole = SecretBytes::with_capacity(0);
        let mut is_too_long = false;
        let mut take = |plain: &[u8]| {
            is_too_long |= whole.expose().len() + plain.len() > most;
            if is_too_long {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }

            whole.extend(plain);
            Ok(())
        };

        let outcome: Result<(), BoxError> = async {
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    decoders.decode(&data, &mut take)?;
                }
            }

            Ok(decoders.finish(&mut take)?)
        }
        .await;
        match outcome {
            Ok(()) => Ok(WholeAnswer { parts, body: whole, policy: self.exchange.policy }),
            Err(_) if is_too_long => {
                let message = format!("the response is larger than {} MiB", most >> 20);
                let hint = "without `--json` and `--save`, responses of any size are printed";
                Err(Refusal::new(502, message).hint(hint))
            }
            Err(error) => Err(Refusal::new(502, format!("the response was cut short: {error}"))),
        }
    }
}

/// A whole answer with values in it.
pub struct WholeAnswer {
    parts: Parts,
    body: SecretBytes,
    policy: Arc<Policy>,
}

impl WholeAnswer {
    /// Returns the body with the values in it.
    pub fn body(&self) -> &[u8] {
        self.body.expose()
    }

    /// Returns the answer without the values of the session and without `others`, which are shown as
    /// their tags.
    ///
    /// # Errors
    /// Fails if there are too many values.
    pub fn scrubbed(mut self, others: &[(&Tag, &SecretValue)]) -> Result<Response<Bytes>, Refusal> {
        let others = others.iter().map(|(tag, value)| {
            let shown = format!("\u{2039}{tag}\u{203a}");
            SessionSecret {
                tag: (*tag).clone(),
                value: value.duplicate(),
                placeholder: shown.clone(),
                shown: Some(shown),
                grants: Destinations::default(),
            }
        });
        let others = Policy::new(others.collect(), Vec::new(), [])
            .map_err(|_| Refusal::new(502, "the response has too many values"))?;
        let mut body: Option<Bytes> = None;
        for scrubber in [Scrubber::new(Arc::new(others)), Scrubber::new(self.policy)] {
            scrubber.head(&mut self.parts);
            let text = body.as_deref().unwrap_or(self.body.expose());
            body = scrubber.text(text).or(body);
        }

        let body = body.unwrap_or_else(|| Bytes::copy_from_slice(self.body.expose()));
        Ok(Response::from_parts(self.parts, body))
    }
}
