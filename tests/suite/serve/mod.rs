//! `secrets serve`.

mod attacks;
mod sockets;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use terminal_secrets::crypto::token::Token;
use terminal_secrets::model::{SecretBytes, Timestamp, TokenName};
use terminal_secrets::vault::TokenChanges;

use crate::support::Sandbox;
use crate::support::programs::until;
use crate::support::traces::find_in_memory;

const VALUE: &str = "sk_live_v4lueThatNobodySees9876543";
const SECRETS: &str = "/api/v1/secrets";

/// A server, and tokens of project `default`.
struct Server {
    sandbox: Sandbox,
    child: Child,
    url: String,
    port: u16,
    read: String,
    manage: String,
}

/// A response: its status, its headers and its body.
#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    /// Reads a response until the server closes the connection.
    fn read(mut stream: impl Read) -> Option<Self> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
    }

    /// Checks the shape of a failure.
    #[track_caller]
    fn fails(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let failure = self.json();
        assert_eq!(failure["type"], kind, "{failure}");
        assert_eq!(failure["httpStatus"], status, "{failure}");
        assert_eq!(failure["requestId"], self.header("x-request-id"), "{failure}");
        assert!(failure["message"].is_string(), "{failure}");
    }
}

impl Server {
    fn start(options: &[&str]) -> Self {
        Self::of(Sandbox::with_secrets(&[("stripe-key", VALUE), ("other", "0ther")]), options)
    }

    fn of(sandbox: Sandbox, options: &[&str]) -> Self {
        let token = |level| {
            let arguments = ["token", "create", level, "--level", level, "--restricted", "-q"];
            let run = sandbox.run(arguments).succeeds();
            String::from_utf8(run.bytes()).unwrap().trim().to_owned()
        };
        let (read, manage) = (token("read"), token("manage"));
        let (child, url) = spawn(&sandbox, &[&["--listen", "127.0.0.1:0"], options].concat());
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Self { sandbox, child, url, port, read, manage }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends bytes, and returns the response if there is one.
    fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let _ = stream.write_all(bytes);
        Response::read(stream)
    }

    /// Sends a request with a token. A body is JSON.
    #[track_caller]
    fn send(&self, token: &str, method: &str, path: &str, body: &str) -> Response {
        let request = request(self.port, token, method, path, body);
        self.raw(request.as_bytes()).expect("there is a response")
    }

    fn get(&self, token: &str, path: &str) -> Response {
        self.send(token, "GET", path, "")
    }

    fn post(&self, tag: &str, value: &str) -> Response {
        let body = json!({"tag": tag, "name": "", "secret": value}).to_string();
        self.send(&self.manage, "POST", SECRETS, &body)
    }

    /// Ends the server, and returns what it printed on stderr.
    fn stop(mut self) -> String {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(15));
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server without a passphrase. Returns it with the address that it prints.
fn spawn(sandbox: &Sandbox, options: &[&str]) -> (Child, String) {
    let prepared = sandbox.command([&["serve"], options].concat());
    let mut command = prepared.without_env("SECRETS_PASSPHRASE").command;
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    address_of(child)
}

fn address_of(mut child: Child) -> (Child, String) {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim_end().to_owned())
}

fn request(port: u16, token: &str, method: &str, path: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\n\
         {kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn the_five_operations_have_the_shapes_of_cortex() {
    let server = Server::start(&[]);
    let all = server.get(&server.read, SECRETS).json();
    let member = |secret: &Value, name: &str| secret[name].as_str().unwrap().to_owned();
    let id = member(&all["secrets"][1], "id");
    assert_eq!(id.len(), 18);
    assert_eq!(all["secrets"][1], json!({"id": id, "tag": "stripe-key"}));
    assert_eq!(all["page"], 0);
    assert_eq!((&all["total"], &all["totalPages"]), (&json!(2), &json!(1)));
    let page = server.get(&server.read, &format!("{SECRETS}?pageSize=1&page=1")).json();
    assert_eq!(page["secrets"], json!([{"id": id, "tag": "stripe-key"}]));
    assert_eq!((&page["page"], &page["totalPages"]), (&json!(1), &json!(2)));
    let past = server.get(&server.read, &format!("{SECRETS}?page=7")).json();
    assert_eq!((&past["secrets"], &past["total"]), (&json!([]), &json!(2)));

    for name in ["stripe-key", "STRIPE_KEY", "stripe%2Dkey", &id] {
        let one = server.get(&server.read, &format!("{SECRETS}/{name}"));
        assert_eq!((one.status, one.json()), (200, json!({"id": id, "tag": "stripe-key"})));
        assert_eq!(one.header("cache-control"), "no-store");
        assert_eq!(one.header("content-type"), "application/json");
    }

    let body = json!({"tag": "new-key", "name": "A name", "secret": "first"}).to_string();
    let created = server.send(&server.manage, "POST", SECRETS, &body);
    assert_eq!(created.status, 200, "{created:?}");
    let new = member(&created.json(), "id");
    assert_eq!(created.json(), json!({"id": new, "name": "A name", "tag": "new-key"}));
    server.send(&server.manage, "POST", SECRETS, &body).fails(400, "CONFLICT");

    let path = format!("{SECRETS}/new-key");
    let updated = server.send(&server.manage, "PUT", &path, r#"{"secret":"second","name":""}"#);
    assert_eq!((updated.status, updated.json()), (200, json!({"id": new, "tag": "new-key"})));
    let same = server.send(&server.manage, "PUT", &path, "{}");
    assert_eq!((same.status, same.json()), (200, json!({"id": new, "tag": "new-key"})));
    server.sandbox.run(["render", "-e", "{{ secrets.new-key }}"]).succeeds().stdout("second");

    let deleted = server.send(&server.manage, "DELETE", &path, "");
    assert_eq!((deleted.status, &*deleted.body), (200, ""));
    server.send(&server.manage, "DELETE", &path, "").fails(404, "NOT_FOUND");
    server.send(&server.manage, "PUT", &path, "{}").fails(404, "NOT_FOUND");
    server.get(&server.read, &path).fails(404, "NOT_FOUND");
    server.get(&server.read, &format!("{SECRETS}/a%00b")).fails(404, "NOT_FOUND");
    server.get(&server.read, "/api/v2/secrets").fails(404, "NOT_FOUND");
    server.get(&server.read, &format!("{SECRETS}?page=x")).fails(400, "BAD_REQUEST");
    server.send(&server.manage, "POST", SECRETS, "{").fails(400, "BAD_REQUEST");
    let unknown = server.send(&server.manage, "PATCH", SECRETS, "");
    unknown.fails(405, "BAD_REQUEST");
    assert_eq!(unknown.header("allow"), "GET, POST");
}

#[test]
fn the_description_is_served_with_the_address() {
    let server = Server::start(&[]);
    let request =
        format!("GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", server.port);
    let response = server.raw(request.as_bytes()).unwrap();
    assert_eq!(response.status, 200);
    let description = response.json();
    assert_eq!(description["servers"][0]["url"], server.url);
    let ours: Value = serde_json::from_str(secrets_api::OPENAPI).unwrap();
    assert_eq!(description["paths"], ours["paths"]);

    // Both describe the same operations, and ours says more.
    let cortex: Value =
        serde_json::from_slice(&std::fs::read("tests/api/cortex.json").unwrap()).unwrap();
    for (path, operations) in cortex["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let our = &ours["paths"][path][method];
            assert_eq!(our["operationId"], operation["operationId"], "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let schema = |of: &Value| of["content"]["application/json"]["schema"].clone();
                assert_eq!(schema(&our["responses"][status]), schema(response), "{method} {path}");
            }
        }
    }
}

#[test]
fn a_token_decides_what_is_allowed() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", VALUE), ("other", "0ther")]);
    sandbox.run(["create", "elsewhere", "--generate", "-p", "web", "-q"]).succeeds().stdout("");
    let token = |options: &[&str]| {
        let run = sandbox.run([&["token", "create", "-q"], options].concat()).succeeds();
        String::from_utf8(run.bytes()).unwrap().trim().to_owned()
    };
    let one = token(&["one", "--level", "use", "--only", "stripe-key"]);
    let web = token(&["web", "--level", "manage", "-p", "web"]);
    let gone = token(&["gone", "--level", "read"]);
    let past = Some(Timestamp(Timestamp::now().0 - 1));
    let changes = TokenChanges { expires: Some(past), ..TokenChanges::default() };
    let name = TokenName::parse("gone").unwrap();
    sandbox.vault().update_token(&name, &changes, false, &|_| {}).unwrap();
    let revoked = token(&["revoked", "--level", "read"]);
    sandbox.run(["token", "revoke", "revoked", "-y", "-q"]).succeeds().stdout("");
    let server = Server::of(sandbox, &[]);

    let path = format!("{SECRETS}/stripe-key");
    for level in [&server.read, &one] {
        assert_eq!(server.get(level, &path).status, 200);
        server.send(level, "DELETE", &path, "").fails(403, "FORBIDDEN");
        server.send(level, "PUT", &path, "{}").fails(403, "FORBIDDEN");
        let body = r#"{"tag":"x","name":"","secret":"y"}"#;
        server.send(level, "POST", SECRETS, body).fails(403, "FORBIDDEN");
    }

    // A token sees its own secrets only, and everything else is like a secret that does not exist.
    let secret = server.get(&server.read, &format!("{SECRETS}/other")).json();
    let missing = server.get(&one, &format!("{SECRETS}/nothing"));
    for name in ["other", secret["id"].as_str().unwrap(), "elsewhere"] {
        let hidden = server.get(&one, &format!("{SECRETS}/{name}"));
        hidden.fails(404, "NOT_FOUND");
        assert_eq!(hidden.json()["message"], missing.json()["message"]);
        let hidden = server.send(&web, "DELETE", &format!("{SECRETS}/stripe-key"), "");
        hidden.fails(404, "NOT_FOUND");
    }
    assert_eq!(server.get(&one, SECRETS).json()["total"], 1);
    assert_eq!(server.get(&web, SECRETS).json()["secrets"][0]["tag"], "elsewhere");

    let mut flipped = server.read.clone();
    flipped.replace_range(20..21, if &flipped[20..21] == "a" { "b" } else { "a" });
    for token in [&gone, &revoked, &flipped, "", "x", VALUE] {
        let refused = server.get(token, &path);
        refused.fails(401, "FORBIDDEN");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        assert!(!refused.body.contains(VALUE), "{refused:?}");
    }
}

#[test]
fn each_request_is_recorded_with_its_id() {
    let server = Server::start(&[]);
    let id = |response: Response| response.header("x-request-id").to_owned();
    let ids = [
        id(server.get(&server.read, SECRETS)),
        id(server.get(&server.read, &format!("{SECRETS}/other"))),
        id(server.post("new", "value")),
        id(server.send(&server.read, "DELETE", &format!("{SECRETS}/other"), "")),
    ];
    server.get(&server.read, &format!("{SECRETS}/{VALUE}")).fails(404, "NOT_FOUND");

    let run = server.sandbox.run(["audit", "--json"]).succeeds();
    let text = String::from_utf8(run.bytes()).unwrap();
    assert!(!text.contains(VALUE), "{text}");
    let entries: Value = serde_json::from_str(&text).unwrap();
    let of_api: Vec<&Value> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "serve")
        .collect();
    assert_eq!(of_api.len(), 5, "{text}");
    for (entry, id) in of_api.iter().zip(ids) {
        assert_eq!(entry["request"]["id"], id, "{entry}");
        assert_eq!(entry["request"]["origin"], server.url, "{entry}");
    }

    assert_eq!(of_api[0]["who"], "read");
    assert_eq!(of_api[0]["count"], 2);
    assert_eq!(of_api[1]["items"], json!([{"name": "other"}]));
    assert_eq!(of_api[1]["request"]["path"], "/api/v1/secrets/other");
    assert_eq!((&of_api[2]["who"], &of_api[2]["kind"]), (&json!("manage"), &json!("use")));
    assert_eq!(of_api[3]["kind"], "deny");
    assert_eq!(of_api[3]["request"]["reason"], "this needs a token with level `manage`");
    assert_eq!((&of_api[4]["kind"], &of_api[4]["count"]), (&json!("deny"), &json!(0)));
    assert_eq!(of_api[4]["request"]["path"], "/api/v1/secrets/\u{2026}");
    assert!(of_api[4]["request"]["reason"].as_str().unwrap().contains("no such secret"), "{text}");

    let run = server.sandbox.run(["audit", "--kind", "use"]).succeeds();
    let text = String::from_utf8(run.bytes()).unwrap();
    assert!(text.contains(&format!("other by GET {}/api/v1/secrets/other", server.url)), "{text}");

    // Without a record, nothing is answered or changed.
    let log = server.sandbox.state().join("secrets/audit");
    std::fs::rename(&log, log.with_extension("away")).unwrap();
    std::fs::write(&log, "").unwrap();
    server.get(&server.read, SECRETS).fails(503, "UNCATEGORIZED");
    assert_eq!(server.post("another", "value").status, 503);
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(log.with_extension("away"), &log).unwrap();
    server.get(&server.read, &format!("{SECRETS}/another")).fails(404, "NOT_FOUND");

    let printed = server.stop();
    assert!(printed.contains("200 GET /api/v1/secrets by read in "), "{printed}");
    assert!(
        printed.contains("503 GET /api/v1/secrets by read: it cannot be recorded: "),
        "{printed}"
    );
    assert!(printed.contains("404 GET /api/v1/secrets/\u{2026} by read in "), "{printed}");
    assert!(!printed.contains(VALUE), "{printed}");
}

#[test]
fn a_token_may_ask_so_often() {
    let server = Server::start(&["--rate", "3/h"]);
    for _ in 0..3 {
        assert_eq!(server.get(&server.read, SECRETS).status, 200);
    }

    let limited = server.get(&server.read, SECRETS);
    assert_eq!(limited.status, 429);
    assert_eq!(limited.header("content-type"), "application/problem+json");
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=1200).contains(&seconds), "{limited:?}");
    let detail = format!("try again in {seconds} s");
    let problem = json!({"type": "about:blank", "title": "Too Many Requests", "status": 429,
        "detail": detail, "retryAfter": seconds});
    assert_eq!(limited.json(), problem);

    // Others are not affected, not even by tokens that open nothing.
    let unknown = {
        let other = Sandbox::with_secrets(&[("a", "b")]);
        let run = other.run(["token", "create", "x", "--level", "read", "-q"]).succeeds();
        String::from_utf8(run.bytes()).unwrap().trim().to_owned()
    };
    let statuses = (0..5).map(|_| server.get(&unknown, SECRETS).status);
    assert_eq!(statuses.collect::<Vec<_>>(), [401, 401, 401, 429, 429]);
    assert_eq!(server.get(&server.manage, SECRETS).status, 200, "its first request here");
    for wrong in ["0/m", "600", "x"] {
        let run = server.sandbox.run(["serve", "--rate", wrong]).fails_with(2).stdout("");
        run.stderr_has("it is not a number of requests per second, minute or hour");
    }
}

/// The server has neither a key nor a value between two requests.
#[test]
fn nothing_of_a_request_stays_in_memory() {
    let server = Server::start(&[]);
    let value = "v4lueOfTheApi-0123456789abcdef";
    assert_eq!(server.post("created", value).status, 200);
    assert_eq!(server.get(&server.read, &format!("{SECRETS}/created")).status, 200);
    let body = json!({"secret": format!("{value}\n\u{1f511}")}).to_string();
    let path = format!("{SECRETS}/created");
    assert_eq!(server.send(&server.manage, "PUT", &path, &body).status, 200);
    server.get(&server.read[..52], SECRETS).fails(401, "FORBIDDEN");
    until("the connections have ended", || {
        let tasks = [&server.read, &server.manage, value];
        tasks.iter().all(|text| find_in_memory(server.pid(), text.as_bytes()).is_empty())
    });
    let ours = std::process::id().try_into().ok().and_then(Pid::from_raw).unwrap();
    assert!(!find_in_memory(ours, server.read.as_bytes()).is_empty(), "the search finds nothing");

    // Nor what the token's digits mean.
    let token = Token::parse(&SecretBytes::copy_of(server.manage.as_bytes()));
    let keys = token.unwrap().keys(&server.sandbox.vault().id().unwrap());
    for key in [&keys.kek, &keys.checkpoint, &keys.output] {
        let found = find_in_memory(server.pid(), key.expose());
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn writers_do_not_lose_each_others_changes() {
    let server = Server::start(&["--rate", "1000/s"]);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let server = &server;
            scope.spawn(move || {
                for number in 0..8 {
                    let created = server.post(&format!("w{writer}-{number}"), "value");
                    assert_eq!(created.status, 200, "{created:?}");
                }
            });
        }

        let server = &server;
        scope.spawn(move || {
            for _ in 0..20 {
                let page = server.get(&server.read, SECRETS).json();
                let secrets = page["secrets"].as_array().unwrap().len();
                assert_eq!(page["total"], secrets, "a page is of one state");
            }
        });
    });

    assert_eq!(server.get(&server.read, SECRETS).json()["total"], 66);

    // Some clients close their side when they have sent everything.
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(request(server.port, &server.read, "GET", SECRETS, "").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(Response::read(stream).unwrap().json()["total"], 66);
}

#[test]
fn without_a_vault_nothing_is_served() {
    let sandbox = Sandbox::empty();
    let run = sandbox.run(["serve"]).fails_with(3).stdout("");
    run.stderr_has("no vault at");
}
