//! Programs of other secrets managers, whose output is imported.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};

use secrets_core::model::SecretBytes;
use secrets_project::variables::is_setting;

/// The size in bytes of a piece of the output.
const PIECE: usize = 64 * 1024;

/// The output of a program, and how it ended.
pub struct Printed {
    /// Its output
    pub output: SecretBytes,
    pub status: ExitStatus,
}

/// Runs a program until it ends. It shares our stdin and stderr, so that it can ask for its own
/// passphrase, and gets our variables except the settings of `secrets`.
///
/// # Errors
/// The program cannot be started (`NotFound` if it is not installed), or prints more than `most` bytes
/// (`FileTooLarge`).
pub fn output_of(
    program: &str,
    arguments: &[&OsStr],
    variables: impl Iterator<Item = (OsString, OsString)>,
    most: usize,
) -> io::Result<Printed> {
    let is_kept = |(name, _): &(OsString, OsString)| name.to_str().is_none_or(|it| !is_setting(it));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables.filter(is_kept))
        .stdout(Stdio::piped())
        .spawn()?;

    let mut output = SecretBytes::with_capacity(PIECE);
    let mut piece = SecretBytes::zeroed(PIECE);
    let mut is_too_large = false;
    if let Some(mut stdout) = child.stdout.take() {
        loop {
            match stdout.read(piece.expose_mut()) {
                Ok(0) => break,
                Ok(length) => output.extend(&piece.expose()[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }

            // Without a reader, the program ends at its next write.
            is_too_large = output.len() > most;
            if is_too_large {
                break;
            }
        }
    }

    let status = child.wait()?;
    if is_too_large {
        Err(io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(Printed { output, status })
    }
}
