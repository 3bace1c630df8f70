//! The default project of a vault on this machine, which `secrets project use` sets.

use std::os::unix::ffi::OsStrExt;

use secrets_core::model::ProjectName;
use secrets_files::Records;

use super::Target;
use crate::error::{Error, Kind};

/// The maximum number of bytes of a record, which has the name.
const MAX_SIZE: u64 = 512;

impl Target {
    /// Returns the project of `secrets project use`.
    pub(crate) fn used_project(&self) -> Result<Option<ProjectName>, Error> {
        let Some(records) = self.records() else { return Ok(None) };
        if !records.directory().is_dir() {
            return Ok(None);
        }

        let failed = |why: String| {
            Error::new(Kind::Failure, format!("cannot read the default project: {why}")).hint(
                "set it again with `secrets project use NAME`, or choose a project with `-p NAME`",
            )
        };

        let Some(bytes) =
            records.read(&self.record_name()?).map_err(|error| failed(error.to_string()))?
        else {
            return Ok(None);
        };

        let name = String::from_utf8_lossy(&bytes);
        ProjectName::parse(&name).map(Some).map_err(|why| failed(why.to_string()))
    }

    /// Sets the default project of this vault, or removes it.
    pub(crate) fn use_project(&self, project: Option<&ProjectName>) -> Result<(), Error> {
        let Some(records) = self.records() else {
            return Err(Error::new(Kind::Failure, "there is no state directory for the default")
                .hint("set HOME or XDG_STATE_HOME"));
        };

        let name = self.record_name()?;
        let done = match project {
            Some(project) => records.write(&name, project.as_str().as_bytes()),
            None => records.remove(&name).map(drop),
        };

        done.map_err(|error| {
            let place = records.directory().display();
            Error::new(Kind::Failure, format!("cannot write the default to `{place}`: {error}"))
        })
    }

    fn records(&self) -> Option<Records> {
        let directory = self.environment.state("default-project")?;
        Some(Records::new(&directory, MAX_SIZE))
    }

    fn record_name(&self) -> Result<String, Error> {
        let vault = self.canonical_vault_path()?;
        Ok(Records::name_of(&[vault.as_os_str().as_bytes()]))
    }
}
