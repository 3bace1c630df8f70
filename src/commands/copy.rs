//! `secrets copy`: puts a value on the clipboard for a while.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use clap_complete::ArgValueCompleter;
use secrets_core::model::{Secret, SecretBytes, SecretRef, SecretValue};

use super::shared::clipboard::{self, revealed};
use crate::completion;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::CopiedSecret;
use crate::ui::prompt::TERMINAL;
use crate::ui::time::{parse_duration, span};

const EXAMPLES: &str = "\
Examples:
  secrets copy mail-password                    paste it within 45 seconds
  secrets copy mail-password --clear-after 10s
  secrets copy mail-password --osc52            over ssh";

/// Put a value on the clipboard for a while
///
/// Every program that runs on the same desktop can read the clipboard while the value is there. It
/// is marked as a password, so that programs that keep a history of the clipboard leave it out. After
/// the time, it is taken away, unless something else was copied in the meantime. It works with X11,
/// with Wayland and on macOS.
///
/// --osc52 sends the value to the terminal instead, which puts it on its own clipboard. That also works
/// over ssh, but nothing clears it, and a program that records the terminal records it too. In tmux it
/// needs `set -g set-clipboard on`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CopyArgs {
    /// Copy the value of this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
    /// Clear the clipboard after this time: 10s, 2m; at most 1h
    #[arg(long, value_name = "TIME", default_value = "45s", value_parser = parse_clear_after)]
    clear_after: Duration,
    /// Send the value to the terminal, which is asked to copy it
    #[arg(long, conflicts_with = "clear_after")]
    osc52: bool,
}

/// The longest time for which a value is offered.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The longest value that terminals take, in bytes.
const OSC52_MAX: usize = 74_994;

fn parse_clear_after(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time > LONGEST { Err("the longest time is 1h".to_owned()) } else { Ok(time) }
}

pub(crate) fn run(args: &CopyArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let secret = vault.get(project, &args.secret)?;
    let cleared = if args.osc52 {
        send_to_terminal(&revealed(cx, vault, &secret)?)?;
        None
    } else {
        clipboard::copy(cx, vault, &secret, args.clear_after)?;
        Some(args.clear_after)
    };

    report(cx, &secret, cleared)
}

fn report(cx: &Context, secret: &Secret, cleared: Option<Duration>) -> Result<(), Error> {
    let tag = &secret.metadata.tag;
    let message = match cleared {
        Some(time) => format!("copied `{tag}`; the clipboard is cleared in {}", span(time)),
        None => format!("sent `{tag}` to the terminal's clipboard, which nothing clears"),
    };
    cx.ui.status(&message);
    cx.ui.document(|| Ok(CopiedSecret::new(secret, cleared)))
}

/// Asks the terminal to copy a value, by the escape sequence OSC 52 of xterm.
fn send_to_terminal(value: &SecretValue) -> Result<(), Error> {
    let bytes = value.expose();
    if bytes.len() > OSC52_MAX {
        let message = format!("terminals copy at most {OSC52_MAX} bytes");
        return Err(Error::new(Kind::Refused, message).hint("copy it without `--osc52`"));
    }

    let mut sequence = SecretBytes::with_capacity(bytes.len() / 3 * 4 + 32);
    sequence.extend(b"\x1b]52;c;");
    let mut encoded = SecretBytes::zeroed(Base64::encoded_len(bytes));
    Base64::encode(bytes, encoded.expose_mut())
        .map_err(|_| Error::new(Kind::Failure, "cannot encode the value"))?;
    sequence.extend(encoded.expose());
    sequence.extend(b"\x07");

    let mut terminal = File::options().write(true).open(TERMINAL).map_err(|_| {
        Error::usage("there is no terminal that could copy the value")
            .hint("run it on a terminal, or without `--osc52` on a desktop")
    })?;
    terminal.write_all(sequence.expose()).map_err(|error| {
        Error::new(Kind::Failure, format!("cannot write to the terminal: {error}"))
    })
}
