//! Stops the server when the test process ends, no matter how it ends.

use std::io::{PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Reads one line for each start or stop of the server: the id of the postmaster, or nothing.
/// At the end of the input, stops the last postmaster and removes the directory `$1`.
///
/// An immediate shutdown removes `postmaster.pid`. A crash leaves that file behind, and with it a
/// segment of shared memory, whose id is the last word of line 7.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
file=$1/data/postmaster.pid
postmaster=
while read -r line; do postmaster=$line; done

if [ -n "$postmaster" ]; then
    kill -QUIT "$postmaster"
    tries=0
    while [ -e "$file" ] && kill -0 "$postmaster" && [ "$tries" -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    [ "$tries" -lt 200 ] || kill -KILL "$postmaster"
fi

if [ -e "$file" ]; then
    segment=$(sed -n '7s/.* //p' "$file")
    [ -z "$segment" ] || ipcrm -m "$segment"
fi

rm -rf "$1" || { sleep 0.5; rm -rf "$1"; }
"#;

/// A shell that waits for the end of this process.
///
/// Only this process holds the write end of the shell's standard input, and no program that it
/// starts inherits that end. The kernel closes it even after SIGKILL. Between the start of a server
/// and [`Watcher::watch`] lies a moment in which the shell does not know the server. A server that
/// is left over from that moment stops within a minute, because its directory no longer exists.
pub(crate) struct Watcher {
    shell: Child,
    pipe: Option<PipeWriter>,
}

impl Watcher {
    /// Starts a watcher that removes the directory in the end.
    pub(crate) fn start(directory: &Path) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();

        // In a process group of its own, the shell survives an interrupt at the terminal.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "watcher"]).arg(directory).current_dir("/");
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);

        Self { shell: command.spawn().unwrap(), pipe: Some(writer) }
    }

    /// Reports the postmaster that runs from now on, or none.
    pub(crate) fn watch(&self, postmaster: Option<u32>) {
        let line = postmaster.map(|id| id.to_string()).unwrap_or_default() + "\n";
        let mut pipe = self.pipe.as_ref().unwrap();
        pipe.write_all(line.as_bytes()).expect("the watcher has stopped");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
