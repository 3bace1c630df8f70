//! `secrets agent`: the process that `secrets unlock` starts. Users do not run it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::stdio::dup2_stdin;
use secrets_core::model::SecretBytes;
use secrets_runtime::agent::{MAX_FRAME, RuntimeDir, serve};
use secrets_runtime::helper::READY;

use super::shared::ready::send_byte;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::input;

/// Hold the key of an unlocked vault; started by `secrets unlock`
#[derive(clap::Args)]
pub(crate) struct AgentArgs {
    /// Listen in this directory
    #[arg(long, value_name = "PATH")]
    directory: PathBuf,
}

pub(crate) fn run(args: &AgentArgs, _: &Context) -> Result<(), Error> {
    let place = RuntimeDir::existing(&args.directory)?;
    let place = place.ok_or_else(|| Error::new(Kind::NotFound, "the directory does not exist"))?;
    let ready = |in_memory| send_byte(if in_memory { READY } else { b'!' });
    serve(&place, take_key, ready)
        .map_err(|source| Error::new(Kind::Failure, format!("the agent ended: {source}")))
}

/// Reads the key from stdin, where `unlock` sends it, and replaces stdin with /dev/null.
fn take_key() -> io::Result<SecretBytes> {
    let frame = input::stdin(MAX_FRAME + 4).map_err(io::Error::other)?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(frame)
}
