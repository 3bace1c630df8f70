//! Memory that is mapped for one purpose, left out of core dumps, wiped before it is given back: what Argon2id works in,
//! and the page of the root key; and the heap, wiped while a library works that does not do so itself.
//!
//! The `argon2` crate frees its blocks as they are; they hold what a guess at the passphrase could be checked
//! against. Mapping them ourselves also gets them huge pages, which saves the page faults of 16,384 small ones.
#![allow(unsafe_code)] // a few system calls, views of memory that these types alone own, and the heap's four functions

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::Block;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

/// The system's heap, which wipes what is freed while [`with_freed_memory_wiped`] works.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

/// How many such works are under way.
static WIPING: AtomicUsize = AtomicUsize::new(0);

/// Does something by a library that copies a secret; of what it frees nothing stays in memory.
pub(crate) fn with_freed_memory_wiped<T>(work: impl FnOnce() -> T) -> T {
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

// SAFETY: every call is passed on to the system's allocator with the caller's own arguments, which it may rely on.
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
            // SAFETY: the block is the caller's, of that size, and nobody uses it any more. zeroize writes in a way that the
            // compiler does not leave out before a `free`.
            unsafe {
                std::slice::from_raw_parts_mut(
                    start.cast::<std::mem::MaybeUninit<u8>>(),
                    layout.size(),
                )
            }
            .zeroize();
        }

        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if WIPING.load(Ordering::Relaxed) == 0 {
            // SAFETY: as above.
            return unsafe { System.realloc(start, layout, size) };
        }

        // SAFETY: `size` is not zero and, rounded up to the alignment, no larger than `isize::MAX`: the caller sees to it. Both
        // blocks are as large as what is copied, and they are two.
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

/// A number of zeroed Argon2 blocks of 1 KiB each.
pub(super) struct Arena {
    start: NonNull<Block>,
    blocks: usize,
}

impl Arena {
    /// Maps `blocks` KiB; `None` where the system refuses.
    pub(super) fn new(blocks: usize) -> Option<Self> {
        let length = blocks.checked_mul(Block::SIZE).filter(|n| *n > 0)?;

        // SAFETY: a fresh private mapping, at an address of the kernel's choice, touches no existing memory.
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
            // SAFETY: the range is the mapping made above. Both are wishes: a refusal changes nothing.
            let _ = unsafe { mm::madvise(start, length, advice) };
        }

        Some(Self { start: NonNull::new(start.cast::<Block>())?, blocks })
    }
}

impl AsMut<[Block]> for Arena {
    fn as_mut(&mut self) -> &mut [Block] {
        // SAFETY: `start` is page-aligned (64 would do) and owns `blocks` KiB; zero bytes are a valid `Block`,
        // and `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.blocks) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, with its length; no view of it outlives `self`. The wiping cannot be
        // optimised away: the pointer goes on into a system call, behind which the compiler cannot see.
        let _ = unsafe {
            self.start.as_ptr().write_bytes(0, self.blocks);
            mm::munmap(self.start.as_ptr().cast::<c_void>(), self.blocks * Block::SIZE)
        };
    }
}

/// A page of its own for 32 bytes: never swapped out where the system allows it, inherited by no fork.
pub(super) struct KeyPage {
    start: NonNull<[u8; 32]>,
    locked: bool,
}

impl KeyPage {
    const LENGTH: usize = 4096;

    /// Maps a page of zeros; `None` where the system refuses.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: a fresh private mapping, at an address of the kernel's choice, touches no existing memory.
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
            // SAFETY: the range is the mapping made above. Both are wishes: a refusal changes nothing.
            let _ = unsafe { mm::madvise(start, Self::LENGTH, advice) };
        }

        // SAFETY: the same range.
        let locked = unsafe { mm::mlock(start, Self::LENGTH) }.is_ok();
        Some(Self { start: NonNull::new(start.cast())?, locked })
    }

    /// False where the system did not lock it: the page may be written to swap.
    pub(super) fn is_locked(&self) -> bool {
        self.locked
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        // SAFETY: `start` is page-aligned and readable; any bytes are a valid array; `&self` keeps writers away.
        unsafe { self.start.as_ref() }
    }

    pub(super) fn expose_mut(&mut self) -> &mut [u8; 32] {
        // SAFETY: as above, and `&mut self` is the only way to it.
        unsafe { self.start.as_mut() }
    }
}

impl Drop for KeyPage {
    fn drop(&mut self) {
        self.expose_mut().zeroize();

        // SAFETY: the mapping made in `new`, with its length, which also unlocks it; no view of it outlives `self`.
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
