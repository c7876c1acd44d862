//! The slot of one ask: made by the asker, filled by whoever answers, read by the asker.
//!
//! | state | the value belongs to | the waker belongs to |
//! | --- | --- | --- |
//! | `EMPTY` | the answerer | the asker |
//! | `WAITING` | the answerer | the answerer, once it has changed the state |
//! | `ANSWERED` | the asker | nobody |
//! | `CLOSED`, the asker has gone | the answerer | the asker, who drops it |
//!
//! Nobody waits in vain: the asker writes its waker before it changes `EMPTY` to `WAITING`, the answerer writes the value
//! before it swaps `ANSWERED` in; whichever comes second finds what the other one left.

use std::task::{Context, Poll, Waker};

use super::contained;
use crate::Error;
use crate::envelope::Deadline;
use crate::sync::{AtomicU8, Ordering, UnsafeCell};

const EMPTY: u8 = 0;
const WAITING: u8 = 1;
const ANSWERED: u8 = 2;
const CLOSED: u8 = 3;

type Answer<R> = Result<R, Error>;

pub(crate) struct Slot<R> {
    state: AtomicU8,
    value: UnsafeCell<Option<Answer<R>>>,
    waker: UnsafeCell<Option<Waker>>,
    /// Not to be handled after this.
    pub(crate) deadline: Option<Deadline>,
}

// SAFETY: the state says who may touch the value and the waker (see the table at the top); both may cross threads.
unsafe impl<R: Send> Send for Slot<R> {}
// SAFETY: as above.
unsafe impl<R: Send> Sync for Slot<R> {}

impl<R> Slot<R> {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(None), waker: UnsafeCell::new(None), deadline }
    }

    /// The asker does not wait any more.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CLOSED
    }

    /// Answers, or says with `None` that nobody will; if the asker has gone, the answer comes back.
    ///
    /// # Safety
    /// Called once.
    #[inline]
    pub(crate) unsafe fn answer(&self, answer: Option<Answer<R>>) -> Option<Answer<R>> {
        self.value.with_mut(|value| {
            // SAFETY: until the swap below the value is the answerer's, which the caller is.
            unsafe { *value = answer };
        });
        match self.state.swap(ANSWERED, Ordering::AcqRel) {
            WAITING => {
                let waker = self.waker.with_mut(|waker| {
                    // SAFETY: `WAITING` hands the waker over, and the asker sees that it is no longer so.
                    unsafe { (*waker).take() }
                });
                if let Some(waker) = waker {
                    contained(|| waker.wake());
                }
                None
            }
            CLOSED => self.value.with_mut(|value| {
                // SAFETY: the asker has gone and looks at nothing any more.
                unsafe { (*value).take() }
            }),
            _ => None,
        }
    }

    /// The answer, once; `None` if there will be none.
    ///
    /// # Safety
    /// Called by the asker alone, and neither after it has returned the answer nor after [`Slot::close`].
    #[inline]
    pub(crate) unsafe fn poll(&self, cx: &Context<'_>) -> Poll<Option<Answer<R>>> {
        let state = self.state.load(Ordering::Acquire);
        if state != ANSWERED {
            // Takes the waker back to change it; an answer that comes first keeps it.
            let is_ours = state == EMPTY
                || self.state.compare_exchange(WAITING, EMPTY, Ordering::Acquire, Ordering::Acquire) != Err(ANSWERED);
            if is_ours {
                self.waker.with_mut(|waker| {
                    // SAFETY: `EMPTY`, where the waker is the asker's.
                    let waker = unsafe { &mut *waker };
                    if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        *waker = Some(cx.waker().clone());
                    }
                });
                if self.state.compare_exchange(EMPTY, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(self.value.with_mut(|value| {
            // SAFETY: `ANSWERED`, where the value is the asker's.
            unsafe { (*value).take() }
        }))
    }

    /// The asker goes, and its waker with it. An answer that is there already comes back.
    ///
    /// # Safety
    /// Called by the asker alone, once.
    pub(crate) unsafe fn close(&self) -> Option<Answer<R>> {
        if self.state.load(Ordering::Acquire) != ANSWERED && self.state.swap(CLOSED, Ordering::AcqRel) != ANSWERED {
            let waker = self.waker.with_mut(|waker| {
                // SAFETY: `CLOSED`: the answerer does not look for a waker any more.
                unsafe { (*waker).take() }
            });
            drop(waker);
            return None;
        }
        self.value.with_mut(|value| {
            // SAFETY: it has been answered: the value is the asker's.
            unsafe { (*value).take() }
        })
    }
}

#[cfg(all(test, ironcliw_loom))]
mod loom_tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use loom::sync::Notify;
    use loom::thread;

    use super::Slot;

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

    /// One thread answers; this one does what an asker may do.
    fn ask(answer: Option<Arc<u32>>, asker: impl Fn(&Slot<Arc<u32>>) + Sync + Send + 'static) {
        loom::model(move || {
            let answer = answer.as_deref().copied().map(Arc::new);
            let slot = Arc::new(Slot::new(None));
            let answerer = {
                let (slot, answer) = (slot.clone(), answer.clone());
                // SAFETY: called once.
                thread::spawn(move || drop(unsafe { slot.answer(answer.map(Ok)) }))
            };
            asker(&slot);
            answerer.join().expect("the answerer does not panic");
            drop(slot);
            assert!(answer.is_none_or(|answer| Arc::strong_count(&answer) == 1), "an answer was leaked");
        });
    }

    /// Polls with this waker until there is an answer, asleep in between.
    fn wait(slot: &Slot<Arc<u32>>) -> Option<u32> {
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let answer = loop {
            // SAFETY: the asker alone polls, until it has the answer.
            match unsafe { slot.poll(&Context::from_waker(&waker)) } {
                Poll::Ready(answer) => break answer,
                Poll::Pending => sleeper.notify.wait(),
            }
        };
        assert!(sleeper.woken.load(Ordering::Relaxed) <= 1);
        answer.map(|answer| *answer.expect("it was no error"))
    }

    #[test]
    fn asker_that_sleeps_is_woken_by_its_answer() {
        ask(Some(Arc::new(7)), |slot| assert_eq!(wait(slot), Some(7)));
    }

    #[test]
    fn asker_that_sleeps_is_woken_when_there_will_be_no_answer() {
        ask(None, |slot| assert_eq!(wait(slot), None));
    }

    /// Of two wakers the last one counts.
    #[test]
    fn asker_that_moved_to_another_task_is_woken_there() {
        ask(Some(Arc::new(7)), |slot| {
            let earlier = Waker::from(Sleeper::new());
            // SAFETY: the asker alone polls, until it has the answer.
            match unsafe { slot.poll(&Context::from_waker(&earlier)) } {
                Poll::Ready(answer) => assert!(answer.is_some_and(|answer| answer.is_ok_and(|answer| *answer == 7))),
                Poll::Pending => assert_eq!(wait(slot), Some(7)),
            }
        });
    }

    /// The answer goes to one of the two, who drops it.
    #[test]
    fn asker_that_goes_leaves_nothing_behind() {
        ask(Some(Arc::new(7)), |slot| {
            // SAFETY: the asker is this thread, and goes without an answer.
            drop(unsafe { slot.close() });
        });
    }

    #[test]
    fn asker_that_goes_after_it_slept_leaves_nothing_behind() {
        ask(Some(Arc::new(7)), |slot| {
            let sleeper = Sleeper::new();
            let waker = Waker::from(sleeper.clone());
            // SAFETY: the asker is this thread; it goes without an answer if it has none.
            if unsafe { slot.poll(&Context::from_waker(&waker)) }.is_pending() {
                // SAFETY: as above.
                drop(unsafe { slot.close() });
            }
            drop(waker);
        });
    }
}
