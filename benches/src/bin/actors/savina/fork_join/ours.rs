//! Fork-join in ours.

use futures_util::future::try_join_all;
use ironcliw::{Actor, Address, Child, Context, Handler, Message, Overflow};

use super::super::stage::{Done, on_ours};
use super::*;

/// Pieces that wait for one worker: who deals them waits where there are more.
const CAPACITY: usize = 256;

impl Actor for Worker {}

impl Message for Join {
    type Reply = u64;
}

impl Handler<Work> for Worker {
    async fn handle(&mut self, Work: Work, _: &mut Context<Self>) {
        self.work();
    }
}

impl Handler<Join> for Worker {
    async fn handle(&mut self, Join: Join, _: &mut Context<Self>) -> u64 {
        self.done
    }
}

/// Deals the work, on a thread of the runtime as the peers do.
struct Dealer;

impl Actor for Dealer {}

struct Fork(Vec<Address<Worker>>, Done);
tells!(Fork);

impl Handler<Fork> for Dealer {
    async fn handle(&mut self, Fork(workers, mut done): Fork, _: &mut Context<Self>) {
        for _ in 0..PIECES {
            for worker in &workers {
                worker.tell(Work).await.expect(RUNS);
            }
        }
        let mut sum = 0;
        for worker in &workers {
            sum += worker.ask(Join).await.expect(RUNS);
        }
        done.tell(sum);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let dealer = runtime.spawn(Child::new("dealer", || Dealer)).await.expect(RUNS);
        let worker = |number| {
            let child = Child::new(format!("worker-{number}"), Worker::default);
            runtime.spawn(child.mailbox(CAPACITY, Overflow::Block))
        };
        let workers = try_join_all((0..WORKERS).map(worker)).await.expect(RUNS);
        dealer.tell(Fork(workers, done)).await.expect(RUNS);
    })
}
