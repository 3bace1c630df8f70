//! The clipboard of a desktop.
//!
//! A copied text is there only as long as the program that copied it serves it. So a process of ours
//! offers a value for a limited time. When it ends, the clipboard loses the value, unless something else
//! was copied in the meantime. Nothing reads the clipboard to find that out. The value is marked as a password,
//! so that programs that keep a history of the clipboard leave it out.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use arboard::Clipboard;
#[cfg(target_os = "macos")]
use arboard::SetExtApple as _;
#[cfg(not(target_os = "macos"))]
use arboard::SetExtLinux as _;
use rustix::process::{Pid, Signal, kill_process};
use secrets_core::model::SecretBytes;

use crate::helper::{FirstByte, Helper, READY, hand_over};
use crate::process;

/// The variables by which a program finds the clipboard.
pub const VARIABLES: [&str; 6] =
    ["DISPLAY", "HOME", "PATH", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"];

/// How long we wait for the process to offer the value.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long `wl-copy` has to refuse its options or the display.
const REFUSAL: Duration = Duration::from_millis(300);

/// Why a value was not copied.
#[derive(Debug, thiserror::Error)]
pub enum ClipboardError {
    /// The value is not UTF-8, or has a NUL
    #[error("the value is not text")]
    NotText,
    /// No display, or one whose clipboard programs cannot use
    #[error("there is no clipboard that programs can use here")]
    Unavailable,
    /// The process did not start or answer
    #[error("cannot start the process that offers the value: {0}")]
    Process(std::io::Error),
}

/// Starts a process that offers a value for this time, and waits until it does. It gets the value through
/// a pipe, and of the environment only what `variable` returns for [`VARIABLES`].
pub fn copy(
    executable: &Path,
    value: &[u8],
    time: Duration,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), ClipboardError> {
    if std::str::from_utf8(value).is_err() || value.contains(&0) {
        return Err(ClipboardError::NotText);
    }

    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|it| variable(it).is_some());
    if !has_display && !cfg!(target_os = "macos") {
        return Err(ClipboardError::Unavailable);
    }

    let seconds = time.as_secs().to_string();
    let mut command = Helper::Offer { seconds: &seconds }.command(executable);
    command.envs(VARIABLES.into_iter().filter_map(|name| Some((name, variable(name)?))));
    let (mut process, said) =
        hand_over(command, value, PATIENCE).map_err(ClipboardError::Process)?;
    if matches!(said, FirstByte::Said(READY)) {
        return Ok(());
    }

    let _ = process.kill();
    let _ = process.wait();
    Err(ClipboardError::Unavailable)
}

/// Runs the process that offers a value. `take` reads the value, and `ready` reports that it is offered.
pub fn offer(
    time: Duration,
    take: impl FnOnce() -> std::io::Result<SecretBytes>,
    ready: impl FnOnce() -> std::io::Result<()>,
) -> Result<(), ClipboardError> {
    process::detach(c"secrets-offer").map_err(ClipboardError::Process)?;
    let value = take().map_err(ClipboardError::Process)?;
    let text = std::str::from_utf8(value.expose()).map_err(|_| ClipboardError::NotText)?;
    let end = Instant::now() + time;
    let wait = || sleep(end.saturating_duration_since(Instant::now()));

    if let Ok(mut clipboard) = Clipboard::new()
        && clipboard.set().exclude_from_history().text(text).is_ok()
    {
        ready().map_err(ClipboardError::Process)?;
        wait();
        retract(clipboard, text);
        return Ok(());
    }

    let mut program = wl_copy(value.expose()).ok_or(ClipboardError::Unavailable)?;
    ready().map_err(ClipboardError::Process)?;
    wait();

    // It serves the value until something else is copied. SIGTERM takes the value away.
    if let (Ok(None), Some(pid)) =
        (program.try_wait(), i32::try_from(program.id()).ok().and_then(Pid::from_raw))
    {
        let _ = kill_process(pid, Signal::TERM);
    }

    let _ = program.wait();
    Ok(())
}

/// Takes the value away, unless something else was copied in the meantime.
#[cfg(not(target_os = "macos"))]
fn retract(clipboard: Clipboard, _: &str) {
    // The display forgets the value when this process ends. Dropping the clipboard would first offer the
    // value to a program that keeps it.
    std::mem::forget(clipboard);
}

/// Takes the value away, unless something else was copied in the meantime. Here the system keeps the
/// value, so it is compared.
#[cfg(target_os = "macos")]
fn retract(mut clipboard: Clipboard, text: &str) {
    if clipboard.get_text().is_ok_and(|now| now == text) {
        let _ = clipboard.clear();
    }
}

/// Starts `wl-copy` for a compositor that lets no background program use its clipboard. Versions
/// before 2.3 cannot mark the value as a password.
fn wl_copy(value: &[u8]) -> Option<Child> {
    [&["--foreground", "--sensitive"][..], &["--foreground"]].into_iter().find_map(|options| {
        let mut command = Command::new("wl-copy");
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut program = command.spawn().ok()?;
        let written = program.stdin.take()?.write_all(value).is_ok();
        sleep(REFUSAL);
        let is_kept = written && matches!(program.try_wait(), Ok(None));
        is_kept.then_some(program)
    })
}
