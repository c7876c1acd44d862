//! Fork-join in xtra.

use ::xtra::{Actor, Context, Handler, Mailbox};

use super::super::stage::{on_tokio, xtra_tell_first};
use super::*;

impl Actor for Worker {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Work> for Worker {
    type Return = ();

    async fn handle(&mut self, Work: Work, _: &mut Context<Self>) {
        self.work();
    }
}

impl Handler<Join> for Worker {
    type Return = u64;

    async fn handle(&mut self, Join: Join, _: &mut Context<Self>) -> u64 {
        self.done
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |mut done| {
        let worker = |_| ::xtra::spawn_tokio(Worker::default(), Mailbox::unbounded());
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        for _ in 0..PIECES {
            for worker in &workers {
                xtra_tell_first(worker, Work).await;
            }
        }
        let mut sum = 0;
        for worker in &workers {
            sum += worker.send(Join).await.expect(RUNS);
        }
        done.tell(sum);
    })
}
