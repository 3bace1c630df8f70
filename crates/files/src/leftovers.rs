//! The names of unfinished files, and their removal after their writer was killed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// The prefix of the names of unfinished files. The writer's process id follows, then `-`.
const PREFIX: &str = ".new-";
/// The length of the random part of a name: 16 hexadecimal digits and `-`.
const RANDOM: usize = 17;
/// A file that was not touched for this long is not being written any more. The process id alone
/// proves nothing if the writer ran in another PID namespace.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Returns the prefix of the names that this process gives to unfinished files.
pub fn own_prefix() -> String {
    format!("{PREFIX}{}-", rustix::process::getpid().as_raw_nonzero())
}

/// Returns a new name for an unfinished file: the prefix, 16 random hexadecimal digits, and `-`.
pub fn drawn_name() -> io::Result<String> {
    Ok(format!("{}{:016x}-", own_prefix(), random()?))
}

/// Returns 64 random bits, for a name that nobody can predict.
pub fn random() -> io::Result<u64> {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn)
        .map_err(|_| io::Error::other("the random number generator failed"))?;
    Ok(u64::from_be_bytes(drawn))
}

/// Returns the part after the writer's process id in the name of an unfinished file, if that
/// process no longer exists.
fn suffix(name: &OsStr) -> Option<&[u8]> {
    let name = name.as_encoded_bytes().strip_prefix(PREFIX.as_bytes())?;
    let (writer, rest) = name.split_at(name.iter().position(|byte| *byte == b'-')?);
    is_dead(std::str::from_utf8(writer).ok()?.parse().ok()?).then_some(rest)
}

/// Returns true if no process has this id.
pub fn is_dead(process: i32) -> bool {
    Pid::from_raw(process).is_some_and(|process| test_kill_process(process) == Err(Errno::SRCH))
}

/// Removes the unfinished files of dead processes from a directory that only we write to.
pub fn remove_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if suffix(&entry.file_name()).is_some() {
            fs::remove_file(entry.path())?;
        }
    }

    Ok(())
}

/// Removes unfinished files for `target` of dead processes. `companions` are the suffixes of files
/// that belong to them. The files may be whole copies of a vault.
pub fn remove_for(target: &Path, companions: &[&str]) {
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else { return };
    let name = name.as_encoded_bytes();
    let is_ours = |rest: &[u8]| {
        let Some((random, meant)) = rest.split_at_checked(RANDOM + 1) else { return false };
        let is_drawn =
            random[1..RANDOM].iter().all(u8::is_ascii_hexdigit) && random[RANDOM] == b'-';
        let is_companion =
            |suffix: &&str| meant.strip_suffix(suffix.as_bytes()).is_some_and(|rest| rest == name);

        is_drawn && (meant == name || companions.iter().any(is_companion))
    };

    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let touched = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if suffix(&entry.file_name()).is_some_and(is_ours)
            && touched().is_some_and(|ago| ago > ABANDONED)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
