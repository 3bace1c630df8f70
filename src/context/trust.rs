//! Consent to what a manifest asks for. A record in the state directory stores it and is checked
//! first; the vault's keys verify the record once the vault is open.

use std::path::Path;

use secrets_core::model::ProjectName;
use secrets_core::vault::Vault;
use secrets_project::setup::trust::{
    Binding, Coverage, CoveredVariable, LONG, TrustRecord, TrustStore,
};
use secrets_project::setup::{Manifest, Outputs};
use secrets_project::variables::redirects;
use serde_json::json;

use super::{AGENT_TIMEOUT, Context};
use crate::error::{Error, Kind};
use crate::ui::{counted, prompt};

/// Whether a manifest is trusted.
pub(crate) enum Trust {
    /// It matches the record of consent
    Trusted(Box<TrustRecord>),
    /// It asks for something other than the record of consent
    Changed(Box<TrustRecord>),
    /// There is no valid record, with the reason if one exists but is invalid
    Unknown(Option<String>),
}

impl Trust {
    /// Returns the word for `--json`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Trusted(_) => "trusted",
            Self::Changed(_) => "changed",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Describes what changed since consent was given, one line per change.
    pub(crate) fn changes(&self, now: &Coverage) -> Vec<String> {
        match self {
            Self::Changed(before) => now.changes_since(&before.coverage),
            _ => Vec::new(),
        }
    }
}

impl Context {
    /// Returns the current project. If only a manifest chose it, the manifest has to be trusted.
    pub(crate) fn trusted_project(&self) -> Result<&ProjectName, Error> {
        if self.target.named_project()?.is_none()
            && let Some(manifest) = self.target.manifest()?
            && manifest.project.is_some()
        {
            self.require_trust(manifest)?;
        }

        self.target.project()
    }

    /// Fails if the manifest has a witness of the current project, and this vault's project does not
    /// follow it.
    pub(crate) fn check_witness(&self, vault: &Vault) -> Result<(), Error> {
        if self.target.named_project()?.is_none()
            && let Some(manifest) = self.target.manifest()?
            && let (Some(project), Some(witness)) = (&manifest.project, &manifest.witness)
        {
            vault.check_witness(project, witness)?;
        }

        Ok(())
    }

    /// Refuses a manifest that is not trusted. Asks on a terminal, once per process and before any
    /// passphrase.
    pub(crate) fn require_trust(&self, manifest: &Manifest) -> Result<(), Error> {
        if self.trusted.borrow().is_some() {
            return Ok(());
        }

        let coverage = Self::coverage(manifest)?;
        let trust = self.trust_of(&coverage);
        if !self.is_named_by_option(&coverage) {
            // Only the owner's keys verify records of trust.
            if self.credentials.use_a_token() {
                let path = manifest.path();
                let path = path.display();
                let message = format!("with a token, `{path}` must be named by its SHA-256");
                return Err(Error::new(Kind::Refused, message).hint(
                    "review it and find the SHA-256 with `secrets trust --show`, then pass it with \
                     `--trust-manifest`",
                ));
            }

            let record = match trust {
                Trust::Trusted(record) => *record,
                trust => self.ask_for_trust(manifest, coverage.clone(), &trust)?,
            };

            self.consent.replace(Some(record));
        }

        self.trusted.replace(Some(coverage));
        Ok(())
    }

    /// Refuses templates that refer to different secrets than when consent was given. A template
    /// may change while a question is being answered.
    pub(crate) fn require_same_tags(
        &self,
        manifest: &Manifest,
        outputs: &Outputs<'_>,
    ) -> Result<(), Error> {
        let Some(then) = self.trusted.borrow().clone() else { return Ok(()) };
        let now = then.with_tags(outputs.tag_keys());
        if now == then {
            return Ok(());
        }

        Err(self.not_trusted(
            &manifest.path(),
            &now,
            &Trust::Changed(TrustRecord::new(then).into()),
        ))
    }

    /// Returns true if the nearest manifest is trusted already. Nobody is asked. The vault has to be
    /// open, because its keys verify the record.
    pub(crate) fn is_trusted_already(&self) -> Result<bool, Error> {
        if self.trusted.borrow().is_some() {
            return Ok(true);
        }

        let Some(manifest) = self.target.manifest()? else { return Ok(false) };
        let Ok(coverage) = Self::coverage(manifest) else { return Ok(false) };
        if self.is_named_by_option(&coverage) {
            return Ok(true);
        }

        let Trust::Trusted(record) = self.trust_of(&coverage) else { return Ok(false) };
        let macs = self.vault()?.trust_macs(&coverage.digest())?;
        Ok(record.binding(&macs) != Binding::Broken)
    }

    pub(crate) fn coverage(manifest: &Manifest) -> Result<Coverage, Error> {
        Coverage::of(manifest).map_err(|source| {
            let directory = manifest.path();
            Error::new(
                Kind::Failure,
                format!("cannot read the directory of `{}`: {source}", directory.display()),
            )
        })
    }

    pub(crate) fn trust_store(&self) -> Result<TrustStore, Error> {
        let directory = self.environment.state("trust");
        directory.map(|directory| TrustStore::new(&directory)).ok_or_else(|| {
            Error::new(Kind::Failure, "there is no state directory for records of trust")
                .hint("set HOME or XDG_STATE_HOME, or use `--trust-manifest=SHA256`")
        })
    }

    /// Returns the record of trust, or `None` if there is none for this text of the manifest. That is known without
    /// reading the templates.
    pub(crate) fn record_of(&self, manifest: &Manifest) -> Option<TrustRecord> {
        let directory = manifest.canonical_directory().ok()?;
        let record = self.trust_store().ok()?.read(&directory).ok().flatten()?;
        (record.coverage.manifest == manifest.sha256()).then_some(record)
    }

    /// Compares a manifest with its record.
    pub(crate) fn trust_of(&self, coverage: &Coverage) -> Trust {
        let Ok(store) = self.trust_store() else { return Trust::Unknown(None) };
        match store.read(&coverage.directory()) {
            Ok(Some(record)) if record.coverage == *coverage => Trust::Trusted(record.into()),
            Ok(Some(record)) => Trust::Changed(record.into()),
            Ok(None) => Trust::Unknown(None),
            Err(why) => Trust::Unknown(Some(format!("its record of trust is invalid: {why}"))),
        }
    }

    /// Returns true if `--trust-manifest` or its environment variable names exactly this manifest.
    fn is_named_by_option(&self, coverage: &Coverage) -> bool {
        self.named_manifest()
            .is_some_and(|given| given.eq_ignore_ascii_case(&coverage.fingerprint()))
    }

    fn named_manifest(&self) -> Option<&str> {
        self.trusted_fingerprint.as_deref().or(self.environment.trust_manifest.as_deref())
    }

    /// Records consent, and binds the record to the vault if the vault is open.
    pub(crate) fn trust(&self, coverage: Coverage) -> Result<TrustRecord, Error> {
        self.trusted.replace(Some(coverage.clone()));
        let mut record = TrustRecord::new(coverage);
        let macs =
            self.vault.get().and_then(|vault| vault.trust_macs(&record.coverage.digest()).ok());
        if let Some(macs) = macs {
            record.bind(&macs);
        }

        self.write_trust(&record)?;
        Ok(record)
    }

    fn write_trust(&self, record: &TrustRecord) -> Result<(), Error> {
        self.trust_store()?.write(record).map_err(|source| {
            Error::new(Kind::Failure, format!("cannot write the record of trust: {source}"))
                .hint("use `--trust-manifest=SHA256` if records cannot be written here")
        })
    }

    /// Trusts a manifest as this process has written it.
    pub(crate) fn trust_as_written(&self, directory: &Path, text: &str) {
        let Ok(manifest) = Manifest::parse(directory, text) else { return };
        let trusted = Self::coverage(&manifest).and_then(|coverage| self.trust(coverage));
        if let Err(error) = trusted {
            self.ui.warn(&format!(
                "`{}` is not trusted yet: {}",
                manifest.path().display(),
                error.message()
            ));
        }
    }

    /// Verifies the record of consent with the vault's keys, and binds it if it is not bound yet.
    pub(super) fn verify_consent(&self, vault: &Vault) -> Result<(), Error> {
        let Some(mut record) = self.consent.take() else { return Ok(()) };
        let macs = vault.trust_macs(&record.coverage.digest())?;
        match record.binding(&macs) {
            Binding::Current => return Ok(()),
            Binding::Due => {}
            Binding::Broken => {
                let why = "its record of trust does not match this vault's keys".to_owned();
                let manifest = self.target.require_manifest()?;
                record =
                    self.ask_for_trust(manifest, record.coverage, &Trust::Unknown(Some(why)))?;
            }
        }

        record.bind(&macs);

        // If the record cannot be written, it will be bound next time.
        let _ = self.write_trust(&record);
        Ok(())
    }

    /// Asks on the terminal, and records a yes.
    fn ask_for_trust(
        &self,
        manifest: &Manifest,
        coverage: Coverage,
        trust: &Trust,
    ) -> Result<TrustRecord, Error> {
        let path = manifest.path();

        // With `--json`, stderr contains only one document.
        if self.ui.is_json() || self.named_manifest().is_some() || !prompt::is_possible() {
            return Err(self.not_trusted(&path, &coverage, trust));
        }

        let mut lines = vec![format!("`{}` {}", path.display(), describe_trust(trust))];
        lines.extend(trust.changes(&coverage).into_iter().map(|change| format!("  {change}")));
        if matches!(trust, Trust::Changed(_)) {
            lines.push("It asks for:".into());
        }

        let described = self.describe_coverage(&coverage, LONG);
        lines.extend(described.iter().map(|(label, text)| format!("  {label:<9} {text}")));
        prompt::show(&lines)?;

        let (outputs, variables) = (coverage.outputs.len(), coverage.variables.len());
        let secrets = counted(coverage.number_of_secrets(), "secret");
        let (outputs, variables) = (counted(outputs, "output"), counted(variables, "variable"));

        if !prompt::confirm(&format!("Trust it with {outputs}, {variables} and {secrets}?"), false)?
        {
            let message = format!("`{}` was not trusted; nothing was changed", path.display());
            return Err(Error::new(Kind::Refused, message).into_answer());
        }

        let record = TrustRecord::new(coverage);
        if let Err(error) = self.write_trust(&record) {
            self.ui.warn(&format!("you will be asked again: {}", error.message()));
        }

        Ok(record)
    }

    fn not_trusted(&self, path: &Path, coverage: &Coverage, trust: &Trust) -> Error {
        let path = path.display();
        let named = self.named_manifest();
        let message = match trust {
            _ if named.is_some() => {
                format!(
                    "`{path}` is not the manifest that `--trust-manifest` or its variable names"
                )
            }
            Trust::Changed(_) => format!("`{path}` asks for something other than what you trusted"),
            Trust::Trusted(_) | Trust::Unknown(None) => format!("`{path}` is not trusted"),
            Trust::Unknown(Some(why)) => format!("`{path}` is not trusted: {why}"),
        };

        let changes = trust.changes(coverage);
        let details =
            json!({ "manifest": path.to_string(), "trust": trust.word(), "changes": changes });
        let error = Error::new(Kind::Refused, message)
            .with_notes(changes.iter().map(|change| format!("  {change}")).collect())
            .with_details(details);

        match named {
            Some(given) if given.eq_ignore_ascii_case(&coverage.manifest) => error.hint(
                "use the SHA-256 that `secrets trust --show` prints; this one is of the file alone",
            ),
            Some(_) => {
                error.hint("review it and find the SHA-256 to use with `secrets trust --show`")
            }
            None => error
                .hint("review it with `secrets trust --show`, then trust it with `secrets trust`"),
        }
    }

    /// Describes what a manifest asks for: a label and a text for the project and for each output
    /// and variable. Texts of variables are cut after `most` characters.
    pub(crate) fn describe_coverage(
        &self,
        coverage: &Coverage,
        most: usize,
    ) -> Vec<(&'static str, String)> {
        let project = match &coverage.project {
            Some(name) => format!("`{name}`, {}", self.count_of(name)),
            None => "the one that you choose, or `default`".into(),
        };

        let mut lines = vec![("project", project)];
        lines.extend(coverage.outputs.iter().map(|output| ("output", output.to_string())));
        let variable = |(name, text): &(String, String)| {
            let mark =
                if redirects(name) { " (redirects connections or configuration)" } else { "" };
            ("variable", format!("{}{mark}", CoveredVariable(name, text).described(most)))
        };

        lines.extend(coverage.variables.iter().map(variable));
        lines.extend(coverage.requests.iter().map(|request| ("request", request.clone())));
        for environment in &coverage.environments {
            let (name, project) = (&environment.name, &environment.project);
            let count = self.count_of(project);
            lines.push(("project", format!("`{project}` with `-E {name}`, {count}")));
            let outputs = environment.outputs.iter();
            lines.extend(outputs.map(|(from, to)| {
                ("output", format!("`{to}` with `-E {name}` instead of `{from}`"))
            }));
            lines.extend(environment.variables.iter().map(|pair| {
                let (label, text) = variable(pair);
                (label, format!("{text} with `-E {name}`"))
            }));
        }

        lines
    }

    fn count_of(&self, project: &str) -> String {
        let projects = if self.is_open() {
            self.ask_open_vault(|vault| vault.projects().ok())
        } else {
            self.known_vault().and_then(|vault| vault.projects().ok())
        };

        match projects {
            None => "number of secrets unknown while the vault is locked".into(),
            Some(projects) => match projects.iter().find(|(name, _)| name.as_str() == project) {
                Some((_, count)) => counted(*count, "secret"),
                None => "not in the vault yet".into(),
            },
        }
    }

    /// Opens the vault if that needs no prompt.
    pub(crate) fn open_known_vault(&self) {
        if !self.is_open()
            && let Some(vault) = self.known_vault()
        {
            let _ = self.vault.set(vault);
        }
    }

    /// Returns the vault if an agent or a given passphrase can open it.
    fn known_vault(&self) -> Option<Vault> {
        match self.credentials.given_credential().ok()? {
            Some(credential) => self.locked().ok()?.unlock(&*credential).ok(),
            None => self.vault_of_agent(AGENT_TIMEOUT).ok()?,
        }
    }
}

/// Describes whether a manifest is trusted, as the rest of a sentence after its name.
fn describe_trust(trust: &Trust) -> String {
    match trust {
        Trust::Trusted(_) => "is trusted".into(),
        Trust::Changed(_) => "asks for something other than what you trusted:".into(),
        Trust::Unknown(None) => "is not trusted yet. It asks for:".into(),
        Trust::Unknown(Some(why)) => format!("is not trusted: {why}. It asks for:"),
    }
}
