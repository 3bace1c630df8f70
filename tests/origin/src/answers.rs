//! The answers of the origin, by path.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, UPGRADE};
use hyper::{Request, Response};
use tokio::time::{Sleep, sleep};

use super::{Files, Log, Received, websocket};

pub(crate) type Answer = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Answer {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body that comes in pieces.
struct Pieces {
    left: u64,
    piece: Bytes,
    gap: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    trailers: Option<HeaderMap>,
}

impl Pieces {
    fn new(left: u64, piece: impl Into<Bytes>) -> Self {
        Self { left, piece: piece.into(), gap: None, sleep: None, trailers: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(sleep) = self.sleep.as_mut() {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }

        if self.left == 0 {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }

        let length = self.left.min(self.piece.len() as u64);
        self.left -= length;
        self.sleep = self.gap.map(|gap| Box::pin(sleep(gap)));
        let piece = self.piece.slice(..usize::try_from(length).unwrap());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// A text that comes byte by byte.
struct Drip(Bytes, Option<Pin<Box<Sleep>>>, Duration);

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(sleep) = self.1.as_mut() {
            ready!(sleep.as_mut().poll(cx));
        }

        if self.0.is_empty() {
            return Poll::Ready(None);
        }

        let gap = self.2;
        self.1 = Some(Box::pin(sleep(gap)));
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(1)))))
    }
}

/// A piece of a log of 64 KiB, in which nothing is secret.
fn lines() -> Bytes {
    const LINE: &[u8] = b"2026-11-25T20:00:00Z INFO request id=9f8e7d6c path=/v1/items status=200 \
                          ms=12 user=alice region=eu-1 note=nothing to see here\n";
    let mut piece = BytesMut::new();
    while piece.len() < 64 << 10 {
        piece.extend_from_slice(LINE);
    }

    piece.freeze()
}

pub(crate) async fn answer(
    request: Request<Incoming>,
    log: &Log,
    files: Option<&Files>,
) -> Response<Answer> {
    let (path, response) = (request.uri().path().to_owned(), Response::builder());
    match path.as_str() {
        "/small" => {
            let json = r#"{"ok":true,"items":[1,2,3]}"#;
            return response.header("content-type", "application/json").body(full(json)).unwrap();
        }
        "/count" => {
            let (mut length, mut sum, mut body) = (0_u64, 0_u64, request.into_body());
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(data) = frame.into_data() {
                    length += data.len() as u64;
                    sum = data
                        .iter()
                        .fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
                }
            }

            return response.body(full(format!("{length} {sum:016x}\n"))).unwrap();
        }
        _ => {}
    }

    if request.headers().contains_key(UPGRADE) {
        return websocket::answer(request, log);
    }

    let (parts, body) = request.into_parts();
    let mut received = Received {
        version: format!("{:?}", parts.version),
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
        ..Received::default()
    };
    for (name, value) in &parts.headers {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        received.headers.entry(name.to_string()).or_default().push(text);
    }

    let collected = body.collect().await;
    received.body = collected.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    log.push(received.clone());
    if let Some(files) = files.filter(|_| path.starts_with("/files/") || path.starts_with("/git/"))
    {
        return files.answer(&path, &received);
    }

    let auth = parts.headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let auth = String::from_utf8_lossy(auth).into_owned();
    let echo = echo(&received);
    if let Some(response) = encoded(&path, &echo) {
        return response;
    }

    let response = response.header("content-type", "text/plain");
    match path.split('/').nth(1).unwrap_or_default() {
        "echo" => response.header("x-reflected", auth).body(full(echo)).unwrap(),
        "body" => response.body(full(received.body)).unwrap(),
        "bytes" => {
            let length = number(&path);
            response
                .header("content-length", length)
                .body(Pieces::new(length, lines()).boxed_unsync())
                .unwrap()
        }
        "chunked" => response.body(Pieces::new(number(&path), lines()).boxed_unsync()).unwrap(),
        "sse" => {
            let event = format!("data: {{\"token\":\"hello\",\"auth\":\"{auth}\"}}\n\n");
            let mut pieces = Pieces::new(20 * event.len() as u64, event);
            pieces.gap = Some(Duration::from_millis(number(&path).max(1)));
            let response = Response::builder().header("content-type", "text/event-stream");
            response.body(pieces.boxed_unsync()).unwrap()
        }
        "trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "abc".parse().unwrap());
            trailers.insert("x-leak", auth.parse().unwrap());
            let mut pieces = Pieces::new(5, &b"hello"[..]);
            pieces.trailers = Some(trailers);
            response.header("trailer", "x-checksum, x-leak").body(pieces.boxed_unsync()).unwrap()
        }
        "drip" => {
            response.body(Drip(echo.into(), None, Duration::from_millis(2)).boxed_unsync()).unwrap()
        }
        "split" => response.body(Drip(echo.into(), None, Duration::ZERO).boxed_unsync()).unwrap(),
        "redirect" => {
            let to = format!("https://elsewhere.example/?key={auth}");
            response.status(302).header("location", to).body(full("")).unwrap()
        }
        "moved" => response.status(302).header("location", "/echo").body(full("moved\n")).unwrap(),
        "away" => response
            .status(302)
            .header("location", "https://127.0.0.1:9/echo")
            .body(full(""))
            .unwrap(),
        "status" => {
            let status = u16::try_from(number(&path)).unwrap_or(500);
            let body = if matches!(status, 204 | 304) { "" } else { "status\n" };
            response.status(status).body(full(body)).unwrap()
        }
        "token" => {
            let json =
                r#"{"access_token":"t0ken-of-the-answer-0123456789","nested":{"a":["x","y"]}}"#;
            Response::builder().header("content-type", "application/json").body(full(json)).unwrap()
        }
        "range" => {
            let response = response.status(206).header("content-range", "bytes 0-99/1000");
            response.body(full("r".repeat(100))).unwrap()
        }
        _ => response.status(404).body(full(format!("no {path}\n"))).unwrap(),
    }
}

fn number(path: &str) -> u64 {
    path.split('/').nth(2).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Writes a request as text: its line, its headers, and its body.
fn echo(received: &Received) -> String {
    let mut text = format!("{} {} {}\n", received.version, received.method, received.target);
    for (name, fields) in &received.headers {
        for field in fields {
            text.push_str(&format!("{name}: {field}\n"));
        }
    }

    text + "\n" + &String::from_utf8_lossy(&received.body)
}

/// Returns an answer with an encoded body, even if the client has not asked for it.
fn encoded(path: &str, echo: &str) -> Option<Response<Answer>> {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    };
    let brotli = |bytes: &[u8]| {
        let mut out = Vec::new();
        let params = brotli::enc::BrotliEncoderParams::default();
        brotli::BrotliCompress(&mut &bytes[..], &mut out, &params).unwrap();
        out
    };

    let bytes = echo.as_bytes();
    let (coding, body) = match path {
        "/gzip" => ("gzip", gzip(bytes)),
        "/br" => ("br", brotli(bytes)),
        "/zstd" => ("zstd", zstd(bytes)),
        "/deflate" => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            ("deflate", encoder.finish().unwrap())
        }
        "/stacked" => ("gzip, br", brotli(&gzip(bytes))),
        "/cut" => ("gzip", gzip(bytes)[..20].to_vec()),
        "/bomb" => ("gzip", gzip(&gzip(&vec![0; 64 << 20]))),
        "/unknown" => ("compress", bytes.to_vec()),
        _ => return None,
    };

    let response =
        Response::builder().header("content-encoding", coding).header("content-type", "text/plain");
    Some(response.body(full(body)).unwrap())
}
