//! Connections and their limits. One thread waits for all of them, and another one has the vault.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrets_core::crypto::random;
use secrets_core::crypto::token::Token;
use secrets_core::model::{STACK_DEPTH, SecretBytes, SecretRef, overwrite_stack};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::guard;
use crate::rate::{RateLimit, Rates};
use crate::reply::{Failure, Reply};
use crate::routes::{OPENAPI, Operation, Route};
use crate::worker::{Call, Finished, Job, Observer, OpenVault, Outcome, Worker, shown};

/// The most connections at a time. A further one takes the place of the oldest whose request has not
/// arrived as a whole.
const CONNECTIONS: usize = 128;
/// The most bytes of a request before its body.
const HEAD: usize = 16 * 1024;
/// The most bytes of a body.
const BODY: usize = 2 * 1024 * 1024;
/// The most bytes of a body of which any number are read at the same time.
const SMALL_BODY: usize = 64 * 1024;
/// The most larger bodies at a time.
const LARGE_BODIES: usize = 8;
/// The most requests that wait for the vault.
const WAITING: usize = 64;
/// The time limit for the head of a request, and for its body.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// The time limit for a connection: the request, a vault that another process is changing, and a client
/// that reads slowly.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// The time for which responses are still sent when the server ends.
const LAST_TIME: Duration = Duration::from_secs(2);
/// The most bytes and the time for which the rest of a refused request is read. A client that is still
/// sending would otherwise lose the response.
const REST: (usize, Duration) = (8 * 1024 * 1024, Duration::from_secs(2));

/// Where the server listens.
pub enum Listener {
    /// On a port of the loopback interface
    Tcp(std::net::TcpListener),
    /// On a socket, and a test whether a process of our own user is at the other end
    Unix(std::os::unix::net::UnixListener, fn(BorrowedFd<'_>) -> bool),
}

/// How the server works.
pub struct Settings {
    /// How often a token may ask
    pub rate: RateLimit,
    /// The address for the description of the API
    pub url: String,
}

/// A running server.
pub struct Running {
    stop: oneshot::Sender<()>,
    threads: [JoinHandle<()>; 2],
}

impl Running {
    /// Accepts no more connections, waits for requests that are being answered, and ends.
    pub fn stop(self) {
        let _ = self.stop.send(());
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// The parts that all connections share.
struct Api {
    jobs: SyncSender<Job>,
    observer: Arc<dyn Observer>,
    large_bodies: Semaphore,
    description: String,
    port: Option<u16>,
}

/// Starts a server.
pub fn start(
    listener: Listener,
    settings: Settings,
    open: OpenVault,
    observer: Arc<dyn Observer>,
) -> io::Result<Running> {
    let Settings { rate, url } = settings;
    let port = match &listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            Some(listener.local_addr()?.port())
        }
        Listener::Unix(listener, _) => {
            listener.set_nonblocking(true)?;
            None
        }
    };

    let (jobs, received) = sync_channel(WAITING);
    let (stop, stopped) = oneshot::channel();
    let worker = Worker { open, observer: Arc::clone(&observer), rates: Rates::new(rate) };
    let with_vault =
        thread::Builder::new().name("secrets-vault".into()).spawn(move || worker.run(&received))?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let waiting = thread::Builder::new().name("secrets-api".into()).spawn(move || {
        let large_bodies = Semaphore::new(LARGE_BODIES);
        let description = OPENAPI.replace("{server}", &url);
        let api = Rc::new(Api { jobs, observer, large_bodies, description, port });
        tokio::task::LocalSet::new().block_on(&runtime, accept(api, listener, stopped));
    })?;

    Ok(Running { stop, threads: [waiting, with_vault] })
}

async fn accept(api: Rc<Api>, listener: Listener, stopped: oneshot::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let incomplete = Rc::new(Incomplete::default());
    let accepting = async {
        match listener {
            Listener::Tcp(listener) => {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    if let Ok(stream) = &accepted {
                        let _ = stream.set_nodelay(true);
                    }

                    admit(&api, &places, &incomplete, accepted).await;
                }
            }
            Listener::Unix(listener, is_same_user) => {
                let Ok(listener) = UnixListener::from_std(listener) else { return };
                loop {
                    let accepted = listener.accept().await.map(|(stream, _)| stream);
                    if accepted.as_ref().is_ok_and(|stream| !is_same_user(stream.as_fd())) {
                        continue;
                    }

                    admit(&api, &places, &incomplete, accepted).await;
                }
            }
        }
    };

    tokio::select! {
        () = accepting => {}
        _ = stopped => {}
    }

    // All places are free when all responses are sent.
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = timeout(LAST_TIME, places.acquire_many(all)).await;
}

/// Connections whose request has not arrived as a whole, the oldest first.
#[derive(Default)]
struct Incomplete {
    tasks: RefCell<BTreeMap<u64, AbortHandle>>,
    next: Cell<u64>,
}

impl Incomplete {
    /// Closes the oldest one. Returns false if every request has arrived.
    fn close_oldest(&self) -> bool {
        let oldest = self.tasks.borrow_mut().pop_first();
        oldest.map(|(_, task)| task.abort()).is_some()
    }
}

/// Serves a connection if there is a place for it.
async fn admit<S>(
    api: &Rc<Api>,
    places: &Arc<Semaphore>,
    incomplete: &Rc<Incomplete>,
    accepted: io::Result<S>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Ok(stream) = accepted else {
        // There may be no descriptor left until another connection ends.
        tokio::time::sleep(Duration::from_millis(10)).await;
        return;
    };

    let place = match Arc::clone(places).try_acquire_owned() {
        Ok(place) => place,
        Err(_) if incomplete.close_oldest() => {
            let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
            place
        }
        Err(_) => return,
    };

    let number = incomplete.next.replace(incomplete.next.get() + 1);
    let complete = Rc::clone(incomplete);
    let task = tokio::task::spawn_local(converse(Rc::clone(api), stream, place, move || {
        complete.tasks.borrow_mut().remove(&number);
    }));
    incomplete.tasks.borrow_mut().insert(number, task.abort_handle());
    let ends = Rc::clone(incomplete);
    tokio::task::spawn_local(async move {
        let _ = task.await;
        ends.tasks.borrow_mut().remove(&number);
    });
}

/// Serves the one request of a connection. Calls `arrived` when it is complete and may be carried out.
async fn converse<S>(api: Rc<Api>, stream: S, _place: OwnedSemaphorePermit, arrived: impl Fn())
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request| {
        let (api, arrived) = (Rc::clone(&api), &arrived);
        async move { Ok::<_, Infallible>(api.respond(request, arrived).await) }
    });

    // The buffer of a connection contains the token. So it is freed, and wiped, with each request.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(CONNECTION_TIME, connection).await;
    overwrite_stack::<STACK_DEPTH>();
}

impl Api {
    async fn respond(
        &self,
        request: Request<Incoming>,
        arrived: &impl Fn(),
    ) -> Response<Full<Bytes>> {
        let start = Instant::now();
        let request_id = random::array().map_or(0, u64::from_be_bytes);
        let request_id = format!("{request_id:016x}");
        let (parts, mut body) = request.into_parts();
        let method = parts.method.as_str().to_owned();
        let path = shown_path(parts.uri.path());
        let expects = parts.headers.contains_key(EXPECT);
        let outcome = match self.answer(parts, &mut body, &path, &request_id, arrived).await {
            Ok(outcome) => outcome,
            Err(failure) => Outcome { reply: failure.into(), token: None, problem: None },
        };

        if !body.is_end_stream() && !expects {
            let _ = timeout(REST.1, discard(body)).await;
        }

        let Outcome { reply, token, problem } = outcome;
        self.observer.finished(&Finished {
            status: reply.status().as_u16(),
            method: &method,
            path: &path,
            token: token.as_deref(),
            problem: problem.as_deref(),
            millis: start.elapsed().as_millis(),
        });
        reply.response(&request_id)
    }

    async fn answer(
        &self,
        parts: Parts,
        body: &mut Incoming,
        path: &str,
        request_id: &str,
        arrived: &impl Fn(),
    ) -> Result<Outcome, Failure> {
        guard::check(&parts, self.port)?;
        let route = Route::find(&parts.method, parts.uri.path())?;
        if route == Route::Describe {
            let description = self.description.clone().into_bytes();
            return Ok(Outcome { reply: Reply::Json(description), token: None, problem: None });
        }

        let token = token_of(&parts)?;
        let document =
            if route.has_body() { self.read(&parts, body).await? } else { SecretBytes::zeroed(0) };
        let operation = Operation::read(route, parts.uri.path(), parts.uri.query(), &document)?;
        drop(document);
        arrived();

        let (place, outcome) = oneshot::channel();
        // Memory of a box is wiped when it is freed. That of the channel stays.
        let call = Box::new(Call {
            token,
            operation,
            method: parts.method.to_string(),
            path: path.to_owned(),
            request_id: request_id.to_owned(),
        });
        drop(parts);
        self.jobs.try_send((call, place)).map_err(|error| match error {
            TrySendError::Full(_) => {
                Failure::unavailable("too many requests are waiting; try again")
            }
            TrySendError::Disconnected(_) => Failure::internal(),
        })?;
        outcome.await.map_err(|_| Failure::internal())
    }

    /// Reads the JSON document of a request.
    async fn read(&self, parts: &Parts, body: &mut Incoming) -> Result<SecretBytes, Failure> {
        let kind = guard::only(&parts.headers, &CONTENT_TYPE)?.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = "the body must be JSON; set `Content-Type: application/json`";
            return Err(Failure::bad_request(message));
        }

        let length = guard::only(&parts.headers, &CONTENT_LENGTH)?;
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        if length.is_some_and(|length| length > BODY) {
            return Err(Failure::too_large());
        }

        let limit = length.filter(|length| *length <= SMALL_BODY).map_or(BODY, |_| SMALL_BODY);
        let reading = async {
            let _place = match limit {
                SMALL_BODY => None,
                _ => Some(self.large_bodies.acquire().await),
            };

            collected(body, limit).await
        };
        timeout(REQUEST_TIME, reading).await.map_err(|_| Failure::timeout())?
    }
}

/// Reads a body of at most `limit` bytes.
async fn collected(body: &mut Incoming, limit: usize) -> Result<SecretBytes, Failure> {
    let mut collected = SecretBytes::with_capacity(0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::bad_request("the body ends too early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > limit {
            return Err(Failure::too_large());
        }

        collected.extend(&data);
    }

    Ok(collected)
}

/// Reads what is left of a body.
async fn discard(mut body: Incoming) {
    let mut left = REST.0;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Reads the token of a request.
fn token_of(parts: &Parts) -> Result<Token, Failure> {
    let missing = || Failure::unauthorized("the request has no `Authorization: Bearer TOKEN`");
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?.as_bytes();
    if values.next().is_some() {
        return Err(Failure::bad_request("the request has more than one `authorization`"));
    }

    let (scheme, rest) = value.split_at_checked(7).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(missing());
    }

    Token::parse(&SecretBytes::copy_of(rest.trim_ascii()))
        .map_err(|why| Failure::unauthorized(format!("the token is invalid: {why}")))
}

/// Returns a path without what may be a value.
fn shown_path(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("/api/v1/secrets", name)) => {
            let shown = name.parse::<SecretRef>().map_or("\u{2026}".into(), |name| shown(&name));
            format!("/api/v1/secrets/{shown}")
        }
        _ if [("/api/v1/secrets"), ("/api/v1/openapi.json")].contains(&path) => path.to_owned(),
        _ => "/\u{2026}".into(),
    }
}
