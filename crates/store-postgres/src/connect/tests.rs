//! Logins at servers that are replaced, hostile or slow.

use std::path::Path;
use std::time::Duration;

use secrets_core::model::SecretBytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_postgres::error::Severity;

use super::*;
use crate::address::{FileContent, Files};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path, _: usize) -> std::io::Result<Option<FileContent>> {
        Ok(None)
    }
}

fn address(ports: &[u16], password: Option<&[u8]>) -> Address {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("postgres://ana@{}/d?sslmode=disable&connect_timeout=1", hosts.join(","));
    let address = Address::parse(&url, &NoFiles, &|_| None).unwrap();
    match password {
        Some(password) => address.with_password(SecretBytes::copy_of(password)).unwrap(),
        None => address,
    }
}

/// Starts a server that waits for bytes and then sends the next answer, for each answer. It closes
/// the connection after the last one.
async fn server(answers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    port
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

fn authentication(code: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), rest].concat())
}

/// An error, or a notice with the tag `N`.
fn report(tag: u8, severity: &str, code: &str) -> Vec<u8> {
    let text = "\x1b[31mhostile";
    message(tag, format!("S{severity}\0V{severity}\0C{code}\0M{text}\0\0").as_bytes())
}

/// The end of a login without a password.
fn accepted(in_hot_standby: &str) -> Vec<u8> {
    [
        authentication(0, b""),
        message(b'S', format!("in_hot_standby\0{in_hot_standby}\0").as_bytes()),
        message(b'K', &[0; 8]),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// The answer to `SELECT pg_is_in_recovery()`.
fn recovery(value: u8) -> Vec<u8> {
    let column = [&b"c\0"[..], &[0; 18]].concat();
    [
        message(b'T', &[&[0, 1][..], &column].concat()),
        message(b'D', &[0, 1, 0, 0, 0, 1, value]),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

async fn refused(answers: Vec<Vec<u8>>, password: Option<&[u8]>) -> ConnectError {
    let port = server(answers).await;
    let error = connect(&address(&[port], password)).await.err().unwrap();
    let shown = error.to_string();
    assert!(!shown.contains("hostile") && !shown.contains(char::is_control), "{shown}");
    error
}

#[tokio::test]
async fn a_password_is_not_given_away() {
    let password = Some(&b"hunter2"[..]);
    for (code, expected) in [
        (3, LoginMethod::Cleartext),
        (5, LoginMethod::Md5),
        (7, LoginMethod::Other),
        (9, LoginMethod::Other),
    ] {
        // The server would report what it has received as the code of an error.
        let echo = report(b'E', "FATAL", "28P01");
        let error = refused(vec![authentication(code, b"salt"), echo], password).await;
        assert!(
            matches!(error, ConnectError::WeakAuthentication { method, .. } if method == expected),
            "{code}: {error}"
        );
    }

    let error = refused(vec![authentication(10, b"SCRAM-SHA-256\0\0")], None).await;
    assert!(matches!(error, ConnectError::NoPassword { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_is_an_impostor() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).await.unwrap();
        stream.write_all(&authentication(10, b"SCRAM-SHA-256\0\0")).await.unwrap();
        let length = stream.read(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let nonce = text.rsplit_once("r=").unwrap().1.to_owned();

        let first = format!("r={nonce}x,s=c2FsdA==,i=4096");
        stream.write_all(&authentication(11, first.as_bytes())).await.unwrap();
        let _ = stream.read(&mut bytes).await.unwrap();
        let proof = format!("v={}=", "A".repeat(43));
        let end = [authentication(12, proof.as_bytes()), accepted("off")].concat();
        stream.write_all(&end).await.unwrap();
    });

    let error = connect(&address(&[port], Some(b"hunter2"))).await.err().unwrap();
    assert!(matches!(error, ConnectError::Impostor { .. }), "{error}");
}

#[tokio::test]
async fn errors_of_the_server_are_shown_by_their_code() {
    for (code, expected) in [
        ("28P01", "refuses the login of `ana`: wrong user or password"),
        (
            "28000",
            "refuses the login of `ana`: the rules in `pg_hba.conf` do not allow it, or the role \
             may not log in",
        ),
        ("42501", "refuses the login of `ana`: the role may not connect to the database"),
        ("3D000", "has no database `d`"),
        ("53300", "has too many connections"),
        ("57P03", "is starting up or shutting down"),
        ("XX000", "reports the error XX000"),
        ("\x1b[31m", "does not follow PostgreSQL's protocol"),
        ("1234567", "does not follow PostgreSQL's protocol"),
    ] {
        let error = refused(vec![report(b'E', "FATAL", code)], None).await;
        let shown = error.to_string();
        assert!(shown.starts_with("`127.0.0.1:") && shown.ends_with(expected), "{shown}");

        let late = [authentication(0, b""), report(b'E', "FATAL", code)].concat();
        assert!(refused(vec![late], None).await.to_string().ends_with(expected));
    }
}

#[tokio::test]
async fn other_servers_are_told_apart() {
    assert!(matches!(
        refused(vec![], None).await,
        ConnectError::Unreachable { why: Unreached::Closed, .. }
    ));
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-x", "R\0\0\0\x04", "A\0\0\0\0"] {
        let error = refused(vec![answer.as_bytes().to_vec()], None).await;
        assert!(matches!(error, ConnectError::Protocol { .. }), "{answer}: {error}");
    }

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = connect(&address(&[closed], None)).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("`127.0.0.1:{closed}` cannot be reached: connection refused")
    );
    assert!(error.is_unreached() && error.is_temporary());
}

#[tokio::test]
async fn a_server_that_hangs_is_left() {
    // The server waits for more than the client sends.
    for stage in [vec![], authentication(0, b""), authentication(0, b"")[..7].to_vec()] {
        let port = server(vec![stage, vec![], vec![]]).await;
        let begin = std::time::Instant::now();
        let error = connect(&address(&[port], None)).await.err().unwrap();
        assert_eq!(error.to_string(), format!("`127.0.0.1:{port}` did not answer within 1 s"));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn the_primary_is_found() {
    let primary = || server(vec![accepted("off"), vec![]]);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();

    // A server that says it is a replica is asked again.
    let replica = server(vec![accepted("on"), recovery(b't')]).await;
    let promoted = server(vec![accepted("on"), recovery(b'f'), vec![]]).await;
    let full = server(vec![report(b'E', "FATAL", "53300")]).await;
    let session = connect(&address(&[closed, full, replica, promoted], None)).await.unwrap();
    assert_eq!(session.host().port(), promoted);

    // An older server says nothing. It is asked if there are several hosts.
    let replica = server(vec![accepted("?"), recovery(b't')]).await;
    let port = primary().await;
    let session = connect(&address(&[replica, port], None)).await.unwrap();
    assert_eq!(session.host().port(), port);
    let old = server(vec![accepted("?"), vec![]]).await;
    assert!(connect(&address(&[old], None)).await.is_ok());

    let replica = server(vec![accepted("on"), recovery(b't')]).await;
    let error = connect(&address(&[replica], None)).await.err().unwrap();
    assert_eq!(error, ConnectError::Replica { host: format!("127.0.0.1:{replica}") });

    let replica = server(vec![accepted("on"), recovery(b't')]).await;
    let error = connect(&address(&[replica, closed], None)).await.err().unwrap();
    assert!(matches!(&error, ConnectError::NoHost(reasons) if reasons.len() == 2));
    assert!(!error.is_unreached() && error.is_temporary());

    // A refused login is not tried elsewhere.
    let refusing = server(vec![report(b'E', "FATAL", "28P01")]).await;
    let error = connect(&address(&[refusing, primary().await], None)).await.err().unwrap();
    assert!(matches!(error, ConnectError::Login { .. }));
}

#[tokio::test]
async fn warnings_are_there_when_the_answer_is() {
    let answer = [
        report(b'N', "NOTICE", "00000"),
        report(b'N', "WARNING", "01000"),
        // Servers older than PostgreSQL 9.6 send only the translated severity.
        message(b'N', b"SWARNUNG\0C?\0Mhostile\0\0"),
        message(b'C', b"COMMIT\0"),
        message(b'Z', b"I"),
    ]
    .concat();
    let flood =
        [report(b'N', "WARNING", "01000").repeat(1000), message(b'I', b""), message(b'Z', b"I")];
    let port = server(vec![accepted("off"), answer, flood.concat(), vec![]]).await;
    let session = connect(&address(&[port], None)).await.unwrap();
    assert_eq!(session.take_warnings(), []);

    session.client().simple_query("COMMIT").await.unwrap();
    let warnings = session.take_warnings();
    assert_eq!(
        warnings,
        [
            Warning { code: Code::new("01000"), severity: Some(Severity::Warning) },
            Warning { code: None, severity: None },
        ]
    );
    assert_eq!(session.take_warnings(), []);

    session.client().simple_query("").await.unwrap();
    assert_eq!(session.take_warnings().len(), 64);
    assert!(!session.is_closed());
    session.close().await;
}
