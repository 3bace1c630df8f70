//! Opens the vault for a command line's values, warns, and records their use.

use secrets_core::vault::{RevealedValues, Vault};
use secrets_runtime::run::environment::Variables;

use super::{VariableRequests, directories, suspects};
use crate::context::{Context, Used};
use crate::error::Error;

impl VariableRequests<'_> {
    /// Resolves the requested values from one state of the vault. Without requests, the vault is
    /// not opened.
    pub(crate) fn open(&self, cx: &Context) -> Result<RevealedValues, Error> {
        // The context does not keep the vault, because the program may run for days.
        if self.needs_values() { self.open_in(&cx.unlock()?, cx) } else { self.open_nothing(cx) }
    }

    /// Returns the variables if that needs no passphrase, or `None` otherwise. A shell tries it again at
    /// each prompt, so warnings and the record of the use come only once there are variables.
    pub(crate) fn variables_without_asking(
        &self,
        cx: &Context,
    ) -> Result<Option<Variables>, Error> {
        if !self.needs_values() {
            return self.variables(&self.open_nothing(cx)?, &[], cx).map(Some);
        }

        let Some(vault) = cx.unkept_vault_without_asking()? else { return Ok(None) };
        cx.check_witness(&vault)?;
        let opened = self.reveal(&vault)?;
        let variables = self.variables(&opened, &[], cx)?;
        self.prepare(&vault, cx)?;
        self.record(&vault, &opened, cx)?;
        Ok(Some(variables))
    }

    fn needs_values(&self) -> bool {
        self.all || !self.wanted().is_empty()
    }

    fn open_nothing(&self, cx: &Context) -> Result<RevealedValues, Error> {
        let has_near_misses =
            self.assignments.iter().any(|assignment| assignment.suspects().has_near_misses());
        let vault =
            if has_near_misses { cx.unkept_vault_without_asking().ok().flatten() } else { None };

        self.warn_of_suspects(vault.as_ref(), cx)?;
        Ok(RevealedValues::none(self.project))
    }

    fn open_in(&self, vault: &Vault, cx: &Context) -> Result<RevealedValues, Error> {
        cx.check_witness(vault)?;
        self.prepare(vault, cx)?;
        let opened = self.reveal(vault)?;
        self.record(vault, &opened, cx)?;
        Ok(opened)
    }

    fn prepare(&self, vault: &Vault, cx: &Context) -> Result<(), Error> {
        self.warn_of_suspects(Some(vault), cx)?;
        directories::remember_run(
            vault,
            cx,
            self.project,
            self.manifest.is_some() || !self.declared.is_empty(),
        )
    }

    fn reveal(&self, vault: &Vault) -> Result<RevealedValues, Error> {
        let (scope, wanted) = (vault.scope(self.project), self.wanted());
        Ok(RevealedValues::open(self.project, &scope, wanted, self.all)?)
    }

    /// Warns of secrets that are not passed on, and records the use of the others.
    fn record(&self, vault: &Vault, opened: &RevealedValues, cx: &Context) -> Result<(), Error> {
        if self.all {
            cx.warn_of_unusable(vault, self.project, "passed")?;
        }

        if !self.args.is_dry_run {
            cx.record_use(&Used::of(vault, self.project, opened.tags()))?;
        }

        Ok(())
    }

    /// Warns about text that may not do what the author of a variable expects, as `render` does for
    /// a template.
    fn warn_of_suspects(&self, vault: Option<&Vault>, cx: &Context) -> Result<(), Error> {
        for assignment in &self.assignments {
            suspects::warn_of_suspects_in(
                vault,
                cx,
                &assignment.template(),
                assignment.suspects(),
            )?;
        }

        Ok(())
    }
}
