//! The server process of a cluster: how it starts, stops and crashes.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::installation::Installation;
use crate::watcher::Watcher;

/// The time in which a server must start or end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server of a cluster, which may run or not.
pub(crate) struct Postmaster {
    installation: Installation,
    directory: PathBuf,
    port: u16,
    process: Mutex<Option<Child>>,
    watcher: Watcher,
}

impl Postmaster {
    /// Starts the server of a prepared directory on a free port.
    pub(crate) fn start(installation: &Installation, directory: &Path, watcher: Watcher) -> Self {
        let mut postmaster = Self {
            installation: installation.clone(),
            directory: directory.to_owned(),
            port: free_port(),
            process: Mutex::new(None),
            watcher,
        };

        // Another process may take the port before the server does.
        for _ in 0..20 {
            match postmaster.launch() {
                Ok(()) => return postmaster,
                Err(log) if log.contains("could not bind") => postmaster.port = free_port(),
                Err(log) => panic!("PostgreSQL does not start: {log}"),
            }
        }

        panic!("PostgreSQL finds no free port: {}", postmaster.log());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the id of the running process.
    pub(crate) fn id(&self) -> Option<u32> {
        self.running().as_ref().map(Child::id)
    }

    /// Returns everything that the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Starts the server again on the same port.
    pub(crate) fn restart(&self) {
        self.stop_immediately();
        if let Err(log) = self.launch() {
            panic!("PostgreSQL does not start again: {log}");
        }
    }

    /// Stops the server without a checkpoint.
    pub(crate) fn stop_immediately(&self) {
        if let Some(mut child) = self.running().take() {
            let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
            child.wait().unwrap();
            self.watcher.watch(None);
        }
    }

    /// Kills the postmaster and all its children.
    ///
    /// Each child leads a session of its own, so that no process group contains all of them. The
    /// postmaster is stopped first. Then it cannot start other children or react to their end.
    pub(crate) fn kill(&self) {
        let Some(mut child) = self.running().take() else { return };
        let id = Pid::from_child(&child);
        let _ = kill_process(id, Signal::STOP);

        let children = children_of(child.id());
        for process in children.iter().copied().chain([id]) {
            let _ = kill_process(process, Signal::KILL);
        }

        child.wait().unwrap();
        self.watcher.watch(None);
        wait_for("the end of all processes", || {
            let running = running_processes();
            !running.iter().any(|process| children.contains(&process.id))
        });
    }

    /// Starts the server and waits until it accepts connections. Returns its log on failure.
    fn launch(&self) -> Result<(), String> {
        let mut options = OpenOptions::new();
        let log = options.append(true).create(true).open(self.directory.join("log")).unwrap();

        // In a process group of its own, the server survives an interrupt at the terminal.
        let mut command = self.installation.command("postgres");
        command.arg("-D").arg(self.directory.join("data")).args(["-p", &self.port.to_string()]);
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);

        let child = command.spawn().unwrap();
        let id = child.id();
        self.watcher.watch(Some(id));
        *self.process.lock().unwrap() = Some(child);

        let start = Instant::now();
        while self.id().is_some() {
            if self.is_ready(id) {
                return Ok(());
            }

            assert!(start.elapsed() < PATIENCE, "PostgreSQL hangs: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }

        Err(self.log())
    }

    /// Returns the process if it runs. Forgets a process that has ended, because another one may
    /// get its id.
    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        let mut process = self.process.lock().unwrap();
        if process.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
            *process = None;
            self.watcher.watch(None);
        }

        process
    }

    /// Returns true if the server has noted in `postmaster.pid` that it accepts connections.
    ///
    /// The first line is the id of the process, because a crash leaves an old file behind. The
    /// eighth line is the state. A standby that accepts no queries remains in the state `standby`.
    fn is_ready(&self, id: u32) -> bool {
        let path = self.directory.join("data/postmaster.pid");
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);

        lines.next() == Some(&id.to_string())
            && lines.nth(6).is_some_and(|state| matches!(state, "ready" | "standby"))
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        self.stop_immediately();
    }
}

/// Waits until a condition is true. Panics if this takes too long.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a port on which no process listens.
///
/// The port is below those that the system gives to outgoing connections. Otherwise a connection
/// could take it while the server does not run.
pub(crate) fn free_port() -> u16 {
    static COUNTER: AtomicU32 = AtomicU32::new(0);

    for _ in 0..1000 {
        let number = std::process::id() * 61 + COUNTER.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(16_384 + number % 16_384).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }

    panic!("no port is free");
}

/// A process that has not ended.
struct Process {
    id: Pid,
    parent: u32,
}

fn children_of(parent: u32) -> Vec<Pid> {
    let running = running_processes();
    running.iter().filter(|process| process.parent == parent).map(|process| process.id).collect()
}

/// Returns all processes except zombies.
fn running_processes() -> Vec<Process> {
    let arguments = ["-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="];
    let output = Command::new("ps").args(arguments).output().expect("tests need `ps`");
    String::from_utf8_lossy(&output.stdout).lines().filter_map(running_process).collect()
}

/// Returns the process of a line `ID PARENT STATE`, or none if it is a zombie.
fn running_process(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    let id = Pid::from_raw(words.next()?.parse().ok()?)?;
    let parent = words.next()?.parse().ok()?;
    (!words.next()?.starts_with('Z')).then_some(Process { id, parent })
}
