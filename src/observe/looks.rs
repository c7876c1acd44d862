//! What readers remember of earlier looks, to say how busy something has been lately. What is looked at knows nothing of it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A share is of a time that is at least so long, where looks go back so far.
const LATELY: Duration = Duration::from_secs(5);

pub(crate) struct Looks(Mutex<Kept>);

/// Two looks at the busy seconds of each name: the one that is compared with, and the one that will be next.
struct Kept {
    older: Look,
    newer: Look,
}

#[derive(Clone)]
struct Look {
    at: Instant,
    busy_s: HashMap<String, f64>,
}

impl Looks {
    /// The first look: nothing has been busy.
    pub(crate) fn new(at: Instant) -> Self {
        let first = Look { at, busy_s: HashMap::new() };
        Self(Mutex::new(Kept { older: first.clone(), newer: first }))
    }

    /// Takes the share of the time since an earlier look that each has been busy.
    pub(crate) fn take<'a>(&self, at: Instant, all: impl Iterator<Item = (&'a str, f64, &'a mut f64)>) {
        let mut kept = self.0.lock();
        let is_due = at.saturating_duration_since(kept.newer.at) >= LATELY;
        if is_due {
            let next = Look { at, busy_s: HashMap::new() };
            kept.older = std::mem::replace(&mut kept.newer, next);
        }
        let time_s = at.saturating_duration_since(kept.older.at).as_secs_f64();
        for (name, busy_s, ratio) in all {
            let before = kept.older.busy_s.get(name).copied().unwrap_or(0.0);
            *ratio = if time_s > 0.0 { ((busy_s - before) / time_s).clamp(0.0, 1.0) } else { 0.0 };
            if is_due {
                kept.newer.busy_s.insert(name.to_owned(), busy_s);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_time_since_a_look_some_seconds_ago() {
        let began = Instant::now();
        let looks = Looks::new(began);
        let look = |second: u64, busy_s| {
            let mut ratio = 0.0;
            looks.take(began + Duration::from_secs(second), [("a", busy_s, &mut ratio)].into_iter());
            ratio
        };
        assert_eq!(look(0, 0.0), 0.0);
        assert_eq!(look(2, 1.0), 0.5, "since the begin");
        assert_eq!(look(10, 5.0), 0.5, "likewise, and kept");
        assert_eq!(look(12, 7.0), 7.0 / 12.0);
        assert_eq!(look(15, 10.0), 1.0, "since second 10");
        assert_eq!(look(16, 10.0), 5.0 / 6.0);
        assert_eq!(look(30, 10.0), 0.0, "since second 15");
    }
}
