//! Fork-join in kameo.

use ::kameo::actor::{Actor, ActorRef, Spawn};
use ::kameo::error::Infallible;
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

impl Actor for Worker {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(worker: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(worker)
    }
}

impl Message<Work> for Worker {
    type Reply = ();

    async fn handle(&mut self, Work: Work, _: &mut Context<Self, ()>) {
        self.work();
    }
}

impl Message<Join> for Worker {
    type Reply = u64;

    async fn handle(&mut self, Join: Join, _: &mut Context<Self, u64>) -> u64 {
        self.done
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |mut done| {
        let worker = |_| Worker::spawn_with_mailbox(Worker::default(), unbounded());
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        for _ in 0..PIECES {
            for worker in &workers {
                worker.tell(Work).try_send().expect(RUNS);
            }
        }
        let mut sum = 0;
        for worker in &workers {
            sum += worker.ask(Join).send().await.expect(RUNS);
        }
        done.tell(sum);
    })
}
