//! Limits the work that a hostile file can cause: steps of SQLite's virtual machine and bytes of
//! rows, in proportion to the file's size.
//!
//! Pages that point at each other repeat the same rows, so a walk through a file of a few kilobytes
//! could take years.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

/// The number of steps between two checks of the budget.
const STEPS: u32 = 1000;
/// The minimum cost of a statement.
const EACH: u64 = 50;
/// The budget of every file, whatever its size.
const BASE: u64 = 4_000_000;
/// The budget per byte of the file for one statement. Walking through a whole vault's tables takes
/// less than one step per byte.
const STATEMENT: u64 = 4;
/// The budget per byte for a walk through all data, which takes many statements. The smallest
/// projects, which are read in 256 parts, need two or three.
const WALK: u64 = 32;

/// The work that is left for the current statement or walk.
pub(super) struct Budget(Arc<Remaining>);

#[derive(Default)]
struct Remaining {
    work: AtomicU64,
    /// The number of nested walks; within a walk, statements share the budget
    walking: AtomicU64,
}

impl Budget {
    /// Makes SQLite stop when a statement of `connection` has used up the budget.
    pub(super) fn attach(connection: &mut Connection) -> rusqlite::Result<Self> {
        let left = Arc::new(Remaining::default());
        left.work.store(BASE, Ordering::Relaxed);
        let watched = Arc::clone(&left);
        let steps = i32::try_from(STEPS).unwrap_or(i32::MAX);

        connection.progress_handler(steps, Some(move || !watched.take(u64::from(STEPS))))?;
        Ok(Self(left))
    }

    /// Begins a statement on a file of `size` bytes. Within a walk, it shares the budget of the
    /// walk. Returns false if nothing is left.
    pub(super) fn begin_statement(&self, size: u64) -> bool {
        if self.0.walking.load(Ordering::Relaxed) == 0 {
            self.0.work.store(allowed(size, STATEMENT), Ordering::Relaxed);
        }

        self.take(EACH)
    }

    /// Begins a walk through a file of `size` bytes. A nested walk shares the budget of the outer
    /// one.
    pub(super) fn begin_walk(&self, size: u64) {
        if self.0.walking.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.work.store(allowed(size, WALK), Ordering::Relaxed);
        }
    }

    pub(super) fn end_walk(&self) {
        self.0.walking.fetch_sub(1, Ordering::Relaxed);
    }

    /// Subtracts `work` from the budget. Returns false if less is left.
    pub(super) fn take(&self, work: u64) -> bool {
        self.0.take(work)
    }
}

impl Remaining {
    fn take(&self, work: u64) -> bool {
        let take = |left: u64| left.checked_sub(work);
        self.work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

fn allowed(size: u64, per_byte: u64) -> u64 {
    BASE.saturating_add(size.saturating_mul(per_byte))
}
