//! Files of a directory, and repositories of git. Both need credentials with one of a few keys.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use base64ct::{Base64, Encoding as _};
use hyper::{Response, StatusCode};

use super::Received;
use super::answers::{Answer, full};

/// A directory for `/files/` and for `/git/`.
#[derive(Debug, Clone)]
pub struct Files {
    pub directory: PathBuf,
    /// `Authorization` must contain one of these values, in Basic credentials or as it is
    pub keys: Vec<String>,
}

impl Files {
    pub(crate) fn answer(&self, path: &str, received: &Received) -> Response<Answer> {
        if !self.is_authorized(received.header("authorization")) {
            let response = Response::builder().status(StatusCode::UNAUTHORIZED);
            let response = response.header("www-authenticate", "Basic realm=\"files\"");
            return response.body(full("no credentials\n")).unwrap();
        }

        // npm writes a slash in a name like this.
        let path = path.replace("%2f", "/").replace("%2F", "/");
        if path.split('/').any(|segment| segment == "..") {
            return with_status(StatusCode::BAD_REQUEST);
        }

        if let Some(repository) = path.strip_prefix("/git") {
            return self.git(repository, received);
        }

        let file = self.directory.join(path.trim_start_matches("/files/"));
        match received.method.as_str() {
            "PUT" => put(&file, received),
            _ => get(&file),
        }
    }

    fn is_authorized(&self, authorization: &str) -> bool {
        let basic = authorization.strip_prefix("Basic ").map(Base64::decode_vec);
        let basic = basic.and_then(Result::ok).unwrap_or_default();
        let basic = String::from_utf8_lossy(&basic);
        self.keys.iter().any(|key| authorization.contains(key) || basic.contains(key))
    }

    /// Answers as git's own server does, by its CGI program.
    fn git(&self, repository: &str, received: &Received) -> Response<Answer> {
        let mut command = Command::new("git");
        command.arg("http-backend").env("GIT_PROJECT_ROOT", self.directory.join("git"));
        command.env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_USER", "test");
        command.env("PATH_INFO", repository).env("REQUEST_METHOD", &received.method);
        let query = received.target.split_once('?').map_or("", |(_, query)| query);
        command.env("QUERY_STRING", query).env("CONTENT_LENGTH", received.body.len().to_string());
        command.env("CONTENT_TYPE", received.header("content-type"));
        command.env("HTTP_CONTENT_ENCODING", received.header("content-encoding"));
        command.env("GIT_PROTOCOL", received.header("git-protocol"));
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = spawned else {
            return with_status(StatusCode::NOT_IMPLEMENTED);
        };

        // Another thread writes, because git may answer before it has read everything.
        let (mut stdin, body) = (child.stdin.take().unwrap(), received.body.clone());
        let writer = thread::spawn(move || stdin.write_all(&body));
        let output = child.wait_with_output().unwrap().stdout;
        let _ = writer.join();
        from_cgi(&output)
    }
}

fn get(path: &Path) -> Response<Answer> {
    let indexes = ["index.html", "index.json"].map(|name| path.join(name));
    let found = indexes.into_iter().chain([path.to_owned()]).find(|path| path.is_file());
    let Some(bytes) = found.as_ref().and_then(|path| std::fs::read(path).ok()) else {
        return with_status(StatusCode::NOT_FOUND);
    };

    let extension = found.as_deref().and_then(Path::extension).and_then(|text| text.to_str());
    let kind = match extension {
        Some("html") => "text/html",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    Response::builder().header("content-type", kind).body(full(bytes)).unwrap()
}

fn put(path: &Path, received: &Received) -> Response<Answer> {
    let is_chunked = received.header("content-encoding") == "aws-chunked";
    let body = if is_chunked { from_chunks(&received.body) } else { received.body.clone() };
    let written = std::fs::create_dir_all(path.parent().unwrap_or(path))
        .and_then(|()| std::fs::write(path, body));
    match written {
        Ok(()) => Response::new(full("")),
        Err(_) => with_status(StatusCode::CONFLICT),
    }
}

/// Returns the data in chunks of AWS, which have their length in front of them and end with fields.
fn from_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = body.windows(2).position(|bytes| bytes == b"\r\n") {
        let length = std::str::from_utf8(&body[..end]).unwrap_or_default();
        let length = usize::from_str_radix(length, 16).unwrap_or(0);
        let Some(chunk) = body.get(end + 2..end + 2 + length).filter(|chunk| !chunk.is_empty())
        else {
            break;
        };

        data.extend(chunk);
        body = body.get(end + 2 + length + 2..).unwrap_or_default();
    }

    data
}

fn with_status(status: StatusCode) -> Response<Answer> {
    Response::builder().status(status).body(full(format!("{status}\n"))).unwrap()
}

/// Returns the response in the output of a CGI program (RFC 3875, section 6).
fn from_cgi(output: &[u8]) -> Response<Answer> {
    let Some(end) = output.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return with_status(StatusCode::BAD_GATEWAY);
    };

    let (head, body) = (String::from_utf8_lossy(&output[..end]), output[end + 4..].to_vec());
    let mut response = Response::builder();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap_or_default()),
            name => response.header(name, value),
        };
    }

    response.body(full(body)).unwrap()
}
