//! A request in a tunnel: it must be for the tunnel's host. Then it is judged, sent, and its answer
//! scrubbed.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HOST, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use secrets_core::model::Origin;
use tokio::task::spawn_local;

use super::places::Place;
use super::rest::ReadToEnd;
use super::websocket::Frames;
use crate::answer::Scrubber;
use crate::exchange::{Exchange, RequestBody, answer_of, refusal_of};
use crate::net::Offer;
use crate::origin::{OriginConnection, PassedBody};
use crate::refusal::Refusal;
use crate::session::Session;

/// Answers a request in a tunnel.
pub(super) async fn forward(
    session: Arc<Session>,
    place: Arc<Place>,
    connection: Arc<OriginConnection>,
    request: Request<Incoming>,
) -> Result<Response<PassedBody>, Infallible> {
    place.keep();
    let path = request.uri().path().to_owned();
    let (mut parts, body) = request.into_parts();
    let body = ReadToEnd::new(body, parts.headers.contains_key(EXPECT));
    if let Err(refusal) = check_target(&parts, connection.origin()) {
        Exchange::new(session, connection).refused(&shown(&path), &refusal);
        return Ok(answer_of(&refusal));
    }

    let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| is_websocket(&parts));
    let body = body.boxed_unsync();
    match upgrade {
        // Boxed, because it opens a connection, and other requests would keep room for that.
        Some(client) => {
            Ok(Box::pin(upgraded(session, place, connection, parts, body, client)).await)
        }
        None => Ok(exchanged(session, connection, parts, body).await),
    }
}

/// Returns a path as the log shows it if the request could not be judged.
fn shown(path: &str) -> String {
    path.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Checks that a request is for the host of its tunnel.
fn check_target(parts: &Parts, origin: &Origin) -> Result<(), Refusal> {
    if parts.method == Method::CONNECT {
        let is_websocket = parts.extensions.get::<hyper::ext::Protocol>().is_some();
        let why = if is_websocket {
            "a WebSocket over HTTP/2 is not supported"
        } else {
            "CONNECT inside a tunnel"
        };
        return Err(Refusal::new(if is_websocket { 501 } else { 405 }, why));
    }

    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Refusal::bad_request("the request has two `Host` headers"));
    }

    if host.is_none() && parts.version < Version::HTTP_2 {
        return Err(Refusal::bad_request("the request has no `Host` header"));
    }

    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "https") {
        return Err(Refusal::new(421, "the request is for another scheme than https"));
    }

    let authority = parts.uri.authority().map(hyper::http::uri::Authority::as_str);
    let host = host.map(|host| host.to_str().unwrap_or_default());
    for named in authority.into_iter().chain(host) {
        if Origin::parse_authority(named).ok().as_ref() != Some(origin) {
            return Err(Refusal::new(
                421,
                format!("the request is for another host than the tunnel to {origin}"),
            ));
        }
    }

    Ok(())
}

fn is_websocket(parts: &Parts) -> bool {
    let has = |name, word: &str| {
        let mut fields = parts.headers.get_all(name).iter().filter_map(|field| field.to_str().ok());
        fields.any(|field| field.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };

    parts.version == Version::HTTP_11 && has(UPGRADE, "websocket") && has(CONNECTION, "upgrade")
}

async fn exchanged(
    session: Arc<Session>,
    connection: Arc<OriginConnection>,
    parts: Parts,
    body: PassedBody,
) -> Response<PassedBody> {
    let path = shown(parts.uri.path());
    let mut exchange = Exchange::new(session, connection);
    let ready = match exchange.prepare(parts, RequestBody::Passed(body), false).await {
        Ok(ready) => ready,
        Err(refusal) => {
            exchange.refused(&path, &refusal);
            return answer_of(&refusal);
        }
    };

    let sent = match exchange.send(ready.request).await {
        Ok(response) => exchange.scrubbed(response).await,
        Err(refusal) => Err(refusal),
    };

    let judged = &ready.judged;
    match sent {
        Ok(response) => {
            exchange.finished(&judged.path, Some(judged), response.status().as_u16(), None);
            response
        }
        Err(refusal) => {
            let message = Some(refusal.message.clone());
            exchange.finished(&judged.path, Some(judged), refusal.status, message);
            answer_of(&refusal)
        }
    }
}

/// Passes an upgrade to a WebSocket on. The origin's answer reaches the client as it is.
async fn upgraded(
    session: Arc<Session>,
    place: Arc<Place>,
    connection: Arc<OriginConnection>,
    mut parts: Parts,
    body: PassedBody,
    client: OnUpgrade,
) -> Response<PassedBody> {
    // Only a connection over HTTP/1.1 can be upgraded, and it is used for nothing else afterwards.
    let (origin, policy) = (connection.origin().clone(), session.policy());
    let may_be_private = policy.may_be_private(&origin.host);
    let opened =
        OriginConnection::open(&session.connector, origin, may_be_private, Offer::Http1).await;
    let connection = match opened {
        Ok(connection) => Arc::new(connection),
        Err(error) => return answer_of(&refusal_of(&error)),
    };

    // Compressed frames could not be searched.
    parts.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    let path = shown(parts.uri.path());
    let mut exchange = Exchange::new(session, connection);
    let ready = match exchange.prepare(parts, RequestBody::Passed(body), true).await {
        Ok(ready) => ready,
        Err(refusal) => {
            exchange.refused(&path, &refusal);
            return answer_of(&refusal);
        }
    };

    let mut response = match exchange.send(ready.request).await {
        Ok(response) => response,
        Err(refusal) => {
            let message = Some(refusal.message.clone());
            exchange.finished(&path, Some(&ready.judged), refusal.status, message);
            return answer_of(&refusal);
        }
    };

    exchange.finished(&path, Some(&ready.judged), response.status().as_u16(), None);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return exchange.scrubbed(response).await.unwrap_or_else(|refusal| answer_of(&refusal));
    }

    let answer = &response.headers();
    let is_plain =
        answer.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && !answer.contains_key(SEC_WEBSOCKET_EXTENSIONS);
    if !is_plain {
        let why = "the origin switched to a protocol that cannot be searched for values";
        return answer_of(&Refusal::new(502, why));
    }

    let server = hyper::upgrade::on(&mut response);
    let frames = Frames::new(&exchange, &ready.judged);
    spawn_local(async move {
        if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
            frames.pass(client, server).await;
        }

        drop(place);
    });

    let (mut head, _) = response.into_parts();
    Scrubber::new(Arc::clone(&exchange.policy)).head(&mut head);
    Response::from_parts(head, crate::origin::full(bytes::Bytes::new()))
}
