//! One connection through a relay.
//!
//! Four threads serve it. In each direction one thread reads chunks and decides what happens to
//! them, and another one writes them when they are due.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::relay::{Cut, Shared};

/// The time without a byte after which a lost answer counts as complete. The server sends several
/// answers if a flight holds several statements.
const QUIET: Duration = Duration::from_millis(50);

/// The two sides of a connection.
pub(crate) struct Link {
    client: TcpStream,
    server: TcpStream,
    progress: Mutex<Progress>,
}

impl Link {
    /// Closes both sides.
    pub(crate) fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

struct Progress {
    /// True if the client has sent something since the last answer
    is_in_flight: bool,
    /// The number of flights that the client has sent
    flights: u64,
    /// The last of them of which a part has reached the server
    reached: u64,
    /// The last of them whose answer has reached the client
    answered: u64,
    phase: Phase,
    /// The time of the last write to the server
    last_request: Instant,
}

impl Progress {
    /// Returns the flight that the bytes of now belong to, or that they may answer.
    fn flight(&self, direction: Direction) -> u64 {
        match direction {
            Direction::Up => self.flights,
            Direction::Down => self.reached,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The flight of a cut is forwarded, and its answer will be lost or halved
    AwaitsAnswer(Cut),
    /// Nothing passes any more
    Silent,
}

/// A decision about a chunk, or about the end of a stream.
enum Decision {
    Forward,
    Discard,
    /// Forward half of the chunk, then close both sides
    Halve,
    Close,
    /// Close both sides after [`QUIET`]
    CloseWhenQuiet,
}

/// Something to write, with the time at which to write it.
struct Packet {
    due: Instant,
    /// The flight that it belongs to, or that it may answer
    flight: u64,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    /// The end of one direction
    End,
    /// The end of the connection
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Connects a client to the server, and serves both until the connection ends.
pub(crate) fn run(shared: &Shared, client: TcpStream) {
    let handshake = Instant::now() + shared.round_trip;
    if !shared.wait_until(handshake) {
        return;
    }

    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target_port)) else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);

    let last_request = Instant::now();
    let progress = Progress {
        is_in_flight: false,
        flights: 0,
        reached: 0,
        answered: 0,
        phase: Phase::Open,
        last_request,
    };
    let link = Arc::new(Link { client, server, progress: Mutex::new(progress) });
    if !shared.register(&link) {
        return;
    }

    let connection = Connection { shared, link: &link };
    thread::scope(|scope| {
        for direction in [Direction::Up, Direction::Down] {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || connection.read(direction, &sender));
            scope.spawn(move || connection.write(direction, receiver));
        }
    });
}

#[derive(Clone, Copy)]
struct Connection<'a> {
    shared: &'a Shared,
    link: &'a Link,
}

impl Connection<'_> {
    /// Reads one side until its end, or until the connection is closed.
    fn read(&self, direction: Direction, queue: &Sender<Packet>) {
        let mut from = match direction {
            Direction::Up => &self.link.client,
            Direction::Down => &self.link.server,
        };

        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from.read(&mut buffer).unwrap_or(0);
            let due = Instant::now() + self.shared.round_trip / 2;
            let decision = match (direction, length) {
                (_, 0) => self.on_end(direction),
                (Direction::Up, _) => self.on_request(length),
                (Direction::Down, _) => self.on_answer(length),
            };
            let flight = self.link.progress.lock().unwrap().flight(direction);
            let send = |content| queue.send(Packet { due, flight, content }).is_ok();
            let is_open = match decision {
                Decision::Forward if length == 0 => send(Content::End),
                Decision::Forward => send(Content::Bytes(buffer[..length].to_vec())),
                Decision::Discard => true,
                Decision::Halve => {
                    send(Content::Bytes(buffer[..length / 2].to_vec())) && send(Content::Close)
                }
                Decision::Close => self.close(),
                Decision::CloseWhenQuiet => {
                    self.discard_until_quiet(&mut buffer);
                    self.close()
                }
            };
            if !is_open || length == 0 {
                return;
            }
        }
    }

    /// Decides what happens to a chunk of the client.
    fn on_request(&self, length: usize) -> Decision {
        self.shared.count_up(length);

        let mut progress = self.link.progress.lock().unwrap();
        match progress.phase {
            Phase::Open => {}
            Phase::AwaitsAnswer(_) => return Decision::Forward,
            Phase::Silent => return Decision::Discard,
        }

        if std::mem::replace(&mut progress.is_in_flight, true) {
            return Decision::Forward;
        }

        progress.flights += 1;
        let Some(cut) = self.shared.count_flight() else { return Decision::Forward };
        let (phase, decision) = match cut {
            Cut::RequestLost => (Phase::Silent, Decision::Close),
            Cut::HalfRequest => (Phase::Silent, Decision::Halve),
            _ => (Phase::AwaitsAnswer(cut), Decision::Forward),
        };
        progress.phase = phase;
        decision
    }

    /// Decides what happens to a chunk of the server.
    fn on_answer(&self, length: usize) -> Decision {
        self.shared.count_down(length);

        let mut progress = self.link.progress.lock().unwrap();
        let cut = match progress.phase {
            Phase::Open => return Decision::Forward,
            Phase::AwaitsAnswer(cut) => cut,
            Phase::Silent => return Decision::Discard,
        };

        // While the answer is lost, the rest of the flight still passes.
        if cut == Cut::AnswerLost {
            return Decision::CloseWhenQuiet;
        }

        progress.phase = Phase::Silent;
        if cut == Cut::HalfAnswer { Decision::Halve } else { Decision::Discard }
    }

    /// Decides what happens to the end of a stream.
    fn on_end(&self, direction: Direction) -> Decision {
        let phase = self.link.progress.lock().unwrap().phase;
        match (phase, direction) {
            (Phase::Silent | Phase::AwaitsAnswer(Cut::Silence), _) => Decision::Discard,
            (Phase::AwaitsAnswer(_), Direction::Down) => Decision::Close,
            _ => Decision::Forward,
        }
    }

    /// Reads from the server until neither side has sent anything for a while.
    fn discard_until_quiet(&self, buffer: &mut [u8]) {
        let _ = self.link.server.set_read_timeout(Some(QUIET));

        loop {
            match (&self.link.server).read(buffer) {
                Ok(0) => return,
                Ok(length) => self.shared.count_down(length),
                Err(error) if is_timeout(&error) => {
                    let last_request = self.link.progress.lock().unwrap().last_request;
                    if last_request.elapsed() >= QUIET {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Writes the packets of one direction when they are due.
    fn write(&self, direction: Direction, queue: Receiver<Packet>) {
        let mut to = match direction {
            Direction::Up => &self.link.server,
            Direction::Down => &self.link.client,
        };

        for Packet { due, flight, content } in queue {
            if !self.shared.wait_until(due) {
                return;
            }

            let result = match content {
                Content::Bytes(bytes) => {
                    self.note_delivery(direction, flight);
                    to.write_all(&bytes)
                }
                Content::End => to.shutdown(Shutdown::Write),
                Content::Close => {
                    self.close();
                    return;
                }
            };
            if result.is_err() {
                self.on_write_error();
                return;
            }
        }
    }

    /// Closes both sides. A silent connection stays open, because neither side may notice the end
    /// of the other.
    fn on_write_error(&self) {
        let phase = self.link.progress.lock().unwrap().phase;
        if phase != Phase::Silent {
            self.close();
        }
    }

    /// Notes that bytes reach one side. After an answer, the client begins a new flight. The caller
    /// notes this before it writes the answer, because the client may respond at once.
    fn note_delivery(&self, direction: Direction, flight: u64) {
        let mut progress = self.link.progress.lock().unwrap();
        match direction {
            Direction::Up => {
                progress.last_request = Instant::now();
                progress.reached = flight;
            }
            Direction::Down => {
                progress.is_in_flight = false;
                if flight > progress.answered {
                    progress.answered = flight;
                    self.shared.count_answer();
                }
            }
        }
    }

    /// Closes both sides. Returns false, because the connection is not open any more.
    fn close(&self) -> bool {
        self.link.close();
        false
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
