//! A simulated disk that loses everything that was not flushed.

use std::collections::BTreeSet;
use std::path::Path;

use super::states::{Tree, is_left_behind};
use super::trace::Call;

/// Simulates a disk that loses everything that was not flushed.
pub struct Disk<'a> {
    pub before: &'a Tree,
    pub directory: &'a Path,
    /// Files with bytes that were not flushed
    pub dirty: BTreeSet<String>,
    /// Names that were created or removed since the last flush of their directory
    pub names: BTreeSet<String>,
    /// SQLite continues if the directory cannot be flushed after it created its journal. So the
    /// order only counts without faults, but the final flush always counts
    pub faulted: bool,
    /// A journal was removed, and the removal was flushed
    pub committed: bool,
    /// A directory could not be opened
    pub no_directory: bool,
    /// Names that were removed
    pub unlinked: BTreeSet<String>,
    pub wrong: Vec<String>,
}

impl<'a> Disk<'a> {
    pub fn new(before: &'a Tree, directory: &'a Path, faulted: bool) -> Self {
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

    pub fn take(&mut self, call: &Call) {
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
    pub fn reports(call: &Call) -> bool {
        let text = call.paths().next().unwrap_or_default();
        call.name == "write"
            && matches!(call.arguments.as_bytes(), [b'1' | b'2', b'<', ..])
            && !["warning", "error", "hint"].iter().any(|begin| text.starts_with(begin))
    }

    pub fn check_flushed(&mut self, call: &Call) {
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
