//! Where a message came from, as a [`tracing`] span: with the feature `trace-messages`, and else nothing at all.
//!
//! A message takes its sender's span along, and its handler runs in a span of its own that *follows from* that one: it is
//! linked to it and not nested in it, for the sender may be done long before. The sender's span is kept until then.

#[cfg(feature = "trace-messages")]
mod imp {
    use tracing::{Span, info_span};

    /// The span that a message was sent in.
    pub(crate) struct Trail(Span);

    impl Trail {
        pub(crate) fn here() -> Self {
            Self(Span::current())
        }

        /// A span for handling a message that came from there.
        pub(crate) fn span<M>(&self, actor: &str) -> Span {
            let message = std::any::type_name::<M>();
            let span = info_span!(target: "ironcliw::message", parent: None, "message", actor, message);
            span.follows_from(&self.0);
            span
        }
    }
}

#[cfg(not(feature = "trace-messages"))]
mod imp {
    pub(crate) struct Trail;

    impl Trail {
        #[inline(always)]
        pub(crate) fn here() -> Self {
            Self
        }
    }
}

pub(crate) use imp::Trail;

/// Awaits a handler, in its own span where there are spans. A macro, so that without them it is the handler alone.
#[cfg(any(feature = "testkit", feature = "trace-messages"))]
macro_rules! handled {
    ($trail:expr, $message:ty, $actor:ident.handle($what:expr, $ctx:ident)) => {{
        #[cfg(feature = "trace-messages")]
        {
            let span = $trail.span::<$message>($ctx.path());
            tracing::Instrument::instrument($actor.handle($what, $ctx), span).await
        }
        #[cfg(not(feature = "trace-messages"))]
        {
            let Trail = $trail;
            $actor.handle($what, $ctx).await
        }
    }};
}

#[cfg(any(feature = "testkit", feature = "trace-messages"))]
pub(crate) use handled;
