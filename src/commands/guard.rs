//! `secrets guard`: the process that removes private files where `run` is killed. Not for people.

use std::io;
use std::path::PathBuf;

use super::agent::tell;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::run::guard;

/// Remove private files when `secrets run` is gone; started by it
#[derive(clap::Args)]
pub(crate) struct GuardArgs {
    /// Which
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
}

pub(crate) fn run(args: &GuardArgs, _: &Context) -> Result<(), Error> {
    let failed =
        |source| Error::new(Kind::Failure, format!("cannot remove private files: {source}"));
    guard(&args.directory, tell, io::stdin()).map_err(failed)
}
