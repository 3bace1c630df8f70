//! Programs that tests start besides ours: where they are, who runs them, and how they end.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Once};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};

/// The directories of the programs that tests start.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The user id of `nobody`.
pub const NOBODY: u32 = 65534;

/// A limit that even a busy machine does not reach.
const AT_MOST: Duration = Duration::from_secs(20);

/// Prepares git in a directory, with an identity and a home of its own, and with neither the
/// environment nor the configuration of this machine.
pub fn git(directory: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    for setting in ["user.name=me", "user.email=me@example.org", "init.defaultBranch=main"] {
        git.args(["-c", setting]);
    }

    git.args(arguments).current_dir(directory).env_clear();
    git.env("PATH", PATH).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    git
}

/// Gives programs that tests start the usual reaction to signals, even if `cargo test` was started
/// with some ignored, as by `nohup` or in a script's background job. A caught signal is reset when
/// a program starts, an ignored one is not.
pub fn reset_ignored_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored =
            mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();

        for signal in [SIGHUP, SIGINT, SIGQUIT] {
            if ignored & 1 << (signal - 1) != 0 {
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

/// Returns true if a program of this name is installed.
pub fn has(program: &str) -> bool {
    Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap().status.success()
}

pub fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the variables that are set in a prepared command, for another program that starts it.
pub fn environment(command: &Command) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    command.get_envs().filter_map(|(name, value)| Some((name, value?)))
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, done: impl FnMut() -> bool) {
    within(AT_MOST, what, done);
}

/// Waits until a condition holds, and asserts that it does so in time.
#[track_caller]
pub fn within(time: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < time, "{what}: not in {time:?}");
        sleep(Duration::from_millis(5));
    }
}

pub fn is_alive(pid: &str) -> bool {
    !has_ended(Pid::from_raw(pid.trim().parse().unwrap()).unwrap())
}

/// Returns true if a process has ended, even if nobody has reaped it.
pub fn has_ended(pid: Pid) -> bool {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid) == Err(Errno::SRCH) || stat.contains(") Z ")
}
