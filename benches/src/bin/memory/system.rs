//! What gives memory for buffers of one length, and takes it back.

use std::alloc::{GlobalAlloc, Layout, System as Malloc};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;
use ironcliw_actors::pool::{Buffer, Measure, Owner, Pool, PoolConfig};
use mimalloc::MiMalloc;

/// Objects that a pool of objects holds.
const OBJECTS: usize = 1024;

/// A source of buffers. Dropping a buffer gives it back.
pub trait System: Sync + 'static {
    const NAME: &'static str;
    type Held: Send;

    /// A source of buffers of `len` bytes.
    fn new(len: usize) -> Self;

    /// A buffer, its first byte written.
    fn take(&'static self) -> Self::Held;

    /// All its bytes.
    fn bytes(held: &mut Self::Held) -> &mut [u8];

    /// Gives all free memory back to the system, where one can say so.
    fn forget(&'static self) {}
}

/// Ours: leases to be overwritten, or zeroed as by default.
pub struct Ours<const ZEROED: bool> {
    pool: Pool,
    owner: Owner,
    len: usize,
}

impl<const ZEROED: bool> System for Ours<ZEROED> {
    const NAME: &'static str = if ZEROED { "ironcliw, zeroed" } else { "ironcliw" };
    type Held = Buffer;

    fn new(len: usize) -> Self {
        let pool = Pool::new(PoolConfig::limited(1 << 30)).expect("the limit is not too small");
        Self { pool, owner: Owner::named("bench"), len }
    }

    #[inline]
    fn take(&'static self) -> Buffer {
        let lease = if ZEROED {
            self.pool.allocate(self.len, self.owner)
        } else {
            self.pool.allocate_for_overwrite(self.len, self.owner)
        };
        let mut buffer = lease.expect("the limit is far away");
        touch(&mut buffer);
        buffer
    }

    fn bytes(held: &mut Buffer) -> &mut [u8] {
        held
    }

    fn forget(&'static self) {
        self.pool.trim(0);
    }
}

/// Ours while somebody measures it: every lease and release takes the pool's one lock.
pub struct Strict {
    ours: Ours<false>,
    _measure: Measure,
}

impl System for Strict {
    const NAME: &'static str = "ironcliw, strict";
    type Held = Buffer;

    fn new(len: usize) -> Self {
        let ours = Ours::new(len);
        let _measure = ours.pool.measure(None);
        Self { ours, _measure }
    }

    #[inline]
    fn take(&'static self) -> Buffer {
        self.ours.take()
    }

    fn bytes(held: &mut Buffer) -> &mut [u8] {
        held
    }
}

/// An allocator, called directly.
pub struct Allocator<A> {
    layout: Layout,
    kind: PhantomData<fn(A)>,
}

pub trait Named: GlobalAlloc + Default + 'static {
    const NAME: &'static str;
}

/// The system's malloc.
#[derive(Default)]
pub struct SystemMalloc;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for SystemMalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { Malloc.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { Malloc.dealloc(start, layout) }
    }
}

impl Named for SystemMalloc {
    const NAME: &'static str = "malloc";
}

#[derive(Default)]
pub struct Mimalloc;

// SAFETY: every call is passed on to mimalloc as it came.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { MiMalloc.dealloc(start, layout) }
    }
}

impl Named for Mimalloc {
    const NAME: &'static str = "mimalloc";
}

pub struct Allocated<A: Named> {
    start: NonNull<u8>,
    layout: Layout,
    kind: PhantomData<fn(A)>,
}

// SAFETY: the memory is its holder's alone, and both allocators take back what another thread got.
unsafe impl<A: Named> Send for Allocated<A> {}

impl<A: Named> Drop for Allocated<A> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `take` allocated it with this layout, and nobody else frees it.
        unsafe { A::default().dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl<A: Named> System for Allocator<A> {
    const NAME: &'static str = A::NAME;
    type Held = Allocated<A>;

    fn new(len: usize) -> Self {
        let layout = Layout::from_size_align(len, 16).expect("a small power of two");
        Self { layout, kind: PhantomData }
    }

    #[inline]
    fn take(&'static self) -> Allocated<A> {
        // SAFETY: no row asks for 0 bytes.
        let start = NonNull::new(unsafe { A::default().alloc(self.layout) }).expect("memory");
        // SAFETY: one byte at least was allocated, and it is ours.
        unsafe { start.write_volatile(1) }
        Allocated { start, layout: self.layout, kind: PhantomData }
    }

    fn bytes(held: &mut Allocated<A>) -> &mut [u8] {
        // SAFETY: as long as the layout, and ours. It is written before it is read: `work::fill` does nothing else.
        unsafe {
            held.start.write_bytes(0, 1);
            std::slice::from_raw_parts_mut(held.start.as_ptr(), held.layout.size())
        }
    }
}

/// A free list of boxes: crossbeam's bounded queue, and the allocator when it is empty.
pub struct FreeList {
    free: ArrayQueue<Box<[u8]>>,
    len: usize,
}

pub struct Listed(Option<Box<[u8]>>, &'static FreeList);

impl Drop for Listed {
    #[inline]
    fn drop(&mut self) {
        if let Some(bytes) = self.0.take() {
            let _ = self.1.free.push(bytes);
        }
    }
}

impl System for FreeList {
    const NAME: &'static str = "crossbeam ArrayQueue";
    type Held = Listed;

    fn new(len: usize) -> Self {
        Self { free: ArrayQueue::new(OBJECTS), len }
    }

    #[inline]
    fn take(&'static self) -> Listed {
        let mut bytes = self.free.pop().unwrap_or_else(|| vec![0; self.len].into());
        touch(&mut bytes);
        Listed(Some(bytes), self)
    }

    fn bytes(held: &mut Listed) -> &mut [u8] {
        held.0.as_deref_mut().unwrap_or_default()
    }
}

/// fereidani's opool.
pub struct Opool(opool::Pool<Boxes, Box<[u8]>>);

pub struct Boxes(usize);

impl opool::PoolAllocator<Box<[u8]>> for Boxes {
    fn allocate(&self) -> Box<[u8]> {
        vec![0; self.0].into()
    }
}

impl System for Opool {
    const NAME: &'static str = "opool";
    type Held = opool::RefGuard<'static, Boxes, Box<[u8]>>;

    fn new(len: usize) -> Self {
        Self(opool::Pool::new(OBJECTS, Boxes(len)))
    }

    #[inline]
    fn take(&'static self) -> Self::Held {
        let mut held = self.0.get();
        touch(&mut held);
        held
    }

    fn bytes(held: &mut Self::Held) -> &mut [u8] {
        held
    }
}

/// CJP10's object-pool.
pub struct ObjectPool {
    pool: object_pool::Pool<Box<[u8]>>,
    len: usize,
}

impl System for ObjectPool {
    const NAME: &'static str = "object-pool";
    type Held = object_pool::Reusable<'static, Box<[u8]>>;

    fn new(len: usize) -> Self {
        Self { pool: object_pool::Pool::new(0, || unreachable!("it is told to hold none yet")), len }
    }

    #[inline]
    fn take(&'static self) -> Self::Held {
        let mut held = self.pool.pull(|| vec![0; self.len].into());
        touch(&mut held);
        held
    }

    fn bytes(held: &mut Self::Held) -> &mut [u8] {
        held
    }
}

/// No pool but what one has to pay across threads if it writes down that a lease began and that it ended: a cache line for
/// each buffer, written by whoever takes it and by whoever gives it back, and nothing else. They go round, more of them than
/// are ever on their way.
pub struct Lines {
    all: Box<[Line]>,
    next: AtomicUsize,
}

/// Two lines apart: the CPU fetches lines in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicUsize);

pub struct Written(&'static Line);

impl Drop for Written {
    #[inline]
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release);
    }
}

impl System for Lines {
    const NAME: &'static str = "one line each, no pool";
    type Held = Written;

    fn new(_: usize) -> Self {
        Self { all: (0..OBJECTS).map(|_| Line::default()).collect(), next: AtomicUsize::new(0) }
    }

    /// By one thread at a time.
    #[inline]
    fn take(&'static self) -> Written {
        let next = self.next.load(Ordering::Relaxed);
        self.next.store(next + 1, Ordering::Relaxed);
        let line = &self.all[next % OBJECTS];
        line.0.store(1, Ordering::Release);
        Written(line)
    }

    fn bytes(_: &mut Written) -> &mut [u8] {
        &mut []
    }
}

/// Writes the first byte, and makes the compiler believe that it matters.
#[inline]
fn touch(bytes: &mut [u8]) {
    if let Some(first) = bytes.first_mut() {
        // SAFETY: a reference is valid to write to.
        unsafe { std::ptr::write_volatile(first, 1) }
    }
}
