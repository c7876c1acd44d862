//! Allocation that may fail: what the pool itself needs to lease a block must not end the process where the system has no
//! memory, which is when a pool is needed most.

use std::alloc::{Layout, alloc};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};

/// `Box::new`, or `None` when the system has no memory.
pub(crate) fn try_box<T>(value: T) -> Option<Box<T>> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Some(Box::new(value));
    }
    // SAFETY: the layout is not empty.
    let place = NonNull::new(unsafe { alloc(layout) }.cast::<T>())?;
    // SAFETY: the place is fresh and fits `T`, and a box frees it with the same layout.
    unsafe {
        place.write(value);
        Some(Box::from_raw(place.as_ptr()))
    }
}

/// A copy of `items`, or `None` when the system has no memory.
pub(crate) fn try_slice<T: Clone>(items: &[T]) -> Option<Box<[T]>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(items.len()).ok()?;
    copy.extend_from_slice(items);
    // It is as large as it has to be, so that this asks for nothing.
    Some(copy.into_boxed_slice())
}

/// A copy of `text`, or `None` when the system has no memory.
pub(crate) fn try_text(text: &str) -> Option<Box<str>> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).ok()?;
    copy.push_str(text);
    Some(copy.into_boxed_str())
}

/// Bytes of a small request, which allocators serve from a heap. For a large one glibc asks the system apart, from 128 KiB on
/// unless it was told otherwise: that there is room for it says nothing of small ones where a heap cannot grow.
const PIECE: usize = 64 << 10;

/// Whether the system has this much memory right now: for code of others that cannot be refused. It is asked for in small
/// pieces, all held together and then given back: small requests find it there, if they come at once and on the same thread, and
/// larger ones where pieces lay side by side or went back to the system.
///
/// That is likely and not promised: another thread may take first what is given back, and how an allocator divides it is its
/// own affair.
pub(crate) fn has_room(bytes: usize) -> bool {
    let (count, mut pieces) = (bytes.div_ceil(PIECE), Vec::<Vec<u8>>::new());
    let has_room = pieces.try_reserve_exact(count).is_ok()
        && (0..count).all(|_| {
            let mut piece = Vec::new();
            piece.try_reserve_exact(PIECE).map(|()| pieces.push(piece)).is_ok()
        });
    // Or the compiler may leave it all out, as nobody looks at what was asked for.
    std::hint::black_box(&mut pieces);
    has_room
}

/// The place in `all` of something that is remembered there, made if need be; `None` when the system has no memory for it.
pub(crate) fn place<T>(all: &mut Vec<Option<T>>, at: usize) -> Option<&mut Option<T>> {
    if all.len() <= at {
        all.try_reserve(at + 1 - all.len()).ok()?;
        all.resize_with(at + 1, || None);
    }
    all.get_mut(at)
}

/// A value made by whoever needs it first. Who meets another at it makes one in vain: nobody waits.
#[derive(Debug)]
pub(crate) struct OnceBox<T>(AtomicPtr<T>);

impl<T> Default for OnceBox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceBox<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: what was put there stays until we are dropped.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// `None` when there is none and the system has no memory for it.
    pub(crate) fn get_or_try(&self, make: impl FnOnce() -> Option<T>) -> Option<&T> {
        if let Some(value) = self.get() {
            return Some(value);
        }
        let made = Box::into_raw(try_box(make()?)?);
        if self.0.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
        self.get()
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        let value = *self.0.get_mut();
        if !value.is_null() {
            // SAFETY: it came from a box and is ours.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

// SAFETY: it owns its value, as a box does, and hands out shared references only.
unsafe impl<T: Send + Sync> Sync for OnceBox<T> {}
// SAFETY: likewise.
unsafe impl<T: Send> Send for OnceBox<T> {}

/// References at most: some threads may each count one more before they see that.
const REFERENCES_MAX: usize = isize::MAX as usize;

/// A counted reference that can be made where there is no memory for it: an `Arc` without weak ones.
pub(crate) struct Counted<T>(NonNull<Counter<T>>);

/// The value first: a pointer to the one is a pointer to the other.
#[repr(C)]
struct Counter<T> {
    value: T,
    references: AtomicUsize,
}

impl<T> Counted<T> {
    pub(crate) fn try_new(value: T) -> Option<Self> {
        let counter = try_box(Counter { references: AtomicUsize::new(1), value })?;
        Some(Self(NonNull::from(Box::leak(counter))))
    }

    pub(crate) fn as_ptr(this: &Self) -> *const T {
        this.0.as_ptr().cast()
    }

    /// Whether this is the only reference, which it stays unless its holder makes another.
    pub(crate) fn is_only(this: &Self) -> bool {
        // SAFETY: it lives while we do.
        unsafe { this.0.as_ref() }.references.load(Ordering::Acquire) == 1
    }

    /// The reference as a pointer; [`Counted::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> NonNull<T> {
        std::mem::ManuallyDrop::new(self).0.cast()
    }

    /// # Safety
    /// `raw` came from [`Counted::into_raw`], once for each time it is taken back.
    pub(crate) unsafe fn from_raw(raw: NonNull<T>) -> Self {
        Self(raw.cast())
    }

    /// Another reference.
    ///
    /// # Safety
    /// `raw` came from [`Counted::into_raw`] and was not taken back yet.
    pub(crate) unsafe fn again(raw: NonNull<T>) -> Self {
        // SAFETY: the caller's promise. The first reference stays.
        (*std::mem::ManuallyDrop::new(unsafe { Self::from_raw(raw) })).clone()
    }
}

impl<T> Clone for Counted<T> {
    fn clone(&self) -> Self {
        // SAFETY: it lives while we do.
        let before = unsafe { self.0.as_ref() }.references.fetch_add(1, Ordering::Relaxed);
        // References may be forgotten, so that there is no end to them. A count that overflows would free what is in use.
        if before > REFERENCES_MAX {
            std::process::abort();
        }
        Self(self.0)
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it lives while we do.
        &unsafe { self.0.as_ref() }.value
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        // SAFETY: it lives while we do.
        if unsafe { self.0.as_ref() }.references.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: it came from a box, and this was the last reference.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: as of `Arc`.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as of `Arc`.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_value_is_made_once_for_all_and_dropped_once() {
        let value = Arc::new(());
        let once = OnceBox::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(once.get_or_try(|| Some(Arc::clone(&value))).is_some()));
            }
        });
        assert_eq!(Arc::strong_count(&value), 2);
        assert!(once.get_or_try(|| None).is_some());
        drop(once);
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(OnceBox::<u8>::new().get_or_try(|| None).is_none());
    }

    #[test]
    fn the_last_of_several_references_drops_the_value() {
        let value = Arc::new(());
        let first = Counted::try_new(Arc::clone(&value)).unwrap();
        let raw = first.clone().into_raw();
        drop(first);
        assert_eq!(Arc::strong_count(&value), 2);
        // SAFETY: it was `into_raw` above.
        drop(unsafe { Counted::<Arc<()>>::from_raw(raw) });
        assert_eq!(Arc::strong_count(&value), 1);
    }

    /// Runs `program` in a child process, which is the test of this name once more, on its first thread; how that ended and
    /// what it wrote. Nothing in the child.
    #[cfg(target_os = "linux")]
    fn in_child(name: &str, program: fn()) -> Option<(std::process::ExitStatus, String)> {
        const CHILD: &str = "IRONCLIW_TEST_FALLIBLE";
        if std::env::var_os(CHILD).is_some() {
            program();
            return None;
        }
        let name = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture", "--test-threads=1"])
            .envs([(CHILD, "1"), ("MALLOC_ARENA_MAX", "1")])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        Some((output.status, said))
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "it starts a process")]
    fn a_count_that_would_overflow_ends_the_process_before_a_value_is_freed_that_somebody_has() {
        use std::os::unix::process::ExitStatusExt;
        fn program() {
            let first = Counted::try_new(()).unwrap();
            // SAFETY: it lives while `first` does.
            let references = unsafe { &first.0.as_ref().references };
            references.store(REFERENCES_MAX, Ordering::Relaxed);
            std::mem::forget(first.clone());
            println!("one fits");
            std::mem::forget(first.clone());
            println!("too many");
            references.store(1, Ordering::Relaxed);
        }
        let name = "a_count_that_would_overflow_ends_the_process_before_a_value_is_freed_that_somebody_has";
        let Some((status, said)) = in_child(name, program) else { return };
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("one fits") && !said.contains("too many"), "{said}");
    }

    /// Where the heap cannot grow, glibc asks the system for a mebibyte on behalf of a small request, and for a large one for
    /// what it takes.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[cfg_attr(miri, ignore = "it starts a process")]
    fn what_there_is_said_to_be_room_for_small_requests_get() {
        const ROOM: usize = 200 << 10;
        const SMALL: usize = 1 << 10;
        fn program() {
            // SAFETY: it only asks.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
            let mut held: Vec<Vec<u8>> = Vec::with_capacity(1 << 16);
            let mut take = |bytes: usize| {
                let mut piece = Vec::new();
                let has_it = piece.try_reserve_exact(bytes).is_ok();
                held.push(piece);
                has_it
            };
            // SAFETY: the page after the heap is nobody's, or the call fails; and the limit is read from a structure.
            unsafe {
                let end = libc::sbrk(0).map_addr(|end| end.next_multiple_of(page));
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                // Where there is something, the heap cannot grow anyway.
                libc::mmap(end, page, libc::PROT_NONE, flags, -1, 0);
                let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
                let most = pages.split(' ').next().unwrap().parse::<usize>().unwrap() * page + (900 << 10);
                let limit = libc::rlimit { rlim_cur: most as u64, rlim_max: most as u64 };
                assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0);
            }
            while take(SMALL) {}
            let (is_said, for_a_large_one) = (has_room(ROOM), Vec::<u8>::new().try_reserve_exact(ROOM).is_ok());
            let is_so = (0..ROOM / SMALL).all(|_| take(SMALL));
            // What it takes to say what is wrong.
            held.truncate(1);
            assert!(!is_said, "has_room");
            assert!(for_a_large_one && !is_so, "the system is not as it should be here");
            drop(held);
            let is_said = has_room(ROOM);
            let all: Vec<_> = (0..ROOM / SMALL).map(|_| try_box([0_u8; SMALL])).collect();
            assert!(is_said && all.iter().all(Option::is_some));
            println!("done");
        }
        let Some((status, said)) = in_child("what_there_is_said_to_be_room_for_small_requests_get", program) else {
            return;
        };
        assert!(status.success() && said.contains("done"), "{said}");
    }
}
