//! What observers read of a supervisor: written by its task, and never on an actor's path.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::spec::{AutoShutdown, Strategy, Supervisor};
use super::step::ChildId;
use crate::clock;
use crate::observe::{Info, SupervisorSnapshot, WaitSnapshot};

pub(crate) struct SupervisorInfo {
    pub(super) info: Arc<Info>,
    pub(super) auto_shutdown: AutoShutdown,
    strategy: Strategy,
    max_restarts: u32,
    within: Duration,
    budget_left: AtomicU32,
    restarts: AtomicU64,
    exhausted: AtomicBool,
    children: AtomicUsize,
    /// Those that wait to be started again. Only the task and observers ask for the lock.
    waits: Mutex<HashMap<ChildId, Wait>>,
}

struct Wait {
    of: Arc<Info>,
    delay: Duration,
    began: Instant,
}

impl SupervisorInfo {
    pub(super) fn new(spec: &Supervisor, info: Arc<Info>) -> Self {
        Self {
            info,
            auto_shutdown: spec.auto_shutdown,
            strategy: spec.strategy,
            max_restarts: spec.budget.max,
            within: spec.budget.within,
            budget_left: AtomicU32::new(spec.budget.max),
            restarts: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            children: AtomicUsize::new(0),
            waits: Mutex::default(),
        }
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_exhausted(&self, exhausted: bool) {
        self.exhausted.store(exhausted, Ordering::Relaxed);
    }

    /// Whether there is less of it than when nothing has failed.
    pub(super) fn set_budget_left(&self, left: u32) -> bool {
        self.budget_left.store(left, Ordering::Relaxed);
        left < self.max_restarts
    }

    pub(super) fn set_children(&self, children: usize) {
        self.children.store(children, Ordering::Relaxed);
    }

    pub(super) fn begin_wait(&self, child: ChildId, of: Arc<Info>, delay: Duration) {
        self.waits.lock().insert(child, Wait { of, delay, began: clock::now() });
    }

    /// Forgets the waits of those that do not wait any more, and tells how many are left.
    pub(super) fn end_waits(&self, is_waiting: impl Fn(ChildId) -> bool) -> usize {
        let mut waits = self.waits.lock();
        waits.retain(|&child, _| is_waiting(child));
        waits.len()
    }

    pub(super) fn end_wait(&self, child: ChildId) {
        self.waits.lock().remove(&child);
    }

    fn waiting(&self) -> Vec<WaitSnapshot> {
        let mut waits: Vec<(ChildId, WaitSnapshot)> = self
            .waits
            .lock()
            .iter()
            .map(|(&id, wait)| {
                let left = wait.delay.saturating_sub(clock::since(wait.began));
                let path = wait.of.path().to_owned();
                (id, WaitSnapshot { path, delay_s: wait.delay.as_secs_f64(), left_s: left.as_secs_f64() })
            })
            .collect();
        waits.sort_unstable_by_key(|(id, _)| *id);
        waits.into_iter().map(|(_, wait)| wait).collect()
    }

    pub(super) fn observe(&self) -> SupervisorSnapshot {
        SupervisorSnapshot {
            path: self.info.path().to_owned(),
            strategy: match self.strategy {
                Strategy::OneForOne => "one_for_one",
                Strategy::OneForAll => "one_for_all",
                Strategy::RestForOne => "rest_for_one",
            },
            state: self.info.state(),
            restarts: self.restarts.load(Ordering::Relaxed),
            max_restarts: self.max_restarts,
            within_s: self.within.as_secs_f64(),
            budget_left: self.budget_left.load(Ordering::Relaxed),
            exhausted: self.exhausted.load(Ordering::Relaxed),
            auto_shutdown: match self.auto_shutdown {
                AutoShutdown::Never => "never",
                AutoShutdown::AnySignificant => "any_significant",
                AutoShutdown::AllSignificant => "all_significant",
            },
            children: self.children.load(Ordering::Relaxed),
            waiting: self.waiting(),
        }
    }
}
