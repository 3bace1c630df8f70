//! `secrets offer`: the process that offers a value on the clipboard. Users do not run it.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::stdio::dup2_stdin;
use secrets_core::model::{SecretBytes, SecretValue};
use secrets_runtime::clipboard::offer;

use super::shared::ready::signal_ready;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::input;

/// Offer a value on the clipboard; started by `secrets copy`
#[derive(clap::Args)]
pub(crate) struct OfferArgs {
    /// Offer it for this time
    #[arg(long)]
    seconds: u64,
}

pub(crate) fn run(args: &OfferArgs, _: &Context) -> Result<(), Error> {
    offer(Duration::from_secs(args.seconds), take_value, signal_ready)
        .map_err(|error| Error::new(Kind::Failure, error.to_string()))
}

/// Reads the value from stdin, where `copy` sends it, and replaces stdin with /dev/null.
fn take_value() -> io::Result<SecretBytes> {
    let value = input::stdin(SecretValue::MAX).map_err(io::Error::other)?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(value)
}
