//! `PoolActor`: the pool's control plane. Leasing and releasing never come here, except to wait for memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use ironcliw::{Actor, Context, Handler, Message, Recipient, StartError};
use tracing::info;

use super::{AllocOptions, Buffer, MemorySource, Owner, Pool, PoolStats, Pressure, PressureGauge, SizeClass};
use crate::{Error, Result};

/// Where the tree puts it, for the error of those who waited in vain.
const OWN_PATH: &str = "memory/pool";

/// How often pressure is looked at: fast enough for a burst of frames, slow enough to cost nothing.
const WATCH_PERIOD: Duration = Duration::from_millis(100);

/// How often those who wait for memory are looked after. Releases do not come through this actor, so it has to look.
const WAIT_PERIOD: Duration = Duration::from_millis(1);

/// The level that was published last, for readers that ask no actor.
#[derive(Debug, Clone, Default)]
pub struct PublishedPressure(Arc<AtomicU8>);

impl PublishedPressure {
    /// The level at the actor's last look.
    pub fn get(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            0 => Pressure::Low,
            1 => Pressure::Medium,
            2 => Pressure::High,
            _ => Pressure::Critical,
        }
    }

    fn set(&self, level: Pressure) {
        self.0.store(level as u8, Ordering::Relaxed);
    }
}

/// Who waits for memory, and until when.
struct Waiter {
    request: AllocateWhenFree,
    until: Instant,
}

/// Limits, trimming, memory pressure, and the queue of those who wait for memory.
pub struct PoolActor {
    pool: Pool,
    system: Option<Arc<dyn MemorySource>>,
    of_pool: PressureGauge,
    of_system: PressureGauge,
    published: PublishedPressure,
    subscribers: Vec<Recipient<PressureChanged>>,
    /// First come, first served: a small request does not overtake a large one.
    waiting: VecDeque<Waiter>,
    ticking: bool,
}

impl PoolActor {
    pub(crate) fn new(pool: Pool, system: Option<Arc<dyn MemorySource>>, published: PublishedPressure) -> Self {
        Self {
            pool,
            system,
            of_pool: PressureGauge::default(),
            of_system: PressureGauge::default(),
            published,
            subscribers: Vec::new(),
            waiting: VecDeque::new(),
            ticking: false,
        }
    }

    /// Looks at the pool and the machine; what changed is published and acted upon.
    fn watch(&mut self) {
        let reading = self.pool.reading();
        self.of_pool.update(reading.used, reading.limit);
        if let Some(reading) = self.system.as_ref().and_then(|system| system.reading()) {
            self.of_system.update(reading.used, reading.limit);
        }
        let level = self.of_pool.level().max(self.of_system.level());
        let before = self.published.get();
        if level == before {
            return;
        }
        self.published.set(level);
        info!(%before, now = %level, "memory pressure changed");
        // Caches go first; those who hold scratch space are told to let go of it.
        if level >= Pressure::High {
            self.pool.trim(0);
        } else if level == Pressure::Medium {
            self.pool.trim(self.pool.stats().cached_bytes / 2);
        }
        self.subscribers.retain(|subscriber| {
            let told = subscriber.try_tell(PressureChanged(level));
            !matches!(told, Err(refused) if matches!(refused.error, ironcliw::Error::ActorStopped { .. }))
        });
    }

    /// Serves from the front. Whose time is over gets a last try, wherever it stands.
    fn serve_waiters(&mut self) {
        let now = Instant::now();
        let mut front_is_served = true;
        for waiter in std::mem::take(&mut self.waiting) {
            let request = &waiter.request;
            if (request.is_abandoned)() {
                continue;
            }
            let late = waiter.until <= now;
            if !late && !front_is_served {
                self.waiting.push_back(waiter);
                continue;
            }
            match self.pool.allocate_with(request.len, request.owner, request.options.clone()) {
                Err(Error::PoolExhausted { .. }) if !late && self.could_ever_fit(request.len) => {
                    front_is_served = false;
                    self.waiting.push_back(waiter);
                }
                Err(Error::PoolExhausted { .. }) if late => {
                    let after = waiter.request.wait;
                    let error = ironcliw::Error::DeadlineExceeded { path: OWN_PATH.to_owned(), after };
                    (waiter.request.done)(Err(error.into()));
                }
                outcome => (waiter.request.done)(outcome),
            }
        }
    }

    fn could_ever_fit(&self, len: usize) -> bool {
        SizeClass::block_bytes(len).is_some_and(|bytes| bytes <= self.pool.reading().limit)
    }

    fn tick_while_waiting(&mut self, ctx: &mut Context<Self>) {
        if !self.waiting.is_empty() && !self.ticking {
            self.ticking = true;
            ctx.after(WAIT_PERIOD, ServeWaiters);
        }
    }
}

impl Actor for PoolActor {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(WATCH_PERIOD, || Watch);
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
        self.published.get()
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

/// Leases memory as soon as there is room, in the order of asking. `done` is called with the buffer, with
/// [`ironcliw::Error::DeadlineExceeded`] when `wait` is over, or at once with [`Error::PoolExhausted`] if it can never fit.
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
    /// Takes the outcome, on the actor's thread.
    pub done: Box<dyn FnOnce(Result<Buffer>) + Send>,
}

impl Message for AllocateWhenFree {
    type Reply = ();
}

impl Handler<AllocateWhenFree> for PoolActor {
    async fn handle(&mut self, request: AllocateWhenFree, ctx: &mut Context<Self>) {
        let until = Instant::now() + request.wait;
        self.waiting.push_back(Waiter { request, until });
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
        let level = self.published.get();
        if level > Pressure::Low {
            // A subscriber that is full hears of the next change.
            let _ = subscriber.try_tell(PressureChanged(level));
        }
        self.subscribers.retain(|other| other.path() != subscriber.path());
        self.subscribers.push(subscriber);
    }
}
