//! Memory for blocks, from the system and back: zeroed, aligned to 64 bytes, and to a huge page from 2 MiB on.

use super::class::{LINE_BYTES, PAGE_BYTES};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::OnceLock;

/// From this size a block is asked for with the allocator's own small alignment and aligned to a page here. Allocators
/// have zero pages from the system at hand for plain zeroed requests, but clear aligned ones byte by byte, which
/// touches every page. 128 KiB is where glibc turns to the system.
///
/// On Linux we do so ourselves from this size on: what is freed then is no longer resident. glibc moves its own border up to
/// 32 MiB as such blocks are freed, and keeps what lies between others (measured by `make soak`: 100 MiB and more, of 1 GiB).
const LAZY_BYTES: usize = 128 << 10;
/// What every allocator gives without extra work.
const NATURAL_ALIGN: usize = 16;

/// In place of a shift: the block is no allocation but a mapping of ours.
const MAPPED: u16 = u16::MAX;

/// A block's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
    /// Distance from the allocation's start to the block's, or [`MAPPED`].
    pub(crate) shift: u16,
}

/// `bytes` zeroed bytes, which are not 0; `None` when the system has none.
pub(super) fn zeroed(bytes: usize) -> Option<Extent> {
    // Where the system refuses, what the allocator keeps of freed memory may be enough.
    #[cfg(target_os = "linux")]
    if bytes >= LAZY_BYTES
        && let Some(start) = system::zeroed(bytes)
    {
        return Some(Extent { start, bytes, shift: MAPPED });
    }
    let layout = layout(bytes)?;
    // SAFETY: the layout's size is `bytes` or more, which is not 0.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    let shift = if bytes >= LAZY_BYTES { base.as_ptr().align_offset(PAGE_BYTES) } else { 0 };
    debug_assert!(shift < PAGE_BYTES);
    // SAFETY: `shift < PAGE_BYTES`, and the layout of a shifted block has PAGE_BYTES to spare.
    let start = unsafe { base.add(shift) };
    Some(Extent { start, bytes, shift: shift as u16 })
}

/// Gives memory back.
///
/// # Safety
/// `extent` came from [`zeroed`], was not given back, and nobody uses it any more.
pub(super) unsafe fn free(extent: Extent) {
    #[cfg(target_os = "linux")]
    if extent.shift == MAPPED {
        // SAFETY: `system::zeroed` made it; the caller answers for the rest.
        return unsafe { system::free(extent.start, extent.bytes) };
    }
    let Some(layout) = layout(extent.bytes) else {
        return;
    };
    // SAFETY: `zeroed` allocated `start - shift` with this very layout; the caller answers for the rest.
    unsafe { dealloc(extent.start.sub(usize::from(extent.shift)).as_ptr(), layout) }
}

/// What the program's own allocator offers for [`give_back`].
static COLLECT: OnceLock<fn()> = OnceLock::new();

/// Names a function that has the program's allocator give back to the system what it keeps of freed memory, for programs with
/// another global allocator than the system's: an explicit trim calls it. The first one named counts.
///
/// ```
/// ironcliw_actors::pool::collect_with(|| { /* such as mimalloc's `mi_collect(true)` */ });
/// ```
pub fn collect_with(collect: fn()) {
    let _ = COLLECT.set(collect);
}

/// Has the allocator give back to the system what it keeps of freed small blocks: glibc keeps all that lies below one that is
/// in use. Takes its time with a large heap, so this is for those who say so.
pub(super) fn give_back() {
    if let Some(collect) = COLLECT.get() {
        collect();
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: may be called at any time, on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    let (size, align) =
        if bytes >= LAZY_BYTES { (bytes.checked_add(PAGE_BYTES)?, NATURAL_ALIGN) } else { (bytes, LINE_BYTES) };
    if bytes == 0 { None } else { Layout::from_size_align(size, align).ok() }
}

/// Large blocks, straight from the system. Those of 2 MiB and more may lie on huge pages: a fault then brings 2 MiB in place
/// of 4 KiB. Whether it does is the machine's setting (`/sys/kernel/mm/transparent_hugepage/enabled`).
///
/// A process may have 65,530 mappings unless its machine says otherwise (`vm.max_map_count`), and neighbours count as one: more
/// than 8 GiB of the smallest of these blocks must lie scattered before the system refuses.
#[cfg(target_os = "linux")]
mod system {
    use std::ptr::{NonNull, null_mut};

    /// A huge page of x86-64, and of ARM64 with pages of 4 KiB. Where it is larger, the advice merely does less.
    const PAGE_BYTES: usize = 2 << 20;

    /// A multiple of every kernel's page: ends may be unmapped at one only.
    const SMALL_PAGE_BYTES_MAX: usize = 64 << 10;

    fn mapped(bytes: usize) -> Option<usize> {
        bytes.checked_next_multiple_of(SMALL_PAGE_BYTES_MAX)
    }

    pub(super) fn zeroed(bytes: usize) -> Option<NonNull<u8>> {
        if bytes < PAGE_BYTES { map(mapped(bytes)?) } else { on_huge_pages(bytes) }
    }

    fn map(bytes: usize) -> Option<NonNull<u8>> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, where the system likes, overlaps nothing of ours.
        let base = unsafe { libc::mmap(null_mut(), bytes, access, kind, -1, 0) };
        if base == libc::MAP_FAILED { None } else { NonNull::new(base.cast::<u8>()) }
    }

    fn on_huge_pages(bytes: usize) -> Option<NonNull<u8>> {
        let spacious = mapped(bytes)?.checked_add(PAGE_BYTES)?;
        let base = map(spacious)?;
        let before = base.as_ptr().align_offset(PAGE_BYTES);
        // SAFETY: `before < PAGE_BYTES`, which the mapping has to spare.
        let start = unsafe { base.add(before) };
        let after = PAGE_BYTES - before;
        // SAFETY: both ends belong to the mapping just made and to nobody else, and begin at a page. If the system refuses,
        // the address space is lost, and no memory.
        unsafe {
            if before > 0 {
                libc::munmap(base.as_ptr().cast(), before);
            }
            libc::munmap(start.add(spacious - before - after).as_ptr().cast(), after);
            // Advice: a kernel without huge pages refuses, and the block is as good without them.
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Some(start)
    }

    /// # Safety
    /// As `memory::free`, of what [`zeroed`] made with as many bytes.
    pub(super) unsafe fn free(start: NonNull<u8>, bytes: usize) {
        if let Some(bytes) = mapped(bytes) {
            // SAFETY: the mapping is whole, and the caller gives it up.
            unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::SizeClass;
    use super::*;

    #[test]
    fn memory_is_aligned_and_zeroed_and_can_be_written() {
        for len in [1, 64, 65, 4096, LAZY_BYTES - 1, LAZY_BYTES, 2 << 20, 3 << 20, (5 << 20) + 1] {
            let extent = zeroed(SizeClass::block_bytes(len).unwrap()).unwrap();
            let align = if extent.bytes >= 2 << 20 && cfg!(target_os = "linux") { 2 << 20 } else { LINE_BYTES };
            assert_eq!(extent.start.as_ptr().align_offset(align), 0, "{len} bytes");
            // SAFETY: the memory is ours until it is freed below, and initialised.
            unsafe {
                let content = std::slice::from_raw_parts_mut(extent.start.as_ptr(), extent.bytes);
                assert!(content.iter().all(|&byte| byte == 0));
                content.fill(7);
                free(extent);
            }
        }
    }

    #[test]
    fn memory_that_no_system_holds_is_refused() {
        for bytes in [SizeClass::MAX_LEN & !(PAGE_BYTES - 1), usize::MAX & !(PAGE_BYTES - 1), 0] {
            assert!(zeroed(bytes).is_none());
        }
    }
}
