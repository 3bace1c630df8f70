//! The reasons why the vault did not do what was requested.

use std::path::PathBuf;
use std::time::Duration;

use super::access::KeyServiceError;
use super::checkpoints::Divergence;
use super::inspect::Report;
use super::token_access::Needed;
use crate::crypto::CryptoError;
use crate::model::{ProjectName, Secret, SecretId, SecretRef, Tag, Timestamp, TokenName};
use crate::store::StoreError;
use crate::store::remote::days;

/// The reason why the vault did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store failed
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key or a seal failed
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The agent, or another holder of the root key, failed
    #[error(transparent)]
    KeyService(#[from] KeyServiceError),
    /// The file to replace is a copy of another vault
    #[error("`{}` is not a copy of this vault", .0.display())]
    AnotherVault(PathBuf),
    /// The file to replace is a newer state of the vault or has diverged from it
    #[error("`{}` is not an earlier copy of this vault: it contains changes that the vault does not have", .0.display())]
    NoEarlierCopy(PathBuf),
    /// The credential opens the vault that would be replaced, but not the backup
    #[error(
        "the backup has different keys from the vault: it opens with the passphrase it was made with"
    )]
    OtherKeys,
    /// Parts of the vault are damaged
    #[error("the vault is damaged or was tampered with")]
    DamagedVault(Box<Report>),
    /// Nothing in the vault can be read
    #[error("no secret in the vault can be read")]
    NothingToSave(Box<Report>),
    /// Another process changed the key slots in the meantime
    #[error("another process changed the vault's key slots in the meantime")]
    SlotsChanged,
    /// A project does not follow the state that a repository remembers
    #[error(
        "project `{0}` does not follow its witness in `.secrets.toml`: it was rolled back, or it is \
         another project"
    )]
    NotOfWitness(ProjectName),
    /// The last change of a project is older than permitted
    #[error("the last change of project `{}` is {} old", .0, days(*.1))]
    TooOld(ProjectName, Duration),
    /// The vault is a file on this machine
    #[error("the vault is a file on this machine, and not on a server")]
    NotRemote,
    /// The vault on a server got new keys by another machine
    #[error(
        "the vault got new keys by `secrets rekey` on another machine, which this machine does not have"
    )]
    RekeyedElsewhere,
    /// Another process changed the vault to be replaced in the meantime
    #[error("another process changed the vault in the meantime")]
    VaultChanged,
    /// The state neither equals the last checkpoint here nor follows it
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// A record differs from the signed one, so no part of it is shown
    #[error("{what} of `{id}` in project `{project}` is damaged or was tampered with")]
    Record {
        /// The part, for example "the value" or "the metadata"
        what: &'static str,
        /// The record
        id: SecretId,
        /// The project of the record
        project: ProjectName,
    },
    /// The file differs from what the project's head was signed over
    #[error("{what} of project `{project}` is damaged or was tampered with")]
    Project {
        /// The part, for example "the head" or "a bucket"
        what: &'static str,
        /// The project
        project: ProjectName,
    },
    /// An entry of an audit log is missing or does not verify
    #[error("entry {seq} of the audit log of {} is missing, damaged or not signed by its writer", of_log(project.as_ref()))]
    AuditLog {
        /// The project; `None` for the vault's own log
        project: Option<ProjectName>,
        /// The number of the entry
        seq: u64,
    },
    /// The project has no secret with this tag, or no project has a secret with this id
    #[error("no secret `{wanted}`")]
    NoSecret {
        /// The tag or id
        wanted: SecretRef,
        /// The project in which it was looked up
        project: ProjectName,
        /// The tag that was probably meant
        nearest: Option<Tag>,
    },
    /// The vault has no project of this name
    #[error("no project `{name}`")]
    NoProject {
        /// The name
        name: ProjectName,
        /// The name that was probably meant
        nearest: Option<ProjectName>,
    },
    /// Secrets with these tags already exist
    #[error("{} secrets already exist", .0.len())]
    Exists(Vec<Secret>),
    /// The vault has the maximum number of projects
    #[error("the vault has {} projects, which is the maximum", crate::store::MAX_PROJECTS)]
    TooManyProjects,
    /// A project of this name already exists
    #[error("project `{0}` already exists")]
    ProjectExists(ProjectName),
    /// Another process changed the secret since it was read
    #[error("another process changed `{0}` in the meantime")]
    Changed(Tag),
    /// Two secrets would get the same tag
    #[error("`{0}` and `{1}` would be stored under the same tag")]
    SameTarget(Tag, Tag),
    /// A secret would be copied onto itself
    #[error("`{0}` would be copied onto itself")]
    OntoItself(Tag),
    /// The file to replace is not a bundle of the same token
    #[error("`{}` is not a bundle of this token", .0.display())]
    NoBundle(PathBuf),
    /// The file is a bundle, which only its token opens
    #[error("the file is a bundle, which only its token opens")]
    IsBundle,
    /// The token does not permit this; the text says what is needed
    #[error("{0}")]
    Forbidden(Needed),
    /// The vault has no token of this name
    #[error("no token `{0}`")]
    NoToken(TokenName),
    /// A token of this name already exists
    #[error("token `{0}` already exists")]
    TokenExists(TokenName),
    /// The vault has the maximum number of tokens
    #[error("the vault has {} tokens, which is the maximum", crate::crypto::grant::MAX_TOKENS)]
    TooManyTokens,
    /// The project has the maximum number of tokens that may sign
    #[error(
        "the project has {} tokens with level `manage`, which is the maximum",
        crate::crypto::policy::MAX_WRITERS
    )]
    TooManyWriters,
    /// Who may change some secrets signs for the whole project
    #[error("a token with level `manage` cannot be limited to some secrets")]
    ManageOfSome,
    /// A secret cannot be added to a token that has all of its project
    #[error("token `{0}` has every secret of its project already")]
    HasWholeProject(TokenName),
    /// A bundle cannot be changed, so a token that manages secrets gets none
    #[error("a token with level `manage` gets no bundle, because a bundle cannot be changed")]
    BundleOfManager,
    /// Tokens of several projects cannot be revoked together
    #[error("the tokens belong to different projects")]
    TokensOfProjects,
    /// The vault has no grant for the token
    #[error(
        "the token opens nothing in this vault: it was revoked, or it belongs to another vault"
    )]
    NoGrant,
    /// The project has newer keys than the token
    #[error(
        "the token no longer opens project `{0}`: it was revoked, or this copy of the vault has \
         no new grant for it"
    )]
    TokenRevoked(ProjectName),
    /// The token has expired
    #[error("the token `{name}` expired on {}", .expired.to_jiff().strftime("%Y-%m-%d"))]
    TokenExpired {
        /// Its name
        name: TokenName,
        /// The time of its end
        expired: Timestamp,
    },
    /// A new string replaced the token's
    #[error(
        "this string of token `{name}` was replaced and worked until {}",
        .end.to_jiff().strftime("%Y-%m-%d")
    )]
    TokenReplaced {
        /// Its name
        name: TokenName,
        /// The time of its end
        end: Timestamp,
    },
    /// A token must not sign on a head from the future
    #[error(
        "the last change of project `{0}` is dated more than 24 hours after the time of this \
         machine"
    )]
    FromTheFuture(ProjectName),
    /// Only a bug in this program can cause this
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl From<Divergence> for VaultError {
    fn from(divergence: Divergence) -> Self {
        Self::Diverged(Box::new(divergence))
    }
}

impl VaultError {
    /// Returns true if the content of the file is damaged, and false if the system or another
    /// process is the cause.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Crypto(CryptoError::Damaged(_))
                | Self::Store(StoreError::Damaged(_))
                | Self::Project { .. }
                | Self::Record { .. }
                | Self::AuditLog { .. }
        )
    }
}

fn of_log(project: Option<&ProjectName>) -> String {
    project.map_or_else(|| "the vault".into(), |project| format!("project `{project}`"))
}
