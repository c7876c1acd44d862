//! Those who give up waiting at a set time, almost all of whom are answered long before it.
//!
//! A timer each would live on until its time, answered or not: at half a million calls a second with 30 s to wait, fifteen
//! million of them. So there is one heap with weak references and one timer for the earliest of them. Whoever is answered
//! is dropped by his owner and leaves an empty entry, and when those may be half of the heap they are swept out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{Handle, clock, panics};

/// Entries below which nothing is swept.
const SWEEP_MIN: usize = 1024;

/// Somebody who waits no longer than a set time: see [`Handle::expire_later`].
pub trait Expire: Send + Sync + 'static {
    /// The time is over. Called on the runtime's clock thread: something short.
    fn expire(&self);
}

struct Entry {
    due: Instant,
    whom: Weak<dyn Expire>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

#[derive(Default)]
struct Queue {
    /// The earliest on top.
    entries: BinaryHeap<Reverse<Entry>>,
    /// How many entries there may be before the next sweep.
    room: usize,
    /// When the one timer that counts goes off.
    armed: Option<Instant>,
}

impl Queue {
    /// Whether a timer is needed for it.
    fn add(&mut self, entry: Entry) -> bool {
        if self.entries.len() >= self.room.max(SWEEP_MIN) {
            self.entries.retain(|Reverse(entry)| entry.whom.strong_count() > 0);
            self.room = 2 * self.entries.len();
        }
        let is_earlier = self.armed.is_none_or(|armed| entry.due < armed);
        if is_earlier {
            self.armed = Some(entry.due);
        }
        self.entries.push(Reverse(entry));
        is_earlier
    }

    /// Those whose time has come, and when the next one's comes.
    fn take_due(&mut self, now: Instant) -> (Vec<Arc<dyn Expire>>, Option<Instant>) {
        let mut late = Vec::new();
        while let Some(Reverse(first)) = self.entries.peek()
            && (first.due <= now || first.whom.strong_count() == 0)
        {
            late.extend(self.entries.pop().and_then(|Reverse(entry)| entry.whom.upgrade()));
        }
        self.armed = self.entries.peek().map(|Reverse(first)| first.due);
        (late, self.armed)
    }
}

#[derive(Default)]
pub(crate) struct Deadlines(Mutex<Queue>);

impl Handle {
    /// Calls `whom.expire()` after `delay`, unless all owners have dropped `whom` by then: for those who wait for an answer,
    /// who may be millions. It costs some tens of nanoseconds, and the memory of those that are gone is used again. A delay
    /// beyond the clock's end is for ever.
    pub fn expire_later<E: Expire>(&self, delay: Duration, whom: &Arc<E>) {
        let Some(due) = clock::now().checked_add(delay) else { return };
        let whom: Weak<dyn Expire> = Arc::downgrade(&(Arc::clone(whom) as Arc<dyn Expire>));
        let needs_timer = self.deadlines().0.lock().add(Entry { due, whom });
        if needs_timer {
            self.keep_deadline(due);
        }
    }

    fn keep_deadline(&self, due: Instant) {
        let handle = self.clone();
        self.call_later(due.saturating_duration_since(clock::now()), move || handle.meet_deadline(due));
    }

    fn meet_deadline(&self, due: Instant) {
        let (late, next) = {
            let mut queue = self.deadlines().0.lock();
            if queue.armed != Some(due) {
                // An earlier one came after this timer was set, and that one's timer has seen to the rest.
                return;
            }
            queue.take_due(clock::now().max(due))
        };
        for whom in late {
            // One's fault is not the next one's.
            let _ = panics::catch(|| whom.expire());
        }
        if let Some(next) = next {
            self.keep_deadline(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Patient(AtomicUsize);

    impl Expire for Patient {
        fn expire(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn entry(whom: &Arc<Patient>, due: Instant) -> Entry {
        let whom: Arc<dyn Expire> = whom.clone();
        Entry { due, whom: Arc::downgrade(&whom) }
    }

    #[test]
    fn those_who_were_answered_leave_no_entries_behind() {
        let (mut queue, far) = (Queue::default(), Instant::now() + Duration::from_secs(3600));
        let patient = Arc::new(Patient::default());
        queue.add(entry(&patient, far));
        for _ in 0..100_000 {
            queue.add(entry(&Arc::default(), far));
            assert!(queue.entries.len() <= SWEEP_MIN);
        }
        assert!(queue.entries.iter().any(|Reverse(entry)| entry.whom.strong_count() > 0));
    }

    #[test]
    fn each_expires_once_in_time_and_only_the_earliest_needs_a_timer() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let patients: Vec<_> = (0..10).map(|_| Arc::new(Patient::default())).collect();
        let at = |nth: u64| now + Duration::from_secs(nth);
        let timers = [5, 7, 3, 9, 1].map(|nth| queue.add(entry(&patients[nth], at(nth as u64))));
        assert_eq!(timers, [true, false, true, false, true]);
        let (late, next) = queue.take_due(at(4));
        assert_eq!((late.len(), next), (2, Some(at(5))));
        let (late, next) = queue.take_due(at(9));
        assert_eq!((late.len(), next), (3, None));
        assert!(queue.add(entry(&patients[0], at(20))));
    }

    #[test]
    fn a_runtime_meets_deadlines_in_any_order_of_asking() {
        let runtime = crate::Runtime::new().unwrap();
        let patients: Vec<_> = [30, 10, 20, 0].map(|ms| (ms, Arc::new(Patient::default()))).into();
        let (gone, never) = (Arc::new(Patient::default()), Arc::new(Patient::default()));
        runtime.expire_later(Duration::from_millis(1), &gone);
        runtime.expire_later(Duration::MAX, &never);
        drop(gone);
        patients.iter().for_each(|(ms, patient)| runtime.expire_later(Duration::from_millis(*ms), patient));
        let count = |patient: &Patient| patient.0.load(Ordering::Relaxed);
        while patients.iter().any(|(_, patient)| count(patient) == 0) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(patients.iter().all(|(_, patient)| count(patient) == 1));
        assert_eq!(count(&never), 0);
        runtime.shutdown(Duration::from_secs(5)).unwrap();
    }
}
