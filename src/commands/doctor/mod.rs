//! `secrets doctor`: looks for what makes the vault or the project less safe than it could be.

mod place;
mod project;
mod values;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::{Diagnosis, Finding, FoundSecret, Health};
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets doctor
  secrets doctor --json | jq '.checks[] | select(.state != \"ok\")'";

/// Look for what makes your secrets less safe
///
/// Checks who can read the vault, the cost of guessing its passphrase, the recovery code, the age of the
/// last backup, whether the current directory's .secrets.toml is trusted and git ignores its outputs, and
/// the values: expired, unused for 90 days on this machine, easy to guess, or stored more than once. Values
/// are compared by keyed fingerprints. Nothing is changed, and no value is printed.
///
/// The checks of values need an unlocked vault; the passphrase is not asked for. The exit code is 8 if there
/// is a problem, and 0 if there are only warnings.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {}

/// The results of the checks, in order.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Health::Ok, message.into(), None);
    }

    fn skipped(&mut self, check: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Health::Skipped, message.into(), Some(fix.into()));
    }

    fn warning(&mut self, check: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Health::Warning, message.into(), Some(fix.into()));
    }

    fn problem(&mut self, check: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Health::Problem, message.into(), Some(fix.into()));
    }

    fn add(&mut self, check: &'static str, state: Health, message: String, fix: Option<String>) {
        let fix = fix.filter(|fix| !fix.is_empty());
        self.0.push(Finding { check, state, message, secrets: Vec::new(), fix });
    }

    /// Names all secrets of the last finding.
    fn name(&mut self, secrets: Vec<FoundSecret>) {
        if let Some(last) = self.0.last_mut() {
            last.secrets = secrets;
        }
    }

    /// Adds an error that a command would report.
    fn error(&mut self, check: &'static str, error: &Error, cx: &Context) {
        let fix = error.hints(cx.target.selection()).join("; ");
        self.problem(check, error.message(), fix);
    }
}

pub(crate) fn run(_: &DoctorArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let mut found = Findings::default();
    if place::check(&mut found, cx)? {
        project::check(&mut found, cx);
        values::check(&mut found, cx)?;
    }

    let problems = found.0.iter().filter(|one| one.state == Health::Problem).count();
    cx.ui.print(&Diagnosis { checks: found.0 })?;
    if problems == 0 {
        return Ok(());
    }

    Err(Error::new(Kind::Differs, format!("found {}", counted(problems, "problem"))).into_answer())
}
