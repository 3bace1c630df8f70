//! `secrets monitor`: the process between `run` and a program on a pseudo-terminal. Users do not
//! run it.

use std::ffi::OsString;

use secrets_runtime::process::terminate_by;
use secrets_runtime::run::{Outcome, monitor};

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::raw;

/// Lead a program's session on a pseudo-terminal; started by `secrets run`
#[derive(clap::Args)]
pub(crate) struct MonitorArgs {
    /// Run this program with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &MonitorArgs, _: &Context) -> Result<u8, Error> {
    let [environment, terminal, _] =
        raw::streams().map_err(|source| Error::new(Kind::Failure, source.to_string()))?;
    let outcome = monitor(&args.command, environment, &terminal)
        .map_err(|error| Error::from(error).in_run())?;
    if let Outcome::Signal(signal) = outcome {
        terminate_by(signal);
    }

    Ok(outcome.code())
}
