//! Leases that began and ended on one thread, by owner and class.
//!
//! A lease may end on another thread than it began on, so the two are counted apart; summed over all threads they are
//! exact. Written by whoever is behind the cache's gate, hence without read-modify-writes; read by anybody.

use super::super::class::SizeClass;
use super::super::fallible::OnceBox;
use super::super::owner::Owner;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Owners of a page: few programs have more.
const PAGE: usize = 64;

/// A count that one thread at a time raises.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    /// Release: whoever sees this step sees what came before it, such as the beginning of the lease that ends.
    #[inline(always)]
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
struct Leases {
    begun: Count,
    ended: Count,
}

/// One owner's leases on one thread, by class; last the bytes of the huge ones, whose blocks differ.
#[derive(Debug)]
pub(super) struct OfOwner([Leases; SizeClass::COUNT + 1]);

impl OfOwner {
    /// Counts the beginning of a lease whose class says how large it is.
    #[inline(always)]
    pub(super) fn begin_classed(&self, class: SizeClass) {
        self.0[class.index()].begun.add(1);
    }

    #[inline(always)]
    pub(super) fn end_classed(&self, class: SizeClass) {
        self.0[class.index()].ended.add(1);
    }

    pub(super) fn begin(&self, class: SizeClass, bytes: usize) {
        self.begin_classed(class);
        if class == SizeClass::HUGE {
            self.0[SizeClass::COUNT].begun.add(bytes as u64);
        }
    }

    pub(super) fn end(&self, class: SizeClass, bytes: usize) {
        self.end_classed(class);
        if class == SizeClass::HUGE {
            self.0[SizeClass::COUNT].ended.add(bytes as u64);
        }
    }
}

/// Where the counts of those classes are that are worth a look, and what each count stands for; unused places are zero.
#[derive(Debug)]
pub(crate) struct Sizes([(u8, u64); SizeClass::COUNT]);

impl Sizes {
    pub(crate) fn of(classes: impl Iterator<Item = SizeClass>) -> Self {
        let mut sizes = [(0, 0); SizeClass::COUNT];
        for (place, class) in sizes.iter_mut().zip(classes) {
            // The huge ones differ: their bytes are counted, in the last place.
            let huge = (SizeClass::COUNT as u8, 1);
            *place = class.bytes().map_or(huge, |bytes| (class.index() as u8, bytes as u64));
        }
        Self(sizes)
    }
}

type Page = [OnceBox<OfOwner>; PAGE];

#[derive(Debug)]
pub(super) struct Tallies {
    /// The owner counted for last, and where: most threads have one.
    last_owner: AtomicU32,
    last: AtomicPtr<OfOwner>,
    pages: [OnceBox<Page>; Owner::MAX / PAGE],
}

impl Tallies {
    pub(super) fn new() -> Self {
        Self {
            last_owner: AtomicU32::new(u32::MAX),
            last: AtomicPtr::default(),
            pages: [const { OnceBox::new() }; Owner::MAX / PAGE],
        }
    }

    /// Where a thread may have been stopped between the two.
    pub(super) fn forget_last(&self) {
        self.last_owner.store(u32::MAX, Ordering::Relaxed);
    }

    /// For the thread that counts. `None` before [`Tallies::open`].
    #[inline(always)]
    pub(super) fn of(&self, owner: Owner) -> Option<&OfOwner> {
        if self.is_last(owner) {
            // SAFETY: `find` put it there, together with this owner, behind the gate; its box lives as long as we do.
            return Some(unsafe { &*self.last.load(Ordering::Relaxed) });
        }
        self.find(owner)
    }

    #[cold]
    #[inline(never)]
    fn find(&self, owner: Owner) -> Option<&OfOwner> {
        let of = self.get(owner)?;
        self.last.store(std::ptr::from_ref(of).cast_mut(), Ordering::Relaxed);
        self.last_owner.store(owner.index() as u32, Ordering::Relaxed);
        Some(of)
    }

    /// Whether it was the last that was counted for, and so can be.
    #[inline(always)]
    pub(super) fn is_last(&self, owner: Owner) -> bool {
        self.last_owner.load(Ordering::Relaxed) == owner.index() as u32
    }

    /// Makes room to count for `owner`, on any thread. False when the system has no memory for it.
    pub(super) fn open(&self, owner: Owner) -> bool {
        if self.is_last(owner) {
            return true;
        }
        let page = self.pages[owner.index() / PAGE].get_or_try(|| Some([const { OnceBox::new() }; PAGE]));
        let of = || Some(OfOwner(std::array::from_fn(|_| Leases::default())));
        page.is_some_and(|page| page[owner.index() % PAGE].get_or_try(of).is_some())
    }

    fn get(&self, owner: Owner) -> Option<&OfOwner> {
        self.pages[owner.index() / PAGE].get()?[owner.index() % PAGE].get()
    }

    /// Whether this thread ever counted anything for `owner`.
    pub(super) fn knows(&self, owner: Owner) -> bool {
        self.get(owner).is_some()
    }

    pub(super) fn begun(&self, owner: Owner, class: SizeClass) -> u64 {
        self.get(owner).map_or(0, |of| of.0[class.index()].begun.get())
    }

    pub(super) fn ended(&self, owner: Owner, class: SizeClass) -> u64 {
        self.get(owner).map_or(0, |of| of.0[class.index()].ended.get())
    }

    /// Bytes of the blocks of all leases that ever began here, modulo 2^64.
    pub(super) fn bytes_begun(&self, sizes: &Sizes) -> u64 {
        self.bytes(sizes, |leases| &leases.begun)
    }

    /// The same of those that ended here.
    pub(super) fn bytes_ended(&self, sizes: &Sizes) -> u64 {
        self.bytes(sizes, |leases| &leases.ended)
    }

    #[inline]
    fn bytes(&self, sizes: &Sizes, count: impl Fn(&Leases) -> &Count) -> u64 {
        let mut bytes = 0u64;
        for OfOwner(leases) in self.pages.iter().filter_map(OnceBox::get).flatten().filter_map(OnceBox::get) {
            for &(at, size) in sizes.0.iter().take_while(|&&(_, size)| size > 0) {
                bytes = bytes.wrapping_add(count(&leases[usize::from(at)]).get().wrapping_mul(size));
            }
        }
        bytes
    }

    pub(super) fn huge_bytes_begun(&self, owner: Owner) -> u64 {
        self.get(owner).map_or(0, |of| of.0[SizeClass::COUNT].begun.get())
    }

    pub(super) fn huge_bytes_ended(&self, owner: Owner) -> u64 {
        self.get(owner).map_or(0, |of| of.0[SizeClass::COUNT].ended.get())
    }
}
