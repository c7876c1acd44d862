//! `PoolActor`: the pool's control plane. Leasing and releasing never come here, except to wait for memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ironcliw::{Actor, Context, Handler, Message, Recipient, StartError};
use parking_lot::Mutex;

use super::pressure::Barometer;
use super::waiting::Waiting;
use super::{Alarm, AllocateWhenFree, MemorySource, Pool, PoolStats, Pressure};
use crate::Result;
use crate::snapshot::History;

/// How often pressure is looked at: fast enough for a burst of frames, slow enough to cost nothing.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// What outlives the actor's crashes: who waits and who wants to be told.
pub(crate) struct Standing {
    pool: Pool,
    history: Arc<History>,
    subscribers: Mutex<Vec<Subscriber>>,
    /// Whoever is still here when the actor has ended for good is answered as this is dropped, with the child's factory.
    waiting: Waiting,
}

impl Standing {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, history: Arc::default(), subscribers: Mutex::default(), waiting: Waiting::default() }
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

/// Limits, trimming, memory pressure, and the queue of those who wait for memory.
pub struct PoolActor {
    pool: Pool,
    system: Option<Arc<dyn MemorySource>>,
    barometer: Barometer,
    standing: Arc<Standing>,
    /// When those who wait are looked at next.
    next_look: Option<Instant>,
}

impl PoolActor {
    pub(crate) fn new(pool: Pool, system: Option<Arc<dyn MemorySource>>, standing: Arc<Standing>) -> Self {
        standing.waiting.belong_to(&pool);
        Self { pool, system, barometer: Barometer::default(), standing, next_look: None }
    }

    /// Looks at the pool and the machine; what changed is published and acted upon.
    fn watch(&mut self) {
        self.pool.purge();
        let now = Instant::now();
        match &self.system {
            Some(system) if self.pool.watches_system() => self.barometer.see(self.pool.reading(), system.look(), now),
            _ => self.barometer.see_alone(self.pool.reading()),
        }
        let level = self.pool.core.press(self.barometer.verdict(now));
        self.standing.tell_subscribers(level);
        self.standing.history.note(now, &self.pool, level);
    }

    /// Has this actor look again at those who wait, if there are any, in time for the next deadline.
    fn look_again(&mut self, ctx: &mut Context<Self>) {
        let Some(after) = self.standing.waiting.next_look() else { return };
        let at = Instant::now() + after;
        if self.next_look.is_none_or(|next| at < next) {
            self.next_look = Some(at);
            ctx.after(after, Look { at });
        }
    }
}

impl Actor for PoolActor {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(WATCH_PERIOD, || Watch);
        for alarms in self.system.iter().flat_map(|system| system.alarms()) {
            ctx.attach(alarms);
        }
        let own = ctx.address();
        // A full mailbox is looked at in any case; those who wait are, then.
        self.pool.core.set_bell(Some(Arc::new(move || _ = own.try_tell(Ring))));
        // An earlier incarnation may have left some.
        if !self.standing.waiting.is_empty() {
            self.standing.waiting.serve(&self.pool);
            self.look_again(ctx);
        }
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

/// There is room for somebody who waits.
struct Ring;

impl Message for Ring {
    type Reply = ();
}

impl Handler<Ring> for PoolActor {
    async fn handle(&mut self, _: Ring, ctx: &mut Context<Self>) {
        self.standing.waiting.serve(&self.pool);
        self.look_again(ctx);
    }
}

/// Looks at those who wait: deadlines do not ring, nor do callers that go away.
struct Look {
    at: Instant,
}

impl Message for Look {
    type Reply = ();
}

impl Handler<Look> for PoolActor {
    async fn handle(&mut self, Look { at }: Look, ctx: &mut Context<Self>) {
        if self.next_look == Some(at) {
            self.next_look = None;
        }
        self.standing.waiting.serve(&self.pool);
        self.look_again(ctx);
    }
}

impl Message for AllocateWhenFree {
    type Reply = ();
}

impl Handler<AllocateWhenFree> for PoolActor {
    async fn handle(&mut self, request: AllocateWhenFree, ctx: &mut Context<Self>) {
        self.standing.waiting.take_in(&self.pool, request);
        self.look_again(ctx);
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
