//! `secrets agent`: the process that `unlock` starts. Not for people.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::stdio::dup2_stdout;

use crate::agent::{Place, serve};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::raw::Stdout;

/// Hold the keys of unlocked vaults; started by `secrets unlock`
#[derive(clap::Args)]
pub(crate) struct AgentArgs {
    /// Where to listen
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
}

pub(crate) fn run(args: &AgentArgs, _: &Context) -> Result<(), Error> {
    let place = Place::existing(&args.directory)?;
    let place = place.ok_or_else(|| Error::new(Kind::NotFound, "there is no such directory"))?;
    serve(&place, tell).map_err(|source| Error::new(Kind::Failure, format!("the agent ended: {source}")))
}

/// Tells whoever waits at the other end of stdout that the socket listens, and lets go of it.
pub(super) fn tell() -> io::Result<()> {
    Stdout.write_all(b".")?;
    Ok(dup2_stdout(File::options().write(true).open("/dev/null")?)?)
}
