//! `secrets linger`: the process that goes on masking what is printed after the end of a program. Not for people.

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::run::linger;
use crate::ui::raw;

/// StreamMask what others go on printing when a program has ended; started by `secrets run`
#[derive(clap::Args)]
pub(crate) struct LingerArgs {}

pub(crate) fn run(_: &LingerArgs, _: &Context) -> Result<(), Error> {
    linger(raw::streams).map_err(|error| Error::new(Kind::Failure, error.to_string()))
}
