//! The connection to a server: one flight of statements for each question, on a runtime that exists
//! only while a vault on a server is used.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{TryStreamExt, pin_mut};
use secrets_core::model::SecretBytes;
use secrets_core::store::remote::{
    Begin, Committed, Request, Rows, Server, ServerError, Update, UpdateError,
};
use secrets_core::store::{Connector, StoreError};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Error};

use crate::address::Address;
use crate::connect::{Session, connect};
use crate::failure::{Failure, lost, unconnected};
use crate::questions::{Question, begin, questions};
use crate::schema;
use crate::statement::Statement;
use crate::update;

/// The maximum time of one trip. The server's own limit does not end a wait for a standby.
const PATIENCE: Duration = Duration::from_secs(60);
/// The maximum size of all rows of one answer.
const MAX_ANSWER: usize = 1024 * 1024 * 1024;
/// How often the runtime is given a turn to send what nobody waits for.
const TURNS: usize = 8;

/// A vault's rows on a PostgreSQL server.
pub struct PostgresServer {
    /// Always there until the end, when it must not wait for a slow DNS server
    runtime: Option<Runtime>,
    address: Address,
    connection: RefCell<Connection>,
}

/// The connection, if there is one, and the transaction on it.
#[derive(Default)]
struct Connection {
    session: Option<Session>,
    /// The mode of the open transaction
    open: Option<Begin>,
}

impl PostgresServer {
    /// Prepares a connection to the server at an encoded address, which begins with the first
    /// question.
    pub fn new(address: &SecretBytes) -> Result<Self, StoreError> {
        let address = Address::decode(address.expose());
        let address = address.ok_or(StoreError::Damaged("server's address"))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ServerError::Unreachable(error.to_string()))?;
        Ok(Self { runtime: Some(runtime), address, connection: RefCell::default() })
    }

    /// Returns a function that makes connections to servers at encoded addresses.
    pub fn connector() -> Connector {
        Box::new(|address: &SecretBytes| Ok(Box::new(Self::new(address)?) as Box<dyn Server>))
    }

    /// Creates the tables of a vault at an address, if they do not exist.
    pub fn create_tables(address: &Address) -> Result<(), StoreError> {
        let created = Self::new(&address.encode())?.with_session(true, async |session| {
            let created = session.client().batch_execute(schema::CREATE).await;
            created.map_err(|error| Failure::of(&error))
        });

        created.map_err(Failure::cause)
    }

    /// Runs `act` with the connection. If it `begins` a transaction, a connection that has broken is
    /// made again.
    fn with_session<T>(
        &self,
        begins: bool,
        act: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut connection = self.connection.borrow_mut();
        let is_closed = connection.session.as_ref().is_none_or(|session| session.is_closed());
        if is_closed && !begins {
            // Outside of its transaction, each statement would be committed by itself.
            return Err(Failure::Failed(StoreError::Raced));
        }

        let Some(runtime) = &self.runtime else { return Err(lost("it is ending")) };
        let outcome = runtime.block_on(async {
            if is_closed {
                connection.open = None;
                connection.session = None;
                let session = connect(&self.address).await;
                connection.session = Some(session.map_err(|error| unconnected(&error))?);
            }

            let Some(session) = &connection.session else {
                return Err(lost("the connection broke"));
            };
            within(PATIENCE, act(session)).await
        });

        if matches!(outcome, Err(Failure::Lost(_))) {
            *connection = Connection::default();
        }

        outcome
    }

    /// Asks once.
    fn try_ask(&self, request: &Request) -> Result<Rows, Failure> {
        let open = self.connection.borrow().open;
        let mode = request.begin.or(open);
        if request.begin.is_none() && open.is_none() {
            // The transaction that this question belongs to is over.
            return Err(Failure::Failed(StoreError::Raced));
        }

        let is_writing = matches!(mode, Some(Begin::Write { .. }));
        let rollback = request.begin.is_some() && open.is_some();
        let answered = self.with_session(request.begin.is_some(), async |session| {
            let questions = questions(request, is_writing);
            answer(session.client(), request.begin, rollback, &questions).await
        });

        if !matches!(answered, Err(Failure::Lost(_))) {
            self.connection.borrow_mut().open = mode;
        }

        answered
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.connection.borrow_mut().session = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Gives up after `limit`. What became of the work is then unknown.
async fn within<T>(
    limit: Duration,
    act: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || lost(&format!("it has not answered for {} seconds", limit.as_secs()));
    tokio::time::timeout(limit, act).await.unwrap_or_else(|_| Err(late()))
}

/// Sends everything at once, and then reads all answers.
async fn answer(
    client: &Client,
    begins: Option<Begin>,
    rollback: bool,
    questions: &[Question<'_>],
) -> Result<Rows, Failure> {
    let beginning = begins.map(|mode| {
        let begin = begin(mode);
        if rollback { format!("ROLLBACK; {begin}") } else { begin }
    });
    let beginning = async {
        match &beginning {
            Some(sql) => client.batch_execute(sql).await,
            None => Ok(()),
        }
    };

    let asked = join_all(questions.iter().map(|question| ask(client, question)));
    let (begun, answers) = futures_util::future::join(beginning, asked).await;
    begun.map_err(|error| Failure::of(&error))?;

    // The first failure gives the reason. Those after it only say that the transaction has failed.
    let mut rows = Rows::default();
    for answer in answers {
        rows.append(answer?);
    }

    Ok(rows)
}

/// Asks one question.
async fn ask(client: &Client, question: &Question<'_>) -> Result<Rows, Failure> {
    let typed = question.statement.typed();
    let stream = client.query_typed_raw(&question.statement.sql, typed).await;
    let stream = stream.map_err(|error| Failure::of(&error))?;
    pin_mut!(stream);

    let (mut rows, mut size) = (Rows::default(), 0);
    while let Some(row) = stream.try_next().await.map_err(|error| Failure::of(&error))? {
        size += row.raw_size_bytes();
        if size > MAX_ANSWER {
            return Err(Failure::Lost(StoreError::Damaged("answer")));
        }

        question.table.add(&row, &mut rows).map_err(Failure::Failed)?;
    }

    Ok(rows)
}

/// Runs one statement of a change.
async fn run(client: &Client, statement: &Statement<'_>) -> Result<(), Error> {
    client.execute_typed(&statement.sql, &statement.typed()).await.map(drop)
}

impl Server for PostgresServer {
    fn ask(&self, request: &Request) -> Result<Rows, StoreError> {
        let outcome = match self.try_ask(request) {
            // Nothing was read yet, so a connection that has broken in the meantime is made again.
            Err(Failure::Lost(_)) if request.begin.is_some() => self.try_ask(request),
            outcome => outcome,
        };

        outcome.map_err(|failure| match failure {
            Failure::Lost(_) if request.begin.is_none() => StoreError::Raced,
            failure => failure.cause(),
        })
    }

    fn update(&self, update: &Update) -> Result<Committed, UpdateError> {
        let open = self.connection.borrow_mut().open.take();
        let begin = update.begins.then(|| {
            let begin = begin(Begin::Write { directory: false });
            if open.is_some() { format!("ROLLBACK; {begin}") } else { begin }
        });

        if begin.is_none() && open.is_none() {
            return Err(UpdateError::Failed(StoreError::Raced));
        }

        let statements = update::statements(update);
        let outcome = self.with_session(update.begins, async |session| {
            let _ = session.take_warnings();
            let client = session.client();
            let beginning = async {
                match &begin {
                    Some(sql) => client.batch_execute(sql).await,
                    None => Ok(()),
                }
            };

            let work = join_all(statements.iter().map(|statement| run(client, statement)));
            let commit = client.batch_execute("COMMIT");
            let (begun, worked, committed) =
                futures_util::future::join3(beginning, work, commit).await;

            let all = std::iter::once(begun).chain(worked).chain(std::iter::once(committed));
            for one in all {
                one.map_err(|error| Failure::of(&error))?;
            }

            Ok(Committed { replicated: session.take_warnings().is_empty() })
        });

        outcome.map_err(|failure| match failure {
            Failure::Failed(cause) => UpdateError::Failed(cause),
            Failure::Lost(cause) => UpdateError::Unknown(cause),
        })
    }

    fn end(&self) {
        let mut connection = self.connection.borrow_mut();
        if connection.open.take().is_none() {
            return;
        }

        if let (Some(session), Some(runtime)) = (&connection.session, &self.runtime) {
            // Locks end now, and nobody waits for the answer.
            runtime.block_on(async {
                let rollback = session.client().batch_execute("ROLLBACK");
                pin_mut!(rollback);
                let turns = async {
                    for _ in 0..TURNS {
                        tokio::task::yield_now().await;
                    }
                };
                pin_mut!(turns);
                futures_util::future::select(rollback, turns).await;
            });
        }
    }
}
