//! The allocator of the benches: mimalloc, which can be asked how many bytes are alive.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use mimalloc::MiMalloc;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// mimalloc. Outside of [`Counting::start`] and [`Counting::stop`] it costs one read of a flag more than mimalloc alone.
pub struct Counting;

impl Counting {
    /// Begins to count the bytes of every thread, from zero.
    pub fn start() {
        LIVE.store(0, Ordering::Relaxed);
        COUNTS.store(true, Ordering::SeqCst);
    }

    /// Ends counting and returns by how many bytes the live heap has grown.
    pub fn stop() -> i64 {
        COUNTS.store(false, Ordering::SeqCst);
        LIVE.load(Ordering::Relaxed)
    }

    fn count(bytes: usize, sign: i64) {
        if COUNTS.load(Ordering::Relaxed) {
            // A layout's size never exceeds `isize::MAX`.
            LIVE.fetch_add(sign * bytes as i64, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call is passed on to mimalloc as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size(), 1);
        // SAFETY: the caller's promise about `layout` is the one mimalloc asks for.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size(), 1);
        // SAFETY: as in `alloc`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::count(layout.size(), -1);
        // SAFETY: `block` came from mimalloc, by one of these functions, with this `layout`.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size, 1);
        Self::count(layout.size(), -1);
        // SAFETY: as in `dealloc`; the caller's promise about `size` is the one mimalloc asks for.
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}
