//! `secrets guard`: the process that removes private files if `run` is killed. Users do not run it.

use std::io;
use std::path::PathBuf;

use secrets_runtime::run::guard;

use super::shared::ready::signal_ready;
use crate::context::Context;
use crate::error::{Error, Kind};

/// Remove private files after `secrets run` has ended; started by `secrets run`
#[derive(clap::Args)]
pub(crate) struct GuardArgs {
    /// Remove this directory
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
}

pub(crate) fn run(args: &GuardArgs, _: &Context) -> Result<(), Error> {
    let failed =
        |source| Error::new(Kind::Failure, format!("cannot remove private files: {source}"));
    guard(&args.directory, signal_ready, io::stdin()).map_err(failed)
}
