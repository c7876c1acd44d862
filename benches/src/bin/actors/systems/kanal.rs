//! kanal's channel and a task: the fastest mailbox that can be had without writing one.

use kanal::AsyncSender;
use tokio::sync::oneshot;

use crate::hosts::OnTokio;
use crate::system::{CAPACITY, Counter, Mailbox};

/// A mailbox of the size that kameo's and ours have by default.
const IDLE_CAPACITY: usize = 64;

pub enum Request {
    Tell(u64),
    Ask(u64, oneshot::Sender<u64>),
}

#[derive(Clone)]
pub struct Sender(AsyncSender<Request>);

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
    let (sender, requests) = kanal::bounded_async(capacity);
    tokio::spawn(async move {
        let mut counter = Counter::default();
        while let Ok(request) = requests.recv().await {
            match request {
                Request::Tell(number) => drop(counter.add(number)),
                // The asker may have gone.
                Request::Ask(number, reply) => drop(reply.send(counter.add(number))),
            }
        }
    });
    Sender(sender)
}

pub struct Kanal;

impl OnTokio for Kanal {
    const NAME: &'static str = "kanal";
    type Mailbox = Sender;

    async fn start() -> Sender {
        serve(CAPACITY)
    }

    async fn start_idle() -> Sender {
        serve(IDLE_CAPACITY)
    }
}
