//! How much work a hostile file may cause: steps of SQLite's machine and bytes of rows, in proportion to the file's size.
//!
//! Pages that point at each other hold the same rows again and again: a file of a few kilobytes can be walked through for years.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

/// Steps between two looks at the budget.
const STEPS: u32 = 1000;
/// What a statement costs at least.
const EACH: u64 = 50;
/// What every file may cost, whatever its size.
const BASE: u64 = 4_000_000;
/// What a byte of the file may cost in one statement. A whole vault's tables are walked through with less than a step a byte.
const STATEMENT: u64 = 4;
/// The same in a walk through everything, by many statements. The smallest projects, each looked at in 256 parts, need two or three.
const WALK: u64 = 32;

/// What is left of the work that the present statement, or walk, may take.
pub(super) struct Budget(Arc<Remaining>);

#[derive(Default)]
struct Remaining {
    work: AtomicU64,
    /// In a walk, statements share what is left
    walking: AtomicU64,
}

impl Budget {
    /// Has SQLite stop when a statement of `connection` has taken what is left.
    pub(super) fn of(connection: &mut Connection) -> rusqlite::Result<Self> {
        let left = Arc::new(Remaining::default());
        left.work.store(BASE, Ordering::Relaxed);
        let watched = Arc::clone(&left);
        let steps = i32::try_from(STEPS).unwrap_or(i32::MAX);

        connection.progress_handler(steps, Some(move || !watched.take(u64::from(STEPS))))?;
        Ok(Self(left))
    }

    /// Begins a statement on a file of `size` bytes. In a walk it shares what is left; false if that is nothing.
    pub(super) fn begin_statement(&self, size: u64) -> bool {
        if self.0.walking.load(Ordering::Relaxed) == 0 {
            self.0.work.store(allowed(size, STATEMENT), Ordering::Relaxed);
        }

        self.take(EACH)
    }

    /// Begins a walk through a file of `size` bytes. A walk within a walk shares its budget.
    pub(super) fn begin_walk(&self, size: u64) {
        if self.0.walking.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.work.store(allowed(size, WALK), Ordering::Relaxed);
        }
    }

    /// Ends it.
    pub(super) fn end_walk(&self) {
        self.0.walking.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes `work` off; false if there was less.
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
