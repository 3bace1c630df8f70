//! A fault at every call into the file system: SIGKILL, a full disk and a broken disk, at each call
//! of each command that writes. Afterwards the vault is in the old state or the new one. An
//! acknowledged change is in the new state and was flushed, and the next command leaves nothing
//! behind.
//!
//! `strace` counts a command's calls, then fails or kills it at one after the other. A kill before
//! a call that changes nothing equals a kill before the next call that does, so kills and full
//! disks are only tried at calls that change something. A broken disk (EIO) is tried at all. If
//! strace is not available, the tests report that on stderr and pass, as in `output_faults`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use terminal_secrets::model::Description;
use terminal_secrets::store::SqliteStore;
use terminal_secrets::vault::{Locked, SecretChanges};

use crate::support::faults::strace_is_here;
use crate::support::files::passphrase_file;
use crate::support::programs::environment;
use crate::support::specimen::{root, vault_rows};
use crate::support::values::reveal;
use crate::support::{PASSPHRASE, Run, Sandbox, passphrase, project, secret};

/// The stored value, the one that replaces it, and the text that no message may contain a piece of.
const OLD: &str = "0ldV4lue-qWmZrTbXnKcLpHsJdFgVyUiOeAaSxCvBn";
const NEW: &str = "n3wV4lue-MzLaKsJdHfGqPwOeIrUtYvXcBnQmWnEbT";

/// A command that is faulted. To add one, add a line to [`CASES`].
struct Case {
    /// Its arguments. The file `value` holds the new value, and `@` stands for the sandbox
    line: &'static str,
    /// Creates the files that the sandbox holds in addition to the vault
    prepare: fn(&Sandbox),
}

impl Case {
    fn words(&self, sandbox: &Sandbox) -> Vec<String> {
        let path = |word: &str| {
            word.strip_prefix('@').map(|name| sandbox.path(name).display().to_string())
        };

        self.line.split(' ').map(|word| path(word).unwrap_or_else(|| word.to_owned())).collect()
    }
}

const CASES: &[Case] = &[
    Case { line: "create --tag new --value-file value", prepare: nothing },
    Case { line: "update key --value-file value", prepare: nothing },
    Case { line: "update key --description words", prepare: nothing },
    Case { line: "delete key --yes", prepare: nothing },
    Case { line: "clone --all --to other", prepare: nothing },
    Case { line: "clone key --to web --on-conflict overwrite", prepare: nothing },
    Case { line: "import given.env --on-conflict overwrite", prepare: given },
    Case { line: "project rename web site", prepare: nothing },
    Case { line: "project delete web --yes", prepare: nothing },
    Case { line: "compact", prepare: nothing },
    Case {
        line: "init --vault deep/er/vault.db --kdf-memory 19 --kdf-iterations 1 --kdf-parallelism 1",
        prepare: nothing,
    },
    Case { line: "render template -o @out", prepare: template },
    Case { line: "render template -o @out", prepare: template_over_an_output },
    Case { line: "passwd --new-passphrase-file same --kdf-iterations 2", prepare: same_passphrase },
    Case { line: "recovery create", prepare: nothing },
    Case { line: "rekey --yes", prepare: nothing },
    Case { line: "rekey --project web --yes", prepare: nothing },
    Case { line: "backup @copy.db", prepare: nothing },
    Case { line: "backup @copy.db --replace", prepare: backup },
    Case { line: "restore @copy.db --yes", prepare: backup },
    Case { line: "salvage @copy.db", prepare: nothing },
    // A killed writer left a journal. Reading rolls it back first.
    Case { line: "list --all-projects", prepare: half_written },
    Case { line: "update key --value-file value", prepare: half_written },
];

fn nothing(_: &Sandbox) {}

/// Returns the sandbox's directory without a slash at its end.
fn directory(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("").components().collect()
}

fn given(sandbox: &Sandbox) {
    sandbox.write("given.env", format!("KEY={NEW}\nANOTHER={NEW}\n"));
}

fn same_passphrase(sandbox: &Sandbox) {
    passphrase_file(sandbox, "same", PASSPHRASE);
}

/// Creates a copy of the vault as it was before its last change.
fn backup(sandbox: &Sandbox) {
    let vault = Locked::open(&sandbox.vault_path()).unwrap().unlocked(root());
    vault.backup(&sandbox.path("copy.db"), false, &|_| {}).unwrap();
    let changes = SecretChanges {
        description: Some(Description::parse("later").unwrap()),
        ..SecretChanges::default()
    };

    vault.update(&project("web"), &"port".parse().unwrap(), None, changes).unwrap();
}

fn template(sandbox: &Sandbox) {
    sandbox.write("template", "K={{ KEY }}\n");
}

fn template_over_an_output(sandbox: &Sandbox) {
    template(sandbox);
    sandbox.write("out", "what was rendered before");
}

/// Leaves the vault as a writer does that was killed when half of its pages were written.
fn half_written(sandbox: &Sandbox) {
    let case = Case { line: "update key --value-file value", prepare: nothing };
    let trace = traced(sandbox, &case, None);
    restore(sandbox, &base(case.prepare));
    let synced =
        |call: &Call| call.name == "fsync" && call.on().is_some_and(|on| on.ends_with("vault.db"));

    let at = trace.calls.iter().find(|call| synced(call)).unwrap();
    let trace = traced(
        sandbox,
        &case,
        Some(&Fault { call: at.name.clone(), when: at.ordinal, what: What::Kill }),
    );

    assert!(
        trace.killed && sandbox.path("vault.db-journal").exists(),
        "{:?} {:?} {:?}",
        trace.killed,
        trace.code,
        trace.calls.last()
    );
}

/// Everything in a directory: names, modes and contents. A directory has no content.
type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

fn tree(directory: &Path) -> Tree {
    fn walk(directory: &Path, below: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(directory.join(below)).unwrap().map(Result::unwrap) {
            let (name, metadata) = (below.join(entry.file_name()), entry.metadata().unwrap());
            let content = metadata.is_file().then(|| fs::read(entry.path()).unwrap());
            if content.is_none() {
                walk(directory, &name, tree);
            }

            tree.insert(name, (metadata.permissions().mode() & 0o7777, content));
        }
    }

    let mut found = Tree::new();
    walk(directory, Path::new(""), &mut found);
    found
}

/// Restores a directory to an earlier tree.
fn restore(sandbox: &Sandbox, tree: &Tree) {
    let directory = sandbox.path("");
    for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
        let remove =
            if entry.file_type().unwrap().is_dir() { fs::remove_dir_all } else { fs::remove_file };
        remove(entry.path()).unwrap();
    }

    for (name, (mode, content)) in tree {
        let path = directory.join(name);
        match content {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }

        fs::set_permissions(path, PermissionsExt::from_mode(*mode)).unwrap();
    }
}

/// Returns the sandbox that a command starts in. The root key of its vault is known, so that checks
/// need no key derivation.
fn base(prepare: fn(&Sandbox)) -> Tree {
    let sandbox = Sandbox::with_state_inside();
    let (row, slot) = vault_rows();
    let store = SqliteStore::create(&sandbox.vault_path(), &row, &slot).unwrap();
    let vault = Locked::with_store(Box::new(store)).unlocked(root());

    for (name, tag) in [("default", "key"), ("default", "steady"), ("web", "key"), ("web", "port")]
    {
        vault
            .create(&project(name), secret(tag, format!("{OLD}/{name}/{tag}").as_bytes()))
            .unwrap();
    }

    drop(vault);
    sandbox.write("value", NEW);
    prepare(&sandbox);
    tree(&sandbox.path(""))
}

/// The observable state: each secret with its metadata and value, and each file that is not a
/// vault's.
#[derive(PartialEq, Debug)]
struct State {
    secrets: BTreeSet<(String, String, Option<String>, Vec<u8>)>,
    vaults: Vec<PathBuf>,
    files: Tree,
}

/// Returns true for files that nobody reads and the next command removes: a journal, the mark that
/// a VACUUM is due, the staged file of an output.
fn is_left_behind(name: &Path) -> bool {
    if is_staged(name) {
        return true;
    }

    let name = name.file_name().unwrap().to_str().unwrap();
    [".db-journal", ".db-compact", ".secrets-new"].iter().any(|end| name.ends_with(end))
}

/// Returns true for what a killed command leaves of a new file next to the vault, under a separate
/// name: an `init`'s empty vault, or a copy from before a journal was replayed. The next command
/// that creates such a file removes it if it is an hour old.
fn is_staged(name: &Path) -> bool {
    let name = name.file_name().unwrap().to_str().unwrap();
    let made = [
        "-vault.db",
        "-vault.db-journal",
        "-copy.db",
        "-copy.db-journal",
        "-vault.db.before-recovery",
        "-vault.db.before-recovery.journal",
    ];

    name.starts_with('.') && made.iter().any(|end| name.ends_with(end))
}

/// Returns true for checkpoints: they differ with every run, and they are never flushed.
fn is_checkpoint(name: &Path) -> bool {
    name.starts_with("state")
}

/// Returns true for a copy of the vault. It differs with every run, and other tests verify it.
fn is_copy(name: &Path) -> bool {
    name.ends_with("copy.db")
}

/// Returns true for a file that `restore` kept because it could not be read as a vault.
fn is_kept(name: &Path) -> bool {
    name.to_str().unwrap().starts_with("vault.db.replaced-")
}

fn state(sandbox: &Sandbox) -> State {
    let files = tree(&sandbox.path(""));
    let locked = Locked::open(&sandbox.vault_path()).unwrap();

    // After `rekey` the test does not know the root key.
    let known = locked.check_root_key(&root()).is_ok();
    let vault = if known { locked.unlocked(root()) } else { locked.unlock(&passphrase()).unwrap() };
    let secrets = vault.list(None, |_| true).unwrap().into_iter().map(|found| {
        let (name, tag) =
            (found.project.as_str().to_owned(), found.metadata.tag.as_str().to_owned());
        let value = reveal(&vault, &name, &tag).unwrap().unwrap();
        (name, tag, found.metadata.description.map(|words| words.as_str().to_owned()), value)
    });

    let is_vault = |name: &Path| name.ends_with("vault.db");
    State {
        secrets: secrets.collect(),
        vaults: files.keys().filter(|name| is_vault(name)).cloned().collect(),
        files: files
            .into_iter()
            .filter(|(name, (_, content))| {
                content.is_some() && !is_vault(name) && !is_left_behind(name)
            })
            .filter(|(name, _)| !is_checkpoint(name) && !is_copy(name) && !is_kept(name))
            .collect(),
    }
}

/// One system call of a trace.
#[derive(Debug)]
struct Call {
    pid: String,
    name: String,
    /// Its number among its thread's calls of this name, from 1
    ordinal: usize,
    arguments: String,
    result: String,
}

impl Call {
    /// Returns the path of the descriptor that the call uses.
    fn on(&self) -> Option<&str> {
        let (number, rest) = self.arguments.split_once('<')?;
        number.parse::<u32>().ok()?;
        Some(rest.split_once('>')?.0)
    }

    /// Returns the paths that the call names.
    fn paths(&self) -> impl Iterator<Item = &str> {
        self.arguments.split('"').skip(1).step_by(2)
    }

    fn succeeded(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    fn creates(&self) -> bool {
        self.name.starts_with("open") && self.arguments.contains("O_CREAT")
    }

    /// Returns true for a call that changes the disk.
    fn changes(&self) -> bool {
        const CHANGE: [&str; 14] = [
            "write",
            "pwrite64",
            "writev",
            "ftruncate",
            "fallocate",
            "fsync",
            "fdatasync",
            "unlink",
            "rename",
            "link",
            "mkdir",
            "rmdir",
            "fchmod",
            "fchown",
        ];

        let opens = self.name.starts_with("open")
            && ["O_CREAT", "O_TMPFILE"].iter().any(|f| self.arguments.contains(f));
        opens || CHANGE.iter().any(|name| self.name.starts_with(name))
    }

    /// Returns true if the call touches something below a directory. It ignores the debug build's
    /// check whether a descriptor is open.
    fn touches(&self, directory: &str) -> bool {
        let below = |path: &str| path.starts_with(directory);
        !self.arguments.contains("F_GETFD")
            && self.name != "getcwd"
            && (self.on().is_some_and(below) || self.paths().any(below))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Kill,
    Full,
    Broken,
}

/// A fault at one call.
#[derive(Debug, Clone)]
struct Fault {
    call: String,
    when: usize,
    what: What,
}

/// A run under strace, and its calls.
struct Trace {
    calls: Vec<Call>,
    killed: bool,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn traced(sandbox: &Sandbox, case: &Case, fault: Option<&Fault>) -> Trace {
    let log = TempDir::new().unwrap();
    let log = log.path().join("log");
    let mut prepared = sandbox.command(case.words(sandbox));
    let mut strace = Command::new("strace");

    strace.args([
        "-f",
        "-y",
        "-s",
        "16",
        "-e",
        "trace=%file,%desc,exit_group",
        "-e",
        "signal=none",
        "-o",
    ]);

    strace.arg(&log);
    if let Some(fault) = fault {
        let what = match fault.what {
            What::Kill => "signal=KILL",
            What::Full => "error=ENOSPC",
            What::Broken => "error=EIO",
        };

        strace.args(["-e", &format!("inject={}:{what}:when={}", fault.call, fault.when)]);
    }

    let program = std::mem::replace(&mut prepared.command, strace);
    prepared.command.arg(program.get_program()).args(program.get_args()).env_clear();
    prepared.command.current_dir(program.get_current_dir().unwrap());
    prepared.command.envs(environment(&program));

    let (_, stdout, stderr) = prepared.run().everything();
    let log = fs::read(log).unwrap_or_default();
    Trace::of(&String::from_utf8_lossy(&log), String::from_utf8_lossy(&stdout).into_owned(), stderr)
}

impl Trace {
    fn of(log: &str, stdout: String, stderr: String) -> Self {
        let mut trace = Self { calls: Vec::new(), killed: false, code: None, stdout, stderr };
        let main = log.split(' ').next().unwrap_or_default();
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();

        for line in log.lines() {
            let (pid, rest) = line.split_once(' ').unwrap();
            let rest = rest.trim_start();
            if let Some(end) = rest.strip_prefix("+++ ") {
                if pid == main {
                    trace.code = end
                        .strip_prefix("exited with ")
                        .and_then(|code| code.split(' ').next()?.parse().ok());
                }
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let call = &mut trace.calls[open.remove(pid).unwrap()];
                resumed.rsplit_once(" = ").unwrap_or_default().1.clone_into(&mut call.result);
            } else if let Some((name, arguments)) = rest.split_once('(') {
                let (arguments, result) = arguments.rsplit_once(" = ").unwrap_or((arguments, ""));
                if result.is_empty() {
                    open.insert(pid, trace.calls.len());
                }

                let ordinal = counts.entry((pid, name)).or_default();
                *ordinal += 1;
                let (pid, name, ordinal) = (pid.to_owned(), name.to_owned(), *ordinal);
                let (arguments, result) = (arguments.to_owned(), result.to_owned());

                trace.calls.push(Call { pid, name, ordinal, arguments, result });
            }
        }

        // strace dies of the same signal as its program and does not always get to report that.
        trace.killed = trace.code.is_none() && !trace.calls.is_empty();
        trace
    }

    /// Returns the calls that touch the sandbox. All of them belong to the main thread.
    fn calls_in<'t>(&'t self, sandbox: &Sandbox) -> impl Iterator<Item = &'t Call> {
        let main = &self.calls[0].pid;
        let directory = directory(sandbox);
        self.calls.iter().filter(move |call| {
            let ours = call.touches(directory.to_str().unwrap()) && call.name != "execve";
            assert!(!ours || call.pid == *main, "another thread's: {call:?}");
            ours
        })
    }

    /// Returns true if the fault hit a call that touches the sandbox, and no other call.
    fn hit_only(&self, fault: &Fault, sandbox: &Sandbox) -> bool {
        let directory = directory(sandbox);
        let touches_sandbox = |call: &Call| {
            call.pid == self.calls[0].pid && call.touches(directory.to_str().unwrap())
        };

        if fault.what == What::Kill {
            let last = self.calls.iter().rev().find(|call| call.pid == self.calls[0].pid);
            return self.killed
                && last.is_some_and(|call| touches_sandbox(call) && call.name == fault.call);
        }

        let hit: Vec<&Call> =
            self.calls.iter().filter(|call| call.result.contains("(INJECTED)")).collect();
        hit.len() == 1 && touches_sandbox(hit[0])
    }

    /// Returns what was not flushed when success was reported, or was done in the wrong order.
    /// After a power cut, only the state before the run or the acknowledged state may come back.
    fn unflushed(&self, before: &Tree, sandbox: &Sandbox) -> Vec<String> {
        let directory = directory(sandbox);
        let faulted = self.calls.iter().any(|call| call.result.contains("(INJECTED)"));
        let mut disk = Disk::new(before, &directory, faulted);
        for call in &self.calls {
            disk.take(call);
        }

        disk.wrong
    }
}

/// Simulates a disk that loses everything that was not flushed.
struct Disk<'a> {
    before: &'a Tree,
    directory: &'a Path,
    /// Files with bytes that were not flushed
    dirty: BTreeSet<String>,
    /// Names that were created or removed since the last flush of their directory
    names: BTreeSet<String>,
    /// SQLite continues if the directory cannot be flushed after it created its journal. So the
    /// order only counts without faults, but the final flush always counts
    faulted: bool,
    /// A journal was removed, and the removal was flushed
    committed: bool,
    /// A directory could not be opened
    no_directory: bool,
    /// Names that were removed
    unlinked: BTreeSet<String>,
    wrong: Vec<String>,
}

impl<'a> Disk<'a> {
    fn new(before: &'a Tree, directory: &'a Path, faulted: bool) -> Self {
        Self {
            before,
            directory,
            faulted,
            dirty: BTreeSet::new(),
            names: BTreeSet::new(),
            unlinked: BTreeSet::new(),
            committed: false,
            no_directory: false,
            wrong: Vec::new(),
        }
    }

    fn take(&mut self, call: &Call) {
        if call.name == "exit_group" && call.arguments.starts_with("0)") || Self::reports(call) {
            self.check_flushed(call);
        }

        let memory = self.directory.join("state");
        if !call.touches(self.directory.to_str().unwrap()) || call.touches(memory.to_str().unwrap())
        {
            return;
        }

        let on = call.on().map(str::to_owned);
        let paths: Vec<String> = call.paths().map(str::to_owned).collect();
        self.no_directory |= call.name == "openat" && call.result.contains("(INJECTED)");

        match &*call.name {
            // VACUUM truncates the file last. Bytes that come back after its end belong to nothing,
            // because the header has the size.
            "ftruncate" if self.committed => {}
            "write" | "pwrite64" | "writev" | "ftruncate" if call.succeeded() => {
                let on = on.unwrap();
                let journal = format!("{on}-journal");
                if (self.dirty.contains(&journal) || self.names.contains(&journal)) && !self.faulted
                {
                    self.wrong.push(format!("written before its journal was flushed: {on}"));
                }

                self.dirty.insert(on);
            }
            "fsync" | "fdatasync" if call.succeeded() => {
                let on = on.unwrap();
                self.dirty.remove(&on);
                let (flushed, waiting) = self
                    .names
                    .iter()
                    .cloned()
                    .partition(|name| Path::new(name).parent() == Some(Path::new(&on)));

                self.names = waiting;
                let flushed: BTreeSet<String> = flushed;
                self.committed |=
                    flushed.intersection(&self.unlinked).any(|name| name.ends_with("-journal"));
            }
            _ if call.creates() && call.succeeded() => {
                let path = Path::new(&paths[0]).strip_prefix(self.directory).unwrap();
                if !self.before.contains_key(path) {
                    self.names.insert(paths[0].clone());
                }
            }
            "unlink" | "unlinkat" | "mkdir" if call.succeeded() => {
                if let Some(of) = paths[0].strip_suffix("-journal")
                    && self.dirty.contains(of)
                {
                    self.wrong.push(format!("its journal was removed before it was flushed: {of}"));
                }

                self.dirty.remove(&paths[0]);
                self.unlinked.insert(paths[0].clone());
                self.names.insert(paths[0].clone());
            }
            "linkat" | "rename" | "renameat2" if call.succeeded() => {
                let nameless = self.dirty.iter().find(|name| name.contains("/#")).cloned();
                if let Some(name) = nameless.or_else(|| self.dirty.get(&paths[0]).cloned()) {
                    self.wrong.push(format!("renamed before it was flushed: {name}"));
                }

                self.names.extend(paths.into_iter().filter(|path| !path.starts_with("/proc/")));
            }
            _ => {}
        }
    }

    /// Returns true if the call reports success to somebody.
    fn reports(call: &Call) -> bool {
        let text = call.paths().next().unwrap_or_default();
        call.name == "write"
            && matches!(call.arguments.as_bytes(), [b'1' | b'2', b'<', ..])
            && !["warning", "error", "hint"].iter().any(|begin| text.starts_with(begin))
    }

    fn check_flushed(&mut self, call: &Call) {
        // The next command removes any of these that comes back, and also a dead writer's journal.
        // Replaying that one again has the same result.
        let was_there =
            |name: &str| self.before.keys().any(|key| self.directory.join(key) == Path::new(name));

        // The journal of a VACUUM restores the state that was committed before. SQLite treats a
        // directory that cannot be opened like one that cannot be flushed.
        let vacuumed = self.faulted && (self.committed || self.no_directory);
        let back = |name: &str| !name.ends_with("-journal") || was_there(name) || vacuumed;

        // Copies of another journal are written again.
        let copied = |name: &str| {
            name.ends_with(".before-recovery") || name.ends_with(".before-recovery.journal")
        };

        let harmless = |name: &str| is_left_behind(Path::new(name)) && back(name) || copied(name);
        for name in self.dirty.iter().chain(self.names.iter().filter(|name| !harmless(name))) {
            self.wrong.push(format!("success was reported ({}) before a flush: {name}", call.name));
        }
    }
}

/// A case with its start and its expected result.
struct Plan {
    case: &'static Case,
    before: Tree,
    old: State,
    new: State,
    /// The names that exist afterwards
    after: Vec<PathBuf>,
    faults: Vec<Fault>,
    /// Broken promises in the run without a fault
    wrong: Vec<String>,
}

/// Returns the names in a directory.
fn names(tree: &Tree) -> Vec<&Path> {
    tree.keys().map(PathBuf::as_path).collect()
}

impl Plan {
    fn of(case: &'static Case, sandbox: &Sandbox) -> Self {
        let before = base(case.prepare);
        restore(sandbox, &before);
        let old = state(sandbox);
        restore(sandbox, &before);

        let trace = traced(sandbox, case, None);
        assert_eq!(trace.code, Some(0), "{}: {}", case.line, trace.stderr);
        let late = trace.unflushed(&before, sandbox);
        let wrong = late.into_iter().map(|late| format!("{}: {late}", case.line)).collect();
        let after = tree(&sandbox.path(""));

        // A reader leaves the mark to the next writer.
        let mut left = names(&after).into_iter().filter(|name| is_left_behind(name));
        assert!(
            left.all(|name| name.ends_with("vault.db-compact") && before.contains_key(name)),
            "{}",
            case.line
        );

        let mut faults = Vec::new();
        for call in trace.calls_in(sandbox) {
            let kinds: &[What] = match (&*call.name, call.ordinal % 2) {
                // SQLite reacts in the same way to every failed write. So half of the many calls
                // get a full disk, and half a broken one.
                ("pwrite64", 0) => &[What::Kill, What::Full],
                ("pwrite64", _) => &[What::Kill, What::Broken],
                _ if call.changes() => &[What::Kill, What::Full, What::Broken],
                _ => &[What::Broken],
            };

            let fault =
                |what: &What| Fault { call: call.name.clone(), when: call.ordinal, what: *what };
            faults.extend(kinds.iter().map(fault));
        }

        assert!(faults.len() > 20, "{}: {}", case.line, faults.len());
        Self {
            case,
            before,
            old,
            after: after.into_keys().collect(),
            new: state(sandbox),
            faults,
            wrong,
        }
    }

    /// Runs the command with a fault and returns the broken promises.
    fn run_with(&self, fault: &Fault, sandbox: &Sandbox) -> Vec<String> {
        restore(sandbox, &self.before);
        let trace = traced(sandbox, self.case, Some(fault));
        let mut wrong = Vec::new();
        let mut check = |right: bool, what: &str| {
            if !right {
                wrong.push(format!("{} with {fault:?}: {what}", self.case.line));
            }
        };

        check(trace.hit_only(fault, sandbox), "the fault met another call");
        check(is_clean(&trace.stdout) && is_clean(&trace.stderr), "a value was printed");
        match (fault.what, trace.code) {
            (What::Kill, _) => check(trace.killed, "was not killed"),
            (_, Some(0)) => {
                let late = trace.unflushed(&self.before, sandbox);
                check(late.is_empty(), &format!("acknowledged, yet {late:?}"));
            }
            (_, code) => {
                let known = code == Some(1) || is_refused(fault, code);
                check(known, &format!("exit code {code:?}: {}", trace.stderr));
                check(is_one_sentence(&trace.stderr), &trace.stderr);
                check(trace.stdout.is_empty(), &trace.stdout);
            }
        }

        let listed = sandbox.run(["list", "--all-projects", "--json", "-q"]);
        check(ended(listed, 0).is_none(), "the vault cannot be listed afterwards");
        let found = state(sandbox);
        let acknowledged = trace.code == Some(0);

        check(
            found == self.new || !acknowledged && found == self.old,
            "the state is neither the old one nor the new one",
        );

        // Create the file once more, and then write: nothing is left over afterwards.
        if ["init", "render"].iter().any(|made| self.case.line.starts_with(made)) {
            let again = sandbox.run(self.case.words(sandbox)).everything().0;
            check(matches!(again, Some(0 | 4)), "the same command fails afterwards");
        }

        let wrote = sandbox.run(["update", "steady", "--value-file", "value", "-q"]);
        check(ended(wrote, 0).is_none(), "writing fails afterwards");
        let after = tree(&sandbox.path(""));
        let expected: BTreeSet<&Path> =
            self.before.keys().chain(&self.after).map(PathBuf::as_path).collect();

        let dead =
            |name: &Path| is_staged(name) && (fault.what == What::Kill || fault.call == "unlink");

        let left: Vec<&Path> = names(&after)
            .into_iter()
            .filter(|name| !is_kept(name))
            .filter(|name| !is_checkpoint(name) || name.to_str().unwrap().contains(".new-"))
            .filter(|name| (!expected.contains(name) || is_left_behind(name)) && !dead(name))
            .collect();

        check(left.is_empty(), &format!("left behind: {left:?}"));
        wrong
    }
}

/// Returns true if the failure of a call is an answer about the file itself. A vault that opens
/// only for reading (SQLite tries that next) has a damaged header. One that `access` denies cannot
/// be read. An output whose `statx` fails was replaced. A page that cannot be read is damaged,
/// because SQLite itself calls EIO corruption. Each of these refuses and changes nothing.
fn is_refused(fault: &Fault, code: Option<i32>) -> bool {
    // These calls are about a passphrase file, so there was no passphrase.
    let known = [
        ("openat", 6),
        ("pread64", 6),
        ("access", 7),
        ("statx", 7),
        ("statx", 5),
        ("read", 5),
        ("openat", 5),
    ];

    fault.what == What::Broken
        && known.iter().any(|(call, refused)| fault.call == *call && code == Some(*refused))
}

/// Returns `None` if a run ended with that code.
fn ended(run: Run, expected: i32) -> Option<String> {
    let (code, _, stderr) = run.everything();
    (code != Some(expected)).then(|| format!("{code:?}: {stderr}"))
}

/// Returns true if the text holds no value and no passphrase, not even eight bytes of one.
fn is_clean(text: &str) -> bool {
    let pieces = |secret: &'static str| (0..secret.len() - 7).map(move |at| &secret[at..at + 8]);
    [OLD, NEW, PASSPHRASE].into_iter().flat_map(pieces).all(|piece| !text.contains(piece))
}

/// Returns true for one sentence that begins with `error:`, possibly with hints and warnings around
/// it.
fn is_one_sentence(stderr: &str) -> bool {
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();

    // Lines that belong to the sentence are indented. `restore` shows the difference first, and
    // `salvage` shows the next steps.
    let difference = ["~ web/port", "0 added, ", "the backup contains "];
    let begins = [
        &[
            "error: ",
            "hint: ",
            "warning: ",
            "  ",
            "saved ",
            "to use it as the vault, run ",
            "guessing this passphrase takes ",
        ][..],
        &difference,
    ]
    .concat();

    let known = |line: &str| begins.iter().any(|begin| line.starts_with(begin));
    errors == 1 && stderr.lines().all(known) && !stderr.contains("panicked")
}

/// Tries every `stride`th fault of every case, on all processors.
fn inject(stride: usize) {
    if !strace_is_here() {
        return;
    }

    let plans: Vec<Plan> =
        CASES.iter().map(|case| Plan::of(case, &Sandbox::with_state_inside())).collect();
    let jobs: Vec<(&Plan, &Fault)> = plans
        .iter()
        .flat_map(|plan| plan.faults.iter().map(move |fault| (plan, fault)))
        .step_by(stride)
        .collect();

    let wrong: Vec<String> = plans.iter().flat_map(|plan| plan.wrong.clone()).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(wrong));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let sandbox = Sandbox::with_state_inside();
                while let Some((plan, fault)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = plan.run_with(fault, &sandbox);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });

    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} runs:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}

/// The last test of this file is a long one and tries a fault at every call.
#[test]
fn a_fault_at_some_calls_of_each_command_leaves_the_old_state_or_the_new() {
    inject(193);
}

#[test]
#[ignore = "a minute; needs strace"]
fn a_fault_at_one_call_in_seven_of_each_command_leaves_the_old_state_or_the_new() {
    inject(7);
}

/// `just test-faults` runs this. The seventh that the long tests take changes with every command
/// that is added.
#[test]
#[ignore = "a quarter of an hour; needs strace"]
fn a_fault_at_every_call_of_each_command_leaves_the_old_state_or_the_new() {
    inject(1);
}
