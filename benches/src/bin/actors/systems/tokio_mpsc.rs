//! tokio's own channel and a task: an actor without a framework.

use tokio::sync::{mpsc, oneshot};

use crate::hosts::OnTokio;
use crate::system::{CAPACITY, Counter, Mailbox};

/// A mailbox of the size that kameo's and ours have by default.
const IDLE_CAPACITY: usize = 64;

pub enum Request {
    Tell(u64),
    Ask(u64, oneshot::Sender<u64>),
}

#[derive(Clone)]
pub struct Sender(mpsc::Sender<Request>);

impl Mailbox for Sender {
    async fn tell(&self, number: u64) {
        self.0.send(Request::Tell(number)).await.expect("the task runs");
    }

    async fn ask(&self, number: u64) -> u64 {
        let (reply, answer) = oneshot::channel();
        self.0.send(Request::Ask(number, reply)).await.expect("the task runs");
        answer.await.expect("the task answers")
    }
}

fn serve(capacity: usize) -> Sender {
    let (sender, mut requests) = mpsc::channel(capacity);
    tokio::spawn(async move {
        let mut counter = Counter::default();
        while let Some(request) = requests.recv().await {
            match request {
                Request::Tell(number) => drop(counter.add(number)),
                // The asker may have gone.
                Request::Ask(number, reply) => drop(reply.send(counter.add(number))),
            }
        }
    });
    Sender(sender)
}

pub struct TokioMpsc;

impl OnTokio for TokioMpsc {
    const NAME: &'static str = "tokio mpsc";
    type Mailbox = Sender;

    async fn start() -> Sender {
        serve(CAPACITY)
    }

    async fn start_idle() -> Sender {
        serve(IDLE_CAPACITY)
    }
}
