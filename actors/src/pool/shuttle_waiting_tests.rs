//! Random schedules of those who wait for memory (`make shuttle`): in which order they are served, and what becomes of them when
//! one goes away in the middle of a handover, the limit is raised, or the actor ends.
//!
//! The actor is a thread with a mailbox, as it is in the runtime. It has no clock: what is never told is never looked at, so
//! that a lost ring leaves everybody waiting, which shuttle finds at once.

use super::shuttle_tests::run;
use super::waiting::{AllocateWhenFree, Waiting};
use super::{AllocOptions, Buffer, Owner, Pool, PoolConfig, Reservation};
use crate::{Error, Result};
use shuttle::rand::Rng;
use shuttle::sync::mpsc::{Receiver, channel};
use shuttle::thread::JoinHandle;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SCHEDULES: usize = 10_000;
const KIB: usize = 1 << 10;
const LIMIT: usize = 1 << 20;
const FOR_EVER: Duration = Duration::MAX;

enum Message {
    Ask(AllocateWhenFree),
    Ring,
    Stop,
}

/// Where the actor is to be reached. shuttle's channel would keep what comes after the end.
#[derive(Clone, Default)]
struct Mailbox(Arc<(shuttle::sync::Mutex<Mail>, shuttle::sync::Condvar)>);

#[derive(Default)]
struct Mail {
    messages: VecDeque<Message>,
    is_over: bool,
}

impl Mailbox {
    fn tell(&self, message: Message) {
        let mut mail = self.0.0.lock().unwrap();
        if !mail.is_over {
            mail.messages.push_back(message);
            self.0.1.notify_one();
        }
    }

    fn next(&self) -> Message {
        let mut mail = self.0.0.lock().unwrap();
        loop {
            match mail.messages.pop_front() {
                Some(message) => return message,
                None => mail = self.0.1.wait(mail).unwrap(),
            }
        }
    }

    fn close(&self) {
        let mut mail = self.0.0.lock().unwrap();
        mail.is_over = true;
        let left = std::mem::take(&mut mail.messages);
        // Outside of the lock: their callers are answered.
        drop(mail);
        drop(left);
    }
}

/// A pool and its actor, and the order in which requests came to it and were served.
struct World {
    pool: Pool,
    mailbox: Mailbox,
    actor: JoinHandle<()>,
    owner: Owner,
    came: Arc<Mutex<Vec<usize>>>,
    served: Arc<Mutex<Vec<usize>>>,
}

/// Somebody's request.
struct Asked {
    answer: Receiver<Result<Buffer>>,
    is_abandoned: Arc<AtomicBool>,
}

impl Asked {
    fn wait(self) -> Result<Buffer> {
        self.answer.recv().expect("an answer")
    }
}

impl World {
    fn new() -> Self {
        let pool = Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(LIMIT) }).unwrap();
        let mailbox = Mailbox::default();
        let (bell, inbox) = (mailbox.clone(), mailbox.clone());
        pool.core.set_bell(Some(Arc::new(move || bell.tell(Message::Ring))));
        let actors = pool.clone();
        let actor = shuttle::thread::spawn(move || {
            let waiting = Waiting::default();
            waiting.belong_to(&actors);
            loop {
                match inbox.next() {
                    Message::Ask(request) => waiting.take_in(&actors, request),
                    Message::Ring => waiting.serve(&actors),
                    Message::Stop => break,
                }
            }
            inbox.close();
        });
        let owner = Owner::named("shuttle-waiting");
        Self { pool, mailbox, actor, owner, came: Arc::default(), served: Arc::default() }
    }

    fn lease(&self, kib: usize) -> Result<Buffer> {
        self.pool.allocate_for_overwrite(kib * KIB, self.owner)
    }

    fn asker(&self) -> Asker {
        let (came, served) = (self.came.clone(), self.served.clone());
        Asker { mailbox: self.mailbox.clone(), owner: self.owner, came, served }
    }

    /// The actor ends, and nothing is missing: not a byte is leased, saved or granted.
    fn end(self) {
        self.mailbox.tell(Message::Stop);
        self.actor.join().unwrap();
        let stats = self.pool.stats();
        assert_eq!((stats.live_count, stats.live_bytes, stats.waits.waiting), (0, 0, 0));
        self.pool.core.relax();
        assert!(!self.pool.core.caches.is_strict(), "nobody needs the pool to be strict");
        let limit = stats.limit_bytes;
        drop(self.pool.allocate_for_overwrite(limit, self.owner).expect("all that there is"));
        self.pool.trim(0);
        assert_eq!(self.pool.core.budget.held(), 0, "a block is out of reach");
        let core = Arc::downgrade(&self.pool.core);
        drop((self.pool, self.mailbox));
        assert_eq!(core.strong_count(), 0);
    }
}

struct Asker {
    mailbox: Mailbox,
    owner: Owner,
    came: Arc<Mutex<Vec<usize>>>,
    served: Arc<Mutex<Vec<usize>>>,
}

impl Asker {
    fn ask(&self, name: usize, kib: usize) -> Asked {
        let (send, answer) = channel();
        let is_abandoned = Arc::<AtomicBool>::default();
        let (asked, came, served) = (is_abandoned.clone(), self.came.clone(), self.served.clone());
        self.mailbox.tell(Message::Ask(AllocateWhenFree {
            len: kib * KIB,
            owner: self.owner,
            options: AllocOptions::for_overwrite(),
            wait: FOR_EVER,
            is_abandoned: Box::new(move || {
                // The first thing that the actor wants to know of each.
                let mut came = came.lock().unwrap();
                if !came.contains(&name) {
                    came.push(name);
                }
                asked.load(Ordering::SeqCst)
            }),
            done: Box::new(move |outcome| {
                if outcome.is_ok() {
                    served.lock().unwrap().push(name);
                }
                // One whose receiver is gone has the buffer dropped here, by the actor, in the middle of its round.
                _ = send.send(outcome);
            }),
        }));
        Asked { answer, is_abandoned }
    }
}

#[test]
fn shuttle_those_who_wait_are_served_in_the_order_of_asking_while_others_lease() {
    let check = || {
        let world = World::new();
        let held: Vec<Buffer> = (0..4).map(|_| world.lease(256).unwrap()).collect();
        let mut threads = Vec::new();
        // Each size twice what is returned at a time, half of it, or all of it.
        for (name, kib) in [512, 128, 1024].into_iter().enumerate() {
            let asker = world.asker();
            threads.push(shuttle::thread::spawn(move || drop(asker.ask(name, kib).wait().unwrap())));
        }
        let (pool, owner) = (world.pool.clone(), world.owner);
        threads.push(shuttle::thread::spawn(move || {
            for buffer in held {
                drop(buffer);
                // Who does not wait may have what is not saved, and returns it.
                drop(pool.allocate_for_overwrite(64 * KIB, owner));
            }
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*world.came.lock().unwrap(), *world.served.lock().unwrap());
        world.end();
    };
    run(check, SCHEDULES);
}

#[test]
fn shuttle_one_who_goes_away_in_the_middle_of_a_handover_takes_nothing_along() {
    let check = || {
        let world = World::new();
        let held: Vec<Buffer> = (0..2).map(|_| world.lease(512).unwrap()).collect();
        let mut threads = Vec::new();
        for (name, kib) in [1024, 512, 768].into_iter().enumerate() {
            let asker = world.asker();
            threads.push(shuttle::thread::spawn(move || {
                let asked = asker.ask(name, kib);
                match shuttle::rand::thread_rng().gen_range(0..3) {
                    0 => drop(asked.wait().unwrap()),
                    1 => {
                        asked.is_abandoned.store(true, Ordering::SeqCst);
                        // The actor looks at regular times; here it is told to.
                        asker.mailbox.tell(Message::Ring);
                        // The handover may have been before.
                        assert!(matches!(asked.wait(), Ok(_) | Err(Error::Cancelled)));
                    }
                    _ => drop(asked),
                }
            }));
        }
        threads.push(shuttle::thread::spawn(move || held.into_iter().for_each(drop)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Whose request nobody waits for is served nevertheless.
        let last = world.asker().ask(9, 1024);
        drop(last.wait().unwrap());
        world.end();
    };
    run(check, SCHEDULES);
}

#[test]
fn shuttle_a_limit_that_is_raised_serves_those_who_wait_although_nobody_returns() {
    let check = || {
        let world = World::new();
        world.pool.reserve(Reservation::new("shuttle-waiting-others", 256 * KIB)).unwrap();
        let held = world.lease(768).unwrap();
        let threads: Vec<_> = (0..2)
            .map(|name| {
                let asker = world.asker();
                shuttle::thread::spawn(move || asker.ask(name, 256).wait().unwrap())
            })
            .collect();
        let pool = world.pool.clone();
        let raises = shuttle::thread::spawn(move || {
            // Room for one, and then for the other.
            pool.set_limit(LIMIT + 256 * KIB).unwrap();
            pool.reserve(Reservation::new("shuttle-waiting-others", 0)).unwrap();
        });
        let served: Vec<Buffer> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        raises.join().unwrap();
        drop((held, served));
        world.end();
    };
    run(check, SCHEDULES);
}

#[test]
fn shuttle_the_end_of_the_actor_answers_all_who_wait() {
    let check = || {
        let world = World::new();
        let held: Vec<Buffer> = (0..2).map(|_| world.lease(512).unwrap()).collect();
        let mut threads = Vec::new();
        for (name, kib) in [1024, 256].into_iter().enumerate() {
            let asker = world.asker();
            threads.push(shuttle::thread::spawn(move || {
                let ended = |error: &Error| matches!(error, Error::Runtime(ironcliw::Error::ActorStopped { .. }));
                let answer = asker.ask(name, kib).wait();
                assert!(answer.as_ref().err().is_none_or(ended), "{answer:?}");
            }));
        }
        let mailbox = world.mailbox.clone();
        threads.push(shuttle::thread::spawn(move || mailbox.tell(Message::Stop)));
        threads.push(shuttle::thread::spawn(move || held.into_iter().for_each(drop)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.end();
    };
    run(check, SCHEDULES);
}

/// Also the pool's handles: the actor's is the last.
#[test]
fn shuttle_a_pool_of_which_only_those_who_wait_are_left_goes_with_its_actor() {
    let check = || {
        let World { pool, mailbox, actor, owner, .. } = World::new();
        let core = Arc::downgrade(&pool.core);
        let held = pool.allocate_for_overwrite(LIMIT, owner).unwrap();
        let asker = Asker { mailbox: mailbox.clone(), owner, came: Arc::default(), served: Arc::default() };
        let asked = asker.ask(0, 64);
        let returns = shuttle::thread::spawn(move || drop(held));
        drop(pool);
        mailbox.tell(Message::Stop);
        let answer = asked.wait();
        returns.join().unwrap();
        actor.join().unwrap();
        drop(answer);
        drop((mailbox, asker));
        assert_eq!(core.strong_count(), 0, "what was leased for one who waited outlives the pool");
    };
    run(check, SCHEDULES);
}
