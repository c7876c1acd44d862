//! A [`Parcel`]: an envelope whose type only its own functions know, stored in place if it is small.
//!
//! An envelope of up to [`INLINE`] bytes lies in the parcel itself, so sending it allocates nothing; a larger one is boxed.
//! In a mailbox's slot, one of up to a word takes the narrow part alone. A [`Letter`] is a parcel that lies in a slot: its
//! handler is run by one indirect call, which moves the envelope from the slot to where the handler runs.

use std::any::TypeId;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::task::{Context as TaskContext, Poll};

use crate::cell::Core;
use crate::envelope::{Envelope, Fate};
use crate::mailbox::{Put, Stow, Window};
use crate::room::Room;
use crate::{Actor, Context, Error};

const WORDS: usize = 6;

/// The largest envelope that is stored in place, in bytes: a message of four words with its sender's reply slot.
const INLINE: usize = WORDS * size_of::<u64>();

type Word = MaybeUninit<u64>;
type Payload = [Word; WORDS];

type Deliver<A> =
    unsafe fn(*mut Word, Receipt<'_, A>, &mut Room, *mut A, *mut Context<A>, &mut TaskContext<'_>) -> Delivered;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Handled to its end.
    Done,
    /// Its handler waits in the room.
    Waits,
    /// Nobody waits for the answer any more.
    Skipped,
}

/// What can be done with an envelope of one type. `*mut Word` is where it lies: by itself, or a pointer to it.
pub(crate) struct Vtable<A: Actor> {
    type_of: fn() -> TypeId,
    /// It takes more than a word.
    is_wide: bool,
    has_sink: bool,
    fate: unsafe fn(*const Word) -> Fate,
    deliver: Deliver<A>,
    fail: unsafe fn(*mut Word, Error),
    drop: unsafe fn(*mut Word),
}

pub(crate) struct Parcel<A: Actor> {
    vtable: &'static Vtable<A>,
    payload: Payload,
}

/// As a mailbox keeps it.
impl<A: Actor> Stow for Parcel<A> {
    type Narrow = (&'static Vtable<A>, Word);
    type Wide = Payload;

    #[inline]
    unsafe fn stow(self, narrow: *mut Self::Narrow, wide: *mut Self::Wide) {
        let parcel = ManuallyDrop::new(self);
        // SAFETY: the caller's promise.
        unsafe {
            if parcel.vtable.is_wide {
                narrow.write((parcel.vtable, MaybeUninit::uninit()));
                wide.write(parcel.payload);
            } else {
                narrow.write((parcel.vtable, parcel.payload[0]));
            }
        }
    }

    #[inline]
    unsafe fn unstow(narrow: *const Self::Narrow, wide: *const Self::Wide) -> Self {
        // SAFETY: the caller's promise; `stow` has written what is read here.
        unsafe {
            let (vtable, word) = narrow.read();
            let payload = if vtable.is_wide {
                wide.read()
            } else {
                let mut payload = [MaybeUninit::uninit(); WORDS];
                payload[0] = word;
                payload
            };
            Self { vtable, payload }
        }
    }
}

/// An envelope on its way into a slot.
pub(crate) struct Unpacked<E>(pub(crate) E);

impl<A: Actor, E: Envelope<A>> Put<Parcel<A>> for Unpacked<E> {
    #[inline]
    unsafe fn put(self, narrow: *mut (&'static Vtable<A>, Word), wide: *mut Payload) {
        let vtable = Of::<A, E>::VTABLE;
        // SAFETY: the caller's promise; what is written is what `Parcel::stow` would write.
        unsafe {
            if Of::<A, E>::IN_PLACE && size_of::<E>() > size_of::<Word>() {
                (&raw mut (*narrow).0).write(vtable);
                wide.cast::<E>().write(self.0);
            } else {
                narrow.write((vtable, Of::<A, E>::put(self.0)[0]));
            }
        }
    }
}

// SAFETY: what is inside is an `Envelope`, which is `Send`; the vtable is static.
unsafe impl<A: Actor> Send for Parcel<A> {}

struct Of<A, E>(std::marker::PhantomData<(fn(A), E)>);

impl<A: Actor, E: Envelope<A>> Of<A, E> {
    const IN_PLACE: bool = size_of::<E>() <= INLINE && align_of::<E>() <= align_of::<Payload>();

    const VTABLE: &'static Vtable<A> = &Vtable {
        type_of: TypeId::of::<E>,
        is_wide: Self::IN_PLACE && size_of::<E>() > size_of::<Word>(),
        has_sink: E::HAS_SINK,
        fate: Self::fate,
        deliver: Self::deliver,
        fail: Self::fail,
        drop: Self::drop,
    };

    #[inline]
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
    /// `place` is where an envelope that was [put](Self::put) lies, of which it holds nothing afterwards.
    #[inline]
    unsafe fn take(place: *mut Word) -> E {
        if Self::IN_PLACE {
            // SAFETY: what `put` has written.
            unsafe { place.cast::<E>().read() }
        } else {
            // SAFETY: what `put` has written, taken once.
            unsafe { *Box::from_raw(place.cast::<*mut E>().read()) }
        }
    }

    /// # Safety
    /// `place` is where an envelope that was [put](Self::put) lies.
    #[inline]
    unsafe fn at(place: *const Word) -> *mut E {
        if Self::IN_PLACE {
            place.cast::<E>().cast_mut()
        } else {
            // SAFETY: what `put` has written.
            unsafe { place.cast::<*mut E>().read() }
        }
    }

    unsafe fn fate(place: *const Word) -> Fate {
        // SAFETY: the caller's promise is that of `at`, and that nobody else has it.
        unsafe { (*Self::at(place)).fate() }
    }

    /// # Safety
    /// That of [`Self::take`] and of [`Room::enter`]: actor and context live, and are not used, while the room is occupied.
    /// If the envelope lies in a slot, it is the one in front.
    unsafe fn deliver(
        place: *mut Word,
        receipt: Receipt<'_, A>,
        room: &mut Room,
        actor: *mut A,
        ctx: *mut Context<A>,
        cx: &mut TaskContext<'_>,
    ) -> Delivered {
        if E::ASKS {
            // SAFETY: the caller's promise is that of `at`, and that nobody else has it.
            match unsafe { (*Self::at(place)).take_up() } {
                (Fate::Deliver, Some(replier)) => receipt.core.in_hand.put(&receipt.window, replier),
                (Fate::Deliver, None) => {}
                (fate, _) => {
                    let core = receipt.core;
                    // SAFETY: the caller's promise.
                    let envelope = unsafe { Self::take(place) };
                    // SAFETY: it has been moved out.
                    unsafe { receipt.give() };
                    envelope.fail(core.count_skipped(fate));
                    return Delivered::Skipped;
                }
            }
        }
        // SAFETY: the caller's promise.
        let (envelope, actor) = unsafe { (Self::take(place), &mut *actor) };
        // SAFETY: it has been moved out.
        unsafe { receipt.give() };
        // SAFETY: the caller's promise: what the future borrows outlives its stay.
        match unsafe { room.enter(|| envelope.deliver(actor, ctx), cx) } {
            Poll::Ready(_) => Delivered::Done,
            Poll::Pending => Delivered::Waits,
        }
    }

    unsafe fn fail(place: *mut Word, error: Error) {
        // SAFETY: the caller's promise is that of `take`.
        unsafe { Self::take(place) }.fail(error);
    }

    unsafe fn drop(place: *mut Word) {
        // SAFETY: the caller's promise is that of `take`.
        drop(unsafe { Self::take(place) });
    }
}

/// Says that a message was moved out of its mailbox, before its handler runs.
pub(crate) struct Receipt<'a, A: Actor> {
    pub(crate) window: Window<'a>,
    pub(crate) core: &'a Core<A>,
    /// It lay in the mailbox's front slot.
    pub(crate) is_in_slot: bool,
}

impl<A: Actor> Receipt<'_, A> {
    /// # Safety
    /// The message was moved out.
    #[inline]
    pub(crate) unsafe fn give(self) {
        if self.is_in_slot {
            // SAFETY: the caller's promise.
            unsafe { self.core.mailbox.pass_over(&self.window) };
        }
    }
}

/// A parcel that lies where a mailbox keeps it.
pub(crate) struct Letter<A: Actor> {
    vtable: &'static Vtable<A>,
    place: *mut Word,
}

impl<A: Actor> Letter<A> {
    /// # Safety
    /// Both are the parts of a slot that holds a parcel which nobody else touches, for as long as the letter is used.
    #[inline]
    pub(crate) unsafe fn lying_in(narrow: *mut (&'static Vtable<A>, Word), wide: *mut Payload) -> Self {
        // SAFETY: the caller's promise.
        let vtable = unsafe { (*narrow).0 };
        // SAFETY: as above; no reference is made.
        let place = if vtable.is_wide { wide.cast() } else { unsafe { &raw mut (*narrow).1 } };
        Self { vtable, place }
    }

    /// The same for a parcel of the caller's own, which must not be dropped afterwards.
    pub(crate) fn of(parcel: &mut ManuallyDrop<Parcel<A>>) -> Self {
        Self { vtable: parcel.vtable, place: parcel.payload.as_mut_ptr() }
    }

    /// Whether foreign code is run to tell its fate.
    #[inline]
    pub(crate) fn has_sink(&self) -> bool {
        self.vtable.has_sink
    }

    /// The parcel, moved out.
    pub(crate) fn into_parcel(self) -> Parcel<A> {
        let mut payload = [MaybeUninit::uninit(); WORDS];
        let words = if self.vtable.is_wide { WORDS } else { 1 };
        // SAFETY: the letter's own promise: so many words lie there.
        unsafe { self.place.copy_to_nonoverlapping(payload.as_mut_ptr(), words) };
        Parcel { vtable: self.vtable, payload }
    }

    /// Moves the message out, gives the receipt and begins to run the handler in `room`, unless nobody waits for it.
    ///
    /// # Safety
    /// That of [`Room::enter`]: actor and context live, and are not used, while the room is occupied. If the receipt names a
    /// mailbox, the letter lies in its front slot.
    #[inline]
    pub(crate) unsafe fn deliver(
        self,
        receipt: Receipt<'_, A>,
        room: &mut Room,
        actor: *mut A,
        ctx: *mut Context<A>,
        cx: &mut TaskContext<'_>,
    ) -> Delivered {
        // SAFETY: the letter's own promise, and the caller's.
        unsafe { (self.vtable.deliver)(self.place, receipt, room, actor, ctx, cx) }
    }
}

impl<A: Actor> Parcel<A> {
    #[inline]
    pub(crate) fn new<E: Envelope<A>>(envelope: E) -> Self {
        Self { vtable: Of::<A, E>::VTABLE, payload: Of::<A, E>::put(envelope) }
    }

    pub(crate) fn fate(&self) -> Fate {
        // SAFETY: a parcel that can be named holds its envelope.
        unsafe { (self.vtable.fate)(self.payload.as_ptr()) }
    }

    /// Answers without delivering.
    pub(crate) fn fail(self, error: Error) {
        let mut parcel = ManuallyDrop::new(self);
        // SAFETY: the envelope is taken once, for the parcel is not dropped.
        unsafe { (parcel.vtable.fail)(parcel.payload.as_mut_ptr(), error) };
    }

    /// The envelope again, to give a refused message back to its sender.
    ///
    /// # Panics
    /// If the envelope is of another type.
    pub(crate) fn open<E: Envelope<A>>(self) -> E {
        assert_eq!((self.vtable.type_of)(), TypeId::of::<E>(), "a mailbox gives back what it was given");
        let mut parcel = ManuallyDrop::new(self);
        // SAFETY: it is an `E`, taken once, for the parcel is not dropped.
        unsafe { Of::<A, E>::take(parcel.payload.as_mut_ptr()) }
    }
}

impl<A: Actor> Drop for Parcel<A> {
    fn drop(&mut self) {
        // SAFETY: a parcel that is dropped holds its envelope.
        unsafe { (self.vtable.drop)(self.payload.as_mut_ptr()) };
    }
}
