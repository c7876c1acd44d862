//! Where an answer goes: nowhere, to a waiting `ask`, or to a sink of the caller's own.
//!
//! Whoever holds a [`Replier`] answers, once; dropped without a word, it says that there will be no answer. While a
//! message is in hand its replier stands in `in_hand.rs`, where the supervisor finds it if the handler does not come back.

mod slot;

use std::any::TypeId;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use tracing::error;

use crate::Error;
use crate::envelope::Deadline;
use crate::panics::{self, Panicked};

pub(crate) use slot::Peephole;
use slot::{Answerer, Asker};

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

/// The two ends of one ask. An asker who says whom to wake is woken without having polled.
#[inline]
pub(crate) fn pair<R: Send + 'static>(deadline: Option<Deadline>, waker: Option<&Waker>) -> (Replier<R>, Answer<R>) {
    let (answerer, asker) = slot::slot(deadline, waker);
    (Replier(Reply::Asker(answerer)), Answer(Some(asker)))
}

/// The right to answer, and the duty: an asker whose replier is dropped hears that there will be no answer.
pub(crate) struct Replier<R: Send + 'static>(Reply<R>);

enum Reply<R> {
    Asker(Answerer<R>),
    Sink(Box<dyn ReplySink<R>>),
}

impl<R: Send + 'static> Replier<R> {
    pub(crate) fn sink(sink: Box<dyn ReplySink<R>>) -> Self {
        Self(Reply::Sink(sink))
    }

    /// Never panics, though sinks, wakers and the `Drop` of an answer that nobody takes are user code.
    #[inline]
    pub(crate) fn send(self, answer: Result<R, Error>) {
        match self.0 {
            Reply::Asker(asker) => {
                if let Some(unwanted) = asker.answer(answer) {
                    drop_unwanted(unwanted);
                }
            }
            Reply::Sink(sink) => contained(move || sink.send(answer)),
        }
    }

    /// True once the asker dropped its future, or its sink closed.
    #[inline]
    pub(crate) fn is_abandoned(&self) -> bool {
        match &self.0 {
            Reply::Asker(asker) => asker.is_closed(),
            // A sink that cannot say is asked no further: its message is handled.
            Reply::Sink(sink) => panics::catch(|| sink.is_closed()).unwrap_or(false),
        }
    }

    /// The deadline of an asker. A sink's travels with its message.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        match &self.0 {
            Reply::Asker(asker) => asker.deadline(),
            Reply::Sink(_) => None,
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
pub(crate) struct Answer<R: Send + 'static>(Option<Asker<R>>);

impl<R: Send + 'static> Answer<R> {
    /// For as long as the answer was neither taken nor dropped.
    pub(crate) fn peephole(&self) -> Option<Peephole> {
        self.0.as_ref().map(Asker::peephole)
    }

    /// `None` if whoever had to answer went without a word. Not to be polled after that, or after the answer.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<R, Error>>> {
        if !self.is_answered(cx) {
            return Poll::Pending;
        }
        // SAFETY: it is answered.
        Poll::Ready(self.0.take().and_then(|asker| unsafe { asker.take() }))
    }

    /// The same without taking the answer.
    #[inline]
    pub(crate) fn is_answered(&mut self, cx: &Context<'_>) -> bool {
        self.0.as_mut().expect("an answer is taken once").is_answered(cx)
    }
}

impl<R: Send + 'static> Drop for Answer<R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(unwanted) = self.0.take().and_then(Asker::close) {
            drop_unwanted(unwanted);
        }
    }
}

/// A replier whose type its own handler knows.
pub(crate) struct ErasedReplier {
    /// An [`Answerer`] as an address, or a boxed sink's.
    place: NonNull<()>,
    kind: &'static Kind,
}

// SAFETY: both are ends that may cross threads.
unsafe impl Send for ErasedReplier {}

/// What can be done with a replier of one type.
struct Kind {
    of: TypeId,
    is_sink: bool,
    /// # Safety
    /// Called with a replier's place, which is used up.
    end: unsafe fn(NonNull<()>, Option<Error>),
}

struct Of<R>(PhantomData<R>);

impl<R: Send + 'static> Of<R> {
    const ASKER: &'static Kind = &Kind { of: TypeId::of::<R>(), is_sink: false, end: Self::end_asker };
    const SINK: &'static Kind = &Kind { of: TypeId::of::<R>(), is_sink: true, end: Self::end_sink };

    unsafe fn end_asker(place: NonNull<()>, error: Option<Error>) {
        // SAFETY: the caller's promise.
        let asker = unsafe { Answerer::<R>::from_raw(place) };
        if let Some(error) = error {
            Replier(Reply::Asker(asker)).send(Err(error));
        }
    }

    unsafe fn end_sink(place: NonNull<()>, error: Option<Error>) {
        // SAFETY: the caller's promise.
        let sink = unsafe { Self::sink(place) };
        if let Some(error) = error {
            Replier(Reply::Sink(sink)).send(Err(error));
        } else {
            contained(move || drop(sink));
        }
    }

    /// # Safety
    /// The place of a sink's replier, which is used up.
    unsafe fn sink(place: NonNull<()>) -> Box<dyn ReplySink<R>> {
        // SAFETY: the caller's promise.
        *unsafe { Box::from_raw(place.cast::<Box<dyn ReplySink<R>>>().as_ptr()) }
    }
}

impl<R: Send + 'static> From<Replier<R>> for ErasedReplier {
    #[inline]
    fn from(replier: Replier<R>) -> Self {
        match replier.0 {
            Reply::Asker(asker) => Self { place: asker.into_raw(), kind: Of::<R>::ASKER },
            Reply::Sink(sink) => Self { place: NonNull::from(Box::leak(Box::new(sink))).cast(), kind: Of::<R>::SINK },
        }
    }
}

impl ErasedReplier {
    pub(crate) fn fail(self, error: Error) {
        let (place, kind) = self.into_parts();
        // SAFETY: the place is the kind's, and used up.
        unsafe { (kind.end)(place, Some(error)) };
    }

    /// The replier again.
    ///
    /// # Panics
    /// If `R` is not what it was made of.
    #[inline]
    pub(crate) fn typed<R: Send + 'static>(self) -> Replier<R> {
        let (place, kind) = self.into_parts();
        assert_eq!(kind.of, TypeId::of::<R>(), "an incarnation has one message in hand");
        // SAFETY: it is a replier for `R`, of this kind, and the place is used up.
        Replier(unsafe {
            if kind.is_sink { Reply::Sink(Of::sink(place)) } else { Reply::Asker(Answerer::from_raw(place)) }
        })
    }

    #[inline]
    fn into_parts(self) -> (NonNull<()>, &'static Kind) {
        let parts = (self.place, self.kind);
        std::mem::forget(self);
        parts
    }
}

impl Drop for ErasedReplier {
    fn drop(&mut self) {
        // SAFETY: the place is the kind's, and used up.
        unsafe { (self.kind.end)(self.place, None) };
    }
}
