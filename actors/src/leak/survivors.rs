//! What outlives an actor that crashed.
//!
//! As an incarnation ends, its state is dropped and with it every buffer in it. A buffer that lives on was somewhere else.
//! If the actor had handed it over ([`Buffer::hand_over`](crate::pool::Buffer::hand_over), as all answers of image workers
//! and models are), it is the receiver's, who goes on using it: no leak. As with Netty's reference-counted objects, whoever
//! takes it last has to let go of it; and as with Erlang's messages, a receiver keeps what a sender that is dead has sent.
//! What was not handed over is in nobody's care: a task that was spawned and forgotten, a global, a leaked box. That is
//! reported, and never taken back: whoever it is may still write to it.
//!
//! What lives at the crash is taken from the lease table before the next incarnation is made, so that the two cannot be
//! confused, whatever the leak level. It is judged after a grace, in which work on other threads comes to its end.

use super::event::Lease;
use crate::pool::{LeaseId, Owner, Pool};
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// What lives so long after a crash is a survivor.
const GRACE: Duration = Duration::from_secs(1);
/// Crashes with survivors that are remembered; the oldest make way.
const CRASHES_MAX: usize = 256;
/// Leases remembered of one crash, and so reported: some 5 MB.
const LEASES_MAX: usize = 1 << 16;

/// An incarnation that crashed.
#[derive(Debug)]
struct Crash {
    incarnation: u64,
    at: Instant,
    left: Vec<Left>,
}

#[derive(Debug)]
struct Left {
    lease: Lease,
    told: bool,
}

/// A lease that outlived its owner.
#[derive(Debug)]
pub(super) struct Survivor {
    pub(super) lease: Lease,
    pub(super) incarnation: u64,
    pub(super) new: bool,
}

/// The leases that lived when their owners crashed.
#[derive(Debug, Default)]
pub(super) struct Survivors(VecDeque<Crash>);

impl Survivors {
    /// An incarnation of `owner` has crashed and its state is gone. The next one has not begun.
    pub(super) fn crashed(&mut self, now: Instant, owner: Owner, incarnation: u64, pool: &Pool) {
        if pool.live_of(owner) == 0 {
            return;
        }
        let left = pool.live_leases(|live| live.lease.owner == owner && !live.handed_over);
        // What an earlier incarnation left is that one's.
        let known: HashSet<LeaseId> = self.0.iter().flat_map(|crash| &crash.left).map(|left| left.lease.id).collect();
        let left = left.into_iter().map(|live| live.lease).filter(|lease| !known.contains(&lease.id));
        let left: Vec<Left> = left.take(LEASES_MAX).map(|lease| Left { lease, told: false }).collect();
        if left.is_empty() {
            return;
        }
        if self.0.len() == CRASHES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Crash { incarnation, at: now, left });
    }

    /// Those that live now, after the grace.
    pub(super) fn find(&mut self, now: Instant, pool: &Pool) -> Vec<Survivor> {
        self.0.retain_mut(|crash| {
            crash.left.retain(|left| pool.is_live(left.lease.id));
            !crash.left.is_empty()
        });
        let late = self.0.iter().filter(|crash| now.saturating_duration_since(crash.at) >= GRACE);
        let survivors = late.flat_map(|crash| crash.left.iter().map(move |left| (crash.incarnation, left)));
        let survivor = |(incarnation, left): (u64, &Left)| Survivor { lease: left.lease, incarnation, new: !left.told };
        survivors.map(survivor).collect()
    }

    /// What was found has been told: it is new no more.
    pub(super) fn mark_told(&mut self, now: Instant) {
        let late = self.0.iter_mut().filter(|crash| now.saturating_duration_since(crash.at) >= GRACE);
        late.flat_map(|crash| &mut crash.left).for_each(|left| left.told = true);
    }
}
