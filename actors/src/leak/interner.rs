//! Stacks that are kept once: programs lease in few places and often.
//!
//! A set of shards, each behind a lock that is held for a look-up. It holds at most [`SHARDS`] × [`SHARD_MAX`] stacks, those
//! that nobody else holds included: a shard that is full lets go of them, and if that does not help it keeps no more, so that a
//! program with endlessly many different stacks has one a record. Where the system has no memory there is no stack, or one that
//! is not kept.

use super::stack::{Frame, Stack};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;
/// 16,384 in all, of about 200 bytes: 3 MB.
const SHARD_MAX: usize = 1024;

/// Of stacks that have this hash; the second of two with an equal hash is not kept.
type Shard = HashMap<u64, Stack, BuildHasherDefault<Hashed>>;

static STACKS: [Mutex<Shard>; SHARDS] = [const { Mutex::new(HashMap::with_hasher(BuildHasherDefault::new())) }; SHARDS];

/// A shard, which is whole at every step.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the stacks as they are: for a fork.
pub(crate) fn hold() -> impl Sized + 'static + use<> {
    STACKS.each_ref().map(lock)
}

/// Passes on what is a hash already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0 << 8 | u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The stack of these calls. `None` when the system has no memory for it.
pub(super) fn intern(addresses: &[usize], foreign: &[Arc<Frame>]) -> Option<Stack> {
    let hash = hash(addresses, foreign);
    // The map uses the upper seven bits and the lower ones.
    let mut shard = lock(&STACKS[(hash >> 32) as usize % SHARDS]);
    if let Some(known) = shard.get(&hash) {
        let is_known = known.is_of(addresses, foreign);
        return if is_known { Some(known.clone()) } else { Stack::try_new(addresses, foreign) };
    }
    let stack = Stack::try_new(addresses, foreign)?;
    let mut gone = Vec::new();
    if shard.len() >= SHARD_MAX && gone.try_reserve_exact(shard.len()).is_ok() {
        gone.extend(shard.extract_if(|_, stack| stack.is_held_once()).map(|(_, stack)| stack));
    }
    if shard.len() < SHARD_MAX && shard.try_reserve(1).is_ok() {
        shard.insert(hash, stack.clone());
    }
    drop(shard);
    drop(gone);
    Some(stack)
}

/// Multiply and rotate, as rustc's own tables do (`rustc-hash`), and a last step that spreads the upper bits.
fn hash(addresses: &[usize], foreign: &[Arc<Frame>]) -> u64 {
    const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;
    let foreign = foreign.iter().map(|frame| Arc::as_ptr(frame).addr());
    let mut hash = 0u64;
    for word in addresses.iter().copied().chain(foreign) {
        hash = (hash.rotate_left(5) ^ word as u64).wrapping_mul(FACTOR);
    }
    hash ^ hash >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_one_and_others_are_not() {
        let frame = |line| Arc::new(Frame { function: "f".to_owned(), file: None, line: Some(line) });
        let (one, two) = (frame(1), frame(2));
        let intern = |addresses: &[usize], foreign: &[Arc<Frame>]| intern(addresses, foreign).unwrap();
        let first = intern(&[1, 2, 3], std::slice::from_ref(&one));
        assert!(first.is_same(&intern(&[1, 2, 3], std::slice::from_ref(&one))));
        for other in [intern(&[1, 2], &[one]), intern(&[1, 2, 3], &[two]), intern(&[1, 2, 3], &[])] {
            assert!(!first.is_same(&other) && first != other);
        }
    }

    #[test]
    fn the_set_is_bounded_and_lets_go_of_what_nobody_holds() {
        for n in 0..4 * SHARDS * SHARD_MAX {
            intern(&[n, 77], &[]).unwrap();
        }
        assert!(STACKS.iter().all(|shard| lock(shard).len() <= SHARD_MAX));
    }
}
