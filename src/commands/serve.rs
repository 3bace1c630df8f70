//! `secrets serve`: an HTTP API for programs on this machine. Each request opens the vault with its own
//! token.

use std::sync::Arc;

use secrets_api::{Access, Finished, Listener, Observer, RateLimit, Settings, start};
use secrets_core::crypto::uses::UsedRequest;
use secrets_files::DeferSignals;

use super::shared::listening::{ListenAddress, Socket, SocketFile, is_same_user};
use crate::context::{CallRecorder, Context};
use crate::error::{Error, Kind};
use crate::output::ServedApi;
use crate::ui::escape::visible;
use crate::ui::{finish_lines, line_from_thread, warn_from_thread};

const EXAMPLES: &str = "\
Examples:
  secrets serve --listen unix:$XDG_RUNTIME_DIR/secrets-api.sock
  secrets serve                       listen on port 7718 of 127.0.0.1
  secrets token create ui --level read         a token for a program
  curl -H \"Authorization: Bearer $T\" 127.0.0.1:7718/api/v1/secrets

The paths are those of Cortex's API for secrets:
  GET, POST           /api/v1/secrets
  GET, PUT, DELETE    /api/v1/secrets/TAG
  GET                 /api/v1/openapi.json    the description, for tools";

/// Serve an HTTP API to programs of this machine
///
/// Serves in the foreground until Ctrl-C, and prints a line for each request on stderr. Each request
/// needs a token of `secrets token create`, which decides about the project and about what is allowed.
/// So the server asks for no passphrase, and keeps no key. No operation returns a value.
///
/// If systemd has opened a socket for the service, that one is used.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Listen on this port of 127.0.0.1, or on a socket with unix:PATH [default: 127.0.0.1:7718]
    #[arg(long, value_name = "ADDRESS", value_parser = ListenAddress::parse)]
    listen: Option<ListenAddress>,
    /// Allow each token this many requests per second, minute or hour
    #[arg(long, value_name = "N/s|N/m|N/h", default_value = "600/m")]
    rate: RateLimit,
}

/// The port without `--listen`.
const PORT: u16 = 7718;

pub(crate) fn run(args: &ServeArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let recorder = cx.call_recorder()?;
    let (socket, file) = listening(args)?;
    let url = socket.url().map_err(|error| cannot("listen", &error))?;
    let listener = match socket {
        Socket::Tcp(listener) => Listener::Tcp(listener),
        Socket::Unix(listener) => Listener::Unix(listener, is_same_user),
    };

    // Nothing here needs what the environment has.
    cx.credentials.forget_passphrase();

    // In the description of the API, a socket has no address.
    let base = if url.starts_with("unix:") { "http://localhost" } else { &url };
    let settings = Settings { rate: args.rate, url: base.to_owned() };
    let signals = DeferSignals::new().map_err(|error| cannot("handle signals", &error))?;
    let observer = ApiObserver { recorder, url: url.clone(), is_quiet: cx.ui.is_quiet() };
    let opener = cx.opener(warn_from_thread)?;
    let running = start(listener, settings, Box::new(opener), Arc::new(observer))
        .map_err(|error| cannot("start the server", &error))?;

    cx.ui.print(&ServedApi { url: &url })?;
    cx.ui.status(&format!("listening on {url}; end it with Ctrl-C"));
    cx.ui.finish();

    // The result was printed, so errors from here on would come too late. Only a signal ends it.
    signals.wait();

    running.stop();
    finish_lines();
    drop(file);
    drop(signals);
    Ok(())
}

/// Returns the socket that systemd has opened, or listens on an address.
fn listening(args: &ServeArgs) -> Result<(Socket, Option<SocketFile>), Error> {
    if args.listen.is_none()
        && let Some(socket) = Socket::passed().map_err(|why| {
            Error::new(Kind::Usage, format!("the socket that was passed cannot be used: {why}"))
                .hint("pass one stream socket: a Unix socket, or a port of 127.0.0.1 or ::1")
        })?
    {
        return Ok((socket, None));
    }

    let address = args.listen.clone().unwrap_or(ListenAddress::Tcp(PORT));
    address.listen().map_err(|error| {
        let failed = cannot(&format!("listen on {address}"), &error);
        match error.kind() {
            std::io::ErrorKind::AddrInUse => failed.hint(
                "another process listens there; end it, or choose an address with `--listen`",
            ),
            _ => failed,
        }
    })
}

fn cannot(what: &str, source: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Failure, format!("cannot {what}: {source}"))
}

/// Records requests, and prints them.
struct ApiObserver {
    recorder: CallRecorder,
    url: String,
    is_quiet: bool,
}

impl Observer for ApiObserver {
    fn record(&self, access: Access<'_>) -> Result<(), String> {
        let Access { vault, caller, method, path, request_id, count, tags, refusal } = access;
        let request = UsedRequest {
            method: method.to_owned(),
            origin: self.url.clone(),
            path: path.to_owned(),
            reason: refusal.map(str::to_owned),
            id: Some(request_id.to_owned()),
        };
        let by = (caller.id, &caller.name);
        self.recorder
            .record(vault, by, caller.project.as_ref(), (count, tags), request)
            .map_err(|error| error.to_string())
    }

    fn finished(&self, finished: &Finished<'_>) {
        let Finished { status, method, path, token, problem, millis } = finished;
        if self.is_quiet && problem.is_none() {
            return;
        }

        let mut line = format!("{status} {} {}", visible(method), visible(path));
        if let Some(token) = token {
            line.push_str(&format!(" by {}", visible(token)));
        }

        match problem {
            Some(problem) => line.push_str(&format!(": {}", visible(problem))),
            None => line.push_str(&format!(" in {millis} ms")),
        }

        line_from_thread(&line);
    }
}
