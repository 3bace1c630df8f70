//! The thread with the vault. Each request opens it with its own token and closes it again.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use secrets_core::crypto::ids::TokenId;
use secrets_core::crypto::token::Token;
use secrets_core::model::{
    ProjectName, STACK_DEPTH, SecretRef, TokenName, looks_like_api_key, overwrite_stack,
};
use secrets_core::store::StoreError;
use secrets_core::vault::{
    Locked, Needed, Page, TokenAccess, TokenView, Vault, VaultAccess, VaultError,
};
use tokio::sync::oneshot;

use crate::rate::Rates;
use crate::reply::{AllSecretsResponse, Failure, Reply, SecretResponse};
use crate::routes::Operation;

/// Opens the vault without a key.
pub type OpenVault = Box<dyn Fn() -> Result<Locked, VaultError> + Send>;

/// The token of a request.
pub struct Caller {
    /// Its id
    pub id: TokenId,
    /// Its name
    pub name: TokenName,
    /// Its project, if the token is still valid
    pub project: Option<ProjectName>,
}

/// A request that is answered or refused.
pub struct Access<'a> {
    /// The vault, opened by the token
    pub vault: &'a Vault,
    /// The token
    pub caller: &'a Caller,
    /// The method
    pub method: &'a str,
    /// The path; a name that may be a value is not in it
    pub path: &'a str,
    /// The id that the response names
    pub request_id: &'a str,
    /// The number of secrets
    pub count: u64,
    /// Their tags
    pub tags: Vec<String>,
    /// The reason if it is refused
    pub refusal: Option<&'a str>,
}

/// A request that has been answered.
pub struct Finished<'a> {
    /// The status of the response
    pub status: u16,
    /// The method
    pub method: &'a str,
    /// The path; a name that may be a value is not in it
    pub path: &'a str,
    /// The name of the token, if it opened the vault
    pub token: Option<&'a str>,
    /// A message for the person at the server
    pub problem: Option<&'a str>,
    /// The milliseconds that it took
    pub millis: u128,
}

/// Learns of requests.
pub trait Observer: Send + Sync {
    /// Records a request before it is answered. If that fails, the request is refused.
    fn record(&self, access: Access<'_>) -> Result<(), String>;

    /// Takes note of each response.
    fn finished(&self, finished: &Finished<'_>);
}

/// A request for the worker.
pub(crate) struct Call {
    pub(crate) token: Token,
    pub(crate) operation: Operation,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) request_id: String,
}

/// The answer of the worker.
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    /// The name of the token, if it opened the vault
    pub(crate) token: Option<String>,
    /// A message for the person at the server
    pub(crate) problem: Option<String>,
}

impl Outcome {
    fn new(reply: impl Into<Reply>) -> Self {
        Self { reply: reply.into(), token: None, problem: None }
    }

    fn of(self, caller: &Caller) -> Self {
        Self { token: Some(caller.name.to_string()), ..self }
    }

    /// A failure of the vault.
    fn failed(error: &VaultError) -> Self {
        let reply = match error {
            VaultError::Store(StoreError::Busy) => {
                Failure::unavailable("another process is changing the vault; try again")
            }
            _ => Failure::internal(),
        };

        Self { problem: Some(error.to_string()), ..Self::new(reply) }
    }
}

/// A call, and the place for its outcome.
pub(crate) type Job = (Box<Call>, oneshot::Sender<Outcome>);

pub(crate) struct Worker {
    pub(crate) open: OpenVault,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) rates: Rates,
}

impl Worker {
    /// Serves calls until there can be no more.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok((call, place)) = jobs.recv() {
            let outcome = self.perform(call);
            overwrite_stack::<STACK_DEPTH>();

            // The caller may have gone away.
            let _ = place.send(outcome);
        }
    }

    fn perform(&mut self, call: Box<Call>) -> Outcome {
        let Call { token, operation, method, path, request_id } = *call;
        let opened = (self.open)().and_then(|locked| {
            let access = TokenAccess::new(token, locked.vault_id()?);
            let id = access.token_id().unwrap_or_default();
            let granted = locked.has_grant(&id)?.then_some(id);
            Ok((locked, access, id, granted))
        });
        let (locked, access, id, granted) = match opened {
            Ok(opened) => opened,
            Err(error) => return Outcome::failed(&error),
        };

        if let Err(wait) = self.rates.take(granted) {
            return Outcome::new(Reply::TooMany(wait));
        }

        let vault = locked.unlocked(access);
        let record = |caller: &Caller, refusal: Option<&str>, count, tags| {
            let (method, path, request_id) = (&*method, &*path, &*request_id);
            let vault = &vault;
            let access = Access { vault, caller, method, path, request_id, count, tags, refusal };
            self.observer.record(access)
        };

        let view = match vault.token() {
            Ok(Some(view)) => view,
            Ok(None) => return Outcome::new(Failure::internal()),
            Err(error) => {
                let Some(name) = name_of(&error) else { return not_opened(&error) };

                // It is refused in any case.
                let caller = Caller { id, name, project: None };
                let _ = record(&caller, Some(&error.to_string()), 0, Vec::new());
                return not_opened(&error).of(&caller);
            }
        };

        let TokenView { name, level, project, .. } = view;
        let caller = Caller { id, name, project: Some(project.clone()) };
        let needed = operation.level();
        let done = if level < needed {
            Err(Failure::forbidden(format!("this needs a token with level `{needed}`")).into())
        } else {
            carry_out(&vault, &project, operation, &|count, tags| {
                record(&caller, None, count, tags).map_err(Stop::Unrecorded)
            })
        };

        match done {
            Ok(reply) => Outcome::new(reply),
            Err(Stop::Refused(failure)) => {
                // It is refused in any case.
                let _ = record(&caller, Some(failure.message()), 0, Vec::new());
                Outcome::new(failure)
            }
            Err(Stop::Failed(error)) => not_opened(&error),
            Err(Stop::Unrecorded(why)) => {
                let message = "the request cannot be recorded, so it is refused";
                let problem = Some(format!("it cannot be recorded: {why}"));
                Outcome { problem, ..Outcome::new(Failure::unavailable(message)) }
            }
        }
        .of(&caller)
    }
}

/// The reason why an operation did not take place.
enum Stop {
    Refused(Failure),
    Failed(VaultError),
    Unrecorded(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<VaultError> for Stop {
    /// A secret outside of a token's reach is like one that does not exist.
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NoSecret { .. }
            | VaultError::NoProject { .. }
            | VaultError::Forbidden(Needed::OtherProject | Needed::InSet) => {
                Failure::not_found().into()
            }
            VaultError::Exists(_) => {
                Failure::conflict("a secret with this tag exists already").into()
            }
            VaultError::Forbidden(needed) => Failure::forbidden(needed.to_string()).into(),
            error => Self::Failed(error),
        }
    }
}

/// Carries out an operation in a project. What is read is recorded before it is returned, and a change
/// before it is made.
fn carry_out(
    vault: &Vault,
    project: &ProjectName,
    operation: Operation,
    record: &dyn Fn(u64, Vec<String>) -> Result<(), Stop>,
) -> Result<Reply, Stop> {
    let absent = Failure::not_found;
    let one = |wanted: &SecretRef| record(1, vec![shown(wanted)]);
    match operation {
        Operation::List { page, size } => {
            let skipped = page.saturating_mul(size);
            let Page { secrets, total } =
                vault.list_page(Some(project), |_| true, skipped, size)?;
            let tags = secrets.iter().map(|secret| secret.metadata.tag.to_string()).collect();
            record(secrets.len() as u64, tags)?;
            Ok(Reply::json(&AllSecretsResponse {
                page,
                secrets: secrets.iter().map(SecretResponse::from).collect(),
                total,
                total_pages: total.div_ceil(size),
            }))
        }
        Operation::Get(wanted) => {
            let secret = vault.get(project, &wanted.ok_or_else(absent)?)?;
            record(1, vec![secret.metadata.tag.to_string()])?;
            Ok(Reply::json(&SecretResponse::from(&secret)))
        }
        Operation::Create(new) => {
            one(&SecretRef::Tag(new.tag.clone()))?;
            let secret = vault.create(project, new)?;
            Ok(Reply::json(&SecretResponse::from(&secret)))
        }
        Operation::Update(wanted, changes) => {
            let wanted = wanted.ok_or_else(absent)?;
            one(&wanted)?;
            let is_nothing = changes.name.is_none() && changes.value.is_none();
            let secret = if is_nothing {
                vault.get(project, &wanted)?
            } else {
                vault.update(project, &wanted, None, changes)?
            };
            Ok(Reply::json(&SecretResponse::from(&secret)))
        }
        Operation::Delete(wanted) => {
            let wanted = wanted.ok_or_else(absent)?;
            one(&wanted)?;
            vault.delete(project, &[wanted])?;
            Ok(Reply::Empty)
        }
    }
}

/// Returns a tag or an id, unless it looks like a value.
pub(crate) fn shown(wanted: &SecretRef) -> String {
    match wanted {
        SecretRef::Tag(tag) if looks_like_api_key(tag.as_str()) => "\u{2026}".into(),
        wanted => wanted.to_string(),
    }
}

/// Returns the name of a token that opened its grant but is no longer valid.
fn name_of(error: &VaultError) -> Option<TokenName> {
    match error {
        VaultError::TokenExpired { name, .. } | VaultError::TokenReplaced { name, .. } => {
            Some(name.clone())
        }
        _ => None,
    }
}

/// The outcome for a token that does not open the vault.
fn not_opened(error: &VaultError) -> Outcome {
    match error {
        VaultError::NoGrant
        | VaultError::TokenRevoked(_)
        | VaultError::TokenExpired { .. }
        | VaultError::TokenReplaced { .. } => {
            Outcome::new(Failure::unauthorized(error.to_string()))
        }
        error => Outcome::failed(error),
    }
}
