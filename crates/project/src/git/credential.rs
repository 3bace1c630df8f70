//! Requests of git to a credential helper (gitcredentials(7), git-credential(1)).
//!
//! The addresses come from repositories and servers, so the text is hostile: a line break in a host has made
//! helpers answer for another one (CVE-2020-5260, CVE-2020-11008, CVE-2024-50338, CVE-2024-52006). git itself refuses
//! such addresses by now. Here, anything that is not one plain host is refused again.

use secrets_core::model::{Origin, RequestPath};
use thiserror::Error;

/// The maximum size of a request in bytes.
pub const MAX_SIZE: usize = 64 * 1024;

/// A request for a name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRequest {
    /// The server
    pub origin: Origin,
    /// The path of the repository without the leading `/`, if git sends it
    /// (`credential.useHttpPath`)
    path: Option<String>,
    /// The user, if the address names one
    pub user: Option<String>,
}

/// The reason why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialError {
    #[error("git's request has a carriage return, a NUL byte or bytes that are not UTF-8")]
    Bytes,
    #[error("git's request has a line without `=`")]
    Line,
    #[error("git's request names no server")]
    NoServer,
    #[error("git's request names its server twice")]
    Twice,
    #[error("git's request does not name one server with https")]
    Server,
    #[error("git's request has a path that servers can read in different ways")]
    Path,
}

impl CredentialRequest {
    /// Reads a request: lines `name=value`, up to an empty line or the end.
    pub fn parse(text: &[u8]) -> Result<Self, CredentialError> {
        if text.iter().any(|byte| matches!(byte, b'\r' | 0)) {
            return Err(CredentialError::Bytes);
        }

        let text = std::str::from_utf8(text).map_err(|_| CredentialError::Bytes)?;
        let [mut protocol, mut host, mut path, mut user] = [None, None, None, None];
        for line in text.split('\n').take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=').ok_or(CredentialError::Line)?;
            let place = match name {
                "protocol" => &mut protocol,
                "host" => &mut host,
                "path" => &mut path,
                "username" => &mut user,
                // An address as a whole could name other parts than the lines.
                "url" => return Err(CredentialError::Server),
                _ => continue,
            };

            if place.replace(value).is_some() {
                return Err(CredentialError::Twice);
            }
        }

        let (Some(protocol), Some(host)) = (protocol, host.filter(|host| !host.is_empty())) else {
            return Err(CredentialError::NoServer);
        };

        let origin = Origin::parse(&format!("{protocol}://{host}"));
        let path = path.filter(|path| !path.is_empty()).map(str::to_owned);
        Ok(Self {
            origin: origin.map_err(|_| CredentialError::Server)?,
            path,
            user: user.filter(|user| !user.is_empty()).map(str::to_owned),
        })
    }

    /// Returns the paths of the requests that git will send, with their methods. `None` if git does not
    /// send the path.
    pub fn paths(&self) -> Result<Option<[(&'static str, RequestPath); 2]>, CredentialError> {
        let Some(path) = &self.path else { return Ok(None) };
        let path = path.trim_end_matches('/');

        // git decodes the path for the helper and sends the address as it stands. So a path is accepted only if
        // both are the same and servers read them in one way.
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/+@:!$,=()*'&".contains(&byte);
        let is_step = |segment: &str| matches!(segment, "" | "." | "..");
        if !path.bytes().all(is_plain) || path.split('/').any(is_step) {
            return Err(CredentialError::Path);
        }

        let request = |service: &str| {
            RequestPath::parse(&format!("/{path}/{service}")).map_err(|_| CredentialError::Path)
        };
        Ok(Some([("GET", request("info/refs")?), ("POST", request("git-upload-pack")?)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Result<String, CredentialError> {
        CredentialRequest::parse(text.as_bytes()).map(|request| request.origin.to_string())
    }

    #[test]
    fn a_request_names_one_server() {
        let text = "capability[]=authtype\nprotocol=https\nhost=git.example.com:8443\nwwwauth[]=Basic\n\nhost=evil";
        assert_eq!(origin(text).unwrap(), "https://git.example.com:8443");
        let request = CredentialRequest::parse(
            b"protocol=https\nhost=h.example\npath=me/a.git\nusername=me\n",
        );
        let request = request.unwrap();
        assert_eq!(request.user.as_deref(), Some("me"));
        let paths = request.paths().unwrap().unwrap();
        assert_eq!(paths.map(|(_, path)| path.as_str().to_owned())[0], "/me/a.git/info/refs");
    }

    #[test]
    fn hostile_requests_are_refused() {
        for (text, expected) in [
            ("protocol=https\nhost=good\r\n", CredentialError::Bytes),
            ("protocol=https\nhost=good\0evil\n", CredentialError::Bytes),
            ("protocol=https\nhost=\n", CredentialError::NoServer),
            ("protocol=https\n", CredentialError::NoServer),
            ("host=good.example\n", CredentialError::NoServer),
            ("protocol=https\nhost=good.example\nhost=evil.example\n", CredentialError::Twice),
            ("protocol=https\nhost=good.example\npassword\n", CredentialError::Line),
            (
                "url=https://evil.example\nprotocol=https\nhost=good.example\n",
                CredentialError::Server,
            ),
            ("protocol=http\nhost=good.example\n", CredentialError::Server),
            ("protocol=\nhost=good.example\n", CredentialError::Server),
            ("protocol=https\nhost=good.example/x\n", CredentialError::Server),
            ("protocol=https\nhost=good.example@evil\n", CredentialError::Server),
            ("protocol=https\nhost=good example\n", CredentialError::Server),
            ("protocol=https\nhost=good.example?x\n", CredentialError::Server),
        ] {
            assert_eq!(origin(text), Err(expected), "{text:?}");
        }

        for path in [
            "me/../you",
            "me/./you",
            "you?/../me/x",
            "you#/../me/x",
            "me/%2e%2e/you",
            "me%2fyou",
            "me\\you",
            "me//you",
            "me/;/you",
            "me/é",
            "/me",
        ] {
            let text = format!("protocol=https\nhost=h.example\npath={path}\n");
            let request = CredentialRequest::parse(text.as_bytes()).unwrap();
            assert_eq!(request.paths(), Err(CredentialError::Path), "{path}");
        }
    }
}
