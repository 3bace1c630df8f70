//! The proxy on a thread of its own, and what programs need to use it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use secrets_core::model::{BasicPart, HostPattern, Place};
use secrets_proxy::net::{CompanyProxy, Roots};
use secrets_proxy::policy::Policy;
use secrets_proxy::server::{Listener, serve};
use secrets_proxy::session::{Observer, Session, Source};
use secrets_runtime::process::allow_many_files;
use secrets_runtime::run::PrivateFiles;

use super::{ListenAddress, Socket, SocketFile, is_same_user};
use crate::config::Environment;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::finish_lines;

/// A running proxy. It ends with this process.
pub(crate) struct ProxyService {
    /// Its address, as programs have it
    pub(crate) url: String,
    policy: Arc<Policy>,
    ca: String,
    files: PrivateFiles,
    _socket: Option<SocketFile>,
}

impl Drop for ProxyService {
    fn drop(&mut self) {
        finish_lines();
    }
}

/// A variable for a program: its name and its value.
pub(super) type ProxyVariables = Vec<(OsString, OsString)>;

impl ProxyService {
    /// Starts the proxy.
    pub(crate) fn start(
        cx: &Context,
        policy: Policy,
        source: Box<dyn Source>,
        observer: Box<dyn Observer>,
        company: Option<CompanyProxy>,
        address: &ListenAddress,
    ) -> Result<Self, Error> {
        let failed = |what: &str, source: &dyn std::fmt::Display| {
            Error::new(Kind::Failure, format!("cannot {what}: {source}"))
        };
        if matches!(address, ListenAddress::Tcp(_)) && !cfg!(target_os = "linux") {
            let message = "the proxy cannot check who connects on this system";
            return Err(Error::new(Kind::Failure, message)
                .hint("send single requests with `secrets request`")
                .hint("or use a socket: `secrets proxy --listen unix:PATH`"));
        }

        let session = Session::new(policy, source, observer, Roots::System, company)
            .map_err(|error| failed("start the proxy", &error))?;
        let (ca, policy) = (session.ca.pem().to_owned(), session.policy());
        let (listener, file) = address.listen().map_err(|error| failed("listen", &error))?;
        let url = listener.url().map_err(|error| failed("listen", &error))?;
        if let Socket::Tcp(listener) = &listener
            && let Ok(own) = listener.local_addr()
        {
            session.connector.refuse(own);
        }

        let place = cx.agents.private_directory()?;
        let files = PrivateFiles::without_guard(place.directory())
            .map_err(|error| failed("create a private directory", &error))?;
        allow_many_files();
        thread::Builder::new()
            .name("secrets-proxy".into())
            .spawn(move || run(Arc::new(session), listener))
            .map_err(|error| failed("start the proxy", &error))?;
        Ok(Self { url, policy, ca, files, _socket: file })
    }

    /// Returns the variables that make programs use the proxy and trust its certificates.
    pub(crate) fn variables(&self) -> Result<ProxyVariables, Error> {
        let failed = |error: io::Error| {
            Error::new(Kind::Failure, format!("cannot write the session's certificate: {error}"))
        };
        let bundle =
            self.files.put_bytes("ca-bundle.pem", &bundle(&BUNDLES, &self.ca)).map_err(failed)?;
        let own =
            self.files.put_bytes("ca.pem", &bundle_of(&EXTRAS, None, &self.ca)).map_err(failed)?;

        let mut variables: ProxyVariables = Vec::new();
        let mut set = |name: &str, value: &Path| variables.push((name.into(), value.into()));
        for name in ["HTTPS_PROXY", "https_proxy"] {
            set(name, Path::new(&self.url));
        }

        let bypass = self.bypass();
        for name in ["NO_PROXY", "no_proxy"] {
            set(name, Path::new(&bypass));
        }

        for name in BUNDLES {
            set(name, &bundle);
        }

        for name in EXTRAS {
            set(name, &own);
        }

        set("NODE_USE_ENV_PROXY", Path::new("1"));
        self.git(&mut set);
        Ok(variables)
    }

    /// Returns NO_PROXY: this machine and the hosts that were listed, but no host of a rule.
    fn bypass(&self) -> String {
        let inherited = ["no_proxy", "NO_PROXY"].into_iter().find_map(Environment::text_of);
        let inherited = inherited.unwrap_or_default();
        let listed = inherited.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        let covers_a_rule = |entry: &str| {
            // An entry may be for one port. It must not let any program past the proxy.
            let entry = entry.to_ascii_lowercase();
            let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let (name, port) = entry.rsplit_once(':').unwrap_or((&entry, ""));
            let name = if is_port(port) && !name.contains("::") { name } else { &entry };
            let name = name.trim_start_matches('[').trim_end_matches(']');
            let name = name.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
            let covers = |host: &str| {
                name.is_empty()
                    || host == name
                    || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
            };
            self.policy.rules.iter().any(|rule| match &rule.destination.origin.host {
                HostPattern::Exact(host) => {
                    // A block of addresses, such as 10.0.0.0/8.
                    let is_block = host.name().is_none() && name.contains('/');
                    let host = host.to_string();
                    is_block || covers(host.trim_start_matches('[').trim_end_matches(']'))
                }
                HostPattern::Below(parent) => {
                    let below = format!(".{parent}");
                    covers(&below) || name.ends_with(&below)
                }
            })
        };

        let mut entries: Vec<&str> = Vec::new();
        for entry in ["localhost", "127.0.0.1", "::1"].into_iter().chain(listed) {
            if !covers_a_rule(entry) && !entries.contains(&entry) {
                entries.push(entry);
            }
        }

        entries.join(",")
    }

    /// Returns the placeholders that can stand in Basic credentials, by host.
    fn logins(&self) -> BTreeMap<String, Login<'_>> {
        let mut logins: BTreeMap<String, Login<'_>> = BTreeMap::new();
        let (mut named, mut any) = (Vec::new(), Vec::new());
        for rule in &self.policy.rules {
            let HostPattern::Exact(_) = &rule.destination.origin.host else { continue };
            let Some(secret) = self.policy.secrets.get(rule.secret) else { continue };
            let found = (rule.destination.origin.to_string(), secret.placeholder.as_str());
            match &rule.destination.place {
                Place::Basic(part) => named.push((*part, found)),
                place if *place == Place::authorization() => {
                    any.push((BasicPart::Password, found));
                }
                _ => {}
            }
        }

        // A rule that names the part comes before one for the whole header.
        for (part, (origin, placeholder)) in named.into_iter().chain(any) {
            let login = logins.entry(origin).or_default();
            let place = match part {
                BasicPart::User => &mut login.user,
                BasicPart::Password => &mut login.password,
            };
            place.get_or_insert(placeholder);
        }

        logins
    }

    /// Tells git the placeholders for the hosts of rules. Its settings come after those that are
    /// inherited.
    fn git(&self, set: &mut dyn FnMut(&str, &Path)) {
        let inherited = Environment::text_of("GIT_CONFIG_COUNT");
        let first: usize = inherited.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut number = first;
        for (origin, Login { user, password }) in self.logins() {
            let key = format!("credential.{origin}.helper");
            let (user, password) = (user.unwrap_or(NOBODY), password.unwrap_or(NOBODY));
            let helper = format!(
                "!f() {{ test \"$1\" = get && printf 'username={user}\\npassword={password}\\n'; }}; f"
            );
            // An empty helper removes those of other files, which could store the placeholder.
            for value in ["", &helper] {
                set(&format!("GIT_CONFIG_KEY_{number}"), Path::new(&key));
                set(&format!("GIT_CONFIG_VALUE_{number}"), Path::new(value));
                number += 1;
            }
        }

        if number > first {
            set("GIT_CONFIG_COUNT", Path::new(&number.to_string()));
        }
    }
}

/// The placeholders for Basic credentials of a host.
#[derive(Default)]
struct Login<'p> {
    user: Option<&'p str>,
    password: Option<&'p str>,
}

/// Stands in the part of credentials for which no rule has a value.
const NOBODY: &str = "secrets";

/// Variables with a file that replaces the system's certificates.
const BUNDLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "PIP_CERT",
    "npm_config_cafile",
    "AWS_CA_BUNDLE",
];
/// Variables with a file that is added to them.
const EXTRAS: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Returns the certificates of the system, of files that variables name, and ours.
fn bundle(names: &[&str], ours: &str) -> Vec<u8> {
    bundle_of(names, Environment::certificates(), ours)
}

fn bundle_of(names: &[&str], system: Option<PathBuf>, ours: &str) -> Vec<u8> {
    let inherited = names.iter().filter_map(|name| Environment::text_of(name)).map(PathBuf::from);
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in system.into_iter().chain(inherited) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }

    let mut pem = Vec::new();
    for path in paths {
        // A file that cannot be read is of no use to the program either.
        pem.extend(std::fs::read(path).unwrap_or_default());
        if !pem.ends_with(b"\n") {
            pem.push(b'\n');
        }
    }

    pem.extend(ours.as_bytes());
    pem
}

fn run(session: Arc<Session>, listener: Socket) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let set = tokio::task::LocalSet::new();
    set.block_on(&runtime, async move {
        let listener = match listener {
            Socket::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Listener::Tcp),
            Socket::Unix(listener) => {
                tokio::net::UnixListener::from_std(listener).map(Listener::Unix)
            }
        };

        if let Ok(listener) = listener {
            serve(session, listener, is_same_user).await;
        }
    });
}
