//! `secrets link`: the process that keeps the connection to the server of a vault. Users do not run it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::stdio::dup2_stdin;
use secrets_core::model::SecretBytes;
use secrets_runtime::agent::{MAX_FRAME, RuntimeDir};

use super::shared::ready::signal_ready;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::input;

/// Keep the connection to the server of a vault; started by `secrets unlock`
#[derive(clap::Args)]
pub(crate) struct LinkArgs {
    /// Listen in this directory
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
}

pub(crate) fn run(args: &LinkArgs, _: &Context) -> Result<(), Error> {
    let place = RuntimeDir::existing(&args.directory)?;
    place.ok_or_else(|| Error::new(Kind::NotFound, "the directory does not exist"))?;
    secrets_link::serve(take_address, signal_ready)
        .map_err(|source| Error::new(Kind::Failure, format!("the link ended: {source}")))
}

/// Reads the address from stdin, where `unlock` sends it, and replaces stdin with /dev/null.
fn take_address() -> io::Result<SecretBytes> {
    let frame = input::stdin(MAX_FRAME).map_err(io::Error::other)?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(frame)
}
