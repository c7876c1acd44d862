//! crossbeam-channel between two OS threads that block: the ceiling, with no executor, no supervision and no futures.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::cores;
use crate::system::{CAPACITY, Counter};
use crate::work::{BURST, IN_FLIGHT, Share, median, millions};

enum Request {
    Tell(u64),
    Ask(u64, Sender<u64>),
}

/// A counter on a pinned thread that ends with its last sender.
fn start() -> (Sender<Request>, JoinHandle<()>) {
    let (sender, requests) = bounded(CAPACITY);
    let thread = thread::spawn(move || {
        cores::pin_to_actors();
        serve(&requests);
    });
    (sender, thread)
}

fn serve(requests: &Receiver<Request>) {
    let mut counter = Counter::default();
    for request in requests {
        match request {
            Request::Tell(number) => drop(counter.add(number)),
            Request::Ask(number, reply) => reply.send(counter.add(number)).expect("the asker waits"),
        }
    }
}

/// Runs a client on a thread, pinned if it is the only one, and returns what it returns.
fn from_client<T: Send + 'static>(client: impl FnOnce() -> T + Send + 'static, pinned: bool) -> JoinHandle<T> {
    thread::spawn(move || {
        if pinned {
            cores::pin_to_clients();
        }
        client()
    })
}

/// The counter's sum after one more message.
fn ask(counter: &Sender<Request>, number: u64) -> u64 {
    let (reply, answer) = bounded(1);
    counter.send(Request::Ask(number, reply)).expect("the counter runs");
    answer.recv().expect("the counter answers")
}

pub struct Crossbeam;

impl Crossbeam {
    pub const NAME: &'static str = "crossbeam (OS)";

    pub fn tell(producers: usize, time: Duration) -> f64 {
        let (counter, thread) = start();
        let clients: Vec<_> = (0..producers)
            .map(|_| {
                let counter = counter.clone();
                let client = move || {
                    let mut sent = 0;
                    let began = Instant::now();
                    while Instant::now() < began + time {
                        for _ in 0..BURST {
                            counter.send(Request::Tell(1)).expect("the counter runs");
                        }
                        sent += BURST;
                    }
                    ask(&counter, 0);
                    Share { sent, began, ended: Instant::now() }
                };
                from_client(client, producers == 1)
            })
            .collect();
        let shares = clients.into_iter().map(|client| client.join().expect("a producer panicked"));
        let (sent, took) = Share::together(shares);
        assert_eq!(ask(&counter, 0), sent, "{} lost messages", Self::NAME);
        drop(counter);
        thread.join().expect("the counter panicked");
        millions(sent, took)
    }

    /// The median time of an ask, in nanoseconds.
    pub fn ask(time: Duration) -> f64 {
        let (counter, thread) = start();
        let client = move || {
            let (reply, answer) = bounded(1);
            let mut times = Vec::new();
            let mut before = Instant::now();
            let end = before + time;
            while before < end {
                counter.send(Request::Ask(1, reply.clone())).expect("the counter runs");
                let handled = answer.recv().expect("the counter answers");
                let after = Instant::now();
                times.push(u32::try_from((after - before).as_nanos()).unwrap_or(u32::MAX));
                assert_eq!(handled, times.len() as u64, "{} lost asks", Self::NAME);
                before = after;
            }
            median(times)
        };
        let result = from_client(client, true).join().expect("a client panicked");
        thread.join().expect("the counter panicked");
        result
    }

    pub fn ask_pipelined(time: Duration) -> f64 {
        let (counter, thread) = start();
        let client = move || {
            let (reply, answers) = bounded(IN_FLIGHT as usize);
            let send = || counter.send(Request::Ask(1, reply.clone())).expect("the counter runs");
            let began = Instant::now();
            let end = began + time;
            (0..IN_FLIGHT).for_each(|_| send());
            let (mut asked, mut answered, mut open, mut sum) = (IN_FLIGHT, 0, true, 0);
            while answered < asked {
                sum = answers.recv().expect("the counter answers");
                answered += 1;
                if answered % IN_FLIGHT == 0 {
                    open = Instant::now() < end;
                }
                if open {
                    send();
                    asked += 1;
                }
            }
            assert_eq!(sum, asked, "{} lost asks", Self::NAME);
            millions(asked, began.elapsed())
        };
        let result = from_client(client, true).join().expect("a client panicked");
        thread.join().expect("the counter panicked");
        result
    }
}
