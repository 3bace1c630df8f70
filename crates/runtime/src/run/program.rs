//! Checks whether a program can be found, by the rules of execvp(3). The check runs before a
//! passphrase is asked for. Cases that it cannot decide are left to the system.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::RunError;

/// Returns an error if `program` does not exist or cannot be run. `path` is the `PATH` to search.
/// Without it, the system uses a default, which is not checked.
pub fn check_program(program: &OsStr, path: Option<&OsStr>) -> Result<(), RunError> {
    let name = || program.to_string_lossy().into_owned();
    let not_executable = |source| RunError::NotExecutable { name: name(), source };
    if program.is_empty() {
        return Err(RunError::NotFound(name()));
    }

    if program.as_bytes().contains(&b'/') {
        return match Path::new(program).metadata() {
            Ok(_) if is_executable(Path::new(program)) => Ok(()),
            Ok(_) => Err(not_executable(denied())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RunError::NotFound(name()))
            }
            Err(error) => Err(not_executable(error)),
        };
    }

    let Some(path) = path else { return Ok(()) };
    let mut is_denied = false;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        // An empty part of PATH means the working directory.
        let candidate = Path::new(".").join(OsStr::from_bytes(directory)).join(program);
        match candidate.metadata() {
            Ok(_) if is_executable(&candidate) => return Ok(()),
            Ok(_) => is_denied = true,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                io::ErrorKind::PermissionDenied => is_denied = true,
                // The system reports a better error when it tries to run the program.
                _ => return Ok(()),
            },
        }
    }

    Err(if is_denied { not_executable(denied()) } else { RunError::NotFound(name()) })
}

/// Returns true if the path is a file that we may run.
fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// Returns the system's error for a file that must not be run.
fn denied() -> io::Error {
    rustix::io::Errno::ACCESS.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str, path: &str) -> u8 {
        match check_program(OsStr::new(program), Some(OsStr::new(path))) {
            Ok(()) => 0,
            Err(RunError::NotExecutable { .. }) => 126,
            Err(_) => 127,
        }
    }

    #[test]
    fn a_program_is_found_as_the_system_finds_it() {
        for (program, path, code) in [
            ("sh", "/nowhere:/bin", 0),
            ("sh", "/nowhere:/etc/passwd", 127),
            ("passwd", "/etc", 126),
            ("passwd", "/etc:/bin:/usr/bin", 0),
            ("", "/bin", 127),
            ("/bin/sh", "", 0),
            ("/bin/nowhere", "/bin", 127),
            ("/bin/sh/sh", "/bin", 126),
            ("/etc/passwd", "/bin", 126),
            ("/etc", "/bin", 126),
            ("Cargo.toml", "", 126),
            ("Cargo.toml", "/bin:", 126),
            ("Cargo.toml", "/bin", 127),
        ] {
            assert_eq!(found(program, path), code, "{program} in {path}");
        }

        assert!(check_program(OsStr::new("nowhere"), None).is_ok());
    }
}
