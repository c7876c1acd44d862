//! `PoolActor`: the pool's control plane. Leasing and releasing never come here, except to wait for memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironcliw::{Actor, Context, Handler, Message, Recipient, StartError};
use parking_lot::Mutex;

use super::pressure::Barometer;
use super::{Alarm, AllocOptions, Buffer, MemoryReading, MemorySource, Owner, Pool, PoolStats, Pressure, SizeClass};
use crate::snapshot::History;
use crate::{Error, Result};

/// Where the tree puts it, for the error of those who waited in vain.
const OWN_PATH: &str = "memory/pool";

/// How often pressure is looked at: fast enough for a burst of frames, slow enough to cost nothing.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// How often those who wait for memory are looked after. Releases do not come through this actor, so it has to look.
const WAIT_PERIOD: Duration = Duration::from_millis(1);

/// What outlives the actor's crashes: who waits and who wants to be told.
pub(crate) struct Standing {
    pool: Pool,
    history: Arc<History>,
    subscribers: Mutex<Vec<Subscriber>>,
    /// First come, first served: a small request does not overtake a large one. Whoever is still here when the actor has
    /// ended for good is answered as this is dropped, with the child's factory.
    waiting: Mutex<VecDeque<Waiter>>,
}

impl Standing {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, history: Arc::default(), subscribers: Mutex::default(), waiting: Mutex::default() }
    }

    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Tells those who were not told of `level` yet. One whose mailbox is full is told at a later look.
    fn tell_subscribers(&self, level: Pressure) {
        self.subscribers.lock().retain_mut(|subscriber| {
            if subscriber.told == level {
                return true;
            }
            match subscriber.to.try_tell(PressureChanged(level)) {
                Ok(()) => subscriber.told = level,
                Err(refused) => return !matches!(refused.error, ironcliw::Error::ActorStopped { .. }),
            }
            true
        });
    }
}

/// With the actor's last life nobody is left to say that pressure is over.
impl Drop for Standing {
    fn drop(&mut self) {
        self.pool.core.release_pressure();
    }
}

/// Who wants to hear of pressure, and what it heard last.
struct Subscriber {
    to: Recipient<PressureChanged>,
    told: Pressure,
}

/// Who waits for memory, and until when; `None` is for ever.
struct Waiter {
    request: AllocateWhenFree,
    until: Option<Instant>,
}

/// Limits, trimming, memory pressure, and the queue of those who wait for memory.
pub struct PoolActor {
    pool: Pool,
    system: Option<Arc<dyn MemorySource>>,
    barometer: Barometer,
    standing: Arc<Standing>,
    ticking: bool,
}

impl PoolActor {
    pub(crate) fn new(pool: Pool, system: Option<Arc<dyn MemorySource>>, standing: Arc<Standing>) -> Self {
        Self { pool, system, barometer: Barometer::default(), standing, ticking: false }
    }

    /// Looks at the pool and the machine; what changed is published and acted upon.
    fn watch(&mut self) {
        self.pool.settle();
        let now = Instant::now();
        match &self.system {
            Some(system) if self.pool.watches_system() => self.barometer.see(self.pool.reading(), system.look(), now),
            _ => self.barometer.see_alone(self.pool.reading()),
        }
        let level = self.pool.core.press(self.barometer.verdict(now));
        self.standing.tell_subscribers(level);
        self.standing.history.note(Instant::now(), &self.pool, level);
    }

    /// Serves from the front. Whose time is over gets a last try, wherever it stands.
    fn serve_waiters(&mut self) {
        let now = Instant::now();
        let (mut at, mut in_turn) = (0, true);
        loop {
            // One leaves the queue at a time, so that the others outlive a panic in its `done`.
            let mut waiting = self.standing.waiting.lock();
            let Some(waiter) = waiting.get(at) else { break };
            let Some(outcome) = self.outcome(waiter, now, in_turn) else {
                in_turn = false;
                at += 1;
                continue;
            };
            let served = waiting.remove(at);
            drop(waiting);
            if let Some(Waiter { request, .. }) = served {
                request.finish(outcome);
            }
        }
    }

    /// What a waiter is to be told now, if anything.
    fn outcome(&self, waiter: &Waiter, now: Instant, in_turn: bool) -> Option<Result<Buffer>> {
        let Waiter { request, until } = waiter;
        if (request.is_abandoned)() {
            return Some(Err(Error::Cancelled));
        }
        let lease = || self.pool.allocate_with(request.len, request.owner, request.options.clone());
        let MemoryReading { used, limit } = self.pool.reading();
        let Some(bytes) = SizeClass::block_bytes(request.len).filter(|&bytes| bytes <= limit) else {
            // It can never fit; the pool has the words for it.
            return Some(lease());
        };
        let late = until.is_some_and(|until| until <= now);
        // Asked only where there is room, so that waiting does not count as one refusal after another.
        if (in_turn || late) && used <= limit - bytes && self.pool.core.would_admit(bytes) {
            match lease() {
                Err(Error::PoolExhausted { .. } | Error::MemoryPressure { .. }) => {}
                outcome => return Some(outcome),
            }
        }
        let error = || ironcliw::Error::DeadlineExceeded { path: OWN_PATH.to_owned(), after: request.wait };
        late.then(|| Err(error().into()))
    }

    fn tick_while_waiting(&mut self, ctx: &mut Context<Self>) {
        if !self.ticking && !self.standing.waiting.lock().is_empty() {
            self.ticking = true;
            ctx.after(WAIT_PERIOD, ServeWaiters);
        }
    }
}

impl Actor for PoolActor {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(WATCH_PERIOD, || Watch);
        for alarms in self.system.iter().flat_map(|system| system.alarms()) {
            ctx.attach(alarms);
        }
        // An earlier incarnation may have left some.
        self.tick_while_waiting(ctx);
        Ok(())
    }
}

/// Looks at the pressure now.
#[derive(Debug, Clone, Copy)]
pub struct Watch;

impl Message for Watch {
    type Reply = Pressure;
}

impl Handler<Watch> for PoolActor {
    async fn handle(&mut self, _: Watch, _: &mut Context<Self>) -> Pressure {
        self.watch();
        self.pool.pressure().get()
    }
}

impl Message for Alarm {
    type Reply = ();
}

impl Handler<Alarm> for PoolActor {
    async fn handle(&mut self, alarm: Alarm, _: &mut Context<Self>) {
        self.barometer.hear(alarm, Instant::now());
        self.watch();
    }
}

struct ServeWaiters;

impl Message for ServeWaiters {
    type Reply = ();
}

impl Handler<ServeWaiters> for PoolActor {
    async fn handle(&mut self, _: ServeWaiters, ctx: &mut Context<Self>) {
        self.ticking = false;
        self.serve_waiters();
        self.tick_while_waiting(ctx);
    }
}

/// Leases memory as soon as there is room, in the order of asking. `done` is called once, whatever happens: with the
/// buffer, with [`ironcliw::Error::DeadlineExceeded`] when `wait` is over, at once with [`Error::PoolExhausted`] if it can
/// never fit, with [`Error::Cancelled`] if it was abandoned, or with [`ironcliw::Error::ActorStopped`] if the pool's actor
/// ended before it could answer. A crash of the actor costs nobody the place in the queue.
pub struct AllocateWhenFree {
    /// Bytes.
    pub len: usize,
    /// Whom the lease is counted for.
    pub owner: Owner,
    /// As for [`Pool::allocate_with`].
    pub options: AllocOptions,
    /// How long to wait at the most.
    pub wait: Duration,
    /// Whether nobody wants the buffer any more.
    pub is_abandoned: Box<dyn Fn() -> bool + Send>,
    /// Takes the outcome, on the actor's thread or on the one that drops the request.
    pub done: Box<dyn FnOnce(Result<Buffer>) + Send>,
}

impl AllocateWhenFree {
    fn finish(mut self, outcome: Result<Buffer>) {
        // Taken out first: what the drop below has to say then reaches nobody.
        self.take_done()(outcome);
    }

    fn take_done(&mut self) -> Box<dyn FnOnce(Result<Buffer>) + Send> {
        std::mem::replace(&mut self.done, Box::new(drop))
    }
}

impl Drop for AllocateWhenFree {
    fn drop(&mut self) {
        self.take_done()(Err(ironcliw::Error::ActorStopped { path: OWN_PATH.to_owned() }.into()));
    }
}

impl Message for AllocateWhenFree {
    type Reply = ();
}

impl Handler<AllocateWhenFree> for PoolActor {
    async fn handle(&mut self, request: AllocateWhenFree, ctx: &mut Context<Self>) {
        let until = Instant::now().checked_add(request.wait);
        self.standing.waiting.lock().push_back(Waiter { request, until });
        self.serve_waiters();
        self.tick_while_waiting(ctx);
    }
}

/// Gives free memory back to the system until at most `cached_bytes` of it remain; answers the bytes given back.
#[derive(Debug, Clone, Copy)]
pub struct Trim {
    /// Bytes of free blocks to keep.
    pub cached_bytes: usize,
}

impl Message for Trim {
    type Reply = usize;
}

impl Handler<Trim> for PoolActor {
    async fn handle(&mut self, Trim { cached_bytes }: Trim, _: &mut Context<Self>) -> usize {
        self.pool.trim(cached_bytes)
    }
}

/// Changes the pool's limit, in bytes; answers the bytes given back to the system for it.
#[derive(Debug, Clone, Copy)]
pub struct SetLimit(pub usize);

impl Message for SetLimit {
    type Reply = Result<usize>;
}

impl Handler<SetLimit> for PoolActor {
    async fn handle(&mut self, SetLimit(bytes): SetLimit, _: &mut Context<Self>) -> Result<usize> {
        let given_back = self.pool.set_limit(bytes)?;
        self.watch();
        Ok(given_back)
    }
}

/// Asks for the pool's counts.
#[derive(Debug, Clone, Copy)]
pub struct Statistics;

impl Message for Statistics {
    type Reply = PoolStats;
}

impl Handler<Statistics> for PoolActor {
    async fn handle(&mut self, _: Statistics, _: &mut Context<Self>) -> PoolStats {
        self.pool.stats()
    }
}

/// Tells a subscriber that memory has become shorter, or less short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PressureChanged(pub Pressure);

impl Message for PressureChanged {
    type Reply = ();
}

/// Asks to be told of every change of pressure. The present level is told at once if it is not `Low`. A later
/// subscription of the same actor takes the place of an earlier one.
#[derive(Debug, Clone)]
pub struct Subscribe(pub Recipient<PressureChanged>);

impl Message for Subscribe {
    type Reply = ();
}

impl Handler<Subscribe> for PoolActor {
    async fn handle(&mut self, Subscribe(subscriber): Subscribe, _: &mut Context<Self>) {
        let mut subscribers = self.standing.subscribers.lock();
        subscribers.retain(|other| other.to.path() != subscriber.path());
        // Who begins anew takes memory for plentiful.
        subscribers.push(Subscriber { to: subscriber, told: Pressure::Low });
        drop(subscribers);
        self.standing.tell_subscribers(self.pool.pressure().get());
    }
}
