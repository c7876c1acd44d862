//! Where an answer goes: nowhere, to a waiting `ask`, or to a sink of the caller's own.
//!
//! Whoever holds a [`Replier`] answers, once; dropped without a word, it says that there will be no answer. While a
//! message is in hand its replier stands in `in_hand.rs`, where the supervisor finds it if the handler does not come back.

mod slot;

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};

use tracing::error;

use crate::Error;
use crate::envelope::Deadline;
use crate::panics::{self, Panicked};

use slot::Slot;

/// A place for an answer that is not a future of ours, such as a completion queue of another runtime.
pub trait ReplySink<R>: Send {
    /// Takes the answer. Called once, on the actor's thread, on the runtime's own or on the thread that rejects the
    /// message. A panic is contained and logged.
    fn send(self: Box<Self>, answer: Result<R, Error>);

    /// Whether nobody wants the answer any more. The message is then skipped.
    fn is_closed(&self) -> bool {
        false
    }
}

/// The two ends of one ask.
pub(crate) fn pair<R: Send + 'static>(deadline: Option<Deadline>) -> (Replier<R>, Answer<R>) {
    let slot = Arc::new(Slot::new(deadline));
    (Replier(Some(Reply::Asker(slot.clone()))), Answer(Some(slot)))
}

/// The right to answer, and the duty.
pub(crate) struct Replier<R: Send + 'static>(Option<Reply<R>>);

enum Reply<R> {
    Asker(Arc<Slot<R>>),
    Sink(Box<dyn ReplySink<R>>),
}

impl<R: Send + 'static> Replier<R> {
    pub(crate) fn sink(sink: Box<dyn ReplySink<R>>) -> Self {
        Self(Some(Reply::Sink(sink)))
    }

    /// Never panics, though sinks, wakers and the `Drop` of an answer that nobody takes are user code.
    #[inline]
    pub(crate) fn send(mut self, answer: Result<R, Error>) {
        let reply = self.0.take();
        // Empty: there is nothing to drop.
        std::mem::forget(self);
        match reply {
            Some(Reply::Asker(slot)) => {
                // SAFETY: the replier is used up by this call.
                if let Some(unwanted) = unsafe { slot.answer(Some(answer)) } {
                    drop_unwanted(unwanted);
                }
            }
            Some(Reply::Sink(sink)) => contained(move || sink.send(answer)),
            None => {}
        }
    }

    /// True once the asker dropped its future, or its sink closed.
    #[inline]
    pub(crate) fn is_abandoned(&self) -> bool {
        match &self.0 {
            Some(Reply::Asker(slot)) => slot.is_closed(),
            // A sink that cannot say is asked no further: its message is handled.
            Some(Reply::Sink(sink)) => panics::catch(|| sink.is_closed()).unwrap_or(false),
            None => false,
        }
    }

    /// The deadline of an asker. A sink's travels with its message.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        match &self.0 {
            Some(Reply::Asker(slot)) => slot.deadline,
            _ => None,
        }
    }
}

impl<R: Send + 'static> Drop for Replier<R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(Reply::Asker(slot)) = self.0.take() {
            // SAFETY: not answered, or it would have been taken out.
            unsafe { slot.answer(None) };
        }
    }
}

/// What nobody waits for any more is dropped as safely as what is sent.
#[cold]
pub(crate) fn drop_unwanted<T>(unwanted: T) {
    contained(move || drop(unwanted));
}

fn contained(work: impl FnOnce()) {
    if let Err(Panicked(reason)) = panics::catch(work) {
        error!(reason, "an answer panicked on its way");
    }
}

/// The asker's end.
pub(crate) struct Answer<R: Send + 'static>(Option<Arc<Slot<R>>>);

impl<R: Send + 'static> Answer<R> {
    /// `None` if whoever had to answer went without a word. Not to be polled after that, or after the answer.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<R, Error>>> {
        let slot = self.0.as_ref().expect("an answer is taken once");
        // SAFETY: this is the asker's only end, and it is given up with the answer.
        let polled = unsafe { slot.poll(cx) };
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<R: Send + 'static> Drop for Answer<R> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            // SAFETY: the answer was not taken, or the slot would have been given up.
            if let Some(unwanted) = unsafe { slot.close() } {
                drop_unwanted(unwanted);
            }
        }
    }
}

/// A replier whose type its own handler knows.
pub(crate) struct ErasedReplier(Erased);

enum Erased {
    Asker(Arc<dyn ErasedSlot>),
    Sink(Box<dyn ErasedSink>),
    Used,
}

trait ErasedSlot: Any + Send + Sync {
    /// # Safety
    /// As [`Slot::answer`].
    unsafe fn end(&self, answer: Option<Error>);
}

impl<R: Send + 'static> ErasedSlot for Slot<R> {
    unsafe fn end(&self, error: Option<Error>) {
        // SAFETY: passed on.
        if let Some(unwanted) = unsafe { self.answer(error.map(Err)) } {
            drop_unwanted(unwanted);
        }
    }
}

trait ErasedSink: Any + Send {
    fn fail(self: Box<Self>, error: Error);
}

struct Sink<R>(Box<dyn ReplySink<R>>);

impl<R: Send + 'static> ErasedSink for Sink<R> {
    fn fail(self: Box<Self>, error: Error) {
        contained(move || self.0.send(Err(error)));
    }
}

impl<R: Send + 'static> From<Replier<R>> for ErasedReplier {
    #[inline]
    fn from(mut replier: Replier<R>) -> Self {
        let reply = replier.0.take();
        std::mem::forget(replier);
        Self(match reply {
            Some(Reply::Asker(slot)) => Erased::Asker(slot),
            Some(Reply::Sink(sink)) => Erased::Sink(Box::new(Sink(sink))),
            None => Erased::Used,
        })
    }
}

impl ErasedReplier {
    pub(crate) fn fail(mut self, error: Error) {
        match std::mem::replace(&mut self.0, Erased::Used) {
            // SAFETY: used up by this call.
            Erased::Asker(slot) => unsafe { slot.end(Some(error)) },
            Erased::Sink(sink) => sink.fail(error),
            Erased::Used => {}
        }
    }

    /// The replier again.
    ///
    /// # Panics
    /// If `R` is not what it was made of.
    #[inline]
    pub(crate) fn typed<R: Send + 'static>(mut self) -> Replier<R> {
        const SAME: &str = "an incarnation has one message in hand";
        let erased = std::mem::replace(&mut self.0, Erased::Used);
        std::mem::forget(self);
        Replier(match erased {
            Erased::Asker(slot) => {
                let slot: Arc<dyn Any + Send + Sync> = slot;
                Some(Reply::Asker(slot.downcast().expect(SAME)))
            }
            Erased::Sink(sink) => {
                let sink: Box<dyn Any> = sink;
                Some(Reply::Sink(sink.downcast::<Sink<R>>().expect(SAME).0))
            }
            Erased::Used => None,
        })
    }
}

impl Drop for ErasedReplier {
    fn drop(&mut self) {
        if let Erased::Asker(slot) = std::mem::replace(&mut self.0, Erased::Used) {
            // SAFETY: not answered, or it would have been taken out.
            unsafe { slot.end(None) };
        }
    }
}
