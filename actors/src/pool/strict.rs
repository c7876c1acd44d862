//! Calm and strict: when every lease has to ask, and what it asks.
//!
//! A calm pool leases from the threads' caches without asking anybody. It is made strict by whoever is about to hold more
//! than the ceiling (the limit less what is reserved, or the smallest cap), by the first request that waits, by an open
//! [`Measure`](super::Measure), and by a limit or reservation that is more than there is room for. It is calm again when all
//! of that has ended.
//!
//! Making it strict closes the gates of all caches (`cache/gate`), about a microsecond's work; from then on each lease and
//! release takes the lock of the shared cache, which holds the [`Admission`], and blocks go by way of the shelves. No lease is
//! missed at the change: one that began in a cache is in its thread's counts before the gate is closed; one that was still
//! looking for a block finds the pool strict when it begins, and asks then.

use super::admission::{Admission, Refusal, Turn, ceiling};
use super::cache::Roster;
use super::core::Core;
use super::measure::{Measured, Scope};
use super::owner::Owner;
use super::reservation::Reservation;
use super::sync::lock;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A lease that was granted and has not begun: the pool stays strict, and the room is taken.
pub(super) struct Permit<'a> {
    core: &'a Core,
    owner: Owner,
    bytes: usize,
    /// What it has of what was saved for the first in line.
    saved: usize,
    turn: Turn,
}

impl Permit<'_> {
    /// The lease has begun, as the admission knows.
    pub(super) fn used(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let limit = self.core.budget.limit();
        let wakes = self.core.caches.admission(|admission| {
            admission.cancel(self.owner, self.bytes, self.saved);
            // Who waits itself is not told: it would try again at once, and fail again.
            self.turn == Turn::None && admission.may_serve(limit, true)
        });
        if wakes {
            self.core.wake();
        }
    }
}

impl Core {
    /// Leave to lease a block of `bytes`: `None` as long as nobody needs one.
    pub(super) fn ask(&self, owner: Owner, bytes: usize, turn: Turn) -> Result<Option<Permit<'_>>, Refusal> {
        if !self.caches.is_strict() {
            return Ok(None);
        }
        let limit = self.budget.limit();
        self.caches.admission(|admission| {
            if !admission.is_strict() {
                return Ok(None);
            }
            let saved = admission.grant(owner, bytes, limit, turn)?;
            Ok(Some(Permit { core: self, owner, bytes, saved, turn }))
        })
    }

    /// Whether a lease could be granted now. Of a calm pool, whether it is not full.
    pub(super) fn has_room(&self, owner: Owner, bytes: usize, turn: Turn) -> bool {
        let limit = self.budget.limit();
        self.caches.admission(|admission| {
            if admission.is_strict() {
                admission.judge(owner, bytes, limit, turn).is_ok()
            } else {
                limit.checked_sub(bytes).is_some_and(|rest| self.leases_at_most(rest))
            }
        })
    }

    /// Whether the owner's group has as much as it may.
    pub(super) fn is_capped(&self, owner: Owner, bytes: usize) -> bool {
        self.caches.admission(|admission| admission.is_strict() && admission.is_capped(owner, bytes))
    }

    pub(super) fn can_ever(&self, owner: Owner, bytes: usize) -> bool {
        let limit = self.budget.limit();
        self.caches.admission(|admission| admission.can_ever(owner, bytes, limit))
    }

    pub(super) fn be_strict(self: &Arc<Self>) {
        self.strictly(|_, _| {});
    }

    /// Makes the pool strict, if it is not, and does `work` with the admission.
    fn strictly<R>(self: &Arc<Self>, work: impl FnOnce(&Roster, &mut Admission) -> R) -> R {
        let was_calm = !self.caches.is_strict();
        let done = self.caches.make_strict(work);
        if was_calm {
            // What lies in the caches is out of its owners' reach now.
            self.gather();
        }
        done
    }

    /// Calm again, if nothing speaks against it.
    pub(super) fn relax(&self) {
        let may = || self.budget.is_well_below_ceiling();
        if self.caches.is_strict() && !self.caches.is_needed() && may() {
            self.caches.relax(may);
        }
    }

    /// As it has to be for what is held: a limit that falls while memory is taken in may be noticed late.
    pub(super) fn look_at_ceiling(self: &Arc<Self>) {
        if self.budget.is_over_ceiling() && !self.caches.is_strict() {
            self.be_strict();
        }
        self.relax();
    }

    pub(crate) fn reserve(self: &Arc<Self>, reservation: Reservation) -> Result<()> {
        // The gates are closed first: nobody takes what is being reserved meanwhile.
        let wakes = self.strictly(|caches, admission| {
            let limit = self.budget.limit();
            admission.groups.set(reservation, limit)?;
            admission.start(caches.live().map(|(owner, _, bytes)| (owner, bytes)));
            self.budget.set_ceiling(ceiling(&admission.groups, limit));
            Ok::<_, Error>(admission.may_serve(limit, true))
        });
        self.relax();
        if wakes? {
            self.wake();
        }
        Ok(())
    }

    /// Changes the limit, unless more than it is reserved.
    pub(super) fn change_limit(&self, bytes: usize) -> Result<()> {
        let wakes = self.caches.admission(|admission| {
            let reserved = admission.groups.reserved();
            if reserved > bytes {
                return Err(Error::invalid(format!(
                    "a limit of {bytes} bytes does not hold what is reserved: {reserved}"
                )));
            }
            self.budget.set_limit(bytes);
            self.budget.set_ceiling(ceiling(&admission.groups, bytes));
            Ok(admission.may_serve(bytes, true))
        })?;
        if wakes {
            self.wake();
        }
        Ok(())
    }

    pub(super) fn refused(&self, requested: usize, owner: Owner, refusal: Refusal) -> Error {
        self.failures.fetch_add(1, Relaxed);
        let waiting = self.caches.admission(|admission| {
            admission.refuse(owner);
            admission.waiting()
        });
        match refusal {
            Refusal::Room { kept } => Error::PoolExhausted {
                requested,
                live: self.live(),
                limit: self.budget.limit(),
                kept,
                waiting,
                capped: None,
            },
            Refusal::Cap { name, cap, live } => {
                Error::PoolExhausted { requested, live, limit: cap, kept: 0, waiting, capped: Some(name) }
            }
        }
    }

    pub(super) fn open_scope(self: &Arc<Self>, of: Option<&str>) -> u64 {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Relaxed);
        self.strictly(|caches, admission| {
            admission.open(Scope::new(number, of.map(str::to_owned), caches.live()));
        });
        number
    }

    pub(super) fn scope_figures(&self, number: u64) -> Measured {
        self.caches.admission(|admission| admission.scope(number).map(Scope::figures)).unwrap_or_default()
    }

    pub(super) fn close_scope(&self, number: u64) {
        self.caches.admission(|admission| admission.close(number));
        self.relax();
    }

    /// Names who waits first, and how many wait.
    pub(super) fn line_up(self: &Arc<Self>, first: Option<(Owner, usize)>, waiting: usize) {
        if waiting > 0 && !self.caches.is_needed() {
            self.strictly(|_, admission| admission.line_up(first, waiting));
        } else {
            self.caches.admission(|admission| admission.line_up(first, waiting));
            self.relax();
        }
    }

    /// Told to those who serve the ones that wait.
    pub(super) fn wake(&self) {
        let bell = lock(&self.bell).clone();
        if let Some(ring) = bell {
            ring();
        }
    }

    pub(super) fn set_bell(&self, ring: Option<Arc<dyn Fn() + Send + Sync>>) {
        *lock(&self.bell) = ring.map(Bell);
    }
}

/// How the actor that serves those who wait is told that there is room.
#[derive(Clone)]
pub(crate) struct Bell(Arc<dyn Fn() + Send + Sync>);

impl std::ops::Deref for Bell {
    type Target = dyn Fn() + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}
