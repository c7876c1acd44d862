//! The threads of one runtime: which there are, which an actor gets, and how they end.
//!
//! Threads are made on the system thread alone, when a supervisor starts an actor: two starts cannot both make the same
//! worker, and a spawner that stops waiting leaves no thread behind. A thread that has ended, or that a handler did not
//! come back from, is not given out again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::arbiters::{self, Arbiter, RuntimeId, ThreadSpec, allowed_cores};
use crate::observe::ArbiterSnapshot;
use crate::{Error, Placement};

/// How the runtime's owner wants its threads.
#[derive(Debug, Clone)]
pub(crate) struct ThreadSettings {
    pub(crate) workers: usize,
    pub(crate) pin: bool,
    /// Of dedicated threads.
    pub(crate) niceness: Option<i32>,
    pub(crate) worker_niceness: Option<i32>,
    /// How long a thread whose actors have nothing to do looks for more before it waits.
    pub(crate) spin: Duration,
    /// Arbiters are no threads but tasks of the test kit's.
    #[cfg(feature = "testkit")]
    pub(crate) in_place: bool,
}

/// An arbiter that actors share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Common {
    Worker(usize),
    Named(&'static str),
}

#[derive(Default)]
struct Arbiters {
    common: BTreeMap<Common, Arc<Arbiter>>,
    /// Every arbiter there is, for snapshots and for the end.
    all: Vec<Arc<Arbiter>>,
    /// Those that were told to end, for as long as they take.
    ending: Vec<Arc<Arbiter>>,
    /// Those that a handler did not come back from, and the path of its actor.
    lost: Vec<(String, Arc<Arbiter>)>,
    /// No further ones are made.
    closed: bool,
}

pub(crate) struct Threads {
    of: RuntimeId,
    settings: ThreadSettings,
    arbiters: Mutex<Arbiters>,
    next_worker: AtomicUsize,
    next_core: AtomicUsize,
}

impl Threads {
    pub(crate) fn new(of: RuntimeId, settings: ThreadSettings) -> Self {
        let (next_worker, next_core) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { of, settings, arbiters: Mutex::default(), next_worker, next_core }
    }

    /// Whether the current thread is one of these, or the system thread that goes with them.
    pub(crate) fn own_this_one(&self) -> bool {
        self.of.owns_this_thread()
    }

    pub(crate) fn observe(&self) -> Vec<ArbiterSnapshot> {
        self.arbiters.lock().all.iter().map(|arbiter| arbiter.observe()).collect()
    }

    /// The thread that the actor at `path` is to live on now, which it leaves by [`Threads::leave`]: its neighbour's, or the
    /// one it has, or another if that is gone. Must be called on the system thread. `niceness` is what it asks for a thread
    /// of its own.
    pub(crate) fn settle(
        &self,
        home: &Mutex<Option<Arc<Arbiter>>>,
        placement: &Placement,
        niceness: Option<i32>,
        path: &str,
    ) -> Result<Arc<Arbiter>, Error> {
        let wanted = placement.thread_of_neighbour();
        let mut home = home.lock();
        let is_right = |present: &&Arc<Arbiter>| wanted.as_ref().is_none_or(|wanted| Arc::ptr_eq(wanted, present));
        if let Some(present) = home.as_ref().filter(|present| present.is_alive()).filter(is_right) {
            return Ok(present.clone());
        }
        match home.take() {
            Some(present) if present.is_alive() => self.leave(&present),
            Some(gone) => self.close(&gone),
            None => {}
        }
        let found = match wanted.filter(|wanted| self.share(wanted)) {
            Some(shared) => shared,
            None => {
                let found = self.place(placement, niceness, path)?;
                found.move_in();
                found
            }
        };
        Ok(home.insert(found).clone())
    }

    /// Lets an actor live where others do. Refused where the thread is about to end or is another runtime's.
    fn share(&self, arbiter: &Arc<Arbiter>) -> bool {
        let arbiters = self.arbiters.lock();
        let is_usable = arbiter.is_alive() && arbiters.all.iter().any(|known| Arc::ptr_eq(known, arbiter));
        if is_usable {
            arbiter.move_in();
        }
        is_usable
    }

    /// Takes in a thread that is somebody else's.
    pub(crate) fn take_in(&self, guest: Arc<Arbiter>) -> Result<(), Error> {
        let mut arbiters = self.arbiters.lock();
        if arbiters.closed {
            return Err(Error::RuntimeClosed);
        }
        arbiters.all.push(guest);
        Ok(())
    }

    /// An actor leaves its thread, which ends with the last of them. Workers and named threads stay for those to come.
    pub(crate) fn leave(&self, arbiter: &Arc<Arbiter>) {
        let is_unused = {
            let arbiters = self.arbiters.lock();
            let stays = arbiters.common.values().any(|common| Arc::ptr_eq(common, arbiter));
            arbiter.move_out() && !stays && !arbiter.is_guest()
        };
        if is_unused {
            self.close(arbiter);
        }
    }

    fn place(&self, placement: &Placement, niceness: Option<i32>, path: &str) -> Result<Arc<Arbiter>, Error> {
        let ThreadSettings { workers, pin, worker_niceness, .. } = self.settings;
        let niceness = niceness.or(self.settings.niceness);
        let cores = allowed_cores();
        let pinned = |index: usize| pin.then(|| cores[index % cores.len()]);
        let own = |core| ThreadSpec { name: path.to_owned(), core, niceness };
        match *placement {
            Placement::Any => {
                let turn = self.next_worker.fetch_add(1, Ordering::Relaxed) % workers;
                self.common(Common::Worker(turn), || ThreadSpec {
                    name: format!("ironcliw-w{turn}"),
                    core: pinned(turn),
                    niceness: worker_niceness,
                })
            }
            Placement::Shared(name) => {
                let spec = || ThreadSpec { name: format!("ironcliw-{name}"), core: None, niceness: None };
                self.common(Common::Named(name), spec)
            }
            Placement::Dedicated => {
                let index = self.next_core.fetch_add(1, Ordering::Relaxed);
                self.open(own(pinned(index)))
            }
            Placement::Blocking => self.open(own(None)),
            Placement::Loop(ref there) => there.thread().ok_or_else(|| {
                let reason = "the event loop that it is to live on has ended".to_owned();
                Error::Setup { reason }
            }),
            // The other one is nowhere.
            Placement::With(ref location) => self.place(location.otherwise(), niceness, path),
            Placement::Core(index) => match cores.get(index) {
                Some(&core) => self.open(own(Some(core))),
                None => {
                    let reason = format!("there is no core {index}: the process may use {}", cores.len());
                    Err(Error::Setup { reason })
                }
            },
        }
    }

    fn common(&self, which: Common, spec: impl FnOnce() -> ThreadSpec) -> Result<Arc<Arbiter>, Error> {
        let present = self.arbiters.lock().common.get(&which).cloned();
        if let Some(present) = present {
            if present.is_alive() {
                return Ok(present);
            }
            self.close(&present);
        }
        let arbiter = self.open(spec())?;
        self.arbiters.lock().common.insert(which, arbiter.clone());
        Ok(arbiter)
    }

    fn open(&self, spec: ThreadSpec) -> Result<Arc<Arbiter>, Error> {
        let arbiter = Arc::new(self.make(spec)?);
        let mut arbiters = self.arbiters.lock();
        if arbiters.closed {
            // Dropped, it ends.
            return Err(Error::RuntimeClosed);
        }
        arbiters.all.push(arbiter.clone());
        Ok(arbiter)
    }

    fn make(&self, spec: ThreadSpec) -> Result<Arbiter, Error> {
        #[cfg(feature = "testkit")]
        if self.settings.in_place {
            return Ok(arbiters::open_in_place(spec));
        }
        arbiters::open(self.of, spec, self.settings.spin)
    }

    /// Ends a thread that no actor will need any more. It is waited for when all are.
    pub(crate) fn close(&self, gone: &Arc<Arbiter>) {
        gone.stop();
        let mut arbiters = self.arbiters.lock();
        arbiters.common.retain(|_, arbiter| !Arc::ptr_eq(arbiter, gone));
        arbiters.ending.retain(|arbiter| !arbiter.join(Instant::now()));
        if let Some(place) = arbiters.all.iter().position(|arbiter| Arc::ptr_eq(arbiter, gone)) {
            let gone = arbiters.all.remove(place);
            arbiters.ending.push(gone);
        }
    }

    /// Gives up a thread that the handler of the actor at `path` did not come back from. Whether that is news.
    pub(crate) fn lose(&self, lost: &Arc<Arbiter>, path: &str) -> bool {
        if !lost.lose() {
            return false;
        }
        let mut arbiters = self.arbiters.lock();
        arbiters.common.retain(|_, arbiter| !Arc::ptr_eq(arbiter, lost));
        arbiters.all.retain(|arbiter| !Arc::ptr_eq(arbiter, lost));
        arbiters.lost.retain(|(_, earlier)| earlier.runs());
        arbiters.lost.push((path.to_owned(), lost.clone()));
        true
    }

    /// How many threads were given up and have not come back. Those that have are forgotten.
    pub(crate) fn lost(&self) -> usize {
        self.forget_the_returned();
        self.arbiters.lock().lost.len()
    }

    /// The threads of actors that have a limit.
    pub(crate) fn watched(&self) -> Vec<Arc<Arbiter>> {
        let arbiters = self.arbiters.lock();
        arbiters.all.iter().filter(|arbiter| arbiter.pulse().shortest_limit().is_some()).cloned().collect()
    }

    /// Forgets the lost threads that have come back, and ended, since.
    pub(crate) fn forget_the_returned(&self) {
        self.arbiters.lock().lost.retain(|(_, arbiter)| arbiter.runs());
    }

    /// Tells every thread to end, and returns those that are expected to.
    pub(crate) fn close_all(&self) -> Vec<Arc<Arbiter>> {
        let mut arbiters = self.arbiters.lock();
        arbiters.closed = true;
        arbiters.common.clear();
        let mut ending = std::mem::take(&mut arbiters.all);
        ending.iter().for_each(|arbiter| arbiter.stop());
        ending.append(&mut arbiters.ending);
        ending
    }

    /// Ends the threads and waits for them until `limit`. Returns the actors that were given up, and the threads that are
    /// held by something that is no actor.
    pub(crate) fn join_all(&self, limit: Instant) -> Vec<String> {
        let ending = self.close_all();
        let held = ending.iter().filter(|arbiter| !arbiter.join(limit)).map(|arbiter| arbiter.name().to_owned());
        let lost = std::mem::take(&mut self.arbiters.lock().lost);
        lost.into_iter().map(|(path, _)| path).chain(held).collect()
    }
}
