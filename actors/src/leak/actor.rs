//! `LeakTracker`: keeps the ledger of recorded leases and says what leaked.

use std::time::{Duration, Instant};

use ironcliw::{Actor, Address, Context, Handler, Message, StartError};
use tracing::warn;

use super::group::{Finding, Group};
use super::{LeakReport, Level, Tracker};
use crate::Result;
use crate::pool::{Pool, PoolActor, Trim};

/// How often events are taken from the channel, so that it does not fill: 16,384 events in this time are 800 k recorded
/// leases a second.
const ABSORB_PERIOD: Duration = Duration::from_millis(20);

/// How often the log is told of new leaks.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Lines a look: a program that leaks in thousands of places is known to leak by these.
const LOG_LINES_MAX: usize = 16;

/// The tracker's actor. The tracker itself outlives it: a crash forgets no lease.
pub struct LeakTracker {
    tracker: Tracker,
    pool: Pool,
    keeper: Address<PoolActor>,
}

impl LeakTracker {
    pub(crate) fn new(tracker: Tracker, keeper: Address<PoolActor>) -> Self {
        Self { pool: tracker.pool().clone(), tracker, keeper }
    }
}

impl Actor for LeakTracker {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(ABSORB_PERIOD, || Absorb);
        ctx.every(LOG_PERIOD, || LogNew);
        Ok(())
    }
}

struct Absorb;

impl Message for Absorb {
    type Reply = ();
}

impl Handler<Absorb> for LeakTracker {
    async fn handle(&mut self, _: Absorb, _: &mut Context<Self>) {
        self.tracker.absorb(Instant::now());
    }
}

/// Looks for leaks and logs those that it has not logged yet; answers how many lines it wrote. The actor does so every ten
/// seconds.
#[derive(Debug, Clone, Copy)]
pub struct LogNew;

impl Message for LogNew {
    type Reply = usize;
}

impl Handler<LogNew> for LeakTracker {
    async fn handle(&mut self, _: LogNew, _: &mut Context<Self>) -> usize {
        let unlogged = self.tracker.find_unlogged(Instant::now());
        for (finding, new) in unlogged.iter().take(LOG_LINES_MAX) {
            let Finding { kind, key, group: Group { count, bytes, .. }, .. } = finding;
            let site = finding.site();
            let (kind, owner, class) = (kind.as_str(), key.owner.name(), key.class.bytes().unwrap_or(0));
            let site = site.as_deref().unwrap_or("unknown");
            warn!(kind, owner, site, class, new, count, bytes, "buffers leak");
        }
        if unlogged.len() > LOG_LINES_MAX {
            warn!(places = unlogged.len() - LOG_LINES_MAX, "buffers leak in more places: see the leak report");
        }
        unlogged.len().min(LOG_LINES_MAX)
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
        let reports = self.tracker.check();
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
        self.tracker.outstanding()
    }
}
