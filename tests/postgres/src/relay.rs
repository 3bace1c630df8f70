//! A TCP relay that delays, counts, and breaks connections.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::connection::{self, Link};

/// How a relay breaks a connection.
///
/// A flight is everything that the client sends until an answer reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides are closed, and the server gets nothing of the flight.
    RequestLost,
    /// The server gets half of the flight's first chunk. Then both sides are closed.
    HalfRequest,
    /// The server gets the flight and answers. The client gets nothing of the answer. Both sides
    /// are closed as soon as the answer has begun and 50 ms pass without a byte.
    AnswerLost,
    /// The server gets the flight. The client gets half of the first chunk of the answer. Then both
    /// sides are closed.
    HalfAnswer,
    /// The server gets the flight. After that, no byte and no end of the stream passes in either
    /// direction, and both sides stay open until the relay is dropped.
    Silence,
}

/// A TCP relay in front of a port of 127.0.0.1.
///
/// The delays do not limit the bandwidth. A dropped relay closes all connections and ends its
/// threads.
///
/// The relay reads everything at once, also from frozen and silent connections. The system
/// acknowledges these bytes. Therefore `TCP_USER_TIMEOUT` and keepalives do not end such a
/// connection.
pub struct Relay {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay to a port. Each direction takes half of the round trip, and the TCP handshake
    /// takes a whole one.
    pub fn start(target_port: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { target_port, round_trip, state, changed });

        let for_thread = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || accept(&listener, &for_thread)));
        Self { port, shared, acceptor }
    }

    /// Returns the port at which the relay listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of flights that clients have sent. This is the number of round trips,
    /// without the TCP handshakes.
    ///
    /// The end of a TLS session counts as one flight or two. The client sends its last message and
    /// the end of TLS in two chunks, and without a delay the server may answer in between.
    pub fn trips(&self) -> u64 {
        self.shared.lock().counts.trips
    }

    /// Returns the number of flights whose answer has begun to reach the client. A client that has ended
    /// its work has waited for these only.
    pub fn answered_trips(&self) -> u64 {
        self.shared.lock().counts.answered_trips
    }

    /// Returns the number of bytes that clients have sent.
    pub fn bytes_up(&self) -> u64 {
        self.shared.lock().counts.bytes_up
    }

    /// Returns the number of bytes that the server has sent.
    pub fn bytes_down(&self) -> u64 {
        self.shared.lock().counts.bytes_down
    }

    /// Returns the number of accepted connections, without those that were refused.
    pub fn connections(&self) -> u64 {
        self.shared.lock().counts.connections
    }

    /// Returns the number of cuts that have begun.
    pub fn cuts(&self) -> u64 {
        self.shared.lock().counts.cuts
    }

    /// Sets all counts to zero. A planned cut remains.
    pub fn reset(&self) {
        self.shared.lock().counts = Counts::default();
    }

    /// Breaks the connection that sends the n-th flight from now on, counted over all connections.
    /// The next flight has the number 1. The plan replaces a cut that has not begun.
    pub fn cut(&self, at_flight: u64, how: Cut) {
        assert!(at_flight > 0, "the first flight has the number 1");
        self.shared.lock().planned = Some((at_flight, how));
    }

    /// Cancels a cut that has not begun.
    pub fn cancel_cut(&self) {
        self.shared.lock().planned = None;
    }

    /// Closes all connections. New connections are accepted and closed at once.
    pub fn block(&self) {
        self.shared.lock().is_blocked = true;
        self.shared.close_links();
    }

    /// Accepts connections again after [`Relay::block`].
    pub fn unblock(&self) {
        self.shared.lock().is_blocked = false;
    }

    /// Holds back all bytes, and the ends of streams. Connections stay open.
    pub fn freeze(&self) {
        self.shared.lock().is_frozen = true;
    }

    /// Forwards what [`Relay::freeze`] has held back, and everything that follows.
    pub fn thaw(&self) {
        self.shared.lock().is_frozen = false;
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().is_dropped = true;
        self.shared.close_links();

        // The acceptor waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// The state that the threads of a relay share.
pub(crate) struct Shared {
    pub(crate) target_port: u16,
    pub(crate) round_trip: Duration,
    state: Mutex<State>,
    /// Notified after a thaw and when connections are closed
    changed: Condvar,
}

#[derive(Default)]
struct State {
    counts: Counts,
    /// The number of flights until the cut, and its kind
    planned: Option<(u64, Cut)>,
    is_blocked: bool,
    is_frozen: bool,
    is_dropped: bool,
    links: Vec<Weak<Link>>,
}

#[derive(Default)]
struct Counts {
    trips: u64,
    answered_trips: u64,
    bytes_up: u64,
    bytes_down: u64,
    connections: u64,
    cuts: u64,
}

impl Shared {
    /// Adds a connection to those that `block` and `drop` close. Returns false if the relay does
    /// not take connections.
    pub(crate) fn register(&self, link: &Arc<Link>) -> bool {
        let mut state = self.lock();
        if state.is_blocked || state.is_dropped {
            return false;
        }

        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(link));
        true
    }

    /// Counts a new flight. Returns the cut that is planned for it.
    pub(crate) fn count_flight(&self) -> Option<Cut> {
        let mut state = self.lock();
        state.counts.trips += 1;

        let (number, how) = state.planned.take()?;
        if number > 1 {
            state.planned = Some((number - 1, how));
            return None;
        }

        state.counts.cuts += 1;
        Some(how)
    }

    pub(crate) fn count_answer(&self) {
        self.lock().counts.answered_trips += 1;
    }

    pub(crate) fn count_up(&self, length: usize) {
        self.lock().counts.bytes_up += length as u64;
    }

    pub(crate) fn count_down(&self, length: usize) {
        self.lock().counts.bytes_down += length as u64;
    }

    /// Waits until a moment, and for the end of a freeze. Returns false if the relay was dropped.
    pub(crate) fn wait_until(&self, due: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if state.is_dropped || (left.is_zero() && !state.is_frozen) {
                return !state.is_dropped;
            }

            state = if state.is_frozen {
                self.changed.wait(state).unwrap()
            } else {
                self.changed.wait_timeout(state, left).unwrap().0
            };
        }
    }

    fn close_links(&self) {
        let links = std::mem::take(&mut self.lock().links);
        for link in links.iter().filter_map(Weak::upgrade) {
            link.close();
        }

        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Accepts connections until the relay is dropped.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let mut state = shared.lock();
        if state.is_dropped {
            return;
        }

        let Ok(client) = client else { continue };
        if state.is_blocked {
            let _ = client.shutdown(Shutdown::Both);
            continue;
        }

        state.counts.connections += 1;
        let shared = Arc::clone(shared);
        thread::spawn(move || connection::run(&shared, client));
    }
}
