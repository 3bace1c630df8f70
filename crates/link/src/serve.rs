//! The link's process: one thread, and a connection to the server for each command that is at work.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use secrets_core::model::SecretBytes;
use secrets_core::store::remote::{Begin, Request, decode};
use secrets_files::FileId;
use secrets_runtime::process;
use secrets_store_postgres::{Address, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{interval, sleep};

use crate::frame::{Answer, Handover, Question, digest_of, framed, length_of};

/// The maximum number of connections to the server that wait for work.
const MAX_IDLE: usize = 8;
/// The maximum number of commands at a time.
const MAX_CLIENTS: usize = 64;
/// How often the link looks whether its socket still exists.
const LOOK: Duration = Duration::from_secs(4);
/// A connection that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// Keeps connections to a server until its time is over, its socket is removed, or a command ends it.
/// Calls `ready` when the socket listens.
pub fn serve(
    handover: impl FnOnce() -> io::Result<SecretBytes>,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    process::detach(c"secrets-link")?;
    let handover = Handover::decode(&handover()?).ok_or(ErrorKind::InvalidData)?;
    let socket = PathBuf::from(OsStr::from_bytes(&handover.socket));
    let address = Address::decode(&handover.address).ok_or(ErrorKind::InvalidData)?;
    let link = Rc::new(Link {
        digest: digest_of(&handover.address),
        address: Arc::new(address),
        idle: RefCell::default(),
        clients: RefCell::default(),
        ended: Notify::new(),
    });

    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let lifetime = Duration::from_secs(handover.seconds);
    drop(handover);
    let outcome = local.block_on(&runtime, async {
        let listener = listen(&socket)?;
        let identity = FileId::of_name(&socket);
        ready()?;
        tokio::task::spawn_local(Rc::clone(&link).warm_up());
        tokio::select! {
            () = link.accept(&listener) => {}
            () = sleep(lifetime) => {}
            () = link.ended.notified() => {}
            () = lost_name(&socket, identity) => {}
        }

        if FileId::of_name(&socket) == identity {
            let _ = fs::remove_file(&socket);
        }

        Ok(())
    });
    runtime.shutdown_background();
    outcome
}

/// Listens on a new socket, which replaces an earlier one under the same name.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let new = socket.with_extension("new");
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, socket)?;
    Ok(listener)
}

/// Waits until the socket was removed or replaced.
async fn lost_name(socket: &Path, identity: Option<FileId>) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        if FileId::of_name(socket) != identity {
            return;
        }
    }
}

/// The connections to one server.
struct Link {
    digest: [u8; 32],
    address: Arc<Address>,
    /// Connections that wait for work, the one that was used last at the end
    idle: RefCell<Vec<Connection>>,
    /// The number of commands
    clients: RefCell<usize>,
    ended: Notify,
}

impl Link {
    /// Connects before the first command does.
    async fn warm_up(self: Rc<Self>) {
        let mut connection = self.connection();
        let request = Request { begin: Some(Begin::Read), ..Request::default() };
        let _ = connection.ask(&request).await;
        self.give_back(connection).await;
    }

    /// Returns a connection that waits for work, or a new one.
    fn connection(&self) -> Connection {
        let idle = self.idle.borrow_mut().pop();
        idle.unwrap_or_else(|| Connection::new(Arc::clone(&self.address)))
    }

    /// Keeps a connection for the next command.
    async fn give_back(self: &Rc<Self>, mut connection: Connection) {
        connection.end().await;
        let has_room = self.idle.borrow().len() < MAX_IDLE;
        if connection.is_idle() && has_room {
            self.idle.borrow_mut().push(connection);
            let link = Rc::clone(self);
            tokio::task::spawn_local(async move {
                sleep(IDLE).await;
                let mut idle = link.idle.borrow_mut();
                if !idle.is_empty() {
                    idle.remove(0);
                }
            });
        }
    }

    async fn accept(self: &Rc<Self>, listener: &UnixListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No file descriptor is left. A command that ends frees one.
                sleep(Duration::from_millis(10)).await;
                continue;
            };

            if !process::is_same_user(&stream) || *self.clients.borrow() >= MAX_CLIENTS {
                continue;
            }

            let link = Rc::clone(self);
            tokio::task::spawn_local(async move {
                *link.clients.borrow_mut() += 1;

                // A command that goes away ends its transaction.
                let mut connection = link.connection();
                let _ = link.converse(stream, &mut connection).await;
                link.give_back(connection).await;
                *link.clients.borrow_mut() -= 1;
            });
        }
    }

    async fn converse(
        &self,
        mut stream: UnixStream,
        connection: &mut Connection,
    ) -> io::Result<()> {
        let mut is_greeted = false;
        loop {
            let answer = match question(&mut stream).await? {
                Question::Hello(digest) => {
                    is_greeted = digest == self.digest;
                    if !is_greeted {
                        return Ok(());
                    }

                    Answer::Done
                }
                Question::Stop => {
                    self.ended.notify_one();
                    return Ok(());
                }
                _ if !is_greeted => return Ok(()),
                Question::Ask(request) => Answer::of_ask(connection.ask(&request).await),
                Question::Update(update) => Answer::of_update(connection.update(&update).await),
                Question::EndTransaction => {
                    connection.end().await;
                    continue;
                }
            };

            let frame = framed(&answer).ok_or(ErrorKind::InvalidData)?;
            stream.write_all(&frame).await?;
        }
    }
}

async fn question(stream: &mut UnixStream) -> io::Result<Question> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    let length = length_of(prefix).ok_or(ErrorKind::InvalidData)?;

    // Memory is taken as bytes arrive, whatever length the frame claims.
    let mut bytes = Vec::new();
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    AsyncReadExt::take(stream, length).read_to_end(&mut bytes).await?;
    decode(&bytes).ok_or(ErrorKind::InvalidData.into())
}
