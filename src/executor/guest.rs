//! The executor of a thread that is somebody else's: whoever drives that thread calls [`Guest::turn`] when it has been woken.
//! It does not spin, for its thread has other things to do.

use std::sync::Arc;
use std::task::Waker;

use tokio::sync::mpsc::unbounded_channel;

use super::{Crew, ROUND, Spawner, poll_some};
use crate::observe::Busy;
use crate::ticks;

pub(crate) struct Guest {
    crew: Crew,
    busy: Arc<Busy>,
    /// Rung when a task was woken while none is polled.
    waker: Waker,
}

/// Makes both ends, for the current thread.
pub(crate) fn guest(waker: Waker) -> (Spawner, Guest) {
    let (to, newcomers) = unbounded_channel();
    let busy = Arc::<Busy>::default();
    (Spawner { to, busy: busy.clone() }, Guest { crew: Crew::new(newcomers), busy, waker })
}

impl Guest {
    /// Polls tasks until there is nothing to do or the thread's owner is to have its turn, and says whether something is left.
    /// If not, the waker is woken when there is.
    pub(crate) fn turn(&mut self) -> bool {
        let _turn = self.crew.enter();
        let queue = self.crew.queue;
        queue.bell.attend(&self.waker);
        let began = ticks::read();
        let must_step_back_at = began + ticks::of(ROUND);
        self.busy.begin(began);
        let is_left = loop {
            queue.bell.begin_round();
            queue.take_in_called();
            let must_step_back = poll_some(queue, must_step_back_at);
            let has_work = !queue.is_empty() || queue.bell.is_rung();
            if has_work && must_step_back {
                break true;
            }
            if !has_work && queue.bell.park() {
                break false;
            }
        };
        self.busy.end(ticks::last());
        is_left
    }

    /// Whether somebody has been woken since the last turn.
    pub(crate) fn is_rung(&self) -> bool {
        self.crew.queue.bell.is_rung()
    }
}
