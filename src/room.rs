//! A [`Room`]: memory in which one future at a time is made, polled and dropped, whatever its type.
//!
//! Handlers are `async fn`s of different sizes. An incarnation has one room, which grows to the largest it has met, so that
//! running a handler allocates nothing; one that never waits is made, polled and dropped by a single call.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context as TaskContext, Poll};

use crate::StartError;

/// What the future in the room was for, and how it ended.
pub(crate) enum Outcome {
    Handled,
    Started(Result<(), StartError>),
    Stopped,
    ChildrenEnded,
}

struct Vtable {
    poll: unsafe fn(*mut u8, &mut TaskContext<'_>) -> Poll<Outcome>,
    drop: unsafe fn(*mut u8),
}

struct Of<F>(PhantomData<F>);

impl<F: Future<Output = Outcome>> Of<F> {
    const VTABLE: Vtable = Vtable {
        poll: |place, cx| {
            // SAFETY: the room holds an `F` at this place, and does not move it before it is dropped.
            unsafe { Pin::new_unchecked(&mut *place.cast::<F>()) }.poll(cx)
        },
        drop: |place| {
            // SAFETY: the room holds an `F` at this place, which it forgets with this call.
            unsafe { place.cast::<F>().drop_in_place() }
        },
    };
}

const SMALL: &str = "a handler's future has less than 4 GiB";

pub(crate) struct Room {
    /// Dangles while nothing is allocated.
    place: NonNull<u8>,
    /// Of the memory there, in bytes; zero while there is none.
    size: u32,
    align: u32,
    occupant: Option<&'static Vtable>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self { place: NonNull::dangling(), size: 0, align: 1, occupant: None }
    }

    #[inline]
    pub(crate) fn is_occupied(&self) -> bool {
        self.occupant.is_some()
    }

    /// Makes a future and polls it a first time; it leaves when it is done. What makes it is called when there is a place for
    /// it, so that it can be made there and need not be moved, which for a large one costs more than its poll.
    ///
    /// # Safety
    /// The room is not occupied, and what `F` borrows is not used and outlives its stay: until it is done or the room is
    /// [cleared](Self::clear) or dropped. The room must be used on one thread only, where `F` is not `Send`.
    #[inline]
    pub(crate) unsafe fn enter<F: Future<Output = Outcome>>(
        &mut self,
        make: impl FnOnce() -> F,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Outcome> {
        debug_assert!(self.occupant.is_none());
        let layout = Layout::new::<F>();
        if layout.size() > self.size as usize || layout.align() > self.align as usize {
            self.grow(layout);
        }
        let place = self.place.cast::<F>();
        // SAFETY: the memory is large enough, aligned, and free.
        unsafe { place.write(make()) };
        // Before it runs: should it panic, it is still here to be dropped.
        self.occupant = Some(&Of::<F>::VTABLE);
        // SAFETY: it stays where it is until it is dropped.
        let polled = unsafe { Pin::new_unchecked(&mut *place.as_ptr()) }.poll(cx);
        if polled.is_ready() {
            self.occupant = None;
            // SAFETY: written above, and forgotten by the line before.
            unsafe { place.drop_in_place() };
        }
        polled
    }

    /// Polls the occupant; it leaves when it is done.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        let occupant = self.occupant.expect("the room is occupied");
        // SAFETY: the vtable is that of the future that lies here.
        let polled = unsafe { (occupant.poll)(self.place.as_ptr(), cx) };
        if polled.is_ready() {
            self.clear();
        }
        polled
    }

    /// Drops the occupant, if there is one. Its panic leaves the room empty.
    pub(crate) fn clear(&mut self) {
        if let Some(occupant) = self.occupant.take() {
            // SAFETY: the vtable is that of the future that lies here, and it is forgotten by the line before.
            unsafe { (occupant.drop)(self.place.as_ptr()) };
        }
    }

    #[cold]
    fn grow(&mut self, needed: Layout) {
        let size = needed.size().max(self.size as usize).max(1);
        let align = needed.align().max(self.align as usize);
        let layout = Layout::from_size_align(size, align).expect("the larger of two layouts is one");
        let (size, align) = (u32::try_from(size).expect(SMALL), u32::try_from(align).expect(SMALL));
        self.release();
        // SAFETY: the size is not zero.
        let place = unsafe { alloc(layout) };
        let Some(place) = NonNull::new(place) else { handle_alloc_error(layout) };
        (self.place, self.size, self.align) = (place, size, align);
    }

    /// Frees the memory of an empty room.
    pub(crate) fn release(&mut self) {
        debug_assert!(self.occupant.is_none());
        if self.size > 0 {
            let layout = Layout::from_size_align(self.size as usize, self.align as usize).expect("it was one");
            // SAFETY: allocated by `grow` with this layout.
            unsafe { dealloc(self.place.as_ptr(), layout) };
            (self.place, self.size, self.align) = (NonNull::dangling(), 0, 1);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
        self.release();
    }
}
