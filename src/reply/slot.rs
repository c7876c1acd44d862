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
                    waker.wake();
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
