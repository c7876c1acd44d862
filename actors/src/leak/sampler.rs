//! One in n, at random distances.
//!
//! Every n-th lease would always meet the same one of a program that leases in a fixed pattern, and never the others. A
//! thread therefore draws the distance to its next sample uniformly from 1 to 2n - 1, which is n on average; the draw
//! happens once a sample, and between two samples a lease costs one decrement of a thread-local number.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

thread_local! {
    static THREAD: Cell<ThreadState> = const { Cell::new(ThreadState { until_next: 0, random: 0 }) };
}

/// 0 in `random` is a thread that never drew.
#[derive(Clone, Copy)]
struct ThreadState {
    until_next: u32,
    random: u32,
}

/// Seeds of threads: any odd step visits every number.
static SEEDS: AtomicU32 = AtomicU32::new(0x9E37_79B9);

/// Whether the lease at hand is the next sample, one in `every` on average. With `every` of 1 each is.
#[inline]
pub(crate) fn is_sample(every: u32) -> bool {
    THREAD.with(|cell| {
        let state = cell.get();
        // A smaller `every` than the one drawn for takes effect at once.
        if state.until_next > 1 && state.until_next <= every.saturating_mul(2) && every > 1 {
            cell.set(ThreadState { until_next: state.until_next - 1, ..state });
            return false;
        }
        draw(cell, every)
    })
}

/// The same, where a distance ends, or must be drawn.
#[cold]
fn draw(cell: &Cell<ThreadState>, every: u32) -> bool {
    if every <= 1 {
        return true;
    }
    let mut state = cell.get();
    if state.random == 0 {
        state.random = SEEDS.fetch_add(0x9E37_79B9, Relaxed) | 1;
        state.until_next = distance(&mut state.random, every);
    }
    state.until_next = state.until_next.min(every.saturating_mul(2)) - 1;
    let hit = state.until_next == 0;
    if hit {
        state.until_next = distance(&mut state.random, every);
    }
    cell.set(state);
    hit
}

/// 1 to `2 * every - 1`, by Marsaglia's xorshift32, whose state is never 0.
fn distance(random: &mut u32, every: u32) -> u32 {
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    1 + *random % every.saturating_mul(2).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_in_n_is_sampled_and_no_fixed_pattern_escapes() {
        let mut hits_by_phase = [0u32; 8];
        for lease in 0..128 * 4096 {
            hits_by_phase[lease % 8] += u32::from(is_sample(128));
        }
        let hits: u32 = hits_by_phase.iter().sum();
        assert!((3700..4500).contains(&hits), "{hits} of 4096 expected");
        assert!(hits_by_phase.iter().all(|&hits| hits > 300), "{hits_by_phase:?}");
    }

    #[test]
    fn one_in_one_is_every_one() {
        assert!((0..100).all(|_| is_sample(1)));
        for every in [2, u32::MAX / 2, u32::MAX] {
            (0..1000).for_each(|_| _ = is_sample(every));
        }
    }
}
