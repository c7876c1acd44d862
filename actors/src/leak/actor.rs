//! `LeakTracker`: keeps the ledger of recorded leases and says what leaked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ironcliw::{Actor, Address, Context, Handler, Message, StartError};
use parking_lot::Mutex;
use tracing::warn;

use super::{LeakReport, Ledger, Level};
use crate::Result;
use crate::pool::{Pool, PoolActor, Trim};

/// How often events are taken from the channel, so that it does not fill: 16,384 events in this time are 800 k recorded
/// leases a second.
const ABSORB_PERIOD: Duration = Duration::from_millis(20);

/// The ledger's actor. The ledger itself outlives it: a crash forgets no lease.
pub struct LeakTracker {
    ledger: Arc<Mutex<Ledger>>,
    pool: Pool,
    keeper: Address<PoolActor>,
}

impl LeakTracker {
    pub(crate) fn new(ledger: Arc<Mutex<Ledger>>, pool: Pool, keeper: Address<PoolActor>) -> Self {
        Self { ledger, pool, keeper }
    }
}

impl Actor for LeakTracker {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(ABSORB_PERIOD, || Absorb);
        Ok(())
    }
}

struct Absorb;

impl Message for Absorb {
    type Reply = ();
}

impl Handler<Absorb> for LeakTracker {
    async fn handle(&mut self, _: Absorb, _: &mut Context<Self>) {
        self.ledger.lock().absorb(self.pool.recorder().drain());
    }
}

/// Asks what leaked.
#[derive(Debug, Clone, Copy)]
pub struct Check;

impl Message for Check {
    type Reply = Vec<LeakReport>;
}

impl Handler<Check> for LeakTracker {
    async fn handle(&mut self, _: Check, _: &mut Context<Self>) -> Vec<LeakReport> {
        let reports = self.ledger.lock().check(Instant::now(), &self.pool);
        let new: u64 = reports.iter().map(|report| report.new).sum();
        if new > 0 {
            warn!(new, known = reports.len(), "buffers leaked");
            // Memory that a careless owner ties up makes what lies idle more precious: the pool gives it back.
            let _ = self.keeper.try_tell(Trim { cached_bytes: 0 });
        }
        reports
    }
}

/// Changes the leak level.
#[derive(Debug, Clone, Copy)]
pub struct SetLevel(pub Level);

impl Message for SetLevel {
    type Reply = ();
}

impl Handler<SetLevel> for LeakTracker {
    async fn handle(&mut self, SetLevel(level): SetLevel, _: &mut Context<Self>) {
        self.pool.recorder().set_level(level);
    }
}

/// How many recorded leases the ledger has not seen end.
#[derive(Debug, Clone, Copy)]
pub struct Outstanding;

impl Message for Outstanding {
    type Reply = usize;
}

impl Handler<Outstanding> for LeakTracker {
    async fn handle(&mut self, _: Outstanding, _: &mut Context<Self>) -> usize {
        let mut ledger = self.ledger.lock();
        ledger.absorb(self.pool.recorder().drain());
        ledger.outstanding().len()
    }
}
