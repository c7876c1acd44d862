//! How free blocks go back to the system: to make room, when they are more than may be kept, when somebody says so, and
//! when their thread or their pool ends.

use super::block::Block;
use super::cache::{Inside, Magazine, ThreadCache, magazine_of};
use super::class::SizeClass;
use super::core::Core;
use super::decay::{ByClass, Sample};
use super::owner::Owner;
use super::patience::Patience;
use super::sync::try_lock;
use crate::Result;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Blocks of other classes that one release frees at most, so that no release takes long.
const EVICTIONS_PER_RELEASE: usize = 8;

impl Core {
    /// Frees idle blocks until `bytes` more fit under the limit, or until some were freed: whether it is worth trying again.
    /// False when even without any idle ones there would be no room: then they are spared.
    ///
    /// What is idle and not to be found is in the hands of a thread that moves it, or unmaps it: it is waited for, so that
    /// nobody is refused for what nobody has leased. A thread that does not come back with it is given up after a while.
    pub(super) fn make_room(self: &Arc<Self>, bytes: usize, patience: &mut Patience) -> bool {
        loop {
            let Some(target) = self.budget.limit().checked_sub(bytes) else { return false };
            let is_short = || self.budget.held() > target;
            if !is_short() {
                return true;
            }
            if !self.leases_at_most(target) {
                return false;
            }
            if self.free_largest_first(is_short) > 0 {
                return true;
            }
            if patience.visits && self.caches.cached() > 0 {
                let (freed, all) = self.gather_of_all();
                // Who waited in vain for a thread to come out of its cache does not wait for it again.
                patience.visits = all;
                if freed + self.free_largest_first(is_short) > 0 {
                    return true;
                }
            }
            if !patience.wait() {
                return false;
            }
        }
    }

    /// Frees idle blocks until at most `idle_bytes` of them remain. Returns the bytes freed.
    pub(crate) fn trim(self: &Arc<Self>, idle_bytes: usize) -> usize {
        let is_more = || self.idle() > idle_bytes;
        if is_more() { self.gather() + self.free_largest_first(is_more) } else { 0 }
    }

    /// Frees idle blocks that are more than the limit or the pool's share of it. Returns the bytes freed.
    pub(crate) fn settle(self: &Arc<Self>) -> usize {
        let is_over = || self.budget.is_over_limit();
        let over = if is_over() { self.gather() + self.free_largest_first(is_over) } else { 0 };
        over + self.trim(self.budget.retain())
    }

    pub(crate) fn set_limit(self: &Arc<Self>, bytes: usize) -> Result<usize> {
        self.change_limit(bytes)?;
        self.look_at_ceiling();
        let freed = self.settle();
        self.relax();
        Ok(freed + self.keep_soft_limit())
    }

    /// When more has come to be held than the soft limit, gives free blocks back until it is well below. Returns the bytes.
    pub(super) fn keep_soft_limit(self: &Arc<Self>) -> usize {
        if !self.budget.crosses_high() {
            return 0;
        }
        let (_, low) = self.budget.soft();
        let is_more = || self.budget.held() > low && self.idle() > 0;
        if is_more() { self.gather() + self.free_largest_first(is_more) } else { 0 }
    }

    /// What the pool's actor does ten times a second: see [`Decay`](super::decay::Decay). Returns the bytes given back.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) -> usize {
        self.look_at_ceiling();
        let settled = self.settle();
        // While the system is short of memory new blocks are refused: what there is stays, for those who need it next.
        if self.pressure.is_refusing() { settled } else { settled + self.purge(now) }
    }

    fn purge(self: &Arc<Self>, now: Instant) -> usize {
        // Two ticks at a time would count the same blocks twice.
        let Some(mut decay) = try_lock(&self.decay) else { return 0 };
        if decay.delay().is_none() {
            return 0;
        }
        self.note_high_water();
        let free = self.free_by_class();
        let sample = Sample { held: self.budget.held(), leased_max: self.budget.take_peak(), free };
        let surplus = decay.take_in(now, &sample, self.budget.is_above_soft());
        let freed = self.free_surplus(&surplus);
        decay.purged(&freed);
        let bytes = |(&count, class): (&u32, SizeClass)| count as usize * class.bytes().unwrap_or(0);
        let bytes = freed.iter().zip(SizeClass::all()).map(bytes).sum();
        self.purged.fetch_add(bytes as u64, Relaxed);
        bytes
    }

    fn free_by_class(&self) -> ByClass {
        let mut leased = [0u64; SizeClass::COUNT];
        // Of few classes there are any blocks, and this is done often.
        let existing: Vec<SizeClass> = SizeClass::all().filter(|&class| self.shelf(class).existing() > 0).collect();
        for owner in Owner::all().filter(|&owner| self.caches.knows(owner)) {
            for &class in &existing {
                leased[class.index()] += self.caches.tally(owner, class).live;
            }
        }
        let free = |class: SizeClass| self.shelf(class).existing().saturating_sub(leased[class.index()]);
        let mut classes = SizeClass::all();
        std::array::from_fn(|_| classes.next().map_or(0, free).min(u64::from(u32::MAX)) as u32)
    }

    /// Frees as many idle blocks of each class, from the shelves and then from the threads' caches, where those that were
    /// used longest ago lie below. Returns how many it found.
    fn free_surplus(self: &Arc<Self>, surplus: &ByClass) -> ByClass {
        let mut left = *surplus;
        let from_shelf = |left: &mut ByClass| {
            for class in SizeClass::all() {
                let left = &mut left[class.index()];
                while *left > 0 {
                    let Some(mut magazine) = self.shelf(class).take() else { break };
                    while *left > 0
                        && let Some(block) = magazine.pop()
                    {
                        self.free_idle(block);
                        *left -= 1;
                    }
                    if let Err(rest) = self.shelf(class).put(magazine) {
                        *left = left.saturating_sub(rest.len() as u32);
                        self.free_shelved(rest);
                    }
                }
            }
        };
        from_shelf(&mut left);
        if left.iter().any(|&count| count > 0) {
            let mut wanted = left;
            self.caches.visit(|inside| {
                for class in SizeClass::all() {
                    let wanted = &mut wanted[class.index()];
                    while *wanted > 0 && inside.len(class) > 0 {
                        let moved = inside.take_oldest(class, *wanted as usize, &self.budget.shelved);
                        *wanted = wanted.saturating_sub(moved.len().max(1) as u32);
                        if let Err(moved) = self.shelf(class).put(moved) {
                            left[class.index()] = left[class.index()].saturating_sub(moved.len() as u32);
                            self.free_shelved(moved);
                        }
                    }
                }
            });
            from_shelf(&mut left);
        }
        std::array::from_fn(|at| surplus[at] - left[at])
    }

    pub(crate) fn set_retain(self: &Arc<Self>, bytes: usize) -> usize {
        self.budget.set_retain(bytes);
        self.caches.visit(|inside| inside.allow_nothing());
        self.settle()
    }

    /// For the last handle, and for every release that may have overlapped it: nothing stays in the pool.
    pub(super) fn close(self: &Arc<Self>) {
        if !self.caches.close() {
            // A thread that was stopped in the middle of a release may go on one day, and must find us.
            let _for_ever = ManuallyDrop::new(Arc::clone(self));
        }
        self.trim(0);
    }

    /// For a thread that ends: what it kept goes to the shelves.
    pub(super) fn retire(self: &Arc<Self>, cache: &ThreadCache) {
        self.caches.leave(cache, |inside| _ = self.empty(inside));
        if self.is_closed() {
            self.close();
        }
    }

    /// Moves what all threads keep to the shelves. Returns the bytes that found no room there and were freed.
    pub(super) fn gather(self: &Arc<Self>) -> usize {
        self.gather_of_all().0
    }

    /// The same, and whether every thread came out of its cache.
    fn gather_of_all(self: &Arc<Self>) -> (usize, bool) {
        let mut freed = 0;
        let all = self.caches.visit(|inside| {
            freed += self.empty(inside);
            inside.allow_nothing();
        });
        (freed, all)
    }

    fn empty(self: &Arc<Self>, inside: &Inside<'_>) -> usize {
        let mut freed = 0;
        for class in SizeClass::all() {
            while inside.len(class) > 0 {
                let moved = inside.take_oldest(class, magazine_of(class), &self.budget.shelved);
                if let Err(moved) = self.shelf(class).put(moved) {
                    freed += self.free_shelved(moved);
                }
            }
        }
        freed
    }

    /// Moves half of what one other thread keeps of this class to the shelf, where that is two blocks or more, and where
    /// half of all there are lie idle so: a few blocks that wander between threads for ever cost more than a few more.
    /// Whether there was any.
    pub(super) fn borrow(self: &Arc<Self>, class: SizeClass) -> bool {
        let kept = self.caches.kept(class) as u64;
        if kept < 2 || 2 * kept < self.shelf(class).existing() {
            return false;
        }
        let mut found = false;
        self.caches.visit(|inside| {
            let spare = inside.len(class) / 2;
            if !found && spare > 0 {
                let moved = inside.take_oldest(class, spare, &self.budget.shelved);
                match self.shelf(class).put(moved) {
                    Ok(()) => found = true,
                    Err(moved) => _ = self.free_shelved(moved),
                }
            }
        });
        found
    }

    /// Frees up to a few idle blocks of classes other than `class`, from the shelves and then from this thread's own cache;
    /// whether they came to `surplus` bytes.
    pub(super) fn evict_others(self: &Arc<Self>, class: SizeClass, surplus: usize) -> bool {
        let (mut freed, mut evictions) = (0, 0);
        let start = self.eviction.fetch_add(1, Relaxed);
        let others = || {
            let classes = self.shelves.len();
            (0..classes).map(move |step| start.wrapping_add(step) % classes).filter(move |&at| at != class.index())
        };
        for at in others() {
            let shelf = &self.shelves[at];
            let of_thread = || {
                let own = self.caches.with(self, |inside, _| {
                    let one = inside.len(shelf.class()).min(1);
                    inside.take_oldest(shelf.class(), one, &self.budget.shelved)
                });
                (own.len() > 0).then_some(own)
            };
            while let Some(mut magazine) = shelf.take().or_else(of_thread) {
                while freed < surplus
                    && evictions < EVICTIONS_PER_RELEASE
                    && let Some(block) = magazine.pop()
                {
                    freed += self.free_idle(block);
                    evictions += 1;
                }
                if let Err(rest) = shelf.put(magazine) {
                    freed += self.free_shelved(rest);
                }
                if freed >= surplus {
                    return true;
                }
                if evictions == EVICTIONS_PER_RELEASE {
                    return false;
                }
            }
        }
        false
    }

    fn free_largest_first(self: &Arc<Self>, go_on: impl Fn() -> bool) -> usize {
        let mut freed = 0;
        for shelf in self.shelves.iter().rev() {
            while go_on() {
                let Some(mut magazine) = shelf.take() else { break };
                while go_on()
                    && let Some(block) = magazine.pop()
                {
                    freed += self.free_idle(block);
                }
                if let Err(rest) = shelf.put(magazine) {
                    freed += self.free_shelved(rest);
                }
            }
        }
        freed
    }

    /// Frees blocks that count as shelved. Returns their bytes.
    pub(super) fn free_shelved(self: &Arc<Self>, mut magazine: Magazine) -> usize {
        std::iter::from_fn(|| magazine.pop()).map(|block| self.free_idle(block)).sum()
    }

    /// Frees a block that counts as shelved. Returns its bytes.
    fn free_idle(self: &Arc<Self>, block: Block) -> usize {
        let bytes = block.bytes();
        self.free(block);
        self.budget.shelved.sub(bytes);
        bytes
    }

    /// Frees a block that counts as leased.
    pub(super) fn free_leased(self: &Arc<Self>, block: Block) {
        self.note_high_water();
        self.free(block);
    }

    /// Gives a block back to the system, and its reference to this core up.
    fn free(self: &Arc<Self>, block: Block) {
        let (bytes, class) = (block.bytes(), block.class());
        // SAFETY: the slot lives as long as the core.
        let slot = unsafe { block.free() };
        self.shelf(class).block_freed();
        self.slots.retire(slot);
        self.budget.unreserve(bytes);
        // SAFETY: `make` left this reference to the block. The caller has one more.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(self)) };
    }
}
