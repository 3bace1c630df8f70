//! What a vault's file, its cryptography and its secrets have to say.

use serde_json::json;

use super::{Error, Kind, did_you_mean};
use crate::crypto::CryptoError;
use crate::crypto::history::Relation;
use crate::crypto::slot::SLOT;
use crate::model::{SecretRef, resembles_a_key};
use crate::store::{self, StoreError};
use crate::ui::counted;
use crate::vault::{Divergence, Report, VaultError};

impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        let message = error.to_string();
        match error {
            CryptoError::WrongPassphrase => Self::new(Kind::Locked, message).hint(
                "it is the one given last, at `secrets init` or `secrets passwd`; `--recovery` takes a recovery code",
            ),
            CryptoError::WrongRecoveryCode => Self::new(Kind::Locked, message)
                .hint("it is the one that `secrets recovery create` or `secrets rekey` printed last for this vault"),
            CryptoError::NoRecoveryCode => {
                Self::new(Kind::Locked, message).hint("with the passphrase, `secrets recovery create` makes one")
            }
            CryptoError::Damaged(SLOT) => Self::new(Kind::Damaged, message)
                .hint("by a recovery code, `secrets salvage OUT --recovery` saves what can be read")
                .hint("`secrets restore PATH` puts a backup in its place"),
            CryptoError::Damaged(_) => Self::new(Kind::Damaged, message).hint(RESTORE),
            CryptoError::Unsupported(_) => Self::new(Kind::Damaged, message),
            CryptoError::Memory(_) => Self::new(Kind::Locked, message).hint(
                "free some; on a machine that has as much, `secrets passwd --kdf-memory MIB` lowers what is needed",
            ),
            CryptoError::KeyMemory | CryptoError::Random => Self::new(Kind::Failure, message),
        }
    }
}

const RESTORE: &str = "nothing of it was used; `secrets verify` tells more, `secrets restore PATH` puts a backup in its place";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Missing(_) => Self::new(Kind::NotFound, message)
                .hint("make one with `secrets init`, or put a backup there with `secrets restore PATH`"),
            StoreError::NoDirectory(_) => {
                Self::new(Kind::NotFound, message).hint("nothing was written; is the disk mounted? `mkdir -p` makes it")
            }
            StoreError::Exists(_) => {
                Self::new(Kind::Conflict, message).hint("make another one with `secrets init --vault PATH`")
            }
            StoreError::BadPath(_) => Self::usage(message).hint("name a file, as in `DIRECTORY/vault.db`"),
            StoreError::Unsafe { fix, .. } => {
                let error = Self::new(Kind::Refused, message);
                match fix {
                    Some(command) => error.hint(format!("mend it with `{command}`")),
                    None => error,
                }
            }
            StoreError::ForeignJournal(path) => {
                let aside = store::quoted(&store::beside(&path, ".aside"));
                Self::new(Kind::Refused, message)
                    .hint("it may come from a sync tool, or from another copy of the vault")
                    .hint(format!("move it away and try again: `mv {} {aside}`", store::quoted(&path)))
            }
            StoreError::NoLocks => Self::new(Kind::Failure, message)
                .hint("keep the vault on a local disk, and copy it there with `secrets backup PATH`"),
            StoreError::NotAVault(_) => Self::new(Kind::Damaged, message)
                .hint("name the vault with `--vault PATH` or SECRETS_VAULT")
                .hint("if it was one: `secrets restore PATH` puts a backup in its place and keeps it beside"),
            StoreError::Format(_) => {
                Self::new(Kind::Damaged, message).hint("use the version of `secrets` that made it")
            }
            StoreError::Damaged(_) => Self::new(Kind::Damaged, message).hint(RESTORE),
            StoreError::Checkpoint { .. } => Self::new(Kind::Failure, message)
                .hint("mend that, or remove it: then a vault that was put back goes unnoticed, once"),
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
            VaultError::Holder(error) => error.into(),
            VaultError::Departed(divergence) => diverged(&divergence),
            VaultError::Record { .. } | VaultError::Project { .. } => {
                Self::new(Kind::Damaged, message).hint(RESTORE)
            }
            VaultError::NoSecret { wanted, project, nearest } => {
                let list = match &wanted {
                    SecretRef::Tag(_) => "`secrets list` shows the secrets of the project",
                    SecretRef::Id(_) => "`secrets list --all-projects` shows every secret",
                };

                let hint = did_you_mean(nearest.as_ref()).unwrap_or_else(|| list.into());
                let error = match &wanted {
                    SecretRef::Tag(tag) if resembles_a_key(tag.as_str()) => {
                        format!(
                            "no such secret (not shown, in case it is a value) in project `{project}`"
                        )
                    }
                    SecretRef::Tag(_) => format!("{message} in project `{project}`"),
                    SecretRef::Id(_) => format!("{message} in any project"),
                };

                let error = Self::new(Kind::NotFound, error).hint(hint);
                match wanted {
                    SecretRef::Tag(tag) => error.missing(tag),
                    SecretRef::Id(_) => error,
                }
            }
            VaultError::NoProject { nearest, .. } => Self::new(Kind::NotFound, message).hint(
                did_you_mean(nearest.as_ref())
                    .unwrap_or_else(|| "`secrets project list` shows every project".into()),
            ),
            VaultError::Exists(secrets) => exists(&secrets),
            VaultError::ProjectExists(_) => Self::new(Kind::Conflict, message),
            VaultError::TooManyProjects => {
                Self::usage(message).hint("make another vault with `--vault PATH`")
            }
            VaultError::AnotherVault(_) | VaultError::NoEarlierCopy(_) => {
                Self::new(Kind::Refused, message).hint("nothing was written; name another file")
            }
            VaultError::OtherKeys => Self::new(Kind::Locked, message)
                .hint("where its passphrase slot is damaged: `--recovery` takes its recovery code"),
            VaultError::NotWhole(report) => Self::new(Kind::Damaged, message)
                .with_notes(findings(&report))
                .hint("`secrets salvage OUT` saves what can be read into a new vault"),
            VaultError::NothingToSave(report) => Self::new(Kind::Damaged, message)
                .with_notes(findings(&report))
                .hint("nothing was made; put back a backup with `secrets restore PATH`"),
            VaultError::ChangedBelow | VaultError::SlotsChanged => {
                Self::new(Kind::Conflict, message).hint("nothing was written; try again")
            }
            VaultError::Changed(_) => Self::new(Kind::Conflict, message)
                .hint("nothing was written; look at it and try again"),
            VaultError::SameTarget(..) => {
                Self::new(Kind::Conflict, message).hint("clone them one by one with `--tag`")
            }
            VaultError::OntoItself(_) => Self::usage(message)
                .hint("name another project with `--to`, or another tag with `--tag`"),
        }
    }
}

/// Findings that are shown of a damaged vault.
const SHOWN: usize = 20;

/// What is damaged, line by line.
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
        diverged(&divergence)
    }
}

/// What of a vault is not as it was last seen.
fn diverged(divergence: &Divergence) -> Error {
    let mut notes = Vec::new();
    notes.extend(
        divergence
            .vault
            .and_then(far)
            .map(|how| format!("  its table of slots and projects: {how}")),
    );

    for (project, relation) in &divergence.projects {
        let how = relation.map_or(Some("not there".into()), far);
        notes.extend(how.map(|how| format!("  project `{project}`: {how}")));
    }

    let projects: Vec<_> = divergence.projects.iter().map(|(name, _)| name.as_str()).collect();
    Error::new(Kind::Damaged, divergence.to_string())
        .with_notes(notes)
        .detailed(json!({ "forked": divergence.is_fork(), "projects": projects }))
        .hint("nothing of it was used; put back the right file, or a backup with `secrets restore PATH`")
        .hint("if this is the state that you want: `secrets restore --accept`")
}

/// How far a state is from the one that was seen.
fn far(relation: Relation) -> Option<String> {
    match relation {
        Relation::Equal | Relation::Ahead => None,
        Relation::Behind(by) => Some(format!("{} behind", counted(by, "change"))),
        Relation::Diverged => Some("went another way".into()),
    }
}

fn exists_in_several(secrets: &[crate::model::Secret]) -> Error {
    let line =
        |secret: &crate::model::Secret| format!("  {}/{}", secret.project, secret.metadata.tag);
    let there = secrets.iter().map(
        |secret| json!({ "project": secret.project.as_str(), "tag": secret.metadata.tag.as_str() }),
    );
    let details = json!({ "secrets": there.collect::<Vec<_>>() });

    Error::new(
        Kind::Conflict,
        format!("there are {} secrets of these tags in their projects already", secrets.len()),
    )
    .with_notes(secrets.iter().map(line).collect())
    .detailed(details)
}

fn exists(secrets: &[crate::model::Secret]) -> Error {
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
                format!("there is a secret `{tag}` in project `{project}` already"),
            )
        }
        _ => {
            let message = format!(
                "there are {} secrets of these tags in project `{project}` already",
                secrets.len()
            );

            let mut error = Error::new(Kind::Conflict, message);
            error.notes = tags.iter().map(|tag| format!("  {tag}")).collect();
            error
        }
    };

    error.detailed(json!({ "tags": tags, "project": project }))
}
