//! The test kit's executor: one task of the current runtime, which neither spins nor reads a clock. Each turn of an actor
//! ends it, so that everything else on the thread goes next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::unbounded_channel;
use tokio::task::AbortHandle;

use super::{Crew, Spawner};
use crate::ticks;

pub(crate) fn in_place() -> (Spawner, AbortHandle) {
    let (to, newcomers) = unbounded_channel();
    let task = tokio::spawn(InPlace(Crew::new(newcomers)));
    (Spawner { to, busy: Arc::default() }, task.abort_handle())
}

struct InPlace(Crew);

// SAFETY: it is made, polled and dropped by the one thread of the test kit's `current_thread` runtime, which stays where it
// was made: `TestRuntime` is not `Send`.
unsafe impl Send for InPlace {}

impl Future for InPlace {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _turn = self.0.enter();
        let queue = self.0.queue;
        // The kit's clock may have been moved since.
        ticks::read();
        queue.bell.attend(cx.waker());
        queue.bell.begin_round();
        queue.take_in_called();
        queue.poll_first();
        if !queue.is_empty() || !queue.bell.park() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
