//! A WebSocket that sends every message back, and begins with the credentials that it got.

use base64ct::{Base64, Encoding as _};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answers::{Answer, full};
use super::{Log, Received};

/// The text that both sides know (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(crate) fn answer(mut request: Request<Incoming>, log: &Log) -> Response<Answer> {
    let mut received = Received {
        version: format!("{:?}", request.version()),
        method: request.method().to_string(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        ..Received::default()
    };
    for (name, value) in request.headers() {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        received.headers.entry(name.to_string()).or_default().push(text);
    }

    log.push(received);
    if request.uri().path() == "/ws/refused" {
        let response = Response::builder().status(StatusCode::FORBIDDEN).header("x-why", "no");
        return response.body(full("refused\n")).unwrap();
    }

    let header = |name| {
        request
            .headers()
            .get(name)
            .map(|value: &hyper::header::HeaderValue| value.as_bytes().to_vec())
    };
    let key = header(SEC_WEBSOCKET_KEY).unwrap_or_default();
    let auth = header(AUTHORIZATION).unwrap_or_default();
    let accept = Base64::encode_string(&Sha1::digest([&key[..], GUID.as_bytes()].concat()));
    let (log, upgrade) = (log.clone(), hyper::upgrade::on(&mut request));
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let hello = frame(1, &[b"auth: ", &auth[..]].concat());
        let _ = stream.write_all(&hello).await;
        let _ = stream.flush().await;
        while let Ok((opcode, payload)) = read(&mut stream).await {
            log.push(Received {
                body: payload.clone(),
                method: "FRAME".into(),
                ..Received::default()
            });
            let answer = match opcode {
                9 => frame(10, &payload),
                opcode => frame(opcode, &payload),
            };
            // In two writes, so that a value is in two packets.
            let (first, second) = answer.split_at(answer.len() / 2);
            for part in [first, second] {
                let _ = stream.write_all(part).await;
                let _ = stream.flush().await;
            }

            if opcode == 8 {
                break;
            }
        }

        let _ = stream.shutdown().await;
    });

    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .body(full(""))
        .unwrap()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(u8::try_from(length).unwrap()),
        length => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }

    bytes.extend(payload);
    bytes
}

async fn read<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let length = match head[1] & 127 {
        126 => stream.read_u16().await?.into(),
        127 => usize::try_from(stream.read_u64().await?).unwrap(),
        length => length.into(),
    };

    let mut key = [0; 4];
    if head[1] & 128 != 0 {
        stream.read_exact(&mut key).await?;
    }

    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok((head[0] & 15, payload))
}
