//! Memory for secrets: the blocks for Argon2id and the page of the root key, which are mapped
//! separately, excluded from core dumps and wiped before they are unmapped. Also the heap, which
//! wipes what is freed while a library runs that does not wipe its own buffers.
//!
//! The `argon2` crate frees its blocks without wiping them, and they would let an attacker test
//! guesses at the passphrase. Our own mapping also gets huge pages, which saves 16,384 page
//! faults for 64 MiB.
#![allow(unsafe_code)] // a few system calls, views of memory that only these types own, and the heap's four functions

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::Block;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

/// The system's heap, which wipes what is freed while [`with_freed_memory_wiped`] runs.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// The number of calls of [`with_freed_memory_wiped`] that are running.
static WIPING: AtomicUsize = AtomicUsize::new(0);

/// Runs `work`, which calls a library that copies a secret. All memory that is freed in the
/// meantime is wiped.
pub fn with_freed_memory_wiped<T>(work: impl FnOnce() -> T) -> T {
    struct Work;
    impl Drop for Work {
        fn drop(&mut self) {
            WIPING.fetch_sub(1, Ordering::SeqCst);
        }
    }

    WIPING.fetch_add(1, Ordering::SeqCst);
    let _work = Work;
    work()
}

/// Overwrites `size` bytes from `start`, also if they are freed right after that. A server frees as many
/// bytes as it passes on, so this must be as fast as the C library can do it.
///
/// # Safety
/// The caller must own these bytes.
#[cfg(target_os = "linux")]
unsafe fn wipe(start: *mut u8, size: usize) {
    // SAFETY: as above.
    unsafe { libc::explicit_bzero(start.cast(), size) };
}

/// Overwrites `size` bytes from `start`, also if they are freed right after that.
///
/// # Safety
/// The caller must own these bytes.
#[cfg(not(target_os = "linux"))]
unsafe fn wipe(start: *mut u8, size: usize) {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(start.cast::<std::mem::MaybeUninit<u8>>(), size) }
        .zeroize();
}

// SAFETY: every call is passed on to the system's allocator with the caller's own arguments, so the
// caller's guarantees hold for it too.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if WIPING.load(Ordering::Relaxed) > 0 {
            // SAFETY: the caller owns the block of that size, and nobody uses it any more.
            unsafe { wipe(start, layout.size()) };
        }

        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if WIPING.load(Ordering::Relaxed) == 0 {
            // SAFETY: as above.
            return unsafe { System.realloc(start, layout, size) };
        }

        // SAFETY: the caller guarantees that `size` is not zero and that, rounded up to the
        // alignment, it does not exceed `isize::MAX`. Both blocks are at least as large as the
        // copied range, and they do not overlap.
        unsafe {
            let larger = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !larger.is_null() {
                ptr::copy_nonoverlapping(start, larger, layout.size().min(size));
                self.dealloc(start, layout);
            }

            larger
        }
    }
}

/// A region of zeroed Argon2 blocks of 1 KiB each.
pub(super) struct Arena {
    start: NonNull<Block>,
    blocks: usize,
}

impl Arena {
    /// Maps `blocks` KiB. Returns `None` if the system refuses.
    pub(super) fn new(blocks: usize) -> Option<Self> {
        let length = blocks.checked_mul(Block::SIZE).filter(|n| *n > 0)?;

        // SAFETY: a fresh private mapping, at an address of the kernel's choice, touches no
        // existing memory.
        let start = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .ok()?;

        #[cfg(target_os = "linux")]
        for advice in [Advice::LinuxDontDump, Advice::LinuxHugepage] {
            // SAFETY: the range is the mapping made above. Both are hints, so a failure changes
            // nothing.
            let _ = unsafe { mm::madvise(start, length, advice) };
        }

        Some(Self { start: NonNull::new(start.cast::<Block>())?, blocks })
    }
}

impl AsMut<[Block]> for Arena {
    fn as_mut(&mut self) -> &mut [Block] {
        // SAFETY: `start` is page-aligned (64 bytes would be enough) and owns `blocks` KiB. Zero
        // bytes are a valid `Block`. `&mut self` excludes any other access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.blocks) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, with its length, and no view of it outlives
        // `self`. The compiler cannot optimise the write away, because the pointer is then passed
        // to a system call.
        let _ = unsafe {
            self.start.as_ptr().write_bytes(0, self.blocks);
            mm::munmap(self.start.as_ptr().cast::<c_void>(), self.blocks * Block::SIZE)
        };
    }
}

/// A page for 32 bytes, which is never swapped out if the system allows that, and not inherited by
/// forks.
pub(super) struct KeyPage {
    start: NonNull<[u8; 32]>,
    locked: bool,
}

impl KeyPage {
    const LENGTH: usize = 4096;

    /// Maps a page of zeros. Returns `None` if the system refuses.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: a fresh private mapping, at an address of the kernel's choice, touches no
        // existing memory.
        let start = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                Self::LENGTH,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .ok()?;

        #[cfg(target_os = "linux")]
        for advice in [Advice::LinuxDontDump, Advice::LinuxDontFork] {
            // SAFETY: the range is the mapping made above. Both are hints, so a failure changes
            // nothing.
            let _ = unsafe { mm::madvise(start, Self::LENGTH, advice) };
        }

        // SAFETY: the same range.
        let locked = unsafe { mm::mlock(start, Self::LENGTH) }.is_ok();
        Some(Self { start: NonNull::new(start.cast())?, locked })
    }

    /// Returns false if the system did not lock the page, so that it may be written to swap.
    pub(super) fn is_locked(&self) -> bool {
        self.locked
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        // SAFETY: `start` is page-aligned and readable. Any bytes are a valid array. `&self`
        // excludes writers.
        unsafe { self.start.as_ref() }
    }

    pub(super) fn expose_mut(&mut self) -> &mut [u8; 32] {
        // SAFETY: as above, and `&mut self` excludes any other access.
        unsafe { self.start.as_mut() }
    }
}

impl Drop for KeyPage {
    fn drop(&mut self) {
        self.expose_mut().zeroize();

        // SAFETY: this is the mapping made in `new`, with its length. Unmapping also unlocks it. No
        // view of it outlives `self`.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast::<c_void>(), Self::LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_page_keeps_its_bytes() {
        let mut page = KeyPage::new().unwrap();
        assert_eq!(page.expose(), &[0; 32]);
        page.expose_mut()[31] = 7;
        assert_eq!(page.expose()[31], 7);
    }

    #[test]
    fn an_arena_is_zeroed_and_writable() {
        let mut arena = Arena::new(64).unwrap();
        let blocks = arena.as_mut();
        assert_eq!(blocks.len(), 64);
        assert!(blocks.iter().all(|b| b.as_ref().iter().all(|w| *w == 0)));
        blocks[63].as_mut()[127] = 7;
        assert!(Arena::new(0).is_none());
        assert!(Arena::new(usize::MAX).is_none());
    }
}
