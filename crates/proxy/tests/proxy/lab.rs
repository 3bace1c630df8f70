//! An origin, a proxy before it, and a client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use secrets_core::model::{Destination, Destinations, SecretBytes, SecretValue};
use secrets_proxy::net::{CompanyProxy, Roots};
use secrets_proxy::policy::{Others, Policy, Rule, SessionSecret};
use secrets_proxy::server::{Listener, serve};
use secrets_proxy::session::{Finished, Fixed, Observer, Session, Source, Use};
use test_origin::{Authority, Options, Origin};

pub const VALUE: &str = "v4lue/of+the=key-0123456789";
pub const PLACEHOLDER: &str = "PLACEHOLDERof0the0key0123456789";
pub const OTHER: &str = "an0ther-value-that-is-secret";
pub const OTHER_PLACEHOLDER: &str = "PLACEHOLDERof0another0one012345";

/// Everything that the proxy has told about requests.
#[derive(Default)]
pub struct Told {
    /// One line a use: method, path, tags
    pub uses: Vec<String>,
    /// One line a refusal: its message
    pub refusals: Vec<String>,
    /// One line a finished request: status, method, path, tags, problem
    pub finished: Vec<String>,
}

pub struct Teller {
    pub told: Arc<Mutex<Told>>,
    /// The reason why nothing can be recorded
    pub broken: Option<&'static str>,
}

impl Observer for Teller {
    fn record(&self, used: &Use<'_>) -> Result<(), String> {
        let tags: Vec<String> = used.tags.iter().map(ToString::to_string).collect();
        let mut told = self.told.lock().unwrap();
        match used.refusal {
            Some(refusal) => told.refusals.push(refusal.message.clone()),
            None => told.uses.push(format!("{} {} {}", used.method, used.path, tags.join(","))),
        }

        self.broken.map_or(Ok(()), |why| Err(why.into()))
    }

    fn finished(&self, finished: &Finished<'_>) {
        let tags: Vec<String> = finished.tags.iter().map(ToString::to_string).collect();
        self.told.lock().unwrap().finished.push(format!(
            "{} {} {} {} {}",
            finished.status,
            finished.method,
            finished.path,
            tags.join(","),
            finished.problem.as_deref().unwrap_or_default()
        ));
    }
}

pub struct Lab {
    pub origin: Origin,
    pub proxy: SocketAddr,
    pub told: Arc<Mutex<Told>>,
    /// The certificate of the session
    pub ca: String,
}

/// The parts of a lab.
pub struct Plan {
    pub options: Options,
    /// Destinations of `key`, with `ORIGIN` for the origin
    pub grants: Vec<&'static str>,
    /// Rules that are narrower than the grants; all grants by default
    pub change: Box<dyn FnOnce(&mut Policy) + Send>,
    pub source: Box<dyn Source>,
    pub broken: Option<&'static str>,
    pub company: Option<CompanyProxy>,
    pub values: [&'static str; 2],
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            options: Options::default(),
            grants: vec!["* ORIGIN header:authorization"],
            change: Box::new(|_| {}),
            source: Box::new(Fixed),
            broken: None,
            company: None,
            values: [VALUE, OTHER],
        }
    }
}

pub fn secret(tag: &str, value: &str, placeholder: &str, grants: &[String]) -> SessionSecret {
    let mut destinations = Destinations::default();
    for grant in grants {
        destinations.add(Destination::stored(grant).unwrap_or_else(|| panic!("{grant}"))).unwrap();
    }

    SessionSecret {
        tag: tag.parse().unwrap(),
        value: SecretValue::new(SecretBytes::copy_of(value.as_bytes()), false).unwrap(),
        placeholder: placeholder.into(),
        shown: None,
        grants: destinations,
    }
}

impl Lab {
    pub fn new(grants: &[&'static str]) -> Self {
        Self::of(Plan { grants: grants.to_vec(), ..Plan::default() })
    }

    pub fn of(plan: Plan) -> Self {
        let authority = Authority::new();
        let origin = Origin::start(&authority, plan.options);
        let at = format!("https://localhost:{}", origin.port());
        let grants: Vec<String> =
            plan.grants.iter().map(|text| text.replace("ORIGIN", &at)).collect();
        let elsewhere = vec!["* https://elsewhere.example header:authorization".to_owned()];
        let secrets = vec![
            secret("key", plan.values[0], PLACEHOLDER, &grants),
            secret("other", plan.values[1], OTHER_PLACEHOLDER, &elsewhere),
        ];
        let rules: Vec<Rule> = Policy::rules_of(&secrets);
        let mut policy = Policy::new(secrets, rules, []).unwrap();
        policy.others = Others::Refuse;
        policy.private = ["https://localhost", "https://127.0.0.1"]
            .map(|origin| Destination::parse_address(origin).unwrap().0.host)
            .to_vec();
        (plan.change)(&mut policy);

        let told = Arc::new(Mutex::new(Told::default()));
        let teller = Teller { told: Arc::clone(&told), broken: plan.broken };
        let roots = Roots::Pem(authority.pem().to_owned());
        let session =
            Session::new(policy, plan.source, Box::new(teller), roots, plan.company).unwrap();
        let (session, ca) = {
            let ca = session.ca.pem().to_owned();
            (Arc::new(session), ca)
        };

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let proxy = listener.local_addr().unwrap();
        session.connector.refuse(proxy);
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let set = tokio::task::LocalSet::new();
            set.block_on(&runtime, async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                serve(session, Listener::Tcp(listener), |_| true).await;
            });
        });

        Self { origin, proxy, told, ca }
    }

    /// Returns the host and port of the origin.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.origin.port())
    }

    /// Opens a tunnel to `target`. Returns the answer to CONNECT and the stream.
    pub fn connect(&self, target: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.proxy).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                break;
            }

            head.push(byte[0]);
        }

        let head = String::from_utf8(head).unwrap();
        let length = head.to_lowercase();
        let length = length
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        (head + &String::from_utf8(body).unwrap(), stream)
    }

    /// Opens a TLS connection to the origin through the proxy, naming `sni`.
    pub fn tls(&self, sni: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let (head, stream) = self.connect(&self.host());
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        StreamOwned::new(client(&self.ca, sni, &[b"http/1.1"]), stream)
    }

    /// Sends raw bytes in a tunnel and reads until the end, or until an answer is complete.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.tls("localhost");
        // The proxy may answer and close before everything is sent.
        let _ = stream.write_all(bytes);
        String::from_utf8_lossy(&read_answer(&mut stream)).into_owned()
    }

    /// Sends a request with these header fields and this body, and returns the answer.
    pub fn send(&self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> String {
        let mut request = format!("{line} HTTP/1.1\r\nHost: {}\r\n", self.host());
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }

        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }

        let answer = self.raw(&[request.as_bytes(), b"Connection: close\r\n\r\n", body].concat());
        assert!(!answer.contains(VALUE), "{answer}");
        answer
    }

    /// Sends a GET request with the placeholder as a bearer token.
    pub fn bearer(&self, path: &str) -> String {
        let field = format!("Bearer {PLACEHOLDER}");
        self.send(&format!("GET {path}"), &[("Authorization", &field)], b"")
    }
}

pub fn client(ca: &str, name: &str, protocols: &[&[u8]]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// Reads an answer until the connection ends, or its length says so.
pub fn read_answer(stream: &mut impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return answer,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
        }

        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(head) = head else { continue };
        let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
        let length = text.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
        let is_chunked = text.contains("transfer-encoding: chunked");
        let is_done = match length {
            Some(length) => answer.len() >= head + 4 + length,
            None => is_chunked && answer.ends_with(b"0\r\n\r\n"),
        };
        if is_done && !text.contains("101 switching") {
            return answer;
        }
    }
}
