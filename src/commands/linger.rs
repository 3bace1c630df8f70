//! `secrets linger`: the process that masks output that arrives after the program has ended. Users
//! do not run it.

use secrets_runtime::run::linger;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::raw;

/// Mask output that other processes print after a program has ended; started by `secrets run`
#[derive(clap::Args)]
pub(crate) struct LingerArgs {}

pub(crate) fn run(_: &LingerArgs, _: &Context) -> Result<(), Error> {
    linger(raw::streams).map_err(|error| Error::new(Kind::Failure, error.to_string()))
}
