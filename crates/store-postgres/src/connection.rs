//! One connection to a server, and the transaction on it: one flight of statements for each question.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, join3, select};
use futures_util::{TryStreamExt, pin_mut};
use secrets_core::store::StoreError;
use secrets_core::store::remote::{Begin, Committed, Request, Rows, Update, UpdateError};
use tokio_postgres::{Client, Error};

use crate::address::Address;
use crate::connect::{Session, connect};
use crate::facts::{self, ServerFacts};
use crate::failure::{Failure, lost, unconnected};
use crate::questions::{Question, begin, questions, questions_if_overtaken};
use crate::schema;
use crate::statement::Statement;
use crate::update;

/// The maximum time of one trip. The server's own limit does not end a wait for a standby.
const PATIENCE: Duration = Duration::from_secs(60);
/// The maximum size of all rows of one answer.
const MAX_ANSWER: usize = 1024 * 1024 * 1024;
/// How often the runtime is given a turn to send what nobody waits for.
const TURNS: usize = 8;

/// A connection, which is made when it is first needed and after it has broken.
pub struct Connection {
    address: Arc<Address>,
    session: Option<Session>,
    /// The mode of the open transaction
    open: Option<Begin>,
}

impl Connection {
    /// Prepares a connection to an address.
    pub fn new(address: Arc<Address>) -> Self {
        Self { address, session: None, open: None }
    }

    /// Returns true if it is connected, and no transaction is open.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && self.session.as_ref().is_some_and(|session| !session.is_closed())
    }

    /// Creates the tables of a vault, if they do not exist.
    pub async fn create_tables(&mut self) -> Result<(), StoreError> {
        let create = async |session: &Session| {
            let created = session.client().batch_execute(schema::CREATE).await;
            created.map_err(|error| Failure::of(&error))
        };

        self.with_session(true, create).await.map_err(Failure::cause)
    }

    /// Asks the server about itself.
    pub async fn facts(&mut self) -> Result<ServerFacts, StoreError> {
        let ask =
            async |session: &Session| facts::ask(session.client()).await.map_err(Failure::Failed);
        self.with_session(true, ask).await.map_err(Failure::cause)
    }

    /// Asks for rows in one trip.
    pub async fn ask(&mut self, request: &Request) -> Result<Rows, StoreError> {
        let outcome = match self.try_ask(request).await {
            // Nothing was read yet, so a connection that has broken in the meantime is made again.
            Err(Failure::Lost(_)) if request.begin.is_some() => self.try_ask(request).await,
            outcome => outcome,
        };

        outcome.map_err(|failure| match failure {
            Failure::Lost(_) if request.begin.is_none() => StoreError::Raced,
            failure => failure.cause(),
        })
    }

    async fn try_ask(&mut self, request: &Request) -> Result<Rows, Failure> {
        let mode = request.begin.or(self.open);
        let Some(mode) = mode else {
            // The transaction that this question belongs to is over.
            return Err(Failure::Failed(StoreError::Raced));
        };

        let is_writing = matches!(mode, Begin::Write { .. });
        let rollback = request.begin.is_some() && self.open.is_some();
        let ask = async |session: &Session| {
            let questions = questions(request, is_writing);
            answer(session.client(), request.begin, rollback, &questions).await
        };

        let answered = self.with_session(request.begin.is_some(), ask).await;
        if !matches!(answered, Err(Failure::Lost(_))) {
            self.open = Some(mode);
        }

        answered
    }

    /// Commits an update in one trip.
    pub async fn update(&mut self, update: &Update) -> Result<Committed, UpdateError> {
        let open = self.open.take();
        let begin = update.begins.then(|| {
            let begin = begin(Begin::Write { directory: false });
            if open.is_some() { format!("ROLLBACK; {begin}") } else { begin }
        });

        if begin.is_none() && open.is_none() {
            return Err(UpdateError::Failed(StoreError::Raced));
        }

        let statements = update::statements(update);
        let next = update.or_ask.as_ref().map(|request| questions_if_overtaken(update, request));
        let attempt = async |session: &Session| {
            let _ = session.take_warnings();
            let client = session.client();
            let commit = commit(client, begin.as_deref(), &statements);
            let ask = async {
                match (&update.or_ask, &next) {
                    (Some(request), Some(next)) => answer(client, request.begin, false, next).await,
                    _ => Err(Failure::Failed(StoreError::Raced)),
                }
            };
            pin_mut!(commit, ask);

            // Both are sent at once. Nobody waits for the answer to a question that was not needed.
            let (committed, asked) = match select(commit, ask).await {
                Either::Left((committed, ask)) => (committed, Either::Left(ask)),
                Either::Right((asked, commit)) => (commit.await, Either::Right(asked)),
            };
            match committed {
                Ok(()) => {
                    let replicated = session.take_warnings().is_empty();
                    Ok(Outcome::Committed(Committed { replicated }))
                }
                Err(Failure::Failed(StoreError::Raced)) => {
                    let asked = match asked {
                        Either::Left(ask) => ask.await,
                        Either::Right(asked) => asked,
                    };
                    let rows = asked.map_err(|_| Failure::Failed(StoreError::Raced))?;
                    Ok(Outcome::Overtaken(Box::new(rows)))
                }
                Err(failure) => Err(failure),
            }
        };

        let outcome = self.with_session(update.begins, attempt).await;
        if self.session.as_ref().is_some_and(|session| !session.is_closed()) {
            self.open = update.or_ask.as_ref().and_then(|request| request.begin);
        }

        if !matches!(outcome, Ok(Outcome::Overtaken(_))) {
            self.end().await;
        }

        match outcome {
            Ok(Outcome::Committed(committed)) => Ok(committed),
            Ok(Outcome::Overtaken(rows)) => Err(UpdateError::Overtaken(rows)),
            Err(Failure::Failed(cause)) => Err(UpdateError::Failed(cause)),
            Err(Failure::Lost(cause)) => Err(UpdateError::Unknown(cause)),
        }
    }

    /// Ends the transaction, if one is open. Locks end now, and nobody waits for the answer.
    pub async fn end(&mut self) {
        if self.open.take().is_none() {
            return;
        }

        if let Some(session) = &self.session {
            let rollback = session.client().batch_execute("ROLLBACK");
            pin_mut!(rollback);
            let turns = async {
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
            };
            pin_mut!(turns);
            select(rollback, turns).await;
        }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        (self.session, self.open) = (None, None);
    }

    /// Runs `act` with the connection. If it `begins` a transaction, a connection that has broken is
    /// made again.
    async fn with_session<T>(
        &mut self,
        begins: bool,
        act: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let is_closed = self.session.as_ref().is_none_or(Session::is_closed);
        if is_closed && !begins {
            // Outside of its transaction, each statement would be committed by itself.
            self.close();
            return Err(Failure::Failed(StoreError::Raced));
        }

        if is_closed {
            self.close();
            let session = connect(&self.address).await;
            self.session = Some(session.map_err(|error| unconnected(&error))?);
        }

        let outcome = match &self.session {
            Some(session) => within(PATIENCE, act(session)).await,
            None => Err(lost("the connection broke")),
        };

        if matches!(outcome, Err(Failure::Lost(_))) {
            self.close();
        }

        outcome
    }
}

/// What became of an update.
enum Outcome {
    Committed(Committed),
    Overtaken(Box<Rows>),
}

/// Sends a transaction with its end, and waits for all answers.
async fn commit(
    client: &Client,
    begin: Option<&str>,
    statements: &[Statement<'_>],
) -> Result<(), Failure> {
    let work = join_all(statements.iter().map(|statement| run(client, statement)));
    let commit = client.batch_execute("COMMIT");
    let (start, worked, end) = join3(batch(client, begin), work, commit).await;

    // The first failure gives the reason. Those after it only say that the transaction has failed.
    for one in std::iter::once(start).chain(worked).chain(std::iter::once(end)) {
        one.map_err(|error| Failure::of(&error))?;
    }

    Ok(())
}

/// Gives up after `limit`. What became of the work is then unknown.
async fn within<T>(
    limit: Duration,
    act: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || lost(&format!("it has not answered for {} seconds", limit.as_secs()));
    tokio::time::timeout(limit, act).await.unwrap_or_else(|_| Err(late()))
}

/// Sends statements without parameters, if there are any.
async fn batch(client: &Client, sql: Option<&str>) -> Result<(), Error> {
    match sql {
        Some(sql) => client.batch_execute(sql).await,
        None => Ok(()),
    }
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

    let asked = join_all(questions.iter().map(|question| ask(client, question)));
    let (begun, answers) = join(batch(client, beginning.as_deref()), asked).await;
    begun.map_err(|error| Failure::of(&error))?;

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
