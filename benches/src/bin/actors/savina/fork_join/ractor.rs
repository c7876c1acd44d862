//! Fork-join in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::super::stage::on_tokio;
use super::*;

enum ToWorker {
    Work(Work),
    Join(Join, RpcReplyPort<u64>),
}

struct WorkerActor;

impl Actor for WorkerActor {
    type Msg = ToWorker;
    type State = Worker;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ToWorker>, (): ()) -> Result<Worker, ActorProcessingErr> {
        Ok(Worker::default())
    }

    async fn handle(
        &self,
        _: ActorRef<ToWorker>,
        message: ToWorker,
        worker: &mut Worker,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToWorker::Work(Work) => worker.work(),
            ToWorker::Join(Join, reply) => reply.send(worker.done)?,
        }
        Ok(())
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |mut done| {
        let mut workers = Vec::with_capacity(WORKERS);
        for _ in 0..WORKERS {
            workers.push(Actor::spawn(None, WorkerActor, ()).await.expect(RUNS).0);
        }
        for _ in 0..PIECES {
            for worker in &workers {
                worker.cast(ToWorker::Work(Work)).expect(RUNS);
            }
        }
        let mut sum = 0;
        for worker in &workers {
            let joined = worker.call(|reply| ToWorker::Join(Join, reply), None).await;
            sum += joined.expect(RUNS).expect(RUNS);
        }
        done.tell(sum);
    })
}
