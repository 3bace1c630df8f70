//! The results of commands as data, and the one place that prints them as text or JSON.
//!
//! A handler fills a type of this room and prints it. The JSON form of a type is its `Serialize`,
//! with the members that docs/json.md lists. Its form for people is [`Outcome::text`]. Every type
//! that a command prints is here, in a file named after its subject, so that other ways to reach
//! the vault can answer with the same types. `Ui::print_list` prints a list that streams.
//!
//! Only this room decides between text and JSON of a result. No type here contains a value. A
//! new recovery code and a new token are printed from wiped memory.

mod access;
mod audit;
mod check;
mod clone;
mod destinations;
mod doctor;
mod environments;
mod findings;
mod import;
mod inspect;
mod kdf;
mod list;
mod mcp;
mod outputs;
mod project;
mod proxy;
mod recovery;
mod references;
mod remote;
mod request;
mod restore;
mod secret;
mod serve;
mod status;
mod table;
mod text;
mod token;
mod trust;
mod variables;
mod vault;

use serde::Serialize;

use crate::error::Error;
use crate::ui::Ui;
pub(crate) use access::{AccessReport, TokenAccess};
pub(crate) use audit::{
    AuditCheckpoint, AuditCheckpoints, AuditEntries, AuditInfo, AuditKind, AuditPruned,
    AuditVerified, UsesCheckpoint,
};
pub(crate) use check::{
    CheckReport, DueInfo, NeedInfo, OutputReport, UnusedSecret, WitnessInfo, listed_additions,
};
pub(crate) use clone::ClonePlan;
pub(crate) use destinations::{DestinationList, described};
pub(crate) use doctor::{Diagnosis, Finding, FoundSecret, Health};
pub(crate) use environments::{
    AddedEnvironment, EnvironmentInfo, EnvironmentMatrix, SecretState, SecretStates,
};
pub(crate) use findings::{FindingInfo, FoundInfo, HookInfo, ScanReport};
pub(crate) use import::{ImportPlan, Imported};
pub(crate) use inspect::{Salvaged, Verified};
pub(crate) use kdf::KdfInfo;
pub(crate) use mcp::McpConfiguration;
pub(crate) use outputs::{Adopted, NewManifest, NewTemplate, Rendered, SetUp};
pub(crate) use project::{DefaultProject, Projects};
pub(crate) use proxy::{EnvironmentFormat, ProxyEnvironment};
pub(crate) use references::{FoundReferences, ReferenceInfo, RenamedSecrets};
pub(crate) use remote::{RemoteStatus, RemoteVault, RepairInfo, Repairs, ServerInfo};
pub(crate) use request::{AnswerInfo, PlannedRequest};
pub(crate) use restore::Restored;
pub(crate) use secret::{
    CopiedSecret, OneTimeCode, PickedSecrets, SecretInfo, SecretPage, Secrets, StoredSecret,
};
pub(crate) use serve::ServedApi;
pub(crate) use status::StatusInfo;
pub(crate) use text::Text;
pub(crate) use token::{
    Bundle, ChangedToken, GivenToken, RevokedTokens, TokenDetails, TokenList, end,
};
pub(crate) use trust::{Revoked, TrustRecords, TrustReport, TrustState};
pub(crate) use variables::{PlannedVariables, ShellVariables};
pub(crate) use vault::{Exported, Rekeyed, VaultContent, VaultPath, VaultWithKdf};

/// A result that people read on stdout. Its JSON form is its `Serialize`.
pub(crate) trait Outcome: Serialize {
    /// Writes the form for people.
    fn text(&self, out: &mut Text);
}

impl Ui {
    /// Prints a result: with `--json` as a document, otherwise as text.
    pub(crate) fn print(&self, outcome: &impl Outcome) -> Result<(), Error> {
        if self.is_json() {
            return Ok(self.json(outcome)?);
        }

        let mut text = Text::new(self);
        outcome.text(&mut text);
        Ok(self.text(text.as_str())?)
    }

    /// Prints a result only with `--json`, because status lines have told people the same. Without
    /// it, `build` is not called.
    pub(crate) fn document<T: Serialize>(
        &self,
        build: impl FnOnce() -> Result<T, Error>,
    ) -> Result<(), Error> {
        if self.is_json() { Ok(self.json(&build()?)?) } else { Ok(()) }
    }
}
