//! The slot of one ask: made by the asker, filled by whoever answers, read by the asker.
//!
//! Two share it, so it counts no references: its state says who is the last, and that one frees it.
//!
//! | state | the value belongs to | the waker belongs to | freed by |
//! | --- | --- | --- | --- |
//! | `EMPTY` | the answerer | the asker | |
//! | `WAITING` | the answerer | whoever changes the state | |
//! | `ANSWERING`, for a few instructions | the answerer | the answerer | |
//! | `ANSWERED` | the asker | the asker | the asker |
//! | `CLOSED`, the asker has gone | the answerer | the answerer | the answerer |
//!
//! Nobody waits in vain: the asker writes its waker before it changes `EMPTY` to `WAITING`, the answerer writes the value
//! before it swaps `ANSWERING` in; whichever comes second finds what the other one left. The answerer touches the slot no more
//! once it has said `ANSWERED`; so the waker is called after that, when it no longer lies there.

use std::ptr::NonNull;
use std::task::{Context, Waker};

use super::contained;
use crate::Error;
use crate::envelope::Deadline;
use crate::executor::Place;
use crate::sync::{AtomicU8, Ordering, UnsafeCell, wait_a_little};

const EMPTY: u8 = 0;
const WAITING: u8 = 1;
const ANSWERING: u8 = 2;
const ANSWERED: u8 = 3;
const CLOSED: u8 = 4;

type Answer<R> = Result<R, Error>;

struct Slot<R> {
    state: AtomicU8,
    value: UnsafeCell<Option<Answer<R>>>,
    waker: UnsafeCell<Option<Waker>>,
    /// Not to be handled after this.
    deadline: Option<Deadline>,
}

/// Freeing a slot touches all of it, which loom does not see by itself.
#[cfg(ironcliw_loom)]
impl<R> Drop for Slot<R> {
    fn drop(&mut self) {
        self.state.with_mut(|_| ());
        self.value.with_mut(|_| ());
        self.waker.with_mut(|_| ());
    }
}

/// Makes the two ends of a slot. The asker who says already whom to wake need not poll before it is woken.
#[inline]
pub(super) fn slot<R>(deadline: Option<Deadline>, waker: Option<&Waker>) -> (Answerer<R>, Asker<R>) {
    let slot = NonNull::from(Box::leak(Box::new(Slot {
        state: AtomicU8::new(if waker.is_some() { WAITING } else { EMPTY }),
        value: UnsafeCell::new(None),
        waker: UnsafeCell::new(waker.cloned()),
        deadline,
    })));
    (Answerer(slot), Asker { slot, waits_as: waker.map(Identity::of) })
}

/// The end of whoever answers. Dropped, it says that there will be no answer.
pub(super) struct Answerer<R>(NonNull<Slot<R>>);

// SAFETY: the state says who may touch the value and the waker (see the table at the top); both may cross threads.
unsafe impl<R: Send> Send for Answerer<R> {}
// SAFETY: a shared end reads the state and the deadline alone.
unsafe impl<R: Send> Sync for Answerer<R> {}

impl<R> Answerer<R> {
    #[inline]
    fn slot(&self) -> &Slot<R> {
        // SAFETY: the slot lives until both ends are given up.
        unsafe { self.0.as_ref() }
    }

    /// The asker does not wait any more.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.slot().state.load(Ordering::Relaxed) == CLOSED
    }

    #[inline]
    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.slot().deadline
    }

    /// Answers; if the asker has gone, the answer comes back.
    #[inline]
    pub(super) fn answer(self, answer: Answer<R>) -> Option<Answer<R>> {
        let slot = self.into_raw();
        // SAFETY: this was the answerer's end.
        unsafe { end(slot, Some(answer)) }
    }

    /// The end as an address, of which [`Answerer::from_raw`] makes the end again, once.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<()> {
        let slot = self.0.cast();
        std::mem::forget(self);
        slot
    }

    /// # Safety
    /// What [`Answerer::into_raw`] of the same type has returned, used once.
    #[inline]
    pub(super) unsafe fn from_raw(slot: NonNull<()>) -> Self {
        Self(slot.cast())
    }
}

impl<R> Drop for Answerer<R> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this was the answerer's end.
        unsafe { end(self.0.cast(), None::<Answer<R>>) };
    }
}

/// Gives the answerer's end up, with an answer or without.
///
/// # Safety
/// `slot` was the answerer's end of a slot for `R`, which is used up.
#[inline]
unsafe fn end<R>(slot: NonNull<()>, answer: Option<Answer<R>>) -> Option<Answer<R>> {
    let address = slot.cast::<Slot<R>>();
    // SAFETY: the slot lives until both ends are given up; this one is not yet.
    let slot = unsafe { address.as_ref() };
    slot.value.with_mut(|value| {
        // SAFETY: until the swap below the value is the answerer's.
        unsafe { *value = answer };
    });
    let before = slot.state.swap(ANSWERING, Ordering::AcqRel);
    if before == CLOSED {
        // SAFETY: the asker has gone: what is left is the answerer's alone.
        return unsafe { free(address) };
    }
    let waker = if before == WAITING {
        // SAFETY: `ANSWERING`, where the waker that there was is the answerer's.
        slot.waker.with_mut(|waker| unsafe { (*waker).take() })
    } else {
        None
    };
    slot.state.store(ANSWERED, Ordering::Release);
    if let Some(waker) = waker {
        wake(waker);
    }
    None
}

/// One of our own runs no foreign code.
#[inline]
fn wake(waker: Waker) {
    if let Some(place) = Place::of(&waker) {
        return place.wake();
    }
    contained(|| waker.wake());
}

/// Frees a slot, and returns the answer that nobody takes. The waker that is left goes with it.
///
/// # Safety
/// Both ends were given up.
#[cold]
unsafe fn free<R>(slot: NonNull<Slot<R>>) -> Option<Answer<R>> {
    // SAFETY: made by `slot`, and freed once: by the end that was given up last.
    let slot = unsafe { Box::from_raw(slot.as_ptr()) };
    let (answer, waker) = slot.value.with_mut(|value| {
        // SAFETY: nobody else has it.
        slot.waker.with_mut(|waker| unsafe { ((*value).take(), (*waker).take()) })
    });
    if waker.is_some() {
        contained(|| drop(waker));
    }
    answer
}

/// A look at a slot from aside.
#[derive(Clone, Copy)]
pub(crate) struct Peephole(NonNull<AtomicU8>);

// SAFETY: it leads to an atomic.
unsafe impl Send for Peephole {}

impl Peephole {
    /// Whether there is an answer, or nobody will give one.
    ///
    /// # Safety
    /// The asker's end has not been given up.
    pub(crate) unsafe fn is_answered(self) -> bool {
        // SAFETY: the slot lives until both ends are given up.
        matches!(unsafe { self.0.as_ref() }.load(Ordering::Acquire), ANSWERING | ANSWERED)
    }
}

/// Which waker it is: compared, and never called.
#[derive(PartialEq, Eq)]
struct Identity(*const (), *const std::task::RawWakerVTable);

impl Identity {
    #[inline]
    fn of(waker: &Waker) -> Self {
        Self(waker.data(), waker.vtable())
    }
}

/// The asker's end, which is given up by [`Asker::take`] or [`Asker::close`].
pub(super) struct Asker<R> {
    slot: NonNull<Slot<R>>,
    /// Of the waker that lies in the slot, while its state is `WAITING`. It lies there, so its address is nobody else's.
    waits_as: Option<Identity>,
}

// SAFETY: the state says who may touch the value and the waker (see the table at the top); both may cross threads.
unsafe impl<R: Send> Send for Asker<R> {}
// SAFETY: a shared end does nothing.
unsafe impl<R: Send> Sync for Asker<R> {}

impl<R> Asker<R> {
    #[inline]
    fn slot(&self) -> &Slot<R> {
        // SAFETY: the slot lives until both ends are given up.
        unsafe { self.slot.as_ref() }
    }

    pub(super) fn peephole(&self) -> Peephole {
        Peephole(NonNull::from(&self.slot().state))
    }

    /// Waits for the answer; whether it has come.
    #[inline]
    pub(super) fn is_answered(&mut self, cx: &Context<'_>) -> bool {
        match self.slot().state.load(Ordering::Acquire) {
            ANSWERED => true,
            ANSWERING => self.is_about_to_be(),
            WAITING if self.waits_as.as_ref().is_some_and(|known| *known == Identity::of(cx.waker())) => false,
            _ => self.wait(cx),
        }
    }

    /// Says whom to wake; whether that was too late.
    fn wait(&mut self, cx: &Context<'_>) -> bool {
        let slot = self.slot();
        // Takes the waker back to change it; an answer that comes first keeps it.
        if slot.state.load(Ordering::Relaxed) == WAITING
            && slot.state.compare_exchange(WAITING, EMPTY, Ordering::Acquire, Ordering::Acquire).is_err()
        {
            return self.is_about_to_be();
        }
        if slot.state.load(Ordering::Acquire) == EMPTY {
            slot.waker.with_mut(|waker| {
                // SAFETY: the asker alone changes `EMPTY` to `WAITING`, and the answerer takes no waker from `EMPTY`.
                unsafe { *waker = Some(cx.waker().clone()) };
            });
            if slot.state.compare_exchange(EMPTY, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.waits_as = Some(Identity::of(cx.waker()));
                return false;
            }
        }
        self.is_about_to_be()
    }

    /// The answerer is between two instructions, if it runs.
    #[cold]
    fn is_about_to_be(&self) -> bool {
        let mut turn = 0;
        while self.slot().state.load(Ordering::Acquire) != ANSWERED {
            wait_a_little(turn);
            turn += 1;
        }
        true
    }

    /// The answer; `None` if there will be none.
    ///
    /// # Safety
    /// It is [answered](Self::is_answered).
    #[inline]
    pub(super) unsafe fn take(self) -> Option<Answer<R>> {
        // SAFETY: `ANSWERED`: the answerer has given its end up, and this was the asker's.
        let slot = unsafe { Box::from_raw(self.slot.as_ptr()) };
        slot.value.with_mut(|value| {
            // SAFETY: nobody else has it.
            unsafe { (*value).take() }
        })
    }

    /// The asker goes, and its waker with it. An answer that is there already comes back.
    pub(super) fn close(self) -> Option<Answer<R>> {
        let mut state = self.slot().state.load(Ordering::Acquire);
        while matches!(state, EMPTY | WAITING) {
            match self.slot().state.compare_exchange(state, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return None,
                Err(now) => state = now,
            }
        }
        self.is_about_to_be();
        // SAFETY: it has been answered.
        unsafe { self.take() }
    }
}

#[cfg(all(test, ironcliw_loom))]
mod loom_tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake, Waker};

    use loom::sync::Notify;
    use loom::thread;

    use super::{Asker, slot};

    /// A task that sleeps, and counts how often it was woken.
    struct Sleeper {
        notify: Notify,
        woken: AtomicU32,
    }

    impl Sleeper {
        fn new() -> Arc<Self> {
            Arc::new(Self { notify: Notify::new(), woken: AtomicU32::new(0) })
        }
    }

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::Relaxed);
            self.notify.notify();
        }
    }

    /// One thread answers; this one does what an asker may do. If it says so from the begin, `sleeper` is whom to wake.
    fn ask(
        answer: Option<Arc<u32>>,
        says_whom_to_wake: bool,
        asker: impl Fn(Asker<Arc<u32>>, Arc<Sleeper>) + Sync + Send + 'static,
    ) {
        loom::model(move || {
            let answer = answer.as_deref().copied().map(Arc::new);
            let sleeper = Sleeper::new();
            let waker = Waker::from(sleeper.clone());
            let (answerer, asks) = slot(None, says_whom_to_wake.then_some(&waker));
            let answerer = {
                let answer = answer.clone();
                thread::spawn(move || match answer {
                    Some(answer) => drop(answerer.answer(Ok(answer))),
                    None => drop(answerer),
                })
            };
            drop(waker);
            asker(asks, sleeper.clone());
            answerer.join().expect("the answerer does not panic");
            assert!(answer.is_none_or(|answer| Arc::strong_count(&answer) == 1), "an answer was leaked");
            assert_eq!(Arc::strong_count(&sleeper), 1, "a waker was leaked");
        });
    }

    /// Polls until there is an answer, asleep in between.
    fn wait(mut asker: Asker<Arc<u32>>, sleeper: &Arc<Sleeper>) -> Option<u32> {
        let waker = Waker::from(sleeper.clone());
        while !asker.is_answered(&Context::from_waker(&waker)) {
            sleeper.notify.wait();
        }
        assert!(sleeper.woken.load(Ordering::Relaxed) <= 1);
        // SAFETY: it is answered.
        unsafe { asker.take() }.map(|answer| *answer.expect("it was no error"))
    }

    #[test]
    fn asker_that_sleeps_is_woken_by_its_answer() {
        ask(Some(Arc::new(7)), false, |asker, sleeper| assert_eq!(wait(asker, &sleeper), Some(7)));
    }

    #[test]
    fn asker_that_sleeps_at_once_is_woken_by_its_answer() {
        ask(Some(Arc::new(7)), true, |asker, sleeper| {
            sleeper.notify.wait();
            assert_eq!(wait(asker, &sleeper), Some(7));
        });
    }

    #[test]
    fn asker_that_sleeps_is_woken_when_there_will_be_no_answer() {
        ask(None, false, |asker, sleeper| assert_eq!(wait(asker, &sleeper), None));
    }

    /// Of two wakers the last one counts.
    #[test]
    fn asker_that_moved_to_another_task_is_woken_there() {
        ask(Some(Arc::new(7)), true, |mut asker, _| {
            let later = Sleeper::new();
            let waker = Waker::from(later.clone());
            let answer = if asker.is_answered(&Context::from_waker(&waker)) {
                // SAFETY: it is answered.
                unsafe { asker.take() }.map(|answer| *answer.expect("it was no error"))
            } else {
                wait(asker, &later)
            };
            assert_eq!(answer, Some(7));
        });
    }

    /// The answer goes to one of the two, who drops it.
    #[test]
    fn asker_that_goes_leaves_nothing_behind() {
        ask(Some(Arc::new(7)), false, |asker, _| drop(asker.close()));
    }

    #[test]
    fn asker_that_goes_after_it_slept_leaves_nothing_behind() {
        ask(Some(Arc::new(7)), true, |asker, _| drop(asker.close()));
    }
}
