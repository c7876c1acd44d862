//! A [`Parcel`]: an envelope whose type only its own functions know, stored in place if it is small.
//!
//! A mailbox is a queue of parcels of one size. An envelope of up to [`INLINE`] bytes lies in the parcel itself, so sending
//! it allocates nothing; a larger one is boxed. One indirect call then moves it out and runs its handler.

use std::any::TypeId;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::task::Context as TaskContext;

use crate::envelope::{Envelope, Fate};
use crate::reply::ErasedReplier;
use crate::room::{Outcome, Room};
use crate::{Actor, Context, Error};

const WORDS: usize = 6;

/// The largest envelope that is stored in place, in bytes: with its two words of its own and the queue's stamp, a parcel
/// fills a cache line.
const INLINE: usize = WORDS * size_of::<u64>();

type Payload = [MaybeUninit<u64>; WORDS];

/// What can be done with an envelope of one type.
struct Vtable<A: Actor> {
    type_of: fn() -> TypeId,
    asks: bool,
    fate: unsafe fn(*const Payload) -> Fate,
    take_replier: unsafe fn(*mut Payload) -> Option<ErasedReplier>,
    deliver: unsafe fn(*mut Payload, &mut Room, *mut A, *mut Context<A>, &mut TaskContext<'_>) -> bool,
    fail: unsafe fn(*mut Payload, Error),
    drop: unsafe fn(*mut Payload),
}

pub(crate) struct Parcel<A: Actor> {
    vtable: &'static Vtable<A>,
    payload: Payload,
}

// SAFETY: what is inside is an `Envelope`, which is `Send`; the vtable is static.
unsafe impl<A: Actor> Send for Parcel<A> {}

struct Of<A, E>(std::marker::PhantomData<(fn(A), E)>);

impl<A: Actor, E: Envelope<A>> Of<A, E> {
    const IN_PLACE: bool = size_of::<E>() <= INLINE && align_of::<E>() <= align_of::<Payload>();

    const VTABLE: &'static Vtable<A> = &Vtable {
        type_of: TypeId::of::<E>,
        asks: E::ASKS,
        fate: Self::fate,
        take_replier: Self::take_replier,
        deliver: Self::deliver,
        fail: Self::fail,
        drop: Self::drop,
    };

    fn put(envelope: E) -> Payload {
        let mut payload = [MaybeUninit::uninit(); WORDS];
        if Self::IN_PLACE {
            // SAFETY: it fits, by size and by alignment.
            unsafe { payload.as_mut_ptr().cast::<E>().write(envelope) };
        } else {
            // SAFETY: a pointer is a word.
            unsafe { payload.as_mut_ptr().cast::<*mut E>().write(Box::into_raw(Box::new(envelope))) };
        }
        payload
    }

    /// # Safety
    /// `payload` was made by [`Self::put`] and holds its envelope still, of which it holds nothing afterwards.
    #[inline]
    unsafe fn take(payload: *mut Payload) -> E {
        if Self::IN_PLACE {
            // SAFETY: what `put` has written.
            unsafe { payload.cast::<E>().read() }
        } else {
            // SAFETY: what `put` has written, taken once.
            unsafe { *Box::from_raw(payload.cast::<*mut E>().read()) }
        }
    }

    /// # Safety
    /// `payload` was made by [`Self::put`] and holds its envelope still.
    #[inline]
    unsafe fn at(payload: *const Payload) -> *mut E {
        if Self::IN_PLACE {
            payload.cast::<E>().cast_mut()
        } else {
            // SAFETY: what `put` has written.
            unsafe { payload.cast::<*mut E>().read() }
        }
    }

    unsafe fn fate(payload: *const Payload) -> Fate {
        // SAFETY: the caller's promise is that of `at`, and it holds the parcel by reference.
        unsafe { (*Self::at(payload)).fate() }
    }

    unsafe fn take_replier(payload: *mut Payload) -> Option<ErasedReplier> {
        // SAFETY: the caller's promise is that of `at`, and it holds the parcel by unique reference.
        unsafe { (*Self::at(payload)).take_replier() }
    }

    /// # Safety
    /// That of [`Self::take`] and of [`Room::enter`]: actor and context live, and are not used, while the room is occupied.
    unsafe fn deliver(
        payload: *mut Payload,
        room: &mut Room,
        actor: *mut A,
        ctx: *mut Context<A>,
        cx: &mut TaskContext<'_>,
    ) -> bool {
        // SAFETY: the caller's promise.
        let (envelope, actor, ctx) = unsafe { (Self::take(payload), &mut *actor, &mut *ctx) };
        let work = async move {
            envelope.deliver(actor, ctx).await;
            Outcome::Handled
        };
        // SAFETY: the caller's promise: what the future borrows outlives its stay.
        unsafe { room.enter(work, cx) }.is_ready()
    }

    unsafe fn fail(payload: *mut Payload, error: Error) {
        // SAFETY: the caller's promise is that of `take`.
        unsafe { Self::take(payload) }.fail(error);
    }

    unsafe fn drop(payload: *mut Payload) {
        // SAFETY: the caller's promise is that of `take`.
        drop(unsafe { Self::take(payload) });
    }
}

impl<A: Actor> Parcel<A> {
    #[inline]
    pub(crate) fn new<E: Envelope<A>>(envelope: E) -> Self {
        Self { vtable: Of::<A, E>::VTABLE, payload: Of::<A, E>::put(envelope) }
    }

    /// Whether somebody may wait for an answer.
    #[inline]
    pub(crate) fn asks(&self) -> bool {
        self.vtable.asks
    }

    pub(crate) fn fate(&self) -> Fate {
        // SAFETY: a parcel that can be named holds its envelope.
        unsafe { (self.vtable.fate)(&raw const self.payload) }
    }

    pub(crate) fn take_replier(&mut self) -> Option<ErasedReplier> {
        // SAFETY: a parcel that can be named holds its envelope.
        unsafe { (self.vtable.take_replier)(&raw mut self.payload) }
    }

    /// Begins to run the handler in `room`; whether it is done already.
    ///
    /// # Safety
    /// That of [`Room::enter`]: actor and context live, and are not used, while the room is occupied.
    #[inline]
    pub(crate) unsafe fn deliver(
        self,
        room: &mut Room,
        actor: *mut A,
        ctx: *mut Context<A>,
        cx: &mut TaskContext<'_>,
    ) -> bool {
        let mut parcel = ManuallyDrop::new(self);
        // SAFETY: the envelope is taken once, for the parcel is not dropped; the rest is the caller's promise.
        unsafe { (parcel.vtable.deliver)(&raw mut parcel.payload, room, actor, ctx, cx) }
    }

    /// Answers without delivering.
    pub(crate) fn fail(self, error: Error) {
        let mut parcel = ManuallyDrop::new(self);
        // SAFETY: the envelope is taken once, for the parcel is not dropped.
        unsafe { (parcel.vtable.fail)(&raw mut parcel.payload, error) };
    }

    /// The envelope again, to give a refused message back to its sender.
    ///
    /// # Panics
    /// If the envelope is of another type.
    pub(crate) fn open<E: Envelope<A>>(self) -> E {
        assert_eq!((self.vtable.type_of)(), TypeId::of::<E>(), "a mailbox gives back what it was given");
        let mut parcel = ManuallyDrop::new(self);
        // SAFETY: it is an `E`, taken once, for the parcel is not dropped.
        unsafe { Of::<A, E>::take(&raw mut parcel.payload) }
    }
}

impl<A: Actor> Drop for Parcel<A> {
    fn drop(&mut self) {
        // SAFETY: a parcel that is dropped holds its envelope.
        unsafe { (self.vtable.drop)(&raw mut self.payload) };
    }
}
