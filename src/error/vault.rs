//! The errors of a vault's file, of its cryptography and of its secrets.

use std::fmt::Display;

use secrets_core::crypto::CryptoError;
use secrets_core::crypto::history::Relation;
use secrets_core::crypto::slot::SLOT;
use secrets_core::model::{SecretRef, looks_like_api_key};
use secrets_core::store::{self, StoreError};
use secrets_core::vault::{Divergence, GRANTS, Needed, Report, VaultError};
use serde_json::json;

use super::server::server_error;
use super::{Error, Hint, Kind, did_you_mean, hint};
use crate::ui::counted;

impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        let message = error.to_string();
        match error {
            CryptoError::WrongPassphrase => Self::new(Kind::Locked, message).hint(
                "enter the one last set with `secrets init` or `secrets passwd`, or use a \
                 recovery code with `--recovery`",
            ),
            CryptoError::WrongPassphraseOrKeyFile => Self::new(Kind::Locked, message).hint(
                "name the file that `secrets key-file create` last wrote, and enter the passphrase, or \
                 use a recovery code with `--recovery`",
            ),
            CryptoError::KeyFileNeeded => Self::new(Kind::Locked, message)
                .hint("name it with `--key-file PATH` or SECRETS_KEY_FILE")
                .hint("if it is lost, use the recovery code: `secrets key-file remove --recovery`"),
            CryptoError::WrongKeychainKey => Self::new(Kind::Locked, message)
                .hint("enter the passphrase; `secrets keychain add` stores a new key"),
            CryptoError::WrongRecoveryCode => Self::new(Kind::Locked, message).hint(
                "enter the code that `secrets recovery create` or `secrets rekey` last printed \
                 for this vault",
            ),
            CryptoError::NoRecoveryCode => Self::new(Kind::Locked, message).hint(
                "enter the passphrase; `secrets recovery create` then creates a recovery code",
            ),
            CryptoError::Damaged(SLOT) => Self::new(Kind::Damaged, message)
                .hint(
                    "with a recovery code, save what can be read with \
                     `secrets salvage OUT --recovery`",
                )
                .hint("or restore a backup with `secrets restore PATH`"),
            CryptoError::Damaged(GRANTS) => Self::new(Kind::Damaged, message)
                .hint("revoke every token with `secrets token revoke --all`")
                .hint("or restore a backup with `secrets restore PATH`"),
            CryptoError::Damaged(_) => Self::new(Kind::Damaged, message).hint(RESTORE),
            CryptoError::Newer(_) => {
                Self::new(Kind::Damaged, message).hint("use the version of `secrets` that wrote it")
            }
            CryptoError::Unsupported(_) => Self::new(Kind::Damaged, message),
            CryptoError::Memory(_) => Self::new(Kind::Locked, message).hint(
                "free some memory, or run `secrets passwd --kdf-memory MIB` on a machine that has \
                 enough to lower the requirement",
            ),
            CryptoError::KeyMemory | CryptoError::Random => Self::new(Kind::Failure, message),
            CryptoError::TooManySlots => Self::new(Kind::Conflict, message)
                .hint("remove the keys of other machines with `secrets keychain remove --all`"),
            CryptoError::WrongTicket => Self::new(Kind::Locked, message)
                .hint("print another one with `secrets remote ticket` on the first machine"),
            CryptoError::TooManySecrets => {
                Self::usage(message).hint("leave `--only` out, or name fewer secrets")
            }
            CryptoError::Internal(_) => Self::internal(message),
        }
    }
}

const RESTORE: &str = "run `secrets verify` for details, or restore a backup with \
                       `secrets restore PATH`; nothing damaged was used";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Missing(_) => Self::new(Kind::NotFound, message).hint(
                "create one with `secrets init`, or restore a backup with `secrets restore PATH`",
            ),
            StoreError::NoDirectory(_) => Self::new(Kind::NotFound, message).hint(
                "check that the disk is mounted, or create it with `mkdir -p`; nothing was written",
            ),
            StoreError::Exists(_) => Self::new(Kind::Conflict, message)
                .hint("choose another path with `--vault PATH`"),
            StoreError::IsNear(_) => Self::usage(message)
                .hint("make a local copy of that vault with `secrets remote pull PATH`"),
            StoreError::BadPath(_) => {
                Self::usage(message).hint("give the path of a file, such as `DIRECTORY/vault.db`")
            }
            StoreError::Unsafe { fix, .. } => {
                let error = Self::new(Kind::Refused, message);
                match fix {
                    Some(command) => error.hint(format!("fix it with `{command}`")),
                    None => error,
                }
            }
            StoreError::ForeignJournal(path) => {
                let aside = store::quoted(&secrets_files::directory::with_suffix(&path, ".aside"));
                Self::new(Kind::Refused, message)
                    .hint("it may come from a sync tool, or from another copy of the vault")
                    .hint(format!(
                        "move it away with `mv {} {aside}`, then try again",
                        store::quoted(&path)
                    ))
            }
            StoreError::NoLocks => Self::new(Kind::Failure, message).hint(
                "keep the vault on a local disk, and copy it to this file system with \
                 `secrets backup PATH`",
            ),
            StoreError::NotAVault(_) => Self::new(Kind::Damaged, message)
                .hint("set the vault's path with `--vault PATH` or SECRETS_VAULT")
                .hint(
                    "if it was a vault, restore a backup with `secrets restore PATH`; the damaged \
                     file is kept next to it",
                ),
            // These were never released. The commit is the last one that reads them.
            StoreError::Format(1 | 2) => Self::new(Kind::Damaged, message).hint(
                "`secrets export` of commit 11aefcb reads it; then store the secrets in a new vault \
                 with `secrets import`",
            ),
            StoreError::Format(_) => Self::new(Kind::Damaged, message)
                .hint("use the version of `secrets` that created it"),
            StoreError::Damaged(_) => Self::new(Kind::Damaged, message).hint(RESTORE),
            StoreError::Checkpoint { .. } => Self::new(Kind::Failure, message)
                .hint("fix or delete that file; deleting it skips rollback detection once"),
            StoreError::IdTaken | StoreError::Raced => {
                Self::new(Kind::Failure, message).hint("try again; nothing was changed")
            }
            StoreError::Server(error) => server_error(&error, message),
            StoreError::UnknownOutcome => Self::new(Kind::Failure, message)
                .hint("check the vault with `secrets verify`, and whether it has the change"),
            StoreError::Busy
            | StoreError::ReadOnly
            | StoreError::Full
            | StoreError::Sqlite(_)
            | StoreError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        let message = error.to_string();
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::Crypto(error) => error.into(),
            VaultError::KeyService(error) => error.into(),
            VaultError::Diverged(divergence) => divergence_error(&divergence),
            VaultError::AuditLog { .. } => Self::new(Kind::Damaged, message).hint(
                "restore a backup with `secrets restore PATH`, or see the entries before it with \
                 `secrets audit`",
            ),
            VaultError::Record { .. } | VaultError::Project { .. } => {
                Self::new(Kind::Damaged, message).hint(RESTORE)
            }
            VaultError::NoSecret { wanted, project, nearest } => {
                let list = match &wanted {
                    SecretRef::Tag(_) => "`secrets list` shows the secrets of the project",
                    SecretRef::Id(_) => "`secrets list --all-projects` shows every secret",
                };

                let hint = did_you_mean_or(nearest.as_ref(), list);
                let error = match &wanted {
                    SecretRef::Tag(tag) if looks_like_api_key(tag.as_str()) => {
                        format!(
                            "unknown secret in project `{project}` (name not shown, in case it is \
                             a value)"
                        )
                    }
                    SecretRef::Tag(_) => format!("{message} in project `{project}`"),
                    SecretRef::Id(_) => format!("{message} in any project"),
                };

                let error = Self::new(Kind::NotFound, error).hint(hint);
                match wanted {
                    SecretRef::Tag(tag) => error.with_missing_tag(tag),
                    SecretRef::Id(_) => error,
                }
            }
            VaultError::NoProject { nearest, .. } => Self::new(Kind::NotFound, message).hint(
                did_you_mean_or(nearest.as_ref(), "`secrets project list` shows every project"),
            ),
            VaultError::Exists(secrets) => exists(&secrets),
            VaultError::ProjectExists(_) => Self::new(Kind::Conflict, message),
            VaultError::TooManyProjects => {
                Self::usage(message).hint("create another vault with `secrets init --vault PATH`")
            }
            VaultError::AnotherVault(_)
            | VaultError::NoEarlierCopy(_)
            | VaultError::NoBundle(_) => {
                Self::new(Kind::Refused, message).hint("choose another file; nothing was written")
            }
            VaultError::OtherKeys => Self::new(Kind::Locked, message)
                .hint("if its passphrase slot is damaged, use its recovery code with `--recovery`"),
            VaultError::DamagedVault(report) => Self::new(Kind::Damaged, message)
                .with_notes(findings(&report))
                .hint("save what can be read into a new vault with `secrets salvage OUT`"),
            VaultError::NothingToSave(report) => Self::new(Kind::Damaged, message)
                .with_notes(findings(&report))
                .hint("restore a backup with `secrets restore PATH`; nothing was written"),
            VaultError::NotOfWitness(_) => Self::new(Kind::Damaged, message)
                .hint(
                    "find out what has changed, the vault or the line `witness`; no value was used",
                )
                .hint("to accept the present state, remove the line"),
            VaultError::TooOld(..) => Self::new(Kind::Refused, message)
                .hint("if that is right, permit it with another `--max-age`, or leave it out")
                .hint("if the project was changed since, its server hides changes"),
            VaultError::NotRemote => {
                Self::usage(message).hint("move it to a server with `secrets remote push URL`")
            }
            VaultError::RekeyedElsewhere => Self::new(Kind::Locked, message).hint(
                "print a ticket there with `secrets remote ticket`, move the file of this vault away, \
                 and use the ticket here with `secrets remote join TICKET`",
            ),
            VaultError::VaultChanged | VaultError::SlotsChanged => {
                Self::new(Kind::Conflict, message).hint("try again; nothing was written")
            }
            VaultError::Changed(_) => Self::new(Kind::Conflict, message)
                .hint("check its current state and try again; nothing was written"),
            VaultError::SameTarget(..) => {
                Self::new(Kind::Conflict, message).hint("clone them one at a time with `--tag`")
            }
            VaultError::OntoItself(_) => Self::usage(message)
                .hint("choose another project with `--to`, or another tag with `--tag`"),
            error => of_token(error, message),
        }
    }
}

/// Converts the errors of tokens and of their grants.
fn of_token(error: VaultError, message: String) -> Error {
    match error {
        VaultError::Forbidden(needed) => forbidden(needed, message),
        VaultError::NoGrant => Error::new(Kind::Locked, message)
            .hint("use a newer copy or bundle, or ask the owner for another token"),
        VaultError::TokenRevoked(_) => Error::new(Kind::Locked, message)
            .hint("use a newer copy of the vault, or ask its owner for a token"),
        VaultError::TokenExpired { name, .. } => Error::new(Kind::Locked, message).hint(hint!(
            "the owner can renew it with `secrets token update {} --expires 90d`; its string \
             stays the same",
            name
        )),
        VaultError::TokenReplaced { name, .. } => Error::new(Kind::Locked, message).hint(hint!(
            "use the new string; if it is lost, the owner gets another one with `secrets token \
             rotate {}`",
            name
        )),
        VaultError::FromTheFuture(_) => Error::new(Kind::Refused, message).hint(
            "check the clock of this machine; if it is right, a change by the owner corrects \
             the date",
        ),
        VaultError::NoToken(_) => Error::new(Kind::NotFound, message)
            .hint("`secrets token list --all-projects` shows every token"),
        VaultError::TokenExists(name) => Error::new(Kind::Conflict, message)
            .hint(hint!("replace its string with `secrets token rotate {}`", name)),
        VaultError::TooManyTokens | VaultError::TooManyWriters => {
            Error::usage(message).hint("revoke those that nobody uses with `secrets token revoke`")
        }
        VaultError::ManageOfSome => Error::usage(message).hint(
            "whoever manages some secrets signs for all of them: move them to a project of \
             their own",
        ),
        VaultError::HasWholeProject(name) => Error::usage(message).hint(hint!(
            "limit it by taking secrets away with `secrets token update {} --only -TAG`",
            name
        )),
        VaultError::BundleOfManager => Error::usage(message)
            .hint("use it with a copy of the whole vault, which `secrets backup PATH` makes"),
        VaultError::TokensOfProjects => {
            Error::usage(message).hint("revoke the tokens of one project at a time")
        }
        VaultError::IsBundle => Error::new(Kind::Refused, message)
            .hint("use its token with `--token-file PATH`, SECRETS_TOKEN_FILE or SECRETS_TOKEN"),
        _ => Error::internal(message),
    }
}

fn forbidden(needed: Needed, message: String) -> Error {
    let error = Error::new(Kind::Refused, message);
    match needed {
        Needed::Passphrase => error.hint(
            "remove `--token-file`, SECRETS_TOKEN_FILE and SECRETS_TOKEN to be asked for the \
             passphrase",
        ),
        Needed::Vault => error.hint("use a copy of the whole vault with `--vault PATH`"),
        Needed::Level(level) => error.hint(format!(
            "the owner can raise its level with `secrets token update NAME --level {level}`"
        )),
        Needed::InSet => {
            error.hint("the owner can add the secret with `secrets access TAG --allow NAME`")
        }
        Needed::Restricted => error.hint(
            "the owner can include restricted secrets with `secrets token update NAME --restricted`",
        ),
        Needed::WholeProject | Needed::OtherProject => error.hint(
            "the owner can create one with `secrets token create NAME --level LEVEL --project \
             PROJECT`",
        ),
    }
}

/// Returns a hint with the nearest name, or `list` if no name is near.
fn did_you_mean_or(nearest: Option<&impl Display>, list: &'static str) -> Hint {
    did_you_mean(nearest).map_or_else(|| list.into(), Hint::from)
}

/// The number of findings that are shown for a damaged vault.
const SHOWN: usize = 20;

/// Lists what is damaged, one finding per line.
pub(crate) fn findings(report: &Report) -> Vec<String> {
    let mut notes: Vec<String> =
        report.damage.iter().take(SHOWN).map(|damage| format!("  {damage}")).collect();
    if report.damage.len() > SHOWN {
        notes.push(format!("  and {} more", report.damage.len() - SHOWN));
    }

    notes
}

impl From<Divergence> for Error {
    fn from(divergence: Divergence) -> Self {
        divergence_error(&divergence)
    }
}

/// Reports how a vault differs from its checkpoint.
fn divergence_error(divergence: &Divergence) -> Error {
    let mut notes = Vec::new();
    notes.extend(
        divergence
            .vault
            .and_then(distance)
            .map(|how| format!("  the list of projects and the key slots: {how}")),
    );

    for (project, relation) in &divergence.projects {
        let how = distance(*relation);
        notes.extend(how.map(|how| format!("  project `{project}`: {how}")));
    }

    let projects: Vec<_> = divergence.projects.iter().map(|(name, _)| name.as_str()).collect();
    if divergence.is_remote {
        let details = json!({ "forked": divergence.is_fork(), "projects": projects });
        let error = Error::new(Kind::Damaged, divergence.to_string())
            .with_notes(notes)
            .with_details(details);
        return match divergence.lost() {
            Some(_) => error.hint("put them back with `secrets remote repair`; nothing was used"),
            None => error.hint("ask the owner of the vault what has happened; nothing was used"),
        };
    }

    Error::new(Kind::Damaged, divergence.to_string())
        .with_notes(notes)
        .with_details(json!({ "forked": divergence.is_fork(), "projects": projects }))
        .hint(
            "put the right file back, or restore a backup with `secrets restore PATH`; nothing \
             was used",
        )
        .hint("if you want this state, accept it with `secrets restore --accept`")
}

/// Describes how far a state is from its checkpoint. Returns `None` for a state that is not a
/// problem.
fn distance(relation: Relation) -> Option<String> {
    match relation {
        Relation::Equal | Relation::Ahead => None,
        Relation::Behind(by) => Some(format!("{} behind", counted(by, "change"))),
        Relation::Diverged => Some("diverged".into()),
    }
}

fn exists_in_several(secrets: &[secrets_core::model::Secret]) -> Error {
    let line = |secret: &secrets_core::model::Secret| {
        format!("  {}/{}", secret.project, secret.metadata.tag)
    };
    let existing = secrets.iter().map(
        |secret| json!({ "project": secret.project.as_str(), "tag": secret.metadata.tag.as_str() }),
    );
    let details = json!({ "secrets": existing.collect::<Vec<_>>() });

    Error::new(
        Kind::Conflict,
        format!("{} secrets with these tags already exist in their projects", secrets.len()),
    )
    .with_notes(secrets.iter().map(line).collect())
    .with_details(details)
}

fn exists(secrets: &[secrets_core::model::Secret]) -> Error {
    let tags: Vec<&str> = secrets.iter().map(|secret| secret.metadata.tag.as_str()).collect();
    let project = secrets.first().map_or_else(String::new, |secret| secret.project.to_string());
    if secrets.iter().any(|secret| secret.project.as_str() != project) {
        return exists_in_several(secrets);
    }

    let error = match secrets {
        [only] => {
            let tag = only.metadata.tag.as_str();
            Error::new(
                Kind::Conflict,
                format!("secret `{tag}` already exists in project `{project}`"),
            )
        }
        _ => {
            let message = format!(
                "{} secrets with these tags already exist in project `{project}`",
                secrets.len()
            );

            let mut error = Error::new(Kind::Conflict, message);
            error.notes = tags.iter().map(|tag| format!("  {tag}")).collect();
            error
        }
    };

    error.with_details(json!({ "tags": tags, "project": project }))
}
