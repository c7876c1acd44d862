//! Where an answer goes: nowhere, to a waiting `ask`, or to a sink of the caller's own.

use tokio::sync::oneshot;
use tracing::error;

use crate::Error;
use crate::panics::{self, Panicked};

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

/// The slot that travels with a message.
pub(crate) enum ReplyTo<R> {
    Nobody,
    Asker(oneshot::Sender<Result<R, Error>>),
    Sink(Box<dyn ReplySink<R>>),
}

impl<R> ReplyTo<R> {
    /// Never panics, though sinks and the `Drop` of an answer that nobody takes are user code.
    pub(crate) fn send(self, answer: Result<R, Error>) {
        let sent = panics::catch(move || match self {
            Self::Nobody => drop(answer),
            // The asker may have gone: then there is nobody to tell.
            Self::Asker(sender) => drop(sender.send(answer)),
            Self::Sink(sink) => sink.send(answer),
        });
        if let Err(Panicked(reason)) = sent {
            error!(reason, "an answer panicked on its way");
        }
    }

    /// True once the asker dropped its future, or its sink closed. A tell is never abandoned.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Asker(sender) => sender.is_closed(),
            // A sink that cannot say is asked no further: its message is handled.
            Self::Sink(sink) => panics::catch(|| sink.is_closed()).unwrap_or(false),
        }
    }
}
