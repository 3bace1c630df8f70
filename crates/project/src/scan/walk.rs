//! Walks through trees as git sees them, with a thread for each processor. `scan` and `refs` share
//! this.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use ignore::{DirEntry, WalkBuilder, WalkState};

use crate::git::has_plain_rules;

/// A callback for each entry, used by one thread. The threads visit the entries in no particular
/// order.
pub type Visitor<'v> = Box<dyn FnMut(Result<DirEntry, ignore::Error>) -> WalkState + Send + 'v>;

/// The maximum number of threads of one walk.
const THREADS: usize = 12;

/// A walk through a tree as git sees it. It includes hidden files, but not `.git` and, unless
/// `everything` is set, nothing that git ignores.
#[derive(Clone, Copy)]
pub struct Walk<'r> {
    /// The start of the walk; if it is a symbolic link to a directory, it is followed, as no other
    /// link is
    pub root: &'r Path,
    /// Whether git's rules are ignored
    pub everything: bool,
    /// Whether file systems mounted below the root are skipped
    pub one_file_system: bool,
}

impl Walk<'_> {
    /// Passes each entry to the visitor of some thread. `enters` returns false for entries that are
    /// skipped, with everything below them. `visitor` creates the visitor of one thread.
    pub fn run<'v, F>(&self, enters: F, mut visitor: impl FnMut() -> Visitor<'v>)
    where
        F: Fn(&DirEntry) -> bool + Clone + Send + Sync + 'static,
    {
        let unread_rules = Directories::default();
        let threads = available_threads();

        // If a directory's rules cannot be read safely, the directory gets its own walk, which
        // includes everything in it.
        let mut roots = vec![self.root.to_owned()];
        while let Some(root) = roots.pop() {
            let mut walk = self.builder(&root);
            let (enters, rules, everything) =
                (enters.clone(), unread_rules.clone(), self.everything);
            walk.filter_entry(move |entry| {
                enters(entry) && should_visit(entry, everything, &rules)
            });

            if threads == 0 {
                visit_all(&walk, &mut visitor());
            } else {
                walk.threads(threads).build_parallel().run(&mut visitor);
            }

            roots.extend(unread_rules.take());
        }
    }

    fn builder(&self, root: &Path) -> WalkBuilder {
        // With a slash at the end, the path of a link stands for the directory that it leads to.
        let is_linked = root.is_symlink() && root.is_dir();
        let mut builder = WalkBuilder::new(if is_linked { root.join("") } else { root.to_owned() });

        let real = root.canonicalize();
        let is_safe = real.is_ok_and(|real| real.ancestors().all(has_plain_rules));

        // `.ignore` files are for other tools. Git commits the files that they name.
        builder
            .standard_filters(!self.everything && is_safe)
            .ignore(false)
            .hidden(false)
            .require_git(false);

        builder.same_file_system(self.one_file_system);
        builder
    }
}

fn visit_all(walk: &WalkBuilder, visitor: &mut Visitor<'_>) {
    for entry in walk.build() {
        if matches!(visitor(entry), WalkState::Quit) {
            return;
        }
    }
}

/// Returns true if a walk visits an entry and what is below it. A directory whose rules cannot be
/// read safely is skipped and added to `unread_rules`.
fn should_visit(entry: &DirEntry, everything: bool, unread_rules: &Directories) -> bool {
    let is_below = entry.depth() > 0;
    if is_below && entry.file_name() == ".git" {
        return false;
    }

    if is_directory_below(entry) && !everything && !has_plain_rules(entry.path()) {
        unread_rules.add(entry.path());
        return false;
    }

    true
}

/// Returns true for a directory that is not the root of its walk.
pub fn is_directory_below(entry: &DirEntry) -> bool {
    entry.depth() > 0 && entry.file_type().is_some_and(|kind| kind.is_dir())
}

/// Returns how many threads the system allows at the same time, at most one for each processor.
/// Under `ulimit -u` or a container's `pids.max`, there may be none.
fn available_threads() -> usize {
    let wanted = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    let gate = Mutex::new(());

    thread::scope(|scope| {
        // The first threads wait until the last one was started.
        let closed = gate.lock();
        let start = |_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).ok();
        let started = (0..wanted).map_while(start).count();
        drop(closed);
        started
    })
}

/// The directories that a walk found, shared between its threads.
#[derive(Clone, Default)]
pub struct Directories(Arc<Mutex<Vec<PathBuf>>>);

impl Directories {
    pub fn add(&self, directory: &Path) {
        if let Ok(mut directories) = self.0.lock() {
            directories.push(directory.to_owned());
        }
    }

    /// Removes and returns them, in order.
    pub fn take(&self) -> Vec<PathBuf> {
        let mut directories =
            self.0.lock().map(|mut found| std::mem::take(&mut *found)).unwrap_or_default();
        directories.sort();
        directories
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Condvar;
    use std::time::Duration;

    use super::*;

    #[test]
    fn several_threads_walk_a_tree_at_the_same_time() {
        if available_threads() < 2 {
            return;
        }

        let directory = tempfile::tempdir().unwrap();
        (0..64)
            .for_each(|n| std::fs::write(directory.path().join(format!("file-{n}")), "").unwrap());

        // Each thread stays in its first file until another thread has a file, too.
        let (inside, another) = (Mutex::new(HashSet::new()), Condvar::new());
        let walk = Walk { root: directory.path(), everything: false, one_file_system: false };
        walk.run(
            |_| true,
            || {
                let (inside, another) = (&inside, &another);
                Box::new(move |entry| {
                    if entry.unwrap().depth() == 0 {
                        return WalkState::Continue;
                    }

                    let mut threads = inside.lock().unwrap();
                    threads.insert(thread::current().id());
                    another.notify_all();
                    let is_alone = |threads: &mut HashSet<_>| threads.len() < 2;
                    let (threads, waited) = another
                        .wait_timeout_while(threads, Duration::from_secs(30), is_alone)
                        .unwrap();

                    drop(threads);
                    if waited.timed_out() { WalkState::Quit } else { WalkState::Continue }
                })
            },
        );

        assert!(inside.into_inner().unwrap().len() > 1, "one thread alone has walked");
    }
}
