//! Fork-join in actix.

use ::actix::{Actor, Context, Handler, Message};

use super::super::stage::on_actix;
use super::*;

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Message for Join {
    type Result = u64;
}

impl Handler<Work> for Worker {
    type Result = ();

    fn handle(&mut self, Work: Work, _: &mut Context<Self>) {
        self.work();
    }
}

impl Handler<Join> for Worker {
    type Result = u64;

    fn handle(&mut self, Join: Join, _: &mut Context<Self>) -> u64 {
        self.done
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, mut done| {
        let workers: Vec<_> = (0..WORKERS).map(|number| arbiters.start(number, Worker::default())).collect();
        for _ in 0..PIECES {
            for worker in &workers {
                worker.do_send(Work);
            }
        }
        let mut sum = 0;
        for worker in &workers {
            sum += worker.send(Join).await.expect(RUNS);
        }
        done.tell(sum);
    })
}
