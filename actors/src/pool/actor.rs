//! `PoolActor`: the pool's control plane. Leasing and releasing never come here, except to wait for memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ironcliw::{Actor, Context, Handler, Message, Recipient, StartError};
use parking_lot::Mutex;
use tracing::info;

use super::waiting::Waiting;
use super::{AllocateWhenFree, MemorySource, Pool, PoolStats, Pressure, PressureGauge, PublishedPressure};
use crate::Result;

/// How often pressure is looked at: fast enough for a burst of frames, slow enough to cost nothing.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// What outlives the actor's crashes: who waits, who wants to be told, and the level that was published.
#[derive(Default)]
pub(crate) struct Standing {
    published: PublishedPressure,
    subscribers: Mutex<Vec<Subscriber>>,
    /// Whoever is still here when the actor has ended for good is answered as this is dropped, with the child's factory.
    waiting: Waiting,
}

impl Standing {
    pub(crate) fn published(&self) -> &PublishedPressure {
        &self.published
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

/// Who wants to hear of pressure, and what it heard last.
struct Subscriber {
    to: Recipient<PressureChanged>,
    told: Pressure,
}

/// Limits, trimming, memory pressure, and the queue of those who wait for memory.
pub struct PoolActor {
    pool: Pool,
    system: Option<Arc<dyn MemorySource>>,
    of_pool: PressureGauge,
    of_system: PressureGauge,
    standing: Arc<Standing>,
    /// When those who wait are looked at next.
    next_look: Option<Instant>,
}

impl PoolActor {
    pub(crate) fn new(pool: Pool, system: Option<Arc<dyn MemorySource>>, standing: Arc<Standing>) -> Self {
        standing.waiting.belong_to(&pool);
        Self {
            pool,
            system,
            of_pool: PressureGauge::default(),
            of_system: PressureGauge::default(),
            standing,
            next_look: None,
        }
    }

    /// Looks at the pool and the machine; what changed is published and acted upon.
    fn watch(&mut self) {
        self.pool.purge();
        let reading = self.pool.reading();
        self.of_pool.update(reading.used, reading.limit);
        if let Some(reading) = self.system.as_ref().and_then(|system| system.reading()) {
            self.of_system.update(reading.used, reading.limit);
        }
        let level = self.of_pool.level().max(self.of_system.level());
        let before = self.standing.published.get();
        if level != before {
            self.standing.published.set(level);
            info!(%before, now = %level, "memory pressure changed");
            // Caches go first; those who hold scratch space are told to let go of it.
            if level >= Pressure::High {
                self.pool.trim(0);
            } else if level == Pressure::Medium {
                self.pool.trim(self.pool.stats().cached_bytes / 2);
            }
        }
        self.standing.tell_subscribers(level);
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
        self.standing.published.get()
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
        self.standing.tell_subscribers(self.standing.published.get());
    }
}
